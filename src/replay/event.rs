//! What a line of a trace says, as values. Nodes are named by their place in the header's fleet, from 0.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::policy_of_keys;
use crate::model::{
    Abilities, ActionKind, Ask, Guard, LoadFigure, Measured, Name, Outcome, PinState, Policy, ProbeKind, RequestKind,
    RuleId,
};

use super::{Family, Member};

/// A line that says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which line of the trace, from 1.
    pub line: usize,
    /// When, ms of the witness's monotonic clock; none for lines that are of no time.
    pub t: Option<i64>,
    /// What.
    pub event: Event,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Who there is.
    Header(Box<Header>),
    /// A probe's result, completed so long before the line's time.
    Observed {
        /// Of which node.
        node: usize,
        /// At which of its addresses.
        place: usize,
        /// Which probe.
        probe: ProbeKind,
        /// How it went.
        outcome: Outcome,
        /// How long it took, and what it counted.
        measured: Measured,
        /// How long before.
        age: Duration,
    },
    /// A look at the anchors, so long before the line's time.
    Anchors {
        /// How long before.
        age: Duration,
        /// How many answered ...
        ok: u32,
        /// ... of so many.
        of: u32,
    },
    /// What is published from now on.
    Published {
        /// Which nodes.
        set: Vec<usize>,
        /// Addresses of these that are not: the node, and which of its addresses.
        without: Vec<(usize, usize)>,
        /// With which TTL, seconds.
        ttl_s: u32,
    },
    /// The wall clock stepped, or the process stood still.
    Clock {
        /// By how much, ms.
        wall_step_ms: i64,
        /// Whether nobody looked for a while.
        paused: bool,
    },
    /// An operator's pin, or the end of one.
    Pin {
        /// Of which node.
        node: usize,
        /// What, and for how long; none ends it.
        pin: Option<(PinState, Duration)>,
    },
    /// What a person asked for.
    Request {
        /// Of which node.
        node: usize,
        /// What.
        kind: RequestKind,
        /// Whether over the guards.
        force: bool,
    },
    /// What a node says it carries, true so long before the line's time; the figure's own time is not set.
    Load {
        /// How long before.
        age: Duration,
        /// What it says.
        figure: Box<LoadFigure>,
    },
    /// What somebody else says of a node, seen so long before the line's time; its own time is not set.
    Ask {
        /// How long before.
        age: Duration,
        /// What was said.
        ask: Box<Ask>,
    },
    /// A judgement is wanted.
    Tick,
    /// What was done then. Not for the rule to know, like all that follows.
    Act(Box<Act>),
    /// What was true of a node from then on.
    Truth {
        /// Of which.
        node: usize,
        /// What.
        state: TrueState,
    },
    /// What must, or never may, be decided.
    Expect(Box<Expectation>),
    /// The recording ends.
    End,
    /// Nothing that is of use here: another witness's observation, a kind that is not known.
    Other,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Header {
    #[serde(default)]
    pub(super) format: Option<String>,
    #[serde(default)]
    pub(super) v: Option<u64>,
    /// What it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// Where it is from: `recorded`, `simulated`, or made.
    #[serde(default)]
    pub origin: Option<String>,
    /// How far apart judgements are where the trace has no `tick` lines, ms.
    #[serde(default)]
    pub tick_ms: Option<u64>,
    #[serde(default)]
    pub(super) ttl_s: Option<u32>,
    pub(super) fleet: Vec<HeaderNode>,
    #[serde(default)]
    pub(super) witnesses: Vec<String>,
    #[serde(default)]
    pub(super) anchors: Option<u32>,
    #[serde(default)]
    pub(super) policy: Map<String, Value>,
    #[serde(flatten)]
    pub(super) can: Abilities,
    #[serde(default)]
    pub(super) interval_ms: Option<u64>,
    #[serde(default)]
    pub(super) fast_interval_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct HeaderNode {
    pub(super) n: Name,
    #[serde(default)]
    pub(super) site: Option<String>,
    #[serde(default)]
    pub(super) cap_bps: Option<u64>,
    #[serde(default)]
    pub(super) families: Vec<Family>,
}

impl Header {
    /// The fleet, in the order that places count.
    #[must_use]
    pub fn nodes(&self) -> Vec<Name> {
        self.fleet.iter().map(|node| node.n.clone()).collect()
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let member =
            |node: &HeaderNode| Member { name: node.n.clone(), site: node.site.clone(), capacity_bps: node.cap_bps };
        self.fleet.iter().map(member).collect()
    }

    /// The TTL of what is published at first, seconds.
    pub(super) fn ttl(&self) -> u32 {
        self.ttl_s.unwrap_or(60)
    }

    /// The policy it asks for.
    pub(super) fn policy(&self) -> Result<Policy, String> {
        let millis = |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_millis);
        let defaults = Policy::default();
        let (interval, fast) =
            (millis(self.interval_ms, defaults.interval), millis(self.fast_interval_ms, defaults.fast_interval));
        policy_of_keys(&self.policy, interval, fast).map_err(|problems| {
            problems.iter().map(|one| format!("{}: {}", one.subject(), one.message)).collect::<Vec<_>>().join("; ")
        })
    }
}

/// What was done when the trace was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What.
    pub kind: ActionKind,
    /// To which node; none for the fleet.
    pub node: Option<usize>,
    /// The brownout step.
    pub step: Option<u8>,
    /// By which rule, in the recorder's words; empty where it does not say.
    pub rule: RuleId,
}

/// What was true of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrueState {
    /// It served.
    Up,
    /// Nothing came from it.
    Silent,
    /// Its kernel refused the port.
    Refused,
    /// It took connections and did nothing.
    Hung,
}

impl TrueState {
    /// The name used in traces and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Hung => "hung",
        }
    }
}

/// What an expectation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A decision.
    Action(ActionKind),
    /// A decision that a guard refused.
    Hold,
    /// A strike that is remembered.
    Strike,
}

impl What {
    /// The name used in traces and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Action(kind) => kind.name(),
            Self::Hold => "hold",
            Self::Strike => "strike",
        }
    }
}

/// What a judgement of the trace must, or never may, bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Whether it must; otherwise it never may.
    pub must: bool,
    /// What.
    pub what: What,
    /// By this guard only, for holds.
    pub guard: Option<Guard>,
    /// Of each of these nodes; of any, where there are none.
    pub nodes: Vec<usize>,
    /// Not before, ms; none: from the beginning.
    pub from_ms: Option<i64>,
    /// And no later than so long after that, ms; none: to the end.
    pub within_ms: Option<i64>,
}
