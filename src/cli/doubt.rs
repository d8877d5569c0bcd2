//! What `once` does while a node is in doubt: it looks again, as fast as the daemon would, for as long as it has time.
//!
//! Cron comes back in a minute at the earliest. A death that is settled now need not wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::once::act;
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::exit::Failure;
use crate::model::{AnchorRound, Round};
use crate::probe::{Prober, Schedule, UnderWay};
use crate::relay::{Answers, Relays};
use crate::shed::Shedder;
use crate::tick::{Gathered, Report, Shell};

/// What came back of what was asked.
enum Seen {
    Round(Round),
    Anchors(Option<AnchorRound>),
    Answers(Answers),
}

/// Rounds of the nodes in doubt every `fast_interval`, of the others every `interval` (of whom nothing fresh is known
/// nobody can say that they may stay), and a tick over what came in, until nobody is in doubt or the time until
/// `once_deadline` would not do for another round. Returns the reports of all ticks, as one.
pub(super) async fn settle(
    config: &Config,
    shell: &mut Shell,
    prober: &Arc<Prober>,
    (mut relays, shedder): (Option<Relays>, Option<&Arc<Shedder>>),
    began: &Stopwatch,
    mut report: Report,
) -> Result<Report, Failure> {
    let every = config.policy.fast_interval;
    let longest = config.relays.as_ref().map_or(Duration::ZERO, |relays| relays.timeout).max(config.probes.deadline());
    let last_start = config.witness.once_deadline.saturating_sub(longest + every);
    let mut work: JoinSet<Seen> = JoinSet::new();
    let mut under_way = UnderWay::default();
    let mut schedule = Schedule::going_on(config.fleet.nodes.keys(), config.policy.interval);
    let (mut asking, mut to_ask) = (false, false);
    let mut ticker = interval(every.max(Duration::from_millis(1)));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker.tick().await;
    while !report.judgement.probe.fast.is_empty() && (began.elapsed() < last_start || !work.is_empty()) {
        ticker.tick().await;
        let mut gathered = Gathered::default();
        while let Some(seen) = work.try_join_next() {
            match seen.map_err(|error| Failure::failed(format!("failed to probe, by a mistake in it: {error}")))? {
                Seen::Round(round) => {
                    under_way.end(&round.node);
                    if let Some(relays) = &mut relays {
                        relays.saw(&round);
                    }
                    gathered.rounds.push(round);
                }
                Seen::Anchors(anchors) => {
                    asking = false;
                    gathered.anchors = anchors.or(gathered.anchors);
                }
                Seen::Answers(answers) => {
                    if let Some(relays) = &mut relays {
                        gathered.asks.extend(relays.heard(answers));
                    }
                }
            }
        }
        if !gathered.rounds.is_empty() || gathered.anchors.is_some() || !gathered.asks.is_empty() {
            gathered.loads = prober.loads();
            report = act(shell, shedder, &gathered).await?.after(report);
        }
        if began.elapsed() >= last_start {
            continue;
        }
        let fast = &report.judgement.probe.fast;
        schedule.hurry(fast, Duration::ZERO);
        for id in schedule.due(fast, every) {
            let asked = report.judgement.probe.ask.contains(&id);
            if let Some(answers) = relays.as_mut().filter(|_| asked).and_then(|relays| relays.ask(&id)) {
                work.spawn(async move { Seen::Answers(answers.await) });
            }
            if under_way.begin(&id) {
                let (node, prober) = (config.fleet.nodes[&id].clone(), prober.clone());
                work.spawn(async move { Seen::Round(prober.round(&node).await) });
            }
        }
        // Whose fault it was, the anchors tell, and they must be asked after it.
        to_ask |= gathered.rounds.iter().any(Round::failed);
        if to_ask && !asking {
            (asking, to_ask) = (true, false);
            let prober = prober.clone();
            work.spawn(async move { Seen::Anchors(prober.anchors().await) });
        }
    }
    Ok(report)
}
