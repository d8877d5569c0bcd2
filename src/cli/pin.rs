//! `witness pin`, `witness unpin`

use std::path::PathBuf;

use super::args::{PinArgs, UnpinArgs};
use super::{block_on, format, open, print};
use crate::clock;
use crate::config;
use crate::exit::{Exit, Failure};
use crate::model::Pin;

pub(super) fn pin(path: Option<PathBuf>, args: &PinArgs) -> Result<Exit, Failure> {
    let config = open::config(path)?;
    open::known_node(&config, &args.node)?;
    let span = config::duration(&args.span).map_err(|error| Failure::usage(format!("--for: {error}")))?;
    if span.is_zero() {
        return Err(Failure::usage("--for: a pin needs a length, such as 2h"));
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
        ledger
            .call(move |ledger| ledger.pin(&pin))
            .await
            .map_err(|error| Failure::failed(format!("failed to write the pin down: {error}")))?;
        print::say(&[&said, "The daemon, or the next `witness once`, goes by it; so does every guard."])?;
        Ok(Exit::Done)
    })
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
        let said = if ended { format!("{node} is not pinned any more") } else { format!("{node} was not pinned") };
        print::say(&[&said])?;
        Ok(Exit::Done)
    })
}
