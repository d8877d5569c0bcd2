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
mod index;
mod plan;
mod reconcile;
mod sight;
mod tally;
mod wish;
mod words;

use std::collections::BTreeMap;

use crate::model::{
    Action, ActionKind, Evidence, Judgement, Memory, NodeId, NodeJudgement, NodeMemory, NodeVerdict, Policy, Pool,
    ProbeAdvice, RuleId, Situation, Standing, Vantage, Withdrawal,
};

use index::Index;
use sight::Sight;

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

/// Judges by what was remembered and what is known now. Equal arguments give equal rulings, byte for byte.
#[must_use]
pub fn judge(policy: &Policy, situation: &Situation<'_>, mut memory: Memory) -> Ruling {
    let index = Index::of(situation);
    let sight = sight::look(policy, situation, &mut memory);
    let strikes = tally::tally(policy, situation, &sight, &mut memory);
    let decision = decide::decide(policy, situation, &index, &sight, &mut memory);
    let mut acted: BTreeMap<&NodeId, &Action> = BTreeMap::new();
    for action in decision.actions.iter().filter(|action| action.kind != ActionKind::Alert) {
        if let Some(node) = &action.node {
            acted.entry(node).or_insert(action);
        }
    }
    let mut nodes = Vec::with_capacity(memory.nodes.len());
    let mut fast = Vec::new();
    for (node, (id, of_node)) in situation.fleet.nodes.values().zip(&mut memory.nodes) {
        let pools = index.pools(id);
        let outs = pools.clone().filter_map(|pool| memory.pools.get(&pool.id)?.out.get(id));
        let verdict = diagnose::node(of_node, &sight, index.pin(id), outs.clone().next().is_some());
        let standing = standing(of_node, outs.clone());
        if of_node.standing != standing || of_node.standing_since.is_none() {
            of_node.standing = standing;
            of_node.standing_since = Some(sight.now);
        }
        if of_node.failed_rounds > 0 && standing == Standing::Suspect {
            fast.push(id.clone());
        }
        let (rule, why) = match acted.get(id) {
            Some(action) => (action.rule.clone(), action.why.clone()),
            None => reason(policy, verdict, of_node, &sight, outs.clone().next()),
        };
        let is_in = |pool: &Pool| Some((pool.id.clone(), plan::is_in(node, situation.published.get(&pool.id)?)));
        nodes.push(NodeJudgement {
            node: id.clone(),
            verdict,
            evidence: Evidence::NoData,
            standing,
            pin: index.pin(id).cloned(),
            strikes: u32::try_from(of_node.strikes.len()).unwrap_or(u32::MAX),
            rule,
            why,
            in_dns: pools.filter_map(is_in).collect(),
        });
    }
    let fleet = diagnose::fleet(&nodes, &memory.nodes, &sight);
    let ask = nodes.iter().filter(|node| node.verdict == NodeVerdict::Dead).map(|node| node.node.clone()).collect();
    Ruling {
        judgement: Judgement {
            now: situation.now.clone(),
            vantage: sight.vantage,
            fleet,
            fleet_rule: words::CLEAN,
            fleet_why: String::new(),
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

fn standing<'a>(memory: &NodeMemory, outs: impl Iterator<Item = &'a Withdrawal>) -> Standing {
    let mut outs = outs.peekable();
    if outs.peek().is_some() {
        let proving = outs.all(|out| out.seen_out && !out.by_hand) && memory.clean_rounds > 0;
        return if proving { Standing::Probation } else { Standing::Withdrawn };
    }
    if memory.strikes.is_empty() && memory.failed_rounds == 0 { Standing::Serving } else { Standing::Suspect }
}

fn reason(
    policy: &Policy,
    verdict: NodeVerdict,
    memory: &NodeMemory,
    sight: &Sight,
    out: Option<&Withdrawal>,
) -> (RuleId, String) {
    if sight.vantage == Vantage::Isolated {
        return (words::ISOLATED, "our own network is down: nothing is concluded".to_owned());
    }
    if let Some(out) = out {
        let why = if out.by_hand || !explain::is_automatic(policy) {
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
