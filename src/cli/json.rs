//! Parts of a judgement as JSON shows them: the keys of `witness judge`, and every time as RFC 3339 in UTC.
//!
//! The ledger stores times as numbers; nothing that was serialized for it may reach a reader as it is.

use serde_json::{Value, json};

use crate::model::{AnchorRound, LoadFigure, NodeJudgement, Observation, Outcome, Pin, Strike, Time};

/// What is concluded for one node. `pin` is always there, null without one.
pub(super) fn node(judged: &NodeJudgement) -> Value {
    json!({
        "n": judged.node,
        "verdict": judged.verdict,
        "evidence": judged.evidence,
        "standing": judged.standing,
        "pin": judged.pin.as_ref().map(pin),
        "strikes": judged.strikes,
        "rule": judged.rule,
        "why": judged.why,
        "in_dns": judged.in_dns,
    })
}

/// A pin, without the node that it is of.
pub(super) fn pin(pin: &Pin) -> Value {
    json!({
        "state": pin.state,
        "since": pin.since.rfc3339(),
        "until": pin.until.rfc3339(),
        "reason": pin.reason,
    })
}

/// A look at the anchors.
pub(super) fn anchors(anchors: &AnchorRound) -> Value {
    json!({"at": anchors.at.rfc3339(), "ok": anchors.ok, "of": anchors.of})
}

/// A strike: when, and each fault as probe and fault.
pub(super) fn strike(strike: &Strike) -> Value {
    json!({"at": strike.at.rfc3339(), "faults": faults(strike)})
}

/// The faults of a strike.
pub(super) fn faults(strike: &Strike) -> Vec<Value> {
    strike.faults.iter().map(|(probe, fault)| json!({"probe": probe, "fault": fault.to_string()})).collect()
}

/// One probe's result.
pub(super) fn observation(one: &Observation) -> Value {
    json!({
        "probe": one.probe,
        "address": one.address,
        "at": one.at.rfc3339(),
        "outcome": one.outcome.to_string(),
        "passed": one.outcome == Outcome::Passed,
        "measured": one.measured,
    })
}

/// A load figure, without the node that it is of; what was not told is not there.
pub(super) fn load(figure: &LoadFigure) -> Value {
    let mut value = json!(figure);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("node");
        fields.insert("at".to_owned(), figure.at.rfc3339().into());
    }
    value
}

/// A time that need not be there.
pub(super) fn time(at: Option<Time>) -> Value {
    at.map_or(Value::Null, |at| Value::String(at.rfc3339()))
}
