//! The command line: one file for each group of commands; it prints, and never decides.

pub mod args;
pub mod format;
pub mod report;

mod backtest;
mod check;
mod completions;
mod demo;
mod doubt;
mod explain;
mod export;
mod hand;
mod history;
mod json;
mod judge;
mod judgement;
mod once;
mod open;
mod pin;
mod policy;
mod print;
mod run;
mod simulate;
mod status;
mod zone;

use std::future::Future;
use std::io::IsTerminal as _;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure};
use args::{Cli, Command};

/// Reads the command line. `--help` and `--version` are printed here, and so are mistakes.
///
/// # Errors
/// The code to leave with, when there is nothing to run.
pub fn parse() -> Result<Cli, Exit> {
    Cli::try_parse().map_err(|error| {
        let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
        // A closed pipe is the reader's choice.
        let _ = error.print();
        exit
    })
}

/// Runs a command to its end.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    start_tracing(cli.verbose, matches!(cli.command, Command::Run));
    let config = cli.config;
    let result = match cli.command {
        Command::Demo(args) => demo::demo(&args),
        Command::Once(args) => once::once(config, &args),
        Command::Run => run::run(config),
        Command::Status(args) => status::status(config, &args),
        Command::History(args) => history::history(config, &args),
        Command::Explain(args) => explain::explain(config, &args),
        Command::Reinstate(args) => hand::hand(config, &args, crate::model::RequestKind::Reinstate),
        Command::Withdraw(args) => hand::hand(config, &args, crate::model::RequestKind::Withdraw),
        Command::Pin(args) => pin::pin(config, &args),
        Command::Unpin(args) => pin::unpin(config, &args),
        Command::Judge(args) => judge::judge(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Backtest(args) => backtest::backtest(&args),
        Command::Export(args) => export::export(config, &args),
        Command::Check(args) => check::check(config, &args),
        Command::Zone(command) => zone::zone(config, &command),
        Command::Completions { shell } => completions::completions(shell),
    };
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                print::note(&failure.message);
            }
            failure.exit
        }
    }
}

/// Logs go to stderr: warnings for commands, everything worth a line for the daemon; `WITNESS_LOG` says otherwise.
fn start_tracing(verbose: u8, daemon: bool) {
    let level = match (verbose, daemon) {
        (0, false) => "warn",
        (0, true) | (1, false) => "info",
        (1, true) | (2.., false) => "debug",
        (2.., true) => "trace",
    };
    let filter = EnvFilter::try_from_env("WITNESS_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("off,witness={level},witness_lab={level}")));
    // Under systemd the journal knows the time.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_ansi(colour);
    let builder = builder.with_target(false);
    if journal { builder.without_time().init() } else { builder.init() }
}

/// Runs what must wait.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // One thread probes and judges; what blocks has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("failed to start: {error}")))?;
    let result = runtime.block_on(future);
    // Nothing that hangs may keep us from leaving.
    runtime.shutdown_background();
    result
}
