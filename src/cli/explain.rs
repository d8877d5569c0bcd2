//! `witness explain`: the chain from observations to decision.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::ExplainArgs;
use super::format::{local, wrap};
use super::{judgement, open, print, status};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::ledger::{Chain, NodeState};
use crate::model::{Name, NodeId, Outcome, Round};

pub(super) fn explain(path: Option<PathBuf>, args: &ExplainArgs) -> Result<Exit, Failure> {
    let config = open::config_to_read(path)?;
    let reader = open::reader(&config)?;
    let view = reader.view();
    let failed = |error| open::ledger_failure(&error);
    let (id, node) = match args.target.as_deref().map(|target| (target, target.parse::<i64>())) {
        None => (view.latest().map_err(failed)?.map(|last| last.id), None),
        Some((_, Ok(number))) => (Some(number), None),
        Some((text, Err(_))) => {
            let node: NodeId = Name::new(text).map_err(|error| Failure::usage(error.to_string()))?;
            open::known_node(&config, &node)?;
            // Its last news, which a long quiet time does not bury.
            (view.last_news(Some(&node)).map_err(failed)?, Some(node))
        }
    };
    let Some(id) = id else {
        print::note("there was no tick yet; `witness once` or `witness run` makes one");
        return Ok(Exit::Done);
    };
    let Some(chain) = view.chain(id, node.as_ref()).map_err(failed)? else {
        return Err(Failure::usage(format!("there is no judgement {id} in the ledger; `witness history` lists them")));
    };
    if args.json {
        print::json(&as_json(&chain))?
    } else {
        tell(&config, &chain, node.is_some())?
    }
    Ok(Exit::Done)
}

fn tell(config: &Config, chain: &Chain, one_node: bool) -> Result<(), Failure> {
    let row = &chain.judgement;
    let mut text = Vec::new();
    text.push(format!("judgement {} at {}", row.id, local(row.now.wall)));
    text.push(match row.anchors {
        Some(anchors) => format!("  {} of {} anchors answered: vantage {}", anchors.ok, anchors.of, row.vantage),
        None => format!("  vantage {} (no look at anchors in this tick)", row.vantage),
    });
    text.push(format!("  fleet {}; {} rounds came in, {} of them failed", row.fleet, row.rounds, row.failed_rounds));
    if let Some(request) = &row.request {
        text.push(format!("  a person asked for it: {:?} {} {}", request.kind, request.node, request.reason));
    }
    for state in &chain.nodes {
        text.push(String::new());
        tell_node(config, chain, state, one_node, &mut text);
    }
    if !chain.intents.is_empty() {
        text.push(String::new());
    }
    for (intent, publications) in &chain.intents {
        for change in &intent.plan.changes {
            text.push(format!("change {}: zone {} {change}", intent.id, intent.plan.zone));
        }
        text.push(format!("  {} at {}: {}", intent.state, local(intent.state_at), intent.note));
        for publication in publications {
            text.push(match publication.seen {
                Some(seen) => format!("  name server {} showed it at {}", publication.server, local(seen)),
                None => format!("  name server {} did not show it: {}", publication.server, publication.note),
            });
        }
    }
    let lines: Vec<String> = text.iter().flat_map(|line| wrap(line, 80)).collect();
    print::say(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

fn tell_node(config: &Config, chain: &Chain, state: &NodeState, one_node: bool, text: &mut Vec<String>) {
    let judged = &state.judged;
    text.push(format!("{}: {}, {} by rule {}", judged.node, judgement::standing(judged), judged.verdict, judged.rule));
    let rounds: Vec<&Round> = chain.rounds.iter().filter(|round| round.node == judged.node).collect();
    let evidence = rounds.last().copied().or(state.evidence.as_ref());
    if let Some(round) = evidence.filter(|round| one_node || round.failed()) {
        for one in &round.observations {
            let note = one.measured.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
            text.push(format!("  saw {} {}: {}{note}", one.probe, one.address, seen(one)));
        }
    }
    for strike in chain.strikes.get(&judged.node).into_iter().flatten() {
        let faults: Vec<String> = strike.faults.iter().map(|(probe, fault)| format!("{probe} {fault}")).collect();
        text.push(format!("  strike at {}: {}", local(strike.at), faults.join(", ")));
    }
    text.push(format!(
        "  {} strikes in the window of {} min; {} nominate",
        judged.strikes,
        config.policy.window.as_secs() / 60,
        config.policy.strikes
    ));
    text.push(format!("  concluded: {}", judged.why));
    for action in chain.actions.iter().filter(|action| action.what.node.as_ref() == Some(&judged.node)) {
        text.push(format!("  decided: {} by rule {}: {}", action.what.kind, action.what.rule, action.what.why));
    }
    for hold in chain.holds.iter().filter(|hold| hold.what.node == judged.node) {
        text.push(format!("  held: {} refused by guard {}: {}", hold.what.kind, hold.what.guard, hold.what.why));
    }
}

fn seen(one: &crate::model::Observation) -> String {
    match one.outcome {
        Outcome::Passed => format!("passed in {} ms", one.measured.total_us / 1000),
        Outcome::Failed(fault) => format!("failed, {fault}"),
        Outcome::Inconclusive(own) => format!("could not tell, {}", own.name()),
    }
}

fn as_json(chain: &Chain) -> Value {
    let row = &chain.judgement;
    json!({
        "judgement": row.id,
        "at": row.now.wall.rfc3339(),
        "fleet": row.fleet,
        "vantage": row.vantage,
        "anchors": row.anchors,
        "request": row.request,
        "nodes": chain.nodes.iter().map(|state| &state.judged).collect::<Vec<_>>(),
        "rounds": chain.rounds.iter().map(|round| json!({
            "node": round.node,
            "started": round.started.rfc3339(),
            "finished": round.finished.rfc3339(),
            "observations": round.observations.iter().map(status::observation).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "strikes": chain.strikes.iter().map(|(node, strikes)| json!({
            "node": node,
            "strikes": strikes.iter().map(|strike| json!({
                "at": strike.at.rfc3339(),
                "faults": strike.faults.iter().map(|(probe, fault)| format!("{probe} {fault}")).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "actions": chain.actions.iter().map(|action| &action.what).collect::<Vec<_>>(),
        "holds": chain.holds.iter().map(|hold| &hold.what).collect::<Vec<_>>(),
        "changes": chain.intents.iter().map(|(intent, publications)| json!({
            "id": intent.id,
            "state": intent.state,
            "note": intent.note,
            "plan": intent.plan,
            "name_servers": publications.iter().map(|publication| json!({
                "server": publication.server,
                "seen": publication.seen.map(crate::model::Time::rfc3339),
                "note": publication.note,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
