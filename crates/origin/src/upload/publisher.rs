//! The one way in: from content that is on the disk to names that everybody can ask for.

use std::sync::Arc;

use super::receive::{Received, blocking};
use super::refusal::Refusal;
use super::wish::Wish;
use crate::clock;
use crate::config::{Dedupe, Upload};
use crate::crash;
use crate::db::links::{self, Publication, Published};
use crate::db::{Db, DbError, bans, resumable};
use crate::follow::gate::Gate;
use crate::metrics::Metrics;
use crate::model::{Hashes, Link, NameMaker, Sha1, Sha256, Token};
use crate::store::Store;
use crate::tier::Tier;

/// What an uploader gets for a file.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its name.
    pub link: Link,
    /// Of its content.
    pub sha256: Sha256,
    /// Of its content.
    pub sha1: Sha1,
    /// In bytes.
    pub size: u64,
    /// What this uploader called it.
    pub original: String,
    /// What allows to delete it.
    pub token: Option<Token>,
    /// Whether an equal one was there, if that may be told.
    pub again: bool,
}

/// Who uploads.
#[derive(Clone, Debug, Default)]
pub struct Uploader {
    /// As far as that is kept.
    pub address: Option<String>,
    /// Whether there is a token for deletion.
    pub gets_token: bool,
    /// The upload in parts that this is the end of.
    pub resumed: Option<Resumed>,
}

/// An upload in parts.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// Of what stands in its URL.
    pub hash: Sha256,
    /// For its deletion: the same each time it is asked for.
    pub token: Token,
}

/// Publishes what was received.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The bytes.
    pub store: Arc<Store>,
    /// The rows.
    pub db: Db,
    /// What holds for uploads.
    pub limits: Arc<Upload>,
    /// What an equal upload gets.
    pub dedupe: Dedupe,
    /// Makes names.
    pub names: Arc<NameMaker>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether this origin writes.
    pub gate: Gate,
    /// Told when there is something new for the tier.
    pub tier: Option<Arc<Tier>>,
}

impl Publisher {
    /// Gives all of these names, or none of them. What it returns is durable. It is done to its end even when nobody
    /// waits for it any more.
    ///
    /// # Errors
    ///
    /// When it could not be done; then nobody can ask for any of it.
    pub async fn publish(&self, files: Vec<Received>, wish: Wish, uploader: Uploader) -> Result<Vec<Receipt>, Refusal> {
        let publisher = self.clone();
        // Half of it must not be dropped: the content's lock is held until its row is there.
        let work = tokio::spawn(async move { publisher.work(files, wish, uploader).await });
        work.await.map_err(|error| Refusal::Failed(error.to_string()))?
    }

    async fn work(self, files: Vec<Received>, wish: Wish, uploader: Uploader) -> Result<Vec<Receipt>, Refusal> {
        let now = clock::now();
        let hashes: Vec<Sha256> = files.iter().map(|file| file.staged.sha256).collect();
        // What came counts as much as what is kept of it.
        let came: Vec<Hashes> = files.iter().filter_map(|file| file.came).collect();
        let looked_for: Vec<Hashes> = files.iter().map(|file| file.staged.hashes()).chain(came).collect();
        let is_banned = self.db.read(move |db| {
            for hashes in &looked_for {
                if bans::reason(db, hashes, now)?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        if is_banned.await? {
            return Err(Refusal::Banned);
        }
        let is_plain = wish == Wish::default();
        let uploads: Vec<Publication> = files
            .iter()
            .map(|file| Publication {
                sha256: file.staged.sha256,
                sha1: file.staged.sha1,
                md5: file.staged.md5,
                size: file.staged.size,
                kind: file.kind.to_owned(),
                original: file.original.clone(),
                address: uploader.address.clone(),
                expires: wish.expires.or(self.limits.expire).map(|expires| now.after(expires)),
                max_views: wish.max_views,
                shared: is_plain && self.dedupe == Dedupe::SameUrl,
                token: match &uploader.resumed {
                    Some(resumed) => Some(resumed.token.clone()),
                    None => uploader.gets_token.then(Token::random),
                },
            })
            .collect();
        let held = self.store.share(hashes.iter().copied()).await;
        let store = self.store.clone();
        let held = blocking(move || {
            for file in files {
                store.place(file.staged, &held)?;
            }
            Ok::<_, Refusal>(held)
        })
        .await??;
        let (names, rows, gate) = (self.names.clone(), uploads.clone(), self.gate.clone());
        let resumed = uploader.resumed.map(|resumed| resumed.hash);
        let published = self
            .db
            .write(move |db| {
                if !gate.is_open() {
                    return Err(DbError::Elsewhere);
                }
                let mut published = Vec::new();
                for upload in &rows {
                    match links::publish(db, upload, &names, now)? {
                        Published::Named { link, again } => published.push((link, again)),
                        // Banned since it was looked for: what was written for the others must not stay.
                        Published::Banned { .. } => return Err(DbError::Refused),
                    }
                }
                if let (Some(hash), Some((link, _))) = (&resumed, published.first()) {
                    // Taken back meanwhile.
                    if !resumable::finish(db, hash, &link.name)? {
                        return Err(DbError::Refused);
                    }
                }
                Ok(published)
            })
            .await;
        crash::point("published");
        if let Err(error @ (DbError::Refused | DbError::Elsewhere)) = published {
            drop(held);
            self.take_back(hashes).await?;
            return Err(if matches!(error, DbError::Elsewhere) { Refusal::Elsewhere } else { Refusal::Banned });
        }
        drop(held);
        let published = published?;
        if let Some(tier) = &self.tier {
            tier.wake.notify_one();
        }
        let mut receipts = Vec::new();
        for (upload, (link, again)) in uploads.into_iter().zip(published) {
            self.metrics.uploaded_files.add(1);
            self.metrics.uploaded_bytes.add(upload.size);
            self.metrics.repeated_files.add(u64::from(again));
            receipts.push(Receipt {
                link,
                sha256: upload.sha256,
                sha1: upload.sha1,
                size: upload.size,
                original: upload.original,
                token: upload.token,
                again,
            });
        }
        Ok(receipts)
    }

    /// Removes content that was put in its place and got no row.
    async fn take_back(&self, hashes: Vec<Sha256>) -> Result<(), Refusal> {
        for sha256 in hashes {
            let held = self.store.exclude(&sha256).await;
            if !self.db.read(move |db| links::is_known(db, &sha256)).await? {
                let store = self.store.clone();
                blocking(move || store.remove(&sha256, &held)).await??;
            }
        }
        Ok(())
    }
}
