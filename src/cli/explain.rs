//! `witness explain`: the chain from observations to decision, in words.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::ExplainArgs;
use super::format::local;
use super::{json, judgement, open, print};
use crate::clock;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::ledger::{Chain, EventKind, Happening, HistoryQuery, LedgerError, NodeState, Standpoint, View};
use crate::model::{
    Action, ActionKind, Ask, AskOutcome, Evidence, Name, NodeId, Observation, Outcome, Reinstatement, RequestKind,
    Round, Standing, Time,
};

pub(super) fn explain(path: Option<PathBuf>, args: &ExplainArgs) -> Result<Exit, Failure> {
    let config = open::config_to_read(path)?;
    let reader = open::reader(&config)?;
    let view = reader.view();
    let failed = |error| open::ledger_failure(&error);
    let (id, node) = match &args.target {
        None => (view.latest().map_err(failed)?.map(|last| last.id), None),
        Some(text) => match target(&config, text)? {
            Target::Judgement(number) => (Some(number), None),
            // Its last news, which a long quiet time does not bury.
            Target::Node(node) => (view.last_news(Some(&node)).map_err(failed)?, Some(node)),
        },
    };
    let Some(id) = id else {
        if args.json {
            print::json(&Value::Null)?;
        }
        print::note("there was no tick yet; `witness once` or `witness run` makes one");
        return Ok(Exit::Done);
    };
    let Some(chain) = view.chain(id, node.as_ref()).map_err(failed)? else {
        return Err(Failure::usage(format!("there is no judgement {id} in the ledger; `witness history` lists them")));
    };
    if args.json {
        print::json(&as_json(&chain))?;
        return Ok(Exit::Done);
    }
    let mut text = opening(&chain);
    match &node {
        Some(node) => {
            let before = decided_before(&view, node, id).map_err(failed)?;
            for state in &chain.nodes {
                text.push('\n');
                text.push_str(&of_node(&config, &chain, state));
            }
            text.push_str(&done(&chain, Some(node)));
            if let Some((at, number, action)) = before {
                text.push_str("\nbefore\n");
                let what = print::action(&action);
                text.push_str(&print::indented(2, &format!("{} (judgement {number}): {what}", local(at))));
            }
        }
        None => text.push_str(&of_fleet(&config, &chain)),
    }
    print::out(&text)
}

enum Target {
    Node(NodeId),
    Judgement(i64),
}

/// A node where there is one of that name, else the number of a judgement.
fn target(config: &Config, text: &str) -> Result<Target, Failure> {
    let name = Name::new(text).map_err(|error| Failure::usage(error.to_string()));
    match (text.parse::<i64>(), name) {
        (_, Ok(node)) if config.fleet.nodes.contains_key(&node) => Ok(Target::Node(node)),
        (Ok(number), _) => Ok(Target::Judgement(number)),
        (Err(_), name) => {
            let node = name?;
            open::known_node(config, &node)?;
            Ok(Target::Node(node))
        }
    }
}

/// When and what was last decided about a node before a judgement.
fn decided_before(view: &View<'_>, node: &NodeId, id: i64) -> Result<Option<(Time, i64, Action)>, LedgerError> {
    let query = HistoryQuery {
        node: Some(node.clone()),
        from: Time(0),
        to: clock::now(),
        kinds: [EventKind::Changes].into(),
        limit: 200,
    };
    let events = view.history(&query)?;
    let decided = events.into_iter().rev().find_map(|event| match event.what {
        Happening::Decided(Standpoint { judgement, at, what, .. })
            if judgement < id && matches!(what.kind, ActionKind::Withdraw | ActionKind::Reinstate) =>
        {
            Some((at, judgement, what))
        }
        _ => None,
    });
    Ok(decided)
}

fn opening(chain: &Chain) -> String {
    let row = &chain.judgement;
    let mut text = print::indented(
        0,
        &format!("judgement {} at {}: fleet {}, vantage {}", row.id, local(row.now.wall), row.fleet, row.vantage),
    );
    if let Some((rule, why)) = &row.fleet_because {
        text.push_str(&print::indented(2, &format!("the fleet is called {} by rule {rule}: {why}", row.fleet)));
    }
    let rounds = format!("{} came in, {} failed", counted(row.rounds, "round"), row.failed_rounds);
    text.push_str(&print::indented(
        2,
        &match row.anchors {
            Some(anchors) => format!("{rounds}; {} of {} anchors answered", anchors.ok, anchors.of),
            None => format!("{rounds}; no anchor was asked"),
        },
    ));
    if let Some(request) = &row.request {
        let kind = match request.kind {
            RequestKind::Withdraw => "withdraw",
            RequestKind::Reinstate => "reinstate",
        };
        let force = if request.force { " --force" } else { "" };
        let reason = if request.reason.is_empty() { "no reason given" } else { &request.reason };
        text.push_str(&print::indented(2, &format!("a person asked: {kind} {}{force} ({reason})", request.node)));
    }
    text
}

fn counted(count: u32, noun: &str) -> String {
    super::format::counted(count as usize, noun)
}

/// Every node that there is something to say of, the others on one line.
fn of_fleet(config: &Config, chain: &Chain) -> String {
    let concerned = |state: &&NodeState| {
        let node = &state.judged.node;
        judgement::is_remarkable(&state.judged)
            || state.judged.strikes > 0
            || chain.actions.iter().any(|action| action.what.node.as_ref() == Some(node))
            || chain.holds.iter().any(|hold| hold.what.node == *node)
    };
    let mut text = String::new();
    for state in chain.nodes.iter().filter(concerned) {
        text.push('\n');
        text.push_str(&of_node(config, chain, state));
    }
    let quiet: Vec<&str> =
        chain.nodes.iter().filter(|state| !concerned(state)).map(|state| state.judged.node.as_str()).collect();
    if !quiet.is_empty() {
        text.push('\n');
        text.push_str(&print::indented(0, &format!("serving and healthy, without a strike: {}", quiet.join(", "))));
    }
    text + &done(chain, None)
}

/// One node: what was seen, what was concluded, why nothing else, what the guards said.
fn of_node(config: &Config, chain: &Chain, state: &NodeState) -> String {
    let judged = &state.judged;
    let node = &judged.node;
    let mut text = format!("{node}: standing {}, verdict {}\n", judgement::standing(judged), judged.verdict);
    text.push_str("  seen\n");
    let evidence = chain.rounds.iter().rfind(|round| round.node == *node).or(state.evidence.as_ref());
    for one in evidence.iter().flat_map(|round| &round.observations) {
        text.push_str(&print::indented(4, &seen(one)));
    }
    if evidence.is_none() {
        text.push_str("    nothing in this judgement\n");
    }
    for load in chain.loads.iter().filter(|load| load.node == *node) {
        text.push_str(&print::indented(4, &format!("carries {} at {}", print::carried(load), local(load.at))));
    }
    for ask in chain.asks.iter().filter(|ask| ask.node == *node) {
        text.push_str(&print::indented(4, &said(ask)));
    }
    if judged.evidence != Evidence::NoData {
        text.push_str(&print::indented(4, &format!("class of evidence: {}", judged.evidence)));
    }
    let strikes: Vec<_> = chain.strikes.get(node).into_iter().flatten().collect();
    let window = config.policy.window.as_secs() / 60;
    text.push_str(&print::indented(
        4,
        &format!(
            "{} in the {window} min window; {} nominate",
            counted(judged.strikes, "strike"),
            config.policy.strikes
        ),
    ));
    for strike in strikes {
        text.push_str(&print::indented(4, &format!("{} {}", local(strike.at), print::faults(strike))));
    }
    text.push_str("  concluded\n");
    text.push_str(&print::indented(4, &format!("by rule {}: {}", judged.rule, judged.why)));
    let reasons = why_nothing_else(config, chain, state, evidence);
    if !reasons.is_empty() {
        text.push_str("  why nothing else\n");
    }
    for reason in reasons {
        text.push_str(&print::indented(4, &reason));
    }
    let holds: Vec<_> = chain.holds.iter().filter(|hold| hold.what.node == *node).collect();
    if !holds.is_empty() {
        text.push_str("  guards\n");
    }
    for hold in holds {
        let what = &hold.what;
        let pool = what.pool.as_ref().map(|pool| format!(" from pool {pool}")).unwrap_or_default();
        text.push_str(&print::indented(4, &format!("{} held {}{pool}: {}", what.guard, what.kind, what.why)));
    }
    let actions: Vec<_> = chain.actions.iter().filter(|action| action.what.node.as_ref() == Some(node)).collect();
    if !actions.is_empty() {
        text.push_str("  decided\n");
    }
    for action in actions {
        text.push_str(&print::indented(4, &print::action(&action.what)));
    }
    text
}

fn seen(one: &Observation) -> String {
    let result = match one.outcome {
        Outcome::Passed => format!("passed in {}", print::took(one.measured.total_us).trim_start()),
        Outcome::Failed(fault) => format!("failed: {fault}"),
        Outcome::Inconclusive(own) => format!("could not tell: {}", own.name()),
    };
    let note = one.measured.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    format!("{} {} {result}{note}", one.probe, one.address)
}

/// What another vantage point said.
fn said(ask: &Ask) -> String {
    let came = match ask.outcome {
        AskOutcome::Reached => "reached it",
        AskOutcome::Nothing => "tried it, and nothing came back",
        AskOutcome::Unknown => "could not tell",
    };
    let times = if ask.tries > 1 { format!(", {} times", ask.tries) } else { String::new() };
    format!("{} {came}{times}", ask.via)
}

/// What a reader might have expected to happen instead, and what spoke against it.
fn why_nothing_else(config: &Config, chain: &Chain, state: &NodeState, evidence: Option<&Round>) -> Vec<String> {
    let judged = &state.judged;
    let policy = &config.policy;
    let mut reasons = Vec::new();
    if let Some(pin) = &judged.pin {
        reasons.push(format!("pinned {} until {}: {}", pin.state, local(pin.until), pin.reason));
    }
    let withdrawn = chain
        .actions
        .iter()
        .any(|action| action.what.kind == ActionKind::Withdraw && action.what.node.as_ref() == Some(&judged.node));
    let failed = evidence.is_some_and(Round::failed);
    let by_hand = judged.why.contains("only a person");
    match judged.standing {
        Standing::Serving | Standing::Suspect if judged.strikes > 0 && judged.strikes < policy.strikes => {
            reasons.push(format!("not withdrawn: {} of {} strikes", judged.strikes, policy.strikes));
        }
        Standing::Serving | Standing::Suspect => {}
        Standing::Withdrawn if withdrawn => {}
        Standing::Withdrawn | Standing::Probation if by_hand => {
            reasons.push(format!("not put back: a person took it out; `witness reinstate {}` ends that", judged.node));
        }
        Standing::Withdrawn | Standing::Probation if policy.reinstate == Reinstatement::Manual => {
            reasons.push(format!(
                "not put back: policy.reinstate is \"manual\", so only `witness reinstate {}` does it",
                judged.node
            ));
        }
        Standing::Withdrawn if failed => reasons.push("not put back: its last round failed".to_owned()),
        Standing::Probation => {
            reasons.push("not put back yet: it has not been without a fault for long enough".to_owned())
        }
        Standing::Withdrawn => {}
    }
    let Some(round) = evidence.filter(|_| failed) else { return reasons };
    let passed: Vec<String> = round
        .observations
        .iter()
        .filter(|one| one.outcome == Outcome::Passed)
        .map(|one| format!("{} {}", one.probe, one.address))
        .collect();
    if !passed.is_empty() {
        reasons.push(format!("not dead: {} passed", passed.join(", ")));
    }
    if !round.strikes() {
        reasons.push("no strike: a node that says it has too much to do is alive, and honest".to_owned());
        return reasons;
    }
    let convicts = round.faults().any(|(probe, _)| policy.convict.contains(&probe));
    if !convicts && !withdrawn {
        let may: Vec<&str> = policy.convict.iter().map(|probe| probe.name()).collect();
        reasons.push(format!("not convicted: only {} may cost a node its record", may.join(" and ")));
    }
    reasons
}

/// What was changed, and what became of it.
fn done(chain: &Chain, node: Option<&NodeId>) -> String {
    let concerns = |action: &Action| node.is_none_or(|node| action.node.as_ref() == Some(node));
    let mut text = "\ndone\n".to_owned();
    let mut say = |indent, line: &str| text.push_str(&print::indented(indent, line));
    let mut changed = false;
    for (intent, publications) in chain.intents.iter().filter(|(intent, _)| intent.plan.because.iter().any(concerns)) {
        changed = true;
        for change in &intent.plan.changes {
            say(2, &format!("change {} of zone {}, {change}", intent.id, intent.plan.zone));
        }
        say(4, &format!("{} {}: {}", local(intent.state_at), intent.state, intent.note));
        for publication in publications {
            let server = &publication.server;
            match publication.seen {
                Some(seen) => say(4, &format!("{} name server {server} shows it", local(seen))),
                None => say(
                    4,
                    &format!("{} name server {server} does not show it: {}", local(publication.at), publication.note),
                ),
            }
        }
    }
    if !changed {
        say(2, "the DNS was not changed");
    }
    text
}

fn as_json(chain: &Chain) -> Value {
    let row = &chain.judgement;
    json!({
        "judgement": row.id,
        "at": row.now.wall.rfc3339(),
        "fleet": row.fleet,
        "fleet_rule": row.fleet_because.as_ref().map(|(rule, _)| rule),
        "fleet_why": row.fleet_because.as_ref().map(|(_, why)| why),
        "vantage": row.vantage,
        "anchors": row.anchors.as_ref().map(json::anchors),
        "request": row.request,
        "nodes": chain.nodes.iter().map(|state| json::node(&state.judged)).collect::<Vec<_>>(),
        "rounds": chain.rounds.iter().map(|round| json!({
            "node": round.node,
            "started": round.started.rfc3339(),
            "finished": round.finished.rfc3339(),
            "observations": round.observations.iter().map(json::observation).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "loads": chain.loads.iter().map(json::load).collect::<Vec<_>>(),
        "asks": chain.asks,
        "strikes": chain.strikes.iter().map(|(node, strikes)| json!({
            "node": node,
            "strikes": strikes.iter().map(json::strike).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "actions": chain.actions.iter().map(|action| &action.what).collect::<Vec<_>>(),
        "holds": chain.holds.iter().map(|hold| &hold.what).collect::<Vec<_>>(),
        "changes": chain.intents.iter().map(|(intent, publications)| json!({
            "id": intent.id,
            "at": intent.at.rfc3339(),
            "state": intent.state,
            "state_at": intent.state_at.rfc3339(),
            "note": intent.note,
            "plan": intent.plan,
            "name_servers": publications.iter().map(|publication| json!({
                "server": publication.server,
                "seen": json::time(publication.seen),
                "note": publication.note,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
