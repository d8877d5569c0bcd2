//! Whether we see well enough to judge: clocks, gaps, anchors.

use crate::model::{Memory, Policy, RuleSet, Situation, Time, Vantage};

/// How many of our own ticks are remembered: a sample to take the median of, and no threshold.
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
    /// Whether counting begins anew: a streak with a hole in it proves nothing.
    pub(super) anew: bool,
    /// The last tick, by the wall clock of now; none before the first.
    last: Option<Time>,
    /// By how much the wall clock was stepped since then; 0 for noise.
    step_ms: i64,
}

impl Sight {
    /// One of a tick that nothing else is known of.
    #[cfg(test)]
    pub(super) fn at(now: Time, vantage: Vantage, fresh_ms: i64) -> Self {
        Self { now, vantage, clock_back_ms: 0, fresh_ms, anew: false, last: None, step_ms: 0 }
    }

    /// The last tick, by the wall clock of now.
    pub(super) fn last_tick(&self) -> Option<Time> {
        self.last
    }

    /// When `at` was by the wall clock of now: what was observed since the last tick may have been before a step.
    pub(super) fn placed(&self, at: Time) -> Time {
        let before_step = match self.step_ms.signum() {
            1 => self.last.is_some_and(|last| at < last),
            -1 => at > self.now,
            _ => false,
        };
        let at = if before_step { at.shifted(self.step_ms) } else { at };
        at.min(self.now)
    }
}

/// Reads clocks and anchors, and brings `memory` up to them: times follow a stepped clock, counts begin anew after a
/// start, a gap, a step back and isolation.
pub(super) fn look(policy: &Policy, situation: &Situation<'_>, memory: &mut Memory) -> Sight {
    let now = &situation.now;
    let mut begin_anew = situation.just_started;
    let mut sight = Sight {
        now: now.wall,
        vantage: Vantage::Clear,
        clock_back_ms: 0,
        fresh_ms: 0,
        anew: false,
        last: None,
        step_ms: 0,
    };
    if situation.just_started {
        memory.rhythm_ms.clear();
    }
    if let Some(last) = memory.last.take() {
        let step = now.step_since(&last);
        memory.shift(step);
        let last = last.wall.shifted(step);
        sight.last = Some(last);
        let noise = i64::try_from(policy.step_noise.as_millis()).unwrap_or(i64::MAX).max(1);
        if step <= -noise {
            sight.clock_back_ms = step.saturating_neg();
            begin_anew = true;
        }
        if step.saturating_abs() >= noise {
            sight.step_ms = step;
        }
        if !situation.just_started {
            let passed = now.wall.0.saturating_sub(last.0).max(0);
            begin_anew |= passed > stale_ms(policy, memory);
            memory.rhythm_ms.push_back(passed);
            while memory.rhythm_ms.len() > RHYTHM {
                memory.rhythm_ms.pop_front();
            }
        }
    } else {
        begin_anew = true;
    }
    memory.last = Some(now.clone());
    begin_anew |= ask_anchors(policy, situation, &sight, memory);
    sight.anew = begin_anew;
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
    sight.vantage = if policy.rule == RuleSet::Classic {
        Vantage::Clear
    } else if memory.isolated_at.is_some() {
        Vantage::Isolated
    } else if memory.ticks_seen < policy.warmup_rounds {
        Vantage::Blind
    } else {
        Vantage::Clear
    };
    sight.fresh_ms = stale_ms(policy, memory);
    sight
}

/// Takes note of the anchors; true when isolation has just ended, so that what was seen before it is not carried over.
fn ask_anchors(policy: &Policy, situation: &Situation<'_>, sight: &Sight, memory: &mut Memory) -> bool {
    if !situation.has_anchors {
        // Nobody is left who could end it.
        return memory.isolated_at.take().is_some();
    }
    let Some(anchors) = situation.anchors.filter(|anchors| anchors.of > 0) else { return false };
    let at = sight.placed(anchors.at);
    if 100 * u64::from(anchors.ok) < u64::from(policy.anchors_percent) * u64::from(anchors.of) {
        memory.isolated_at.get_or_insert(at);
        return false;
    }
    memory.anchored_at = memory.anchored_at.max(Some(at));
    let ended = memory.isolated_at.take().is_some();
    if ended {
        memory.clear_since = Some(situation.now.wall);
    }
    ended
}

/// What is older is old, and a longer pause is a gap.
fn stale_ms(policy: &Policy, memory: &Memory) -> i64 {
    rhythm_ms(policy, memory).saturating_mul(i64::from(policy.stale_after))
}

/// The time between two ticks that is usual for us: the configured interval, or cron's if that is longer.
fn rhythm_ms(policy: &Policy, memory: &Memory) -> i64 {
    let mut sorted: Vec<i64> = memory.rhythm_ms.iter().copied().collect();
    sorted.sort_unstable();
    let usual = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    usual.max(i64::try_from(policy.interval.as_millis()).unwrap_or(i64::MAX / 4))
}
