//! The program: parse, start tracing, run a command, map failure to an exit code.

use std::process::ExitCode;

use witness::cli;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    cli::run(cli).into()
}
