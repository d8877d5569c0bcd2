//! A small world that the rule is driven in: it publishes what the plans say, one tick later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use witness::model::{
    AnchorRound, ClockReading, Fault, Fleet, Judgement, LoadFigure, LoadSource, Measured, Memory, Name, Node, NodeId,
    Observation, Outcome, Pin, PinState, Policy, Pool, PoolId, ProbeKind, PublishedSets, RecordSet, RecordType,
    Request, Round, SetKey, Stage, Time,
};
use witness::model::{NodeJudgement, Situation};
use witness::rule::{Ruling, judge, sets_of};

/// A stranger's address that stands in every A set and must stay there.
pub(crate) const FOREIGN: &str = "198.51.100.99";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sees {
    Fine,
    Silent,
    Refused,
    Only(ProbeKind),
    Shedding,
    Nothing,
    NoRound,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) fleet: Fleet,
    pub(crate) memory: Memory,
    pub(crate) published: BTreeMap<PoolId, PublishedSets>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) clock: ClockReading,
    pub(crate) anchors: Option<(u32, u32)>,
    pub(crate) just_started: bool,
    /// Whether the registrar does as it is told.
    pub(crate) follows: bool,
    pub(crate) readable: bool,
    pub(crate) with_foreign: bool,
    /// What each node says it carries, percent of its 1 Gbit/s; none where none says anything.
    pub(crate) carries: Option<u64>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

impl World {
    /// `n` nodes `n1`.. with one IPv4 address each in one pool `p` of the names `@` and `files`.
    pub(crate) fn of(n: u8) -> Self {
        let addresses = (1..=n).map(|i| vec![IpAddr::from([192, 0, 2, i])]).collect();
        Self::with(addresses)
    }

    pub(crate) fn with(addresses: Vec<Vec<IpAddr>>) -> Self {
        let nodes: BTreeMap<NodeId, Node> = addresses
            .into_iter()
            .enumerate()
            .map(|(i, addresses)| {
                let id = name(&format!("n{}", i + 1));
                let node = Node { id: id.clone(), addresses, site: None, capacity_bps: None, ssh_host_key: None };
                (id, node)
            })
            .collect();
        let pool = Pool {
            id: name("p"),
            zone: "example.com".to_owned(),
            records: vec!["@".to_owned(), "files".to_owned()],
            ttl: Duration::from_secs(60),
            registrar: name("r"),
            nodes: nodes.keys().cloned().collect(),
            nameservers: Vec::new(),
            publish_within: Duration::from_secs(60),
        };
        let fleet = Fleet { nodes, pools: [(pool.id.clone(), pool)].into() };
        let mut world = Self {
            policy: Policy::default(),
            fleet,
            memory: Memory::default(),
            published: BTreeMap::new(),
            pins: Vec::new(),
            clock: ClockReading { wall: Time(1_700_000_000_000), boot_ms: 5_000_000, boot_id: "boot".to_owned() },
            anchors: None,
            just_started: false,
            follows: true,
            readable: true,
            with_foreign: true,
            carries: None,
        };
        world.publish_all();
        world
    }

    pub(crate) fn pool(&self) -> &Pool {
        self.fleet.pools.values().next().unwrap()
    }

    pub(crate) fn publish_all(&mut self) {
        for pool in self.fleet.pools.values() {
            let mut sets = PublishedSets::new();
            for key in sets_of(&self.fleet, pool) {
                let mut set = RecordSet { ttl: 60, addresses: [].into() };
                for node in self.fleet.nodes_of(pool) {
                    set.addresses.extend(node.addresses.iter().filter(|a| RecordType::of(**a) == key.rtype));
                }
                if key.rtype == RecordType::A && self.with_foreign {
                    set.addresses.insert(FOREIGN.parse().unwrap());
                }
                sets.insert(key, set);
            }
            self.published.insert(pool.id.clone(), sets);
        }
    }

    /// Another pool `q` of the name `q`, of some of the nodes.
    pub(crate) fn share(&mut self, nodes: &[&str]) {
        let pool = Pool {
            id: name("q"),
            records: vec!["q".to_owned()],
            nodes: nodes.iter().map(|node| name(node)).collect(),
            ..self.pool().clone()
        };
        self.fleet.pools.insert(pool.id.clone(), pool);
        self.publish_all();
    }

    /// What is remembered of a node of pool `p` that is out.
    pub(crate) fn out(&self, node: &str) -> Option<&witness::model::Withdrawal> {
        self.memory.pools[&name("p")].out.get(&name(node))
    }

    pub(crate) fn set_mut(&mut self, owner: &str, rtype: RecordType) -> &mut RecordSet {
        let key = SetKey { owner: owner.to_owned(), rtype };
        self.published.get_mut(&name("p")).unwrap().get_mut(&key).unwrap()
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.clock.wall = self.clock.wall.plus(Duration::from_secs(seconds));
        self.clock.boot_ms += i64::try_from(seconds).unwrap() * 1000;
    }

    pub(crate) fn round(&self, node: &NodeId, sees: Sees) -> Option<Round> {
        let address = self.fleet.nodes[node].addresses[0];
        let outcome = |probe: ProbeKind| match sees {
            Sees::Fine => Outcome::Passed,
            Sees::Silent | Sees::Refused if probe == ProbeKind::Ping => {
                if sees == Sees::Silent {
                    Outcome::Failed(Fault::Lost)
                } else {
                    Outcome::Passed
                }
            }
            Sees::Silent => Outcome::Failed(Fault::Timeout(Stage::Connect)),
            Sees::Refused => Outcome::Failed(Fault::Refused),
            Sees::Only(failing) if failing == probe => Outcome::Failed(Fault::Timeout(Stage::Connect)),
            Sees::Shedding if probe == ProbeKind::Https => Outcome::Failed(Fault::Shedding(503)),
            Sees::Only(_) | Sees::Shedding => Outcome::Passed,
            Sees::Nothing => Outcome::Inconclusive(witness::model::OwnFault::NoRoute),
            Sees::NoRound => unreachable!(),
        };
        if sees == Sees::NoRound {
            return None;
        }
        let observations = ProbeKind::ALL
            .into_iter()
            .map(|probe| Observation {
                probe,
                address,
                at: self.clock.wall,
                outcome: outcome(probe),
                measured: Measured::default(),
            })
            .collect();
        let started = self.clock.wall.minus(Duration::from_secs(1));
        Some(Round { node: node.clone(), started, finished: self.clock.wall, observations })
    }

    pub(crate) fn judge_rounds(&self, rounds: &[Round], request: Option<&Request>) -> Ruling {
        self.judge_at(rounds, request, self.clock.wall)
    }

    /// The same, the anchors having been asked at `asked`.
    pub(crate) fn judge_at(&self, rounds: &[Round], request: Option<&Request>, asked: Time) -> Ruling {
        let nothing = BTreeMap::new();
        let says = |node: &NodeId| LoadFigure {
            node: node.clone(),
            at: self.clock.wall,
            source: LoadSource::Health,
            tx_bps: self.carries.map(|percent| percent * 10_000_000),
            capacity_bps: Some(1_000_000_000),
            active: None,
            shed_step: None,
            load1_milli: None,
            ncpu: None,
            psi_cpu10_milli: None,
            psi_io10_milli: None,
            listen_overflows: None,
        };
        // In no order, as they come.
        let loads: Vec<LoadFigure> =
            self.carries.iter().flat_map(|_| self.fleet.nodes.keys().rev().map(says)).collect();
        let situation = Situation {
            now: self.clock.clone(),
            just_started: self.just_started,
            fleet: &self.fleet,
            rounds,
            sightings: None,
            loads: &loads,
            asks: &[],
            can: Default::default(),
            anchors: self.anchors.map(|(ok, of)| AnchorRound { at: asked, ok, of }),
            has_anchors: self.anchors.is_some(),
            published: if self.readable { &self.published } else { &nothing },
            pins: &self.pins,
            requests: request.map_or(&[], std::slice::from_ref),
        };
        judge(&self.policy, &situation, self.memory.clone())
    }

    pub(crate) fn take(&mut self, ruling: Ruling) -> Judgement {
        self.memory = ruling.judgement.memory.clone();
        self.just_started = false;
        if self.follows {
            for plan in &ruling.plans {
                let plan = plan.plan();
                let sets = self.published.get_mut(&plan.pool).unwrap();
                for change in &plan.changes {
                    let set = sets.get_mut(&change.set).unwrap();
                    assert_eq!(set.addresses, change.before);
                    set.addresses = change.after();
                }
            }
        }
        ruling.judgement
    }

    pub(crate) fn rounds(&self, sees: &[Sees]) -> Vec<Round> {
        let ids = self.fleet.nodes.keys().enumerate();
        ids.filter_map(|(i, id)| self.round(id, sees[i % sees.len()])).collect()
    }

    /// One tick in which every node was probed and seen as told.
    pub(crate) fn tick(&mut self, sees: &[Sees]) -> Judgement {
        self.tick_with(sees, None)
    }

    pub(crate) fn tick_with(&mut self, sees: &[Sees], request: Option<&Request>) -> Judgement {
        let ruling = self.judge_rounds(&self.rounds(sees), request);
        self.take(ruling)
    }

    /// Ticks every `every` seconds, `times` times; the last judgement.
    pub(crate) fn ticks(&mut self, times: u32, every: u64, sees: &[Sees]) -> Judgement {
        let mut last = None;
        for _ in 0..times {
            self.pass(every);
            last = Some(self.tick(sees));
        }
        last.unwrap()
    }

    pub(crate) fn pin(&mut self, node: &str, state: PinState) {
        let now = self.clock.wall;
        let until = now.plus(Duration::from_secs(1_000_000));
        self.pins.push(Pin { node: name(node), state, since: now, until, reason: "test".to_owned() });
    }

    pub(crate) fn set(&self, owner: &str, rtype: RecordType) -> Vec<String> {
        let key = SetKey { owner: owner.to_owned(), rtype };
        self.published[&name("p")][&key].addresses.iter().map(ToString::to_string).collect()
    }

    /// Which nodes the published A set of the zone itself has.
    pub(crate) fn in_dns(&self) -> Vec<String> {
        let set = &self.published[&name("p")][&SetKey { owner: "@".to_owned(), rtype: RecordType::A }];
        let has = |node: &&Node| node.addresses.iter().any(|address| set.addresses.contains(address));
        self.fleet.nodes.values().filter(has).map(|node| node.id.to_string()).collect()
    }
}

pub(crate) fn of<'a>(judgement: &'a Judgement, node: &str) -> &'a NodeJudgement {
    judgement.nodes.iter().find(|one| one.node.as_str() == node).unwrap()
}

pub(crate) fn holds(judgement: &Judgement) -> Vec<String> {
    judgement.holds.iter().map(|hold| format!("{} {} {}", hold.kind, hold.node, hold.guard)).collect()
}

pub(crate) fn actions(judgement: &Judgement) -> Vec<String> {
    judgement
        .actions
        .iter()
        .map(|action| format!("{} {} {}", action.kind, action.node.as_ref().map_or("-", Name::as_str), action.rule))
        .collect()
}

/// What to compare with where there is nothing.
pub(crate) const NOTHING: [String; 0] = [];

/// `v4` nodes, of which those in `v6` have an IPv6 address, too.
pub(crate) fn with_v6(v4: u8, v6: &[u8]) -> World {
    let address = |i: u8| {
        let mut addresses = vec![IpAddr::from([192, 0, 2, i])];
        if v6.contains(&i) {
            addresses.push(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(i)]));
        }
        addresses
    };
    World::with((1..=v4).map(address).collect())
}

/// Rounds of `n1` alone, one for each time before now in seconds.
pub(crate) fn past(world: &World, seconds: &[u64]) -> Vec<Round> {
    let at = |ago: &u64| {
        let mut round = world.round(&name("n1"), Sees::Silent).unwrap();
        round.started = round.started.minus(Duration::from_secs(*ago));
        round.finished = round.finished.minus(Duration::from_secs(*ago));
        round
    };
    seconds.iter().map(at).collect()
}
