//! `witness once`: one tick for cron, and more of them while a node is in doubt.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::args::OnceArgs;
use super::{block_on, doubt, open, print};
use crate::config::Config;
use crate::daemon::{WATCH_FOR, tell};
use crate::exit::{Exit, Failure};
use crate::ledger::{Holder, LeaseGuard, LeaseState, LedgerError, LedgerHandle};
use crate::model::Node;
use crate::probe::{Prober, sweep};
use crate::shed::Shedder;
use crate::tick::{Gathered, Report, Shell, TickError};
use crate::{clock, publish};

/// The lease that a process holds for as long as it watches: no two watch with one ledger.
const WATCH: &str = "watch";
/// Rows that one run may prune.
const PRUNE_ROWS: usize = 20_000;

pub(super) fn once(config: Option<PathBuf>, args: &OnceArgs) -> Result<Exit, Failure> {
    let config = Arc::new(open::config(config)?);
    block_on(async move {
        if args.dry_run {
            let ledger = open::memory_only(&config)?;
            let mut shell = open::shell(&config, ledger, "once --dry-run")?;
            let gathered = observe(&config, config.fleet.nodes.values()).await?;
            let report = shell.dry_run(&gathered).await.map_err(open::tick_failure)?;
            print(&report, &config, args.json)?;
            remark(&report);
            return Ok(exit_of(&report));
        }
        let ledger = open::writer(&config)?;
        let Some(watch) = take_watch(&config, &ledger, "once", "; nothing to do").await? else {
            return Ok(Exit::Done);
        };
        let ended = tick(&config, &ledger, args).await;
        let left = leave(&ledger, watch).await;
        let exit = ended?;
        left.map_err(|error| Failure::failed(format!("failed to release the lease: {error}")))?;
        Ok(exit)
    })
}

/// Gives the lease back, and leaves a ledger that is whole in its one file, for those who copy it.
pub(super) async fn leave(ledger: &LedgerHandle, watch: LeaseGuard) -> Result<(), LedgerError> {
    ledger
        .call(move |ledger| {
            ledger.release_lease(&watch)?;
            ledger.checkpoint()
        })
        .await
}

/// One tick with all that belongs to it.
async fn tick(config: &Arc<Config>, ledger: &LedgerHandle, args: &OnceArgs) -> Result<Exit, Failure> {
    let began = clock::Stopwatch::start();
    let mut shell = open::shell(config, ledger.clone(), "once")?;
    let prober = prober(config)?;
    let (rounds, anchors) = sweep(&prober, config.fleet.nodes.values().cloned()).await;
    prober.loads_settled().await;
    let loads = prober.loads();
    let (mut relays, shedder) = (open::relays(config)?, open::shedder(config)?);
    if let Some(relays) = &mut relays {
        rounds.iter().for_each(|round| relays.saw(round));
    }
    let gathered = Gathered { rounds, anchors, loads, ..Gathered::default() };
    let report = act(&mut shell, shedder.as_ref(), &gathered).await?;
    let report = doubt::settle(config, &mut shell, &prober, (relays, shedder.as_ref()), &began, report).await?;
    print(&report, config, args.json)?;
    if std::io::stdout().is_terminal() {
        // A person has just read it all.
        remark(&report);
    } else {
        tell(&report);
    }
    prove(&shell, &report, config.witness.once_deadline.saturating_sub(began.elapsed())).await?;
    let keep = open::retention(config);
    ledger
        .call(move |ledger| ledger.prune(clock::now(), &keep, PRUNE_ROWS))
        .await
        .map_err(|error| Failure::failed(format!("failed to remove old rows: {error}")))?;
    Ok(exit_of(&report))
}

/// Takes the lease of those who watch, or says who has it, and what `then` comes of it.
pub(super) async fn take_watch(
    config: &Config,
    ledger: &LedgerHandle,
    command: &str,
    then: &str,
) -> Result<Option<LeaseGuard>, Failure> {
    let holder = Holder::this(config.witness.name.as_str(), command);
    let now = clock::read();
    let lease = ledger
        .call(move |ledger| ledger.take_lease(WATCH, &holder, &now, WATCH_FOR))
        .await
        .map_err(|error| Failure::failed(format!("failed to take the lease: {error}")))?;
    match lease {
        LeaseState::Held(guard) => Ok(Some(guard)),
        LeaseState::Busy(by) => {
            print::note(&format!("{} is watching already{then}", by.holder));
            Ok(None)
        }
    }
}

/// A tick, waiting a while for a command by hand that is at work; and then the nodes are told what it wants of them.
pub(super) async fn act(
    shell: &mut Shell,
    shedder: Option<&Arc<Shedder>>,
    gathered: &Gathered,
) -> Result<Report, Failure> {
    let mut report = tick_patiently(shell, gathered).await?;
    if let Some(shedder) = shedder {
        report.untold = shedder.tell(shedder.orders(&report.judgement)).await;
    }
    Ok(report)
}

async fn tick_patiently(shell: &mut Shell, gathered: &Gathered) -> Result<Report, Failure> {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        match shell.tick(gathered).await {
            Err(TickError::Busy(_)) if tokio::time::Instant::now() < patience => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            result => return result.map_err(open::tick_failure),
        }
    }
}

/// One round of each node, what the nodes carry, and the anchors.
pub(super) async fn observe<'a>(config: &Config, nodes: impl Iterator<Item = &'a Node>) -> Result<Gathered, Failure> {
    let prober = prober(config)?;
    let (rounds, anchors) = sweep(&prober, nodes.cloned()).await;
    prober.loads_settled().await;
    Ok(Gathered { rounds, anchors, loads: prober.loads(), ..Gathered::default() })
}

fn prober(config: &Config) -> Result<Arc<Prober>, Failure> {
    let prober = Prober::new(config.probes.clone())
        .map_err(|error| Failure::usage(format!("failed to set up the probes: {error}")))?;
    for notice in prober.notices() {
        print::note(&notice);
    }
    Ok(Arc::new(prober))
}

/// Asks the name servers about everything that was written, and says what they say.
pub(super) async fn prove(shell: &Shell, report: &Report, within: Duration) -> Result<(), Failure> {
    for (intent, plan) in report.to_prove() {
        let pool = &shell.config().fleet.pools[&plan.pool];
        let within = pool.publish_within.min(within);
        let seen = publish::prove(shell.ledger(), intent, pool, plan, within)
            .await
            .map_err(|error| Failure::failed(format!("failed to write the proof down: {error}")))?;
        for server in seen {
            match server.after {
                Some(after) => print::note(&format!("{} shows it after {}", server.server, print::span(after))),
                None => print::note(&format!(
                    "{} does not show it within {}: {}",
                    server.server,
                    print::span(within),
                    server.last
                )),
            }
        }
    }
    Ok(())
}

/// What could not be done, on stderr.
pub(super) fn remark(report: &Report) {
    for failure in report.shortcomings() {
        print::note(failure);
    }
}

fn exit_of(report: &Report) -> Exit {
    if report.shortcomings().next().is_none() { Exit::Done } else { Exit::Failed }
}

/// What a tick came to, for people or as JSON.
pub(super) fn print(report: &Report, config: &Config, json: bool) -> Result<(), Failure> {
    if json {
        return print::json(&super::judgement::as_json(report));
    }
    super::judgement::print(report, config)
}
