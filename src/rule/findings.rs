//! What was found about every node in this tick.

use std::time::Duration;

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
            learn(&policy.evidence, node, &finding, sight.last_tick());
            let recent = &mut node.recent;
            let pause = policy.evidence.soft_pause;
            if finding.is_soft() {
                lengthen(&mut recent.soft, sight.now, pause);
            }
            keep(&mut recent.degraded, sight.now, pause, finding.class == Evidence::Degraded);
            keep(&mut recent.hard, sight.now, pause, finding.hard);
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

fn lengthen(streak: &mut Option<Streak>, now: Time, pause: Duration) {
    match streak {
        Some(streak) if now.since(streak.until) <= pause => streak.until = now,
        _ => *streak = Some(Streak { since: now, until: now, rounds: 1 }),
    }
}

/// A streak that ends at once when it is not so any more.
fn keep(streak: &mut Option<Streak>, now: Time, pause: Duration, is: bool) {
    if is { lengthen(streak, now, pause) } else { *streak = None }
}
