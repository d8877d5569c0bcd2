//! What is forgotten, and what never is.

use std::time::Duration;

use rusqlite::Connection;
use witness::ledger::{Ledger, Retention};
use witness::model::{ActionKind, Guard, Hold, IntentState, Memory, Pin, PinState, Standing, Time};

use crate::world::{INTERVAL, START, name, node, place, plan, sets, tick, ticked};

const TICKS: i64 = 400;

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap())
}

fn at(number: i64) -> Time {
    Time(START + number * INTERVAL)
}

fn drain(ledger: &mut Ledger, now: Time, keep: &Retention, budget: usize) -> usize {
    let mut all = 0;
    loop {
        let done = ledger.prune(now, keep, budget).unwrap();
        assert!(done <= budget * 2, "{done} of {budget}");
        all += done;
        if done == 0 {
            return all;
        }
    }
}

fn count(db: &Connection, table: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn observations_go_first_and_the_rest_stays() {
    for budget in [1, 7, 100, 100_000] {
        let (_dir, path) = place();
        let mut ledger = Ledger::open(&path).unwrap();
        let ids = ticked(&mut ledger, 0..TICKS);
        let memory = ledger.memory().unwrap();
        let db = Connection::open(&path).unwrap();
        let others = ["strike", "node_state", "action", "judgement"].map(|table| count(&db, table));
        let keep = Retention { observations: seconds(1000), history: seconds(1_000_000) };
        let gone = drain(&mut ledger, at(TICKS - 1), &keep, budget);
        // By the time that a hundred judgements confirm: 299 ticks and more in the past, less the 100 that are kept.
        let left = i64::try_from(gone).unwrap();
        assert_eq!(left, (TICKS - 100 - 100) * 4 * 2, "whole ticks of 4 nodes and 2 probes");
        assert_eq!(count(&db, "observation"), TICKS * 8 - left);
        assert_eq!(["strike", "node_state", "action", "judgement"].map(|table| count(&db, table)), others);
        assert_eq!(ledger.memory().unwrap(), memory);
        let old = ledger.view().chain(ids[50], None).unwrap().unwrap();
        assert!(old.rounds.is_empty() && old.nodes.len() == 4);
        ledger.view().integrity().unwrap();
        let mut next = memory;
        ledger.record_tick(&tick(TICKS, 4, &mut next)).unwrap();
        assert_eq!(ledger.memory().unwrap(), next, "and it goes on");
    }
}

#[test]
fn history_goes_and_what_is_in_force_stays() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut memory = Memory::default();
    let mut ids = Vec::new();
    let hold = |guard| Hold { kind: ActionKind::Withdraw, node: node(1), pool: None, guard, why: String::new() };
    let (mut open, mut closed) = (0, 0);
    for number in 0..TICKS {
        let mut tick = tick(number, 4, &mut memory);
        tick.judgement.holds = match number {
            10..20 => vec![hold(Guard::Keep)],
            _ => vec![],
        };
        tick.judgement.holds.push(hold(Guard::Warmup));
        ids.push(ledger.record_tick(&tick).unwrap());
        if number == 5 {
            open = ledger.intend(ids[5], at(5), &plan(0)).unwrap();
            closed = ledger.intend(ids[5], at(5), &plan(1)).unwrap();
            ledger.conclude(closed, IntentState::Confirmed, at(6), "").unwrap();
            ledger.publication(closed, "192.0.2.53:53", at(6), None, "").unwrap();
            let (pool, main) = (name("files"), name("main"));
            ledger.snapshot(at(5), &pool, "example.com", &main, &sets(0..4), &"raw".into(), Some(closed)).unwrap();
            ledger.save_reading(&pool, at(5), &sets(0..4)).unwrap();
            ledger.save_reading(&pool, at(6), &sets(0..3)).unwrap();
            for (of, until) in [(0, at(7)), (1, at(10_000))] {
                let reason = "disk".to_owned();
                ledger.pin(&Pin { node: node(of), state: PinState::Out, since: at(5), until, reason }).unwrap();
            }
        }
        if number == 250 {
            // Slow, but there it is: the memory still refers to a round that is about to go.
            memory.nodes.get_mut(&node(3)).unwrap().standing = Standing::Probation;
        }
    }
    let before: Vec<_> =
        (250..TICKS).map(|n| ledger.view().states(ids[usize::try_from(n).unwrap()], None).unwrap()).collect();
    let keep = Retention { observations: seconds(100), history: seconds(1000) };
    drain(&mut ledger, at(TICKS - 1), &keep, 50);
    let db = Connection::open(&path).unwrap();

    let view = ledger.view();
    for (states, number) in before.iter().zip(250usize..) {
        assert_eq!(&view.states(ids[number], None).unwrap(), states, "what held in tick {number} can still be told");
    }
    let oldest_strike: i64 = db.query_row("SELECT min(at) FROM strike", [], |row| row.get(0)).unwrap();
    assert!(oldest_strike >= at(TICKS - 200).0 - 1000);
    assert!(count(&db, "judgement") < 215, "{}", count(&db, "judgement"));
    assert_eq!(count(&db, "hold"), 1);
    assert_eq!(view.standing().unwrap().0, [hold(Guard::Warmup)]);
    assert_eq!(ledger.open_intents().unwrap().iter().map(|intent| intent.id).collect::<Vec<_>>(), [open]);
    assert_eq!(view.intent(closed).unwrap(), None);
    assert_eq!((count(&db, "publication"), count(&db, "intent_state"), count(&db, "snapshot")), (0, 1, 0));
    assert_eq!(ledger.last_reading(&name("files")).unwrap(), Some((at(6), sets(0..3))));
    assert_eq!(count(&db, "reading"), 1);
    assert_eq!(ledger.pins(at(TICKS)).unwrap().len(), 1);
    assert_eq!(count(&db, "pin"), 1);
    assert!(view.chain(ids[5], None).unwrap().is_some(), "the open intent's judgement stays");
    assert!(view.chain(ids[100], None).unwrap().is_none());
    view.integrity().unwrap();
    assert_eq!(count(&db, "pragma_foreign_key_check"), 0);
}

#[test]
fn a_remembered_round_survives_its_rows() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut memory = Memory::default();
    for number in 0..TICKS {
        let silent = (number > 3).then(|| memory.nodes[&node(3)].clone());
        let mut tick = tick(number, 4, &mut memory);
        // After the fourth tick, nothing more is heard of slice3.
        if let Some(silent) = silent {
            tick.rounds.truncate(3);
            memory.nodes.insert(node(3), silent.clone());
            tick.judgement.memory.nodes.insert(node(3), silent);
        }
        ledger.record_tick(&tick).unwrap();
    }
    let keep = Retention { observations: seconds(100), history: seconds(1_000_000) };
    assert!(drain(&mut ledger, at(TICKS), &keep, 10) > 0);
    assert!(memory.nodes[&node(3)].last_round.is_some());
    assert_eq!(ledger.memory().unwrap(), memory);
    assert_eq!(Ledger::open(&path).unwrap().memory().unwrap(), memory);
    let mut tick = tick(TICKS, 4, &mut memory.clone());
    tick.judgement.memory = memory.clone();
    tick.rounds.clear();
    ledger.record_tick(&tick).unwrap();
    assert_eq!(ledger.memory().unwrap(), memory);
}

#[test]
fn a_clock_that_jumps_ahead_costs_nothing_at_first() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let mut memory = Memory::default();
    let year = 365 * 24 * 3_600_000;
    ticked(&mut ledger, 0..200);
    for number in 200..250 {
        let mut tick = tick(number, 4, &mut memory);
        tick.judgement.now.wall = tick.judgement.now.wall.shifted(30 * year);
        ledger.record_tick(&tick).unwrap();
    }
    let keep = Retention::default();
    assert_eq!(ledger.prune(at(250).shifted(30 * year), &keep, 1_000_000).unwrap(), 0);
    // Once it is right again, rows from the future are as old as what was written after them.
    for number in 250..600 {
        ledger.record_tick(&tick(number, 4, &mut memory)).unwrap();
    }
    let keep = Retention { observations: seconds(1000), history: seconds(1_000_000_000) };
    assert!(drain(&mut ledger, at(599), &keep, 1000) > 0);
    let db = Connection::open(&path).unwrap();
    let oldest: i64 = db.query_row("SELECT min(judgement) FROM observation", [], |row| row.get(0)).unwrap();
    assert_eq!(oldest, 600 - 200 + 1, "all but the last 100 before the last 100");
    assert!(count(&db, "note") > 0, "words of this day are there still");
}

#[test]
fn a_young_ledger_forgets_nothing() {
    let mut ledger = Ledger::in_memory();
    ticked(&mut ledger, 0..99);
    assert_eq!(ledger.prune(Time(i64::MAX), &Retention::default(), 1000).unwrap(), 0);
    assert_eq!(Ledger::in_memory().prune(Time(0), &Retention::default(), 1000).unwrap(), 0);
}

#[test]
fn the_file_stops_growing_and_gives_back_what_it_does_not_need() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let keep = Retention { observations: seconds(1000), history: seconds(1500) };
    let mut memory = Memory::default();
    let mut sizes = Vec::new();
    for number in 0..1600 {
        ledger.record_tick(&tick(number, 40, &mut memory)).unwrap();
        ledger.prune(at(number), &keep, 1000).unwrap();
        if number % 400 == 399 {
            sizes.push(ledger.view().counts().unwrap().bytes);
        }
    }
    assert!(sizes[3] < sizes[1] + sizes[1] / 8, "it stays as it is: {sizes:?}");
    ledger.checkpoint().unwrap();
    let wal = std::fs::metadata(format!("{}-wal", path.display())).unwrap().len();
    assert_eq!(wal, 0);

    // Nothing more comes in: pages are given back until what is spare is little.
    for number in 1600..1900 {
        ledger.record_tick(&tick(number, 1, &mut memory)).unwrap();
    }
    drain(&mut ledger, at(1900), &Retention { observations: seconds(1), history: seconds(1) }, 100_000);
    for _ in 0..50 {
        ledger.prune(at(1900), &keep, 1000).unwrap();
    }
    let counts = ledger.view().counts().unwrap();
    assert!(counts.free_bytes <= counts.bytes / 4 || counts.free_bytes <= 2048 * 4096, "{counts:?}");
    ledger.view().integrity().unwrap();
}
