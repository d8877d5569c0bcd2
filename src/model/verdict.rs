//! What is concluded, and with which words.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::fleet::{NodeId, PoolId};

/// Names the rule that spoke, as documented in the decision rule: `S4.strikes`. Stable across versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub Cow<'static, str>);

impl RuleId {
    /// A rule known at compile time.
    #[must_use]
    pub const fn of(id: &'static str) -> Self {
        Self(Cow::Borrowed(id))
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is concluded for one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeVerdict {
    /// Nothing wrong.
    Healthy,
    /// Something failed lately; not enough to say what it is.
    Suspect,
    /// Some checks fail, others pass.
    Degraded,
    /// It lives and its service does not answer.
    Hung,
    /// It answers, wrongly.
    Broken,
    /// Its kernel refuses the service's port.
    Down,
    /// No sign of life.
    Dead,
    /// Others see it alive; we do not.
    Partitioned,
    /// It comes and goes.
    Flapping,
    /// Out of DNS and passing its probes.
    Recovering,
    /// An operator spoke for it.
    Maintenance,
    /// No fresh data.
    #[default]
    Unknown,
}

impl NodeVerdict {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Degraded => "degraded",
            Self::Hung => "hung",
            Self::Broken => "broken",
            Self::Down => "down",
            Self::Dead => "dead",
            Self::Partitioned => "partitioned",
            Self::Flapping => "flapping",
            Self::Recovering => "recovering",
            Self::Maintenance => "maintenance",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for NodeVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is concluded for the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FleetVerdict {
    /// Nothing wrong.
    Normal,
    /// One node is in trouble.
    SingleFault,
    /// Several are.
    MultiFault,
    /// The fleet has more to carry than it can.
    Overload,
    /// The way to the nodes is in trouble.
    PathTrouble,
    /// Several nodes have the same fault.
    CommonFault,
    /// Our own network is down.
    Isolated,
    /// No node answers.
    Dark,
    /// Too little fresh data to say anything.
    #[default]
    Blind,
}

impl FleetVerdict {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::SingleFault => "single-fault",
            Self::MultiFault => "multi-fault",
            Self::Overload => "overload",
            Self::PathTrouble => "path-trouble",
            Self::CommonFault => "common-fault",
            Self::Isolated => "isolated",
            Self::Dark => "dark",
            Self::Blind => "blind",
        }
    }
}

impl fmt::Display for FleetVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether we see well enough to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vantage {
    /// We do.
    Clear,
    /// The anchors do not answer: it is us.
    Isolated,
    /// Freshly started, or after a gap or a clock step: too little seen yet.
    #[default]
    Blind,
}

impl Vantage {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Isolated => "isolated",
            Self::Blind => "blind",
        }
    }
}

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Take the node's addresses out of the pool's record sets.
    Withdraw,
    /// Put them back.
    Reinstate,
    /// Set the fleet's brownout step.
    Shed,
    /// Tell a person.
    Alert,
}

impl ActionKind {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Withdraw => "withdraw",
            Self::Reinstate => "reinstate",
            Self::Shed => "shed",
            Self::Alert => "alert",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something to do, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Action {
    /// What.
    #[serde(rename = "a")]
    pub kind: ActionKind,
    /// To which node; none for the fleet.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// In which pool; none where pools do not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// The brownout step, for `shed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u8>,
    /// The rule that asks for it.
    pub rule: RuleId,
    /// Words and numbers.
    pub why: String,
}

/// What may refuse a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// Too few nodes would stay in the pool.
    Keep,
    /// Too many nodes would be withdrawn.
    MaxWithdrawn,
    /// The last change has not settled.
    Settle,
    /// A record set would be left without an address.
    EmptySet,
    /// It would touch an address that is no node's of ours.
    Foreign,
    /// The vantage is poor.
    Vantage,
    /// The first rounds after a start, a gap or a clock step.
    Warmup,
    /// The clock went backwards.
    Clock,
    /// The node still serves: no probe that may convict has failed.
    StillServes,
    /// What the registrar holds is not known, or too old.
    ZoneUnknown,
    /// An operator's pin says otherwise.
    Pin,
    /// The record set was changed by somebody else.
    ChangedByHand,
    /// The fleet is overloaded.
    Overload,
    /// The node does not pass its probes.
    Unhealthy,
    /// No node that answers would stay.
    Dark,
    /// Nobody else could say whether it is dead, and taking it out would do harm if it were not.
    Unconfirmed,
    /// The rest could not carry what it carries, or nobody knows whether it could.
    Capacity,
    /// It is the way to the nodes that is in trouble.
    PathTrouble,
    /// Several nodes fail in the same way.
    CommonFault,
    /// Other nodes are not well either, so that this one is not to blame alone.
    Peers,
    /// Taking a node out for soft evidence has hurt lately.
    Regret,
    /// The node comes and goes.
    Flapping,
    /// It failed under load, and has none now.
    Quarantine,
}

impl Guard {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::MaxWithdrawn => "max-withdrawn",
            Self::Settle => "settle",
            Self::EmptySet => "empty-set",
            Self::Foreign => "foreign",
            Self::Vantage => "vantage",
            Self::Warmup => "warmup",
            Self::Clock => "clock",
            Self::StillServes => "still-serves",
            Self::ZoneUnknown => "zone-unknown",
            Self::Pin => "pin",
            Self::ChangedByHand => "changed-by-hand",
            Self::Overload => "overload",
            Self::Unhealthy => "unhealthy",
            Self::Dark => "dark",
            Self::Unconfirmed => "unconfirmed",
            Self::Capacity => "capacity",
            Self::PathTrouble => "path-trouble",
            Self::CommonFault => "common-fault",
            Self::Peers => "peers",
            Self::Regret => "regret",
            Self::Flapping => "flapping",
            Self::Quarantine => "quarantine",
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A wanted change that a guard refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hold {
    /// What was wanted.
    #[serde(rename = "a")]
    pub kind: ActionKind,
    /// Of which node.
    #[serde(rename = "n")]
    pub node: NodeId,
    /// In which pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolId>,
    /// Who refused.
    pub guard: Guard,
    /// Words and numbers.
    pub why: String,
}

impl Hold {
    /// Whether both refuse the same for the same guard, whatever the numbers.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.guard, self.kind, &self.node, &self.pool) == (other.guard, other.kind, &other.node, &other.pool)
    }
}
