//! `witness run`: the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use super::{block_on, once, open, print};
use crate::config::Config;
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::ledger::{LeaseGuard, LedgerHandle};
use crate::probe::Prober;

pub(super) fn run(config: Option<PathBuf>) -> Result<Exit, Failure> {
    let config = Arc::new(open::config_of_daemon(config)?);
    block_on(async move {
        let stop = daemon::Stop::new()?;
        let ledger = open::writer(&config)?;
        let Some(watch) = once::take_watch(&config, &ledger, "run", "").await? else {
            return Err(Failure::failed("failed to start: no two may watch with one database; stop the other first"));
        };
        let ended = watching(&config, &ledger, &watch, stop).await;
        if let Err(error) = once::leave(&ledger, watch).await {
            tracing::warn!(%error, "the lease could not be released; it ends with this process");
        }
        ended.map(|()| Exit::Done)
    })
}

async fn watching(
    config: &Arc<Config>,
    ledger: &LedgerHandle,
    watch: &LeaseGuard,
    stop: daemon::Stop,
) -> Result<(), Failure> {
    let shell = open::shell(config, ledger.clone(), "run")?;
    let prober = Prober::new(config.probes.clone())
        .map_err(|error| Failure::usage(format!("failed to set up the probes: {error}")))?;
    for notice in prober.notices() {
        print::note(&notice);
    }
    let hands = daemon::Hands { relays: open::relays(config)?, shedder: open::shedder(config)? };
    daemon::run(shell, Arc::new(prober), hands, open::retention(config), watch, stop).await
}
