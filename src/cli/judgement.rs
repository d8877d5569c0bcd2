//! A tick's outcome, for people and as JSON.

use serde_json::{Value, json};

use super::format::{Cell, Column, Style, local};
use super::print;
use crate::config::Config;
use crate::exit::Failure;
use crate::model::{NodeJudgement, Standing};
use crate::tick::{Outcome, Report};

/// The judgement as the contract has it, and the changes.
pub(super) fn as_json(report: &Report) -> Value {
    let judgement = &report.judgement;
    json!({
        "at": judgement.now.wall.rfc3339(),
        "judgement": report.id,
        "fleet": judgement.fleet,
        "vantage": judgement.vantage,
        "nodes": judgement.nodes,
        "probe": judgement.probe,
        "actions": judgement.actions,
        "holds": judgement.holds,
        "changes": report.changes.iter().map(change_as_json).collect::<Vec<_>>(),
        "failures": report.failures,
    })
}

fn change_as_json(change: &Outcome) -> Value {
    json!({
        "pool": change.plan.pool,
        "zone": change.plan.zone,
        "sets": change.plan.changes,
        "state": change.state,
        "intent": change.intent,
        "note": change.note,
    })
}

pub(super) fn print(report: &Report, config: &Config) -> Result<(), Failure> {
    let judgement = &report.judgement;
    let number = report.id.map_or_else(|| "dry run".to_owned(), |id| format!("judgement {id}"));
    print::say(&[&format!(
        "{}  fleet {}, vantage {}  ({number})",
        local(judgement.now.wall),
        judgement.fleet,
        judgement.vantage
    )])?;
    let rows = judgement.nodes.iter().map(|node| {
        vec![
            node.node.to_string().into(),
            Cell::styled(style(node), standing(node)),
            node.verdict.to_string().into(),
            format!("{}/{}", node.strikes, config.policy.strikes).into(),
            in_dns(node).into(),
            node.why.clone().into(),
        ]
    });
    let head = ["NODE", "STANDING", "VERDICT", "STRIKES", "DNS"].map(Column::new).into_iter();
    print::table(head.chain([Column::new("WHY").shrink(20)]).collect(), rows.collect())?;
    for action in &judgement.actions {
        let node = action.node.as_ref().map(ToString::to_string).unwrap_or_default();
        print::say(&[&format!("{} {node} [{}]: {}", action.kind, action.rule, action.why)])?;
    }
    for hold in &judgement.holds {
        print::say(&[&format!("held: {} {} by guard {}: {}", hold.kind, hold.node, hold.guard, hold.why)])?;
    }
    for change in &report.changes {
        let state = change.state.map_or("would be changed", crate::model::IntentState::name);
        for line in &change.plan.changes {
            print::say(&[&format!("zone {} {state}: {line}", change.plan.zone)])?;
        }
    }
    for failure in &report.failures {
        print::note(failure);
    }
    Ok(())
}

/// How a node's standing looks.
pub(super) fn style(node: &NodeJudgement) -> Style {
    match node.standing {
        Standing::Serving => Style::Good,
        Standing::Suspect | Standing::Probation => Style::Warning,
        Standing::Withdrawn => Style::Bad,
    }
}

/// The standing, and a pin over it.
pub(super) fn standing(node: &NodeJudgement) -> String {
    match &node.pin {
        Some(pin) => format!("{} (pinned {})", node.standing, pin.state),
        None => node.standing.to_string(),
    }
}

/// `yes`, `no`, `?`; for several pools, each that differs by name.
pub(super) fn in_dns(node: &NodeJudgement) -> String {
    let word = |is: bool| if is { "yes" } else { "no" };
    let mut values = node.in_dns.values();
    match values.next() {
        None => "?".to_owned(),
        Some(first) if values.all(|value| value == first) => word(*first).to_owned(),
        Some(_) => node.in_dns.iter().map(|(pool, is)| format!("{pool}:{}", word(*is))).collect::<Vec<_>>().join(" "),
    }
}
