//! What a backtest costs: a month of four nodes, a round of three probes every 10 s, from a file.
//!
//! There is no peer; what is shown is what a year would take.

#![expect(clippy::unwrap_used, reason = "a benchmark may end itself")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};

use witness::backtest::run;
use witness::clock::Stopwatch;
use witness::replay::{Options, Reader, Wanted};

const STEP_MS: i64 = 10_000;

/// Writes so many days. One check in a thousand fails; once a day a node is gone for ten minutes, and the record sets follow.
fn trace(days: i64, out: &mut impl std::io::Write) {
    let header = r#"{"k":"header","format":"witness-trace","v":1,"tick_ms":10000,"ttl_s":60,"fleet":[{"n":"n1"},{"n":"n2"},{"n":"n3"},{"n":"n4"}],"witnesses":["w1"]}"#;
    writeln!(out, "{header}").unwrap();
    for turn in 0..days * 8640 {
        let (day, step) = (turn / 8640, turn % 8640);
        let gone = day % 4 + 1;
        let began = turn * STEP_MS;
        if step == 4010 || step == 4080 {
            let set: Vec<String> =
                (1..=4).filter(|node| step == 4080 || *node != gone).map(|node| format!("\"n{node}\"")).collect();
            writeln!(out, r#"{{"k":"dns","t":{began},"set":[{}],"ttl_s":60}}"#, set.join(",")).unwrap();
        }
        for node in 1..=4 {
            let dead = node == gone && (4000..4060).contains(&step);
            let t = began + 200 + node;
            let got = if dead { 0 } else { 3 };
            writeln!(out, r#"{{"k":"obs","t":{t},"w":"w1","n":"n{node}","p":"icmp","sent":3,"got":{got},"rtt_us":30120,"total_us":31000}}"#).unwrap();
        }
        for node in 1..=4 {
            let dead = node == gone && (4000..4060).contains(&step);
            let noise = (node * 7919 + turn * 104_729) % 1000 == 0;
            let t = began + 300 + node;
            let how = match (dead, noise) {
                (true, _) => r#""o":"timeout","stage":"connect","connect_us":4000000,"total_us":4000000"#,
                (_, true) => r#""o":"timeout","stage":"request","connect_us":31000,"total_us":8000000"#,
                _ => r#""o":"ok","status":200,"connect_us":31000,"tls_us":61000,"ttfb_us":92000,"total_us":95000"#,
            };
            writeln!(out, r#"{{"k":"obs","t":{t},"w":"w1","n":"n{node}","p":"https",{how}}}"#).unwrap();
            let how = if dead {
                r#""o":"timeout","stage":"connect","total_us":4000000"#
            } else {
                r#""o":"ok","connect_us":30100,"banner_us":64000,"total_us":64000"#
            };
            writeln!(out, r#"{{"k":"obs","t":{t},"w":"w1","n":"n{node}","p":"ssh",{how}}}"#).unwrap();
        }
        writeln!(out, r#"{{"k":"ctl","t":{},"w":"w1","ok":3,"of":3}}"#, began + 400).unwrap();
    }
}

/// The most memory this process has had, MB.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

/// CPU time of this thread, s: others may have the machine beside us.
fn own_s() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// CPU time of reading alone, s: the other thread's part.
fn reading_s(path: &std::path::Path) -> f64 {
    let before = own_s();
    let mut input = BufReader::with_capacity(1 << 18, File::open(path).unwrap());
    let (mut reader, mut line) = (Reader::new(Wanted::Everything), String::new());
    while input.read_line(&mut line).unwrap() > 0 {
        reader.line(line.trim_end()).unwrap();
        line.clear();
    }
    own_s() - before
}

fn main() {
    let days: i64 = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(30);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.jsonl");
    let mut out = BufWriter::with_capacity(1 << 18, File::create(&path).unwrap());
    trace(days, &mut out);
    out.flush().unwrap();
    drop(out);
    let bytes = std::fs::metadata(&path).unwrap().len();
    let (clock, before) = (Stopwatch::start(), own_s());
    let input = BufReader::with_capacity(1 << 18, File::open(&path).unwrap());
    let report = run(input, Options::default(), &mut |_| {}).unwrap();
    let (took, judging) = (clock.elapsed().as_secs_f64(), own_s() - before);
    let reading = reading_s(&path);
    let year = 365.0 / days as f64;
    println!("| days | MB | lines | rounds | decisions | s | CPU s judging | CPU s reading | s a year | peak MB |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    println!(
        "| {days} | {} | {} | {} | {} | {took:.1} | {judging:.1} | {reading:.1} | {:.0} | {:.1} |",
        bytes >> 20,
        report.lines,
        report.rounds,
        report.decisions.len(),
        judging.max(reading) * year,
        peak_mb()
    );
}
