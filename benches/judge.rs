//! What a judgement costs: over many nodes at once, and over a year of few.
//!
//! There is no peer that judges alone; what is shown is how the cost grows.

#![expect(clippy::unwrap_used, reason = "a benchmark may end itself")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use witness::clock::Stopwatch;
use witness::model::{
    Abilities, AnchorRound, ClockReading, Fault, Fleet, Measured, Memory, Name, Node, NodeId, Observation, Outcome,
    Policy, Pool, PoolId, ProbeKind, PublishedSets, RecordSet, Round, Situation, Stage, Time,
};
use witness::rule::{judge, sets_of};

const STEP_MS: i64 = 10_000;
/// As much history as evidence looks back on, and a little more.
const WARM_TICKS: i64 = 15;

struct World {
    policy: Policy,
    fleet: Fleet,
    published: BTreeMap<PoolId, PublishedSets>,
    memory: Memory,
    now_ms: i64,
}

impl World {
    fn of(nodes: u128) -> Self {
        let name = |text: String| Name::new(&text).unwrap();
        let made = (1..=nodes).map(|number| {
            let id = name(format!("n{number}"));
            let address = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | number));
            let node =
                Node { id: id.clone(), addresses: vec![address], site: None, capacity_bps: None, ssh_host_key: None };
            (id, node)
        });
        let nodes: BTreeMap<NodeId, Node> = made.collect();
        let pool = Pool {
            id: name("all".to_owned()),
            zone: "example.com".to_owned(),
            records: vec!["files".to_owned()],
            ttl: Duration::from_secs(60),
            registrar: name("none".to_owned()),
            nodes: nodes.keys().cloned().collect(),
            nameservers: Vec::new(),
            publish_within: Duration::from_secs(60),
        };
        let fleet = Fleet { nodes, pools: [(pool.id.clone(), pool.clone())].into() };
        let addresses = fleet.nodes.values().flat_map(|node| node.addresses.clone()).collect();
        let set = RecordSet { ttl: 60, addresses };
        let sets: PublishedSets = sets_of(&fleet, &pool).into_iter().map(|key| (key, set.clone())).collect();
        let published = [(pool.id, sets)].into();
        Self { policy: Policy::default(), fleet, published, memory: Memory::default(), now_ms: 1_700_000_000_000 }
    }

    /// A round of every node: one check in a thousand fails.
    fn rounds(&self) -> Vec<Round> {
        let at = Time(self.now_ms - 100);
        let turn = self.now_ms / STEP_MS;
        let seen = |(number, node): (i64, &Node)| {
            let noise = (number * 7919 + turn * 104_729) % 1000 == 0;
            let one = |probe: ProbeKind| {
                let outcome = match probe {
                    ProbeKind::Https if noise => Outcome::Failed(Fault::Timeout(Stage::Request)),
                    ProbeKind::Https | ProbeKind::Ping | ProbeKind::Ssh => Outcome::Passed,
                };
                let measured = Measured {
                    total_us: 70_000,
                    connect_us: Some(10_000),
                    first_byte_us: Some(60_000),
                    sent: (probe == ProbeKind::Ping).then_some(3),
                    received: (probe == ProbeKind::Ping).then_some(3),
                    ..Measured::default()
                };
                Observation { probe, address: node.addresses[0], at, outcome, measured }
            };
            let observations = [ProbeKind::Https, ProbeKind::Ping, ProbeKind::Ssh].map(one).to_vec();
            Round { node: node.id.clone(), started: Time(self.now_ms - 200), finished: at, observations }
        };
        (0..).zip(self.fleet.nodes.values()).map(seen).collect()
    }

    /// Judges a round of every node; how long the judgement alone took.
    fn tick(&mut self) -> Duration {
        self.now_ms += STEP_MS;
        let rounds = self.rounds();
        let now = ClockReading { wall: Time(self.now_ms), boot_ms: self.now_ms, boot_id: "bench".to_owned() };
        let memory = std::mem::take(&mut self.memory);
        let situation = Situation {
            anchors: Some(AnchorRound { at: now.wall, ok: 3, of: 3 }),
            now,
            just_started: false,
            fleet: &self.fleet,
            rounds: &rounds,
            sightings: None,
            loads: &[],
            asks: &[],
            can: Abilities::default(),
            has_anchors: true,
            published: &self.published,
            pins: &[],
            requests: &[],
        };
        let clock = Stopwatch::start();
        let ruling = judge(&self.policy, &situation, memory);
        let took = clock.elapsed();
        self.memory = ruling.judgement.memory;
        took
    }
}

/// The median judgement over `nodes`, of 21.
fn over(nodes: u128) -> Duration {
    let mut world = World::of(nodes);
    for _ in 0..WARM_TICKS {
        world.tick();
    }
    let mut each: Vec<Duration> = (0..21).map(|_| world.tick()).collect();
    each.sort_unstable();
    each[each.len() / 2]
}

/// The most memory this process has had, MB.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn main() {
    let year = std::env::args().any(|argument| argument == "year");
    println!("| work | judgement | each node |\n|---|---|---|");
    if year {
        let mut world = World::of(4);
        let ticks = 365 * 24 * 360;
        let clock = Stopwatch::start();
        for tick in 1..=ticks {
            world.tick();
            if [ticks / 12, ticks].contains(&tick) {
                let rounds = tick * 4;
                println!(
                    "| {rounds} rounds of 4 nodes | {:.1} s in all | peak {:.1} MB |",
                    clock.elapsed().as_secs_f64(),
                    peak_mb()
                );
            }
        }
        return;
    }
    for nodes in [1_000, 10_000, 50_000] {
        let took = over(nodes).as_secs_f64();
        println!("| {nodes} nodes, a round of each | {:.2} ms | {:.2} µs |", took * 1e3, took * 1e6 / nodes as f64);
    }
}
