//! A judgement as one line of JSON, its keys in the order that is promised.

use serde::Serialize;

use crate::model::{
    ActionKind, FleetVerdict, Guard, Judgement, NodeId, NodeVerdict, ProbeAdvice, RuleId, Standing, Vantage,
};

#[derive(Serialize)]
struct Said<'a> {
    t: i64,
    fleet: FleetVerdict,
    vantage: Vantage,
    nodes: Vec<SaidNode<'a>>,
    probe: &'a ProbeAdvice,
    actions: Vec<SaidAction<'a>>,
    holds: Vec<SaidHold<'a>>,
}

#[derive(Serialize)]
struct SaidNode<'a> {
    n: &'a NodeId,
    verdict: NodeVerdict,
    standing: Standing,
    strikes: u32,
    rule: &'a RuleId,
}

#[derive(Serialize)]
struct SaidAction<'a> {
    a: ActionKind,
    /// None where it is about the fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<&'a NodeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u8>,
    rule: &'a RuleId,
    why: &'a str,
}

#[derive(Serialize)]
struct SaidHold<'a> {
    a: ActionKind,
    n: &'a NodeId,
    guard: Guard,
    why: &'a str,
}

pub(super) fn line(t: i64, judgement: &Judgement) -> String {
    let nodes = judgement.nodes.iter().map(|node| SaidNode {
        n: &node.node,
        verdict: node.verdict,
        standing: node.standing,
        strikes: node.strikes,
        rule: &node.rule,
    });
    let actions = judgement.actions.iter().map(|action| SaidAction {
        a: action.kind,
        n: action.node.as_ref(),
        step: action.step,
        rule: &action.rule,
        why: &action.why,
    });
    let holds =
        judgement.holds.iter().map(|hold| SaidHold { a: hold.kind, n: &hold.node, guard: hold.guard, why: &hold.why });
    let said = Said {
        t,
        fleet: judgement.fleet,
        vantage: judgement.vantage,
        nodes: nodes.collect(),
        probe: &judgement.probe,
        actions: actions.collect(),
        holds: holds.collect(),
    };
    serde_json::to_string(&said).expect("names and numbers can be written")
}
