//! What the rule remembers from one tick to the next: bounded, derived from what it was shown, kept in the ledger.
//!
//! What an older version did not write down is as it is in the beginning.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fleet::{NodeId, PoolId};
use super::observation::Round;
use super::recent::Recent;
use super::record::SetKey;
use super::standing::Standing;
use super::strike::Strike;
use super::time::{ClockReading, Time};
use super::verdict::{FleetVerdict, Guard, Hold, RuleId};

/// Everything remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The clocks at the last tick; none before the first.
    pub last: Option<ClockReading>,
    /// The time between the last ticks, ms, newest last, at most eight: what our own rhythm is.
    pub rhythm_ms: VecDeque<i64>,
    /// Ticks with observations since the last start, gap, clock step back or isolation.
    pub ticks_seen: u32,
    /// When the anchors began to fail; none while they answer.
    pub isolated_at: Option<Time>,
    /// When the anchors were last asked, and answered well enough.
    pub anchored_at: Option<Time>,
    /// When isolation was last seen to have ended; a round that began before may have failed for our own fault.
    pub clear_since: Option<Time>,
    /// By node.
    pub nodes: BTreeMap<NodeId, NodeMemory>,
    /// By pool.
    pub pools: BTreeMap<PoolId, PoolMemory>,
    /// What the fleet was in that a person was told of, and when it last was.
    pub told_fleet: Vec<(FleetVerdict, Time)>,
    /// What was held that a person was told of.
    pub alerted: Vec<Alerted>,
    /// What was held in the last tick, so that only news is told.
    pub holds: Vec<Hold>,
}

/// Something held that a person was told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerted {
    /// Of which node.
    pub node: NodeId,
    /// In which pool.
    pub pool: Option<PoolId>,
    /// By which guard.
    pub guard: Guard,
    /// When it was last so.
    pub at: Time,
}

/// What is remembered of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeMemory {
    /// Where it stands.
    pub standing: Standing,
    /// Since when.
    pub standing_since: Option<Time>,
    /// Strikes in the window that still count, oldest first; the newest 120, or as many as the policy asks for.
    pub strikes: Vec<Strike>,
    /// When the round began for which it last got a strike, counting or not: what the spacing goes by.
    pub last_strike_at: Option<Time>,
    /// The newest round that told something about the node.
    pub last_round: Option<Round>,
    /// Failing rounds that wait for a look at the anchors before they count, oldest first, at most four.
    pub pending: Vec<Round>,
    /// Conclusive rounds since the last start, gap, clock step back or isolation; not counted beyond the warm-up.
    pub rounds_seen: u32,
    /// How many of the newest conclusive rounds were clean, in a row.
    pub clean_rounds: u32,
    /// Since when they are.
    pub clean_since: Option<Time>,
    /// How many of the newest conclusive rounds failed, in a row.
    pub failed_rounds: u32,
    /// Since when they do: when the first of them was begun.
    pub failed_since: Option<Time>,
    /// When it was seen to have left DNS by our own decision, in the last 24 h, oldest first.
    pub withdrawals: VecDeque<Time>,
    /// Those of them that were for soft evidence.
    pub soft_withdrawals: VecDeque<Time>,
    /// What was seen lately, in this process.
    #[serde(skip)]
    pub recent: Recent,
}

/// What is remembered of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolMemory {
    /// When its published nodes were last seen to change, by whomever.
    pub changed_at: Option<Time>,
    /// Which nodes were published when it was last read.
    pub members: Option<BTreeSet<NodeId>>,
    /// Nodes that are out of DNS, or are to be.
    pub out: BTreeMap<NodeId, Withdrawal>,
    /// Until when the pool counts as overloaded; it is put off for as long as the signs last.
    pub overload_until: Option<Time>,
    /// Since when it does.
    pub overload_since: Option<Time>,
    /// Until when nothing is withdrawn for soft evidence, because that has hurt lately.
    pub regret_until: Option<Time>,
    /// What the pool's nodes sent together while all was well.
    pub calm: Option<Calm>,
    /// The brownout ladder.
    pub shed: ShedMemory,
}

/// What a pool carries in calm times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calm {
    /// Of all its nodes together, bit/s, smoothed.
    pub bps: u64,
    /// When that was last brought up to date.
    pub at: Time,
}

/// Where a pool stands on the brownout ladder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShedMemory {
    /// The step; 0 is none.
    pub step: u8,
    /// When it was last changed.
    pub changed_at: Option<Time>,
    /// When the nodes were last told.
    pub told_at: Option<Time>,
    /// When it was last lowered.
    pub lowered_at: Option<Time>,
    /// How often in a row lowering it was too early: each doubles the time it is held.
    pub relapses: u32,
}

/// Why a node is out of a pool's record sets, or is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// When it was decided, or first seen for one by a person outside.
    pub at: Time,
    /// When the registrar was last asked for it.
    pub asked_at: Time,
    /// The rule.
    pub rule: RuleId,
    /// Why.
    pub why: String,
    /// Whether the node has been seen out of DNS since.
    pub seen_out: bool,
    /// Since when it is to be put back; none while it is not.
    pub returning_since: Option<Time>,
    /// Whether a person did it: then only a person ends it.
    pub by_hand: bool,
    /// Whether it was for soft evidence, so that it is undone should the others suffer from it.
    #[serde(default)]
    pub soft: bool,
    /// Not to be put back before then: a node that fails under load looks perfect when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_until: Option<Time>,
    /// Where its addresses stood, so that they are put back there and nowhere else.
    #[serde(with = "places")]
    pub places: BTreeSet<(SetKey, IpAddr)>,
    /// What of it stays published although it is out, since a set would have been left empty without it.
    #[serde(with = "places")]
    pub left: BTreeSet<(SetKey, IpAddr)>,
}

/// A set of pairs as a JSON array, since JSON has no other keys than texts.
mod places {
    use super::{BTreeSet, Deserialize, IpAddr, Serialize, SetKey};

    pub(super) fn serialize<S: serde::Serializer>(
        places: &BTreeSet<(SetKey, IpAddr)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        places.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<(SetKey, IpAddr)>, D::Error> {
        Ok(Vec::<(SetKey, IpAddr)>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl Memory {
    /// Moves every remembered time by `step_ms`, as the wall clock was: ages stay what they are.
    pub fn shift(&mut self, step_ms: i64) {
        if step_ms == 0 {
            return;
        }
        let move_some = |at: &mut Option<Time>| *at = at.map(|at| at.shifted(step_ms));
        move_some(&mut self.isolated_at);
        move_some(&mut self.anchored_at);
        move_some(&mut self.clear_since);
        let told =
            self.told_fleet.iter_mut().map(|(_, at)| at).chain(self.alerted.iter_mut().map(|alert| &mut alert.at));
        told.for_each(|at| *at = at.shifted(step_ms));
        for node in self.nodes.values_mut() {
            move_some(&mut node.standing_since);
            move_some(&mut node.last_strike_at);
            move_some(&mut node.clean_since);
            move_some(&mut node.failed_since);
            for strike in &mut node.strikes {
                strike.at = strike.at.shifted(step_ms);
            }
            for round in node.last_round.iter_mut().chain(&mut node.pending) {
                round.started = round.started.shifted(step_ms);
                round.finished = round.finished.shifted(step_ms);
            }
            for at in node.withdrawals.iter_mut().chain(&mut node.soft_withdrawals) {
                *at = at.shifted(step_ms);
            }
            node.recent.shift(step_ms);
        }
        for pool in self.pools.values_mut() {
            move_some(&mut pool.changed_at);
            move_some(&mut pool.overload_until);
            move_some(&mut pool.overload_since);
            move_some(&mut pool.regret_until);
            move_some(&mut pool.shed.changed_at);
            move_some(&mut pool.shed.told_at);
            move_some(&mut pool.shed.lowered_at);
            if let Some(calm) = &mut pool.calm {
                calm.at = calm.at.shifted(step_ms);
            }
            for out in pool.out.values_mut() {
                out.at = out.at.shifted(step_ms);
                out.asked_at = out.asked_at.shifted(step_ms);
                move_some(&mut out.returning_since);
                move_some(&mut out.quarantine_until);
            }
        }
    }

    /// Takes over what `seen` saw lately of the nodes that both know: the ledger does not keep it, and a process that
    /// reads its memory anew has not forgotten it.
    pub fn adopt_recent(&mut self, seen: &Self) {
        for (id, node) in &mut self.nodes {
            if let Some(other) = seen.nodes.get(id) {
                node.recent.clone_from(&other.recent);
            }
        }
    }
}
