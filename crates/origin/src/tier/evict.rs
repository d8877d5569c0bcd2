//! Room on the disk: what is safe in the tier goes from it, what was asked for longest ago first.

use super::bucket::{BucketError, object_key};
use super::{Tier, other};
use crate::clock;
use crate::crash;
use crate::db::{DbError, replicas};
use crate::model::Sha256;

impl Tier {
    /// Makes room if the disk is fuller than the high watermark: down to the low one, or as far as there is something
    /// that may go.
    pub(super) async fn make_room(&self) -> Result<(), DbError> {
        let Some((used, total)) = self.store.usage() else { return Ok(()) };
        let mark = |percent: u32| total / 100 * u64::from(percent);
        if used > mark(self.settings.high_watermark) {
            let freed = self.evict(used - mark(self.settings.low_watermark)).await?;
            if freed > 0 {
                tracing::info!(bytes = freed, "made room: this is in the tier alone now");
            }
        }
        Ok(())
    }

    /// Makes room for so many bytes, as far as there is something that may go. Gives how many there were.
    ///
    /// # Errors
    ///
    /// When the database cannot be used, or the tier does not answer.
    pub async fn evict(&self, bytes: u64) -> Result<u64, DbError> {
        self.remember_accesses().await?;
        let mut freed = 0;
        while freed < bytes {
            let some = self.db.read(|db| replicas::evictable(db, 100)).await?;
            let mut went = false;
            for (sha256, size) in some {
                if freed >= bytes {
                    return Ok(freed);
                }
                if self.evict_one(sha256, size).await? {
                    freed += size.max(1);
                    went = true;
                }
            }
            if !went {
                break;
            }
        }
        Ok(freed)
    }

    async fn evict_one(&self, sha256: Sha256, size: u64) -> Result<bool, DbError> {
        // It was read back once; that it is there still is asked now.
        let why = match self.bucket.size(&object_key(&sha256)).await {
            Ok(found) if found == size => None,
            Ok(found) => Some(format!("it has {found} bytes, and should have {size}")),
            Err(BucketError::Missing(_)) => Some("it was there, and is not any more".to_owned()),
            Err(error) => return Err(other(error)),
        };
        if let Some(why) = why {
            tracing::warn!(%sha256, why, "content is not safe in the tier any more");
            let now = clock::now();
            self.db.write(move |db| replicas::failed(db, &sha256, true, &why, now)).await?;
            return Ok(false);
        }
        let held = self.store.exclude(&sha256).await;
        if !self.db.write(move |db| replicas::evict(db, &sha256)).await? {
            return Ok(false);
        }
        crash::point("evicting");
        let store = self.store.clone();
        let removed = tokio::task::spawn_blocking(move || store.remove(&sha256, &held)).await;
        removed.map_err(other)?.map_err(other)?;
        crash::point("evicted");
        self.metrics.evicted_objects.add(1);
        self.metrics.evicted_bytes.add(size);
        Ok(true)
    }
}
