//! Recorded or simulated observations in, judgements out: the same rule as the daemon's, without a clock or a network.
//!
//! It reads the trace format line by line. What a line means is decided here; what follows from it, by the rule alone.

mod lines;
mod open;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::policy_of_keys;
use crate::model::{
    Abilities, AnchorRound, Ask, ClockReading, Fleet, LoadFigure, Memory, Name, Node, NodeId, Observation, Pin,
    PinState, Policy, Pool, PoolId, PublishedSets, RecordSet, Round, SetKey, Situation, Time,
};
use crate::rule::{judge, sets_of};

use open::OpenRounds;

/// Why a line cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Not what the format says.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong, and what belongs there.
        why: String,
    },
}

/// What a caller may ask for beside the trace.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A policy in place of the header's.
    pub policy: Option<Policy>,
}

/// A trace under way.
#[derive(Debug)]
pub struct Replay {
    options: Options,
    lines: usize,
    world: Option<World>,
    /// Lines of kinds that are not known, by kind.
    pub ignored: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct World {
    policy: Policy,
    fleet: Fleet,
    memory: Memory,
    witness: Option<String>,
    published: BTreeMap<PoolId, PublishedSets>,
    pins: Vec<Pin>,
    can: Abilities,
    open: BTreeMap<NodeId, OpenRounds>,
    rounds: Vec<Round>,
    sightings: Vec<(NodeId, Observation)>,
    loads: Vec<LoadFigure>,
    asks: Vec<Ask>,
    anchors: Option<AnchorRound>,
    has_anchors: bool,
    last_ms: i64,
    wall_offset_ms: i64,
    paused: bool,
}

#[derive(Debug, Deserialize)]
struct Header {
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    v: Option<u64>,
    #[serde(default)]
    ttl_s: Option<u32>,
    fleet: Vec<HeaderNode>,
    #[serde(default)]
    witnesses: Vec<String>,
    #[serde(default)]
    policy: Map<String, Value>,
    #[serde(flatten)]
    can: Abilities,
    #[serde(default)]
    interval_ms: Option<u64>,
    #[serde(default)]
    fast_interval_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct HeaderNode {
    n: Name,
    #[serde(default)]
    site: Option<String>,
    #[serde(default)]
    cap_bps: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Line {
    k: String,
    #[serde(default)]
    t: Option<i64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Replay {
    /// A replay that waits for its header.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, lines: 0, world: None, ignored: BTreeMap::new() }
    }

    /// Takes a line; a `tick` gives a judgement as one line of JSON, everything else nothing.
    ///
    /// # Errors
    /// [`ReplayError`] when the line is not of the format. The replay can go on with the next.
    pub fn line(&mut self, text: &str) -> Result<Option<String>, ReplayError> {
        self.lines += 1;
        if text.trim().is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        self.take(text).map_err(|why| ReplayError::Line { line: self.lines, why })
    }

    fn take(&mut self, text: &str) -> Result<Option<String>, String> {
        let line: Line = serde_json::from_str(text).map_err(|error| format!("no line of a trace: {error}"))?;
        if line.k == "header" {
            let header = serde_json::from_str(text).map_err(|error| format!("no header: {error}"))?;
            self.world = Some(World::new(header, &self.options)?);
            return Ok(None);
        }
        let Some(world) = &mut self.world else {
            return Err("the first line must be the header, with the fleet".to_owned());
        };
        if let Some(t) = line.t {
            if t < world.last_ms {
                return Err(format!(
                    "t went back from {} to {t}; it may not, a stepped clock is a `clock` line",
                    world.last_ms
                ));
            }
            world.last_ms = t;
        }
        match line.k.as_str() {
            "obs" => world.observed(&line)?,
            "ctl" => world.controlled(&line)?,
            "dns" => world.published(&line)?,
            "clock" => world.clock(&line),
            "op" => world.operator(&line)?,
            "load" => world.loads.push(lines::load(world.node(&line)?, world.now().wall, &line.rest)),
            "ask" => world.asks.push(lines::ask(world.node(&line)?, world.now().wall, &line.rest)?),
            "vote" => world.voted(&line)?,
            "tick" => return Ok(Some(world.tick())),
            // Not for the rule to know: what was done, what was true, what is expected.
            "act" | "truth" | "expect" | "end" => {}
            other => *self.ignored.entry(other.to_owned()).or_default() += 1,
        }
        Ok(None)
    }
}

impl World {
    fn new(header: Header, options: &Options) -> Result<Self, String> {
        if header.format.as_deref().is_some_and(|format| format != "witness-trace") || header.v.is_some_and(|v| v != 1)
        {
            return Err("only traces of format witness-trace, version 1, are known".to_owned());
        }
        let millis = |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_millis);
        let defaults = Policy::default();
        let policy = match &options.policy {
            Some(policy) => policy.clone(),
            None => policy_of_keys(
                &header.policy,
                millis(header.interval_ms, defaults.interval),
                millis(header.fast_interval_ms, defaults.fast_interval),
            )
            .map_err(|problems| {
                problems.iter().map(|one| format!("{}: {}", one.subject(), one.message)).collect::<Vec<_>>().join("; ")
            })?,
        };
        let mut nodes = BTreeMap::new();
        for (node, number) in header.fleet.into_iter().zip(1u128..) {
            // Addresses are no part of a trace; these stand for the nodes and go nowhere.
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | number));
            let made = Node {
                id: node.n.clone(),
                addresses: vec![address],
                site: node.site,
                capacity_bps: node.cap_bps,
                ssh_host_key: None,
            };
            if nodes.insert(node.n.clone(), made).is_some() {
                return Err(format!("node {} is there twice", node.n));
            }
        }
        let name = |text: &str| Name::new(text).expect("it is one");
        let ttl = header.ttl_s.unwrap_or(60);
        let pool = Pool {
            id: name("trace"),
            zone: "trace.invalid".to_owned(),
            records: vec!["@".to_owned()],
            ttl: Duration::from_secs(u64::from(ttl)),
            registrar: name("trace"),
            nodes: nodes.keys().cloned().collect(),
            nameservers: Vec::new(),
            publish_within: Duration::from_secs(60),
        };
        let fleet = Fleet { nodes, pools: [(pool.id.clone(), pool)].into() };
        let everybody: BTreeSet<NodeId> = fleet.nodes.keys().cloned().collect();
        let published = publish(&fleet, &everybody, ttl);
        Ok(Self {
            policy,
            fleet,
            memory: Memory::default(),
            witness: header.witnesses.into_iter().next(),
            published,
            pins: Vec::new(),
            can: header.can,
            open: BTreeMap::new(),
            rounds: Vec::new(),
            sightings: Vec::new(),
            loads: Vec::new(),
            asks: Vec::new(),
            anchors: None,
            has_anchors: false,
            last_ms: 0,
            wall_offset_ms: 0,
            paused: false,
        })
    }

    fn now(&self) -> ClockReading {
        let wall = Time(self.last_ms.saturating_add(self.wall_offset_ms));
        ClockReading { wall, boot_ms: self.last_ms, boot_id: "trace".to_owned() }
    }

    fn node(&self, line: &Line) -> Result<NodeId, String> {
        let text = line.rest.get("n").and_then(Value::as_str).unwrap_or_default();
        let known = Name::new(text).ok().filter(|id| self.fleet.nodes.contains_key(id));
        known.ok_or_else(|| format!("there is no node {text:?} in the header's fleet"))
    }

    /// One probe's result.
    fn observed(&mut self, line: &Line) -> Result<(), String> {
        let by = line.rest.get("w").and_then(Value::as_str);
        if self.witness.as_deref().zip(by).is_some_and(|(ours, theirs)| ours != theirs) {
            // What another witness saw is its vote.
            return Ok(());
        }
        let id = self.node(line)?;
        let (probe, outcome, measured) = lines::observation(&line.rest)?;
        let address = self.fleet.nodes[&id].addresses[0];
        let observation = Observation { probe, address, at: self.now().wall, outcome, measured };
        self.open.entry(id.clone()).or_default().take(observation.clone());
        self.sightings.push((id, observation));
        Ok(())
    }

    /// What another witness says of a node.
    fn voted(&mut self, line: &Line) -> Result<(), String> {
        let by = line.rest.get("w").and_then(Value::as_str);
        if self.witness.as_deref().zip(by).is_some_and(|(ours, theirs)| ours == theirs) {
            return Ok(());
        }
        self.asks.push(lines::vote(self.node(line)?, self.now().wall, &line.rest)?);
        Ok(())
    }

    /// A look at the anchors.
    fn controlled(&mut self, line: &Line) -> Result<(), String> {
        let number = |key: &str| {
            let number = line.rest.get(key).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| format!("{key:?} must be how many anchors"))
        };
        self.has_anchors = true;
        self.anchors = Some(AnchorRound { at: self.now().wall, ok: number("ok")?, of: number("of")? });
        Ok(())
    }

    /// What is published now.
    fn published(&mut self, line: &Line) -> Result<(), String> {
        let set = line.rest.get("set").and_then(Value::as_array).ok_or("\"set\" must list the published nodes")?;
        let named: BTreeSet<&str> = set.iter().filter_map(Value::as_str).collect();
        let ids: BTreeSet<NodeId> = self.fleet.nodes.keys().filter(|id| named.contains(id.as_str())).cloned().collect();
        let default = self.fleet.pools.values().next().map_or(60, |pool| pool.ttl.as_secs());
        let ttl = line.rest.get("ttl_s").and_then(Value::as_u64).unwrap_or(default);
        self.published = publish(&self.fleet, &ids, u32::try_from(ttl).unwrap_or(u32::MAX));
        Ok(())
    }

    fn clock(&mut self, line: &Line) {
        let number = |key: &str| line.rest.get(key).and_then(Value::as_i64).unwrap_or(0);
        self.wall_offset_ms = self.wall_offset_ms.saturating_add(number("wall_step_ms"));
        self.paused |= number("pause_ms") > 0;
    }

    /// What an operator laid over a node: `drain` and `pin` with `for_s`, `undrain` and `unpin`.
    fn operator(&mut self, line: &Line) -> Result<(), String> {
        let id = self.node(line)?;
        let text = |key: &str| line.rest.get(key).and_then(Value::as_str);
        let state = match (text("op"), text("state")) {
            (Some("drain"), _) | (Some("pin"), Some("out")) => Some(PinState::Out),
            (Some("pin"), Some("in")) => Some(PinState::In),
            (Some("pin"), _) => Some(PinState::Ignore),
            (Some("undrain" | "unpin"), _) => None,
            _ => return Err("\"op\" must be drain, undrain, pin or unpin".to_owned()),
        };
        self.pins.retain(|pin| pin.node != id);
        if let Some(state) = state {
            let since = self.now().wall;
            let seconds = line.rest.get("for_s").and_then(Value::as_u64).unwrap_or(3600);
            let until = since.plus(Duration::from_secs(seconds));
            self.pins.push(Pin { node: id, state, since, until, reason: "in the trace".to_owned() });
        }
        Ok(())
    }

    fn tick(&mut self) -> String {
        let now = self.now();
        for (id, open) in &mut self.open {
            open.close(id, now.wall, &mut self.rounds);
        }
        self.pins.retain(|pin| pin.until > now.wall);
        let (rounds, sightings) = (std::mem::take(&mut self.rounds), std::mem::take(&mut self.sightings));
        let (loads, asks) = (std::mem::take(&mut self.loads), std::mem::take(&mut self.asks));
        let ruling = judge(
            &self.policy,
            &Situation {
                now,
                just_started: std::mem::take(&mut self.paused),
                fleet: &self.fleet,
                rounds: &rounds,
                sightings: Some(&sightings),
                loads: &loads,
                asks: &asks,
                can: self.can,
                anchors: self.anchors.take(),
                has_anchors: self.has_anchors,
                published: &self.published,
                pins: &self.pins,
                requests: &[],
            },
            std::mem::take(&mut self.memory),
        );
        let line = said::line(self.last_ms, &ruling.judgement);
        self.memory = ruling.judgement.memory;
        line
    }
}

fn publish(fleet: &Fleet, ids: &BTreeSet<NodeId>, ttl: u32) -> BTreeMap<PoolId, PublishedSets> {
    let of_pool = |pool: &Pool| {
        let mut sets: PublishedSets = sets_of(fleet, pool)
            .into_iter()
            .map(|key: SetKey| (key, RecordSet { ttl, addresses: BTreeSet::new() }))
            .collect();
        for set in sets.values_mut() {
            set.addresses
                .extend(ids.iter().filter_map(|id| fleet.nodes.get(id)).flat_map(|node| node.addresses.clone()));
        }
        sets
    };
    fleet.pools.values().map(|pool| (pool.id.clone(), of_pool(pool))).collect()
}
