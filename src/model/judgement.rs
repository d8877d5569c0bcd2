//! What goes into the rule and what comes out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ask::{Abilities, Ask};
use super::evidence::Evidence;
use super::fleet::{Fleet, NodeId, PoolId};
use super::intent::Request;
use super::load::LoadFigure;
use super::memory::Memory;
use super::observation::{AnchorRound, Observation, Round};
use super::record::PublishedSets;
use super::standing::{Pin, Standing};
use super::strike::Strike;
use super::time::ClockReading;
use super::verdict::{Action, FleetVerdict, Hold, NodeVerdict, RuleId, Vantage};

/// Everything known at one tick, *now* included.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The clocks.
    pub now: ClockReading,
    /// Whether this process has only just begun to observe, and did not carry on where another stopped.
    pub just_started: bool,
    /// Who there is.
    pub fleet: &'a Fleet,
    /// Rounds that finished since the last tick, in any order.
    pub rounds: &'a [Round],
    /// What probes saw since the last tick, where it is told before a round is whole; none: what the rounds hold.
    pub sightings: Option<&'a [(NodeId, Observation)]>,
    /// Load figures that came since the last tick, in any order.
    pub loads: &'a [LoadFigure],
    /// What other vantage points said since the last tick, in any order.
    pub asks: &'a [Ask],
    /// What the caller can do.
    pub can: Abilities,
    /// The newest look at the anchors since the last tick; none where none was taken or none are configured.
    pub anchors: Option<AnchorRound>,
    /// Whether there are anchors to be asked: then a failing round counts only after they answered.
    pub has_anchors: bool,
    /// What the registrars hold. A pool that is not in it could not be read.
    pub published: &'a BTreeMap<PoolId, PublishedSets>,
    /// Pins in force, at most one per node.
    pub pins: &'a [Pin],
    /// What a person asks for right now, at most one for each node.
    pub requests: &'a [Request],
}

/// Everything concluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The clocks it was made by.
    pub now: ClockReading,
    /// Whether we see well enough.
    pub vantage: Vantage,
    /// What the fleet is in.
    pub fleet: FleetVerdict,
    /// The rule that says so.
    pub fleet_rule: RuleId,
    /// Words and numbers.
    pub fleet_why: String,
    /// For every node, in order.
    pub nodes: Vec<NodeJudgement>,
    /// New strikes.
    pub strikes: Vec<(NodeId, Strike)>,
    /// What is to be done; those that change DNS have passed the guards.
    pub actions: Vec<Action>,
    /// What was wanted and refused.
    pub holds: Vec<Hold>,
    /// Whom to probe how.
    pub probe: ProbeAdvice,
    /// What to remember.
    pub memory: Memory,
}

/// What is concluded for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeJudgement {
    /// Which.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// What it is.
    pub verdict: NodeVerdict,
    /// What class its evidence is of.
    pub evidence: Evidence,
    /// Where it stands.
    pub standing: Standing,
    /// The operator's pin over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// Strikes in the window.
    pub strikes: u32,
    /// The rule that spoke.
    pub rule: RuleId,
    /// Words and numbers.
    pub why: String,
    /// For each pool it is in: whether any of its addresses is in DNS; absent where that is not known.
    pub in_dns: BTreeMap<PoolId, bool>,
}

/// Whom to probe how from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeAdvice {
    /// Nodes to probe every `fast_interval`.
    pub fast: Vec<NodeId>,
    /// Nodes that other vantage points should try.
    pub ask: Vec<NodeId>,
}
