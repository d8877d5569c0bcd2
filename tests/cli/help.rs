//! What the program says of itself.

use insta::assert_snapshot;

use crate::stage::{Ran, witness};

/// Every command, as it is typed.
pub(crate) const COMMANDS: &[&str] = &[
    "demo",
    "once",
    "run",
    "status",
    "history",
    "explain",
    "reinstate",
    "withdraw",
    "pin",
    "unpin",
    "judge",
    "simulate",
    "backtest",
    "export",
    "check",
    "zone",
    "zone show",
    "zone snapshots",
    "zone restore",
    "completions",
];

fn run(line: &str) -> Ran {
    Ran::of(&witness(line).output().unwrap())
}

#[test]
fn help_of_every_command_fits_a_screen() {
    let mut text = String::new();
    for command in std::iter::once(&"").chain(COMMANDS) {
        for flag in ["-h", "--help"] {
            let ran = run(&format!("{command} {flag}"));
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command} {flag}");
            for line in ran.stdout.lines() {
                assert!(line.chars().count() <= 80, "{command} {flag}: {line:?}");
            }
            if flag == "--help" {
                text.push_str(&format!("$ witness {command} --help\n{}\n", ran.stdout));
            }
        }
    }
    assert_snapshot!(text.replace("witness  --help", "witness --help"));
}

#[test]
fn version() {
    for flag in ["--version", "-V"] {
        let ran = run(flag);
        assert_eq!(ran.stdout, format!("witness {}\n", env!("CARGO_PKG_VERSION")));
        assert_eq!(ran.code, 0);
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&format!("completions {shell}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
        for word in COMMANDS.iter().flat_map(|command| command.split(' ')) {
            assert!(ran.stdout.contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(run("completions tcsh").code, 2);
}

#[test]
fn mistakes_on_the_command_line() {
    let lines = [
        "",
        "statsu",
        "status --jsn",
        "status --check --json",
        "history --kind strikes,bogus",
        "history --limit 0",
        "history --limit many",
        "pin slice1 sideways --for 2h --reason x",
        "pin slice1 out --for 2h",
        "pin slice1 out --reason x",
        "reinstate",
        "withdraw 'not a name'",
        "zone",
        "zone restore first",
    ];
    let mut text = String::new();
    for line in lines {
        let ran = run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{line}");
        if !line.is_empty() && line != "zone" {
            text.push_str(&format!("$ witness {line}\n{}\n", ran.stderr));
        }
    }
    assert_snapshot!(text);
}
