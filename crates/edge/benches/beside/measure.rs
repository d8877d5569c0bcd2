//! Figures of processes, medians, and tables.

use std::fs;
use std::time::{Duration, Instant};

/// CPU time that a running process, its running children and its finished ones have used, seconds.
pub(crate) fn cpu_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    // Fields 14 to 17 of proc(5): utime, stime, cutime, cstime, in ticks of 10 ms.
    let ticks: f64 = (11..15).filter_map(|field| fields.get(field)?.parse::<f64>().ok()).sum();
    ticks / 100.0 + children_of(pid).into_iter().map(cpu_of).sum::<f64>()
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// What a process has resident now, and the most it ever had, MB of a million bytes.
pub(crate) fn resident_of(pid: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    (kilobytes("VmRSS:") * 1024.0 / 1e6, kilobytes("VmHWM:") * 1024.0 / 1e6)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of the ratios, pair by pair.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
}

/// Starts measuring wall time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A table in Markdown, printed as soon as it is whole.
pub(crate) fn print(title: &str, columns: &[&str], rows: &[Vec<String>]) {
    println!("\n{title}\n");
    println!("| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// Whether an aim was reached, for the last column.
pub(crate) fn verdict(aim: &str, reached: bool) -> String {
    if reached { format!("{aim}: reached") } else { format!("{aim}: **missed**") }
}
