//! Recordings put through the rule, beside what they say was done, true and expected.

#![expect(clippy::unwrap_used, reason = "what a test leans on may panic as the test does")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use witness::backtest::{BacktestError, Parting, Report, run};
use witness::model::{ActionKind, Policy};
use witness::replay::Options;
use witness::sim::{self, Run, Scenario, Steering};

fn backtest(text: &str) -> Result<Report, BacktestError> {
    run(text.as_bytes(), Options::default(), &mut |_| {})
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

const HEADER: &str = r#"{"k":"header","format":"witness-trace","v":1,"tick_ms":2000,"fleet":[{"n":"n1"},{"n":"n2"},{"n":"n3"},{"n":"n4"}],"policy":{"warmup_rounds":0}}"#;

/// Rounds of four nodes every 10 s for so many seconds; n2 is silent from `dies` until `revives`.
fn recording(header: &str, seconds: i64, dies: i64, revives: i64, also: &[(i64, &str)]) -> String {
    let mut text = format!("{header}\n");
    let mut also = also.iter().peekable();
    for at in (0..seconds).step_by(10) {
        while let Some((_, line)) = also.next_if(|(t, _)| *t <= at) {
            let _ = writeln!(text, "{line}");
        }
        let t = at * 1000 + 500;
        let _ = writeln!(text, r#"{{"k":"ctl","t":{t},"ok":3,"of":3}}"#);
        for node in ["n1", "n2", "n3", "n4"] {
            let dead = node == "n2" && (dies..revives).contains(&at);
            let (o, got) = if dead { ("timeout", 0) } else { ("ok", 3) };
            let _ = writeln!(text, r#"{{"k":"obs","t":{t},"n":"{node}","p":"icmp","sent":3,"got":{got}}}"#);
            for probe in ["https", "ssh"] {
                let line = format!(r#""p":"{probe}","o":"{o}","stage":"connect","connect_us":30000,"total_us":90000"#);
                let _ = writeln!(text, r#"{{"k":"obs","t":{t},"n":"{node}",{line}}}"#);
            }
        }
    }
    for (_, line) in also {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn withdrawals(report: &Report) -> Vec<(i64, &str, bool)> {
    let of = |kind| move |one: &&witness::backtest::Decision| one.kind == kind;
    let decisions = report.decisions.iter().filter(of(ActionKind::Withdraw));
    decisions.map(|one| (one.t, report.nodes[one.node.unwrap()].as_str(), one.beyond)).collect()
}

#[test]
fn recordings_hold_what_they_expect() {
    for file in files("fixtures/replay") {
        let report = backtest(&fs::read_to_string(&file).unwrap()).unwrap();
        let failed: Vec<_> = report.failed().collect();
        assert!(failed.is_empty(), "{}: {failed:?}", file.display());
        assert!(!report.expectations.is_empty() && report.rounds > 0 && report.ticks > 0);
    }
}

#[test]
fn a_simulated_run_is_decided_again_as_it_was() {
    let mut compared = 0;
    for name in ["01-silent-death", "02-port-refused", "13-rolling-reboot"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/scenarios/{name}.toml"));
        let scenario: Scenario = Scenario::read(&fs::read_to_string(file).unwrap()).unwrap();
        let steering = Steering::rule(3, true);
        let (_, lines) = sim::run(&scenario, &steering, 1, Run { trace: true, ..Run::default() }).unwrap();
        let report = backtest(&lines.join("\n")).unwrap();
        let told = |t: i64, kind: ActionKind, node: Option<usize>| (t, kind.name(), node);
        let wanted = |kind: ActionKind| matches!(kind, ActionKind::Withdraw | ActionKind::Reinstate);
        let decided: Vec<_> =
            report.decisions.iter().filter(|one| wanted(one.kind)).map(|one| told(one.t, one.kind, one.node)).collect();
        let recorded: Vec<_> =
            report.recorded.iter().filter(|one| wanted(one.kind)).map(|one| told(one.t, one.kind, one.node)).collect();
        assert_eq!(decided, recorded, "{name}");
        assert_eq!(report.beyond, None, "{name}");
        assert!(report.has_truth || report.deaths.is_empty(), "{name}");
        compared += decided.len();
    }
    assert!(compared > 0, "no scenario decided anything");
}

#[test]
fn a_death_is_noticed_and_followed() {
    let truth = r#"{"k":"truth","t":100000,"n":"n2","s":"silent"}"#;
    let dns = r#"{"k":"dns","t":200000,"set":["n1","n3","n4"]}"#;
    let must = r#"{"k":"expect","must":"remove","n":"n2","from":100000,"within":100000}"#;
    let never = r#"{"k":"expect","never":"remove","n":["n1","n3","n4"]}"#;
    let text = recording(HEADER, 400, 100, 1000, &[(100, truth), (200, dns), (400, must), (400, never)]);
    let report = backtest(&text).unwrap();
    let [(at, "n2", false)] = withdrawals(&report)[..] else { panic!("{report:?}") };
    assert!((110_000..200_000).contains(&at), "{at}");
    assert_eq!((at % 2000, report.first_ms, report.last_ms), (0, Some(500), 392_000), "the grid of the header");
    assert_eq!(report.decisions[0].followed, Some(200_000));
    assert_eq!((report.beyond.as_ref(), report.failed().count(), report.expectations.len()), (None, 0, 4));
    assert_eq!((report.to_decision_ms(), report.living.len()), (vec![at - 100_000], 0));
    assert_eq!(report.unnoticed().count(), 0);
}

#[test]
fn what_the_record_sets_do_not_follow_ends_the_recording() {
    let report = backtest(&recording(HEADER, 600, 100, 300, &[])).unwrap();
    let first = withdrawals(&report)[0].0;
    let beyond = report.beyond.unwrap();
    assert_eq!((beyond.t, beyond.parting), (first, Parting::NotFollowed { kind: ActionKind::Withdraw, node: 1 }));
    assert!(report.decisions.iter().all(|one| one.beyond == (one.t > first)));
    assert!(!report.has_truth && report.deaths.is_empty() && report.living.is_empty());
}

#[test]
fn what_was_not_decided_ends_the_recording_too() {
    let begins = r#"{"k":"dns","t":0,"set":["n1","n2","n3"]}"#;
    let leaves = r#"{"k":"dns","t":100000,"set":["n1","n2"]}"#;
    let report = backtest(&recording(HEADER, 200, 900, 900, &[(0, begins), (100, leaves)])).unwrap();
    let beyond = report.beyond.unwrap();
    assert_eq!((beyond.t, beyond.parting), (100_000, Parting::NotDecided { kind: ActionKind::Withdraw, node: 2 }));
}

#[test]
fn the_living_and_the_unnoticed_are_counted() {
    // The recorder's truth is another than its observations: n2 lived, n3 did not.
    let also = [
        (0, r#"{"k":"truth","t":0,"n":"n2","s":"up"}"#),
        (50, r#"{"k":"truth","t":50000,"n":"n3","s":"hung"}"#),
        (90, r#"{"k":"truth","t":90000,"n":"n3","s":"up"}"#),
        (120, r#"{"k":"expect","never":"withdraw","n":"n2"}"#),
        (120, r#"{"k":"expect","must":"withdraw","n":"n1","from":0,"within":600000}"#),
    ];
    let report = backtest(&recording(HEADER, 300, 100, 1000, &also)).unwrap();
    assert_eq!(report.living.iter().map(|one| one.node).collect::<Vec<_>>(), [1]);
    let unnoticed: Vec<_> = report.unnoticed().map(|one| (one.node, one.t, one.ended)).collect();
    assert_eq!(unnoticed, [(2, 50_000, Some(90_000))]);
    assert_eq!(report.failed().count(), 2);
}

#[test]
fn another_policy_decides_otherwise() {
    let text = recording(HEADER, 400, 100, 1000, &[]);
    let policy = Some(Policy::default().classic());
    let classic = run(text.as_bytes(), Options { policy }, &mut |_| {}).unwrap();
    let ours = backtest(&text).unwrap();
    assert_eq!(classic.decisions[0].rule.0, "C1.classic");
    assert_ne!(ours.decisions[0].t, classic.decisions[0].t);
}

#[test]
fn an_hour_without_a_line_is_an_hour_without_a_witness() {
    let mut text = recording(HEADER, 100, 900, 900, &[]);
    text.push_str(r#"{"k":"end","t":9000000000000}"#);
    let report = backtest(&text).unwrap();
    assert!(report.ticks < 100, "{}", report.ticks);
    assert_eq!(withdrawals(&report), []);
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (line, part) in [
        ("{\"k\":\"obs\",\"t\":5,\"n\":\"n9\",\"p\":\"https\",\"o\":\"ok\"}", "n9"),
        ("{\"k\":\"obs\",\"t\":5,\"n\":\"n1\",\"p\":\"https\",\"o\":\"odd\"}", "odd"),
        ("{\"k\":\"obs\",\"t\":\"noon\",\"n\":\"n1\",\"p\":\"https\",\"o\":\"ok\"}", "\"t\" must be milliseconds"),
        ("{\"k\":\"truth\",\"t\":5,\"n\":\"n1\",\"s\":\"tired\"}", "up, silent, refused or hung"),
        ("{\"k\":\"act\",\"t\":5,\"n\":\"n1\",\"a\":\"explode\"}", "withdraw, reinstate, shed or alert"),
        ("{\"k\":\"act\",\"t\":5,\"a\":\"withdraw\"}", "\"n\" must be"),
        ("{\"k\":\"expect\",\"n\":\"n1\"}", "must"),
        ("{\"k\":\"expect\",\"must\":\"dance\",\"n\":\"n1\"}", "dance"),
        ("{\"k\":\"expect\",\"must\":\"hold\",\"n\":\"n1\",\"guard\":\"dog\"}", "dog"),
        ("{\"k\":\"expect\",\"must\":\"hold\",\"n\":\"n1\",\"from\":\"noon\"}", "from"),
        ("{\"k\":\"op\",\"t\":5,\"n\":\"n1\",\"op\":\"dance\"}", "undrain"),
        ("{\"k\":\"header\",\"fleet\":[]}", "second header"),
        ("[1]", "no line of a trace"),
        ("{\"t\":5}", "kind"),
    ] {
        let error = backtest(&format!("{HEADER}\n# a remark\n{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with("line 3: ") && error.contains(part), "{line}: {error}");
    }
    assert!(backtest("").unwrap_err().to_string().contains("header"));
    assert!(backtest("{\"k\":\"end\",\"t\":1}").unwrap_err().to_string().contains("header"));
    let fast = HEADER.replace("2000", "1");
    assert!(backtest(&fast).unwrap_err().to_string().contains("tick_ms"));
    let bytes: &[u8] = b"\xff\xfe\n";
    let error = run(bytes, Options::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("line 1: it is not UTF-8"), "{error}");
}

#[test]
fn unknown_kinds_are_counted() {
    let report =
        backtest(&format!("{HEADER}\n{{\"k\":\"novelty\",\"t\":6}}\n{{\"k\":\"end\",\"t\":7,\"tt\":1}}\n")).unwrap();
    assert_eq!((report.ignored["novelty"], report.ignored_keys["tt"]), (1, 1));
    let rubbish: String = (0..500).map(|number| format!("{{\"k\":\"x{number}\",\"t\":1}}\n")).collect();
    let many = backtest(&format!("{HEADER}\n{rubbish}")).unwrap().ignored;
    assert_eq!((many.len(), many["others"], many.values().sum::<usize>()), (101, 400, 500));
    assert_eq!((report.lines, report.last_ms), (3, 2000), "what came last is judged, on the grid");
}

/// Lines that might be of a trace, in any order, of any time.
fn line() -> impl Strategy<Value = String> {
    let t = prop_oneof![0..100_000_i64, 0..4_000_000_000_i64, any::<i64>()];
    let node = prop_oneof![Just("n1"), Just("n2"), Just("n3"), Just("n4"), Just("n9")];
    let kind = "obs|obs|obs|ctl|dns|clock|op|load|ask|vote|tick|act|truth|expect|end|novelty";
    let words = "https|icmp|ssh|ok|timeout|refused|withdraw|reinstate|pin|hold|silent|up";
    (kind, t, node, words, words, any::<i64>(), any::<bool>()).prop_map(|(k, t, n, one, two, number, flag)| {
        let mut line = serde_json::json!({
            "k": k, "t": t, "n": n, "p": one, "o": two, "a": one, "s": one, "op": two, "must": one, "from": number,
            "within": number, "total_us": number, "age_ms": number, "ip": number, "sent": 3, "got": 0, "ok": 3, "of": 3,
            "set": ["n1", "n3"], "without": [["n1", number]], "wall_step_ms": number, "pause_ms": number,
            "for_s": number, "force": flag,
        });
        if flag {
            line["t"] = serde_json::Value::Null;
        }
        line.to_string()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Lines that are taken lead to a report that holds together, and to the same one again; nothing panics.
    #[test]
    fn whatever_the_lines_are(lines in prop::collection::vec(line(), 0..30), all in any::<bool>()) {
        let mut text = format!("{HEADER}\n");
        for line in lines {
            let more = format!("{text}{line}\n");
            // One line that is wrong hides all that follow.
            if all || backtest(&more).is_ok() {
                text = more;
            }
        }
        let Ok(report) = backtest(&text) else { return Ok(()) };
        prop_assert!(report.decisions.is_sorted_by_key(|one| one.t));
        prop_assert!(report.span_ms() >= 0);
        let beyond = report.beyond.as_ref().map_or(i64::MAX, |beyond| beyond.t);
        prop_assert!(report.decisions.iter().all(|one| one.beyond == (one.t > beyond)));
        prop_assert_eq!(backtest(&text).unwrap(), report);
    }
}
