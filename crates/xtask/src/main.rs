//! `cargo xtask`: what people and machines run in this repository. Every task sets up what it needs first.
//!
//! The standard library alone is used here: this is built before anything else, on machines that have nothing yet.

mod ci;
mod machine;
mod packages;
mod skips;
mod suites;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use machine::Machine;

const USAGE: &str = "\
usage: cargo xtask TASK [--no-install] [ARGUMENTS]

  demo    runs `witness demo`: a whole fleet on loopback
  test    runs all tests; ARGUMENTS go to the test runner (`cargo nextest run`, or `cargo test` without nextest)
  overload-test
          four nodes behind narrow links and more clients than they can serve, in real packets: minutes, as root;
          ARGUMENTS pick tests by name
  edge-kill [--seeds N] [--first N]
          kills the edge in the middle of fills, evictions and index writes, and looks at every byte it serves
          afterwards: 1000 times unless told otherwise, half a second each
  origin-clients
          clients that other people wrote (curl, wget, HTTPie, requests, node, tuspy, tus-js-client) and clamd against
          the origin, and moto and s3rver behind it; these come from PyPI and npm. ARGUMENTS pick tests by name
  ci      runs what a change must pass: format, clippy, tests, documentation, dependencies
          --with-deny   builds cargo-deny first if it is not installed (takes minutes)
  bench   runs the benchmarks beside blackbox_exporter, fping and haproxy; ARGUMENTS go to the benchmark
  edge-bench [PARTS] [runs=N] [seconds=N] [trace=FILE]
          the edge beside nginx and Varnish; PARTS pick measures by name: cold, TLS, plain, ratio, memory
  judge-bench
          measures the rule alone: over many nodes at once, or with the argument `year` over a year of four
  simulate-bench [SEEDS] [WORLDS]
          every policy in every scenario and in random worlds, in tables, with what is aimed at
  origin-browser
          the origin's pages in Chromium; pictures of them go to target/origin-browser; ARGUMENTS pick tests by name
  origin-bench [PARTS] [--small]
          the origin beside sha256sum, cp and the bare disk; PARTS are big, small, memory, names; the folder for
          temporary files is used, and needs 12 GB
  gen     writes the generated documentation again
  bless   writes all expected outputs of tests again; read the difference afterwards

As root on Debian, what a task needs is installed with apt-get, without starting any service; --no-install leaves the
machine as it is. Anybody else is told which suites are left out and why, and those are counted as skipped.
";

/// Why a task did not succeed, in words for the last line.
type Failure = String;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let task = if arguments.is_empty() { "help".to_owned() } else { arguments.remove(0) };
    let mut flag = |name: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != name);
        arguments.len() < before
    };
    let machine = Machine::look(flag("--no-install"));
    let done = match task.as_str() {
        "demo" => suites::demo(&machine, &arguments),
        "test" => suites::test(&machine, &arguments),
        "overload-test" => suites::overload_test(&machine, &arguments),
        "edge-kill" => suites::edge_kill(&machine, &arguments),
        "origin-clients" => suites::origin_clients(&machine, &arguments),
        "ci" => {
            let with_deny = flag("--with-deny");
            ci::everything(&machine, with_deny, &arguments)
        }
        "bench" => suites::bench(&machine, &arguments),
        "edge-bench" => suites::edge_bench(&machine, &arguments),
        "judge-bench" => suites::judge_bench(&machine, &arguments),
        "simulate-bench" => suites::simulate_bench(&machine, &arguments),
        "origin-browser" => suites::origin_browser(&machine, &arguments),
        "origin-bench" => suites::origin_bench(&machine, &arguments),
        "gen" => suites::generate(&machine),
        "bless" => suites::bless(&machine, &arguments),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => {
            eprint!("there is no task {other}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the repository.
fn root() -> PathBuf {
    // The variable is set by `cargo run` and true when the repository has been moved since this was compiled.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = PathBuf::from(manifest).join("../..");
    root.canonicalize().unwrap_or(root)
}

/// A cargo command in the repository.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Says what is run, runs it and wants it to succeed.
fn run(command: &mut Command) -> Result<(), Failure> {
    let words = std::iter::once(command.get_program())
        .map(|program| std::path::Path::new(program).file_name().unwrap_or(program))
        .chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    eprintln!("xtask: {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` failed ({status})")),
        Err(error) => Err(format!("failed to start `{shown}`: {error}")),
    }
}

/// Whether a command runs and succeeds; its output is of no interest.
fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
