//! The long-term tier: all content in a bucket or a directory elsewhere, with this disk as a cache of it.
//!
//! ```text
//!   upload ──▶ disk ──replicate──▶ bucket       put, read back, compare: only then is it "verified"
//!                ▲                   │
//!   client ◀──── └──────pull─────────┘          a miss: one fetch for all who wait, compared before its last byte goes
//!   disk ──evict──▶ nothing                     what is verified there and was asked for longest ago
//! ```
//!
//! A row says where content is (`objects.place`), and never more than is so: it says "in the tier alone" before the file
//! goes, and "here, too" after it is in its place. After a crash there may be a file more than the rows say, never less.

pub mod bucket;
mod evict;
pub mod legacy;
pub mod marker;
mod negative;
mod pull;
mod replicate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::backup::vault::Vault;
use crate::clock::{self, Stopwatch};
use crate::config::Tier as Settings;
use crate::db::{Db, DbError, replicas};
use crate::metrics::Metrics;
use crate::model::{Sha256, Time};
use crate::store::Store;
use bucket::{Bucket, BucketError};
use negative::Negative;
use pull::Flight;
pub use pull::Pull;

/// Between looks for what is to be done, when nobody says so.
const PAUSE: Duration = Duration::from_secs(2);
/// Between writes of when content was asked for.
const MINUTE: Duration = Duration::from_secs(60);
/// Between comparisons of rows and disk.
const ROUND: Duration = Duration::from_secs(24 * 3600);

/// The tier.
#[derive(Debug)]
pub struct Tier {
    bucket: Bucket,
    vault: Option<Vault>,
    settings: Settings,
    store: Arc<Store>,
    db: Db,
    metrics: Arc<Metrics>,
    /// Told when there is something new to send.
    pub wake: Notify,
    flights: Mutex<BTreeMap<Sha256, Arc<Flight>>>,
    absent: Negative<Sha256>,
    accesses: Mutex<BTreeMap<Sha256, Time>>,
}

impl Tier {
    /// The one that is configured. `vault` is where pinned backups are.
    ///
    /// # Errors
    ///
    /// When it cannot be one.
    pub fn open(
        settings: &Settings,
        vault: Option<Vault>,
        store: &Arc<Store>,
        db: &Db,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, BucketError> {
        Ok(Arc::new(Self {
            bucket: Bucket::open(&settings.place)?,
            vault,
            settings: settings.clone(),
            store: store.clone(),
            db: db.clone(),
            metrics: metrics.clone(),
            wake: Notify::new(),
            flights: Mutex::default(),
            absent: Negative::new(Duration::from_secs(30)),
            accesses: Mutex::default(),
        }))
    }

    /// Where it is.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Works until `end` is true: sends, makes room, removes what nobody needs any more.
    pub async fn run(self: Arc<Self>, mut end: watch::Receiver<bool>) {
        let mut since_round: Option<Stopwatch> = None;
        let mut since_touch = Stopwatch::start();
        loop {
            let work = async {
                if since_round.is_none_or(|since| since.elapsed() > ROUND) {
                    since_round = Some(Stopwatch::start());
                    self.compare().await?;
                }
                if since_touch.elapsed() > MINUTE {
                    since_touch = Stopwatch::start();
                    self.remember_accesses().await?;
                }
                if self.bucket.is_directory {
                    marker::check(&self.bucket, &self.db).await.map_err(other)?;
                }
                self.replicate().await?;
                self.purge().await?;
                self.make_room().await
            };
            tokio::select! {
                done = work => if let Err(error) = done {
                    tracing::error!(%error, "the tier could not be worked on");
                },
                _ = end.wait_for(|end| *end) => break,
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(PAUSE) => {}
                _ = end.wait_for(|end| *end) => break,
            }
        }
        if let Err(error) = self.remember_accesses().await {
            tracing::warn!(%error, "failed to remember what was asked for");
        }
    }

    /// Somebody has asked for it.
    pub fn touch(&self, sha256: Sha256) {
        self.accesses.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256, clock::now());
    }

    async fn remember_accesses(&self) -> Result<(), DbError> {
        let accesses = std::mem::take(&mut *self.accesses.lock().unwrap_or_else(PoisonError::into_inner));
        if accesses.is_empty() {
            return Ok(());
        }
        let accesses: Vec<(Sha256, Time)> = accesses.into_iter().collect();
        self.db.write(move |db| replicas::touch(db, &accesses)).await
    }

    /// Holds rows against the disk: after a crash, a restore, or a disk that lost something.
    ///
    /// # Errors
    ///
    /// When the database cannot be used.
    pub async fn compare(&self) -> Result<(), DbError> {
        let mut id = i64::MIN;
        loop {
            let some = self.db.read(move |db| replicas::walk(db, id, 500)).await?;
            let Some(last) = some.last() else { break };
            id = last.0;
            for (_, sha256, said_here, there) in some {
                let is_here = |store: &Store| store.path(&sha256).is_file();
                if is_here(&self.store) == said_here {
                    continue;
                }
                let _held = self.store.exclude(&sha256).await;
                let here = is_here(&self.store);
                if here != said_here {
                    tracing::info!(%sha256, here, in_tier = there, "content is not where its row said");
                    self.db.write(move |db| replicas::place(db, &sha256, here, there)).await?;
                }
            }
        }
        self.db.write(replicas::forget_accesses).await
    }

    /// For Prometheus.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn figures(&self) -> Result<[(&'static str, &'static str, u64); 4], DbError> {
        let lag = self.db.read(replicas::lag).await?;
        let behind = lag.oldest.map_or(0, |oldest| clock::now().since(oldest).as_secs());
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok([
            ("replication_waiting_objects", "Contents that are not safe in the tier yet.", lag.waiting),
            ("replication_waiting_bytes", "Bytes of these contents.", lag.bytes),
            ("replication_lag_seconds", "What would be lost with this disk goes back so far.", behind),
            ("pulls_under_way", "Contents that are on their way back.", flights as u64),
        ])
    }
}

/// Bucket errors on the way of something that returns the database's.
fn other(error: impl std::fmt::Display) -> DbError {
    DbError::Other(error.to_string())
}
