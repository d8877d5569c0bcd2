//! The schedule around the tick: a round per node and interval, a tick over what came in, a clean end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::exit::Failure;
use crate::ledger::{LeaseGuard, LedgerError, Retention};
use crate::model::{ActionKind, AnchorRound, Node, NodeId, Round};
use crate::probe::{Observe, Schedule, UnderWay};
use crate::relay::{Answers, Relays};
use crate::shed::Shedder;
use crate::tick::{Gathered, Report, Shell, TickError};
use crate::{clock, publish};

/// How long a write to a registrar that is under way may take once we were told to stop. What is open then is looked up
/// at the next start.
const GRACE: Duration = Duration::from_millis(1500);
/// How long the lease of those who watch lasts without being renewed.
pub const WATCH_FOR: Duration = Duration::from_secs(600);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(60);
/// Old rows that go after each tick, besides twice as many as the tick has written: enough to catch up, few enough not to
/// hold up the next.
const PRUNE_ROWS: usize = 2000;
/// Rounds, load figures, and answers of others, that may wait to be judged, per node; the oldest are dropped.
const BACKLOG: usize = 32;

/// Everything that can happen.
enum Event {
    Round(Round),
    Anchors(Option<AnchorRound>),
    Answers(Answers),
    NodesDue,
    TickDue,
    Stop,
}

/// What the nodes can be asked to do, where that is configured.
#[derive(Debug, Default)]
pub struct Hands {
    /// To look at each other.
    pub relays: Option<Relays>,
    /// To shed load.
    pub shedder: Option<Arc<Shedder>>,
}

/// Runs until `stop` says so.
///
/// # Errors
/// [`Failure`] when another process watches by now.
pub async fn run(
    mut shell: Shell,
    prober: Arc<dyn Observe>,
    Hands { mut relays, shedder }: Hands,
    retention: Retention,
    watch: &LeaseGuard,
    mut stop: Stop,
) -> Result<(), Failure> {
    let policy = shell.config().policy.clone();
    let nodes: BTreeMap<NodeId, Node> = shell.config().fleet.nodes.clone();
    let mut schedule = Schedule::spread(nodes.keys(), policy.interval);
    let (results, mut inbox) = mpsc::channel::<Event>(1024);
    let mut work = JoinSet::new();
    let mut proofs = JoinSet::new();
    let mut under_way = UnderWay::default();
    // Whom the last judgement doubts.
    let mut fast: Vec<NodeId> = Vec::new();
    // Whom others should try.
    let mut ask: BTreeSet<NodeId> = BTreeSet::new();
    let mut asking = false;
    // Other people's hosts are asked once an interval while all is well.
    let mut anchors_due = Instant::now();
    let tick_every = policy.fast_interval.min(policy.interval);
    let mut ticker = interval_at(Instant::now() + tick_every, tick_every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gathered = Gathered { just_started: true, ..Gathered::default() };
    let mut renewed = clock::Stopwatch::start();
    tracing::info!(nodes = nodes.len(), pools = shell.config().fleet.pools.len(), "watching");
    loop {
        let event = tokio::select! {
            biased;
            () = stop.wait() => Event::Stop,
            _ = ticker.tick() => Event::TickDue,
            Some(event) = inbox.recv() => event,
            () = sleep_until(schedule.next()) => Event::NodesDue,
        };
        match event {
            Event::Round(round) => {
                under_way.end(&round.node);
                if let Some(relays) = &mut relays {
                    relays.saw(&round);
                    relays.stand_by(&round.node);
                }
                if round.failed() {
                    // Whose fault it was, the anchors tell, and they must be asked after it.
                    anchors_due = Instant::now();
                }
                gathered.rounds.push(round);
                if gathered.rounds.len() > BACKLOG * nodes.len() {
                    gathered.rounds.remove(0);
                }
            }
            Event::Anchors(anchors) => {
                asking = false;
                gathered.anchors = anchors.or(gathered.anchors);
            }
            Event::Answers(answers) => {
                if let Some(relays) = &mut relays {
                    gathered.asks.extend(relays.heard(answers));
                    let too_many = gathered.asks.len().saturating_sub(BACKLOG * nodes.len());
                    gathered.asks.drain(..too_many);
                }
            }
            Event::NodesDue => {
                for id in schedule.due(&fast, tick_every) {
                    // Others try while we do, so that it costs no time.
                    let answers = relays.as_mut().filter(|_| ask.contains(&id)).and_then(|relays| relays.ask(&id));
                    if let Some(answers) = answers {
                        let results = results.clone();
                        work.spawn(async move {
                            let _ = results.send(Event::Answers(answers.await)).await;
                        });
                    }
                    if under_way.begin(&id) {
                        let (node, prober, results) = (nodes[&id].clone(), prober.clone(), results.clone());
                        work.spawn(async move {
                            let round = prober.round(&node).await;
                            let _ = results.send(Event::Round(round)).await;
                        });
                    }
                }
            }
            Event::TickDue => {
                while let Some(ended) = work.try_join_next() {
                    // Its node would never be asked again: better a new start than one that quietly looks away.
                    ended.map_err(|error| Failure::failed(format!("failed to probe, by a mistake in it: {error}")))?;
                }
                while proofs.try_join_next().is_some() {}
                if !asking && anchors_due <= Instant::now() {
                    asking = true;
                    anchors_due = Instant::now() + policy.interval;
                    let (prober, results) = (prober.clone(), results.clone());
                    work.spawn(async move {
                        let anchors = prober.anchors().await;
                        let _ = results.send(Event::Anchors(anchors)).await;
                    });
                }
                if renewed.elapsed() >= RENEW {
                    renewed = clock::Stopwatch::start();
                    keep_watching(&shell, watch).await?;
                }
                if gathered.rounds.is_empty() && gathered.anchors.is_none() && gathered.asks.is_empty() {
                    continue;
                }
                gathered.loads.append(&mut prober.loads());
                let late = gathered.loads.len().saturating_sub(BACKLOG * nodes.len());
                gathered.loads.drain(..late);
                let (report, stopped) = {
                    let tick = shell.tick(&gathered);
                    tokio::pin!(tick);
                    tokio::select! {
                        report = &mut tick => (Some(report), false),
                        () = stop.wait() => (timeout(GRACE, tick).await.ok(), true),
                    }
                };
                let observed: usize = gathered.rounds.iter().map(|round| round.observations.len()).sum();
                let written = observed + gathered.loads.len();
                match report {
                    Some(Ok(report)) => {
                        gathered = Gathered::default();
                        fast.clone_from(&report.judgement.probe.fast);
                        ask = report.judgement.probe.ask.iter().cloned().collect();
                        schedule.hurry(&fast, tick_every);
                        tell(&report);
                        if let Some(shedder) = &shedder {
                            let (shedder, orders) = (Arc::clone(shedder), shedder.orders(&report.judgement));
                            proofs.spawn(async move {
                                for why in shedder.tell(orders).await {
                                    tracing::error!(why, "failed");
                                }
                            });
                        }
                        for (intent, plan) in report.to_prove() {
                            let pool = shell.config().fleet.pools[&plan.pool].clone();
                            let (ledger, plan) = (shell.ledger().clone(), plan.clone());
                            proofs.spawn(async move {
                                let within = pool.publish_within;
                                if let Err(error) = publish::prove(&ledger, intent, &pool, &plan, within).await {
                                    tracing::error!(%error, "the proof of a change could not be written down");
                                }
                            });
                        }
                    }
                    // What was observed is kept for the next tick.
                    Some(Err(TickError::Busy(holder))) => tracing::info!(%holder, "another witness process is at work"),
                    Some(Err(TickError::Ledger(error))) => {
                        tracing::error!(%error, "the tick could not be written down; nothing was changed");
                    }
                    None => tracing::warn!("stopped while a registrar was writing; the next start looks it up"),
                }
                if stopped {
                    break;
                }
                let (keep, rows) = (retention, PRUNE_ROWS + 2 * written);
                let pruned = shell.ledger().call(move |ledger| ledger.prune(clock::now(), &keep, rows)).await;
                if let Err(error) = pruned {
                    tracing::warn!(%error, "old rows could not be removed");
                }
            }
            Event::Stop => break,
        }
    }
    work.abort_all();
    proofs.abort_all();
    tracing::info!("stopped");
    Ok(())
}

/// Renews the lease of those who watch. While the ledger cannot be written, it is watched on: the lease lasts for a while.
async fn keep_watching(shell: &Shell, watch: &LeaseGuard) -> Result<(), Failure> {
    let (guard, now) = (watch.clone(), clock::read());
    match shell.ledger().call(move |ledger| ledger.renew_lease(&guard, &now, WATCH_FOR)).await {
        Ok(()) => Ok(()),
        Err(error @ LedgerError::LeaseLost { .. }) => Err(Failure::failed(format!("failed to keep watching: {error}"))),
        Err(error) => {
            tracing::error!(%error, "the lease could not be renewed");
            Ok(())
        }
    }
}

/// What a tick came to, on the log: every transition, nothing twice.
pub fn tell(report: &Report) {
    let judgement = &report.judgement;
    tracing::debug!(
        fleet = judgement.fleet.name(),
        vantage = judgement.vantage.name(),
        nodes = judgement.nodes.len(),
        strikes = judgement.strikes.len(),
        holds = judgement.holds.len(),
        "tick"
    );
    for (node, strike) in &judgement.strikes {
        let faults: Vec<String> = strike.faults.iter().map(|(probe, fault)| format!("{probe} {fault}")).collect();
        tracing::info!(%node, faults = faults.join(", "), "strike");
    }
    for action in &judgement.actions {
        let node = action.node.as_ref().map(ToString::to_string).unwrap_or_default();
        if action.kind == ActionKind::Alert {
            tracing::error!(node, rule = %action.rule, why = action.why, "alert");
        } else {
            tracing::warn!(node, action = action.kind.name(), rule = %action.rule, why = action.why, "verdict");
        }
    }
    for hold in report.new_holds() {
        tracing::warn!(node = %hold.node, action = hold.kind.name(), guard = hold.guard.name(), why = hold.why, "held");
    }
    for change in &report.changes {
        let lines: Vec<String> = change.plan.changes.iter().map(ToString::to_string).collect();
        let state = change.state.map_or("planned", crate::model::IntentState::name);
        tracing::warn!(zone = %change.plan.zone, state, note = change.note, changes = lines.join("; "), "dns");
    }
    for failure in report.shortcomings() {
        tracing::error!(why = failure, "failed");
    }
}

/// SIGTERM and SIGINT, from when it was made: what comes before somebody waits for it is not lost.
#[derive(Debug)]
pub struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    /// From now on these signals do not end the process by themselves.
    ///
    /// # Errors
    /// [`Failure`] when they cannot be handled.
    pub fn new() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|error| Failure::failed(format!("failed to handle signals: {error}")));
        Ok(Self { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
