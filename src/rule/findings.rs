//! What was found about every node in this tick.

use crate::model::{Evidence, Memory, NodeId, Policy, RuleSet, Streak, Time, Vantage};

use super::classify::{Finding, classify, learn};
use super::index::Index;
use super::sight::Sight;

/// By node.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    index: &'a Index<'a>,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    /// Classifies every node and remembers since when its evidence has been what it is.
    pub(super) fn of_all(policy: &Policy, index: &'a Index<'a>, sight: &Sight, memory: &mut Memory) -> Self {
        let mut found = Vec::with_capacity(memory.nodes.len());
        let asleep = policy.rule == RuleSet::Classic || sight.vantage == Vantage::Isolated;
        for node in memory.nodes.values_mut() {
            if asleep {
                found.push(Finding { class: Evidence::NoData, hard: false, confirmed: false, why: String::new() });
                continue;
            }
            let finding = classify(&policy.evidence, sight, node);
            learn(node, &finding, sight.last_tick());
            let recent = &mut node.recent;
            if finding.is_soft() {
                lengthen(&mut recent.soft, sight.now);
            }
            keep(&mut recent.degraded, sight.now, finding.class == Evidence::Degraded);
            keep(&mut recent.hard, sight.now, finding.hard);
            found.push(finding);
        }
        Self { index, found }
    }

    /// In the order of the nodes' names.
    pub(super) fn in_order(&self) -> &[Finding] {
        &self.found
    }

    /// Of the node at `place`.
    pub(super) fn at(&self, place: usize) -> &Finding {
        &self.found[place]
    }

    pub(super) fn of(&self, node: &NodeId) -> Option<&Finding> {
        self.found.get(self.index.place_of(node)?)
    }
}

/// How long soft evidence may pause and still be the same trouble, ms.
const PAUSE_MS: i64 = 60_000;

fn lengthen(streak: &mut Option<Streak>, now: Time) {
    match streak {
        Some(streak) if now.0.saturating_sub(streak.until.0) <= PAUSE_MS => streak.until = now,
        _ => *streak = Some(Streak { since: now, until: now, rounds: 1 }),
    }
}

/// A streak that ends at once when it is not so any more.
fn keep(streak: &mut Option<Streak>, now: Time, is: bool) {
    if is { lengthen(streak, now) } else { *streak = None }
}
