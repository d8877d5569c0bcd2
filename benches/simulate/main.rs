//! Every policy in every world, beside each other: what was served, who was withdrawn, and how fast.
//!
//! `cargo xtask simulate-bench [SEEDS] [WORLDS]`: seeds for each scenario (30) and random worlds (150). The worlds' seeds begin
//! at a number that nothing was tuned on. Every run is a function of its seed, so the tables are the same on every machine.

#![expect(clippy::unwrap_used, reason = "a benchmark may end itself")]

mod tables;
mod targets;
mod vary;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use witness::sim::{Outcome, Run, Scenario, Steering, run};

/// A scenario's file name without its ending, and what it says.
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) scenario: Scenario,
}

/// What a policy did in a scenario, one outcome for each seed.
pub(crate) struct Cell {
    pub(crate) scenario: usize,
    pub(crate) policy: usize,
    pub(crate) outcomes: Vec<Outcome>,
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let seeds = numbers.first().copied().unwrap_or(30);
    let worlds = numbers.get(1).copied().unwrap_or(150);
    let scenarios = scenarios();
    let policies = policies();
    let cells = all(&scenarios, &policies, seeds);
    tables::served(&scenarios, &policies, &cells);
    tables::withdrawn(&scenarios, &policies, &cells);
    tables::times(&scenarios, &policies, &cells);
    tables::brownout(&scenarios, &policies, &cells);
    let fuzz = tables::random_worlds(&policies, worlds);
    vary::sensitivity(&scenarios, seeds.min(10));
    let missed = targets::judge(&scenarios, &policies, &cells, &fuzz);
    if missed > 0 {
        println!("\n{missed} aims missed");
    }
}

fn policies() -> Vec<Steering> {
    let mut all = vec![
        Steering::Nothing,
        Steering::Classic,
        Steering::ThreeThree,
        Steering::Panic,
        Steering::EjectTen,
        Steering::Gdnsd,
    ];
    all.extend((0..=3).map(|level| Steering::rule(level, false)));
    all.push(Steering::rule(3, true));
    all.push(Steering::Oracle);
    all
}

fn scenarios() -> Vec<Named> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let scenario = Scenario::read(&std::fs::read_to_string(path).unwrap()).unwrap();
        Named { id: path.file_stem().unwrap().to_string_lossy().into_owned(), scenario }
    };
    files.iter().map(read).collect()
}

fn all(scenarios: &[Named], policies: &[Steering], seeds: u64) -> Vec<Cell> {
    let pairs = (0..scenarios.len()).flat_map(|scenario| (0..policies.len()).map(move |policy| (scenario, policy)));
    side_by_side(&pairs.collect::<Vec<_>>(), |(scenario, policy)| Cell {
        scenario: *scenario,
        policy: *policy,
        outcomes: (1..=seeds).map(|seed| outcome(&scenarios[*scenario].scenario, &policies[*policy], seed)).collect(),
    })
}

pub(crate) fn outcome(scenario: &Scenario, policy: &Steering, seed: u64) -> Outcome {
    run(scenario, policy, seed, Run::default()).unwrap().0
}

/// `work` over all of `items` on every core; the results in the order of the items.
pub(crate) fn side_by_side<I: Sync, O: Send>(items: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, O)>> = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { break };
                    let result = work(item);
                    results.lock().unwrap().push((number, result));
                    if number.is_multiple_of(20) {
                        eprint!("\r{number} of {}  ", items.len());
                    }
                }
            });
        }
    });
    eprint!("\r                    \r");
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0u32);
    for value in values {
        (sum, count) = (sum + value, count + 1);
    }
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}
