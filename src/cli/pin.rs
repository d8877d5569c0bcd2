//! `witness pin`, `witness unpin`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::args::{PinArgs, UnpinArgs};
use super::{block_on, format, once, open, print};
use crate::clock;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::model::{ActionKind, Guard, Hold, Pin, PinState};

/// No pin lasts longer: one that never ends is a configuration.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn pin(path: Option<PathBuf>, args: &PinArgs) -> Result<Exit, Failure> {
    let config = Arc::new(open::config(path)?);
    open::known_node(&config, &args.node)?;
    let span = config::duration(&args.span)
        .map_err(|error| Failure::usage(format!("--for: {error}; write it as 30m, 2h or 1d")))?;
    if span.is_zero() {
        return Err(Failure::usage("--for: a pin needs a length, such as 2h"));
    }
    if span > LONGEST {
        return Err(Failure::usage("--for: every pin ends; write at most 365d"));
    }
    if args.reason.trim().is_empty() {
        return Err(Failure::usage("--reason: say why, for those who find it later"));
    }
    let now = clock::now();
    let pin = Pin {
        node: args.node.clone(),
        state: args.state,
        since: now,
        until: now.plus(span),
        reason: args.reason.trim().to_owned(),
    };
    let force = args.force;
    let said = format!("{} is pinned {} until {}", pin.node, pin.state, format::local(pin.until));
    block_on(async move {
        let ledger = open::writer(&config)?;
        let holds = if pin.state == PinState::Out { holds(&config, &pin).await? } else { Vec::new() };
        let refusals = holds.iter().filter_map(|hold| Some((hold, remedy(hold.guard)?)));
        for (hold, remedy) in refusals.clone() {
            print::note(&format!("pin {} out held by guard {}: {}; {remedy}", pin.node, hold.guard, hold.why));
        }
        if refusals.count() > 0 && !force {
            print::note("nothing was pinned; with --force it is, and leaves DNS when the others can do without it");
            return Ok(Exit::Refused);
        }
        ledger
            .call(move |ledger| ledger.pin(&pin))
            .await
            .map_err(|error| Failure::failed(format!("failed to write the pin down: {error}")))?;
        print::say(&[&said, "the daemon, or the next `witness once`, goes by it, and so does every guard"])?;
        for hold in holds.iter().filter(|hold| remedy(hold.guard).is_none()) {
            print::note(&format!("it stays in DNS for now, by guard {}: {}", hold.guard, hold.why));
        }
        Ok(Exit::Done)
    })
}

/// What the rule would say to the pin, by a fresh look at the node and its neighbours, and without leaving a trace. A pin
/// that no guard lets through would leave the node in DNS, whatever whoever pinned it believes.
async fn holds(config: &Arc<Config>, pin: &Pin) -> Result<Vec<Hold>, Failure> {
    let ledger = open::memory_only(config)?;
    let hypothetical = pin.clone();
    ledger
        .call(move |ledger| ledger.pin(&hypothetical))
        .await
        .map_err(|error| Failure::failed(format!("failed to try the pin: {error}")))?;
    let mut shell = open::shell(config, ledger, "pin")?;
    let gathered = once::observe(config, open::neighbours(config, &pin.node)).await?;
    let report = shell.dry_run(&gathered).await.map_err(open::tick_failure)?;
    let of_pin = |hold: &Hold| hold.node == pin.node && hold.kind == ActionKind::Withdraw;
    Ok(report.judgement.holds.into_iter().filter(of_pin).collect())
}

/// What to do where the others could not do without the node; none for guards that merely put it off.
fn remedy(guard: Guard) -> Option<&'static str> {
    if guard == Guard::Keep {
        return Some("unpin or reinstate another first, or wait until more of them serve");
    }
    (guard == Guard::Capacity).then_some("wait until there is less to carry, or put another in first")
}

pub(super) fn unpin(path: Option<PathBuf>, args: &UnpinArgs) -> Result<Exit, Failure> {
    let config = open::config(path)?;
    let node = args.node.clone();
    block_on(async move {
        let ledger = open::writer(&config)?;
        let id = node.clone();
        let ended = ledger
            .call(move |ledger| ledger.unpin(&id, clock::now()))
            .await
            .map_err(|error| Failure::failed(format!("failed to end the pin: {error}")))?;
        if !ended {
            // A pin of a node that has left the configuration can be ended, too.
            open::known_node(&config, &node)?;
        }
        let said = if ended { format!("{node} is not pinned any more") } else { format!("{node} was not pinned") };
        print::say(&[&said])?;
        Ok(Exit::Done)
    })
}
