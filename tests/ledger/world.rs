//! A small fleet whose ticks follow from their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use witness::ledger::{Ledger, TickRecord};
use witness::model::{
    Action, ActionKind, AnchorRound, Change, ClockReading, Evidence, Fault, FleetVerdict, Judgement, Measured, Memory,
    Name, NodeId, NodeJudgement, NodeMemory, NodeVerdict, Observation, Outcome, Plan, ProbeAdvice, ProbeKind,
    PublishedSets, RecordSet, RecordType, Round, RuleId, SetKey, Stage, Standing, Strike, Time, Vantage,
};

pub(crate) const START: i64 = 1_700_000_000_000;
pub(crate) const INTERVAL: i64 = 10_000;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn node(number: usize) -> NodeId {
    name(&format!("slice{number}"))
}

pub(crate) fn address(number: usize) -> IpAddr {
    format!("192.0.2.{}", (number + 10) % 256).parse().unwrap()
}

pub(crate) fn clock(at: i64) -> ClockReading {
    ClockReading { wall: Time(at), boot_ms: at - START + 1_000_000, boot_id: "boot-1".to_owned() }
}

/// A fresh directory and the path of a ledger in it: in memory where there is such a place, because syncing takes long.
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = dir.path().join("witness.db");
    (dir, path)
}

/// The same, on a disk.
pub(crate) fn disk() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("witness.db");
    (dir, path)
}

/// A round of https and ping that ended at `at`; `None` passed.
pub(crate) fn round(node_number: usize, at: i64, fault: Option<Fault>) -> Round {
    let outcome = fault.map_or(Outcome::Passed, Outcome::Failed);
    let https = Observation {
        probe: ProbeKind::Https,
        address: address(node_number),
        at: Time(at),
        outcome,
        measured: Measured {
            connect_us: Some(31_000),
            secure_us: fault.is_none().then_some(61_000),
            first_byte_us: fault.is_none().then_some(92_000),
            total_us: 95_000,
            status: fault.is_none().then_some(200),
            certificate_days: fault.is_none().then_some(61),
            note: fault.map(|fault| format!("it said {fault}")),
            ..Measured::default()
        },
    };
    let ping = Observation {
        probe: ProbeKind::Ping,
        address: address(node_number),
        at: Time(at - 20),
        outcome: Outcome::Passed,
        measured: Measured {
            total_us: 60_000,
            sent: Some(3),
            received: Some(3),
            rtt_us: Some(29_900),
            ..Measured::default()
        },
    };
    Round { node: node(node_number), started: Time(at - 100), finished: Time(at), observations: vec![https, ping] }
}

/// Tick `number` of a fleet of `nodes`: the node whose turn it is fails, gathers strikes, and is withdrawn with four.
pub(crate) fn tick(number: i64, nodes: usize, memory: &mut Memory) -> TickRecord {
    let at = START + number * INTERVAL;
    let failing = usize::try_from(number / 10).unwrap() % nodes;
    let now = clock(at);
    let mut strikes = Vec::new();
    let mut actions = Vec::new();
    let mut judged = Vec::new();
    let mut rounds = Vec::new();
    for one in 0..nodes {
        let fault = (one == failing).then_some(Fault::Timeout(Stage::Connect));
        let seen = round(one, at - 300, fault);
        let remembered: &mut NodeMemory = memory.nodes.entry(node(one)).or_default();
        remembered.last_round = Some(seen.clone());
        if fault.is_some() {
            let strike = Strike { at: seen.finished, faults: seen.faults().collect() };
            strikes.push((node(one), strike.clone()));
            remembered.strikes.push(strike);
            remembered.clean_rounds = 0;
            remembered.failed_rounds += 1;
        } else {
            remembered.clean_rounds += 1;
            remembered.failed_rounds = 0;
            remembered.strikes.clear();
        }
        let struck = remembered.strikes.len();
        remembered.standing = match struck {
            0 => Standing::Serving,
            1..4 => Standing::Suspect,
            _ => Standing::Withdrawn,
        };
        if struck == 4 {
            actions.push(withdraw(one, "4 strikes in 60 min"));
        }
        rounds.push(seen);
        judged.push(NodeJudgement {
            node: node(one),
            verdict: if struck == 0 { NodeVerdict::Healthy } else { NodeVerdict::Dead },
            evidence: Evidence::NoData,
            standing: remembered.standing,
            pin: None,
            strikes: u32::try_from(struck).unwrap(),
            rule: RuleId::of("S4.strikes"),
            why: format!("tick {number}: {struck} strikes"),
            in_dns: BTreeMap::from([(name("files"), struck < 4)]),
        });
    }
    memory.ticks_seen = u32::try_from(number).unwrap();
    memory.last = Some(now.clone());
    TickRecord {
        rounds,
        loads: Vec::new(),
        asks: Vec::new(),
        anchors: Some(AnchorRound { at: Time(at - 500), ok: 3, of: 3 }),
        request: None,
        judgement: Judgement {
            now,
            vantage: Vantage::Clear,
            fleet: FleetVerdict::SingleFault,
            fleet_rule: RuleId::of("S1.struck"),
            fleet_why: String::new(),
            nodes: judged,
            strikes,
            actions,
            holds: Vec::new(),
            probe: ProbeAdvice::default(),
            memory: memory.clone(),
        },
    }
}

/// A ledger with so many ticks of four nodes, and the judgements' numbers.
pub(crate) fn ticked(ledger: &mut Ledger, ticks: std::ops::Range<i64>) -> Vec<i64> {
    let mut memory = ledger.memory().unwrap();
    ticks.map(|number| ledger.record_tick(&tick(number, 4, &mut memory)).unwrap()).collect()
}

pub(crate) fn withdraw(node_number: usize, why: &str) -> Action {
    Action {
        kind: ActionKind::Withdraw,
        node: Some(node(node_number)),
        pool: Some(name("files")),
        step: None,
        rule: RuleId::of("S4.strikes"),
        why: why.to_owned(),
    }
}

pub(crate) fn plan(node_number: usize) -> Plan {
    let before: BTreeSet<IpAddr> = (0..4).map(address).collect();
    Plan {
        pool: name("files"),
        zone: "example.com".to_owned(),
        registrar: name("main"),
        changes: vec![Change {
            set: SetKey { owner: "files".to_owned(), rtype: RecordType::A },
            ttl: 60,
            before,
            remove: BTreeSet::from([address(node_number)]),
            add: BTreeSet::new(),
        }],
        because: vec![withdraw(node_number, "4 strikes in 60 min")],
    }
}

pub(crate) fn sets(nodes: std::ops::Range<usize>) -> PublishedSets {
    let set = |owner: &str, rtype| SetKey { owner: owner.to_owned(), rtype };
    BTreeMap::from([
        (set("@", RecordType::A), RecordSet { ttl: 60, addresses: nodes.clone().map(address).collect() }),
        (set("files", RecordType::A), RecordSet { ttl: 60, addresses: nodes.map(address).collect() }),
        (set("files", RecordType::Aaaa), RecordSet::default()),
    ])
}

/// A child process of this test binary that runs the test `role` with `LEDGER_CHILD` set to `argument`.
pub(crate) fn child(role: &str, argument: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([role, "--exact", "--nocapture", "--test-threads=1"]).env("LEDGER_CHILD", argument);
    command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::inherit());
    command
}

/// What [`child`] was given; none in an ordinary run of the tests.
pub(crate) fn child_argument() -> Option<String> {
    std::env::var("LEDGER_CHILD").ok()
}
