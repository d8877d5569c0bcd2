//! `witness simulate`: a scenario in a closed loop, by several policies in the same world.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use super::args::SimulateArgs;
use super::format::{Cell, Column};
use super::{policy, print};
use crate::exit::{Exit, Failure};
use crate::plot::{Drawn, svg};
use crate::sim::{BUILTIN, Check, Eyes, Move, Outcome, Run, Scenario, Steering, check, random, run};

/// One policy's run.
struct Lived {
    name: String,
    eyes: Eyes,
    outcome: Outcome,
    trace: Vec<String>,
    checks: Vec<Check>,
}

pub(super) fn simulate(args: &SimulateArgs) -> Result<Exit, Failure> {
    let Some(name) = &args.scenario else { return list() };
    let scenario = scenario(name, args.seed)?;
    let mut steerings = vec![main_steering(args)?];
    for against in &args.against {
        steerings.push(steering(against, args)?);
    }
    let mut lived = Vec::new();
    for (number, steering) in steerings.iter().enumerate() {
        progress(&format!("{} ({} of {})", steering.name(), number + 1, steerings.len()));
        let keep = Run { samples: args.plot.is_some(), trace: number == 0 && args.trace.is_some() };
        let (outcome, trace) = run(&scenario, steering, args.seed, keep)
            .map_err(|error| Failure::usage(format!("scenario {name}: {error}")))?;
        let checks = check(&scenario, steering.eyes(), &outcome);
        lived.push(Lived { name: steering.name(), eyes: steering.eyes(), outcome, trace, checks });
    }
    progress("");
    if let Some(file) = &args.plot {
        let drawn: Vec<Drawn<'_>> =
            lived.iter().map(|lived| Drawn { name: &lived.name, outcome: &lived.outcome }).collect();
        write(file, &svg(&scenario, args.seed, &drawn))?;
    }
    if let Some(file) = &args.trace {
        let mut text = lived[0].trace.join("\n");
        text.push('\n');
        write(file, &text)?;
    }
    if args.json {
        for lived in &lived {
            print::json(&as_json(&scenario, args.seed, lived))?;
        }
    } else {
        show(&scenario, args.seed, &lived)?;
    }
    let failed = lived[0].checks.iter().any(|check| !check.held);
    Ok(if args.check && failed { Exit::Failed } else { Exit::Done })
}

/// The scenarios that are there by name.
fn list() -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    for (name, text) in BUILTIN {
        let scenario = Scenario::read(text).map_err(|error| Failure::failed(format!("scenario {name}: {error}")))?;
        rows.push(vec![Cell::from(name), Cell::from(scenario.name)]);
    }
    print::table(vec![Column::new("scenario"), Column::new("world")], rows)?;
    Ok(Exit::Done)
}

fn scenario(name: &str, seed: u64) -> Result<Scenario, Failure> {
    if name == "random" {
        return Ok(random(seed));
    }
    let text = match BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
        Some((_, text)) => (*text).to_owned(),
        None => fs::read_to_string(name).map_err(|error| {
            let known = "`witness simulate` without a scenario lists those that need no file";
            Failure::usage(format!("failed to read the scenario {name}: {error}; {known}"))
        })?,
    };
    Scenario::read(&text).map_err(|error| Failure::usage(format!("the scenario {name} has mistakes: {error}")))
}

fn main_steering(args: &SimulateArgs) -> Result<Steering, Failure> {
    match &args.policy {
        Some(name) => steering(name, args),
        None => Ok(Steering::rule(args.level, !args.no_shed)),
    }
}

/// A policy by its name in tables, or a file with a `[policy]`.
fn steering(name: &str, args: &SimulateArgs) -> Result<Steering, Failure> {
    let known = [
        Steering::Nothing,
        Steering::Classic,
        Steering::ThreeThree,
        Steering::Panic,
        Steering::EjectTen,
        Steering::Gdnsd,
        Steering::Oracle,
    ];
    if let Some(known) = known.into_iter().find(|known| known.name() == name) {
        return Ok(known);
    }
    if name == "witness" {
        return Ok(Steering::rule(args.level, !args.no_shed));
    }
    Ok(Steering::Rule { policy: Some(Box::new(policy::given(name)?)), eyes: Eyes::of_level(args.level, !args.no_shed) })
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, text).map_err(|error| Failure::failed(format!("failed to write {}: {error}", file.display())))
}

/// One line on a terminal that the next one overwrites.
fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Whoever closed stderr does not want to read it.
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    }
}

fn minute(at_ms: i64) -> String {
    format!("{:02}:{:02}", at_ms / 60_000, at_ms / 1000 % 60)
}

/// What, of whom.
fn act(scenario: &Scenario, what: &Move) -> String {
    let name = |node: &usize| scenario.node[*node].name.clone();
    match what {
        Move::Withdraw(node) => format!("withdraw {}", name(node)),
        Move::Reinstate(node) => format!("reinstate {}", name(node)),
        Move::Shed { step, percent } => format!("shed step {step} ({percent} %)"),
        Move::Alert(Some(node)) => format!("alert {}", name(node)),
        Move::Alert(None) => "alert".to_owned(),
    }
}

fn show(scenario: &Scenario, seed: u64, lived: &[Lived]) -> Result<(), Failure> {
    let nodes = scenario.node.len();
    print::say(&[&format!("{}: {nodes} nodes, {} s, seed {seed}", scenario.name, scenario.lasts_s), ""])?;
    let rows = lived.iter().map(|lived| {
        let outcome = &lived.outcome;
        vec![
            Cell::from(lived.name.as_str()),
            Cell::from(format!("{:.2} %", outcome.served)),
            Cell::from(outcome.withdrawals().count()),
            Cell::from(outcome.living_withdrawn()),
            Cell::from(outcome.changes),
            Cell::from(format!("{:.1}", outcome.brownout)),
        ]
    });
    let head = vec![
        Column::new("policy"),
        Column::new("served").right(),
        Column::new("withdrawn").right(),
        Column::new("living").right(),
        Column::new("dns changes").right(),
        Column::new("shed min").right(),
    ];
    print::table(head, rows.collect())?;
    let main = &lived[0];
    if !main.outcome.done.is_empty() {
        print::say(&["", &format!("what {} did:", main.name)])?;
    }
    for done in main.outcome.done.iter().filter(|done| !done.what.is_renewal()) {
        let alive = if done.alive { " (it serves)" } else { "" };
        let text = format!(
            "{} {}{alive} {}: {}",
            minute(done.at_ms),
            act(scenario, &done.what.what),
            done.what.rule,
            done.what.why
        );
        print::out(&print::indented(2, text.trim_end_matches(": ")))?;
    }
    let called: Vec<String> =
        main.outcome.fleet.iter().map(|(at, verdict)| format!("{} {verdict}", minute(*at))).collect();
    if !called.is_empty() {
        print::say(&[""])?;
        print::out(&print::indented(0, &format!("the fleet was called: {}", called.join(", "))))?;
    }
    if !main.checks.is_empty() {
        print::say(&["", "expected:"])?;
    }
    for check in &main.checks {
        let held = if check.held { "held" } else { "NOT held" };
        print::out(&print::indented(2, &format!("{held}: {} ({})", check.what, check.seen)))?;
    }
    Ok(())
}

fn as_json(scenario: &Scenario, seed: u64, lived: &Lived) -> Value {
    let outcome = &lived.outcome;
    let name = |node: usize| scenario.node[node].name.clone();
    let done = outcome.done.iter().map(|done| {
        let (a, n, step) = match done.what.what {
            Move::Withdraw(node) => ("withdraw", Some(name(node)), None),
            Move::Reinstate(node) => ("reinstate", Some(name(node)), None),
            Move::Shed { step, .. } => ("shed", None, Some(step)),
            Move::Alert(node) => ("alert", node.map(name), None),
        };
        json!({"t": done.at_ms, "a": a, "n": n, "step": step, "rule": done.what.rule, "why": done.what.why, "alive": done.alive})
    });
    let deaths = outcome.deaths.iter().map(|death| {
        json!({"n": name(death.node), "t": death.at_ms, "withdrawn": death.out_ms, "back": death.back_ms, "reinstated": death.in_ms})
    });
    let fleet = outcome.fleet.iter().map(|(at, verdict)| json!({"t": at, "fleet": verdict.name()}));
    let checks = lived.checks.iter().map(|check| json!({"what": check.what, "held": check.held, "seen": check.seen}));
    let eyes = lived.eyes;
    json!({
        "scenario": scenario.name, "seed": seed, "policy": lived.name,
        "told": {"latencies": eyes.latencies, "loads": eyes.loads, "relays": eyes.relays, "shed": eyes.shed},
        "served_percent": (outcome.served * 1000.0).round() / 1000.0,
        "withdrawals": outcome.withdrawals().count(), "living_withdrawn": outcome.living_withdrawn(),
        "dns_changes": outcome.changes, "brownout_minutes": (outcome.brownout * 1000.0).round() / 1000.0,
        "actions": done.collect::<Vec<_>>(), "deaths": deaths.collect::<Vec<_>>(),
        "fleet": fleet.collect::<Vec<_>>(), "expected": checks.collect::<Vec<_>>(),
    })
}
