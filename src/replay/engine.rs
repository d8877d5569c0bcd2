//! The rule with what it remembers, fed by hand: observations in as they complete, a judgement when asked for one.
//!
//! Time is what the caller says. Names stand for nodes; addresses are made up and go nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Abilities, AnchorRound, Ask, ClockReading, Fleet, Judgement, LoadFigure, Measured, Memory, Name, Node, NodeId,
    Observation, Outcome, Pin, PinState, Policy, Pool, PoolId, ProbeKind, PublishedSets, RecordSet, RecordType,
    Request, RequestKind, Round, SetKey, Situation, Time,
};
use crate::rule::{judge, sets_of};

use super::open::OpenRounds;

/// A node as a trace or a scenario knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// Which it shares a site with.
    pub site: Option<String>,
    /// What it can send, bit/s.
    pub capacity_bps: Option<u64>,
}

/// What kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4: `A`.
    V4,
    /// IPv6: `AAAA`.
    V6,
}

/// One fleet in one pool, one witness.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    fleet: Fleet,
    memory: Memory,
    published: BTreeMap<PoolId, PublishedSets>,
    pins: Vec<Pin>,
    requests: Vec<Request>,
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
    ttl_s: u32,
    rounds_judged: u64,
}

impl Engine {
    /// An engine that has seen nothing yet; every node is published with a TTL of `ttl_s` seconds.
    ///
    /// # Errors
    /// Words, when a node is there twice.
    pub fn new(policy: Policy, members: Vec<Member>, ttl_s: u32, can: Abilities) -> Result<Self, String> {
        let mut nodes = BTreeMap::new();
        for (member, number) in members.into_iter().zip(1u128..) {
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | number));
            let id = member.name;
            let made = Node {
                id: id.clone(),
                addresses: vec![address],
                site: member.site,
                capacity_bps: member.capacity_bps,
                ssh_host_key: None,
            };
            if nodes.insert(id.clone(), made).is_some() {
                return Err(format!("node {id} is there twice"));
            }
        }
        let name = |text: &str| Name::new(text).expect("it is one");
        let pool = Pool {
            id: name("trace"),
            zone: "trace.invalid".to_owned(),
            records: vec!["@".to_owned()],
            ttl: Duration::from_secs(u64::from(ttl_s)),
            registrar: name("trace"),
            nodes: nodes.keys().cloned().collect(),
            nameservers: Vec::new(),
            publish_within: Duration::from_secs(60),
        };
        let fleet = Fleet { nodes, pools: [(pool.id.clone(), pool)].into() };
        let everybody: BTreeSet<NodeId> = fleet.nodes.keys().cloned().collect();
        let published = sets(&fleet, &everybody, ttl_s);
        Ok(Self {
            policy,
            fleet,
            memory: Memory::default(),
            published,
            pins: Vec::new(),
            requests: Vec::new(),
            can,
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
            ttl_s,
            rounds_judged: 0,
        })
    }

    /// The policy it goes by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Who there is.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The time of what came last, milliseconds.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// From now on it is `t_ms`, which must not be earlier than before.
    pub fn at(&mut self, t_ms: i64) {
        self.last_ms = t_ms;
    }

    /// What its clocks show.
    #[must_use]
    pub fn now(&self) -> ClockReading {
        ClockReading { wall: self.wall(), boot_ms: self.last_ms, boot_id: "trace".to_owned() }
    }

    fn wall(&self) -> Time {
        Time(self.last_ms.saturating_add(self.wall_offset_ms))
    }

    /// One probe's result, completed now. Of a node that is not in the fleet nothing is taken.
    pub fn observed(&mut self, id: NodeId, probe: ProbeKind, outcome: Outcome, measured: Measured) {
        self.observed_before(id, 0, Duration::ZERO, probe, outcome, measured);
    }

    /// The same of a result at the node's `place`-th address, from 0, that was completed `age` ago and is told only now.
    /// Of an address that it does not have nothing is taken.
    pub fn observed_before(
        &mut self,
        id: NodeId,
        place: usize,
        age: Duration,
        probe: ProbeKind,
        outcome: Outcome,
        measured: Measured,
    ) {
        let Some(address) = self.fleet.nodes.get(&id).and_then(|node| node.addresses.get(place).copied()) else {
            return;
        };
        let at = self.wall().minus(age);
        let observation = Observation { probe, address, at, outcome, measured };
        self.open.entry(id.clone()).or_default().take(observation.clone());
        self.sightings.push((id, observation));
    }

    /// A look at the anchors.
    pub fn controlled(&mut self, ok: u32, of: u32) {
        self.controlled_before(Duration::ZERO, ok, of);
    }

    /// The same, when it was taken `age` ago and is told only now.
    pub fn controlled_before(&mut self, age: Duration, ok: u32, of: u32) {
        self.has_anchors = true;
        self.anchors = Some(AnchorRound { at: self.wall().minus(age), ok, of });
    }

    /// There are anchors, whether one was asked yet or not: then a failing round counts only after they answered.
    pub fn expect_anchors(&mut self) {
        self.has_anchors = true;
    }

    /// A node has one address of each of these families, in this order, in place of the single one that each has at first.
    /// Before anything was observed.
    pub fn addressed(&mut self, id: &NodeId, families: &[Family]) {
        let Some(number) = self.fleet.nodes.keys().position(|node| node == id) else { return };
        let Some(node) = self.fleet.nodes.get_mut(id).filter(|_| !families.is_empty()) else { return };
        // Of ranges that nobody is reached at.
        let address = |(place, family): (usize, &Family)| match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(0xf000_0000 | (number * 16 + place % 16) as u32)),
            Family::V6 => {
                IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (1 << 64) | ((number << 8) + place) as u128))
            }
        };
        node.addresses = families.iter().enumerate().map(address).collect();
        let everybody: BTreeSet<NodeId> = self.fleet.nodes.keys().cloned().collect();
        let ttl_s = self.ttl_s;
        self.published(&everybody, ttl_s);
    }

    /// What a node says it carries.
    pub fn loaded(&mut self, figure: LoadFigure) {
        self.loads.push(figure);
    }

    /// What another vantage point said.
    pub fn asked(&mut self, ask: Ask) {
        self.asks.push(ask);
    }

    /// What is published from now on.
    pub fn published(&mut self, ids: &BTreeSet<NodeId>, ttl_s: u32) {
        self.published_without(ids, &[], ttl_s);
    }

    /// The same, when of some nodes not all addresses are: `without` names a node and the place of an address, from 0.
    pub fn published_without(&mut self, ids: &BTreeSet<NodeId>, without: &[(NodeId, usize)], ttl_s: u32) {
        self.published = sets(&self.fleet, ids, ttl_s);
        for (id, place) in without {
            let address = self.fleet.nodes.get(id).and_then(|node| node.addresses.get(*place));
            let Some(address) = address else { continue };
            for set in self.published.values_mut().flat_map(BTreeMap::values_mut) {
                set.addresses.remove(address);
            }
        }
    }

    /// The wall clock stepped by so much; or the process stood still.
    pub fn clock(&mut self, wall_step_ms: i64, paused: bool) {
        self.wall_offset_ms = self.wall_offset_ms.saturating_add(wall_step_ms);
        self.paused |= paused;
    }

    /// An operator's pin over a node, in place of the one before; none takes it away.
    pub fn pinned(&mut self, id: NodeId, pin: Option<(PinState, Duration)>) {
        self.pins.retain(|pin| pin.node != id);
        if let Some((state, lasts)) = pin {
            let since = self.now().wall;
            let until = since.plus(lasts);
            self.pins.push(Pin { node: id, state, since, until, reason: "in the trace".to_owned() });
        }
    }

    /// What a person asks for, to be looked at in the next judgement.
    pub fn requested(&mut self, node: NodeId, kind: RequestKind, force: bool) {
        self.requests.retain(|request| request.node != node);
        self.requests.push(Request { node, kind, force, reason: "in the trace".to_owned() });
    }

    /// How many whole rounds were judged.
    #[must_use]
    pub fn rounds_judged(&self) -> u64 {
        self.rounds_judged
    }

    /// Judges what came since the last time. The memory stays here: that of the judgement is empty.
    pub fn judge(&mut self) -> Judgement {
        let now = self.now();
        for (id, open) in &mut self.open {
            open.close(id, now.wall, &mut self.rounds);
        }
        self.pins.retain(|pin| pin.until > now.wall);
        let (rounds, sightings) = (std::mem::take(&mut self.rounds), std::mem::take(&mut self.sightings));
        self.rounds_judged += rounds.len() as u64;
        let requests = std::mem::take(&mut self.requests);
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
                requests: &requests,
            },
            std::mem::take(&mut self.memory),
        );
        let mut judgement = ruling.judgement;
        self.memory = std::mem::take(&mut judgement.memory);
        judgement
    }
}

fn sets(fleet: &Fleet, ids: &BTreeSet<NodeId>, ttl: u32) -> BTreeMap<PoolId, PublishedSets> {
    let of_pool = |pool: &Pool| {
        let mut sets: PublishedSets = sets_of(fleet, pool)
            .into_iter()
            .map(|key: SetKey| (key, RecordSet { ttl, addresses: BTreeSet::new() }))
            .collect();
        for (key, set) in &mut sets {
            let ours = |address: &IpAddr| address.is_ipv4() == (key.rtype == RecordType::A);
            let nodes = ids.iter().filter_map(|id| fleet.nodes.get(id));
            set.addresses.extend(nodes.flat_map(|node| node.addresses.clone()).filter(ours));
        }
        sets
    };
    fleet.pools.values().map(|pool| (pool.id.clone(), of_pool(pool))).collect()
}
