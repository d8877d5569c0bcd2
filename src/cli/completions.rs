//! `witness completions`

use clap::CommandFactory as _;

use super::args::Cli;
use crate::exit::{Exit, Failure};

pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "witness", &mut script);
    super::print::out(&String::from_utf8_lossy(&script))
}
