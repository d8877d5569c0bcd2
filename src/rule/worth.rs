//! What evidence is worth: may a node that it speaks against leave, as the rest of the pool stands?
//!
//! Hard evidence is acted on when others confirm it, or when acting would do no harm were it wrong. Soft evidence is acted on
//! when it is one node's alone, and the others can carry its share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{Evidence, Guard, NodeId, NodeMemory, Shortage};

use super::classify::{Finding, percent};
use super::decide::Desk;

/// On what ground a change is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// A person, or an earlier decision that is carried on.
    Settled,
    /// Evidence that overload does not produce.
    Hard {
        /// Whether others saw it too, or need not.
        confirmed: bool,
    },
    /// Evidence that overload does produce.
    Soft {
        /// Whether the service failed every time, so that nobody is served by it.
        whole: bool,
    },
    /// A node that has proved itself.
    Back {
        /// Whether its capacity is needed.
        needed: bool,
    },
    /// A soft withdrawal that hurt.
    Undo,
}

/// A refusal, and whether a person is to be told.
pub(super) struct Refused {
    pub(super) guard: Guard,
    pub(super) why: String,
    pub(super) tell: bool,
}

impl Refused {
    fn quietly(guard: Guard, why: String) -> Result<(), Self> {
        Err(Self { guard, why, tell: false })
    }

    fn aloud(guard: Guard, why: String) -> Result<(), Self> {
        Err(Self { guard, why, tell: true })
    }
}

impl Worth {
    /// Whether it does not wait for the last change to settle.
    pub(super) fn is_urgent(self, overloaded: bool) -> bool {
        match self {
            Self::Hard { .. } => !overloaded,
            Self::Back { needed } => needed,
            Self::Undo => true,
            Self::Settled | Self::Soft { .. } => false,
        }
    }

    /// The order in which changes are put into a plan.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Settled => 0,
            Self::Hard { confirmed: true } => 1,
            Self::Hard { confirmed: false } => 2,
            Self::Soft { .. } => 3,
            Self::Undo | Self::Back { .. } => 4,
        }
    }
}

impl Desk<'_> {
    /// Whether `node` may leave on the ground of `worth`, `taken` being about to leave as well.
    /// `settled` are those that hard evidence speaks against already: they are not waited for.
    pub(super) fn weigh(
        &self,
        node: &NodeId,
        worth: Worth,
        taken: &BTreeSet<NodeId>,
        settled: &BTreeSet<NodeId>,
    ) -> Result<(), Refused> {
        match worth {
            Worth::Settled | Worth::Back { .. } | Worth::Undo => Ok(()),
            Worth::Hard { confirmed } => self.weigh_hard(node, confirmed, taken, settled),
            Worth::Soft { whole } => self.weigh_soft(node, whole, taken),
        }
    }

    fn weigh_hard(
        &self,
        node: &NodeId,
        confirmed: bool,
        taken: &BTreeSet<NodeId>,
        settled: &BTreeSet<NodeId>,
    ) -> Result<(), Refused> {
        let crowd = self.crowd;
        let limits = &self.policy.overload;
        let answering = crowd.answering.iter().filter(|id| **id != node && !taken.contains(**id)).count();
        if answering == 0 {
            let why = "no node that answers would stay".to_owned();
            return Refused::aloud(Guard::Dark, why);
        }
        let memory = self.nodes.get(node);
        let dead_s = memory.map_or(0, |memory| self.dead_for(memory).as_secs());
        let other = crowd.falling.iter().find(|id| **id != node && !settled.contains(**id));
        if let Some(other) = other.filter(|_| dead_s < limits.cut_wait.as_secs()) {
            let why =
                format!("{other} falls silent as well; waited for it for {dead_s} of {} s", limits.cut_wait.as_secs());
            return Refused::quietly(Guard::Peers, why);
        }
        let mut without = taken.clone();
        without.insert(node.clone());
        let after = crowd.room.after(&without, 100);
        let room = u64::from(limits.room_percent) * 10;
        let too_much = |milli: u64| {
            format!("the rest would carry {} (at most {} % is allowed)", percent(milli), limits.room_percent)
        };
        if !confirmed {
            if let Some(other) = &crowd.revived {
                // What made several silent together may have been between them and us, and end for all of them.
                let why = format!("nobody else could confirm it, and {other} has just come back from silence itself");
                return Refused::quietly(Guard::Peers, why);
            }
            if crowd.is_overloaded() {
                let why = "nobody else could confirm it, and the pool is overloaded".to_owned();
                return Refused::aloud(Guard::Overload, why);
            }
            // Of many that are silent, some must not leave because there is room for just so many: what holds for one of
            // them holds for all.
            let gone: BTreeSet<NodeId> =
                crowd.serving.iter().filter(|id| !crowd.answers(id)).map(|id| (*id).clone()).collect();
            let after = crowd.room.after_deaths(&gone.union(&without).cloned().collect());
            return match after {
                Some(milli) if milli > room => {
                    let why =
                        format!("nobody else could confirm it, and without all that do not answer {}", too_much(milli));
                    Refused::aloud(Guard::Unconfirmed, why)
                }
                Some(_) => Ok(()),
                None => {
                    let quorum = self.quorum();
                    if answering >= quorum {
                        return Ok(());
                    }
                    let why = format!(
                        "nobody else could confirm it, and {answering} nodes that answer would stay, where {} % of the pool, \
                         {quorum}, must",
                        limits.quorum_percent
                    );
                    Refused::aloud(Guard::Unconfirmed, why)
                }
            };
        }
        if self.situation.can.shed {
            // The ladder makes room for it in the same tick.
            return Ok(());
        }
        let short = after.filter(|milli| *milli > room);
        if let Some(milli) = short.filter(|_| limits.on_shortage == Shortage::Keep) {
            return Refused::aloud(Guard::Capacity, format!("{}; on_shortage is keep", too_much(milli)));
        }
        let far_short = after.filter(|milli| *milli > u64::from(limits.room_dead_percent) * 10);
        if let Some(milli) = far_short.filter(|_| !crowd.is_overloaded()) {
            // It would make an overload of a death.
            let why = format!(
                "the rest would carry {}, more than {} %, and nobody can tell them to shed load",
                percent(milli),
                limits.room_dead_percent
            );
            return Refused::aloud(Guard::Capacity, why);
        }
        if !crowd.is_overloaded() {
            return Ok(());
        }
        let idle = self.findings.of(node).is_some_and(|finding| finding.class == Evidence::Hung);
        if let Some(milli) = short.filter(|_| idle) {
            return Refused::aloud(Guard::Overload, format!("the pool is overloaded, and {}", too_much(milli)));
        }
        if dead_s < limits.dead_for.as_secs() {
            let why = format!(
                "the pool is overloaded: it must be dead for {} s, and is for {dead_s} s",
                limits.dead_for.as_secs()
            );
            return Refused::quietly(Guard::Overload, why);
        }
        match after.filter(|milli| *milli > u64::from(limits.room_dead_percent) * 10) {
            Some(milli) => Refused::aloud(
                Guard::Overload,
                format!(
                    "the rest would carry {}, more than {} %, and nobody can tell them to shed load",
                    percent(milli),
                    limits.room_dead_percent
                ),
            ),
            None => Ok(()),
        }
    }

    fn weigh_soft(&self, node: &NodeId, whole: bool, taken: &BTreeSet<NodeId>) -> Result<(), Refused> {
        use super::crowd::State;
        let (crowd, limits, now) = (self.crowd, &self.policy.overload, self.sight.now);
        match &crowd.state {
            State::Normal => {}
            State::Dark(why) => return Refused::quietly(Guard::Dark, why.clone()),
            State::Overload(why) => return Refused::quietly(Guard::Overload, format!("the pool is overloaded: {why}")),
            State::PathTrouble(why) => return Refused::quietly(Guard::PathTrouble, why.clone()),
            State::CommonFault(why) => return Refused::quietly(Guard::CommonFault, why.clone()),
        }
        if let Some(other) = crowd.other_in_trouble(node).or(taken.iter().find(|id| *id != node)) {
            let class = self.findings.of(other).map_or(Evidence::NoData, |finding| finding.class);
            return Refused::quietly(Guard::Peers, format!("{other} is not well either ({class})"));
        }
        if let Some(until) = self.regret_until.filter(|until| now < *until) {
            let left = until.since(now).as_secs();
            let why = format!("the last withdrawal for soft evidence hurt the others; none for another {left} s");
            return Refused::quietly(Guard::Regret, why);
        }
        let mut without = taken.clone();
        without.insert(node.clone());
        let answering = crowd.answering.iter().filter(|id| !without.contains(**id)).count();
        let quorum = self.quorum();
        if answering < quorum {
            let why = format!(
                "{answering} nodes that answer would stay, where {} % of the pool, {quorum}, must",
                limits.quorum_percent
            );
            return Refused::aloud(Guard::Keep, why);
        }
        let settle = limits.settle.as_secs();
        if let Some(ago) = self.changed_at.map(|at| now.since(at).as_secs()).filter(|ago| *ago < settle) {
            let why = format!("the pool was changed {ago} s ago, and a soft withdrawal waits for {settle} s");
            return Refused::quietly(Guard::Settle, why);
        }
        match crowd.room.after(&without, 100) {
            Some(milli) if milli > u64::from(limits.room_percent) * 10 => Refused::aloud(
                Guard::Capacity,
                format!("the rest would carry {} (at most {} % is allowed)", percent(milli), limits.room_percent),
            ),
            // What it carries says nothing of those who are sent to the address that is dead.
            _ if self.is_half_dead(node) => Ok(()),
            Some(_) if self.is_wrong(node) => Ok(()),
            room => match room.and_then(|_| crowd.room.of_peers_percent(node)) {
                Some(share) if share >= u64::from(limits.weak_percent) => Refused::aloud(
                    Guard::StillServes,
                    format!(
                        "it still carries {share} % of what its peers do (less than {} % would be weak)",
                        limits.weak_percent
                    ),
                ),
                Some(_) => Ok(()),
                None if whole || limits.canary || self.is_sporadic(node) => Ok(()),
                None => Refused::aloud(
                    Guard::Capacity,
                    "it serves some of its clients, and nobody knows how many of them, nor whether the others could"
                        .to_owned(),
                ),
            },
        }
    }

    /// How many of them must answer where no figures tell.
    fn quorum(&self) -> usize {
        (self.members() * self.policy.overload.quorum_percent as usize).div_ceil(100)
    }

    /// How many nodes the pool has, those apart that a person has spoken for.
    fn members(&self) -> usize {
        self.crowd.serving.len() + self.out_count
    }

    /// For how long there has been hard evidence against a node, or was enough to name it had it been looked at as often.
    fn dead_for(&self, memory: &NodeMemory) -> Duration {
        let recent = &memory.recent;
        let by_silence = recent.silence.map(|silence| silence.since.plus(self.policy.evidence.silent_alone));
        match (recent.hard, by_silence) {
            (Some(hard), _) => self.sight.now.since(hard.since),
            (None, Some(since)) => self.sight.now.since(since),
            (None, None) => Duration::ZERO,
        }
    }

    /// Whether the node answers, and answers wrongly: then what it carries is worth nothing to anybody.
    fn is_wrong(&self, node: &NodeId) -> bool {
        self.findings.of(node).is_some_and(|finding| finding.class == Evidence::Broken)
    }

    /// Whether one of its addresses shows no sign of life, round after round: to whoever has been given that one it is dead.
    fn is_half_dead(&self, node: &NodeId) -> bool {
        let Some(memory) =
            self.nodes.get(node).filter(|memory| memory.failed_rounds >= self.policy.evidence.steady_rounds)
        else {
            return false;
        };
        let Some(round) = &memory.last_round else { return false };
        let mut lives: BTreeMap<IpAddr, bool> = BTreeMap::new();
        for seen in &round.observations {
            *lives.entry(seen.address).or_default() |= seen.is_sign_of_life();
        }
        lives.len() > 1 && lives.values().any(|lives| !lives)
    }

    /// Whether the trouble that nominates the node is its own alone, and now and then: an overload strikes all, if the
    /// weakest first, and once it strikes it does so in every minute.
    fn is_sporadic(&self, node: &NodeId) -> bool {
        if self.findings.of(node).is_none_or(Finding::is_soft) {
            return false;
        }
        let strikes = self.nodes.get(node).map_or(&[][..], |memory| memory.strikes.as_slice());
        let nominating = strikes.len().saturating_sub(self.policy.strikes.max(1) as usize);
        let Some(since) = strikes.get(nominating).map(|strike| strike.at) else { return true };
        // In the first minutes of an overload it may look as if it were one node's alone.
        let first = strikes.first().map_or(since, |strike| strike.at);
        if self.sight.now.since(first) < self.policy.window.saturating_mul(self.policy.overload.sporadic_percent) / 100
        {
            return false;
        }
        let spared = |memory: &NodeMemory| memory.strikes.last().is_none_or(|strike| strike.at < since);
        self.crowd.serving.iter().filter(|id| **id != node).all(|id| self.nodes.get(*id).is_none_or(spared))
    }
}
