//! What the origin takes, beside what the same disk and processor can do without it.
//!
//! ```sh
//! cargo xtask origin-bench                 # everything
//! cargo xtask origin-bench big small       # parts of it: big, small, memory, names
//! cargo xtask origin-bench --small         # everything with little, to see that it works
//! ```
//!
//! The server is the program that is released, in a process of its own. It uses the folder for temporary files;
//! `TMPDIR` chooses another disk.

#![expect(clippy::unwrap_used, reason = "a benchmark may unwrap as tests do")]

mod big;
mod memory;
mod names;
mod server;
mod small;

use std::time::Duration;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Of the big file, in bytes.
    big: u64,
    /// How long small uploads go on.
    lasts: Duration,
    rounds: usize,
    /// Of each of the uploads at once, in bytes.
    each: usize,
    /// In the database.
    names: u64,
}

const FULL: Scale = Scale { big: 1 << 30, lasts: Duration::from_secs(4), rounds: 3, each: 8 << 20, names: 10_000_000 };
const LITTLE: Scale = Scale { big: 64 << 20, lasts: Duration::from_secs(1), rounds: 1, each: 1 << 20, names: 100_000 };

fn main() {
    let mut parts: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let is_small = parts.iter().any(|part| part == "--small");
    parts.retain(|part| part != "--small");
    let scale = if is_small { LITTLE } else { FULL };
    let all = [("big", big::run as fn(Scale)), ("small", small::run), ("memory", memory::run), ("names", names::run)];
    if let Some(unknown) = parts.iter().find(|part| !all.iter().any(|(name, _)| name == part)) {
        eprintln!("there is no part {unknown}; there are big, small, memory, names");
        std::process::exit(2);
    }
    for (name, run) in all {
        if parts.is_empty() || parts.iter().any(|part| part == name) {
            run(scale);
            println!();
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
