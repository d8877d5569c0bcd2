//! Who may tick.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use witness::clock;
use witness::ledger::{Holder, Lease as _, LeaseGuard, LeaseState, Ledger, LedgerError, LedgerHandle, TICK_LEASE};
use witness::model::{ClockReading, Memory, Time};

use crate::world::{child, child_argument, clock as at, place, plan, tick, ticked};

const SPAN: Duration = Duration::from_secs(60);

fn me() -> Holder {
    Holder::this("home", "run")
}

fn take(ledger: &mut Ledger, holder: &Holder, now: &ClockReading) -> LeaseState {
    ledger.take_lease(TICK_LEASE, holder, now, SPAN).unwrap()
}

fn held(state: LeaseState) -> LeaseGuard {
    match state {
        LeaseState::Held(guard) => guard,
        LeaseState::Busy(by) => panic!("held by {}", by.holder),
    }
}

#[test]
fn one_at_a_time_and_again_after_release() {
    let (_dir, path) = place();
    let (mut one, mut two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
    let now = clock::read();
    let guard = held(take(&mut one, &me(), &now));
    let LeaseState::Busy(by) = take(&mut two, &Holder::this("home", "once"), &now) else { panic!("held twice") };
    assert_eq!((by.holder.clone(), by.since, by.until), (me(), now.wall, now.wall.plus(SPAN)));
    assert!(by.holder.to_string().starts_with("`witness run` of \"home\" (process "), "{}", by.holder);
    assert_eq!(two.view().lease(TICK_LEASE).unwrap(), Some(by));

    one.release_lease(&guard).unwrap();
    assert_eq!(two.view().lease(TICK_LEASE).unwrap(), None);
    let later = held(take(&mut two, &me(), &now));
    assert!(later.token > guard.token, "tokens grow");
    one.release_lease(&guard).unwrap();
    assert!(two.view().lease(TICK_LEASE).unwrap().is_some(), "giving back twice takes nothing from another");
}

#[test]
fn it_ends_by_the_boot_clock_whatever_the_wall_clock_does() {
    let (_dir, path) = place();
    let (mut one, mut two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
    let now = clock::read();
    held(take(&mut one, &me(), &now));
    let moved = |wall_ms, boot_ms| ClockReading {
        wall: now.wall.shifted(wall_ms),
        boot_ms: now.boot_ms + boot_ms,
        boot_id: now.boot_id.clone(),
    };
    let day = 24 * 3_600_000;
    for (wall, boot) in [(0, 59_999), (day, 1000), (-day, 1000)] {
        assert!(matches!(take(&mut two, &me(), &moved(wall, boot)), LeaseState::Busy(_)), "{wall} {boot}");
    }
    held(take(&mut two, &me(), &moved(-day, 60_000)));
}

#[test]
fn elsewhere_it_ends_by_the_wall_clock() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let other = Holder { boot_id: "theirs".to_owned(), host: "elsewhere".to_owned(), ..me() };
    let theirs = ClockReading { boot_id: "theirs".to_owned(), ..clock::read() };
    held(take(&mut ledger, &other, &theirs));
    let mut now = clock::read();
    assert!(matches!(take(&mut ledger, &me(), &now), LeaseState::Busy(_)), "nobody can tell whether it is alive");
    now.wall = theirs.wall.plus(SPAN);
    held(take(&mut ledger, &me(), &now));
}

#[test]
fn renewing_moves_the_end() {
    let (_dir, path) = place();
    let (mut one, mut two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
    let mut now = clock::read();
    let guard = held(take(&mut one, &me(), &now));
    now.boot_ms += 59_000;
    one.renew_lease(&guard, &now, SPAN).unwrap();
    now.boot_ms += 59_000;
    assert!(matches!(take(&mut two, &me(), &now), LeaseState::Busy(_)));
    now.boot_ms += 1000;
    held(take(&mut two, &me(), &now));
    assert!(matches!(one.renew_lease(&guard, &now, SPAN), Err(LedgerError::LeaseLost { .. })));
}

#[test]
fn who_lost_it_records_no_tick_and_begins_no_write() {
    let (_dir, path) = place();
    let (mut slow, mut next) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
    let mut now = clock::read();
    held(take(&mut slow, &me(), &now));
    let judgement = ticked(&mut slow, 0..1)[0];
    let intent = slow.intend(judgement, Time(0), &plan(1)).unwrap();
    now.boot_ms += 61_000;
    held(take(&mut next, &me(), &now));

    let mut memory = Memory::default();
    let error = slow.record_tick(&tick(1, 4, &mut memory)).unwrap_err();
    assert!(matches!(error, LedgerError::LeaseLost { .. }), "{error}");
    assert!(matches!(slow.intend(judgement, Time(0), &plan(2)), Err(LedgerError::LeaseLost { .. })));
    assert_eq!(next.view().counts().unwrap().judgements, 1);
    // What became of a write is a fact all the same.
    slow.conclude(intent, witness::model::IntentState::Applied, Time(1), "late").unwrap();
    ticked(&mut next, 1..2);
}

/// Takes the lease, says so, and holds it until it is killed or its input ends.
#[test]
fn child_that_holds() {
    let Some(path) = child_argument() else { return };
    let mut ledger = Ledger::open(Path::new(&path)).unwrap();
    held(take(&mut ledger, &Holder::this("home", "once"), &clock::read()));
    println!("\nheld");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_holder_gives_it_up_at_once() {
    let (_dir, path) = place();
    let mut process = child("leases::child_that_holds", path.to_str().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    let mut ledger = Ledger::open(&path).unwrap();
    let LeaseState::Busy(by) = take(&mut ledger, &me(), &clock::read()) else { panic!("held twice") };
    assert_eq!(by.holder.pid, i32::try_from(process.id()).unwrap());
    process.kill().unwrap();
    process.wait().unwrap();
    held(take(&mut ledger, &me(), &clock::read()));
}

/// Says whether it got the lease; keeps it until its input ends.
#[test]
fn child_that_races() {
    let Some(path) = child_argument() else { return };
    let mut ledger = Ledger::open(Path::new(&path)).unwrap();
    println!("\nready");
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let got = matches!(take(&mut ledger, &Holder::this("home", "once"), &clock::read()), LeaseState::Held(_));
    println!("\n{}", if got { "got" } else { "busy" });
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn of_eight_processes_one_gets_it() {
    let (_dir, path) = place();
    for _ in 0..5 {
        // The file itself is new for the first eight, so they race for creating it, too.
        let mut processes: Vec<_> = (0..8)
            .map(|_| {
                child("leases::child_that_races", path.to_str().unwrap())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut inputs: Vec<_> = processes.iter_mut().map(|process| process.stdin.take().unwrap()).collect();
        let mut outputs: Vec<_> = processes
            .iter_mut()
            .map(|p| BufReader::new(p.stdout.take().unwrap()).lines().map(Result::unwrap))
            .collect();
        for out in &mut outputs {
            assert!(out.any(|line| line == "ready"));
        }
        inputs.iter_mut().for_each(|input| writeln!(input).unwrap());
        let got: Vec<bool> =
            outputs.iter_mut().map(|out| out.find(|line| line == "got" || line == "busy").unwrap() == "got").collect();
        assert_eq!(got.iter().filter(|got| **got).count(), 1, "{got:?}");
        drop(inputs);
        for process in &mut processes {
            assert!(process.wait().unwrap().success());
        }
    }
}

#[test]
fn of_eight_threads_one_is_in_at_a_time() {
    let (_dir, path) = place();
    drop(Ledger::open(&path).unwrap());
    let (inside, entered, start) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut ledger = Ledger::open(&path).unwrap();
                start.wait();
                for _ in 0..50 {
                    let LeaseState::Held(guard) = take(&mut ledger, &me(), &clock::read()) else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are in");
                    entered.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    ledger.release_lease(&guard).unwrap();
                }
            });
        }
    });
    assert!(entered.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn the_seam_does_the_same() {
    let ledger = LedgerHandle::new(Ledger::in_memory());
    let now = at(1_700_000_000_000);
    let guard = held(ledger.take("tick", &me(), now.clone(), SPAN).await.unwrap());
    ledger.renew(&guard, now.clone(), SPAN).await.unwrap();
    assert!(matches!(ledger.take("tick", &me(), now.clone(), SPAN).await.unwrap(), LeaseState::Busy(_)));
    held(ledger.take("another", &me(), now.clone(), SPAN).await.unwrap());
    ledger.release(guard.clone()).await.unwrap();
    assert!(matches!(ledger.renew(&guard, now, SPAN).await, Err(LedgerError::LeaseLost { .. })));
}
