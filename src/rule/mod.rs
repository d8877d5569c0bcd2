//! The verbs: pure functions over the model. No clock, no input or output, no chance, no log.
//!
//! ```text
//! sight ──▶ tally ──▶ decide (plan, guard) ──▶ diagnose
//! clocks,   rounds    who is to go, who may    what to call it
//! anchors   strikes   not, in which records
//! ```

mod decide;
mod diagnose;
mod explain;
mod guard;
mod plan;
mod sight;
mod tally;
mod words;

use std::collections::BTreeMap;

use crate::model::{
    Action, ActionKind, Judgement, Memory, NodeId, NodeJudgement, NodeMemory, NodeVerdict, Policy, PoolId, ProbeAdvice,
    RuleId, Situation, Standing,
};

pub use guard::{ApprovedPlan, Authority, Grounds, Refusal, admit, approve};
pub use plan::sets_of;

/// A judgement, and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Everything concluded.
    pub judgement: Judgement,
    /// At most one for each pool. Only these may be carried out.
    pub plans: Vec<ApprovedPlan>,
}

/// Judges. Equal arguments give equal rulings, byte for byte.
#[must_use]
pub fn judge(policy: &Policy, situation: &Situation<'_>) -> Ruling {
    let mut memory = situation.memory.clone();
    let sight = sight::look(policy, situation, &mut memory);
    let strikes = tally::tally(policy, situation, &sight, &mut memory);
    let decision = decide::decide(policy, situation, &sight, &mut memory);
    let verdicts = verdicts(situation, &sight, &memory);
    let fleet = diagnose::fleet(&verdicts, &memory.nodes, &sight);
    let mut nodes = Vec::with_capacity(verdicts.len());
    let mut fast = Vec::new();
    for (id, verdict) in &verdicts {
        let in_dns = in_dns(situation, id);
        let Some(of_node) = memory.nodes.get_mut(id) else { continue };
        let standing = standing(of_node, &memory.pools, id);
        if of_node.standing != standing || of_node.standing_since.is_none() {
            of_node.standing = standing;
            of_node.standing_since = Some(sight.now);
        }
        if of_node.failed_rounds > 0 && standing == Standing::Suspect {
            fast.push(id.clone());
        }
        let (rule, why) = reason(policy, *verdict, of_node, id, &sight, &decision.actions, &memory.pools);
        nodes.push(NodeJudgement {
            node: id.clone(),
            verdict: *verdict,
            standing,
            pin: situation.pins.iter().find(|pin| pin.node == *id).cloned(),
            strikes: u32::try_from(of_node.strikes.len()).unwrap_or(u32::MAX),
            rule,
            why,
            in_dns,
        });
    }
    let ask = nodes.iter().filter(|node| node.verdict == NodeVerdict::Dead).map(|node| node.node.clone()).collect();
    Ruling {
        judgement: Judgement {
            now: situation.now.clone(),
            vantage: sight.vantage,
            fleet,
            nodes,
            strikes,
            actions: decision.actions,
            holds: decision.holds,
            probe: ProbeAdvice { fast, ask },
            memory,
        },
        plans: decision.plans,
    }
}

fn verdicts(situation: &Situation<'_>, sight: &sight::Sight, memory: &Memory) -> BTreeMap<NodeId, NodeVerdict> {
    let verdict = |id: &NodeId| {
        let pin = situation.pins.iter().find(|pin| pin.node == *id);
        let out = memory.pools.values().any(|pool| pool.out.contains_key(id));
        memory.nodes.get(id).map_or(NodeVerdict::Unknown, |of_node| diagnose::node(of_node, sight, pin, out))
    };
    situation.fleet.nodes.keys().map(|id| (id.clone(), verdict(id))).collect()
}

fn standing(memory: &NodeMemory, pools: &BTreeMap<PoolId, crate::model::PoolMemory>, id: &NodeId) -> Standing {
    let mut outs = pools.values().filter_map(|pool| pool.out.get(id)).peekable();
    if outs.peek().is_some() {
        let proving = outs.all(|out| out.seen_out && !out.by_hand) && memory.clean_rounds > 0;
        return if proving { Standing::Probation } else { Standing::Withdrawn };
    }
    if memory.strikes.is_empty() && memory.failed_rounds == 0 { Standing::Serving } else { Standing::Suspect }
}

fn in_dns(situation: &Situation<'_>, id: &NodeId) -> BTreeMap<PoolId, bool> {
    let Some(node) = situation.fleet.nodes.get(id) else { return BTreeMap::new() };
    situation
        .fleet
        .pools_of(id)
        .filter_map(|pool| {
            let published = situation.published.get(&pool.id)?;
            Some((pool.id.clone(), !plan::places(node, published).is_empty()))
        })
        .collect()
}

fn reason(
    policy: &Policy,
    verdict: NodeVerdict,
    memory: &NodeMemory,
    id: &NodeId,
    sight: &sight::Sight,
    actions: &[Action],
    pools: &BTreeMap<PoolId, crate::model::PoolMemory>,
) -> (RuleId, String) {
    let acted = actions.iter().find(|action| action.node.as_ref() == Some(id) && action.kind != ActionKind::Alert);
    if let Some(action) = acted {
        return (action.rule.clone(), action.why.clone());
    }
    if sight.vantage == crate::model::Vantage::Isolated {
        return (words::ISOLATED, "our own network is down: nothing is concluded".to_owned());
    }
    if let Some(out) = pools.values().find_map(|pool| pool.out.get(id)) {
        let why = if out.by_hand {
            format!("{}; only a person puts it back; {}", out.why, explain::last_round(memory))
        } else {
            let need = explain::probation(policy, memory).as_secs();
            format!("{}; back after {need} s without a fault; {}", out.why, explain::last_round(memory))
        };
        return (words::OUT, why);
    }
    if verdict == NodeVerdict::Unknown {
        return (words::NO_DATA, "no fresh data".to_owned());
    }
    if memory.strikes.is_empty() {
        return (words::CLEAN, explain::last_round(memory));
    }
    let rule = if memory.strikes.len() >= policy.strikes as usize { words::STRIKES } else { words::STRUCK };
    (rule, format!("{}; {}", explain::strikes(policy, memory), explain::last_round(memory)))
}
