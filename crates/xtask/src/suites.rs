//! The tasks that run the program: demo, tests, benchmarks, generated files.

use std::path::Path;
use std::process::Command;

use crate::machine::{Machine, has_openssl_headers, which};
use crate::packages::{self, BENCH, BROWSER, BUILD, CLIENTS, EDGE_BENCH, OVERLOAD, TESTS};
use crate::skips::{self, Skips};
use crate::{Failure, cargo, root, run, succeeds};

/// Features that make up for what the machine lacks.
#[derive(Debug)]
pub(crate) struct Build {
    features: &'static [&'static str],
}

impl Build {
    /// Makes sure that the workspace can be built.
    pub(crate) fn prepare(machine: &Machine) -> Result<Self, Failure> {
        let missing = packages::provide(machine, BUILD);
        if missing.has("gcc") {
            missing.tell(machine);
            return Err(
                "there is no C compiler (Debian package gcc), which some dependencies are built with".to_owned()
            );
        }
        if has_openssl_headers() {
            return Ok(Self { features: &[] });
        }
        if which("perl").is_none() || which("make").is_none() {
            return Err("OpenSSL's headers are missing (Debian package libssl-dev), and to build OpenSSL itself \
                        perl and make are needed"
                .to_owned());
        }
        eprintln!("xtask: OpenSSL's headers are missing (Debian package libssl-dev), so OpenSSL is built, too");
        Ok(Self { features: &["--features", "witness/vendored-openssl"] })
    }

    /// A cargo command, such as `["test", "--workspace"]`.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = cargo();
        command.args(words).args(self.features);
        command
    }
}

pub(crate) fn demo(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    run(build.cargo(&["run", "--quiet", "--package", "witness"]).args(["--", "demo"]).args(arguments))
}

pub(crate) fn test(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    run_tests(machine, &build, arguments, &mut Skips::default())
}

/// What takes the whole machine for minutes, and would make the timing of others' tests mean nothing.
pub(crate) fn overload_test(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    let missing = packages::provide(machine, OVERLOAD);
    missing.tell(machine);
    let file = skips::fresh_file(&target())?;
    // The nodes are a program of another package, which cargo does not build for a test of this one.
    run(&mut build.cargo(&["build", "--quiet", "--package", "witness-lab", "--bins"]))?;
    let words = ["test", "--quiet", "--package", "witness", "--test", "overload"];
    let mut command = build.cargo(&words);
    command.args(["--", "--ignored", "--nocapture", "--test-threads=1"]).args(arguments);
    let done = run(command.env(skips::VARIABLE, &file));
    let skips = Skips::read(&file);
    skips.tell();
    done?;
    skips.judge(machine, &missing.not_to_be_had)
}

/// A browser is a big thing to install for one page.
pub(crate) fn origin_browser(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    let missing = packages::provide(machine, BROWSER);
    missing.tell(machine);
    let file = skips::fresh_file(&target())?;
    let mut command = build.cargo(&["test", "--quiet", "--package", "witness-origin", "--test", "browser"]);
    command.args(["--", "--ignored", "--nocapture", "--test-threads=1"]).args(arguments);
    let done = run(command.env(skips::VARIABLE, &file));
    let skips = Skips::read(&file);
    skips.tell();
    done?;
    skips.judge(machine, &missing.not_to_be_had)
}

/// The test of the edge that a few seeds of are in the suite, with many.
pub(crate) fn edge_kill(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    let number = |name: &str, default: u64| -> Result<u64, Failure> {
        let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(default) };
        let text = arguments.get(at + 1).map_or("", String::as_str);
        text.parse().map_err(|_| format!("{name} {text:?}: write a number, like {name} {default}"))
    };
    let (seeds, first) = (number("--seeds", 1000)?, number("--first", 0)?);
    // A debug build, as only these can be told where to die.
    let mut command = build.cargo(&["test", "--quiet", "--package", "witness-edge", "--test", "edge"]);
    command.args(["--", "--exact", "--nocapture", "killed::after_a_kill_every_byte_is_right"]);
    run(command.env("WITNESS_EDGE_KILL_SEEDS", seeds.to_string()).env("WITNESS_EDGE_KILL_FIRST", first.to_string()))
}

/// Clients that other people wrote, against the origin, and buckets of theirs behind it. They are installed below
/// `target`, of nobody's concern else.
pub(crate) fn origin_clients(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    packages::provide(machine, CLIENTS).tell(machine);
    let folder = target().join("clients");
    let (python, node) = (folder.join("python"), folder.join("node"));
    std::fs::create_dir_all(&node).map_err(|error| format!("failed to make {}: {error}", node.display()))?;
    if !python.join("bin/moto_server").is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
        let packages = ["requests==2.34.2", "httpie==3.2.4", "tuspy==1.1.0", "moto[server]==5.2.1"];
        run(Command::new(python.join("bin/pip")).args(["install", "--quiet"]).args(packages))?;
    }
    if !node.join("node_modules/s3rver").is_dir() {
        let words = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").arg("--prefix").arg(&node).args(words).args(["tus-js-client@4.3.1", "s3rver@3.7.1"]))?;
    }
    for (suite, within) in [("clients", None), ("origin", arguments.is_empty().then_some("peers::"))] {
        let mut command = build.cargo(&["test", "--quiet", "--package", "witness-origin", "--test", suite]);
        command.args(["--", "--ignored", "--test-threads=1"]).args(within).args(arguments);
        run(command.env("WITNESS_CLIENTS", &folder))?;
    }
    Ok(())
}

/// Runs the tests, tells what was skipped, and judges it. `also` are suites that the caller has left out.
pub(crate) fn run_tests(
    machine: &Machine,
    build: &Build,
    arguments: &[String],
    also: &mut Skips,
) -> Result<(), Failure> {
    let missing = packages::provide(machine, TESTS);
    missing.tell(machine);
    if !machine.installs && machine.why_not.starts_with("only root") {
        eprintln!("xtask: not root, so what needs network namespaces is left out: end to end, networks of the lab");
    }
    if arguments.is_empty() {
        also.add("overload", "it takes minutes and the whole machine; `cargo xtask overload-test` runs it");
    }
    if arguments.is_empty() {
        also.add("pages in a browser", "they need Chromium; `cargo xtask origin-browser` runs them");
    }
    let file = skips::fresh_file(&target())?;
    let done = run_runners(build, arguments, &file);
    also.extend(Skips::read(&file));
    also.tell();
    done?;
    also.judge(machine, &missing.not_to_be_had)
}

fn run_runners(build: &Build, arguments: &[String], file: &Path) -> Result<(), Failure> {
    let with_skips = |mut command: Command| {
        command.env(skips::VARIABLE, file);
        command
    };
    // The examples in the documentation, which nextest does not run. With arguments, certain tests are wanted.
    let documented = if arguments.is_empty() {
        run(&mut with_skips(build.cargo(&["test", "--quiet", "--workspace", "--doc"])))
    } else {
        Ok(())
    };
    let others = if has_nextest() {
        run(with_skips(build.cargo(&["nextest", "run", "--workspace"])).args(arguments))
    } else {
        eprintln!("xtask: cargo-nextest is not installed; `cargo test` does, only slower");
        let only_tests = ["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"];
        run(with_skips(build.cargo(&only_tests)).args(arguments))
    };
    others.and(documented)
}

fn has_nextest() -> bool {
    succeeds(cargo().args(["nextest", "--version"]))
}

pub(crate) fn bench(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    packages::provide(machine, BENCH).tell(machine);
    let name = "probers";
    if !root().join("benches").join(format!("{name}.rs")).is_file() && !root().join("benches").join(name).is_dir() {
        return Err(format!("there is no benchmark {name} in benches/"));
    }
    run(build.cargo(&["bench", "--package", "witness", "--bench", name]).arg("--").args(arguments))
}

pub(crate) fn edge_bench(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    Build::prepare(machine)?;
    let missing = packages::provide(machine, EDGE_BENCH);
    missing.tell(machine);
    if let Some(need) = EDGE_BENCH.iter().find(|need| missing.has(need.package)) {
        return Err(format!("without {} nothing can be compared", need.package));
    }
    run(cargo().args(["bench", "--package", "witness-edge", "--bench", "beside", "--"]).args(arguments))
}

pub(crate) fn judge_bench(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    run(build.cargo(&["bench", "--package", "witness", "--bench", "judge"]).arg("--").args(arguments))
}

pub(crate) fn simulate_bench(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    run(build.cargo(&["bench", "--package", "witness", "--bench", "simulate"]).arg("--").args(arguments))
}

pub(crate) fn origin_bench(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    run(build.cargo(&["bench", "--package", "witness-origin", "--bench", "origin"]).arg("--").args(arguments))
}

/// The tests in `tests/docs` compare what is generated with what is committed, and write it when they are blessed.
pub(crate) fn generate(machine: &Machine) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    if !root().join("tests/docs/main.rs").is_file() {
        return Err("there is no tests/docs/main.rs, which knows what is generated".to_owned());
    }
    run(build.cargo(&["test", "--quiet", "--package", "witness", "--test", "docs"]).env(BLESS, "1"))
}

pub(crate) fn bless(machine: &Machine, arguments: &[String]) -> Result<(), Failure> {
    let build = Build::prepare(machine)?;
    packages::provide(machine, TESTS).tell(machine);
    let words = ["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"];
    // INSTA_UPDATE is for the snapshots, the other variable for `witness_lab::golden`.
    run(build.cargo(&words).args(arguments).env(BLESS, "1").env("INSTA_UPDATE", "always"))?;
    run(Command::new("git").current_dir(root()).args(["status", "--short"]))
}

/// The variable that makes tests write what they would compare with.
const BLESS: &str = "WITNESS_BLESS";

/// Where cargo builds.
fn target() -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}
