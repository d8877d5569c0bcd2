//! The whole loop through the program, as cron would run it, with each kind of registrar that needs no server of its own:
//! a node dies, leaves the DNS, comes back; what is not ours stays.

#![expect(clippy::unwrap_used, reason = "tests may")]

mod load;
mod relays;
mod shed;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use witness_lab::fleet::{Fleet, FleetConfig};
use witness_lab::namecheap::{Account, FakeNamecheap, Host, Rules, Zone};
use witness_lab::process::{wait_until, which};

/// A fleet, and a program that watches it.
struct Scene {
    fleet: Fleet,
    folder: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Scene {
    /// `registrar` is the body of `[registrars.it]`, in which `FOLDER` stands for the scene's folder.
    fn new(registrar: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let fleet = Fleet::start(&FleetConfig { ttl: 1, ssh: false, ..FleetConfig::new(&folder) }).unwrap();
        let mut text = format!(
            "[witness]\nname = \"test\"\ndatabase = \"witness.db\"\ninterval = \"1s\"\nfast_interval = \"1s\"\nonce_deadline = \"9s\"\nanchors = []\n\n\
             [policy]\nstrike_spacing = \"10ms\"\nprobation = \"1s\"\n\n\
             [probes.https]\nurl = \"https://files.example.com:{}/.witness/health\"\nca_file = \"ca.pem\"\n\n\
             [[pools]]\nname = \"files\"\nzone = \"example.com\"\nrecords = [\"@\", \"files\"]\nttl = \"1s\"\nregistrar = \"it\"\n\
             publish_within = \"1s\"\nnameservers = [\"{}\"]\n\n[registrars.it]\n{}\n",
            fleet.https_port(),
            fleet.dns.address(),
            registrar.replace("FOLDER", &folder.display().to_string())
        );
        for number in 1..=4 {
            text.push_str(&format!("\n[[nodes]]\nname = \"slice{number}\"\naddresses = [\"127.0.0.1{number}\"]\n"));
        }
        fs::write(folder.join("witness.toml"), text).unwrap();
        Self { fleet, folder, _temporary: temporary }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness"));
        command.arg("-c").arg(self.folder.join("witness.toml")).args(arguments);
        command.output().unwrap()
    }

    /// `witness once`, which must succeed, and what it did.
    fn once(&self) -> Value {
        let output = self.run(&["once", "--json"]);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}\n{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// Runs until some run did `action` to slice3 and says so of the ledger.
    fn until(&self, action: &str) {
        let mut last = Value::Null;
        let done = wait_until(Duration::from_secs(60), || {
            last = self.once();
            let is = |one: &Value| one["a"] == action && one["n"] == "slice3";
            last["actions"].as_array().unwrap().iter().any(is)
        });
        assert!(done, "no {action}: {last:#}");
        assert_eq!(last["changes"][0]["state"], "confirmed", "{last:#}");
    }

    /// What the registrar holds, by `witness zone show`.
    fn addresses(&self) -> Vec<(String, u64, Vec<String>)> {
        let output = self.run(&["zone", "show", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let sets = shown[0]["sets"].as_array().unwrap();
        let texts = |set: &Value| {
            set["addresses"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        sets.iter()
            .map(|set| (set["owner"].as_str().unwrap().to_owned(), set["ttl"].as_u64().unwrap(), texts(set)))
            .collect()
    }

    /// Kills slice3, sees it leave; revives it, sees it return.
    fn dies_and_returns(&self) {
        let whole = self.addresses();
        for _ in 0..3 {
            self.once();
        }
        self.fleet.nodes[2].power_off().unwrap();
        self.until("withdraw");
        let expected: Vec<(String, u64, Vec<String>)> = whole
            .iter()
            .map(|(owner, ttl, all)| {
                (owner.clone(), *ttl, all.iter().filter(|a| *a != "127.0.0.13").cloned().collect())
            })
            .collect();
        assert_eq!(self.addresses(), expected);
        self.fleet.nodes[2].power_on().unwrap();
        if whole.iter().all(|(_, ttl, _)| *ttl == 1) {
            self.until("reinstate");
        } else {
            // By itself it would come back when the change has settled, which takes twice the TTL.
            let output = self.run(&["reinstate", "slice3", "--reason", "it is well again"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(self.addresses(), whole);
    }
}

#[test]
fn in_a_file() {
    let scene = Scene::new("kind = \"mock\"\nfile = \"zone.json\"");
    scene.dies_and_returns();
    let status = scene.run(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 4);
    let explained = scene.run(&["explain", "slice3"]);
    assert!(String::from_utf8_lossy(&explained.stdout).contains("S4.probation"));
}

/// While a node is in doubt, one run looks again and again: cron need not come back for it.
#[test]
fn in_one_run() {
    let scene = Scene::new("kind = \"mock\"\nfile = \"zone.json\"");
    let config = scene.folder.join("witness.toml");
    let text = fs::read_to_string(&config).unwrap();
    // As by default: one incident is one strike, so that it is not the strikes that settle it.
    let text = text.replace("once_deadline = \"9s\"\n", "").replace("strike_spacing = \"10ms\"\n", "");
    fs::write(&config, text).unwrap();
    // Whoever is to stay must be known.
    for _ in 0..3 {
        scene.once();
    }
    scene.fleet.nodes[2].power_off().unwrap();
    let done = scene.once();
    let action = &done["actions"][0];
    assert_eq!(
        (&action["a"], &action["n"], &action["rule"]),
        (&"withdraw".into(), &"slice3".into(), &"R6.down".into()),
        "{done:#}"
    );
    assert_eq!(done["changes"][0]["state"], "confirmed", "{done:#}");
    assert_eq!(done["strikes"].as_array().map_or(1, Vec::len), 1, "{done:#}");
}

#[test]
fn at_namecheap() {
    let server = FakeNamecheap::start(Account::keyed("a-key-of-the-test"), Rules::default()).unwrap();
    let row = |name: &str, rtype: &str, address: &str, ttl: u32| Host::new(name, rtype, address, ttl);
    let mut rows = vec![
        row("@", "MX", "mail.example.com.", 1800).preference(5),
        row("@", "TXT", "v=spf1 include:a+b & \"c\" <d> é -all", 300),
        row("@", "CAA", "0 issue \"letsencrypt.org\"", 1800),
        row("www", "URL301", "https://example.com/?a=1&b=2", 1800),
        row("elsewhere", "A", "198.51.100.99", 60),
    ];
    for owner in ["@", "files"] {
        rows.extend((1..=4).map(|n| row(owner, "A", &format!("127.0.0.1{n}"), 60)));
    }
    server.seed("example.com", Zone::new("MX", rows));
    let before = server.zone("example.com").unwrap();
    let scene = Scene::new(&format!(
        "kind = \"namecheap\"\nendpoint = \"{}\"\napi_user = \"example\"\nusername = \"example\"\nclient_ip = \"127.0.0.1\"\n\
         api_key_file = \"FOLDER/namecheap.key\"",
        server.endpoint()
    ));
    write_secret(&scene.folder.join("namecheap.key"), "a-key-of-the-test\n");
    scene.dies_and_returns();
    let after = server.zone("example.com").unwrap();
    assert_eq!(after.email_type, before.email_type);
    let plain = |zone: &Zone| {
        let mut rows: Vec<_> = zone
            .hosts
            .iter()
            .map(|host| {
                (host.name.clone(), host.rtype.clone(), host.address.clone(), host.ttl.clone(), host.mx_pref.clone())
            })
            .collect();
        rows.sort();
        rows
    };
    assert_eq!(plain(&after), plain(&before));
    // The copy from before the write holds the whole zone, and no key is anywhere.
    let snapshots = scene.run(&["zone", "snapshots", "--json"]);
    let text = String::from_utf8_lossy(&snapshots.stdout).into_owned();
    assert!(text.contains("v=spf1"), "{text}");
    for file in fs::read_dir(&scene.folder).unwrap().flatten() {
        let bytes = fs::read(file.path()).unwrap();
        let has_key = bytes.windows(17).any(|part| part == b"a-key-of-the-test");
        assert_eq!(has_key, file.file_name() == "namecheap.key", "{}", file.path().display());
    }
    assert!(server.calls().iter().all(|call| !call.target.contains("a-key")));
}

#[test]
fn through_any_program() {
    if which("python3").is_none() {
        return witness_lab::skip("the whole loop through a program", "python3 is not installed");
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/registrars/exec-example.py");
    let scene = Scene::new(&format!(
        "kind = \"exec\"\ncommand = [\"python3\", \"{}\", \"FOLDER/exec.json\"]",
        program.display()
    ));
    let set = |owner: &str, more: &str| {
        let mut addresses = vec!["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"];
        addresses.extend(Some(more).filter(|more| !more.is_empty()));
        serde_json::json!({"owner": owner, "type": "A", "ttl": 1, "addresses": addresses})
    };
    let zone = serde_json::json!({"serial": 1, "sets": [set("@", "198.51.100.9"), set("files", "")]});
    fs::write(scene.folder.join("exec.json"), zone.to_string()).unwrap();
    scene.dies_and_returns();
}

#[test]
fn beside_a_daemon() {
    // The daemon would not read the zone again by itself for an hour.
    let scene = Scene::new("kind = \"mock\"\nfile = \"zone.json\"\nrefresh = \"1h\"");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_witness"));
    daemon.arg("-c").arg(scene.folder.join("witness.toml")).arg("run");
    let _daemon = Daemon(daemon.spawn().unwrap());
    let shows = |wanted: bool| {
        let mut last = Value::Null;
        let shown = wait_until(Duration::from_secs(60), || {
            let output = scene.run(&["status", "--json"]);
            last = serde_json::from_slice(&output.stdout).unwrap_or_default();
            last["nodes"][1]["in_dns"]["files"] == wanted
        });
        assert!(shown, "slice2 is not shown as {wanted}: {last:#}");
    };
    shows(true);
    for (command, wanted) in [("withdraw", false), ("reinstate", true)] {
        let output = scene.run(&[command, "slice2"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // More than the one tick that the command itself was.
        for _ in 0..2 {
            let before = scene.run(&["status", "--json"]);
            let before: Value = serde_json::from_slice(&before.stdout).unwrap();
            let ticked = wait_until(Duration::from_secs(60), || {
                let now = scene.run(&["status", "--json"]);
                let now: Value = serde_json::from_slice(&now.stdout).unwrap();
                now["judgement"].as_i64() > before["judgement"].as_i64()
            });
            assert!(ticked, "the daemon does not go on");
        }
        shows(wanted);
    }
}

/// A daemon that ends with the test.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
