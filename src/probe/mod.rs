//! Looks at nodes and anchors, and says what it saw; concludes nothing.
//!
//! A round runs every configured probe of every address of a node side by side. Each has its own time-out, and no node
//! waits for another: what the probes share (a TLS configuration, an ICMP socket per family, two threads for SSH) never
//! waits for an answer. Trouble of our own is inconclusive, so that nobody is struck for it.

mod anchors;
mod forward;
mod https;
mod load;
mod order;
mod phases;
mod ping;
mod schedule;
mod setup;
mod ssh;
mod starvation;
mod sweep;
mod tls;
mod trouble;
mod under_way;

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

pub use forward::{Forwarder, Reach};
pub use order::Orderly;
pub use schedule::Schedule;
pub use setup::ProbeSetupError;
pub use starvation::{Attention, Lost, Watchdog, judged};
pub use sweep::sweep;
pub use under_way::UnderWay;

use crate::clock::{self, Stopwatch};
use crate::model::{AnchorRound, LoadFigure, Measured, Node, Observation, Outcome, ProbeKind, ProbeSettings, Round};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs probes: the seam between the shell and the network.
pub trait Observe: Send + Sync {
    /// One observation for each configured probe and each address of `node`, sorted by probe, then address.
    fn round<'a>(&'a self, node: &'a Node) -> BoxFuture<'a, Round>;

    /// A look at our own connectivity; none when there are no anchors to look at.
    fn anchors(&self) -> BoxFuture<'_, Option<AnchorRound>>;

    /// Takes the load figures that came in since they were last taken. What a round has learnt is there when it ends.
    fn loads(&self) -> Vec<LoadFigure>;
}

/// Probes over the real network. Meant to be shared: everything in it serves any number of rounds at once.
pub struct Prober {
    settings: ProbeSettings,
    https: Option<https::HttpsProber>,
    ping: Option<ping::PingProber>,
    ssh: Option<ssh::SshProber>,
    loads: Arc<load::Loads>,
    metrics: Option<load::Metrics>,
    watchdog: Arc<Watchdog>,
}

impl Prober {
    /// Reads the files that `settings` name, opens the ICMP sockets and starts the SSH threads. Asks no node anything.
    /// To be called on the tokio runtime that the rounds will run on.
    ///
    /// # Errors
    /// [`ProbeSetupError`] when a file cannot be read or a setting cannot be used.
    pub fn new(settings: ProbeSettings) -> Result<Self, ProbeSetupError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ProbeSetupError::NoRuntime);
        }
        sweep::raise_descriptors();
        let loads = Arc::new(load::Loads::new(settings.load_every));
        Ok(Self {
            https: settings.https.clone().map(https::HttpsProber::new).transpose()?,
            ping: settings.ping.clone().map(ping::PingProber::new),
            ssh: settings.ssh.clone().map(|ssh| ssh::SshProber::new(ssh, Arc::clone(&loads))).transpose()?,
            metrics: load::Metrics::new(&settings, Arc::clone(&loads))?,
            loads,
            watchdog: Watchdog::start(),
            settings,
        })
    }

    /// One round of `node`. It ends when its slowest probe does, at the latest with the longest time-out; dropping it
    /// ends its probes. From its first round on, the node's metrics are read beside them, where it has any.
    pub async fn round(&self, node: &Node) -> Round {
        let attention = self.watchdog.attend();
        let started = clock::now();
        if let Some(metrics) = &self.metrics {
            metrics.follow(&node.id);
        }
        let mut probes: Vec<BoxFuture<'_, Observation>> = Vec::with_capacity(self.settings.observations_of(node));
        for address in &node.addresses {
            let address = *address;
            if let Some(https) = &self.https {
                let probe = https.probe(node, address);
                probes.push(Box::pin(self.observe(ProbeKind::Https, address, https.timeout(), probe)));
            }
            if let Some(ping) = &self.ping {
                let probe = ping.probe(address);
                probes.push(Box::pin(self.observe(ProbeKind::Ping, address, ping.timeout(), probe)));
            }
            if let Some(ssh) = &self.ssh {
                let probe = ssh.probe(node, address);
                probes.push(Box::pin(self.observe(ProbeKind::Ssh, address, ssh.timeout(), probe)));
            }
        }
        let mut observations = side_by_side(probes).await;
        observations.sort_by_key(|seen| (seen.probe, seen.address));
        drop(attention);
        Round { node: node.id.clone(), started, finished: clock::now(), observations }
    }

    /// Tries a TCP connection to every anchor; none when none are configured.
    pub async fn anchors(&self) -> Option<AnchorRound> {
        if self.settings.anchors.is_empty() {
            return None;
        }
        let timeout = self.settings.https.as_ref().map_or(ANCHOR_TIMEOUT, |https| https.connect_timeout);
        Some(anchors::ask(&self.settings.anchors, timeout).await)
    }

    /// Takes the load figures that came in since they were last taken, of each node and source the newest.
    #[must_use]
    pub fn loads(&self) -> Vec<LoadFigure> {
        self.loads.take()
    }

    /// Waits until every node that is read beside its rounds has come to a rate or cannot be read, a few seconds at the
    /// most: for those who look once. A rate takes two looks, and the second comes a second after the first.
    pub async fn loads_settled(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.settled().await;
        }
    }

    /// What a person should be told once: probes that this machine does not permit, and what to do about it.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.ping.as_ref().map(ping::PingProber::notices).unwrap_or_default()
    }

    async fn observe(
        &self,
        kind: ProbeKind,
        address: IpAddr,
        timeout: Duration,
        probe: impl Future<Output = Sight>,
    ) -> Observation {
        let from = self.watchdog.now();
        let clock = Stopwatch::start();
        let sight = probe.await;
        // Waking up after the time-out was over is a stall that the watchdog may have been spared, on another thread.
        let overslept = clock.elapsed().saturating_sub(timeout);
        let lost = self.watchdog.lost_since(from).and(overslept).and(sight.delayed);
        let outcome = judged(sight.outcome, lost, timeout);
        if let Some(figure) = sight.load {
            self.loads.hear(figure);
        }
        tracing::debug!(probe = kind.name(), %address, %outcome, total_us = sight.measured.total_us, "observed");
        Observation { probe: kind, address, at: clock::now(), outcome, measured: sight.measured }
    }
}

impl Observe for Prober {
    fn round<'a>(&'a self, node: &'a Node) -> BoxFuture<'a, Round> {
        Box::pin(self.round(node))
    }

    fn anchors(&self) -> BoxFuture<'_, Option<AnchorRound>> {
        Box::pin(self.anchors())
    }

    fn loads(&self) -> Vec<LoadFigure> {
        self.loads()
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What one probe brings back.
#[derive(Debug)]
struct Sight {
    outcome: Outcome,
    measured: Measured,
    /// How long it waited for something of ours before it could begin.
    delayed: Duration,
    /// What the node said that it carries.
    load: Option<LoadFigure>,
}

impl Sight {
    fn of(outcome: Outcome, measured: Measured) -> Self {
        Self { outcome, measured, delayed: Duration::ZERO, load: None }
    }
}

/// Waits for all of `futures` at once. Their results come in the order in which they were ready.
async fn side_by_side<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut results = Vec::with_capacity(futures.len());
    poll_fn(|context| {
        futures.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(result) => {
                results.push(result);
                false
            }
            Poll::Pending => true,
        });
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results
}

/// `text` as a note: one line of at most 200 characters.
fn brief(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NOTE_LENGTH).collect::<String>().trim().to_owned()
}

/// As long as the default of the https probe: SYNs at 0, 1 and 3 s.
const ANCHOR_TIMEOUT: Duration = Duration::from_secs(4);
const NOTE_LENGTH: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_one_short_line() {
        assert_eq!(brief("  two\nlines\u{7} "), "two lines");
        assert_eq!(brief(&"é".repeat(300)).chars().count(), NOTE_LENGTH);
    }

    #[test]
    fn there_is_no_probing_without_a_runtime() {
        assert!(matches!(Prober::new(ProbeSettings::default()), Err(ProbeSetupError::NoRuntime)));
    }
}
