//! To the tier: content is sent, read back and compared; and from it, what nobody has needed for long.

use std::time::Duration;

use super::bucket::{BucketError, object_key};
use super::{Tier, other};
use crate::clock;
use crate::crash;
use crate::db::DbError;
use crate::db::replicas::{self, Replica};
use crate::model::{Sha256, Time};

/// At once.
const AT_ONCE: u32 = 4;
/// After the first failure, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What became of one.
enum Outcome {
    Verified {
        here: bool,
    },
    /// Other bytes came back, or there is nothing anywhere.
    Bad(String),
    /// Another time, perhaps.
    Failed(String),
}

impl Tier {
    /// Sends what waits, until nothing is due. Whatever fails is due again later.
    pub(super) async fn replicate(&self) -> Result<(), DbError> {
        loop {
            let now = clock::now();
            let due = self.db.read(move |db| replicas::due(db, now, AT_ONCE)).await?;
            if due.is_empty() {
                return Ok(());
            }
            let all = futures_util::future::join_all(due.iter().map(|replica| self.send(replica))).await;
            for (replica, outcome) in due.iter().zip(all) {
                self.conclude(replica, outcome).await?;
            }
        }
    }

    async fn send(&self, replica: &Replica) -> Outcome {
        let (key, path) = (object_key(&replica.sha256), self.store.path(&replica.sha256));
        // It may be there: from before a crash or a restore, or sent by another origin.
        if let Ok(true) = self.bucket.size(&key).await.map(|size| size == replica.size)
            && !replica.is_bad
            && let Ok((sha256, size)) = self.bucket.digest(&key).await
            && (sha256, size) == (replica.sha256, replica.size)
        {
            return Outcome::Verified { here: path.is_file() };
        }
        match self.bucket.put_file(&key, &path).await {
            Ok(()) => {}
            Err(BucketError::Local { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.neither_here(replica, &key).await;
            }
            Err(error) => return Outcome::Failed(error.to_string()),
        }
        crash::point("tier-put");
        let sha256 = replica.sha256;
        if let Err(error) = self.db.write(move |db| replicas::sent(db, &sha256)).await {
            return Outcome::Failed(error.to_string());
        }
        match self.bucket.digest(&key).await {
            Ok(found) if found == (replica.sha256, replica.size) => Outcome::Verified { here: true },
            Ok((sha256, size)) => {
                self.metrics.tier_mismatches.add(1);
                match self.is_whole(&replica.sha256).await {
                    Ok(true) => Outcome::Bad(format!("{size} bytes with the SHA-256 {sha256} came back")),
                    Ok(false) => Outcome::Bad("the copy on this disk is damaged, and there is no other".to_owned()),
                    Err(error) => Outcome::Failed(error.to_string()),
                }
            }
            Err(BucketError::Missing(_)) => Outcome::Bad("it was taken, and is not there".to_owned()),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// There is no file: removed meanwhile, or it is in the tier alone, or lost.
    async fn neither_here(&self, replica: &Replica, key: &str) -> Outcome {
        match self.bucket.digest(key).await {
            Ok(found) if found == (replica.sha256, replica.size) => Outcome::Verified { here: false },
            Ok(_) => Outcome::Bad("it is not on this disk, and something else is in the tier".to_owned()),
            Err(BucketError::Missing(_)) => Outcome::Bad("it is neither on this disk nor in the tier".to_owned()),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn is_whole(&self, sha256: &Sha256) -> Result<bool, BucketError> {
        use tokio::io::AsyncReadExt as _;
        let path = self.store.path(sha256);
        let local = |error| BucketError::local(format!("failed to read {}", path.display()), error);
        let mut file = tokio::fs::File::open(&path).await.map_err(local)?;
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer).await.map_err(local)? {
                0 => return Ok(super::bucket::digest(context) == *sha256),
                read => context.update(&buffer[..read]),
            }
        }
    }

    async fn conclude(&self, replica: &Replica, outcome: Outcome) -> Result<(), DbError> {
        let (sha256, now) = (replica.sha256, clock::now());
        match outcome {
            Outcome::Verified { here } => {
                self.absent.remove(&sha256);
                // Nobody may remove the file between the look and the row that says that it is here.
                let _held = self.store.exclude(&sha256).await;
                let here = here && self.store.path(&sha256).is_file();
                self.db.write(move |db| replicas::verified(db, &sha256, here, now)).await?;
                crash::point("tier-verified");
                self.metrics.replicated_objects.add(1);
                self.metrics.replicated_bytes.add(replica.size);
                Ok(())
            }
            Outcome::Bad(why) => self.set_back(replica, true, why, now).await,
            Outcome::Failed(why) => self.set_back(replica, false, why, now).await,
        }
    }

    async fn set_back(&self, replica: &Replica, bad: bool, why: String, now: Time) -> Result<(), DbError> {
        self.metrics.failed_replications.add(1);
        if replica.attempts == 0 {
            tracing::warn!(sha256 = %replica.sha256, why, "content is not safe in the tier");
        }
        let wait = FIRST_WAIT.saturating_mul(1 << replica.attempts.min(12)).min(LONGEST_WAIT);
        // Those that failed together need not come again together.
        let spread = u32::from(replica.sha256.0[31]) % 100;
        let due = now.after(wait + wait * spread / 400);
        let sha256 = replica.sha256;
        self.db.write(move |db| replicas::failed(db, &sha256, bad, &why, due)).await
    }

    /// Removes from the tier what nobody has needed for as long as deleted things are kept. What a pinned backup names
    /// stays; and where pins cannot be read, everything does.
    pub(super) async fn purge(&self) -> Result<(), DbError> {
        let now = clock::now();
        let keep = i64::try_from(self.settings.keep_deleted.as_millis()).unwrap_or(i64::MAX);
        let before = Time(now.0.saturating_sub(keep));
        let gone = self.db.read(move |db| {
            let writes: bool = db.query_row("SELECT role = 'writes' FROM standing", [], |row| row.get(0))?;
            if writes { replicas::dropped(db, before, 1000) } else { Ok(Vec::new()) }
        });
        let gone = gone.await?;
        if gone.is_empty() {
            return Ok(());
        }
        let pinned = match &self.vault {
            Some(vault) => vault.pinned_content().await.map_err(other)?,
            None => std::collections::BTreeSet::new(),
        };
        for sha256 in gone.into_iter().filter(|sha256| !pinned.contains(sha256)) {
            // Somebody may upload it again at this moment.
            let _held = self.store.exclude(&sha256).await;
            if !self.db.write(move |db| replicas::begin_to_purge(db, &sha256)).await? {
                continue;
            }
            crash::point("purging");
            self.bucket.remove(&object_key(&sha256)).await.map_err(other)?;
            crash::point("purged");
            self.db.write(move |db| replicas::purged(db, &sha256)).await?;
            self.metrics.purged_objects.add(1);
        }
        Ok(())
    }
}
