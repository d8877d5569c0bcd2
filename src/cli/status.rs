//! `witness status`

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::StatusArgs;
use super::format::{Cell, Column, ago, local};
use super::print::span;
use super::{judgement, open, print};
use crate::clock;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::ledger::{JudgementRow, NodeState, Reader};
use crate::model::{FleetVerdict, Guard, Hold, Observation, Outcome, Round, Standing, Time};

pub(super) fn status(path: Option<PathBuf>, args: &StatusArgs) -> Result<Exit, Failure> {
    let config = open::config_to_read(path)?;
    if let Some(node) = &args.node {
        open::known_node(&config, node)?;
    }
    let now = clock::now();
    let reader = match open::reader(&config) {
        Ok(reader) => reader,
        Err(failure) if args.check => return unknown(&failure.message),
        Err(failure) => return Err(failure),
    };
    let failed = |error| open::ledger_failure(&error);
    let view = reader.view();
    let Some(last) = view.latest().map_err(failed)? else {
        if args.check {
            return unknown("there was no tick yet");
        }
        print::note("there was no tick yet; `witness once` or `witness run` makes one");
        return Ok(Exit::Done);
    };
    let states = view.states(last.id, args.node.as_ref()).map_err(failed)?;
    let (holds, _) = view.standing().map_err(failed)?;
    let rounds = view.last_rounds(args.node.as_ref()).map_err(failed)?;
    let known: Vec<NodeState> =
        states.into_iter().filter(|state| config.fleet.nodes.contains_key(&state.judged.node)).collect();
    let seen = Seen { last, states: known, holds, rounds, now };
    if args.check {
        return check(&config, &seen);
    }
    if args.json {
        print::json(&as_json(&seen))?;
    } else if args.node.is_some() {
        detail(&config, &reader, &seen)?;
    } else {
        table(&config, &seen)?;
    }
    Ok(Exit::Done)
}

/// What the ledger knows.
struct Seen {
    last: JudgementRow,
    states: Vec<NodeState>,
    holds: Vec<Hold>,
    rounds: Vec<Round>,
    now: Time,
}

impl Seen {
    fn round(&self, state: &NodeState) -> Option<&Round> {
        self.rounds.iter().find(|round| round.node == state.judged.node)
    }

    fn age(&self) -> Duration {
        self.now.since(self.last.now.wall)
    }
}

fn table(config: &Config, seen: &Seen) -> Result<(), Failure> {
    headline(seen)?;
    let kinds = config.probes.kinds();
    let mut head: Vec<Column> = ["NODE", "STANDING", "VERDICT", "STRIKES", "DNS"].map(Column::new).into();
    head.extend(kinds.iter().map(|kind| Column::new(&kind.name().to_uppercase()).shrink(10)));
    let mut rows = Vec::new();
    for state in &seen.states {
        let judged = &state.judged;
        let mut row: Vec<Cell> = vec![
            judged.node.to_string().into(),
            Cell::styled(judgement::style(judged), judgement::standing(judged)),
            judged.verdict.to_string().into(),
            format!("{}/{}", judged.strikes, config.policy.strikes).into(),
            judgement::in_dns(judged).into(),
        ];
        for kind in &kinds {
            let of_kind = seen.round(state).map(|round| {
                let of_kind: Vec<&Observation> = round.observations.iter().filter(|one| one.probe == *kind).collect();
                worst(&of_kind)
            });
            row.push(of_kind.unwrap_or_else(|| "-".to_owned()).into());
        }
        rows.push(row);
    }
    print::table(head, rows)?;
    for hold in &seen.holds {
        print::say(&[&format!("held: {} {} by guard {}: {}", hold.kind, hold.node, hold.guard, hold.why)])?;
    }
    Ok(())
}

fn headline(seen: &Seen) -> Result<(), Failure> {
    print::say(&[&format!(
        "fleet {}, vantage {}; last tick {} (judgement {})",
        seen.last.fleet,
        seen.last.vantage,
        ago(seen.last.now.wall, seen.now),
        seen.last.id
    )])
}

/// What to show of several addresses: the first that did not pass, else how long the service took.
fn worst(of_kind: &[&Observation]) -> String {
    match of_kind.iter().find(|one| one.outcome != Outcome::Passed).or(of_kind.first()) {
        None => "-".to_owned(),
        Some(one) if one.outcome == Outcome::Passed => {
            let time = one.measured.rtt_us.unwrap_or(one.measured.total_us);
            format!("ok {}", span(Duration::from_micros(u64::from(time))))
        }
        Some(one) => one.outcome.to_string(),
    }
}

fn detail(config: &Config, reader: &Reader, seen: &Seen) -> Result<(), Failure> {
    headline(seen)?;
    let failed = |error| open::ledger_failure(&error);
    for state in &seen.states {
        let judged = &state.judged;
        let node = &config.fleet.nodes[&judged.node];
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        let fact = |name: &str, value: &str| print::say(&[&format!("{name:<10} {value}")]);
        fact("node", judged.node.as_str())?;
        fact("addresses", &addresses.join(", "))?;
        if let Some(site) = &node.site {
            fact("site", site)?;
        }
        fact("standing", &format!("{} since {}", judgement::standing(judged), local(state.at)))?;
        if let Some(pin) = &judged.pin {
            fact("pin", &format!("{} until {}: {}", pin.state, local(pin.until), pin.reason))?;
        }
        fact("verdict", &format!("{} [{}]", judged.verdict, judged.rule))?;
        fact("why", &judged.why)?;
        fact("in DNS", &judgement::in_dns(judged))?;
        let from = seen.now.minus(config.policy.window);
        let strikes = reader.view().strikes(&judged.node, from, seen.now).map_err(failed)?;
        fact("strikes", &format!("{} of {}", judged.strikes, config.policy.strikes))?;
        for strike in strikes {
            let faults: Vec<String> = strike.faults.iter().map(|(probe, fault)| format!("{probe} {fault}")).collect();
            print::say(&[&format!("  {}  {}", local(strike.at), faults.join(", "))])?;
        }
        let Some(round) = seen.round(state) else { continue };
        let rows = round.observations.iter().map(|one| {
            vec![
                one.probe.to_string().into(),
                one.address.to_string().into(),
                one.outcome.to_string().into(),
                span(Duration::from_micros(u64::from(one.measured.total_us))).into(),
                ago(one.at, seen.now).into(),
                one.measured.note.clone().unwrap_or_default().into(),
            ]
        });
        let head = ["PROBE", "ADDRESS", "RESULT", "TOOK", "WHEN"].map(Column::new).into_iter();
        print::table(head.chain([Column::new("NOTE").shrink(10)]).collect(), rows.collect())?;
    }
    Ok(())
}

fn as_json(seen: &Seen) -> Value {
    let node = |state: &NodeState| {
        let judged = &state.judged;
        let probes = seen.round(state).map(|round| round.observations.iter().map(observation).collect::<Vec<_>>());
        json!({
            "node": judged.node,
            "standing": judged.standing,
            "since": state.at.rfc3339(),
            "pin": judged.pin.as_ref().map(|pin| json!({
                "state": pin.state, "until": pin.until.rfc3339(), "reason": pin.reason,
            })),
            "verdict": judged.verdict,
            "rule": judged.rule,
            "why": judged.why,
            "strikes": judged.strikes,
            "in_dns": judged.in_dns,
            "probes": probes,
        })
    };
    json!({
        "at": seen.last.now.wall.rfc3339(),
        "age_s": seen.age().as_secs(),
        "judgement": seen.last.id,
        "fleet": seen.last.fleet,
        "vantage": seen.last.vantage,
        "nodes": seen.states.iter().map(node).collect::<Vec<_>>(),
        "holds": seen.holds,
    })
}

/// One observation as JSON shows it.
pub(super) fn observation(one: &Observation) -> Value {
    json!({
        "probe": one.probe,
        "address": one.address,
        "at": one.at.rfc3339(),
        "outcome": one.outcome.to_string(),
        "passed": one.outcome == Outcome::Passed,
        "measured": one.measured,
    })
}

/// One line and an exit code for monitoring.
fn check(config: &Config, seen: &Seen) -> Result<Exit, Failure> {
    let rhythm = config.policy.interval.max(Duration::from_secs(20));
    if seen.age() > 3 * rhythm {
        return unknown(&format!("the last tick was {}", ago(seen.last.now.wall, seen.now)));
    }
    let of = |standing: Standing| seen.states.iter().filter(|state| state.judged.standing == standing).count();
    let pinned = seen.states.iter().filter(|state| state.judged.pin.is_some()).count();
    let (suspect, withdrawn, probation) = (of(Standing::Suspect), of(Standing::Withdrawn), of(Standing::Probation));
    let at_floor = seen.holds.iter().any(|hold| hold.guard == Guard::Keep);
    let line = format!(
        "fleet {}: {} serving, {suspect} suspect, {withdrawn} withdrawn, {probation} in probation, {pinned} pinned",
        seen.last.fleet,
        of(Standing::Serving)
    );
    let critical = match seen.last.fleet {
        FleetVerdict::Overload | FleetVerdict::Isolated | FleetVerdict::Dark => true,
        FleetVerdict::Normal
        | FleetVerdict::SingleFault
        | FleetVerdict::MultiFault
        | FleetVerdict::PathTrouble
        | FleetVerdict::CommonFault
        | FleetVerdict::Blind => at_floor,
    };
    let (exit, word) = if critical {
        (Exit::CheckCritical, "CRITICAL")
    } else if suspect + withdrawn + probation + pinned > 0 {
        (Exit::CheckWarning, "WARNING")
    } else {
        (Exit::CheckOk, "OK")
    };
    let floor = if at_floor { ", a pool is at its floor" } else { "" };
    print::say(&[&format!("WITNESS {word} - {line}{floor}")])?;
    Ok(exit)
}

fn unknown(why: &str) -> Result<Exit, Failure> {
    print::say(&[&format!("WITNESS UNKNOWN - {why}")])?;
    Ok(Exit::CheckUnknown)
}
