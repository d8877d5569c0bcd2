//! What is aimed at, and whether it was reached.

use witness::sim::Steering;

use crate::tables::outs;
use crate::{Cell, Named, mean};

struct Aims<'a> {
    scenarios: &'a [Named],
    policies: &'a [Steering],
    cells: &'a [Cell],
    missed: usize,
}

/// Prints every aim with what was reached; returns how many were missed.
pub(crate) fn judge(scenarios: &[Named], policies: &[Steering], cells: &[Cell], fuzz: &[Vec<(u64, f64)>]) -> usize {
    println!("\n### What was aimed at\n\n| aim | reached | |\n|---|---|---|");
    let mut aims = Aims { scenarios, policies, cells, missed: 0 };
    let levels: Vec<Steering> = (0..=3).map(|level| Steering::rule(level, false)).collect();
    let best = Steering::rule(3, true);
    let full = ["04", "05", "06", "20", "21"];
    let mut living = 0;
    let mut worst = f64::INFINITY;
    for id in full {
        let nothing = aims.served(id, &Steering::Nothing);
        for policy in levels.iter().chain([&best]) {
            let cell = aims.cell(id, policy);
            living += cell.outcomes.iter().map(witness::sim::Outcome::living_withdrawn).sum::<usize>();
            worst = worst.min(aims.served(id, policy) - nothing);
        }
    }
    aims.say("overloads, every level: no withdrawal of a node that serves", living == 0, format!("{living}"));
    aims.say(
        "overloads, every level: at most 0.5 points below doing nothing",
        worst >= -0.5,
        format!("{worst:+.2} points at worst"),
    );
    let least = full.iter().map(|id| aims.served(id, &best)).fold(f64::INFINITY, f64::min);
    aims.say("overloads, with the ladder: 99 % served", least >= 99.0, format!("{least:.1} % at least"));
    let times: [(&str, &str, u8, i64); 7] = [
        ("single silent death, with vantage points", "01", 3, 28),
        ("single silent death, alone", "01", 0, 50),
        ("port refused", "02", 0, 20),
        ("hung service, with figures", "03", 2, 40),
        ("hung service, without", "03", 0, 76),
        ("3 of 8 at once, with vantage points", "12", 3, 28),
        ("3 of 8 at once, alone", "12", 0, 50),
    ];
    for (what, id, level, seconds) in times {
        let (after, of) = outs(aims.cell(id, &Steering::rule(level, false)));
        let longest = after.last().copied().unwrap_or(i64::MAX);
        let held = after.len() == of && longest <= seconds;
        aims.say(&format!("{what}: {seconds} s"), held, format!("{longest} s at most, {} of {of}", after.len()));
    }
    let most = |cell: &Cell| cell.outcomes.iter().map(|outcome| outcome.changes).max().unwrap_or(0);
    let changes = most(aims.cell("12", &levels[3])).max(most(aims.cell("12", &levels[0])));
    // One out, and one for each that comes back.
    aims.say("3 of 8 at once: one change takes all three", changes <= 4, format!("{changes} changes with those back"));
    let (after, of) = outs(aims.cell("07", &best));
    let longest = after.last().copied().unwrap_or(i64::MAX);
    let held = after.len() == of && longest <= 30;
    aims.say(
        "death in an overload, ladder and vantage points: 30 s",
        held,
        format!("{longest} s at most, {} of {of}", after.len()),
    );
    let served = aims.served("07", &best);
    aims.say("… and 99 % served", served >= 99.0, format!("{served:.1} %"));
    let flaps = |policy: &Steering| {
        aims.cell("11", policy).outcomes.iter().map(|outcome| outcome.withdrawals().count()).max().unwrap_or(0)
    };
    let most = levels.iter().chain([&best]).map(flaps).max().unwrap_or(0);
    aims.say("flapping: at most 5 withdrawals in 40 min", most <= 5, format!("{most} at most"));
    // What the published proposal lost where it lost at all: scenario, level, withdrawals for each run.
    let proposal =
        [("09", 0.0), ("10", 1.0), ("11", 0.2), ("13", 0.0), ("16", 0.0), ("17", 0.1), ("22", 0.0), ("25", 0.0)];
    for (id, allowed) in proposal {
        for (level, policy) in levels.iter().enumerate() {
            let lost = mean(aims.cell(id, policy).outcomes.iter().map(|outcome| outcome.living_withdrawn() as f64));
            let allowed = if level == 3 { 0.0 } else { allowed };
            let name = &aims.scenarios.iter().find(|named| named.id.starts_with(id)).unwrap().scenario.name;
            let what = format!("{id} {name}, level {level}: at most {allowed} living nodes withdrawn");
            aims.say(&what, lost <= allowed + 1e-9, format!("{lost:.2}"));
        }
    }
    let number = aims.policies.iter().position(|policy| *policy == best).unwrap();
    if let Some((seed, worst)) = fuzz[number].first() {
        let held = *worst >= -0.5;
        aims.say(
            "random worlds, ladder and vantage points: never 0.5 below doing nothing",
            held,
            format!("{worst:+.2} in world {seed}"),
        );
    }
    aims.missed
}

impl Aims<'_> {
    fn cell(&self, id: &str, policy: &Steering) -> &Cell {
        let is =
            |cell: &&Cell| self.scenarios[cell.scenario].id.starts_with(id) && self.policies[cell.policy] == *policy;
        self.cells.iter().find(is).unwrap()
    }

    fn served(&self, id: &str, policy: &Steering) -> f64 {
        mean(self.cell(id, policy).outcomes.iter().map(|outcome| outcome.served))
    }

    fn say(&mut self, what: &str, held: bool, reached: String) {
        self.missed += usize::from(!held);
        println!("| {what} | {reached} | {} |", if held { "yes" } else { "**no**" });
    }
}
