//! One file, several connections: readers, other writers, threads, and older schemas.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;
use witness::ledger::{EventKind, HistoryQuery, Ledger, LedgerError, LedgerHandle, Reader, ReaderHandle};
use witness::model::{Evidence, IntentState, Memory, Time};

use crate::world::{name, node, place, plan, sets, tick, ticked};

#[test]
fn a_reader_in_a_transaction_does_not_block_the_writer() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    ticked(&mut ledger, 0..3);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN").unwrap();
    let seen = || other.query_row("SELECT count(*) FROM judgement", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(seen(), 3);
    ticked(&mut ledger, 3..300);
    ledger.checkpoint().unwrap();
    assert_eq!(seen(), 3, "it sees the moment it began with");
    assert_eq!(Reader::open(&path).unwrap().view().counts().unwrap().judgements, 300);
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(seen(), 300);
}

#[test]
fn readers_and_the_writer_side_by_side() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    ticked(&mut ledger, 0..5);
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = Reader::open(&path).unwrap();
                let kinds = EventKind::ALL.into();
                let query = HistoryQuery { node: None, from: Time(0), to: Time(i64::MAX), kinds, limit: 50 };
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let latest = reader.view().latest().unwrap().unwrap();
                    assert!(latest.id >= last, "time goes on");
                    last = latest.id;
                    let chain = reader.view().chain(last, None).unwrap().unwrap();
                    assert_eq!((chain.nodes.len(), chain.rounds.len()), (4, 4));
                    assert_eq!(reader.view().history(&query).unwrap().len(), 50);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        ticked(&mut ledger, 5..300);
        // On a busy machine the readers may not have had their turn.
        while reads.load(Ordering::Relaxed) < 10 {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn another_processs_writing_is_noticed() {
    let (_dir, path) = place();
    let (mut one, mut two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
    let reader = Reader::open(&path).unwrap();
    let version = |ledger: &Ledger| ledger.data_version().unwrap();
    let (of_one, of_two, of_reader) = (version(&one), version(&two), reader.view().data_version().unwrap());
    ticked(&mut one, 0..1);
    assert_eq!(version(&one), of_one, "one's own writing is no news");
    assert_ne!(version(&two), of_two);
    assert_ne!(reader.view().data_version().unwrap(), of_reader);
    // Each goes on from what the other wrote, and writes what is new compared with that.
    for number in 1..30 {
        ticked(if number % 3 == 0 { &mut two } else { &mut one }, number..number + 1);
    }
    let (_dir, path) = place();
    let mut alone = Ledger::open(&path).unwrap();
    ticked(&mut alone, 0..30);
    for id in 1..=30 {
        assert_eq!(one.view().states(id, None).unwrap(), alone.view().states(id, None).unwrap(), "{id}");
    }
}

#[test]
fn a_failed_tick_leaves_no_trace() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    ticked(&mut ledger, 0..3);
    let mut memory = ledger.memory().unwrap();
    // It fails late: when the memory is written.
    let breaker = Connection::open(&path).unwrap();
    breaker
        .execute_batch(
            "CREATE TRIGGER broken BEFORE UPDATE ON node_memory BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END",
        )
        .unwrap();
    let next = tick(3, 4, &mut memory);
    for _ in 0..2 {
        let error = ledger.record_tick(&next).unwrap_err();
        assert!(matches!(&error, LedgerError::Sql { what, .. } if what.contains("broken on purpose")), "{error}");
    }
    assert_eq!(ledger.view().counts().unwrap().judgements, 3);
    assert_eq!(ledger.memory().unwrap().ticks_seen, 2);
    breaker.execute_batch("DROP TRIGGER broken").unwrap();
    let id = ledger.record_tick(&next).unwrap();
    assert_eq!(ledger.memory().unwrap(), memory);
    let states = ledger.view().states(id, None).unwrap();
    assert!(states.iter().any(|state| state.judgement == id), "what was new is new still");
}

#[tokio::test]
async fn the_handle_runs_calls_in_turn_and_survives_a_panic() {
    let (_dir, path) = place();
    let (handle, thread) = LedgerHandle::spawn(Ledger::open(&path).unwrap());
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let handle = handle.clone();
            tokio::spawn(async move {
                handle
                    .call(move |ledger| {
                        let mut memory = ledger.memory().unwrap();
                        ledger.record_tick(&tick(number, 4, &mut memory)).unwrap()
                    })
                    .await
            })
        })
        .collect();
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.await.unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=200).collect::<Vec<_>>());

    let other = handle.clone();
    let panicked = tokio::spawn(async move { other.call(|_: &mut Ledger| panic!("on purpose")).await });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(handle.call(|ledger| ledger.view().counts().unwrap().judgements).await, 200);

    // A caller that goes away leaves its call in the line.
    let mut abandoned = Box::pin(handle.call(|ledger| ledger.pin(&a_pin()).unwrap()));
    let nobody_waits = tokio::time::timeout(std::time::Duration::ZERO, &mut abandoned).await;
    drop(abandoned);
    drop(nobody_waits);
    drop(handle);
    thread.join().unwrap();
    let reader = ReaderHandle::open(&path).unwrap();
    assert_eq!(reader.call(|reader| reader.view().pins(Time(1)).unwrap().len()).await, 1);
}

pub(crate) fn a_pin() -> witness::model::Pin {
    let reason = String::new();
    witness::model::Pin {
        node: node(0),
        state: witness::model::PinState::In,
        since: Time(0),
        until: Time(i64::MAX),
        reason,
    }
}

/// What the saved databases hold: see `fixtures/ledger/README.md`. Only what every schema has a place for.
fn fill(ledger: &mut Ledger) -> Memory {
    let ids = ticked(ledger, 0..14);
    let intent = ledger.intend(ids[3], Time(1), &plan(0)).unwrap();
    ledger.intend(ids[13], Time(2), &plan(1)).unwrap();
    ledger.conclude(intent, IntentState::Applied, Time(3), "receipt").unwrap();
    ledger.conclude(intent, IntentState::Confirmed, Time(4), "").unwrap();
    ledger.publication(intent, "192.0.2.53:53", Time(6), Some(Time(5)), "").unwrap();
    let raw = serde_json::json!({"rows": []});
    ledger.snapshot(Time(1), &name("files"), "example.com", &name("main"), &sets(0..4), &raw, Some(intent)).unwrap();
    ledger.save_reading(&name("files"), Time(1), &sets(0..4)).unwrap();
    ledger.pin(&a_pin()).unwrap();
    ledger.memory().unwrap()
}

/// A chain without what the first schema had no place for.
fn of_old(chain: Option<witness::ledger::Chain>) -> Option<witness::ledger::Chain> {
    let mut chain = chain?;
    chain.judgement.fleet_because = None;
    chain.nodes.iter_mut().for_each(|node| node.judged.evidence = Evidence::NoData);
    Some(chain)
}

#[test]
fn every_released_schema_is_upgraded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ledger");
    let mut saved: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "sql"))
        .collect();
    saved.sort();
    let migrations = fs::read_dir(folder.parent().unwrap().with_file_name("migrations")).unwrap().count();
    assert_eq!(saved.len(), migrations, "one saved database per schema");
    let mut fresh = Ledger::in_memory();
    let memory = fill(&mut fresh);
    for dump in saved {
        let (_dir, path) = place();
        Connection::open(&path).unwrap().execute_batch(&fs::read_to_string(&dump).unwrap()).unwrap();
        let mut ledger = Ledger::open(&path).unwrap_or_else(|error| panic!("{}: {error}", dump.display()));
        assert_eq!(ledger.memory().unwrap(), memory, "{}", dump.display());
        assert_eq!(ledger.open_intents().unwrap(), fresh.open_intents().unwrap());
        assert_eq!(ledger.pins(Time(1)).unwrap(), [a_pin()]);
        assert_eq!(ledger.last_reading(&name("files")).unwrap(), Some((Time(1), sets(0..4))));
        let everything = HistoryQuery {
            node: None,
            from: Time(i64::MIN),
            to: Time(i64::MAX),
            kinds: EventKind::ALL.into(),
            limit: 100_000,
        };
        assert_eq!(ledger.view().history(&everything).unwrap(), fresh.view().history(&everything).unwrap());
        for id in 1..=14 {
            assert_eq!(of_old(ledger.view().chain(id, None).unwrap()), of_old(fresh.view().chain(id, None).unwrap()));
        }
        assert_eq!(ledger.view().snapshot(1).unwrap(), fresh.view().snapshot(1).unwrap());
        ledger.view().integrity().unwrap();
        let mut next = ledger.memory().unwrap();
        assert_eq!(ledger.record_tick(&tick(14, 4, &mut next)).unwrap(), 15, "numbers go on");
    }
}

/// Writes the database that a dump is made of: `LEDGER_SAVE=FILE cargo test --test ledger -- --exact shared::saves`.
#[test]
fn saves() {
    let Ok(path) = std::env::var("LEDGER_SAVE") else { return };
    fill(&mut Ledger::open(Path::new(&path)).unwrap());
}
