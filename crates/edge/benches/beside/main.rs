//! What the edge costs and how fast it is beside nginx and Varnish, all on the same work in the same run.
//!
//! Run it by `cargo xtask edge-bench`; `docs/benchmarks.md` shows the tables it prints. Servers run on core 0; clients
//! and the origin on core 1.

mod client;
mod cold;
mod hits;
mod measure;
mod memory;
mod origin;
mod peers;
mod ratio;

use std::process::ExitCode;

use origin::Origin;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match bench(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("edge-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

/// All of it, or what has one of the arguments in its name; `runs=N` and `seconds=N` change how often and how long.
fn bench(arguments: &[String]) -> Result<(), String> {
    let number = |key: &str| arguments.iter().find_map(|argument| argument.strip_prefix(key)?.parse::<u32>().ok());
    let (runs, seconds) = (number("runs=").unwrap_or(5), number("seconds=").unwrap_or(3));
    let only: Vec<String> = arguments.iter().filter(|argument| !argument.contains('=')).cloned().collect();
    pin()?;
    let origin = Origin::start()?;
    cold::bench(&origin, &only, runs as usize)?;
    hits::bench(&origin, &only, runs as usize, seconds)?;
    let trace = arguments.iter().find_map(|argument| argument.strip_prefix("trace="));
    ratio::bench(&only, trace.map(std::path::Path::new))?;
    memory::bench(&origin, &only, number("objects=").map(u64::from))
}

/// Clients and origin stay off the servers' core.
fn pin() -> Result<(), String> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(1);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| format!("this needs two cores: {error}"))
}
