//! Who steers: the rule, at whatever it is told, or one of those it is measured against.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{
    Abilities, ActionKind, Ask, AskHow, AskOutcome, FleetVerdict, Guard, LoadFigure, LoadSource, Measured, Name,
    NodeId, NodeVerdict, Policy, ProbeKind,
};
use crate::replay::{Engine, Member};

use super::probes::Seen;
use super::scenario::Scenario;

/// What a witness is told, beside whether probes passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eyes {
    /// How long probes took, and how many echoes came back.
    pub latencies: bool,
    /// What the nodes carry.
    pub loads: bool,
    /// Other nodes can be asked.
    pub relays: bool,
    /// The nodes can be told to shed load.
    pub shed: bool,
}

impl Eyes {
    /// The levels: 0 outcomes only, 1 with latencies, 2 with load figures, 3 with other vantage points.
    #[must_use]
    pub fn of_level(level: u8, shed: bool) -> Self {
        Self { latencies: level >= 1, loads: level >= 2, relays: level >= 3, shed }
    }

    /// Whether what an expectation is given is there.
    #[must_use]
    pub fn have(&self, given: &str) -> bool {
        let has = |name: &str| match name {
            "load" => self.loads,
            "relays" => self.relays,
            _ => self.shed,
        };
        match given.strip_prefix('!') {
            Some(name) => !has(name),
            None => has(given),
        }
    }
}

/// What a pilot wants done. Nodes are named by their place in the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Out of the DNS.
    Withdraw(usize),
    /// Back in.
    Reinstate(usize),
    /// Let clients have so many percent.
    Shed {
        /// The step.
        step: u8,
        /// What clients get then, percent.
        percent: u32,
    },
    /// A person is called: for a node, or for the fleet.
    Alert(Option<usize>),
}

/// A move, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasoned {
    /// What.
    pub what: Move,
    /// The rule, where there is one.
    pub rule: String,
    /// Words and numbers.
    pub why: String,
}

impl Reasoned {
    /// Whether it only goes on with what was done before.
    #[must_use]
    pub fn is_renewal(&self) -> bool {
        self.rule == "L3.renew"
    }

    pub(super) fn plain(what: Move) -> Self {
        Self { what, rule: String::new(), why: String::new() }
    }
}

/// What a pilot is told between two ticks, at the millisecond it is told.
#[derive(Clone, Debug)]
pub(super) enum News {
    Probe { node: usize, seen: Seen },
    Anchors { ok: u32, of: u32 },
    Load { node: usize, sends: f64, step: u8 },
    Ask { via: usize, node: usize, outcome: AskOutcome },
    Published(Vec<usize>),
}

/// Somebody who watches and acts.
pub(super) trait Pilot {
    /// How long after a round of the node the next begins, milliseconds.
    fn every_ms(&self, node: usize) -> i64;
    /// Whether others are to be asked about the node.
    fn asks(&self, _node: usize) -> bool {
        false
    }
    /// Is told something.
    fn hear(&mut self, at_ms: i64, news: &News);
    /// Says what is to be done. `dead` is the truth, for those who are told it.
    fn act(&mut self, now_ms: i64, dead: &[bool]) -> Vec<Reasoned>;
    /// What it calls the fleet and each node, where it has words for it.
    fn verdicts(&self) -> Option<(FleetVerdict, Vec<NodeVerdict>)> {
        None
    }
    /// Which guard holds a withdrawal of the node.
    fn holds(&self) -> Vec<(usize, Guard)> {
        Vec::new()
    }
}

/// The rule of this program.
#[derive(Debug)]
pub(super) struct Witness {
    engine: Engine,
    eyes: Eyes,
    names: Vec<NodeId>,
    ttl_s: u32,
    fast: Vec<bool>,
    ask: Vec<bool>,
    fleet: FleetVerdict,
    nodes: Vec<NodeVerdict>,
    holds: Vec<(usize, Guard)>,
}

/// What a capacity of 1 is, bit/s.
pub(super) const UNIT_BPS: f64 = 1e9;

impl Witness {
    pub(super) fn new(scenario: &Scenario, policy: &Policy, eyes: Eyes) -> Result<Self, String> {
        let names: Result<Vec<NodeId>, String> =
            scenario.node.iter().map(|node| Name::new(&node.name).map_err(|error| error.to_string())).collect();
        let names = names?;
        let member = |(node, name): (&super::SimNode, &NodeId)| Member {
            name: name.clone(),
            site: Some(node.site.clone().unwrap_or_else(|| node.name.clone())),
            capacity_bps: Some((node.capacity * UNIT_BPS) as u64),
        };
        let members = scenario.node.iter().zip(&names).map(member).collect();
        let can = Abilities { shed: eyes.shed, relays: eyes.relays };
        let engine = Engine::new(policy.clone(), members, scenario.ttl_s, can)?;
        let count = names.len();
        Ok(Self {
            engine,
            eyes,
            names,
            ttl_s: scenario.ttl_s,
            fast: vec![false; count],
            ask: vec![false; count],
            fleet: FleetVerdict::default(),
            nodes: vec![NodeVerdict::Unknown; count],
            holds: Vec::new(),
        })
    }

    fn place(&self, id: &NodeId) -> Option<usize> {
        self.names.iter().position(|name| name == id)
    }

    fn marks(&self, ids: &[NodeId]) -> Vec<bool> {
        self.names.iter().map(|name| ids.contains(name)).collect()
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Pilot for Witness {
    fn every_ms(&self, node: usize) -> i64 {
        let policy = self.engine.policy();
        millis(if self.fast[node] { policy.fast_interval } else { policy.interval })
    }

    fn asks(&self, node: usize) -> bool {
        self.eyes.relays && self.ask[node]
    }

    fn hear(&mut self, at_ms: i64, news: &News) {
        self.engine.at(at_ms);
        match news {
            News::Probe { node, seen } => {
                let measured = match self.eyes.latencies {
                    true => seen.measured.clone(),
                    false => outcome_only(seen),
                };
                self.engine.observed(self.names[*node].clone(), seen.probe, seen.outcome, measured);
            }
            News::Anchors { ok, of } => self.engine.controlled(*ok, *of),
            News::Load { node, sends, step } if self.eyes.loads => {
                let at = self.engine.now().wall;
                self.engine.loaded(LoadFigure {
                    tx_bps: Some((sends * UNIT_BPS) as u64),
                    shed_step: Some(*step),
                    ..LoadFigure::new(self.names[*node].clone(), at, LoadSource::Health)
                });
            }
            News::Load { .. } => {}
            News::Ask { via, node, outcome } => {
                let (via, node) = (self.names[*via].clone(), self.names[*node].clone());
                let at = self.engine.now().wall;
                self.engine.asked(Ask { via, node, at, how: AskHow::Tcp, outcome: *outcome, tries: 1 });
            }
            News::Published(places) => {
                let set: BTreeSet<NodeId> = places.iter().map(|place| self.names[*place].clone()).collect();
                self.engine.published(&set, self.ttl_s);
            }
        }
    }

    fn act(&mut self, now_ms: i64, _dead: &[bool]) -> Vec<Reasoned> {
        self.engine.at(now_ms);
        let judgement = self.engine.judge();
        self.fast = self.marks(&judgement.probe.fast);
        self.ask = self.marks(&judgement.probe.ask);
        self.fleet = judgement.fleet;
        for node in &judgement.nodes {
            if let Some(place) = self.place(&node.node) {
                self.nodes[place] = node.verdict;
            }
        }
        let refused = judgement.holds.iter().filter(|hold| hold.kind == ActionKind::Withdraw);
        self.holds = refused.filter_map(|hold| Some((self.place(&hold.node)?, hold.guard))).collect();
        let place = |action: &crate::model::Action| action.node.as_ref().and_then(|id| self.place(id));
        let wanted = judgement.actions.iter().filter_map(|action| {
            let what = match action.kind {
                ActionKind::Withdraw => Move::Withdraw(place(action)?),
                ActionKind::Reinstate => Move::Reinstate(place(action)?),
                ActionKind::Shed => {
                    let step = action.step.unwrap_or(0);
                    let steps = &self.engine.policy().shed.steps;
                    Move::Shed { step, percent: steps.get(usize::from(step)).copied().unwrap_or(100) }
                }
                ActionKind::Alert => Move::Alert(place(action)),
            };
            Some(Reasoned { what, rule: action.rule.to_string(), why: action.why.clone() })
        });
        wanted.collect()
    }

    fn verdicts(&self) -> Option<(FleetVerdict, Vec<NodeVerdict>)> {
        Some((self.fleet, self.nodes.clone()))
    }

    fn holds(&self) -> Vec<(usize, Guard)> {
        self.holds.clone()
    }
}

/// What level 0 sees of a probe.
fn outcome_only(seen: &Seen) -> Measured {
    let got = seen.measured.received;
    // Whether anything came back at all is an outcome; how much of it, is not.
    let received = (seen.probe == ProbeKind::Ping).then(|| u16::from(got.is_some_and(|got| got > 0)));
    Measured { total_us: seen.measured.total_us, sent: received.map(|_| 1), received, ..Measured::default() }
}
