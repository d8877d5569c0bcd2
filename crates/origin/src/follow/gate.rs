//! Whether this origin may write at this moment.
//!
//! Without a tier that another one shares, the database's own word is enough. With one, the highest epoch stands in the
//! tier, and whoever writes has to have seen that it is still its own, within [`LEASE`] by the monotonic clock. Whoever
//! takes over writes a higher one there, waits longer than that, and looks again: after that the old one, wherever it is
//! and whatever it can reach, does not write. No conditional write is needed, so a server that ignores conditions does no
//! harm: of two that take over at once, the last written epoch stands, and the other one sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::standing::{self, Role};
use crate::clock::Stopwatch;
use crate::db::Db;
use crate::tier::bucket::{Bucket, BucketError};

/// Having seen one's own epoch is worth so long.
pub const LEASE: Duration = Duration::from_secs(20);
/// Between looks.
const EVERY: Duration = Duration::from_secs(5);
/// Where the epoch stands.
const KEY: &str = "meta/epoch.json";

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// How often another one has begun to write.
    pub epoch: i64,
    /// Who that was.
    pub origin: String,
}

/// The gate. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Gate(Option<Arc<Mutex<Option<Stopwatch>>>>);

impl Gate {
    /// Always open: the database alone decides.
    #[must_use]
    pub fn open() -> Self {
        Self(None)
    }

    /// One that is shut until [`Gate::watch`] has seen that it may be open.
    #[must_use]
    pub fn shut() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether this origin may write now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let Some(seen) = &self.0 else { return true };
        seen.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|seen| seen.elapsed() < LEASE)
    }

    fn set(&self, seen: Option<Stopwatch>) {
        if let Some(gate) = &self.0 {
            *gate.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }

    /// Looks at the epoch in the tier again and again, until `end` is true.
    pub async fn watch(self, bucket: Bucket, db: Db, mut end: watch::Receiver<bool>) {
        let mut was_open = false;
        loop {
            // What is seen counts from before it was asked for.
            let asked = Stopwatch::start();
            match look(&bucket, &db).await {
                Ok(true) => self.set(Some(asked)),
                Ok(false) => self.set(None),
                Err(why) => tracing::warn!(why, "failed to see whether this origin may write"),
            }
            if was_open != self.is_open() {
                was_open = !was_open;
                tracing::warn!(writes = was_open, "whether this origin writes has changed");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = end.wait_for(|end| *end) => return,
            }
        }
    }
}

/// Whether the epoch in the tier is this one's. Where a higher one stands, or the same of somebody else, this one is
/// fenced for good; where a lower one does, this one's is written.
async fn look(bucket: &Bucket, db: &Db) -> Result<bool, String> {
    let own = db.read(standing::read).await.map_err(|error| error.to_string())?;
    if own.role != Role::Writes {
        return Ok(false);
    }
    let there = read(bucket).await.map_err(|error| error.to_string())?;
    match there {
        Some(there) if there.epoch == own.epoch && there.origin == own.origin => Ok(true),
        Some(there) if there.epoch >= own.epoch => {
            let by = there.origin.clone();
            let fenced = db.write(move |db| {
                db.execute(
                    "UPDATE standing SET role = 'fenced', epoch = max(epoch, ?1), fenced_by = ?2",
                    (there.epoch, &there.origin),
                )?;
                Ok(())
            });
            fenced.await.map_err(|error| error.to_string())?;
            tracing::error!(epoch = there.epoch, by, "another origin writes: this one does not any more");
            Ok(false)
        }
        _ => {
            let mine = Epoch { epoch: own.epoch, origin: own.origin };
            write(bucket, &mine).await.map_err(|error| error.to_string())?;
            // Somebody may have written at the same moment: the next look tells.
            Ok(false)
        }
    }
}

/// What stands in the tier.
///
/// # Errors
///
/// When it cannot be read.
pub async fn read(bucket: &Bucket) -> Result<Option<Epoch>, BucketError> {
    match bucket.get(KEY, 4096).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| BucketError::Wrong { key: KEY.to_owned(), why: error.to_string() }),
        Err(BucketError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes it there.
///
/// # Errors
///
/// When it does not stand there afterwards.
pub async fn write(bucket: &Bucket, epoch: &Epoch) -> Result<(), BucketError> {
    let bytes = serde_json::to_vec(epoch).map_err(|error| BucketError::Failed(error.to_string()))?;
    bucket.put(KEY, bytes.into()).await
}
