//! kill -9 at any moment: what was reported as written is there, and nothing is there by halves.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use witness::ledger::{Ledger, Retention};
use witness::model::{IntentState, Time};

use crate::world::{INTERVAL, START, child, child_argument, disk, name, plan, sets, tick};

const SEEDS: u64 = 200;

/// Ticks, intends, concludes and prunes for ever, and says on stdout what is written, after it is.
#[test]
fn child_that_writes() {
    let Some(path) = child_argument() else { return };
    let mut ledger = Ledger::open(Path::new(&path)).unwrap();
    let mut memory = ledger.memory().unwrap();
    // Straight to the descriptor: a line that was printed is a line that the parent can read.
    let mut out = std::io::stdout();
    let mut say = |line: String| out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
    for number in i64::from(memory.ticks_seen) + 1.. {
        let at = START + number * INTERVAL;
        let judgement = ledger.record_tick(&tick(number, 4, &mut memory)).unwrap();
        say(format!("\ntick {judgement} {number}\n"));
        let intent = ledger.intend(judgement, Time(at), &plan(0)).unwrap();
        say(format!("intent {intent} intended\n"));
        ledger
            .snapshot(Time(at), &name("files"), "example.com", &name("main"), &sets(0..4), &"raw".into(), Some(intent))
            .unwrap();
        for state in [IntentState::Applied, IntentState::Confirmed] {
            ledger.conclude(intent, state, Time(at), "receipt").unwrap();
            say(format!("intent {intent} {state}\n"));
        }
        let keep = Retention { observations: Duration::from_secs(60), history: Duration::from_secs(24 * 3600) };
        ledger.prune(Time(at), &keep, 20).unwrap();
    }
}

#[test]
fn killed_at_any_moment() {
    let (_dir, path) = disk();
    let mut ticks = 0;
    let mut reported: BTreeMap<i64, IntentState> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut process =
            child("crash::child_that_writes", path.to_str().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        // Lets it say so many lines, then so many microseconds more, by the seed.
        let mut said = Vec::new();
        for _ in 0..5 + (seed * 7) % 23 {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            said.push(line);
        }
        std::thread::sleep(Duration::from_micros(seed.wrapping_mul(2_654_435_761) % 3000));
        process.kill().unwrap();
        process.wait().unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        // A line that the kill cut short is no report.
        let whole = said.concat() + &rest[..rest.rfind('\n').map_or(0, |end| end + 1)];
        for words in whole.lines().map(|line| line.split(' ').collect::<Vec<_>>()) {
            match words[..] {
                ["tick", _, number] => ticks = number.parse().unwrap(),
                ["intent", id, state] => {
                    let state = IntentState::ALL.into_iter().find(|s| s.name() == state).unwrap();
                    reported.insert(id.parse().unwrap(), state);
                }
                _ => {}
            }
        }

        let ledger = Ledger::open(&path).unwrap();
        let view = ledger.view();
        if seed % 20 == 0 || seed == SEEDS - 1 {
            view.integrity().unwrap();
        }
        let memory = ledger.memory().unwrap();
        let latest = view.latest().unwrap().unwrap();
        assert!(memory.ticks_seen >= ticks, "seed {seed}: tick {ticks} was reported, {} is there", memory.ticks_seen);
        assert_eq!(memory.last.as_ref(), Some(&latest.now), "seed {seed}: memory and judgement are of one tick");
        for (id, judged) in memory.nodes.iter().zip(view.states(latest.id, None).unwrap()) {
            assert_eq!((id.0, id.1.standing), (&judged.judged.node, judged.judged.standing), "seed {seed}");
            assert!(id.1.last_round.is_some(), "seed {seed}: {} lost its round", id.0);
        }
        for (id, state) in &reported {
            let there = view.intent(*id).unwrap();
            let there = there.unwrap_or_else(|| panic!("seed {seed}: intent {id} was reported and is gone"));
            let reached = |state| {
                [IntentState::Intended, IntentState::Applied, IntentState::Confirmed]
                    .iter()
                    .position(|other| *other == state)
            };
            assert!(
                reached(there.state) >= reached(*state),
                "seed {seed}: intent {id} was {state}, is {}",
                there.state
            );
        }
        let open = ledger.open_intents().unwrap();
        assert!(open.len() <= usize::try_from(seed).unwrap() + 1, "seed {seed}: at most one is left open per kill");
        reported.retain(|_, state| *state != IntentState::Confirmed);
    }
    assert!(ticks > u32::try_from(SEEDS).unwrap(), "the children came to write: {ticks}");
}

#[test]
fn killed_while_it_is_created() {
    for seed in 0..60u64 {
        let (_dir, path) = disk();
        let mut process =
            child("crash::child_that_writes", path.to_str().unwrap()).stdout(Stdio::null()).spawn().unwrap();
        // Most of these are before the first tick, some after it.
        std::thread::sleep(Duration::from_micros(seed.wrapping_mul(2_654_435_761) % 25_000));
        process.kill().unwrap();
        process.wait().unwrap();
        let mut ledger = Ledger::open(&path).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        ledger.view().integrity().unwrap();
        let mut memory = ledger.memory().unwrap();
        ledger.record_tick(&tick(i64::from(memory.ticks_seen) + 1, 4, &mut memory)).unwrap();
    }
}
