//! A fleet's hour in a ledger, exported and judged again: the trace says nothing that it should not, and leads to the same
//! judgements.

#![expect(clippy::unwrap_used, reason = "what a test leans on may panic as the test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value};
use witness::backtest;
use witness::export::Export;
use witness::ledger::{Ledger, Retention, TickRecord};
use witness::model::{
    Abilities, ActionKind, AnchorRound, Ask, AskHow, AskOutcome, ClockReading, Fault, Fleet, Judgement, LoadFigure,
    LoadSource, Measured, Memory, Name, Node, Observation, Outcome, OwnFault, Pin, PinState, Policy, Pool, PoolId,
    ProbeKind, PublishedSets, RecordSet, Request, RequestKind, Round, Situation, Stage, Time, TlsFault,
};
use witness::replay::{Options, Replay};
use witness::rule::{judge, sets_of};

const START: i64 = 1_700_000_000_000;
const CAN: Abilities = Abilities { shed: false, relays: true };
const TICK: i64 = 10_000;
const SECRETS: [&str; 7] = ["slice", "192.0.2", "2001:db8", "example", "rack", "secret", "files"];

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Four nodes at two sites, one with two addresses, in a pool.
fn fleet() -> Fleet {
    let node = |number: u8| {
        let mut addresses: Vec<IpAddr> = vec![format!("192.0.2.{number}").parse().unwrap()];
        if number == 1 {
            addresses.insert(0, "2001:db8::1".parse().unwrap());
        }
        let id = name(&format!("slice{number}"));
        let site = Some(format!("rack{}", number / 3));
        (id.clone(), Node { id, addresses, site, capacity_bps: Some(1_000_000_000), ssh_host_key: None })
    };
    let nodes: BTreeMap<_, _> = (1..=4).map(node).collect();
    let pool = Pool {
        id: name("secret-pool"),
        zone: "example.com".to_owned(),
        records: vec!["files".to_owned()],
        ttl: Duration::from_secs(60),
        registrar: name("secret-registrar"),
        nodes: nodes.keys().cloned().collect(),
        nameservers: Vec::new(),
        publish_within: Duration::from_secs(60),
    };
    Fleet { nodes, pools: [(pool.id.clone(), pool)].into() }
}

/// What the probe saw of node `number`, `second` seconds after the start.
fn outcome(number: i64, second: i64, probe: ProbeKind) -> Outcome {
    match (number, second, probe) {
        // Everything is lost while we are cut off ourselves.
        (_, 2600..2700, ProbeKind::Ping) => Outcome::Failed(Fault::Lost),
        (_, 2600..2700, _) => Outcome::Failed(Fault::Timeout(Stage::Connect)),
        // Every other round, the one that is done before the last, is well.
        (3, 1800..1900, ProbeKind::Https) if second % 10 == 0 => Outcome::Failed(Fault::Status(500)),
        (2, 300..900, ProbeKind::Ping) => Outcome::Failed(Fault::Lost),
        (2, 300..900, _) => Outcome::Failed(Fault::Timeout(Stage::Connect)),
        (3, 1000..1500, ProbeKind::Https) => Outcome::Failed(Fault::Tls(TlsFault::Expired)),
        (3, 1600..1700, ProbeKind::Ssh) => Outcome::Failed(Fault::Exit(3)),
        (4, 100..200, ProbeKind::Ssh) => Outcome::Failed(Fault::Timeout(Stage::Handshake)),
        (4, 200..300, ProbeKind::Https) => Outcome::Inconclusive(OwnFault::Dns),
        (4, 3100..3500, ProbeKind::Https | ProbeKind::Ssh) => Outcome::Failed(Fault::Refused),
        (_, _, ProbeKind::Https) if (second + number) % 370 < 10 => Outcome::Failed(Fault::Status(502)),
        _ => Outcome::Passed,
    }
}

/// A round that began at `began` by the wall clock, `second` seconds after the start; its slowest probe took `slowest` ms.
fn round(node: &Node, number: i64, began: i64, second: i64, slowest: i64) -> Round {
    let mut observations = Vec::new();
    // The slowest ends after the next tick, for some.
    for (probe, took) in [(ProbeKind::Https, slowest), (ProbeKind::Ping, 40), (ProbeKind::Ssh, 300)] {
        for address in &node.addresses {
            let outcome = outcome(number, second, probe);
            let echo = (probe == ProbeKind::Ping && !matches!(outcome, Outcome::Inconclusive(_))).then_some(3);
            let passed = outcome == Outcome::Passed;
            let measured = Measured {
                total_us: took as u32 * 1000,
                connect_us: (probe != ProbeKind::Ping).then_some(30_000),
                secure_us: (probe == ProbeKind::Https && passed).then_some(60_000),
                first_byte_us: passed.then_some(90_000),
                status: (probe == ProbeKind::Https && passed).then_some(200),
                sent: echo,
                received: echo.map(|sent| if passed { sent } else { 0 }),
                rtt_us: echo.filter(|_| passed).map(|_| 30_000),
                note: (!passed).then(|| "a secret of 192.0.2.9".to_owned()),
                ..Measured::default()
            };
            observations.push(Observation { probe, address: *address, at: Time(began + took), outcome, measured });
        }
    }
    observations.sort_by_key(|one| (one.probe, one.address));
    Round { node: node.id.clone(), started: Time(began), finished: Time(began + slowest), observations }
}

/// An hour and more of the fleet, in a ledger; and what was judged.
fn lived(fleet: &Fleet, policy: &Policy) -> (Ledger, Vec<Judgement>) {
    let mut ledger = Ledger::in_memory();
    let pool = fleet.pools.values().next().unwrap();
    let mut published = whole(fleet, pool);
    let mut memory = Memory::default();
    let mut judged = Vec::new();
    let mut waiting: Vec<Round> = Vec::new();
    ledger.save_reading(&pool.id, Time(START - 500), &published[&pool.id]).unwrap();
    for tick in 0..400_i64 {
        let second = tick * TICK / 1000;
        // The wall clock is set forward by an hour; later the machine is restarted.
        let step = if second >= 3000 { 3_600_000 } else { 0 };
        let boot = i64::from(second >= 3700);
        let wall = START + tick * TICK + step;
        let now = ClockReading {
            wall: Time(wall),
            boot_ms: tick * TICK + 5000 - boot * 3_600_000,
            boot_id: format!("boot-{boot}"),
        };
        match second {
            1200 => pin(&mut ledger, wall - 50),
            1400 => drop(ledger.unpin(&name("slice4"), Time(wall - 700)).unwrap()),
            _ => {}
        }
        for (node, number) in fleet.nodes.values().zip(1..) {
            waiting.push(round(node, number, wall - 4000 + number * 700, second, 1700));
            if number == 3 {
                // The next round is done before the last.
                waiting.push(round(node, number, wall - 1500, second + 1, 400));
            }
        }
        let (rounds, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|round| round.finished.0 <= wall);
        waiting = later;
        let ok = if (2600..2700).contains(&second) { 0 } else { 3 };
        let anchors = (tick % 3 != 1).then(|| AnchorRound { at: Time(wall - 900), ok, of: 3 });
        let request = |kind| Request { node: name("slice1"), kind, force: true, reason: "a secret".to_owned() };
        let request = match second {
            1800 => Some(request(RequestKind::Withdraw)),
            2400 => Some(request(RequestKind::Reinstate)),
            _ => None,
        };
        let pins = ledger.pins(now.wall).unwrap();
        let (loads, asks) = hearsay(fleet, wall, second);
        let ruling = judge(
            policy,
            &Situation {
                now,
                just_started: boot == 1 && second == 3700,
                fleet,
                rounds: &rounds,
                sightings: None,
                loads: &loads,
                asks: &asks,
                can: CAN,
                anchors,
                has_anchors: true,
                published: &published,
                pins: &pins,
                requests: request.as_slice(),
            },
            memory,
        );
        let record = TickRecord { rounds, loads, asks, anchors, request, judgement: ruling.judgement.clone() };
        ledger.record_tick(&record).unwrap();
        for plan in &ruling.plans {
            let sets = published.get_mut(&plan.plan().pool).unwrap();
            for change in &plan.plan().changes {
                sets.get_mut(&change.set).unwrap().addresses = change.after();
            }
            ledger.save_reading(&plan.plan().pool, Time(wall + 3000), sets).unwrap();
        }
        memory = ruling.judgement.memory.clone();
        judged.push(ruling.judgement);
    }
    (ledger, judged)
}

/// What the nodes say that they carry, and what two others say of slice2 while it is silent.
fn hearsay(fleet: &Fleet, wall: i64, second: i64) -> (Vec<LoadFigure>, Vec<Ask>) {
    let figure = |node: &Node| LoadFigure {
        tx_bps: Some(400_000_000 + (second as u64 % 7) * 1_000_000),
        capacity_bps: Some(950_000_000),
        load1_milli: Some(3125),
        ncpu: Some(8),
        ..LoadFigure::new(node.id.clone(), Time(wall - 1300), LoadSource::Health)
    };
    let ask = |via: &str, tries| Ask {
        via: name(via),
        node: name("slice2"),
        at: Time(wall - 800),
        how: AskHow::Tcp,
        outcome: AskOutcome::Nothing,
        tries,
    };
    let silent = (310..900).contains(&second);
    let asks = if silent { vec![ask("slice1", 1), ask("secret-witness", 4)] } else { Vec::new() };
    (fleet.nodes.values().map(figure).collect(), asks)
}

fn pin(ledger: &mut Ledger, at: i64) {
    let (since, until) = (Time(at), Time(at + 3_600_000));
    ledger
        .pin(&Pin { node: name("slice4"), state: PinState::Out, since, until, reason: "a secret".to_owned() })
        .unwrap();
}

fn whole(fleet: &Fleet, pool: &Pool) -> BTreeMap<PoolId, PublishedSets> {
    let mut sets = PublishedSets::new();
    for key in sets_of(fleet, pool) {
        let ours = |address: &IpAddr| address.is_ipv4() == (key.rtype == witness::model::RecordType::A);
        let addresses: BTreeSet<IpAddr> =
            fleet.nodes.values().flat_map(|node| node.addresses.clone()).filter(ours).collect();
        sets.insert(key, RecordSet { ttl: 60, addresses });
    }
    [(pool.id.clone(), sets)].into()
}

fn exported(ledger: &Ledger, fleet: &Fleet, policy: &Policy, from: Time) -> String {
    let keys: Map<String, Value> = serde_json::from_str(r#"{"strike_spacing":"20s","warmup_rounds":2}"#).unwrap();
    let export = Export {
        fleet,
        pool: fleet.pools.values().next().unwrap(),
        policy: keys,
        interval_ms: policy.interval.as_millis() as u64,
        fast_interval_ms: policy.fast_interval.as_millis() as u64,
        anchors: 3,
        can: CAN,
    };
    let mut text = Vec::new();
    export.write(ledger.view(), from, Time(i64::MAX), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn policy() -> Policy {
    Policy { strike_spacing: Duration::from_secs(20), warmup_rounds: 2, ..Policy::default() }
}

#[test]
fn what_was_judged_is_judged_again() {
    let (fleet, policy) = (fleet(), policy());
    let (ledger, judged) = lived(&fleet, &policy);
    let text = exported(&ledger, &fleet, &policy, Time(0));
    let mut replay = Replay::new(Options::default());
    let again = text.lines().filter_map(|line| replay.line(line).unwrap_or_else(|error| panic!("{error}")));
    let again: Vec<Value> = again.map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert_eq!(again.len(), judged.len());
    for ((tick, one), other) in judged.iter().enumerate().zip(&again) {
        let nodes: Vec<_> = one
            .nodes
            .iter()
            .map(|node| {
                let name = node.node.as_str().replace("slice", "n");
                format!("{name} {} {} {} {}", node.verdict, node.standing, node.strikes, node.rule)
            })
            .collect();
        let text = |node: &Value, key: &str| node[key].as_str().unwrap().to_owned();
        let same: Vec<_> = other["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                let words = ["n", "verdict", "standing"].map(|key| text(node, key)).join(" ");
                format!("{words} {} {}", node["strikes"], text(node, "rule"))
            })
            .collect();
        assert_eq!(same, nodes, "judgement {tick} at {}", other["t"]);
        assert_eq!((text(other, "fleet"), text(other, "vantage")), (one.fleet.to_string(), one.vantage.to_string()));
        assert_eq!(other["actions"].as_array().unwrap().len(), one.actions.len(), "judgement {tick}");
    }
    let report = backtest::run(text.as_bytes(), Options::default(), &mut |_| {}).unwrap();
    let decided: Vec<_> = report.decisions.iter().map(|one| (one.t, one.kind, one.node, &one.rule)).collect();
    let recorded: Vec<_> = report.recorded.iter().map(|one| (one.t, one.kind, one.node, &one.rule)).collect();
    assert_eq!(decided, recorded);
    assert_eq!((report.beyond, report.ticks), (None, 400));
    let of = |kind| report.decisions.iter().filter(|one| one.kind == kind).count();
    assert!(of(ActionKind::Withdraw) >= 4 && of(ActionKind::Reinstate) >= 4, "{:?}", report.decisions);
}

#[test]
fn nothing_tells_who_it_was() {
    let (fleet, policy) = (fleet(), policy());
    let (ledger, _) = lived(&fleet, &policy);
    let text = exported(&ledger, &fleet, &policy, Time(0));
    for secret in SECRETS {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    let kinds: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["k"].as_str().unwrap().to_owned())
        .collect();
    let wanted = ["act", "ask", "clock", "ctl", "dns", "end", "header", "load", "obs", "op", "tick", "vote"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
}

#[test]
fn rounds_are_told_one_after_the_other() {
    let (fleet, policy) = (fleet(), policy());
    let (ledger, _) = lived(&fleet, &policy);
    let text = exported(&ledger, &fleet, &policy, Time(0));
    let (mut told, mut overlaps) = (Vec::new(), 0);
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        match line["k"].as_str() {
            Some("obs") if line["n"] == "n3" => {
                overlaps += usize::from(told.len() >= 3);
                told.push(line["p"].as_str().unwrap().to_owned());
            }
            Some("tick") => {
                for round in told.chunks(3) {
                    let probes: BTreeSet<_> = round.iter().collect();
                    assert_eq!(probes.len(), 3, "{told:?} before {line}");
                }
                told.clear();
            }
            _ => {}
        }
    }
    assert!(overlaps > 100, "{overlaps}");
}

#[test]
fn a_part_of_it_is_a_trace_too() {
    let (fleet, policy) = (fleet(), policy());
    let (ledger, _) = lived(&fleet, &policy);
    // While slice4 is pinned.
    let text = exported(&ledger, &fleet, &policy, Time(START + 1_300_000));
    let report = backtest::run(text.as_bytes(), Options::default(), &mut |_| {}).unwrap();
    assert_eq!(report.ticks, 270);
    let pin = text.lines().find(|line| line.contains("\"pin\"")).unwrap();
    let pin: Value = serde_json::from_str(pin).unwrap();
    assert_eq!((pin["n"].as_str(), pin["t"].as_i64()), (Some("n4"), Some(0)));
    let left = pin["for_s"].as_u64().unwrap();
    assert!((3500..=3520).contains(&left), "{left}");
    assert!(exported(&ledger, &fleet, &policy, Time(i64::MAX)).is_empty());
}

#[test]
fn what_was_forgotten_is_not_where_a_trace_begins() {
    let (fleet, policy) = (fleet(), policy());
    let (mut ledger, judged) = lived(&fleet, &policy);
    let keep = Retention { observations: Duration::from_secs(1000), history: Duration::from_secs(86_400) };
    let now = judged.last().unwrap().now.wall;
    while ledger.prune(now, &keep, 10_000).unwrap() > 0 {}
    let text = exported(&ledger, &fleet, &policy, Time(0));
    let report = backtest::run(text.as_bytes(), Options::default(), &mut |_| {}).unwrap();
    assert!((90..=101).contains(&report.ticks), "{}", report.ticks);
    let second = text.lines().nth(1).unwrap();
    assert!(second.contains("\"t\":0"), "{second}");
    let first_judged = text.lines().position(|line| line.contains("\"tick\"")).unwrap();
    assert!(text.lines().take(first_judged).any(|line| line.contains("\"obs\"")), "a judgement of nothing");
    assert_eq!(report.expectations, []);
}
