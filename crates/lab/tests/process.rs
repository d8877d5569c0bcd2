//! The node as a process: modes by file, health by file, death by signal.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use witness_lab::process::{Guard, wait_until};
use witness_lab::tls::{Authority, Validity};

const BOUND: Duration = Duration::from_secs(20);

fn start(folder: &std::path::Path, more: &[&str]) -> Command {
    let leaf = Authority::new().unwrap().issue(&["files.example.com"], Validity::Good).unwrap();
    leaf.write(folder, "node").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_witness-lab-node"));
    command.current_dir(folder).args(["--listen", "127.0.0.1:0", "--cert", "node.pem", "--key", "node.key"]).args(more);
    command
}

#[test]
fn serves_changes_its_mode_and_dies_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = start(folder.path(), &["--mode-file", "mode", "--pid-file", "pid"]);
    let mut guard = Guard::start(command.stdout(Stdio::piped())).unwrap();
    let mut line = String::new();
    BufReader::new(guard.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
    assert!(TcpStream::connect(address).is_ok());
    let pid = folder.path().join("pid");
    assert!(wait_until(BOUND, || std::fs::read_to_string(&pid).is_ok_and(|text| text == guard.pid().to_string())));

    let mode = folder.path().join("mode");
    std::fs::write(&mode, "refuse\n").unwrap();
    assert!(wait_until(BOUND, || TcpStream::connect(address).is_err()));
    std::fs::write(&mode, "healthy\n").unwrap();
    assert!(wait_until(BOUND, || TcpStream::connect(address).is_ok()));
    guard.kill();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn the_program_is_found_beside_the_tests() {
    assert!(witness_lab::process::node_program().unwrap().is_file());
}

#[test]
fn wrong_arguments_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for (more, says) in [
        (&["--colour", "red"][..], "--colour is no option"),
        (&["--mode", "dead"], "no mode is called \"dead\""),
        (&["--mode", "expired"], "no certificate for the mode expired"),
        (&["--name"], "--name wants a value"),
        (&["--key", "absent.key"], "failed to read absent.key"),
    ] {
        let output = start(folder.path(), more).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(says), "{more:?}: {told}");
    }
}
