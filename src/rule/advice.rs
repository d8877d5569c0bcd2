//! Whom to probe how from now on.

use std::time::Duration;

use crate::model::{NodeId, NodeMemory, Policy, ProbeAdvice, RuleSet, Situation, Standing, Time, Vantage};

use super::sight::Sight;

/// What is advised so far.
pub(super) struct Advice {
    given: ProbeAdvice,
    now: Time,
    doubt: Duration,
    ask_after: u32,
    /// Whether anything is advised at all: the original script knew one speed, and one who is cut off learns nothing more
    /// by asking faster.
    is_awake: bool,
    relays: bool,
}

impl Advice {
    pub(super) fn new(policy: &Policy, situation: &Situation<'_>, sight: &Sight) -> Self {
        Self {
            given: ProbeAdvice::default(),
            now: sight.now,
            doubt: policy.evidence.doubt,
            ask_after: policy.evidence.falling_rounds,
            is_awake: policy.rule == RuleSet::Witness && sight.vantage != Vantage::Isolated,
            relays: situation.can.relays,
        }
    }

    /// Thinks of one node.
    pub(super) fn of(&mut self, memory: &NodeMemory, id: &NodeId, standing: Standing) {
        if !self.is_awake || matches!(standing, Standing::Withdrawn | Standing::Probation) {
            return;
        }
        let recent = &memory.recent;
        let begun = [
            recent.doubt_since,
            recent.silence.map(|silence| silence.since),
            recent.service.map(|service| service.any.since),
        ];
        // What is not settled after so long will not be settled by more of the same.
        if begun.into_iter().flatten().max().is_some_and(|since| self.now.since(since) <= self.doubt) {
            self.given.fast.push(id.clone());
        }
        if self.relays && recent.silence.is_some_and(|silence| silence.rounds >= self.ask_after) {
            self.given.ask.push(id.clone());
        }
    }

    pub(super) fn given(self) -> ProbeAdvice {
        self.given
    }
}
