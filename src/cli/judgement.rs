//! A tick's outcome, for people and as JSON.

use serde_json::{Value, json};

use super::format::{Cell, Column, Style, local};
use super::{json, print};
use crate::config::Config;
use crate::exit::Failure;
use crate::model::{ActionKind, NodeJudgement, NodeVerdict, Standing};
use crate::tick::{Outcome, Report};

/// The judgement as the contract has it, and the changes.
pub(super) fn as_json(report: &Report) -> Value {
    let judgement = &report.judgement;
    json!({
        "at": judgement.now.wall.rfc3339(),
        "judgement": report.id,
        "fleet": judgement.fleet,
        "vantage": judgement.vantage,
        "nodes": judgement.nodes.iter().map(json::node).collect::<Vec<_>>(),
        "probe": judgement.probe,
        "actions": judgement.actions,
        "holds": judgement.holds,
        "changes": report.changes.iter().map(change_as_json).collect::<Vec<_>>(),
        "failures": report.shortcomings().collect::<Vec<_>>(),
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

/// For people, on stdout: the table, then in words whatever is not as it should be. What failed is not in it.
pub(super) fn print(report: &Report, config: &Config) -> Result<(), Failure> {
    let judgement = &report.judgement;
    let number = report.id.map_or_else(|| "dry run".to_owned(), |id| format!("judgement {id}"));
    print::say(&[&format!(
        "{}  fleet {}, vantage {}  ({number})",
        local(judgement.now.wall),
        judgement.fleet,
        judgement.vantage
    )])?;
    let rows = judgement.nodes.iter().map(|node| row(&as_changed(node, report), config));
    print::table(HEAD.map(Column::new).into(), rows.collect())?;
    let mut text = String::new();
    for node in judgement.nodes.iter().filter(|node| is_remarkable(node)) {
        text.push_str(&print::indented(0, &remark(node)));
    }
    for action in &judgement.actions {
        text.push_str(&print::indented(0, &print::action(action)));
    }
    for hold in &judgement.holds {
        text.push_str(&print::indented(0, &print::hold(hold)));
    }
    for change in &report.changes {
        let state = change.state.map_or("would be changed", crate::model::IntentState::name);
        for line in &change.plan.changes {
            text.push_str(&print::indented(0, &format!("zone {} {state}: {line}", change.plan.zone)));
        }
    }
    print::out(&text).map(|_| ())
}

/// The node as it is in DNS after the changes that the registrar confirmed.
fn as_changed(node: &NodeJudgement, report: &Report) -> NodeJudgement {
    let mut node = node.clone();
    for change in report.changes.iter().filter(|change| change.is_written()) {
        for action in change.plan.because.iter().filter(|action| action.node.as_ref() == Some(&node.node)) {
            node.in_dns.insert(change.plan.pool.clone(), action.kind == ActionKind::Reinstate);
        }
    }
    node
}

/// What every table of nodes begins with.
pub(super) const HEAD: [&str; 5] = ["NODE", "STANDING", "VERDICT", "STRIKES", "DNS"];

/// A node's cells under [`HEAD`].
pub(super) fn row(node: &NodeJudgement, config: &Config) -> Vec<Cell> {
    vec![
        node.node.to_string().into(),
        Cell::styled(style(node), standing(node)),
        node.verdict.to_string().into(),
        format!("{}/{}", node.strikes, config.policy.strikes).into(),
        in_dns(node).into(),
    ]
}

/// Whether there is more to say of a node than a row of a table does.
pub(super) fn is_remarkable(node: &NodeJudgement) -> bool {
    node.standing != Standing::Serving || node.verdict != NodeVerdict::Healthy || node.pin.is_some()
}

/// Why a node is what it is, on one line.
pub(super) fn remark(node: &NodeJudgement) -> String {
    let pin = match &node.pin {
        Some(pin) => format!("; pinned {} until {}: {}", pin.state, local(pin.until), pin.reason),
        None => String::new(),
    };
    format!("{}: {}{pin}", node.node, node.why)
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
