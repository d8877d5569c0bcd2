//! What a probe costs beside the programs that people use today, all on the same work in the same run.
//!
//! Every measure is taken several times, witness and its peers in turn, and the medians are told. Run it by
//! `cargo xtask bench`; `docs/benchmarks.md` shows the table it prints.

mod measure;
mod peers;
mod targets;
mod work;

use std::process::ExitCode;

use measure::{Row, median};
use targets::Targets;

/// Each measure is taken this many times.
const RUNS: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some("work") = arguments.first().map(String::as_str) {
        return work::main(&arguments[1..]);
    }
    match bench(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("probers: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Takes every measure, or those whose name contains one of `only`.
fn bench(only: &[String]) -> Result<(), String> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let targets = Targets::start()?;
    let mut rows: Vec<Row> = Vec::new();
    for count in [1000, 10_000] {
        if wanted("https") {
            rows.push(https(&targets, count)?);
        }
    }
    for count in [1000, 10_000] {
        if wanted("ping") {
            rows.extend(ping(&targets, count)?);
        }
    }
    if wanted("ssh") {
        rows.push(ssh(&targets)?);
    }
    if wanted("paced") {
        rows.extend(paced(&targets)?);
    }
    if wanted("round") {
        rows.push(round_of_ten_thousand(&targets)?);
    }
    if wanted("once") {
        rows.push(once(&targets)?);
    }
    measure::print(&rows);
    Ok(())
}

/// A dense sweep: TLS handshake with verification, a request, a look at the body.
fn https(targets: &Targets, count: usize) -> Result<Row, String> {
    let blackbox = peers::Blackbox::start(targets)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(work::run(&["https", &count.to_string()], targets)?);
        theirs.push(blackbox.sweep("https", count, targets)?);
    }
    Ok(Row::sweep(&format!("https, {count} nodes"), "blackbox_exporter", &ours, &theirs).bar("CPU <= 0.40"))
}

/// One echo each, all at once; fping as it is used, and at its fastest.
fn ping(targets: &Targets, count: usize) -> Result<Vec<Row>, String> {
    let blackbox = peers::Blackbox::start(targets)?;
    let (mut ours, mut usual, mut fast, mut box_) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(work::run(&["ping", &count.to_string()], targets)?);
        usual.push(peers::fping(count, "1")?);
        fast.push(peers::fping(count, "0")?);
        box_.push(blackbox.sweep("icmp", count, targets)?);
    }
    let name = format!("ping, {count} nodes");
    Ok(vec![
        Row::sweep(&name, "fping -i 1 (its default is 10)", &ours, &usual).bar("CPU <= 1.00"),
        Row::sweep(&name, "fping -i 0", &ours, &fast),
        Row::sweep(&name, "blackbox_exporter", &ours, &box_),
    ])
}

/// Key exchange and host-key check against a real sshd.
fn ssh(targets: &Targets) -> Result<Row, String> {
    let count = 200;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(work::run(&["ssh", &count.to_string()], targets)?);
        theirs.push(peers::keyscan(count, targets)?);
    }
    let row = Row::sweep(&format!("ssh handshake, {count} nodes"), "ssh-keyscan", &ours, &theirs);
    Ok(row.bar("<= 0.70 ms of CPU each"))
}

/// A thousand nodes, each once a second, ledger and judgement included.
fn paced(targets: &Targets) -> Result<Vec<Row>, String> {
    let (mut ours, mut whole, mut resumed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(peers::witness_run(targets, 1000)?);
        whole.push(peers::haproxy(targets, 1000, true)?);
        resumed.push(peers::haproxy(targets, 1000, false)?);
    }
    let name = "paced, 1000 nodes a second";
    Ok(vec![
        Row::sweep(name, "haproxy check-ssl no-ssl-reuse", &ours, &whole).bar("CPU <= 0.75"),
        Row::sweep(name, "haproxy check-ssl, sessions resumed", &ours, &resumed),
    ])
}

/// One `witness once` over ten thousand nodes: what it takes in memory.
fn round_of_ten_thousand(targets: &Targets) -> Result<Row, String> {
    let mut ours = Vec::new();
    for _ in 0..RUNS {
        ours.push(peers::witness_once(targets, 10_000)?);
    }
    Ok(Row::alone("`witness once`, 10000 nodes", &ours).bar("< 150 MB"))
}

/// What starting, opening the ledger, judging, writing and leaving cost beyond the slowest probe.
fn once(targets: &Targets) -> Result<Row, String> {
    let mut overheads = Vec::new();
    let mut ours = Vec::new();
    for run in 0..21 {
        let (measured, overhead_ms) = peers::witness_once_overhead(targets)?;
        // The first makes the database.
        if run > 0 {
            ours.push(measured);
            overheads.push(overhead_ms);
        }
    }
    let row = Row::alone("`witness once`, 4 nodes", &ours).bar("overhead < 30 ms");
    Ok(row.note(format!("overhead beyond the slowest probe {:.1} ms", median(overheads))))
}
