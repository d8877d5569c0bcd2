//! Telling that a suite was left out. A skipped suite is counted as skipped, never as passed.

use std::fs::OpenOptions;
use std::io::Write;

/// The variable that names the file where skipped suites are gathered; `cargo xtask test` sets it.
pub const SKIPS: &str = "WITNESS_SKIPS";

/// Says that `suite` is left out for want of something that could be installed or done as root, such as a server's
/// package. Where everything should be there (`CI=true` and root), `cargo xtask test` takes this for a failure.
///
/// A test calls it and returns:
///
/// ```no_run
/// # fn is_installed() -> Result<(), String> { Err("knotd is not installed".into()) }
/// if let Err(reason) = is_installed() {
///     return witness_lab::skip("rfc2136 against knot", &reason);
/// }
/// ```
pub fn skip(suite: &str, reason: &str) {
    tell("skipped", suite, reason);
}

/// Says that `suite` is left out because this machine cannot run it whatever is installed: the kernel lacks a
/// feature, say.
pub fn skip_machine(suite: &str, reason: &str) {
    tell("skipped-by-machine", suite, reason);
}

fn tell(kind: &str, suite: &str, reason: &str) {
    let line = format!("{kind}: {}: {}\n", one_line(suite), one_line(reason));
    eprint!("{line}");
    if let Some(path) = std::env::var_os(SKIPS) {
        // One write of a short line in append mode: lines of tests that run side by side do not mix.
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            eprintln!("failed to note a skipped suite in {SKIPS}: {error}");
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
