//! Whatever somebody calls a trace: a report or the line that is wrong, in a bounded time, and the same both times.

#![no_main]

use libfuzzer_sys::fuzz_target;
use witness::backtest::run;
use witness::replay::{Options, Replay};

const HEADER: &str = r#"{"k":"header","fleet":[{"n":"n1","families":["v4","v6"]},{"n":"n2"},{"n":"n3"}],"policy":{"warmup_rounds":0}}"#;

fuzz_target!(|bytes: &[u8]| {
    // Most of what a fuzzer finds has no header: then with one.
    let text = format!("{HEADER}\n{}", String::from_utf8_lossy(bytes));
    let told = |bytes: &[u8]| run(bytes, Options::default(), &mut |_| {}).map_err(|error| error.to_string());
    let report = told(text.as_bytes());
    assert_eq!(report, told(text.as_bytes()));
    if let Ok(report) = report {
        assert!(report.decisions.is_sorted_by_key(|one| one.t) && report.recorded.is_sorted_by_key(|one| one.t));
        assert_eq!(report.expectations.iter().filter(|one| !one.held).count(), report.failed().count());
    }
    let _ = told(bytes);
    let mut replay = Replay::new(Options::default());
    for line in text.lines() {
        let _ = replay.line(line);
    }
});
