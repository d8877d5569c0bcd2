//! Recordings replayed through `witness judge`'s engine, each held against what it expects.
//!
//! An `expect` line says `must` or `never`, an action (`withdraw`, `reinstate`, `alert`), `hold` with its guard, or
//! `strike`; `must` needs `from` and `within` in milliseconds of the trace.

#![expect(clippy::unwrap_used, reason = "tests may")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use witness::replay::{Options, Replay};

/// Every judgement of a trace.
fn judgements(text: &str, options: Options) -> Vec<Value> {
    let mut replay = Replay::new(options);
    let said = text.lines().filter_map(|line| replay.line(line).unwrap_or_else(|error| panic!("{error}")));
    said.map(|line| serde_json::from_str(&line).unwrap()).collect()
}

/// Whether a judgement has what an expectation speaks of, for one node.
fn has(judgement: &Value, what: &str, guard: Option<&str>, node: &str) -> bool {
    let any = |list: &str, test: &dyn Fn(&Value) -> bool| judgement[list].as_array().unwrap().iter().any(test);
    match what {
        "strike" => any("nodes", &|one| one["n"] == node && one["strikes"].as_u64() != Some(0)),
        "hold" => any("holds", &|one| one["n"] == node && guard.is_none_or(|guard| one["guard"] == guard)),
        action => any("actions", &|one| one["n"] == node && one["a"] == action),
    }
}

fn nodes_of(expect: &Value) -> Vec<String> {
    let list = expect["n"].as_array().cloned().unwrap_or_else(|| vec![expect["n"].clone()]);
    list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn check(name: &str, text: &str) {
    let judged = judgements(text, Options::default());
    assert!(!judged.is_empty(), "{name} has no tick");
    let expectations = text.lines().filter(|line| line.contains("\"expect\""));
    let mut checked = 0;
    for expect in expectations.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let guard = expect["guard"].as_str();
        for node in nodes_of(&expect) {
            checked += 1;
            if let Some(what) = expect["never"].as_str() {
                let when = judged.iter().find(|one| has(one, what, guard, &node)).map(|one| &one["t"]);
                assert!(when.is_none(), "{name}: {what} of {node} at {}", when.unwrap());
            }
            if let Some(what) = expect["must"].as_str() {
                let (from, within) = (expect["from"].as_i64().unwrap(), expect["within"].as_i64().unwrap());
                let first = judged.iter().find(|one| has(one, what, guard, &node));
                let at = first.unwrap_or_else(|| panic!("{name}: no {what} of {node}"))["t"].as_i64().unwrap();
                assert!((from..=from + within).contains(&at), "{name}: {what} of {node} at {at}");
            }
        }
    }
    assert!(checked > 0, "{name} expects nothing");
    assert_eq!(judgements(text, Options::default()), judged, "{name}: the same trace gave another judgement");
}

#[test]
fn recordings_are_judged_as_they_expect() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/replay");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6);
    for file in files {
        check(&file.display().to_string(), &fs::read_to_string(&file).unwrap());
    }
}

#[test]
fn classic_falls_for_a_witness_that_is_cut_off() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/replay");
    let text = fs::read_to_string(folder.join("0004-witness-cut-off.jsonl")).unwrap();
    let policy = Some(witness::model::Policy::default().classic());
    let judged = judgements(&text, Options { policy });
    let taken =
        ["n1", "n2", "n3", "n4"].iter().filter(|node| judged.iter().any(|one| has(one, "withdraw", None, node)));
    assert_eq!(taken.count(), 2, "the original takes as many as it may");
}

#[test]
fn what_is_not_a_trace_is_told_with_its_line() {
    let mut replay = Replay::new(Options::default());
    assert_eq!(replay.line("{\"k\":\"tick\",\"t\":1}").unwrap_err().to_string().split(':').next(), Some("line 1"));
    assert!(replay.line("rubbish").unwrap_err().to_string().starts_with("line 2"));
    let header = "{\"k\":\"header\",\"fleet\":[{\"n\":\"n1\"}],\"policy\":{\"strikez\":3}}";
    assert!(replay.line(header).unwrap_err().to_string().contains("strikez"));
    replay.line("{\"k\":\"header\",\"fleet\":[{\"n\":\"n1\"}],\"policy\":{\"strikes\":3}}").unwrap();
    assert!(replay.line("{\"k\":\"obs\",\"t\":5,\"n\":\"n9\",\"p\":\"https\",\"o\":\"ok\"}").is_err());
    assert!(replay.line("{\"k\":\"obs\",\"t\":5,\"n\":\"n1\",\"p\":\"https\",\"o\":\"strange\"}").is_err());
    assert_eq!(replay.line("{\"k\":\"novelty\",\"t\":6}").unwrap(), None);
    assert!(replay.line("{\"k\":\"tick\",\"t\":2}").is_err(), "time does not go back");
    assert!(replay.line("{\"k\":\"tick\",\"t\":7}").unwrap().is_some());
    assert_eq!(replay.ignored()["novelty"], 1);
}

proptest::proptest! {
    #[test]
    fn rubbish_never_panics(lines in proptest::collection::vec(".{0,80}", 0..20)) {
        let mut replay = Replay::new(Options::default());
        let _ = replay.line("{\"k\":\"header\",\"fleet\":[{\"n\":\"n1\"}]}");
        for line in lines {
            let _ = replay.line(&line);
        }
    }

    #[test]
    fn strange_values_never_panic(
        t in proptest::prelude::any::<i64>(),
        k in "obs|ctl|dns|clock|op|tick|header|load|ask|vote",
        number in proptest::prelude::any::<i64>(),
        text in "[a-z]{0,8}",
    ) {
        let mut replay = Replay::new(Options::default());
        let _ = replay.line("{\"k\":\"header\",\"fleet\":[{\"n\":\"n1\"}]}");
        let line = serde_json::json!({
            "k": k, "t": t, "n": "n1", "p": "https", "o": "timeout", "total_us": number, "ok": number, "of": number,
            "tx_bps": number, "cap_bps": number, "age_ms": number, "shed_step": number, "load1": number, "via": text,
            "w": "w2", "ev": "silent", "rounds": number, "set": [text], "op": "pin", "for_s": number, "wall_step_ms": number, "pause_ms": number,
        });
        let _ = replay.line(&line.to_string());
        let _ = replay.line(&format!("{{\"k\":\"tick\",\"t\":{t}}}"));
        let _ = replay.line(&format!("{{\"k\":\"tick\",\"t\":{}}}", i64::MAX));
    }
}
