//! The demo, whole, and stopped in the middle.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{Ran, witness};

#[test]
fn the_whole_loop_and_then_what_it_says_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Ran::of(&witness("demo").env("TMPDIR", folder.path()).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let mut rest = ran.stdout.as_str();
    for word in
        ["dig +short", "slice3 is killed", "slice3 strike 4", "withdraw slice3", "name server", "reinstate slice3"]
    {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word:?} is missing, or too early:\n{}", ran.stdout));
        rest = &rest[at..];
    }
    // As it was called.
    let program = env!("CARGO_BIN_EXE_witness");
    let arguments = |line: &'_ str| line.trim().strip_prefix(program)?.strip_prefix(" -c ").map(str::to_owned);
    let suggested: Vec<String> = rest.lines().filter_map(arguments).collect();
    assert_eq!(suggested.len(), 3);
    for line in suggested {
        let ran = Ran::of(&witness(&format!("-c {line}")).output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{line}");
        assert!(!ran.stdout.is_empty());
    }
    // The place is as long as it is on this machine.
    let place = folder.path().display().to_string();
    for line in ran.stdout.lines().map(|line| line.replace(&place, "").replace(program, "witness")) {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn a_stopped_demo_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = witness("demo");
    let command = command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut told = String::new();
    while !told.contains("all four serve") {
        assert_ne!(output.read_line(&mut told).unwrap(), 0, "it ended by itself: {told}");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    output.read_to_string(&mut told).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(told.ends_with("Stopped. Nothing is left running.\n"), "{told}");
}
