//! The way back: probation, the penalty of those that come and go, quarantine, and the undoing of what hurt.

use std::time::Duration;

use crate::model::{
    ActionKind, ComebackPolicy, Evidence, Guard, Node, NodeId, NodeMemory, PublishedSets, Time, Withdrawal,
};

use super::classify::percent;
use super::decide::Desk;
use super::guard::Authority;
use super::wish::{Want, Wish};
use super::worth::Worth;
use super::{explain, plan, words};

/// What a node's withdrawals add up to: each counts for less the longer it is ago (RFC 2439).
pub(super) fn penalty(policy: &ComebackPolicy, memory: &NodeMemory, now: Time) -> u32 {
    let half_life = policy.half_life.as_secs_f64().max(1.0);
    let each = |at: &Time| f64::from(policy.penalty) * (-now.since(*at).as_secs_f64() / half_life).exp2();
    let sum: f64 = memory.withdrawals.iter().map(each).sum();
    // Finite and within a u32: a day's withdrawals, each of which counts for a u32 at the most, are capped.
    sum.min(f64::from(policy.penalty_max)).round() as u32
}

impl Desk<'_> {
    /// Whether a node that is out for our own reasons has earned its way back.
    pub(super) fn comeback(
        &self,
        out: &Withdrawal,
        node: &Node,
        memory: &NodeMemory,
        published: &PublishedSets,
    ) -> Wish {
        let kind = ActionKind::Reinstate;
        let overloaded = self.crowd.is_overloaded();
        let needed = self.is_needed(&node.id);
        let at_once = overloaded && out.soft && memory.clean_rounds > 0;
        let usual = explain::probation(self.policy, memory);
        let need = if needed { self.policy.comeback.needed.min(usual) } else { usual };
        let clean = memory.clean_since.map_or(Duration::ZERO, |since| self.sight.now.since(since));
        let rounds = self.policy.probation_rounds.max(1);
        if !at_once && (memory.clean_rounds < rounds || clean < need) {
            return Wish::Nothing;
        }
        if plan::returns_to(node, self.pool, published, Some(out), false).is_empty() {
            let why = "the record sets it stood in are gone; `witness reinstate` makes them anew".to_owned();
            return Wish::Hold(kind, Guard::ChangedByHand, why);
        }
        let penalty = penalty(&self.policy.comeback, memory, self.sight.now);
        let why = format!(
            "{} clean rounds over {} s (needed: {rounds} over {} s{}; withdrawn {} times in 24 h, penalty {penalty})",
            memory.clean_rounds,
            clean.as_secs(),
            need.as_secs(),
            if needed { ", since its capacity is needed" } else { "" },
            memory.withdrawals.len()
        );
        if let Some(until) = out.quarantine_until.filter(|until| !overloaded && *until > self.sight.now) {
            let left = until.since(self.sight.now).as_secs();
            let why = format!("{why}; it failed under load, and has none now: another {left} s");
            return Wish::Hold(kind, Guard::Quarantine, why);
        }
        let reuse = if needed { self.policy.comeback.reuse_needed } else { self.policy.comeback.reuse };
        if !overloaded && penalty > reuse {
            return Wish::Hold(kind, Guard::Flapping, format!("{why}; it comes back at {reuse}"));
        }
        let worth = Worth::Back { needed };
        Wish::Want(Want { kind, rule: words::PROBATION, why, authority: Authority::Rule, worth, but: None })
    }

    /// Whether a node that is out is missed: the rest is overloaded, or others are out or in trouble as well.
    fn is_needed(&self, node: &NodeId) -> bool {
        let in_trouble = |id: &NodeId| {
            self.findings.of(id).is_some_and(|finding| !matches!(finding.class, Evidence::Fine | Evidence::NoData))
                && self.nodes.get(id).is_some_and(|memory| memory.recent.service.is_some())
        };
        self.crowd.is_overloaded()
            || self.out_count > 1
            || self.crowd.serving.iter().any(|id| *id != node && in_trouble(id))
    }

    /// Whether the others suffer since this node was taken out for soft evidence.
    pub(super) fn regrets(&self, node: &NodeId, out: &Withdrawal, memory: &NodeMemory) -> bool {
        let since = |at: Option<Time>| at.is_some_and(|at| at > out.at);
        let suffers = |id: &NodeId| {
            let recent = self.nodes.get(id).map(|memory| &memory.recent);
            let soft = recent.and_then(|recent| recent.soft);
            // Who was in doubt before does not suffer from it.
            let before = recent.and_then(|recent| recent.doubt_since).is_some_and(|doubt| doubt <= out.at);
            id != node && !before && since(soft.map(|soft| soft.since))
        };
        // Whose service fails every time would carry nothing for them.
        let fails =
            memory.recent.service.is_some_and(|service| service.any.rounds >= self.policy.evidence.steady_rounds);
        out.soft
            && !fails
            && out.returning_since.is_none()
            && memory.recent.silence.is_none()
            && self.sight.now.since(out.at) < self.policy.overload.regret
            && (since(self.overload_since) || self.crowd.soft.iter().copied().any(suffers))
    }

    /// How long a node stays out at least that is taken out for being degraded now.
    pub(super) fn quarantine(&self, node: &NodeId) -> Duration {
        let before = self.nodes.get(node).map_or(0, |memory| memory.soft_withdrawals.len());
        // 31 doublings are longer than any quarantine, and fit.
        self.policy
            .comeback
            .quarantine
            .saturating_mul(1 << before.min(self.policy.comeback.quarantine_doublings.min(31) as usize))
    }

    /// Why the others could not spare `node`, which a person wants out; none where they could, or nobody knows.
    pub(super) fn too_much_without(&self, node: &NodeId) -> Option<String> {
        let without = [node.clone()].into();
        let limit = self.policy.overload.drain_percent;
        let milli = self.crowd.room.after(&without, 100).filter(|milli| *milli > u64::from(limit) * 10)?;
        Some(format!("the rest would carry {} (at most {limit} % is allowed)", percent(milli)))
    }
}
