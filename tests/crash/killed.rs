//! kill -9, at each step and at any moment: the next run looks, and does what is left to do once.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use witness::clock::Stopwatch;
use witness::ledger::Ledger;
use witness::model::IntentState;

use crate::world::{Chance, Nodes, World, seeds, was_killed};

/// Three strikes against the third node, which is dead: the next tick takes it out.
fn due(nodes: &Nodes) -> World {
    let world = World::new(nodes);
    for strikes in 1..=3 {
        let ran = world.run(&["once", "--json"]).is(0);
        assert_eq!(ran.json()["nodes"][2]["strikes"], strikes, "{}", ran.out);
    }
    assert_eq!((world.writes(), world.members().len()), (0, 4));
    world
}

/// The same node is out, and a person wants it back although it is dead.
fn due_back(nodes: &Nodes) -> World {
    let world = due(nodes);
    world.run(&["once"]).is(0);
    assert_eq!((world.writes(), world.members()), (1, [1, 2, 4].into()));
    world.run(&["pin", "slice3", "in", "--for", "1h", "--reason", "it is known to look dead"]).is(0);
    world
}

/// How it must end.
struct End {
    members: BTreeSet<u8>,
    /// What the registrar has written, from the very beginning.
    writes: u64,
}

impl End {
    fn out() -> Self {
        Self { members: [1, 2, 4].into(), writes: 1 }
    }

    fn back() -> Self {
        Self { members: [1, 2, 3, 4].into(), writes: 2 }
    }
}

/// Runs `once` until all is as it must be, and makes sure that it stays so and that the ledger tells it as it was.
fn converges(world: &World, end: &End, about: &str) {
    let is_there = || {
        let open = world.states().iter().any(|state| !state.is_final());
        world.members() == end.members && !open
    };
    let mut runs = 0;
    loop {
        world.assert_zone_whole(about);
        assert!(world.writes() <= end.writes, "{about}: written {} times", world.writes());
        let ran = world.run(&["once"]);
        // A scripted time-out may be met by this run.
        assert!(matches!(ran.code, Some(0 | 1)), "{about}: {ran:?}");
        if is_there() {
            break;
        }
        runs += 1;
        assert!(runs < 60, "{about}: does not converge: {:?}\n{:#}", world.intents(), world.zone());
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = world.run(&["once", "--json"]).is(0);
    assert_eq!(ran.json()["changes"], json!([]), "{about}: it is done");
    assert!(is_there(), "{about}");
    assert_eq!(world.writes(), end.writes, "{about}: {:?}", world.intents());
    world.assert_zone_whole(about);
    world.assert_nothing_panicked(about);

    let reader = world.reader();
    reader.view().integrity().unwrap();
    let intents = world.intents();
    let done: Vec<_> = intents.iter().filter(|intent| intent.state == IntentState::Confirmed).collect();
    assert_eq!(done.len() as u64, end.writes, "{about}: {intents:?}");
    for intent in &intents {
        let fine = matches!(intent.state, IntentState::Confirmed | IntentState::Absent);
        assert!(fine, "{about}: {intent:?}");
    }
    // Before each write the zone was copied.
    let snapshots = reader.view().snapshots(None).unwrap();
    for intent in done {
        assert!(snapshots.iter().any(|copy| copy.intent == Some(intent.id)), "{about}: {intent:?} has no copy");
    }
    for lease in ["tick", "watch"] {
        assert_eq!(reader.view().lease(lease).unwrap(), None, "{about}: the lease {lease} is given back");
    }
}

/// The history's changes, as people see them.
fn changes(world: &World) -> String {
    world.run(&["history", "--kind", "changes"]).is(0).out
}

#[test]
fn at_each_step_between_intent_and_outcome() {
    let nodes = Nodes::with_a_dead_one();
    let template = due(&nodes);
    let steps: [(&str, u64, &[IntentState]); 7] = [
        // Judged and not intended: nothing is open, and the wish is made anew.
        ("judged", 0, &[]),
        ("intended", 0, &[IntentState::Intended]),
        ("writing", 0, &[IntentState::Intended]),
        ("written", 1, &[IntentState::Intended]),
        ("applied", 1, &[IntentState::Intended]),
        ("concluded", 1, &[IntentState::Applied]),
        ("confirmed", 1, &[IntentState::Confirmed]),
    ];
    for (step, writes, states) in steps {
        let world = template.copy();
        assert!(world.dies_at(&["once"], step), "there is no step {step:?}");
        assert_eq!(world.writes(), writes, "{step}");
        assert_eq!(world.states(), states, "{step}");
        converges(&world, &End::out(), step);
        let told = changes(&world);
        let settled = match states {
            [IntentState::Intended] if writes == 0 => "did not happen",
            [IntentState::Intended | IntentState::Applied] => "shows it done",
            _ => "read back",
        };
        assert!(told.contains(settled), "{step}: {told}");
    }
}

#[test]
fn before_and_after_every_commit_of_a_withdrawal() {
    let nodes = Nodes::with_a_dead_one();
    every_commit(&due(&nodes), &End::out());
}

#[test]
fn before_and_after_every_commit_of_a_return() {
    let nodes = Nodes::with_a_dead_one();
    every_commit(&due_back(&nodes), &End::back());
}

fn every_commit(template: &World, end: &End) {
    for place in ["committing", "committed"] {
        for time in 1.. {
            let world = template.copy();
            let about = format!("{place}:{time}");
            if !world.dies_at(&["once"], &about) {
                assert!(time > 8, "a tick that changes something commits more than {time} times");
                break;
            }
            converges(&world, end, &about);
        }
    }
}

#[test]
fn while_the_ledger_is_made() {
    let nodes = Nodes::with_a_dead_one();
    for time in 1..=4 {
        for place in ["committing", "committed"] {
            let world = World::new(&nodes);
            assert!(world.dies_at(&["once"], &format!("{place}:{time}")));
            world.run(&["once"]).is(0);
            world.reader().view().integrity().unwrap();
            assert_eq!(world.writes(), 0);
        }
    }
}

/// Twice in a row, and while the first crash is being cleared up.
#[test]
fn again_and_again_at_the_same_step() {
    let nodes = Nodes::with_a_dead_one();
    let template = due(&nodes);
    for first in ["intended", "writing", "written", "applied", "concluded"] {
        for second in ["committing:1", "committed:2", "committed:3", "judged", "intended", "written", "applied"] {
            let world = template.copy();
            let about = format!("{first}, then {second}");
            assert!(world.dies_at(&["once"], first), "{about}");
            // The second is not reached where nothing is left to write.
            world.dies_at(&["once"], second);
            converges(&world, &End::out(), &about);
        }
    }
}

#[test]
fn at_any_moment() {
    let nodes = Nodes::with_a_dead_one();
    let (out, back) = (due(&nodes), due_back(&nodes));
    let usual = {
        let world = out.copy();
        let started = Stopwatch::start();
        world.run(&["once"]).is(0);
        started.elapsed()
    };
    let count = seeds(200);
    let next = AtomicU64::new(0);
    let kills = AtomicU64::new(0);
    let amid = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // Most of the time they wait.
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    let (killed, open) = one_seed(seed, &out, &back, usual);
                    kills.fetch_add(killed, Ordering::Relaxed);
                    amid.fetch_add(open, Ordering::Relaxed);
                }
            });
        }
    });
    let (kills, amid) = (kills.into_inner(), amid.into_inner());
    println!("{count} seeds, {kills} kills, {amid} of them between intent and outcome");
    assert!(kills * 2 > count, "{kills} kills in {count} seeds: they come too late");
    assert!(count < 100 || amid > count / 40, "{amid} of {kills} kills hit between intent and outcome");
}

/// Kills up to three runs one after another. How often it did, and how many left something open.
fn one_seed(seed: u64, out: &World, back: &World, usual: Duration) -> (u64, u64) {
    let mut chance = Chance::new(seed);
    let is_back = chance.below(4) == 0;
    let (world, end) = if is_back { (back.copy(), End::back()) } else { (out.copy(), End::out()) };
    let mut faults: Vec<Value> = Vec::new();
    let mut slow = Duration::ZERO;
    for on in ["observe", "apply", "confirm", "restore-info"] {
        let ms = if on == "apply" { 10 + chance.below(50) } else { chance.below(30) };
        if chance.below(2) == 0 {
            slow += Duration::from_millis(ms);
            faults.push(json!({ "fault": "slow", "ms": ms, "on": on }));
        }
    }
    if chance.below(4) == 0 {
        faults.push(json!({ "fault": "timeout-after-apply" }));
    }
    world.script(json!(faults));
    let about = format!("seed {seed} (WITNESS_CRASH_SEEDS={})", seed + 1);
    let (mut kills, mut amid) = (0, 0);
    for _ in 0..=chance.below(3) {
        let args: &[&str] = match chance.below(3) {
            0 => &["run"],
            1 if !is_back => &["withdraw", "slice3", "--reason", "by hand"],
            _ => &["once"],
        };
        let span = if args == ["run"] { usual + slow + Duration::from_millis(150) } else { usual + slow };
        let mut child = world.command(args).stdout(Stdio::null()).stderr(world.log()).spawn().unwrap();
        let micros = u64::try_from(span.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(chance.below(micros)));
        child.kill().unwrap();
        if !was_killed(child.wait().unwrap()) {
            continue;
        }
        kills += 1;
        let ledger = Ledger::open(&world.path("witness.db")).unwrap_or_else(|error| panic!("{about}: {error}"));
        amid += u64::from(!ledger.open_intents().unwrap().is_empty());
    }
    converges(&world, &end, &about);
    (kills, amid)
}
