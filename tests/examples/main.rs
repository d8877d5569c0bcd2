//! The files in `docs/examples` are what the program and systemd take.

#![expect(clippy::unwrap_used, reason = "tests may, and so may what they lean on")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program as the examples call it.
const INSTALLED: &str = "/usr/local/bin/witness";
const WITNESS: &str = env!("CARGO_BIN_EXE_witness");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples")
}

fn example(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// Every command line of the program in the examples, its arguments alone.
fn command_lines() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for name in ["witness.service", "witness-once.service", "crontab"] {
        let text = example(name);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let calls: Vec<&str> = lines.filter_map(|line| line.split_once(INSTALLED)).map(|(_, rest)| rest).collect();
        assert_eq!(calls.len(), 1, "{name} calls it once");
        let words = calls[0].split_whitespace().take_while(|word| !word.starts_with('>'));
        found.push(words.map(str::to_owned).collect());
    }
    found
}

#[test]
fn the_program_takes_their_command_lines() {
    for mut words in command_lines() {
        let config = words.iter().position(|word| word == "--config").unwrap();
        assert_eq!(words[config + 1], "/etc/witness/witness.toml");
        "/nowhere/witness.toml".clone_into(&mut words[config + 1]);
        let output = Command::new(WITNESS).args(&words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        // It gets as far as the configuration, which is not there.
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.contains("/nowhere/witness.toml") && !error.contains("Usage:"), "{words:?}: {error}");
    }
}

#[test]
fn a_crontab_has_five_fields_and_a_command() {
    let text = example("crontab");
    let entries: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#') && line.contains(' ') && !line.contains("MAILTO")).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let fields: Vec<&str> = entries[0].split(' ').collect();
    assert_eq!(&fields[..5], ["*"; 5]);
    assert_eq!(fields[5], INSTALLED);
    // A percent sign would be a line's end to cron.
    assert!(!entries[0].contains('%'));
    assert!(text.ends_with('\n'), "cron ignores a last line without its end");
}

#[test]
fn systemd_takes_the_units() {
    let analyze = |words: &[&str]| Command::new("systemd-analyze").args(words).output();
    if analyze(&["--version"]).is_err() {
        return witness_lab::skip_machine(
            "units for systemd",
            "systemd-analyze is not installed (Debian package systemd)",
        );
    }
    let copies = tempfile::tempdir().unwrap();
    let path = |name: &str| copies.path().join(name);
    // It wants the program to be there.
    for name in ["witness.service", "witness-once.service", "witness-once.timer"] {
        std::fs::write(path(name), example(name).replace(INSTALLED, WITNESS)).unwrap();
    }
    let drop_in = path("witness.service.d");
    std::fs::create_dir(&drop_in).unwrap();
    std::fs::write(drop_in.join("credentials.conf"), example("credentials.conf")).unwrap();
    for name in ["witness.service", "witness-once.service", "witness-once.timer"] {
        let output = analyze(&["verify", "--man=no", path(name).to_str().unwrap()]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        // What it does not know it only mentions; of other units on this machine it may say what it likes.
        assert!(!said.contains(copies.path().to_str().unwrap()) && !said.contains("witness"), "{name}: {said}");
    }
}
