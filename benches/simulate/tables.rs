//! The tables.

use witness::sim::{Death, Steering, random};

use crate::{Cell, Named, mean, outcome, side_by_side};

/// The seed of the first random world: none from here on was looked at while anything was chosen.
const FIRST_WORLD: u64 = 9000;

fn head(title: &str, first: &str, policies: &[Steering], without: &[&str]) {
    let names: Vec<String> =
        policies.iter().map(Steering::name).filter(|name| !without.contains(&name.as_str())).collect();
    println!("\n### {title}\n\n| {first} | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(names.len()));
}

fn rows(
    scenarios: &[Named],
    policies: &[Steering],
    cells: &[Cell],
    without: &[&str],
    show: impl Fn(&Cell) -> Option<String>,
) {
    for (number, named) in scenarios.iter().enumerate() {
        let of_scenario = cells.iter().filter(|cell| cell.scenario == number);
        let shown = of_scenario.filter(|cell| !without.contains(&policies[cell.policy].name().as_str()));
        let texts: Option<Vec<String>> = shown.map(&show).collect();
        if let Some(texts) = texts {
            println!("| {} {} | {} |", &named.id[..2], named.scenario.name, texts.join(" | "));
        }
    }
}

pub(crate) fn served(scenarios: &[Named], policies: &[Steering], cells: &[Cell]) {
    head("Served, percent of the demand (mean of all seeds)", "scenario", policies, &[]);
    rows(scenarios, policies, cells, &[], |cell| {
        Some(format!("{:.1}", mean(cell.outcomes.iter().map(|outcome| outcome.served))))
    });
}

pub(crate) fn withdrawn(scenarios: &[Named], policies: &[Steering], cells: &[Cell]) {
    let without = ["nothing"];
    head("Withdrawals of nodes that served, for each run (changes of the DNS)", "scenario", policies, &without);
    rows(scenarios, policies, cells, &without, |cell| {
        let living = mean(cell.outcomes.iter().map(|outcome| outcome.living_withdrawn() as f64));
        let changes = mean(cell.outcomes.iter().map(|outcome| outcome.changes as f64));
        Some(format!("{living:.2} ({changes:.0})"))
    });
}

/// Seconds from death to decision, of those deaths that lasted long enough to be seen: all of them, sorted, and how many
/// there were.
pub(crate) fn outs(cell: &Cell) -> (Vec<i64>, usize) {
    let deaths = || cell.outcomes.iter().flat_map(|outcome| &outcome.deaths);
    let mut after: Vec<i64> = deaths().filter_map(|death| Some((death.out_ms? - death.at_ms) / 1000)).collect();
    after.sort_unstable();
    (after, deaths().count())
}

fn backs(cell: &Cell) -> (Vec<i64>, usize) {
    let out = |death: &&Death| death.out_ms.is_some() && death.back_ms.is_some();
    let deaths = || cell.outcomes.iter().flat_map(|outcome| &outcome.deaths).filter(out);
    let mut after: Vec<i64> = deaths().filter_map(|death| Some((death.in_ms? - death.back_ms?) / 1000)).collect();
    after.sort_unstable();
    (after, deaths().count())
}

fn span((after, of): (Vec<i64>, usize)) -> String {
    let Some(last) = after.last() else { return if of == 0 { "–" } else { "never" }.to_owned() };
    let shown = format!("{} / {last}", after[after.len() / 2]);
    if after.len() == of { shown } else { format!("{shown} ({}/{of})", after.len()) }
}

pub(crate) fn times(scenarios: &[Named], policies: &[Steering], cells: &[Cell]) {
    let without = ["nothing", "oracle"];
    let title = "Seconds from death to the decision to withdraw, and from recovery to the decision to reinstate: median / longest";
    head(title, "scenario", policies, &without);
    let timed = ["01", "02", "03", "07", "08", "12", "24"];
    for which in ["out", "back"] {
        for (number, named) in scenarios.iter().enumerate().filter(|(_, named)| timed.contains(&&named.id[..2])) {
            let of_scenario = cells.iter().filter(|cell| cell.scenario == number);
            let shown = of_scenario.filter(|cell| !without.contains(&policies[cell.policy].name().as_str()));
            let texts: Vec<String> =
                shown.map(|cell| span(if which == "out" { outs(cell) } else { backs(cell) })).collect();
            println!("| {} {}: {which} | {} |", &named.id[..2], named.scenario.name, texts.join(" | "));
        }
    }
}

pub(crate) fn brownout(scenarios: &[Named], policies: &[Steering], cells: &[Cell]) {
    println!("\n### What shedding cost: minutes, times the share that clients did not get (witness L3+shed)\n");
    println!("| scenario | minutes |\n|---|---:|");
    for cell in cells.iter().filter(|cell| policies[cell.policy] == Steering::rule(3, true)) {
        let minutes = mean(cell.outcomes.iter().map(|outcome| outcome.brownout));
        if minutes >= 0.05 {
            let named = &scenarios[cell.scenario];
            println!("| {} {} | {minutes:.1} |", &named.id[..2], named.scenario.name);
        }
    }
}

/// For each policy, how much more of the demand it served than nobody did, points, for each random world.
pub(crate) fn random_worlds(policies: &[Steering], worlds: u64) -> Vec<Vec<(u64, f64)>> {
    let seeds: Vec<u64> = (FIRST_WORLD..FIRST_WORLD + worlds).collect();
    let outcomes = side_by_side(&seeds, |seed| {
        let scenario = random(*seed);
        policies.iter().map(|policy| outcome(&scenario, policy, *seed)).collect::<Vec<_>>()
    });
    println!(
        "\n### {worlds} random worlds, seeds from {FIRST_WORLD}: points of the demand served, against doing nothing\n"
    );
    println!("| policy | mean | 5th percentile | worst (seed) | hurt by over 0.5 | living withdrawn | DNS changes |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut all = Vec::new();
    for (number, policy) in policies.iter().enumerate() {
        let of = |outcomes: &Vec<witness::sim::Outcome>| outcomes[number].served - outcomes[0].served;
        let mut gains: Vec<(u64, f64)> = seeds.iter().copied().zip(outcomes.iter().map(of)).collect();
        gains.sort_by(|a, b| a.1.total_cmp(&b.1));
        if number > 0 && !gains.is_empty() {
            let hurt = gains.iter().filter(|(_, gain)| *gain < -0.5).count();
            let living = mean(outcomes.iter().map(|outcomes| outcomes[number].living_withdrawn() as f64));
            let changes = mean(outcomes.iter().map(|outcomes| outcomes[number].changes as f64));
            println!(
                "| {} | {:+.2} | {:+.2} | {:+.2} ({}) | {:.0} % | {living:.2} | {changes:.1} |",
                policy.name(),
                mean(gains.iter().map(|(_, gain)| *gain)),
                gains[gains.len() / 20].1,
                gains[0].1,
                gains[0].0,
                100.0 * hurt as f64 / gains.len() as f64,
            );
        }
        all.push(gains);
    }
    all
}
