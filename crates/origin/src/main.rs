//! The program `witness-origin`: parse, run a command, map failure to an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use witness_origin::cli::{self, Arguments, Failure};

fn main() -> ExitCode {
    match cli::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, message)) => {
            // Of a judgement, the code says it all. And nobody may be listening any more.
            if !message.is_empty() {
                let _ = writeln!(std::io::stderr(), "{message}");
            }
            ExitCode::from(code)
        }
    }
}
