//! The files in `docs/examples` that are the edge's are what it and systemd take.

use std::path::Path;
use std::process::Command;

const INSTALLED: &str = "/usr/local/bin/witness-edge";
const EDGE: &str = env!("CARGO_BIN_EXE_witness-edge");

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(name)).unwrap()
}

#[test]
fn the_program_takes_their_command_lines() {
    for name in ["witness-edge.service", "keepalived.conf"] {
        let text = example(name);
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let calls: Vec<&str> = lines.filter_map(|line| line.split_once(INSTALLED)).map(|(_, rest)| rest).collect();
        assert_eq!(calls.len(), 1, "{name} calls it once");
        assert!(calls[0].contains(" --config /etc/witness/edge.toml"), "{}", calls[0]);
        let words = calls[0].trim_matches('"').replace("/etc/witness/", "/nowhere/");
        let output = Command::new(EDGE).args(words.split_whitespace()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        // It gets as far as the configuration, which is not there.
        assert_eq!(output.status.code(), Some(2), "{words}: {error}");
        assert!(error.contains("/nowhere/edge.toml") && !error.contains("Usage:"), "{words}: {error}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    let analyze = |words: &[&str]| Command::new("systemd-analyze").args(words).output();
    if analyze(&["--version"]).is_err() {
        return witness_lab::skip_machine(
            "units for systemd",
            "systemd-analyze is not installed (Debian package systemd)",
        );
    }
    let copies = tempfile::tempdir().unwrap();
    let path = copies.path().join("witness-edge.service");
    // It wants the program to be there.
    std::fs::write(&path, example("witness-edge.service").replace(INSTALLED, EDGE)).unwrap();
    let output = analyze(&["verify", "--man=no", path.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("witness-edge"), "{said}");
}
