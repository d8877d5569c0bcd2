//! Many people who download: a load that does not slow down because it is served slowly.
//!
//! They ask a name server for the addresses of a name, again whenever the answer's TTL is over, take one of them by chance
//! and fetch a body of a known length from it, over TCP and TLS. A new one begins every so often, whatever became of those
//! before (an open loop); each gives up after a while, and nobody tries twice.

mod download;
mod resolve;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::download::Fetch;
use crate::tls::Authority;
use crate::worker::Worker;

/// What they do.
#[derive(Clone, Debug)]
pub struct ClientsConfig {
    /// The network namespace to live in, as a path such as `/run/netns/NAME`.
    pub netns: Option<PathBuf>,
    /// Whom they ask.
    pub dns: SocketAddr,
    /// What they ask for: the A records of this name.
    pub name: String,
    /// The name in TLS and in the request.
    pub host: String,
    /// Where the addresses serve HTTPS.
    pub port: u16,
    /// What they fetch, bytes of body.
    pub bytes: usize,
    /// How long one of them waits for all of it.
    pub patience: Duration,
    /// How many wait at once; who comes then goes away again.
    pub most: usize,
    /// What chance begins with; the same seed takes the same turns.
    pub seed: u64,
}

/// What came of them so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Who began to download.
    pub begun: u64,
    /// Who got all of it, or all that there is while the node sheds load.
    pub served: u64,
    /// Bytes of body that these got.
    pub bytes: u64,
    /// Who waited in vain.
    pub given_up: u64,
    /// Whose connection was refused or broke.
    pub failed: u64,
    /// Who went away since too many waited.
    pub turned_away: u64,
    /// Who was served, by whom.
    pub served_by: BTreeMap<IpAddr, u64>,
}

impl Tally {
    /// What came on top of an earlier tally.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let more = |address: &IpAddr, served: &u64| {
            (*address, served - before.served_by.get(address).copied().unwrap_or_default())
        };
        Self {
            begun: self.begun - before.begun,
            served: self.served - before.served,
            bytes: self.bytes - before.bytes,
            given_up: self.given_up - before.given_up,
            failed: self.failed - before.failed,
            turned_away: self.turned_away - before.turned_away,
            served_by: self.served_by.iter().map(|(address, served)| more(address, served)).collect(),
        }
    }
}

/// Clients at work; dropping it ends them.
#[derive(Debug)]
pub struct Clients {
    shared: Arc<Shared>,
    _worker: Worker,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    every: Option<Duration>,
    addresses: Vec<IpAddr>,
    tally: Tally,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients {
    /// Begins to ask for addresses; nobody downloads before [`Clients::come_every`].
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, or the authority's certificate cannot be trusted.
    pub fn start(config: ClientsConfig, authority: &Authority) -> io::Result<Self> {
        let fetch = Fetch::new(&config, authority)?;
        let shared = Arc::new(Shared::default());
        let at_work = Arc::clone(&shared);
        let netns = config.netns.clone();
        let (worker, ()) = Worker::start("lab-clients", netns, move || async move {
            Ok(((), async move {
                tokio::join!(resolve::keep(&config, &at_work), arrive(&config, &at_work, fetch));
            }))
        })?;
        Ok(Self { shared, _worker: worker })
    }

    /// From now on a new one comes this often.
    pub fn come_every(&self, every: Duration) {
        self.shared.state().every = Some(every);
    }

    /// Nobody comes any more; who is there goes on.
    pub fn stay_away(&self) {
        self.shared.state().every = None;
    }

    /// What came of them so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.state().tally.clone()
    }

    /// The addresses that they choose from now.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.shared.state().addresses.clone()
    }
}

/// How often those who stay away are asked whether they come.
const IDLE: Duration = Duration::from_millis(50);

/// What a busy machine may make up for at once: more would be a burst that nobody offered.
const BEHIND: Duration = Duration::from_secs(1);

async fn arrive(config: &ClientsConfig, shared: &Arc<Shared>, fetch: Fetch) {
    let fetch = Arc::new(fetch);
    let mut waiting = JoinSet::new();
    let mut chance = config.seed | 1;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            // Finished ones are taken out, or they would gather.
            Some(_) = waiting.join_next() => continue,
        }
        let now = Instant::now();
        let mut state = shared.state();
        let Some(every) = state.every else {
            next = now + IDLE;
            continue;
        };
        next = (next + every).max(now.checked_sub(BEHIND).unwrap_or(now));
        if state.addresses.is_empty() || waiting.len() >= config.most {
            state.tally.turned_away += 1;
            continue;
        }
        // Xorshift: as good a chance as needed here, the same on every machine.
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let pick = usize::try_from(chance >> 33).unwrap_or_default() % state.addresses.len();
        let address = state.addresses[pick];
        state.tally.begun += 1;
        drop(state);
        let (fetch, shared, patience) = (Arc::clone(&fetch), Arc::clone(shared), config.patience);
        waiting.spawn(async move {
            let done = tokio::time::timeout(patience, fetch.from(address)).await;
            let tally = &mut shared.state().tally;
            match done {
                Ok(Ok(bytes)) => {
                    tally.served += 1;
                    tally.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
                    *tally.served_by.entry(address).or_default() += 1;
                }
                Ok(Err(_)) => tally.failed += 1,
                Err(_) => tally.given_up += 1,
            }
        });
    }
}

#[cfg(test)]
mod tests;
