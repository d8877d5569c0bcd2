//! Load figures in the ledger, and the schema that has no place for them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use witness::ledger::{Ledger, Reader, Retention, SCHEMA};
use witness::model::{Ask, AskHow, AskOutcome, Evidence, FleetVerdict, LoadFigure, LoadSource, Memory, RuleId, Time};

use crate::world::{INTERVAL, START, node, place, tick, ticked};

fn at(number: i64) -> i64 {
    START + number * INTERVAL
}

/// What node `of` told half a second before tick `number`.
fn figure(of: usize, number: i64, source: LoadSource) -> LoadFigure {
    LoadFigure {
        tx_bps: Some(u64::try_from(number).unwrap() * 1_000_000),
        ..LoadFigure::new(node(of), Time(at(number) - 500), source)
    }
}

fn counted(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn every_number_comes_back_and_what_was_not_told_is_not_there() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut memory = Memory::default();
    let whole = LoadFigure {
        tx_bps: Some(0),
        capacity_bps: Some(950_000_000),
        active: Some(2210),
        shed_step: Some(255),
        load1_milli: Some(u32::MAX),
        ncpu: Some(8),
        psi_cpu10_milli: Some(12_345),
        psi_io10_milli: Some(0),
        listen_overflows: Some(u64::try_from(i64::MAX).unwrap()),
        ..LoadFigure::new(node(1), Time(at(1) - 4000), LoadSource::Health)
    };
    let bare = LoadFigure { ncpu: Some(2), ..LoadFigure::new(node(1), Time(at(1) + 3), LoadSource::Ssh) };
    let huge = LoadFigure { tx_bps: Some(u64::MAX), ..figure(0, 1, LoadSource::Metrics) };
    let mut first = tick(0, 4, &mut memory);
    first.loads = vec![figure(1, 0, LoadSource::Health), figure(3, 0, LoadSource::Metrics)];
    ledger.record_tick(&first).unwrap();
    let mut second = tick(1, 4, &mut memory);
    second.loads = vec![bare.clone(), whole.clone(), huge.clone(), whole.clone()];
    ledger.record_tick(&second).unwrap();

    let view = ledger.view();
    let no_number = LoadFigure { tx_bps: None, ..huge };
    let newest = [no_number, whole.clone(), bare.clone(), figure(3, 0, LoadSource::Metrics)];
    assert_eq!(view.last_loads(None).unwrap(), newest);
    assert_eq!(view.last_loads(Some(&node(1))).unwrap(), [whole, bare]);
    assert_eq!(view.last_loads(Some(&node(2))).unwrap(), []);
    let told = "SELECT count(*) FROM v_load WHERE source = 'health' AND node = 'slice1' AND psi_cpu10 = 12.345";
    assert_eq!(counted(&path, told), 1);
}

#[test]
fn a_tick_that_is_not_written_leaves_no_figure() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    ticked(&mut ledger, 0..1);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TRIGGER t BEFORE INSERT ON strike BEGIN SELECT RAISE(ABORT, 'no'); END").unwrap();
    let mut next = tick(1, 4, &mut ledger.memory().unwrap());
    next.loads = vec![figure(0, 1, LoadSource::Health)];
    assert!(!next.judgement.strikes.is_empty());
    ledger.record_tick(&next).unwrap_err();
    assert_eq!(ledger.view().last_loads(None).unwrap(), []);
}

#[test]
fn they_are_forgotten_with_the_observations() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut memory = Memory::default();
    for number in 0..400 {
        let mut tick = tick(number, 4, &mut memory);
        tick.loads = vec![figure(0, number, LoadSource::Health), figure(1, number, LoadSource::Ssh)];
        ledger.record_tick(&tick).unwrap();
    }
    let keep = Retention { observations: Duration::from_secs(1000), history: Duration::from_secs(1_000_000) };
    while ledger.prune(Time(at(399)), &keep, 1000).unwrap() > 0 {}
    let oldest = |table: &str| counted(&path, &format!("SELECT min(judgement) FROM {table}"));
    assert!(oldest("observation") > 100, "something was forgotten");
    assert_eq!(oldest("load"), oldest("observation"));
    assert_eq!(counted(&path, "SELECT count(*) FROM load"), 2 * (401 - oldest("load")));

    // Judgements go when nothing refers to them any more.
    let keep = Retention { observations: Duration::from_secs(10), history: Duration::from_secs(500) };
    while ledger.prune(Time(at(399)), &keep, 1000).unwrap() > 0 {}
    assert_eq!(counted(&path, "SELECT count(*) FROM load WHERE judgement NOT IN (SELECT id FROM judgement)"), 0);
    assert_eq!(ledger.view().last_loads(Some(&node(0))).unwrap(), [figure(0, 399, LoadSource::Health)]);
    ledger.view().integrity().unwrap();
}

#[test]
fn a_ledger_of_the_first_schema_keeps_what_it_has_and_takes_figures() {
    let (_dir, path) = place();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dump = fs::read_to_string(root.join("fixtures/ledger/v1.sql")).unwrap();
    Connection::open(&path).unwrap().execute_batch(&dump).unwrap();
    let rows = || {
        ["judgement", "observation", "strike", "node_state", "intent", "pin"]
            .map(|table| counted(&path, &format!("SELECT count(*) FROM {table}")))
    };
    let before = rows();
    assert!(before.iter().all(|count| *count > 0), "{before:?}");
    let old = Reader::open(&path).unwrap_err();
    assert!(matches!(old, witness::ledger::LedgerError::Older { found: 1, .. }), "{old}");

    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(rows(), before);
    assert_eq!(counted(&path, "PRAGMA user_version"), i64::from(SCHEMA));
    assert_eq!(ledger.view().last_loads(None).unwrap(), []);
    let mut next = tick(14, 4, &mut ledger.memory().unwrap());
    next.loads = vec![figure(0, 14, LoadSource::Health)];
    ledger.record_tick(&next).unwrap();
    assert_eq!(Reader::open(&path).unwrap().view().last_loads(None).unwrap(), next.loads);
}

/// What the rule went by is there again when somebody asks why.
#[test]
fn a_chain_holds_figures_tries_of_others_classes_and_the_fleets_reason() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut next = tick(0, 4, &mut Memory::default());
    let ask = |via: usize, outcome: AskOutcome| Ask {
        via: node(via),
        node: node(0),
        at: Time(at(0) - 500),
        how: AskHow::Tcp,
        outcome,
        tries: 1,
    };
    next.loads = vec![figure(0, 0, LoadSource::Health), figure(1, 0, LoadSource::Ssh)];
    next.asks = vec![ask(1, AskOutcome::Nothing), ask(2, AskOutcome::Reached), ask(3, AskOutcome::Unknown)];
    next.judgement.fleet = FleetVerdict::Overload;
    next.judgement.fleet_rule = RuleId::of("R5.overload");
    next.judgement.fleet_why = "2 of 4".to_owned();
    next.judgement.nodes[0].evidence = Evidence::Silent;
    let id = ledger.record_tick(&next).unwrap();
    let chain = ledger.view().chain(id, None).unwrap().unwrap();
    assert_eq!((&chain.loads, &chain.asks), (&next.loads, &next.asks));
    assert_eq!(chain.judgement.fleet_because, Some((RuleId::of("R5.overload"), "2 of 4".to_owned())));
    assert_eq!(chain.nodes[0].judged.evidence, Evidence::Silent);
    let one = ledger.view().chain(id, Some(&node(1))).unwrap().unwrap();
    assert_eq!((one.loads.as_slice(), one.asks.as_slice()), (&next.loads[1..], &[][..]));
    assert_eq!(
        counted(&path, &format!("SELECT count(*) FROM v_ask WHERE via = '{}' AND outcome = 'reached'", node(2))),
        1
    );
    // They go with the observations.
    let mut memory = Memory::default();
    for number in 1..200 {
        ledger.record_tick(&tick(number, 4, &mut memory)).unwrap();
    }
    let keep = Retention { observations: Duration::from_secs(100), history: Duration::from_secs(1_000_000) };
    while ledger.prune(Time(at(199)), &keep, 1000).unwrap() > 0 {}
    assert_eq!(counted(&path, "SELECT count(*) FROM ask"), 0);
}
