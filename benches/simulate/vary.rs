//! The same with other assumptions: which conclusions hang on which.

use witness::sim::{Model, Steering};

use crate::{Named, mean, outcome, side_by_side};

/// A change of the assumptions, with its name.
type Variant = (&'static str, fn(&mut Model));

const VARIANTS: [Variant; 10] = [
    ("as assumed", |_| {}),
    ("no client tries another address (φ 0)", |model| model.fallback = 0.0),
    ("nine of ten do (φ 0.9)", |model| model.fallback = 0.9),
    ("nothing is asked for again (κ 0)", |model| model.retry = 0.0),
    ("nine tenths are (κ 0.9)", |model| model.retry = 0.9),
    ("full nodes lose no goodput (β 0)", |model| model.collapse = 0.0),
    ("they lose twice as much (β 0.5)", |model| model.collapse = 0.5),
    ("short queues (K 10)", |model| model.queue = 10.0),
    ("long queues (K 300)", |model| model.queue = 300.0),
    ("a fifth keeps answers too long", |model| model.stragglers = 0.2),
];

/// The scenarios whose conclusions are varied.
const VARIED: [&str; 6] = ["01", "05", "07", "08", "12", "20"];

pub(crate) fn sensitivity(scenarios: &[Named], seeds: u64) {
    let policies = [
        Steering::Nothing,
        Steering::Classic,
        Steering::Panic,
        Steering::rule(3, false),
        Steering::rule(3, true),
        Steering::Oracle,
    ];
    let varied: Vec<&Named> = scenarios.iter().filter(|named| VARIED.contains(&&named.id[..2])).collect();
    let jobs: Vec<(usize, usize)> =
        (0..VARIANTS.len()).flat_map(|variant| (0..varied.len()).map(move |of| (variant, of))).collect();
    let served = side_by_side(&jobs, |(variant, of)| {
        let mut scenario = varied[*of].scenario.clone();
        VARIANTS[*variant].1(&mut scenario.model);
        let of_policy = |policy: &Steering| {
            let runs: Vec<_> = (1..=seeds).map(|seed| outcome(&scenario, policy, seed)).collect();
            let living = runs.iter().map(witness::sim::Outcome::living_withdrawn).sum::<usize>();
            (mean(runs.iter().map(|run| run.served)), living)
        };
        policies.each_ref().map(of_policy)
    });
    println!(
        "\n### Other assumptions: served, percent; in brackets withdrawals of nodes that served, over {seeds} seeds\n"
    );
    println!("| scenario | assumption | {} |", policies.each_ref().map(Steering::name).join(" | "));
    println!("|---|---|{}", "---:|".repeat(policies.len()));
    for (of, named) in varied.iter().enumerate() {
        for ((variant, job), row) in jobs.iter().zip(&served) {
            if *job == of {
                let texts = row.map(|(served, living)| match living {
                    0 => format!("{served:.1}"),
                    _ => format!("{served:.1} ({living})"),
                });
                println!("| {} | {} | {} |", &named.id[..2], VARIANTS[*variant].0, texts.join(" | "));
            }
        }
    }
}
