//! Whether what must hold held.

use super::outcome::Outcome;
use super::pilot::{Eyes, Move};
use super::scenario::{Expect, Scenario};

/// One thing that was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What, in words.
    pub what: String,
    /// Whether it held.
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

/// Holds `outcome` against what `scenario` expects of somebody who sees with `eyes`.
#[must_use]
pub fn check(scenario: &Scenario, eyes: Eyes, outcome: &Outcome) -> Vec<Check> {
    let applies = |expect: &&Expect| expect.given.iter().all(|given| eyes.have(given));
    scenario.expect.iter().filter(applies).flat_map(|expect| of_one(scenario, expect, outcome)).collect()
}

fn of_one(scenario: &Scenario, expect: &Expect, outcome: &Outcome) -> Vec<Check> {
    let mut checks = Vec::new();
    let place = |name: &String| scenario.node.iter().position(|node| node.name == *name);
    let since = |at_ms: i64| at_ms as f64 / 1000.0 - expect.from_s;
    let when = |wanted: &Move| {
        let times = outcome.done.iter().filter(|done| done.what.what == *wanted).map(|done| since(done.at_ms));
        times.filter(|after| *after >= 0.0).min_by(f64::total_cmp)
    };
    let mut timed = |what: String, after: Option<f64>| {
        let seen = after.map_or_else(|| "never".to_owned(), |after| format!("{after:.0} s"));
        let held = after.is_some_and(|after| after <= expect.within_s);
        checks.push(Check { what: format!("{what} within {} s", expect.within_s), held, seen });
    };
    for name in &expect.withdraw {
        timed(format!("{name} withdrawn"), place(name).and_then(|node| when(&Move::Withdraw(node))));
    }
    for name in &expect.reinstate {
        timed(format!("{name} reinstated"), place(name).and_then(|node| when(&Move::Reinstate(node))));
    }
    if let Some(fleet) = &expect.fleet {
        // What it is called already when the time begins, it is called then.
        let spans = outcome.fleet.iter().zip(outcome.fleet.iter().skip(1).map(Some).chain([None]));
        let after = spans.filter(|((_, verdict), _)| verdict.name() == fleet);
        let after = after.filter(|(_, next)| next.is_none_or(|(until, _)| since(*until) > 0.0));
        let after = after.map(|((at, _), _)| since(*at).max(0.0)).min_by(f64::total_cmp);
        timed(format!("fleet called {fleet}"), after);
    }
    for name in &expect.never {
        let took =
            outcome.withdrawals().find(|done| place(name).is_some_and(|node| done.what.what == Move::Withdraw(node)));
        let seen = took
            .map_or_else(|| "never".to_owned(), |done| format!("after {} s by {}", done.at_ms / 1000, done.what.rule));
        checks.push(Check { what: format!("{name} never withdrawn"), held: took.is_none(), seen });
    }
    let mut counted = |what: String, held: bool, seen: String| checks.push(Check { what, held, seen });
    if expect.no_living_withdrawn {
        let living = outcome.living_withdrawn();
        counted("no node withdrawn that serves".to_owned(), living == 0, format!("{living} times"));
    }
    if let Some(most) = expect.changes {
        counted(format!("at most {most} changes of the DNS"), outcome.changes <= most, outcome.changes.to_string());
    }
    if let Some(least) = expect.served {
        counted(format!("at least {least} % served"), outcome.served >= least, format!("{:.1} %", outcome.served));
    }
    checks
}
