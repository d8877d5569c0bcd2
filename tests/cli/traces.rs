//! `backtest` and `export`, as people and scripts meet them.

use std::fmt::Write as _;

use insta::assert_snapshot;
use serde_json::Value;

use crate::stage::Stage;

/// Ten minutes of four nodes, a round every 10 s. n2 goes silent at 2:00 and stays so; whoever recorded it took n2 out, and
/// at 7:00 n3, which lived.
fn evening() -> String {
    let mut text = String::from(
        r#"{"k":"header","format":"witness-trace","v":1,"origin":"recorded","tick_ms":2000,"ttl_s":60,"fleet":[{"n":"n1"},{"n":"n2"},{"n":"n3"},{"n":"n4"}],"witnesses":["w1"]}
{"k":"expect","must":"withdraw","n":"n2","from":120000,"within":90000}
{"k":"expect","never":"withdraw","n":["n1","n3"]}
{"k":"truth","t":0,"n":"n2","s":"up"}
"#,
    );
    for second in (0..600).step_by(10) {
        match second {
            120 => text.push_str("{\"k\":\"truth\",\"t\":120000,\"n\":\"n2\",\"s\":\"silent\"}\n"),
            210 => text.push_str(
                "{\"k\":\"act\",\"t\":201000,\"a\":\"remove\",\"n\":\"n2\",\"rule\":\"4 strikes\"}\n\
                 {\"k\":\"dns\",\"t\":203000,\"set\":[\"n1\",\"n3\",\"n4\"],\"ttl_s\":60}\n",
            ),
            430 => text.push_str(
                "{\"k\":\"act\",\"t\":421000,\"a\":\"remove\",\"n\":\"n3\",\"rule\":\"4 strikes\"}\n\
                 {\"k\":\"dns\",\"t\":423000,\"set\":[\"n1\",\"n4\"],\"ttl_s\":60}\n",
            ),
            _ => {}
        }
        let t = second * 1000 + 400;
        let _ = writeln!(text, "{{\"k\":\"ctl\",\"t\":{t},\"w\":\"w1\",\"ok\":3,\"of\":3}}");
        for node in ["n1", "n2", "n3", "n4"] {
            let (o, got) = if node == "n2" && second >= 120 { ("timeout", 0) } else { ("ok", 3) };
            for probe in ["https", "ssh"] {
                let _ = writeln!(
                    text,
                    r#"{{"k":"obs","t":{t},"w":"w1","n":"{node}","p":"{probe}","o":"{o}","total_us":90000}}"#
                );
            }
            let _ = writeln!(text, r#"{{"k":"obs","t":{t},"w":"w1","n":"{node}","p":"icmp","sent":3,"got":{got}}}"#);
        }
    }
    text + "{\"k\":\"end\",\"t\":600000}\n"
}

#[test]
fn backtests() {
    let stage = Stage::new();
    stage.write("evening.jsonl", &evening());
    stage.write("bad.jsonl", &evening().replace("\"s\":\"silent\"", "\"s\":\"tired\""));
    assert_snapshot!(stage.session(&[
        "backtest evening.jsonl",
        "backtest evening.jsonl --policy classic --check",
        "backtest evening.jsonl --json",
        "backtest bad.jsonl",
        "backtest nowhere.jsonl",
        "backtest evening.jsonl --policy nowhere.toml",
    ]));
    assert_eq!(stage.run("backtest evening.jsonl --check").code, 0);
}

#[test]
fn what_once_recorded_is_exported_and_judged_again() {
    let stage = Stage::new();
    for _ in 0..3 {
        stage.expect("once", 0);
    }
    let trace = stage.expect("export --since 1h", 0);
    let first: Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    assert_eq!((first["k"].as_str(), first["policy"]["strikes"].as_u64()), (Some("header"), Some(2)));
    assert!(!trace.contains("slice") && !trace.contains("127.0.0"), "{trace}");
    stage.write("recorded.jsonl", &trace);
    let told = stage.expect("backtest recorded.jsonl --json", 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((told["ticks"].as_u64(), told["rounds"].as_u64()), (Some(3), Some(12)));
    assert_eq!((&told["beyond"], &told["unknown"]), (&Value::Null, &serde_json::json!({})));
    let nobody = stage.run("export --pool nobody");
    assert_eq!(nobody.code, 2, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("there is no pool nobody"), "{}", nobody.stderr);
    assert_eq!(stage.run("export --since yesterday").code, 2);
}

#[test]
fn a_trace_can_be_piped() {
    let stage = Stage::new();
    stage.write("evening.jsonl", &evening());
    let mut command = stage.command("backtest --json -");
    command.stdin(std::fs::File::open(stage.path().join("evening.jsonl")).unwrap());
    let piped = crate::stage::Ran::of(&command.output().unwrap());
    assert_eq!((piped.code, piped.stderr.as_str()), (0, ""));
    let named = stage.expect("backtest --json evening.jsonl", 0);
    assert_eq!(piped.stdout.replace("\"-\"", "\"evening.jsonl\""), named);
    let two = stage.expect("backtest evening.jsonl evening.jsonl", 0);
    assert_eq!(two.lines().filter(|line| line.starts_with("evening  ")).count(), 2, "{two}");
}
