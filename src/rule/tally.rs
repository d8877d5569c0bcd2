//! Rounds into strikes and streaks.

use std::cmp::Ordering;

use crate::model::{Memory, NodeId, NodeMemory, Policy, Round, RuleSet, Situation, Strike, Time, Vantage};

use super::index::Index;
use super::sight::Sight;

/// Rounds that wait for the anchors; a node has rarely more than one, and the newest matter. A bound of memory, as is the
/// next, and no threshold.
pub(super) const PENDING: usize = 4;
/// Strikes that are remembered of a node, if the policy asks for no more: an hour of them, two a minute.
const STRIKES: usize = 120;

/// Takes in what was observed since the last tick and returns the new strikes, oldest first.
pub(super) fn tally(
    policy: &Policy,
    situation: &Situation<'_>,
    index: &Index<'_>,
    sight: &Sight,
    memory: &mut Memory,
) -> Vec<(NodeId, Strike)> {
    if !memory.nodes.keys().eq(situation.fleet.nodes.keys()) {
        memory.nodes.retain(|id, _| situation.fleet.nodes.contains_key(id));
        for id in situation.fleet.nodes.keys() {
            memory.nodes.entry(id.clone()).or_default();
        }
    }
    if sight.vantage == Vantage::Isolated {
        // Every failure may be our own; a success while the anchors fail is luck. Neither is taken in.
        memory.nodes.values_mut().for_each(|node| node.pending.clear());
    } else {
        let clear_since = memory.clear_since.filter(|since| policy.rule == RuleSet::Witness && *since <= sight.now);
        let rounds = in_order(index, sight);
        let mut rounds = rounds.iter().peekable();
        for (place, node) in memory.nodes.values_mut().enumerate() {
            while let Some(round) = rounds.next_if(|round| round.place == place) {
                // What was still under way when they answered again began in the dark: its failures may be our own, too.
                let failed = round.seen.failed();
                if !(failed && clear_since.is_some_and(|since| round.started < since)) {
                    node.take_in(policy, round, failed);
                }
            }
        }
    }
    let mut strikes = Vec::new();
    let anchored_at = memory.anchored_at;
    let waits = |round: &Round| {
        policy.rule == RuleSet::Witness && situation.has_anchors && anchored_at.is_none_or(|at| at < round.finished)
    };
    let window_ms = i64::try_from(policy.window.as_millis()).unwrap_or(i64::MAX);
    for (id, node) in &mut memory.nodes {
        if !node.pending.is_empty() {
            let pending = std::mem::take(&mut node.pending).into_iter();
            let (waiting, ready): (Vec<Round>, Vec<Round>) = pending.partition(waits);
            node.pending = waiting;
            node.pending.drain(..node.pending.len().saturating_sub(PENDING));
            strikes.extend(ready.iter().filter_map(|round| Some((id.clone(), node.strike(policy, round)?))));
        }
        node.strikes.retain(|strike| sight.now.0.saturating_sub(strike.at.0) < window_ms);
        // The newest decide; older ones in the window are forgotten where somebody strikes by the second.
        let most = STRIKES.max(policy.strikes as usize);
        node.strikes.drain(..node.strikes.len().saturating_sub(most));
        let counts = |at: &Time| sight.now.since(*at) < policy.comeback.count_over;
        node.withdrawals.retain(counts);
        node.soft_withdrawals.retain(counts);
    }
    strikes.sort_by(|a, b| (a.1.at, &a.0).cmp(&(b.1.at, &b.0)));
    strikes
}

/// A round by the wall clock of now.
struct Placed<'a> {
    /// Of its node.
    place: usize,
    started: Time,
    finished: Time,
    seen: &'a Round,
}

impl Placed<'_> {
    /// Writes it over `old`, whose room it takes: every node is given one in every tick.
    fn copy_to(&self, old: &mut Round) {
        let Self { place: _, started, finished, seen } = self;
        (old.started, old.finished) = (*started, *finished);
        old.node.clone_from(&seen.node);
        old.observations.clone_from(&seen.observations);
    }

    fn to_round(&self) -> Round {
        Round { started: self.started, finished: self.finished, ..self.seen.clone() }
    }
}

/// The rounds that told something, node by node, oldest first whatever order they came in.
fn in_order<'a>(index: &Index<'a>, sight: &Sight) -> Vec<Placed<'a>> {
    let mut rounds: Vec<Placed<'_>> = index
        .rounds()
        .iter()
        .filter(|(_, seen)| seen.conclusive())
        .map(|(place, seen)| Placed {
            place: *place,
            started: sight.placed(seen.started),
            finished: sight.placed(seen.finished),
            seen,
        })
        .collect();
    rounds.sort_by(|a, b| {
        // Two that nothing else tells apart are still put in the same order every time.
        let last = || {
            let (a, b) = (&a.seen.observations, &b.seen.observations);
            if a == b { Ordering::Equal } else { format!("{a:?}").cmp(&format!("{b:?}")) }
        };
        (a.place, a.finished, a.started).cmp(&(b.place, b.finished, b.started)).then_with(last)
    });
    rounds
}

fn counts_as_failure(policy: &Policy, round: &Round) -> bool {
    match policy.rule {
        RuleSet::Witness => round.strikes(),
        RuleSet::Classic => round.failed(),
    }
}

impl NodeMemory {
    /// Streaks, the newest round, and what may become a strike.
    fn take_in(&mut self, policy: &Policy, round: &Placed<'_>, failed: bool) {
        let newest = self.last_round.as_ref().map(|newest| (newest.finished, newest.started));
        if newest == Some((round.finished, round.started)) {
            // Told twice.
            return;
        }
        if failed && counts_as_failure(policy, round.seen) {
            self.pending.push(round.to_round());
        }
        if newest.is_some_and(|(finished, _)| round.finished < finished) {
            // It comes late: what came after it says how the node is now.
            return;
        }
        // More than is asked for is of no interest, and would be one more thing to remember in every round.
        self.rounds_seen = policy.warmup_rounds.min(self.rounds_seen.saturating_add(1));
        if failed {
            self.failed_rounds = self.failed_rounds.saturating_add(1);
            self.failed_since.get_or_insert(round.started);
            self.clean_rounds = 0;
            self.clean_since = None;
        } else {
            self.failed_rounds = 0;
            self.failed_since = None;
            self.clean_rounds = self.clean_rounds.saturating_add(1);
            self.clean_since.get_or_insert(round.finished);
        }
        match &mut self.last_round {
            Some(old) => round.copy_to(old),
            None => self.last_round = Some(round.to_round()),
        }
    }

    /// Gives a strike for `round`, unless there is one for the same incident.
    fn strike(&mut self, policy: &Policy, round: &Round) -> Option<Strike> {
        let known = match policy.rule {
            RuleSet::Witness => {
                // By when the rounds began, and a little early is on time: how long a round takes says nothing of how
                // far apart two incidents are, and cron is not punctual to the second.
                let spacing_ms = i64::try_from(policy.strike_spacing.as_millis()).unwrap_or(i64::MAX);
                let early_ms = spacing_ms.saturating_mul(i64::from(policy.strike_early_percent)) / 100;
                self.last_strike_at.is_some_and(|last| {
                    let after = round.started.0.saturating_sub(last.0);
                    after <= 0 || after < spacing_ms.saturating_sub(early_ms)
                })
            }
            // One a round, and no round twice.
            RuleSet::Classic => self.strikes.iter().any(|strike| strike.at == round.finished),
        };
        if known {
            return None;
        }
        let mut faults: Vec<_> = round.faults().collect();
        faults.sort_unstable();
        faults.dedup();
        let strike = Strike { at: round.finished, faults };
        self.last_strike_at = self.last_strike_at.max(Some(round.started));
        let place = self.strikes.partition_point(|other| other.at <= strike.at);
        self.strikes.insert(place, strike.clone());
        Some(strike)
    }
}
