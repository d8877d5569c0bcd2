//! What goes wrong around the program: configuration, ledger, registrar, permissions, another process.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use insta::assert_snapshot;
use socket2::{Domain, Socket, Type};
use witness_lab::process::Guard;

use crate::stage::{Ran, Stage, redact};

#[test]
fn no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::stage::witness("status");
    let ran = Ran::of(&command.current_dir(folder.path()).output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with("witness: no configuration: there is neither "), "{}", ran.stderr);
    let mut command = crate::stage::witness("status --check");
    assert_eq!(Ran::of(&command.current_dir(folder.path()).output().unwrap()).code, 3);
}

#[test]
fn a_configuration_with_mistakes() {
    let stage = Stage::new();
    let text = stage.read("witness.toml");
    let text = text.replace("interval = \"60s\"", "intervall = \"60s\"").replace("strikes = 2", "strikes = \"two\"");
    stage.write("witness.toml", &text);
    assert_snapshot!(stage.session(&[
        "check",
        "check --json",
        "status",
        "once",
        "status --check",
        "--config nowhere.toml status"
    ]));
}

#[test]
fn nothing_serves_a_status_page_or_calls_a_webhook_yet() {
    let stage = Stage::new();
    let text = stage.read("witness.toml");
    stage.write("hook", "https://hooks.example.com/very/secret\n");
    std::fs::set_permissions(stage.path().join("hook"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let more = "\n[serve]\nlisten = \"127.0.0.1:9053\"\n\n[notify]\nwebhook_url_file = \"hook\"\n";
    stage.write("witness.toml", &(text.clone() + more));
    let told = stage.session(&["check"]);
    assert_snapshot!(told);
    assert!(!told.contains("very/secret"));
    // Empty means off, and off needs no word.
    stage.write("witness.toml", &(text + "\n[serve]\nlisten = \"\"\n\n[notify]\nwebhook_url_env = \"\"\n"));
    let told = stage.session(&["check"]);
    assert!(!told.contains("status page") && !told.contains("webhook"), "{told}");
}

#[test]
fn no_ledger_a_strange_ledger() {
    let stage = Stage::new();
    assert_snapshot!("no_ledger", stage.session(&["status --json", "history", "explain", "zone restore 1"]));
    stage.write(
        "witness.db",
        "this is a text, and long enough to be taken for a header of a hundred bytes; it is no database",
    );
    assert_snapshot!(
        "strange_ledger",
        stage.session(&["status", "status --check", "once", "withdraw slice1", "check"])
    );
}

#[test]
fn a_registrar_that_fails() {
    let stage = Stage::new();
    stage.expect("once", 0);
    let zone = stage.read("zone.json");
    std::fs::remove_file(stage.path().join("zone.json")).unwrap();
    assert_snapshot!("no_zone", stage.session(&["once", "zone show", "withdraw slice1", "check --live"]));
    // The name server needs the file as it was.
    let mut zone: serde_json::Value = serde_json::from_str(&zone).unwrap();
    zone["faults"] = serde_json::json!([{"fault": "auth", "on": "apply"}]);
    stage.write("zone.json", &zone.to_string());
    assert_snapshot!("a_write_refused", stage.session(&["withdraw slice1", "history --kind changes"]));
}

#[test]
fn a_user_who_may_read_and_has_no_secrets() {
    let stage = Stage::new();
    stage.expect("once", 0);
    let text = stage.read("witness.toml");
    stage.write("token", "a secret\n");
    std::fs::set_permissions(stage.path().join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    stage.write("witness.toml", &text.replace("ca_file", "token_file = \"token\"\nca_file"));
    if Command::new("setpriv").arg("--version").output().is_err() || !rustix::process::geteuid().is_root() {
        return witness_lab::skip("a user without secrets", "setpriv and root are needed to become another user");
    }
    let as_nobody = |line: &str| {
        let witness = stage.path().join("witness");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(witness);
        command.args(line.split_whitespace()).current_dir(stage.path()).env("TZ", "UTC").env_remove("WITNESS_CONFIG");
        Ran::of(&command.output().unwrap())
    };
    // Where the program was built, nobody need be able to go.
    std::fs::copy(env!("CARGO_BIN_EXE_witness"), stage.path().join("witness")).unwrap();
    std::fs::set_permissions(stage.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = as_nobody("status");
    assert_eq!(ran.code, 1, "the ledger is its owner's alone: {}", ran.stdout);
    assert!(ran.stderr.contains("permission denied on witness.db"), "{}", ran.stderr);
    for file in ["witness.db", "witness.db-wal", "witness.db-shm"] {
        let path = stage.path().join(file);
        if path.exists() {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
    for line in ["status", "status slice1 --json", "history", "explain slice1", "zone snapshots", "status --check"] {
        let ran = as_nobody(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
    }
    for line in ["once", "withdraw slice1", "zone show"] {
        let ran = as_nobody(line);
        assert_eq!(ran.code, 2, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains("token") && !ran.stderr.contains("a secret"), "{line}: {}", ran.stderr);
    }
}

#[test]
fn runs_do_not_stack() {
    let stage = Stage::new();
    let mut command = stage.command("run");
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let daemon = Guard::start(&mut command).unwrap();
    // Until it has written its first tick down it may be anywhere in its start.
    for _ in 0..600 {
        if stage.run("status --check").code != 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let session = stage.session(&["once", "run"]);
    assert_snapshot!(session);
    // By hand one can still act beside the daemon.
    stage.expect("withdraw slice1", 0);
    drop(daemon);
    stage.expect("once", 0);
}

#[test]
fn an_old_tick_is_not_news() {
    let stage = Stage::new();
    stage.expect("once", 0);
    let text = stage.read("witness.toml");
    stage.write("witness.toml", &text.replace("interval = \"60s\"", "interval = \"100ms\"\nfast_interval = \"100ms\""));
    std::thread::sleep(Duration::from_millis(400));
    let ran = stage.run("status --check");
    assert_eq!(ran.code, 3, "{}", ran.stdout);
    assert!(ran.stdout.starts_with("WITNESS UNKNOWN - the last tick was "), "{}", ran.stdout);
    let ran = stage.run("status");
    assert_eq!(ran.code, 0);
    assert!(redact(&ran.stderr).contains("no tick for more than 3 intervals"), "{}", ran.stderr);
}

#[test]
fn the_daemon_says_at_its_start_what_is_not_served() {
    let stage = Stage::new();
    let text = stage.read("witness.toml") + "\n[serve]\nlisten = \"127.0.0.1:9053\"\n";
    stage.write("witness.toml", &text);
    let log = std::fs::File::create(stage.path().join("log")).unwrap();
    let mut command = stage.command("run");
    command.stdout(std::process::Stdio::null()).stderr(log);
    let daemon = Guard::start(&mut command).unwrap();
    let mut log = String::new();
    for _ in 0..600 {
        log = stage.read("log");
        if log.contains("watching") {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(daemon);
    let line = log.lines().find(|line| line.contains("serve.listen")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(" WARN ") && line.contains("this version has no status page yet"), "{line}");
}

#[test]
fn a_tick_whose_registrar_fails_is_not_completed() {
    let stage = Stage::new();
    std::fs::remove_file(stage.path().join("zone.json")).unwrap();
    assert_snapshot!(stage.session(&["once", "once --dry-run --json", "status", "status --check"]));
}

#[test]
fn a_slow_rhythm_is_not_taken_for_silence() {
    let stage = Stage::new();
    let text = stage.read("witness.toml");
    stage.write("witness.toml", &text.replace("interval = \"60s\"", "interval = \"100ms\"\nfast_interval = \"100ms\""));
    // As cron would, at ten times the configured interval.
    for _ in 0..3 {
        stage.expect("once", 0);
        std::thread::sleep(Duration::from_secs(1));
    }
    stage.expect("status --check", 0);
    std::thread::sleep(Duration::from_secs(6));
    stage.expect("status --check", 3);
}

#[test]
fn an_isolated_vantage_point_is_critical() {
    let stage = Stage::new();
    stage.fleet.nodes[0].power_off().unwrap();
    let silent: Vec<_> = (0..3).map(|_| Silence::new()).collect();
    let anchors: Vec<String> = silent.iter().map(|silence| format!("\"{}\"", silence.address)).collect();
    let text = stage.read("witness.toml").replace("anchors = []", &format!("anchors = [{}]", anchors.join(", ")));
    stage.write("witness.toml", &text);
    assert_snapshot!(stage.session(&["once", "status --check", "explain slice1"]));
}

/// A port of loopback that answers nobody: its queue is full, and nobody takes from it.
struct Silence {
    address: SocketAddr,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl Silence {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
            queue.push(stream);
            assert!(queue.len() < 64, "the queue never fills");
        }
        Self { address, _listener: listener, _queue: queue }
    }
}
