//! `witness history`

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::{HistoryArgs, Kind};
use super::format::{WIDTH, clean, local, wrap};
use super::{json, open, print};
use crate::clock;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::ledger::{Event, EventKind, Happening, HistoryQuery};

pub(super) fn history(path: Option<PathBuf>, args: &HistoryArgs) -> Result<Exit, Failure> {
    let config = open::config_to_read(path)?;
    let since = config::duration(&args.since)
        .map_err(|error| Failure::usage(format!("--since: {error}; write it as 30m, 24h or 7d")))?;
    let reader = open::reader(&config)?;
    let now = clock::now();
    let query = HistoryQuery {
        node: args.node.clone(),
        from: now.minus(since),
        to: now,
        kinds: args.kind.iter().map(|kind| kind_of(*kind)).collect::<BTreeSet<_>>(),
        limit: args.limit,
    };
    let events = reader.view().history(&query).map_err(|error| open::ledger_failure(&error))?;
    if events.is_empty() {
        // A node that is not configured any more still has its history.
        if let Some(node) = &args.node {
            open::known_node(&config, node)?;
        }
        print::note(&format!("nothing of that kind happened in the last {}", args.since));
    }
    // One line for each event is what `grep` wants; at a terminal a long one goes on under itself.
    let terminal = std::io::stdout().is_terminal();
    let mut text = String::new();
    for event in &events {
        if args.json {
            text.push_str(&as_json(event).to_string());
        } else {
            text.push_str(&if terminal { folded(event) } else { line(event) });
        }
        text.push('\n');
    }
    print::out(&text)
}

fn kind_of(kind: Kind) -> EventKind {
    match kind {
        Kind::Strikes => EventKind::Strikes,
        Kind::Verdicts => EventKind::Verdicts,
        Kind::Changes => EventKind::Changes,
        Kind::Holds => EventKind::Holds,
        Kind::Probes => EventKind::Probes,
    }
}

fn head(event: &Event) -> String {
    let number = event.judgement.map(|id| format!("#{id}")).unwrap_or_default();
    let node = event.node.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{}  {number:<6} {node:<10} ", local(event.at))
}

fn line(event: &Event) -> String {
    format!("{}{}", head(event), clean(&words(&event.what))).trim_end().to_owned()
}

fn folded(event: &Event) -> String {
    let head = head(event);
    // Under the node's name, which leaves more room than under the words.
    const UNDER: usize = 28;
    let mut lines = Vec::new();
    let mut rest = clean(&words(&event.what));
    let first = wrap(&rest, WIDTH.saturating_sub(head.chars().count()).max(20)).into_iter().next().unwrap_or_default();
    rest = rest.split_off(first.len().min(rest.len()));
    lines.push(format!("{head}{first}").trim_end().to_owned());
    lines.extend(wrap(&rest, WIDTH - UNDER).iter().map(|line| format!("{}{line}", " ".repeat(UNDER))));
    lines.join("\n")
}

fn words(what: &Happening) -> String {
    match what {
        Happening::Observed(one) => {
            let note = one.measured.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
            format!("{} {} {}{note}", one.probe, one.address, one.outcome)
        }
        Happening::Struck(strike) => {
            format!("strike: {}", print::faults(strike))
        }
        Happening::Fleet { fleet, vantage } => format!("fleet {fleet}, vantage {vantage}"),
        Happening::Judged(state) => {
            format!("{}, {} [{}] {}", state.judged.standing, state.judged.verdict, state.judged.rule, state.judged.why)
        }
        Happening::Held(hold) => format!("held: {} by guard {}: {}", hold.what.kind, hold.what.guard, hold.what.why),
        Happening::Requested(request) => {
            let kind = match request.kind {
                crate::model::RequestKind::Withdraw => "withdraw",
                crate::model::RequestKind::Reinstate => "reinstate",
            };
            let force = if request.force { " --force" } else { "" };
            format!("asked for: {kind}{force} {}", request.reason)
        }
        Happening::Decided(action) => format!("{} [{}] {}", action.what.kind, action.what.rule, action.what.why),
        Happening::Intent { id, state, note, plan } => {
            let lines: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
            let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
            format!("change {id} {state}: zone {} {}{note}", plan.zone, lines.join("; "))
        }
        Happening::Published(publication) => match publication.seen {
            Some(seen) => format!("change {} seen at {} at {}", publication.intent, publication.server, local(seen)),
            None => format!("change {} NOT seen at {}: {}", publication.intent, publication.server, publication.note),
        },
        Happening::Pinned(pin) => format!("pinned {} until {}: {}", pin.state, local(pin.until), pin.reason),
        Happening::Unpinned(pin) => format!("not pinned {} any more: {}", pin.state, pin.reason),
    }
}

/// One event as JSON shows it.
pub(super) fn as_json(event: &Event) -> Value {
    let (kind, detail) = match &event.what {
        Happening::Observed(one) => ("probe", json::observation(one)),
        Happening::Struck(strike) => ("strike", json!({ "faults": json::faults(strike) })),
        Happening::Fleet { fleet, vantage } => ("fleet", json!({"fleet": fleet, "vantage": vantage})),
        Happening::Judged(state) => ("verdict", json::node(&state.judged)),
        Happening::Held(hold) => ("hold", json!(hold.what)),
        Happening::Requested(request) => ("request", json!(request)),
        Happening::Decided(action) => ("action", json!(action.what)),
        Happening::Intent { id, state, note, plan } => {
            ("change", json!({"id": id, "state": state, "note": note, "plan": plan}))
        }
        Happening::Published(publication) => (
            "publication",
            json!({
                "change": publication.intent,
                "server": publication.server,
                "seen": json::time(publication.seen),
                "note": publication.note,
            }),
        ),
        Happening::Pinned(pin) => ("pin", json::pin(pin)),
        Happening::Unpinned(pin) => ("unpin", json::pin(pin)),
    };
    json!({
        "at": event.at.rfc3339(),
        "judgement": event.judgement,
        "node": event.node,
        "kind": kind,
        "detail": detail,
    })
}
