//! Nodes that are asked about one that has fallen silent: through the program, over a real sshd.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use witness_lab::fleet::{Fleet, FleetConfig};
use witness_lab::process::{Guard, wait_until, which};
use witness_lab::sshd::{self, Sshd, SshdConfig};

/// A fleet whose nodes all show the same sshd.
struct Scene {
    fleet: Fleet,
    sshd: Sshd,
    folder: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Scene {
    /// None, and it is told, where there is no sshd that can be logged in to.
    fn new() -> Option<Self> {
        if let Err(why) = sshd::available() {
            witness_lab::skip("relays over a real sshd", &why);
            return None;
        }
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let fleet = Fleet::start(&FleetConfig { ttl: 1, ssh: false, ..FleetConfig::new(&folder) }).unwrap();
        // Every address of loopback is a node's, as far as logging in goes.
        let sshd = Sshd::start(SshdConfig::new((Ipv4Addr::UNSPECIFIED, 0).into())).unwrap();
        if !may_log_in(sshd.user()) {
            witness_lab::skip_machine(
                "relays over a real sshd",
                &format!("{} has no shell to log in with", sshd.user()),
            );
            return None;
        }
        fs::copy(sshd.client_key(), folder.join("relay.key")).unwrap();
        fs::set_permissions(folder.join("relay.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut text = format!(
            "[witness]\nname = \"test\"\ndatabase = \"witness.db\"\ninterval = \"2s\"\nfast_interval = \"500ms\"\n\
             once_deadline = \"50s\"\nanchors = []\n\n\
             [policy]\nstrikes = 60\nwarmup_rounds = 1\n\n\
             [policy.evidence]\nsilent_confirmed = \"3s\"\nsilent_alone = \"10m\"\nsilent_seen = \"20m\"\n\n\
             [probes.https]\nurl = \"https://files.example.com:{}/.witness/health\"\nca_file = \"ca.pem\"\n\
             connect_timeout = \"1s\"\ntimeout = \"3s\"\n\n\
             [relays]\nuser = \"{}\"\nkey_file = \"relay.key\"\nport = {}\n\n\
             [[pools]]\nname = \"files\"\nzone = \"example.com\"\nrecords = [\"@\", \"files\"]\nttl = \"1s\"\n\
             registrar = \"it\"\npublish_within = \"1s\"\nnameservers = [\"{}\"]\n\n\
             [registrars.it]\nkind = \"mock\"\nfile = \"zone.json\"\n",
            fleet.https_port(),
            sshd.user(),
            sshd.address().port(),
            fleet.dns.address(),
        );
        let key = sshd.fingerprint().unwrap();
        for number in 1..=4 {
            // The last is not to be asked: nobody could tell whether it is the one that answers.
            let key = if number < 4 { format!("ssh_host_key = \"{key}\"\n") } else { String::new() };
            text += &format!("\n[[nodes]]\nname = \"slice{number}\"\naddresses = [\"127.0.0.1{number}\"]\n{key}");
        }
        fs::write(folder.join("witness.toml"), text).unwrap();
        Some(Self { fleet, sshd, folder, _temporary: temporary })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness"));
        command.arg("-c").arg(self.folder.join("witness.toml")).args(line.split(' ')).env_remove("WITNESS_LOG");
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// slice3 gives no sign of life any more, to nobody.
    fn silence(&self) -> Silent {
        self.fleet.nodes[2].power_off().unwrap();
        Silent::at(self.fleet.nodes[2].address())
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.run("status --json").stdout).unwrap_or_default()
    }
}

fn may_log_in(user: &str) -> bool {
    which("getent").is_none_or(|getent| {
        let told = Command::new(getent).args(["passwd", user]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        !["nologin", "false"].iter().any(|shell| told.trim().ends_with(shell))
    })
}

/// A port whose queue is full: the kernel drops whatever else knocks, as a dead machine's would.
struct Silent {
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    fn at(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the queue does not fill");
        }
        Self { _listener: listener, _waiting: waiting }
    }
}

#[test]
fn once_has_others_try_and_a_confirmed_death_leaves() {
    let Some(scene) = Scene::new() else { return };
    for _ in 0..3 {
        assert!(scene.run("once").status.success());
    }
    let _silent = scene.silence();
    let mut last = String::new();
    let left = wait_until(Duration::from_secs(50), || {
        let output = scene.run("once --json");
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = serde_json::from_str(&last).unwrap();
        report["actions"].as_array().unwrap().iter().any(|one| {
            let confirmed = one["why"].as_str().unwrap().contains("others tried");
            one["a"] == "withdraw" && one["n"] == "slice3" && one["rule"] == "R6.silent" && confirmed
        })
    });
    assert!(left, "{last}\nsshd: {}", scene.sshd.log());
}

#[test]
fn the_daemon_has_others_try() {
    let Some(scene) = Scene::new() else { return };
    let daemon = Guard::start(&mut scene.command("run")).unwrap();
    let verdict = |status: &Value, at: usize| status["nodes"][at]["verdict"].clone();
    let well = wait_until(Duration::from_secs(60), || {
        let status = scene.status();
        (0..4).all(|at| verdict(&status, at) == "healthy")
    });
    assert!(well, "{:#}", scene.status());
    let _silent = scene.silence();
    let left = wait_until(Duration::from_secs(90), || scene.status()["nodes"][2]["standing"] == "withdrawn");
    let told = String::from_utf8_lossy(&scene.run("history slice3 --json").stdout).into_owned();
    assert!(left && told.contains("others tried"), "{:#}\n{told}\nsshd: {}", scene.status(), scene.sshd.log());
    drop(daemon);
}

#[test]
fn check_live_tries_each_relay() {
    let Some(mut scene) = Scene::new() else { return };
    let told = |scene: &Scene| String::from_utf8_lossy(&scene.run("check --live").stdout).into_owned();
    let lines = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let well = lines(&told(&scene));
    for (relay, other) in [("slice1", "127.0.0.12"), ("slice2", "127.0.0.13"), ("slice3", "127.0.0.14")] {
        assert!(well.contains(&format!("relay {relay} reaches {other}:")), "{well}");
    }
    assert!(well.contains("relay slice4 is never asked"), "{well}");
    scene.sshd.restart_with_new_host_key().unwrap();
    let strange = lines(&told(&scene));
    assert!(strange.contains("relay slice1 cannot be asked about 127.0.0.12:"), "{strange}");
    assert!(strange.contains("pinned is SHA256:"), "{strange}");
}
