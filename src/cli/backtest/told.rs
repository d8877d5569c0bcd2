//! A backtest as JSON: one object for each trace. Times are ms of the trace.

use serde_json::{Value, json};

use super::story;
use crate::backtest::{Checked, Death, Decision, Recorded, Report};

pub(super) fn report(file: &str, report: &Report) -> Value {
    let node = |place: usize| report.nodes[place].as_str();
    let times = report.to_decision_ms();
    let truth = report.has_truth.then(|| {
        json!({
            "deaths": report.deaths.iter().map(|one| death(report, one)).collect::<Vec<_>>(),
            "noticed": report.noticed(),
            "unnoticed": report.unnoticed().count(),
            "living_withdrawn": report.living.iter().map(|one| json!({"t": one.t, "n": node(one.node)})).collect::<Vec<_>>(),
            "to_decision_ms": {"median": times.get(times.len() / 2), "max": times.last()},
        })
    });
    json!({
        "trace": file,
        "name": report.name,
        "origin": report.origin,
        "lines": report.lines,
        "rounds": report.rounds,
        "ticks": report.ticks,
        "span_ms": report.span_ms(),
        "decisions": report.decisions.iter().map(|one| decision(report, one)).collect::<Vec<_>>(),
        "recorded": report.recorded.iter().map(|one| recorded(report, one)).collect::<Vec<_>>(),
        "beyond": report.beyond.as_ref().map(|one| json!({"t": one.t, "why": story::parting(report, one)})),
        "truth": truth,
        "expectations": report.expectations.iter().map(|one| checked(report, one)).collect::<Vec<_>>(),
        "failed": report.failed().count(),
        "unknown": report.ignored,
        "unknown_keys": report.ignored_keys,
    })
}

fn decision(report: &Report, one: &Decision) -> Value {
    json!({
        "t": one.t,
        "a": one.kind,
        "n": one.node.map(|node| &report.nodes[node]),
        "step": one.step,
        "rule": one.rule,
        "why": one.why,
        "followed": one.followed,
        "recorded": one.recorded,
        "beyond": one.beyond,
    })
}

fn recorded(report: &Report, one: &Recorded) -> Value {
    json!({
        "t": one.t,
        "a": one.kind,
        "n": one.node.map(|node| &report.nodes[node]),
        "step": one.step,
        "rule": one.rule,
        "decided": one.decided,
    })
}

fn death(report: &Report, one: &Death) -> Value {
    json!({
        "t": one.t,
        "n": report.nodes[one.node],
        "s": one.state.name(),
        "in_dns": one.in_dns,
        "decided": one.decided,
        "forestalled": one.forestalled,
        "ended": one.ended,
    })
}

fn checked(report: &Report, one: &Checked) -> Value {
    let verb = if one.must { "must" } else { "never" };
    json!({
        verb: one.what.name(),
        "n": one.node.map(|node| &report.nodes[node]),
        "guard": one.guard,
        "from": one.from_ms,
        "within": one.within_ms,
        "held": one.held,
        "at": one.at,
        "beyond": one.beyond,
    })
}
