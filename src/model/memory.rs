//! What the rule remembers from one tick to the next: bounded, derived from what it was shown, kept in the ledger.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::fleet::{NodeId, PoolId};
use super::observation::Round;
use super::standing::Standing;
use super::strike::Strike;
use super::time::{ClockReading, Time};
use super::verdict::{Hold, RuleId};

/// Everything remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The clocks at the last tick; none before the first.
    pub last: Option<ClockReading>,
    /// The time between the last ticks, newest last, at most eight: what our own rhythm is.
    pub rhythm_ms: VecDeque<i64>,
    /// Ticks with observations since the last start, gap, clock step or isolation.
    pub ticks_seen: u32,
    /// When the anchors last failed.
    pub isolated_at: Option<Time>,
    /// By node.
    pub nodes: BTreeMap<NodeId, NodeMemory>,
    /// By pool.
    pub pools: BTreeMap<PoolId, PoolMemory>,
    /// What was held in the last tick, so that only news is told.
    pub holds: Vec<Hold>,
}

/// What is remembered of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMemory {
    /// Where it stands.
    pub standing: Standing,
    /// Since when.
    pub standing_since: Option<Time>,
    /// Strikes in the window that still count, oldest first.
    pub strikes: Vec<Strike>,
    /// The newest round that told something about the node.
    pub last_round: Option<Round>,
    /// How many of the newest conclusive rounds were clean, in a row.
    pub clean_rounds: u32,
    /// Since when they are.
    pub clean_since: Option<Time>,
    /// How many of the newest conclusive rounds failed, in a row.
    pub failed_rounds: u32,
    /// The withdrawal it is under.
    pub withdrawal: Option<Withdrawal>,
    /// When it was withdrawn by us, in the last 24 h, oldest first.
    pub withdrawals: VecDeque<Time>,
}

/// A withdrawal in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// When it was decided, or first seen for one by a person outside.
    pub at: Time,
    /// The rule, or `by-hand`.
    pub rule: RuleId,
    /// Why.
    pub why: String,
    /// Whether the node has been seen out of DNS since.
    pub seen_out: bool,
    /// Whether a person asked for it: then only a person ends it.
    pub by_hand: bool,
}

/// What is remembered of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolMemory {
    /// When its record sets were last changed by us.
    pub changed_at: Option<Time>,
    /// When the registrar was last read for it.
    pub read_at: Option<Time>,
}
