//! The verbs: pure functions over the model. No clock, no input or output, no chance, no log.
//!
//! ```text
//! sight ──▶ tally ──▶ notice ──▶ findings ──▶ decide ──────────────────────▶ diagnose
//! clocks,   rounds    checks     classes of   crowd: is it one or all?       what to
//! anchors   strikes   streaks    evidence     wish, worth, room: what of it  call it
//!                                (classify)   guard, plan: may it be done?
//!                                             ladder: shed; comeback: return
//! ```

mod advice;
mod classify;
mod comeback;
mod crowd;
mod decide;
mod diagnose;
mod explain;
mod findings;
mod guard;
mod index;
mod ladder;
mod notice;
mod plan;
mod reconcile;
mod room;
mod sight;
mod tally;
mod walk;
mod wish;
mod words;
mod worth;

use std::collections::BTreeMap;

use crate::model::{
    Action, ActionKind, Judgement, Memory, NodeId, NodeJudgement, NodeMemory, Policy, Situation, Standing, Withdrawal,
};

use diagnose::Case;
use findings::Findings;
use index::Index;

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
    let strikes = tally::tally(policy, situation, &index, &sight, &mut memory);
    notice::notice(policy, situation, &index, &sight, &mut memory);
    let findings = Findings::of_all(policy, &index, &sight, &mut memory);
    let mut decision = decide::decide(policy, situation, &index, &sight, &findings, &mut memory);
    let mut acted: BTreeMap<&NodeId, &Action> = BTreeMap::new();
    for action in &decision.actions {
        if let (ActionKind::Withdraw | ActionKind::Reinstate, Some(node)) = (action.kind, &action.node) {
            acted.entry(node).or_insert(action);
        }
    }
    let mut nodes = Vec::with_capacity(memory.nodes.len());
    let mut probe = advice::Advice::new(policy, situation, &sight);
    for (place, ((id, of_node), finding)) in memory.nodes.iter_mut().zip(findings.in_order()).enumerate() {
        let seats = index.seats_at(place);
        let outs = seats.clone().filter_map(|seat| memory.pools.get(&seat.pool.id)?.out.get(id));
        let standing = standing(of_node, outs.clone());
        if of_node.standing != standing || of_node.standing_since.is_none() {
            of_node.standing = standing;
            of_node.standing_since = Some(sight.now);
        }
        let out = outs.clone().next();
        let case = Case { policy, sight: &sight, memory: of_node, finding, pin: index.pin(id), out };
        let verdict = case.verdict();
        let (rule, why) = match acted.get(id) {
            Some(action) => (action.rule.clone(), action.why.clone()),
            None => case.reason(verdict),
        };
        let mut in_dns = BTreeMap::new();
        for seat in seats {
            if let Some(shown) = seat.shown {
                in_dns.insert(seat.pool.id.clone(), shown.is_in());
            }
        }
        probe.of(of_node, id, standing);
        nodes.push(NodeJudgement {
            node: id.clone(),
            verdict,
            evidence: finding.class,
            standing,
            pin: index.pin(id).cloned(),
            strikes: u32::try_from(of_node.strikes.len()).unwrap_or(u32::MAX),
            rule,
            why,
            in_dns,
        });
    }
    let fleet = diagnose::fleet(&nodes, &decision.states, &sight);
    decision.actions.extend(fleet.news(policy, sight.now, &mut memory.told_fleet));
    Ruling {
        judgement: Judgement {
            now: situation.now.clone(),
            vantage: sight.vantage,
            fleet: fleet.verdict,
            fleet_rule: fleet.rule,
            fleet_why: fleet.why,
            nodes,
            strikes,
            actions: decision.actions,
            holds: decision.holds,
            probe: probe.given(),
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
