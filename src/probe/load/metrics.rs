//! node_exporters: each read at its own rhythm, beside the rounds, so that no round ever waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Url, redirect, retry};
use rustls::RootCertStore;
use rustls::version::{TLS12, TLS13};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::counters::Counters;
use super::{Loads, exposition, is_recent};
use crate::clock::{self, Stopwatch};
use crate::model::{LoadSource, NodeId, ProbeSettings};
use crate::probe::setup::ProbeSetupError;
use crate::probe::{brief, tls};

/// Reads node_exporters, each from when its node had its first round.
#[derive(Debug)]
pub(in crate::probe) struct Metrics {
    client: Client,
    urls: BTreeMap<NodeId, Url>,
    every: Duration,
    loads: Arc<Loads>,
    readers: Mutex<Readers>,
    /// Of how many readers it is not known yet whether they come to a rate.
    awaited: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Readers {
    begun: BTreeSet<NodeId>,
    /// They end with it.
    tasks: JoinSet<()>,
}

impl Metrics {
    /// None where no node has a node_exporter.
    pub(in crate::probe) fn new(settings: &ProbeSettings, loads: Arc<Loads>) -> Result<Option<Self>, ProbeSetupError> {
        if settings.metrics.is_empty() {
            return Ok(None);
        }
        let parsed = |(node, text): (&NodeId, &String)| match Url::parse(text) {
            Ok(url) => Ok((node.clone(), url)),
            Err(why) => Err(ProbeSetupError::MetricsUrl { node: node.clone(), why: why.to_string() }),
        };
        let urls: BTreeMap<NodeId, Url> = settings.metrics.iter().map(parsed).collect::<Result<_, _>>()?;
        let roots = if urls.values().any(|url| url.scheme() == "https") {
            tls::roots(settings.https.as_ref().and_then(|https| https.ca_file.as_deref()))?
        } else {
            RootCertStore::empty()
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls::with_roots(roots, &[&TLS13, &TLS12])?)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .referer(false)
            .retry(retry::never())
            .redirect(redirect::Policy::none())
            .user_agent(concat!("witness/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ProbeSetupError::Client(error.to_string()))?;
        let (awaited, _) = watch::channel(0);
        Ok(Some(Self { client, urls, every: settings.load_every, loads, readers: Mutex::default(), awaited }))
    }

    /// Reads the node_exporter of `node`, if it has one, from now on.
    pub(in crate::probe) fn follow(&self, node: &NodeId) {
        let Some(url) = self.urls.get(node) else { return };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.begun.insert(node.clone()) {
            return;
        }
        self.awaited.send_modify(|count| *count += 1);
        let reader = Reader {
            node: node.clone(),
            url: url.clone(),
            client: self.client.clone(),
            every: self.every,
            loads: Arc::clone(&self.loads),
            awaited: Some(self.awaited.clone()),
        };
        readers.tasks.spawn(reader.run());
    }

    /// Waits until each that is followed has come to a rate or has failed, a few seconds at the most.
    pub(in crate::probe) async fn settled(&self) {
        let mut awaited = self.awaited.subscribe();
        let _ = timeout(SECOND_LOOK + 2 * TIMEOUT, awaited.wait_for(|count| *count == 0)).await;
    }
}

struct Reader {
    node: NodeId,
    url: Url,
    client: Client,
    every: Duration,
    loads: Arc<Loads>,
    awaited: Option<watch::Sender<usize>>,
}

impl Reader {
    async fn run(mut self) {
        let every = self.every.max(SHORTEST_PAUSE);
        let mut last: Option<(Counters, Stopwatch)> = None;
        let mut readable: Option<bool> = None;
        loop {
            let turn = Stopwatch::start();
            let read = self.read().await;
            let seen = Stopwatch::start();
            if readable.replace(read.is_ok()) != Some(read.is_ok()) {
                self.tell(read.as_ref().err());
            }
            let mut pause = every;
            match read {
                Ok(counters) => {
                    let before = last.as_ref().map(|(counters, at)| (counters, at.elapsed()));
                    let before = before.filter(|(_, passed)| is_recent(*passed, every));
                    self.loads.hear(counters.figure(&self.node, clock::now(), LoadSource::Metrics, before));
                    if before.is_some() {
                        self.settle();
                    } else {
                        // Only with a second look is there a rate.
                        pause = every.min(SECOND_LOOK);
                    }
                    last = Some((counters, seen));
                }
                Err(_) => self.settle(),
            }
            sleep(pause.saturating_sub(turn.elapsed())).await;
        }
    }

    async fn read(&self) -> Result<Counters, String> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                return format!("no answer within {} s", TIMEOUT.as_secs());
            }
            let mut innermost: &dyn Error = &error;
            while let Some(cause) = innermost.source() {
                innermost = cause;
            }
            brief(&innermost.to_string())
        };
        let mut response = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LONGEST {
                return Err("it is longer than 4 MiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        let counters = exposition::read(&String::from_utf8_lossy(&body));
        if counters == Counters::default() {
            return Err("it is not what a node_exporter writes".to_owned());
        }
        Ok(counters)
    }

    /// Each transition once: a node without figures is judged without, and somebody may want to know.
    fn tell(&self, why: Option<&String>) {
        match why {
            Some(why) => tracing::info!(node = %self.node, why, "metrics cannot be read"),
            None => tracing::info!(node = %self.node, "metrics are read"),
        }
    }

    /// It is known now whether there will be a rate.
    fn settle(&mut self) {
        if let Some(awaited) = self.awaited.take() {
            awaited.send_modify(|count| *count = count.saturating_sub(1));
        }
    }
}

/// For everything of one look.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How soon after the first look the second comes.
const SECOND_LOOK: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A big machine with every collector on has a tenth of it, bytes.
const LONGEST: usize = 4 * 1024 * 1024;
