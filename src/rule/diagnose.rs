//! Rounds into verdicts: what is wrong with a node, and with the fleet. Verdicts of this stage explain; they convict nobody.

use std::collections::BTreeMap;

use crate::model::{
    Fault, FleetVerdict, NodeId, NodeJudgement, NodeMemory, NodeVerdict, Observation, Outcome, Pin, ProbeKind, Stage,
    Vantage,
};

use super::sight::Sight;

/// Failing rounds in a row before a failure is given a name.
const NAMED_AFTER: u32 = 3;

/// What one node looks like.
pub(super) fn node(memory: &NodeMemory, sight: &Sight, pin: Option<&Pin>, out: bool) -> NodeVerdict {
    if pin.is_some() {
        return NodeVerdict::Maintenance;
    }
    if !is_fresh(memory, sight) {
        return NodeVerdict::Unknown;
    }
    if memory.failed_rounds == 0 {
        return if out { NodeVerdict::Recovering } else { NodeVerdict::Healthy };
    }
    if memory.failed_rounds < NAMED_AFTER {
        return NodeVerdict::Suspect;
    }
    let Some(round) = &memory.last_round else { return NodeVerdict::Unknown };
    name_failure(&round.observations)
}

/// Whether there is a conclusive round of the node that is young enough to go by.
pub(super) fn is_fresh(memory: &NodeMemory, sight: &Sight) -> bool {
    memory.last_round.as_ref().is_some_and(|round| sight.now.0.saturating_sub(round.finished.0) <= sight.fresh_ms)
}

fn name_failure(seen: &[Observation]) -> NodeVerdict {
    if !seen.iter().any(Observation::is_sign_of_life) {
        return NodeVerdict::Dead;
    }
    let service: Vec<Outcome> = seen
        .iter()
        .filter(|one| one.probe == ProbeKind::Https && !matches!(one.outcome, Outcome::Inconclusive(_)))
        .map(|one| one.outcome)
        .collect();
    if service.is_empty() || service.contains(&Outcome::Passed) {
        return NodeVerdict::Degraded;
    }
    let all = |test: fn(Fault) -> bool| service.iter().all(|outcome| outcome.fault().is_some_and(test));
    if all(|fault| fault == Fault::Refused) {
        NodeVerdict::Down
    } else if all(|fault| matches!(fault, Fault::Shedding(_))) {
        NodeVerdict::Degraded
    } else if all(|fault| matches!(fault, Fault::Tls(_) | Fault::Status(_) | Fault::Body | Fault::Protocol)) {
        NodeVerdict::Broken
    } else if all(|fault| {
        matches!(
            fault,
            Fault::Timeout(Stage::Connect | Stage::Tls | Stage::Request | Stage::Body)
                | Fault::Reset
                | Fault::Unreachable
        )
    }) {
        NodeVerdict::Hung
    } else {
        NodeVerdict::Degraded
    }
}

/// What the fleet looks like, from the verdicts of its nodes and their newest service faults.
pub(super) fn fleet(nodes: &[NodeJudgement], memory: &BTreeMap<NodeId, NodeMemory>, sight: &Sight) -> FleetVerdict {
    match sight.vantage {
        Vantage::Isolated => return FleetVerdict::Isolated,
        Vantage::Blind => return FleetVerdict::Blind,
        Vantage::Clear => {}
    }
    let judged: Vec<(&NodeId, NodeVerdict)> = nodes
        .iter()
        .filter(|node| !matches!(node.verdict, NodeVerdict::Maintenance | NodeVerdict::Unknown))
        .map(|node| (&node.node, node.verdict))
        .collect();
    if judged.is_empty() {
        return FleetVerdict::Blind;
    }
    let well = |verdict: NodeVerdict| matches!(verdict, NodeVerdict::Healthy | NodeVerdict::Recovering);
    let sick: Vec<&(&NodeId, NodeVerdict)> = judged.iter().filter(|(_, verdict)| !well(*verdict)).collect();
    if judged.len() > 1 && judged.iter().all(|(_, verdict)| *verdict == NodeVerdict::Dead) {
        return FleetVerdict::Dark;
    }
    let broken: Vec<Fault> = sick
        .iter()
        .filter(|(_, verdict)| *verdict == NodeVerdict::Broken)
        .filter_map(|(id, _)| memory.get(*id)?.last_round.as_ref()?.faults().next().map(|(_, fault)| fault))
        .collect();
    if broken.len() >= 2 && broken.iter().all(|fault| *fault == broken[0]) {
        return FleetVerdict::CommonFault;
    }
    match sick.len() {
        0 => FleetVerdict::Normal,
        1 => FleetVerdict::SingleFault,
        _ => FleetVerdict::MultiFault,
    }
}
