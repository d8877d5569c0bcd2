//! `witness status`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::StatusArgs;
use super::format::{Cell, Column, ago, local};
use super::{json, judgement, open, print};
use crate::clock;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::ledger::{JudgementRow, LedgerError, NodeState, Reader};
use crate::model::{
    FleetVerdict, Guard, Hold, LoadFigure, Memory, NodeId, Observation, Outcome, Policy, Pool, Round, Standing, Strike,
    Time, Vantage,
};

const NO_TICK: &str = "there was no tick yet; `witness once` or `witness run` makes one";

pub(super) fn status(path: Option<PathBuf>, args: &StatusArgs) -> Result<Exit, Failure> {
    if args.check {
        // For a monitoring system, what keeps us from knowing is the third state, whatever it is.
        return match look(path, args.node.as_ref()) {
            Ok((config, Some(seen))) => check(&config, &seen, args.node.as_ref()),
            Ok((_, None)) => unknown("there was no tick yet"),
            Err(failure) => unknown(&failure.message),
        };
    }
    let (config, seen) = look(path, args.node.as_ref())?;
    let Some(seen) = seen else {
        if args.json {
            print::json(&json!({
                "at": null, "age_s": null, "judgement": null, "fleet": FleetVerdict::Blind, "vantage": Vantage::Blind,
                "nodes": [], "holds": [],
            }))?;
        }
        print::note(NO_TICK);
        return Ok(Exit::Done);
    };
    if args.json {
        return print::json(&as_json(&seen, args.node.as_ref())).map(|()| Exit::Done);
    }
    match &args.node {
        Some(node) => detail(&config, &seen, node)?,
        None => table(&config, &seen)?,
    }
    if seen.is_overdue(&config.policy) {
        print::note("no tick for more than 3 intervals; is `witness run` up, or cron with `witness once`?");
    }
    Ok(Exit::Done)
}

/// What the ledger knows.
struct Seen {
    last: JudgementRow,
    /// Of every node that is configured, with the pins that lie over them now.
    states: Vec<NodeState>,
    holds: Vec<Hold>,
    rounds: Vec<Round>,
    loads: Vec<LoadFigure>,
    /// Of the one node that was asked for.
    strikes: Vec<Strike>,
    memory: Memory,
    now: Time,
}

/// Reads configuration and ledger; nothing is seen before the first tick.
fn look(path: Option<PathBuf>, node: Option<&NodeId>) -> Result<(Config, Option<Seen>), Failure> {
    let config = open::config_to_read(path)?;
    if let Some(node) = node {
        open::known_node(&config, node)?;
    }
    let reader = open::reader(&config)?;
    let seen = read(&config, &reader, node).map_err(|error| open::ledger_failure(&error))?;
    Ok((config, seen))
}

fn read(config: &Config, reader: &Reader, node: Option<&NodeId>) -> Result<Option<Seen>, LedgerError> {
    let now = clock::now();
    let view = reader.view();
    let Some(last) = view.latest()? else { return Ok(None) };
    let pins = view.pins(now)?;
    let mut states = view.states(last.id, None)?;
    states.retain(|state| config.fleet.nodes.contains_key(&state.judged.node));
    let mut readings = BTreeMap::new();
    for pool in config.fleet.pools.keys() {
        // Not where the registrar could not be read since.
        let known = states.iter().any(|state| state.judged.in_dns.contains_key(pool));
        if let Some((_, sets)) = view.last_reading(pool)?.filter(|_| known) {
            readings.insert(pool.clone(), sets);
        }
    }
    for state in &mut states {
        for pool in config.fleet.pools_of(&state.judged.node) {
            // What the registrar was last seen to hold is newer than the judgement that led to a change.
            if let Some(sets) = readings.get(&pool.id) {
                let addresses = &config.fleet.nodes[&state.judged.node].addresses;
                let is_in = sets.values().any(|set| addresses.iter().any(|address| set.addresses.contains(address)));
                state.judged.in_dns.insert(pool.id.clone(), is_in);
            }
        }
        // A pin that was set or ended since the last tick is in force already.
        state.judged.pin = pins.iter().find(|pin| pin.node == state.judged.node).cloned();
    }
    let (holds, _) = view.standing()?;
    let rounds = view.last_rounds(node)?;
    let loads = view.last_loads(node)?;
    let strikes = match node {
        Some(node) => view.strikes(node, now.minus(config.policy.window), now)?,
        None => Vec::new(),
    };
    Ok(Some(Seen { last, states, holds, rounds, loads, strikes, memory: view.memory()?, now }))
}

impl Seen {
    fn round(&self, state: &NodeState) -> Option<&Round> {
        self.rounds.iter().find(|round| round.node == state.judged.node)
    }

    fn loads(&self, state: &NodeState) -> impl Iterator<Item = &LoadFigure> {
        self.loads.iter().filter(|figure| figure.node == state.judged.node)
    }

    fn age(&self) -> Duration {
        self.now.since(self.last.now.wall)
    }

    /// Whether there was no tick within three intervals: the configured one, or cron's where that is longer.
    fn is_overdue(&self, policy: &Policy) -> bool {
        let mut rhythm: Vec<i64> = self.memory.rhythm_ms.iter().copied().collect();
        rhythm.sort_unstable();
        let usual = rhythm.get(rhythm.len().saturating_sub(1) / 2).copied().unwrap_or(0);
        let usual = Duration::from_millis(u64::try_from(usual).unwrap_or(0));
        self.age() > 3 * usual.max(policy.interval)
    }

    /// Since when a node stands where it does.
    fn since(&self, state: &NodeState) -> Time {
        let remembered = self.memory.nodes.get(&state.judged.node).and_then(|node| node.standing_since);
        remembered.unwrap_or(state.at)
    }

    fn of<'a>(&'a self, node: Option<&'a NodeId>) -> impl Iterator<Item = &'a NodeState> {
        self.states.iter().filter(move |state| node.is_none_or(|node| state.judged.node == *node))
    }
}

fn table(config: &Config, seen: &Seen) -> Result<(), Failure> {
    headline(seen)?;
    let kinds = config.probes.kinds();
    let mut head: Vec<Column> = judgement::HEAD.map(Column::new).into();
    head.extend(kinds.iter().map(|kind| Column::new(&kind.name().to_uppercase()).shrink(9)));
    let rows = seen.states.iter().map(|state| {
        let mut row = judgement::row(&state.judged, config);
        row.extend(kinds.iter().map(|kind| {
            let round = seen.round(state).map_or(&[] as &[Observation], |round| &round.observations);
            Cell::from(worst(round.iter().filter(|one| one.probe == *kind)))
        }));
        row
    });
    print::table(head, rows.collect())?;
    let mut text = String::new();
    for state in seen.states.iter().filter(|state| judgement::is_remarkable(&state.judged)) {
        text.push_str(&print::indented(0, &judgement::remark(&state.judged)));
    }
    for hold in &seen.holds {
        text.push_str(&print::indented(0, &print::hold(hold)));
    }
    print::out(&text).map(|_| ())
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

/// What to show of several addresses: the first that did not pass, else how long the first took.
fn worst<'a>(mut of_kind: impl Iterator<Item = &'a Observation> + Clone) -> String {
    match of_kind.clone().find(|one| one.outcome != Outcome::Passed).or_else(|| of_kind.next()) {
        None => "-".to_owned(),
        Some(one) if one.outcome == Outcome::Passed => {
            format!("ok {}", print::took(one.measured.rtt_us.unwrap_or(one.measured.total_us)))
        }
        Some(one) => one.outcome.to_string(),
    }
}

fn detail(config: &Config, seen: &Seen, node: &NodeId) -> Result<(), Failure> {
    headline(seen)?;
    for state in seen.of(Some(node)) {
        let judged = &state.judged;
        let configured = &config.fleet.nodes[node];
        let addresses: Vec<String> = configured.addresses.iter().map(ToString::to_string).collect();
        let mut text = String::new();
        let mut fact = |name: &str, value: &str| {
            text.push_str(&print::fact(name, value));
        };
        fact("node", node.as_str());
        fact("addresses", &addresses.join(", "));
        if let Some(site) = &configured.site {
            fact("site", site);
        }
        fact("standing", &format!("{} since {}", judged.standing, local(seen.since(state))));
        if let Some(pin) = &judged.pin {
            fact("pin", &format!("{} until {}: {}", pin.state, local(pin.until), pin.reason));
        }
        fact("verdict", &format!("{} [{}]", judged.verdict, judged.rule));
        fact("why", &judged.why);
        fact("in DNS", &judgement::in_dns(judged));
        for figure in seen.loads(state) {
            fact("load", &format!("{}, {}", print::carried(figure), ago(figure.at, seen.now)));
        }
        let window = config.policy.window.as_secs() / 60;
        let counting = format!("{} count, {} nominate", judged.strikes, config.policy.strikes);
        fact("strikes", &format!("{counting}; {} in the last {window} min", seen.strikes.len()));
        for strike in &seen.strikes {
            text.push_str(&print::indented(2, &format!("{}  {}", local(strike.at), print::faults(strike))));
        }
        for hold in seen.holds.iter().filter(|hold| hold.node == *node) {
            text.push_str(&print::indented(0, &print::hold(hold)));
        }
        print::out(&text)?;
        let Some(round) = seen.round(state) else { continue };
        let rows = round.observations.iter().map(|one| {
            vec![
                one.probe.to_string().into(),
                one.address.to_string().into(),
                one.outcome.to_string().into(),
                print::took(one.measured.total_us).into(),
                ago(one.at, seen.now).into(),
                one.measured.note.clone().unwrap_or_default().into(),
            ]
        });
        let head = ["PROBE", "ADDRESS", "RESULT", "TOOK", "WHEN"].map(Column::new).into_iter();
        print::table(head.chain([Column::new("NOTE").shrink(10)]).collect(), rows.collect())?;
    }
    Ok(())
}

fn as_json(seen: &Seen, only: Option<&NodeId>) -> Value {
    let node = |state: &NodeState| {
        let judged = &state.judged;
        let probes =
            seen.round(state).map(|round| round.observations.iter().map(json::observation).collect::<Vec<_>>());
        json!({
            "node": judged.node,
            "standing": judged.standing,
            "since": seen.since(state).rfc3339(),
            "pin": judged.pin.as_ref().map(json::pin),
            "verdict": judged.verdict,
            "rule": judged.rule,
            "why": judged.why,
            "strikes": judged.strikes,
            "in_dns": judged.in_dns,
            "probes": probes,
            "load": seen.loads(state).map(json::load).collect::<Vec<_>>(),
        })
    };
    let holds = seen.holds.iter().filter(|hold| only.is_none_or(|only| hold.node == *only));
    json!({
        "at": seen.last.now.wall.rfc3339(),
        "age_s": seen.age().as_secs(),
        "judgement": seen.last.id,
        "fleet": seen.last.fleet,
        "vantage": seen.last.vantage,
        "nodes": seen.of(only).map(node).collect::<Vec<_>>(),
        "holds": holds.collect::<Vec<_>>(),
    })
}

/// One line and an exit code for monitoring.
fn check(config: &Config, seen: &Seen, only: Option<&NodeId>) -> Result<Exit, Failure> {
    if seen.is_overdue(&config.policy) {
        return unknown(&format!("the last tick was {}", ago(seen.last.now.wall, seen.now)));
    }
    let of = |standing: Standing| seen.of(only).filter(|state| state.judged.standing == standing).count();
    let pinned = seen.of(only).filter(|state| state.judged.pin.is_some()).count();
    let (suspect, withdrawn, probation) = (of(Standing::Suspect), of(Standing::Withdrawn), of(Standing::Probation));
    let floors: Vec<&str> = config
        .fleet
        .pools
        .values()
        .filter(|pool| only.is_none_or(|only| pool.nodes.contains(only)) && is_at_floor(pool, &config.policy, seen))
        .map(|pool| pool.id.as_str())
        .collect();
    let mut line = format!(
        "fleet {}: {} serving, {suspect} suspect, {withdrawn} withdrawn, {probation} in probation, {pinned} pinned",
        seen.last.fleet,
        of(Standing::Serving)
    );
    for pool in &floors {
        line.push_str(&format!(", pool {pool} is at its floor"));
    }
    let fleet_critical = match seen.last.fleet {
        FleetVerdict::Overload | FleetVerdict::Isolated | FleetVerdict::Dark => true,
        FleetVerdict::Normal
        | FleetVerdict::SingleFault
        | FleetVerdict::MultiFault
        | FleetVerdict::PathTrouble
        | FleetVerdict::CommonFault
        | FleetVerdict::Blind => seen.last.vantage == Vantage::Isolated,
    };
    let (exit, word) = if fleet_critical || !floors.is_empty() {
        (Exit::CheckCritical, "CRITICAL")
    } else if suspect + withdrawn + probation + pinned > 0 {
        (Exit::CheckWarning, "WARNING")
    } else {
        (Exit::CheckOk, "OK")
    };
    print::say(&[&format!("WITNESS {word} - {line}")])?;
    Ok(exit)
}

/// Whether the guard would let no further node go: counted as it counts, pinned, withdrawn and unknown nodes as gone. A
/// pool that never had more nodes than must stay is at its floor only once one of them is gone.
fn is_at_floor(pool: &Pool, policy: &Policy, seen: &Seen) -> bool {
    let stays = |state: &&NodeState| {
        let judged = &state.judged;
        pool.nodes.contains(&judged.node)
            && matches!(judged.standing, Standing::Serving | Standing::Suspect)
            && judged.pin.is_none()
            // Where the registrar could not be read, the standing is what is known.
            && judged.in_dns.get(&pool.id).copied().unwrap_or(true)
    };
    let stay = seen.states.iter().filter(stays).count();
    let held = |hold: &Hold| hold.guard == Guard::Keep && hold.pool.as_ref() == Some(&pool.id);
    seen.holds.iter().any(held) || (stay <= policy.keep as usize && stay < pool.nodes.len())
}

fn unknown(why: &str) -> Result<Exit, Failure> {
    print::say(&[&format!("WITNESS UNKNOWN - {why}")])?;
    Ok(Exit::CheckUnknown)
}
