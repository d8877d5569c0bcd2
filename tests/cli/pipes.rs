//! Readers that go away, terminals, colours.

use std::process::{Command, Stdio};

use crate::stage::{Ran, Stage, redact, witness};

fn shell(stage: &Stage, line: &str) -> Ran {
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", line]).current_dir(stage.path()).env("TZ", "UTC").stdin(Stdio::null());
    command.env("witness", env!("CARGO_BIN_EXE_witness")).env_remove("WITNESS_CONFIG").env_remove("WITNESS_LOG");
    Ran::of(&command.output().unwrap())
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let stage = Stage::new();
    stage.expect("once", 0);
    for line in [
        "\"$witness\" history | head -1",
        "\"$witness\" history --json --kind probes | head -c 10",
        "\"$witness\" status | true",
        "\"$witness\" completions bash | head -1",
        "\"$witness\" --help | true",
        "\"$witness\" once --json | true",
        // Closed from the beginning.
        "\"$witness\" status >&-",
        "\"$witness\" history >&- 2>&-",
    ] {
        let ran = shell(&stage, line);
        assert_eq!((ran.code, ran.stderr.contains("panicked")), (0, false), "{line}: {}", ran.stderr);
        assert!(!ran.stderr.contains("failed"), "{line}: {}", ran.stderr);
    }
    // Whoever closed stderr does not read that it went wrong; the code says it.
    assert_eq!(shell(&stage, "\"$witness\" status slice9 2>&-").code, 2);
}

#[test]
fn a_disk_that_is_full_is_a_failure() {
    let stage = Stage::new();
    stage.expect("once", 0);
    let ran = shell(&stage, "\"$witness\" history > /dev/full");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("witness: failed to write to stdout: "), "{}", ran.stderr);
}

/// Runs on a terminal of its own, which `script` makes.
fn on_a_terminal(stage: &Stage, line: &str, variables: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new("script");
    let inner = format!("{} {line}", env!("CARGO_BIN_EXE_witness"));
    command.args(["-qec", &inner, "/dev/null"]).current_dir(stage.path()).stdin(Stdio::null());
    command.env("TZ", "UTC").env("TERM", "xterm").env_remove("NO_COLOR").env_remove("WITNESS_CONFIG");
    command.envs(variables.iter().copied());
    let output = command.output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n"))
}

#[test]
fn colour_on_a_terminal_only_and_lines_that_fit() {
    let stage = Stage::new();
    stage.fleet.nodes[2].power_off().unwrap();
    for _ in 0..2 {
        stage.expect("once", 0);
    }
    assert!(!stage.expect("status", 0).contains('\u{1b}'));
    let Some(coloured) = on_a_terminal(&stage, "status", &[]) else {
        return witness_lab::skip("the command line on a terminal", "script (bsdutils) is not installed");
    };
    assert!(coloured.contains("\u{1b}[31mwithdrawn\u{1b}[0m"), "{coloured:?}");
    for variables in [&[("NO_COLOR", "1")], &[("TERM", "dumb")]] {
        assert!(!on_a_terminal(&stage, "status", variables).unwrap().contains('\u{1b}'));
    }
    let folded = on_a_terminal(&stage, "history", &[]).unwrap();
    assert!(folded.lines().all(|line| line.chars().count() <= 80), "{folded}");
    let whole = stage.expect("history", 0);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&folded), words(&whole), "nothing is lost where lines are folded");
    assert!(whole.lines().any(|line| line.chars().count() > 80), "nothing was there to fold");
    // A person reads the table, a log the events; nobody both.
    assert!(!on_a_terminal(&stage, "once", &[]).unwrap().contains("WARN"));
}

#[test]
fn times_are_local_for_people_and_utc_for_programs() {
    let stage = Stage::new();
    stage.expect("once", 0);
    let at = |zone: &str| {
        let mut command = stage.command("zone show --json");
        command.env("TZ", zone);
        assert!(command.status().unwrap().success());
        let mut command = stage.command("history --limit 1");
        command.env("TZ", zone);
        Ran::of(&command.output().unwrap()).stdout[..19].to_owned()
    };
    let hour = |text: &str| text[11..13].parse::<i32>().unwrap();
    let (utc, east) = (at("UTC0"), at("XST-3"));
    assert_eq!((hour(&utc) + 3) % 24, hour(&east), "{utc} {east}");
    let json: serde_json::Value = serde_json::from_str(&stage.expect("history --limit 1 --json", 0)).unwrap();
    let written = json["at"].as_str().unwrap();
    assert_eq!(written[..19].replace('T', " "), utc);
    assert!(written.ends_with('Z'));
}

#[test]
fn redaction_keeps_the_width_of_what_it_hides() {
    for line in [
        "2026-11-22 01:21:25  #5     slice3     strike: https refused",
        "slice1  serving   healthy  0/2      yes  ok   6 ms  ok  <1 ms",
        "slice1  serving   healthy  0/2      yes  ok  1.2 s  ok 123 ms",
        r#"{"at":"2026-11-22T01:21:44.522Z"}"#,
    ] {
        let hidden = redact(line);
        assert_eq!(hidden.chars().count(), line.chars().count(), "{hidden}");
        assert_ne!(hidden, line);
    }
    assert!(witness("--version").output().unwrap().status.success());
}

#[test]
fn judge_reads_a_trace_and_tells_which_line_is_none() {
    let stage = Stage::new();
    assert_eq!(shell(&stage, "\"$witness\" judge < /dev/null").code, 0);
    let ran = shell(&stage, "echo 'no trace' | \"$witness\" judge");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with("witness: failed to take the trace: "), "{}", ran.stderr);
    let ran = shell(&stage, "\"$witness\" judge --policy nowhere.toml < /dev/null");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("witness: failed to read nowhere.toml: "), "{}", ran.stderr);
}
