//! What became of a world.

use std::collections::BTreeSet;

use crate::model::{FleetVerdict, Guard, NodeVerdict};

use super::pilot::{Move, Reasoned};

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// When it was decided, milliseconds.
    pub at_ms: i64,
    /// What, and why.
    pub what: Reasoned,
    /// For a withdrawal: whether the node served somebody then.
    pub alive: bool,
}

/// A node that stopped serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Which, by its place.
    pub node: usize,
    /// When, milliseconds.
    pub at_ms: i64,
    /// When its withdrawal was decided, if it was while it was dead.
    pub out_ms: Option<i64>,
    /// When it served again.
    pub back_ms: Option<i64>,
    /// When its return was decided, if it was out and came back.
    pub in_ms: Option<i64>,
}

/// The world at a moment, for a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, milliseconds.
    pub at_ms: i64,
    /// What was asked for; 1 is the capacity of a node of 1.
    pub demand: f64,
    /// What of it was served.
    pub served: f64,
    /// What each node was asked for, as a share of what it can.
    pub utilisation: Vec<f64>,
    /// Whether each served somebody.
    pub alive: Vec<bool>,
    /// Whether each was in the DNS.
    pub published: Vec<bool>,
    /// What the fleet was called.
    pub fleet: Option<FleetVerdict>,
    /// What each node was called.
    pub verdicts: Vec<NodeVerdict>,
    /// What clients were let have, as a share.
    pub let_through: f64,
}

/// Everything that became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What was served of what was asked for, percent.
    pub served: f64,
    /// What was done, in order.
    pub done: Vec<Done>,
    /// How often the published set changed.
    pub changes: usize,
    /// Who stopped serving.
    pub deaths: Vec<Death>,
    /// Minutes of shedding load, times the share that clients did not get.
    pub brownout: f64,
    /// What the fleet was called, and when first (milliseconds).
    pub fleet: Vec<(i64, FleetVerdict)>,
    /// Which guards held a withdrawal of which node.
    pub holds: BTreeSet<(usize, Guard)>,
    /// One each 10 s, where they were asked for.
    pub samples: Vec<Sample>,
}

impl Outcome {
    /// How many withdrawals took a node that served.
    #[must_use]
    pub fn living_withdrawn(&self) -> usize {
        self.withdrawals().filter(|done| done.alive).count()
    }

    /// The withdrawals, in order.
    pub fn withdrawals(&self) -> impl Iterator<Item = &Done> {
        self.done.iter().filter(|done| matches!(done.what.what, Move::Withdraw(_)))
    }
}
