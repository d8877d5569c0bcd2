//! `witness pin`, `witness unpin`

use std::path::PathBuf;
use std::time::Duration;

use super::args::{PinArgs, UnpinArgs};
use super::{block_on, format, open, print};
use crate::clock;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::ledger::NodeState;
use crate::model::{Pin, PinState};

/// No pin lasts longer: one that never ends is a configuration.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn pin(path: Option<PathBuf>, args: &PinArgs) -> Result<Exit, Failure> {
    let config = open::config(path)?;
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
    let said = format!("{} is pinned {} until {}", pin.node, pin.state, format::local(pin.until));
    block_on(async move {
        let ledger = open::writer(&config)?;
        let refusals = if pin.state == PinState::Out { below_keep(&config, &pin)? } else { Vec::new() };
        ledger
            .call(move |ledger| ledger.pin(&pin))
            .await
            .map_err(|error| Failure::failed(format!("failed to write the pin down: {error}")))?;
        print::say(&[&said, "the daemon, or the next `witness once`, goes by it, and so does every guard"])?;
        for refusal in refusals {
            print::note(&refusal);
        }
        Ok(Exit::Done)
    })
}

/// In which pools the guard will refuse to take the node out, as things stand.
fn below_keep(config: &Config, pin: &Pin) -> Result<Vec<String>, Failure> {
    let reader = open::reader(config)?;
    let failed = |error| open::ledger_failure(&error);
    let Some(last) = reader.view().latest().map_err(failed)? else { return Ok(Vec::new()) };
    let states = reader.view().states(last.id, None).map_err(failed)?;
    let pins = reader.view().pins(pin.since).map_err(failed)?;
    let keep = config.policy.keep as usize;
    let said = config.fleet.pools_of(&pin.node).filter_map(|pool| {
        let stays = |state: &&NodeState| {
            let judged = &state.judged;
            judged.node != pin.node
                && pool.nodes.contains(&judged.node)
                && judged.in_dns.get(&pool.id) == Some(&true)
                && pins.iter().all(|other| other.node != judged.node)
        };
        let is_in =
            |state: &NodeState| state.judged.node == pin.node && state.judged.in_dns.get(&pool.id) == Some(&true);
        let stay = states.iter().filter(stays).count();
        (stay < keep && states.iter().any(is_in)).then(|| {
            format!(
                "{stay} of pool {} would stay and {keep} must: guard keep leaves {} in DNS, and whatever else is pinned \
                 out, until more of them serve",
                pool.id, pin.node
            )
        })
    });
    Ok(said.collect())
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
