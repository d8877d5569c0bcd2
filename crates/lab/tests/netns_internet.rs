//! The end-to-end world: all of it is up, and each part can be broken and mended.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use witness_lab::internet::{self, ANCHORS, Internet};
use witness_lab::node::{Mode, Stage};
use witness_lab::process::which;

/// What `curl` ends with: 0 is an answer of 200, the others are in its manual.
fn curl(internet: &Internet, address: &str) -> i32 {
    let ca = internet.ca_file();
    let resolve = format!("files.example.com:443:{address}");
    let arguments = ["-sS", "--fail", "-o", "/dev/null", "--max-time", "3", "--resolve", &resolve, "--cacert"];
    let url = "https://files.example.com/.witness/health";
    let output =
        internet.network.command("witness", "curl").unwrap().args(arguments).arg(ca).arg(url).output().unwrap();
    output.status.code().unwrap()
}

#[test]
fn everything_is_up_and_can_be_broken_and_mended() {
    if let Err(reason) = internet::available() {
        return witness_lab::skip("networks of the lab", &reason);
    }
    if which("curl").is_none() {
        return witness_lab::skip("the lab's internet, seen by curl", "curl is not installed (Debian package curl)");
    }
    let mut internet = Internet::start(2).unwrap();
    assert_eq!(curl(&internet, "192.0.2.11"), 0);
    assert_eq!(curl(&internet, "192.0.2.12"), 0);
    for anchor in ANCHORS {
        let connect = format!("exec 3<>/dev/tcp/{}/{}", anchor.ip(), anchor.port());
        let output = internet.network.exec("witness", "timeout", &["3", "bash", "-c", &connect]).unwrap();
        assert!(output.status.success(), "{anchor}");
    }
    let scan = |internet: &Internet, address: &str| {
        !internet.network.exec("witness", "ssh-keyscan", &["-T", "3", address]).unwrap().stdout.is_empty()
    };
    assert!(scan(&internet, "192.0.2.11"));

    for (mode, code) in [
        (Mode::Status(500), 22),
        (Mode::Shedding(30), 22),
        (Mode::Hang(Stage::Http), 28),
        (Mode::Refuse, 7),
        (Mode::Certificate(witness_lab::tls::Flaw::Expired), 60),
        (Mode::Healthy, 0),
    ] {
        internet.machines[0].set(&mode).unwrap();
        assert_eq!(curl(&internet, "192.0.2.11"), code, "{mode}");
    }
    internet.machines[0].kill_web();
    assert_eq!(curl(&internet, "192.0.2.11"), 7);
    assert!(scan(&internet, "192.0.2.11"), "SSH lives");
    internet.machines[0].kill_all();
    assert!(!scan(&internet, "192.0.2.11"));
    assert_eq!(curl(&internet, "192.0.2.12"), 0, "the other node is well");
    internet.machines[0].restart().unwrap();
    assert_eq!(curl(&internet, "192.0.2.11"), 0);
    assert!(scan(&internet, "192.0.2.11"));
}
