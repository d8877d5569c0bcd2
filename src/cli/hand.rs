//! `witness reinstate`, `witness withdraw`: a person's word, after a look at the node.

use std::path::PathBuf;
use std::sync::Arc;

use super::args::HandArgs;
use super::{block_on, once, open, print};
use crate::exit::{Exit, Failure};
use crate::model::{ActionKind, Guard, Request, RequestKind};
use crate::tick::Report;

pub(super) fn hand(config: Option<PathBuf>, args: &HandArgs, kind: RequestKind) -> Result<Exit, Failure> {
    let config = Arc::new(open::config(config)?);
    open::known_node(&config, &args.node)?;
    block_on(async move {
        let ledger = open::writer(&config)?;
        let mut shell = open::shell(&config, ledger, kind_name(kind))?;
        let mut gathered = once::observe(&config, open::neighbours(&config, &args.node)).await?;
        let request = Request { node: args.node.clone(), kind, force: args.force, reason: args.reason.clone() };
        gathered.requests = vec![request];
        let shedder = open::shedder(&config)?;
        let report = once::act(&mut shell, shedder.as_ref(), &gathered).await?;
        if args.json {
            print::json(&super::judgement::as_json(&report))?;
        }
        let exit = conclude(&report, args, kind)?;
        once::prove(&shell, &report, config.witness.once_deadline).await?;
        Ok(exit)
    })
}

fn kind_name(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Withdraw => "withdraw",
        RequestKind::Reinstate => "reinstate",
    }
}

/// Says what came of it.
fn conclude(report: &Report, args: &HandArgs, kind: RequestKind) -> Result<Exit, Failure> {
    let say = |line: &str| if args.json { Ok(()) } else { print::say(&[line]) };
    let wanted = match kind {
        RequestKind::Withdraw => ActionKind::Withdraw,
        RequestKind::Reinstate => ActionKind::Reinstate,
    };
    let node = &args.node;
    let of_node = |change: &&crate::tick::Outcome| {
        change.plan.because.iter().any(|action| action.node.as_ref() == Some(node) && action.kind == wanted)
    };
    let mut acted = false;
    for change in report.changes.iter().filter(of_node) {
        acted = true;
        if !change.is_written() && change.state != Some(crate::model::IntentState::Unneeded) {
            return Err(Failure::failed(format!("failed to change zone {}: {}", change.plan.zone, change.note)));
        }
        for line in &change.plan.changes {
            say(&format!("{}: {line}", change.plan.zone))?;
        }
        say(&format!("{} {node}: {}", wanted, change.state.map_or("planned", crate::model::IntentState::name)))?;
    }
    // The whole fleet was judged; what else came of it is said, too.
    for action in report.judgement.actions.iter().filter(|action| action.node.as_ref() != Some(node)) {
        say(&format!("besides: {}", print::action(action)))?;
    }
    // Not what was asked for, and no reason to call that undone.
    report.untold.iter().for_each(|why| print::note(why));
    let mut refused = false;
    for hold in report.judgement.holds.iter().filter(|hold| hold.node == *node && hold.kind == wanted) {
        // Nobody refuses: it cannot be done as long as the registrar does not answer.
        if let (Guard::ZoneUnknown, Some(failure)) = (hold.guard, report.failures.first()) {
            return Err(Failure::failed(format!("failed to {wanted} {node}: {failure}")));
        }
        refused = true;
        print::note(&format!("{wanted} {node} held by guard {}: {}", hold.guard, hold.why));
    }
    if refused && !acted {
        return Ok(Exit::Refused);
    }
    if let Some(failure) = report.failures.first().filter(|_| !acted) {
        return Err(Failure::failed(format!("failed to {wanted} {node}: {failure}")));
    }
    if !acted {
        let state = if kind == RequestKind::Withdraw { "out of DNS already" } else { "in DNS already" };
        say(&format!("{node} is {state}: nothing to do"))?;
    }
    Ok(Exit::Done)
}
