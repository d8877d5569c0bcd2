//! Whether we see well enough to judge: clocks, gaps, anchors.

use crate::model::{Memory, Policy, RuleSet, Situation, Time, Vantage};

/// A wall clock is disciplined by at most 0.5 ms a second; a step below this is no step.
const STEP_NOISE_MS: i64 = 100;
/// How many of our own ticks are remembered.
const RHYTHM: usize = 8;

/// What a tick can go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// Now, by the wall.
    pub(super) now: Time,
    pub(super) vantage: Vantage,
    /// By how much the wall clock went back since the last tick; 0 if it did not.
    pub(super) clock_back_ms: i64,
    /// Data older than this is no data.
    pub(super) fresh_ms: i64,
}

/// Reads clocks and anchors, and brings `memory` up to them: times follow a stepped clock, counts begin anew after a
/// start, a gap, a step back and isolation.
pub(super) fn look(policy: &Policy, situation: &Situation<'_>, memory: &mut Memory) -> Sight {
    let now = &situation.now;
    let mut begin_anew = situation.just_started;
    let mut clock_back_ms = 0;
    if let Some(last) = memory.last.take() {
        let step = now.step_since(&last);
        memory.shift(step);
        if step <= -STEP_NOISE_MS {
            clock_back_ms = -step;
            begin_anew = true;
        }
        let passed = now.wall.0.saturating_sub(last.wall.0.saturating_add(step)).max(0);
        begin_anew |= passed > 3 * rhythm_ms(policy, memory);
        memory.rhythm_ms.push_back(passed);
        while memory.rhythm_ms.len() > RHYTHM {
            memory.rhythm_ms.pop_front();
        }
    } else {
        begin_anew = true;
    }
    memory.last = Some(now.clone());
    begin_anew |= ask_anchors(situation, memory);
    if begin_anew {
        memory.ticks_seen = 0;
        for node in memory.nodes.values_mut() {
            node.rounds_seen = 0;
            node.pending.clear();
        }
    }
    if situation.rounds.iter().any(crate::model::Round::conclusive) {
        memory.ticks_seen = memory.ticks_seen.saturating_add(1);
    }
    let vantage = if policy.rule == RuleSet::Classic {
        Vantage::Clear
    } else if memory.isolated_at.is_some() {
        Vantage::Isolated
    } else if memory.ticks_seen < policy.warmup_rounds {
        Vantage::Blind
    } else {
        Vantage::Clear
    };
    Sight { now: now.wall, vantage, clock_back_ms, fresh_ms: 3 * rhythm_ms(policy, memory) }
}

/// Takes note of the anchors; true when isolation has just ended, so that what was seen before it is not carried over.
fn ask_anchors(situation: &Situation<'_>, memory: &mut Memory) -> bool {
    let Some(anchors) = situation.anchors else { return false };
    if anchors.of == 0 {
        return false;
    }
    // Half of them: one bad anchor of three says nothing about us, two do.
    if 2 * anchors.ok < anchors.of {
        memory.isolated_at.get_or_insert(anchors.at);
        return false;
    }
    memory.anchored_at = memory.anchored_at.max(Some(anchors.at));
    let ended = memory.isolated_at.take().is_some();
    if ended {
        memory.clear_since = Some(situation.now.wall);
    }
    ended
}

/// The time between two ticks that is usual for us: the configured interval, or cron's if that is longer.
fn rhythm_ms(policy: &Policy, memory: &Memory) -> i64 {
    let mut sorted: Vec<i64> = memory.rhythm_ms.iter().copied().collect();
    sorted.sort_unstable();
    let usual = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    usual.max(i64::try_from(policy.interval.as_millis()).unwrap_or(i64::MAX / 4))
}
