//! The brownout ladder through the program: up while the nodes say that they have too much to do, and renewed. Going down
//! takes minutes, and is left to the tests of the rule.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use witness_lab::fleet::{Fleet, FleetConfig};
use witness_lab::node::Mode;
use witness_lab::process::{Guard, wait_until};

struct Scene {
    fleet: Fleet,
    folder: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Scene {
    /// A program notes what each node is told, and then does `more`.
    fn new(more: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let fleet = Fleet::start(&FleetConfig { ttl: 1, ssh: false, ..FleetConfig::new(&folder) }).unwrap();
        let script = format!("#!/bin/sh\necho $WITNESS_NODE $WITNESS_STEP $WITNESS_FOR_S >> \"$1\"\n{more}\n");
        fs::write(folder.join("shed.sh"), script).unwrap();
        fs::set_permissions(folder.join("shed.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut text = format!(
            "[witness]\nname = \"test\"\ndatabase = \"witness.db\"\ninterval = \"1s\"\nfast_interval = \"500ms\"\n\
             once_deadline = \"12s\"\nanchors = []\n\n\
             [policy]\nwarmup_rounds = 1\n\n\
             [policy.shed]\nup_every = \"1s\"\nrenew = \"1s\"\nlasts = \"30s\"\n\n\
             [probes.https]\nurl = \"https://files.example.com:{}/.witness/health\"\nca_file = \"ca.pem\"\n\n\
             [shed]\nkind = \"exec\"\ncommand = [\"./shed.sh\", \"{}\"]\n\n\
             [[pools]]\nname = \"files\"\nzone = \"example.com\"\nrecords = [\"@\", \"files\"]\nttl = \"1s\"\n\
             registrar = \"it\"\npublish_within = \"1s\"\nnameservers = [\"{}\"]\n\n\
             [registrars.it]\nkind = \"mock\"\nfile = \"zone.json\"\n",
            fleet.https_port(),
            folder.join("told").display(),
            fleet.dns.address(),
        );
        for number in 1..=4 {
            text += &format!("\n[[nodes]]\nname = \"slice{number}\"\naddresses = [\"127.0.0.1{number}\"]\n");
        }
        fs::write(folder.join("witness.toml"), text).unwrap();
        Self { fleet, folder, _temporary: temporary }
    }

    fn all(&self, mode: &Mode) {
        for node in &self.fleet.nodes {
            node.set(mode.clone()).unwrap();
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness"));
        command.arg("-c").arg(self.folder.join("witness.toml")).args(line.split(' ')).env_remove("WITNESS_LOG");
        command
    }

    /// The daemon, all being well.
    fn watch(&self) -> Guard {
        let daemon = Guard::start(&mut self.command("run")).unwrap();
        let well = wait_until(Duration::from_secs(60), || self.status().matches("\"healthy\"").count() == 4);
        assert!(well, "{}", self.status());
        daemon
    }

    fn status(&self) -> String {
        String::from_utf8_lossy(&self.command("status --json").output().unwrap().stdout).into_owned()
    }

    /// Until each node was told `step` so many times.
    fn wait(&self, step: u8, times: usize) {
        let each = || (1..=4).all(|number| self.told(&format!("slice{number}"), step) >= times);
        let done = wait_until(Duration::from_secs(60), each);
        assert!(done, "step {step}, {times} times:\n{}\n{}", self.all_told(), self.status());
    }

    /// How often `node` was told `step`.
    fn told(&self, node: &str, step: u8) -> usize {
        let told = fs::read_to_string(self.folder.join("told")).unwrap_or_default();
        told.lines().filter(|line| *line == format!("{node} {step} 30")).count()
    }

    fn all_told(&self) -> String {
        fs::read_to_string(self.folder.join("told")).unwrap_or_default()
    }
}

#[test]
fn the_daemon_goes_up_and_renews() {
    let scene = Scene::new("");
    let daemon = scene.watch();
    assert_eq!(scene.all_told(), "", "nobody is told anything while all is well");
    scene.all(&Mode::Shedding(5));
    scene.wait(1, 1);
    // Without load figures no higher than this; and it would end by itself, so they are told again.
    scene.wait(2, 3);
    assert_eq!(scene.told("slice1", 3), 0);
    drop(daemon);
}

#[test]
fn what_could_not_be_told_is_said_and_the_tick_is_done() {
    let scene = Scene::new("echo the edge is deaf >&2; exit 1");
    let daemon = scene.watch();
    scene.all(&Mode::Shedding(5));
    // The daemon goes on, and so does the ladder; each is tried twice.
    scene.wait(1, 2);
    scene.wait(2, 4);
    drop(daemon);
    let mut said = String::new();
    let mut code = None;
    let failed = wait_until(Duration::from_secs(50), || {
        let output = scene.command("once").output().unwrap();
        said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        code = output.status.code();
        said.contains("the edge is deaf")
    });
    assert!(failed, "{said}");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("node slice1 was not told to shed load (step 2)"), "{said}");
    assert!(said.contains("(judgement "), "there was a tick all the same: {said}");
}
