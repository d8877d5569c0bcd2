//! Rounds into strikes and streaks.

use crate::model::{Memory, NodeId, NodeMemory, Policy, Round, RuleSet, Situation, Strike, Vantage};

use super::sight::Sight;

/// Rounds that wait for the anchors; a node has rarely more than one, and the newest matter.
const PENDING: usize = 4;
/// A node's withdrawals are counted over this long.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Takes in what was observed since the last tick and returns the new strikes, oldest first.
pub(super) fn tally(
    policy: &Policy,
    situation: &Situation<'_>,
    sight: &Sight,
    memory: &mut Memory,
) -> Vec<(NodeId, Strike)> {
    memory.nodes.retain(|id, _| situation.fleet.nodes.contains_key(id));
    for id in situation.fleet.nodes.keys() {
        memory.nodes.entry(id.clone()).or_default();
    }
    let mut strikes = Vec::new();
    let (anchored_at, clear_since) = (memory.anchored_at, memory.clear_since);
    let mut rounds: Vec<&Round> = situation.rounds.iter().filter(|round| round.conclusive()).collect();
    rounds.sort_by(|a, b| (a.finished, a.started, &a.node).cmp(&(b.finished, b.started, &b.node)));
    for round in rounds {
        // Isolated, every failure may be our own; a success while the anchors fail is luck. Neither is taken in.
        // What was still under way when they answered again began in the dark, and its failures may be our own, too.
        let in_the_dark = policy.rule == RuleSet::Witness && clear_since.is_some_and(|since| round.started < since);
        if sight.vantage == Vantage::Isolated || (in_the_dark && round.failed()) {
            continue;
        }
        let Some(node) = memory.nodes.get_mut(&round.node) else { continue };
        node.take_in(policy, round);
        if counts_as_failure(policy, round) {
            node.pending.push(round.clone());
            if node.pending.len() > PENDING {
                node.pending.remove(0);
            }
        }
    }
    for (id, node) in &mut memory.nodes {
        if sight.vantage == Vantage::Isolated {
            node.pending.clear();
        }
        let waits = |round: &Round| {
            policy.rule == RuleSet::Witness && situation.has_anchors && anchored_at.is_none_or(|at| at < round.finished)
        };
        let ready = node.pending.iter().take_while(|round| !waits(round)).count();
        for round in node.pending.drain(..ready).collect::<Vec<_>>() {
            if let Some(strike) = node.strike(policy, &round) {
                strikes.push((id.clone(), strike));
            }
        }
        let window_ms = i64::try_from(policy.window.as_millis()).unwrap_or(i64::MAX);
        node.strikes.retain(|strike| sight.now.0.saturating_sub(strike.at.0) < window_ms);
        node.withdrawals.retain(|at| sight.now.0.saturating_sub(at.0) < DAY_MS);
    }
    strikes.sort_by(|a, b| (a.1.at, &a.0).cmp(&(b.1.at, &b.0)));
    strikes
}

fn counts_as_failure(policy: &Policy, round: &Round) -> bool {
    match policy.rule {
        RuleSet::Witness => round.strikes(),
        RuleSet::Classic => round.failed(),
    }
}

impl NodeMemory {
    /// Streaks and the newest round.
    fn take_in(&mut self, policy: &Policy, round: &Round) {
        // More than is asked for is of no interest, and would be one more thing to remember in every round.
        self.rounds_seen = policy.warmup_rounds.min(self.rounds_seen.saturating_add(1));
        if round.failed() {
            self.failed_rounds = self.failed_rounds.saturating_add(1);
            self.clean_rounds = 0;
            self.clean_since = None;
        } else {
            self.failed_rounds = 0;
            self.clean_rounds = self.clean_rounds.saturating_add(1);
            self.clean_since.get_or_insert(round.finished);
        }
        self.last_round = Some(round.clone());
    }

    /// Gives a strike for `round`, unless the last one is of the same incident.
    fn strike(&mut self, policy: &Policy, round: &Round) -> Option<Strike> {
        let spacing_ms = match policy.rule {
            RuleSet::Witness => i64::try_from(policy.strike_spacing.as_millis()).unwrap_or(i64::MAX),
            RuleSet::Classic => 0,
        };
        if self.last_strike_at.is_some_and(|last| round.finished.0.saturating_sub(last.0) < spacing_ms) {
            return None;
        }
        let mut faults: Vec<_> = round.faults().collect();
        faults.sort_unstable();
        faults.dedup();
        let strike = Strike { at: round.finished, faults };
        self.last_strike_at = Some(strike.at);
        self.strikes.push(strike.clone());
        Some(strike)
    }
}
