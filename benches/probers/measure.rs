//! Figures of processes, and the table of them.

use std::fs;
use std::time::{Duration, Instant};

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Probes made.
    pub(crate) probes: usize,
    /// ... that were answered as they should.
    pub(crate) good: usize,
    pub(crate) wall_s: f64,
    /// Of the prober alone, its children included.
    pub(crate) cpu_s: f64,
    /// The most it had resident, where known.
    pub(crate) peak_mb: f64,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    work: String,
    peer: String,
    ours: Figures,
    theirs: Option<Figures>,
    /// Pair by pair.
    ratio: f64,
    bar: String,
    note: String,
}

impl Row {
    pub(crate) fn sweep(work: &str, peer: &str, ours: &[Figures], theirs: &[Figures]) -> Self {
        let per_probe = |one: &Figures| one.cpu_s / one.probes.max(1) as f64;
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| per_probe(ours) / per_probe(theirs)).collect();
        Self {
            work: work.to_owned(),
            peer: peer.to_owned(),
            ours: middle(ours),
            theirs: Some(middle(theirs)),
            ratio: median(ratios),
            bar: String::new(),
            note: String::new(),
        }
    }

    pub(crate) fn alone(work: &str, ours: &[Figures]) -> Self {
        let (work, peer) = (work.to_owned(), "-".to_owned());
        Self { work, peer, ours: middle(ours), theirs: None, ratio: 0.0, bar: String::new(), note: String::new() }
    }

    pub(crate) fn bar(self, bar: &str) -> Self {
        Self { bar: bar.to_owned(), ..self }
    }

    pub(crate) fn note(self, note: String) -> Self {
        Self { note, ..self }
    }
}

/// Each figure's median.
fn middle(all: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(all.iter().map(figure).collect());
    Figures {
        probes: all.iter().map(|one| one.probes).min().unwrap_or(0),
        // Not the median but the worst: a lost probe is not made good by two that were not.
        good: all.iter().map(|one| one.good).min().unwrap_or(0),
        wall_s: of(|one| one.wall_s),
        cpu_s: of(|one| one.cpu_s),
        peak_mb: of(|one| one.peak_mb),
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The table, as Markdown.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "| work | good | CPU s per 1000 | wall s | peak MB | peer | its CPU s per 1000 | its wall s | CPU ratio | aim |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let per_1000 = |one: &Figures| 1000.0 * one.cpu_s / one.probes.max(1) as f64;
        let (their_cpu, their_wall, ratio) = match &row.theirs {
            Some(theirs) => {
                (format!("{:.3}", per_1000(theirs)), format!("{:.2}", theirs.wall_s), format!("{:.2}", row.ratio))
            }
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        let aim = if row.note.is_empty() { row.bar.clone() } else { format!("{}: {}", row.bar, row.note) };
        println!(
            "| {} | {}/{} | {:.3} | {:.2} | {:.0} | {} | {their_cpu} | {their_wall} | {ratio} | {aim} |",
            row.work,
            row.ours.good,
            row.ours.probes,
            per_1000(&row.ours),
            row.ours.wall_s,
            row.ours.peak_mb,
            row.peer,
        );
    }
}

/// CPU time that a process and its finished children have used, seconds; of a running process.
pub(crate) fn cpu_of(pid: u32) -> Result<f64, String> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| format!("no figures of {pid}: {error}"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    // Fields 14 to 17 of proc(5): utime, stime, cutime, cstime, in ticks of 10 ms.
    let ticks: f64 = (11..15).filter_map(|field| fields.get(field)?.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

/// The most a running process ever had resident, MB.
pub(crate) fn peak_of(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

/// CPU time of the children that this process has waited for, seconds.
pub(crate) fn cpu_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let ticks: f64 = (13..15).filter_map(|field| fields.get(field)?.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Waits until something holds, at most `bound`.
pub(crate) fn wait_until(bound: Duration, mut holds: impl FnMut() -> bool) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
    let start = Instant::now();
    while start.elapsed() < bound {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Starts measuring wall time.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}
