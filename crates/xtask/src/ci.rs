//! Everything a change must pass, in the order in which mistakes are found fastest.

use std::process::Command;

use crate::machine::Machine;
use crate::skips::Skips;
use crate::suites::{Build, run_tests};
use crate::{Failure, cargo, run, succeeds};

pub(crate) fn everything(machine: &Machine, with_deny: bool, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    let mut skips = Skips::default();
    // Each is run whatever became of the others: one round shows all that is wrong.
    let steps = [
        run(cargo().args(["fmt", "--all", "--check"])),
        run(build.cargo(&["clippy", "--workspace", "--all-targets"]).args(["--", "-D", "warnings"])),
        run(build.cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings")),
        deny(with_deny, &mut skips),
        // Whether generated files are stale is one of the tests.
        run_tests(machine, &build, arguments, &mut skips),
    ];
    let failures: Vec<Failure> = steps.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\nxtask: ")) }
}

/// Licences, bans and sources can be told offline; advisories need their database from the network.
fn deny(build_it: bool, skips: &mut Skips) -> Result<(), Failure> {
    let is_there = || succeeds(cargo().args(["deny", "--version"]));
    if !is_there() && build_it {
        run(cargo().args(["install", "cargo-deny", "--locked"]))?;
    }
    if !is_there() {
        skips.add("cargo deny", "cargo-deny is not installed; `cargo xtask ci --with-deny` builds it");
        return Ok(());
    }
    run(cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    let mut advisories: Command = cargo();
    let output = advisories
        .args(["deny", "check", "advisories"])
        .output()
        .map_err(|error| format!("failed to start cargo deny: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    eprint!("{told}");
    if output.status.success() {
        return Ok(());
    }
    if told.contains("failed to fetch advisory database") {
        skips.add("cargo deny advisories", "the database of advisories could not be fetched");
        return Ok(());
    }
    Err("`cargo deny check advisories` failed".to_owned())
}
