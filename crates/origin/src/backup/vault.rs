//! Where the backups are: manifests, what they are of, pins.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::json;

use super::chain::{Chain, Entry, Id, Manifest, chains};
use crate::config::Config;
use crate::model::{Sha256, Time};
use crate::tier::bucket::{Bucket, BucketError, sha256};

/// Of a manifest, in bytes.
const MANIFEST: u64 = 1 << 20;
/// Of a pin, in bytes: 32 million hashes.
const PIN: u64 = 1 << 30;

/// The place.
#[derive(Clone, Debug)]
pub struct Vault {
    bucket: Bucket,
}

impl Vault {
    /// The one that `config` names: a directory of its own, else the tier, else `backups` in the store's directory.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub fn open(config: &Config) -> Result<Self, BucketError> {
        let bucket = match (&config.backup.directory, &config.tier) {
            (Some(directory), _) => Bucket::directory(directory)?,
            (None, Some(tier)) => Bucket::open(&tier.place)?,
            (None, None) => Bucket::made_directory(&config.store.directory.join("backups"))?,
        };
        Ok(Self { bucket })
    }

    /// In `bucket`.
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        self.bucket.name()
    }

    /// All that is there, oldest first.
    ///
    /// # Errors
    ///
    /// When it cannot be listed. A manifest that cannot be read is a broken chain, and no error.
    pub async fn chains(&self) -> Result<Vec<Chain>, BucketError> {
        let mut entries = Vec::new();
        for folder in ["meta/full/", "meta/inc/"] {
            for item in self.bucket.list(folder).await? {
                let Some(id) = Id::of_manifest(&item.key) else { continue };
                let bytes = match self.bucket.get(&item.key, MANIFEST).await {
                    Ok(bytes) => bytes,
                    // Somebody expunges while we look.
                    Err(BucketError::Missing(_)) => continue,
                    Err(wrong @ BucketError::Wrong { .. }) => {
                        entries.push(Entry { id, digest: Sha256([0; 32]), manifest: Err(wrong.to_string()) });
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let manifest = serde_json::from_slice::<Manifest>(&bytes).map_err(|error| error.to_string());
                entries.push(Entry { id, digest: sha256(&bytes), manifest });
            }
        }
        entries.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(chains(&entries))
    }

    /// SHA-256 of a manifest, as the next one has to name it.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn digest_of_manifest(&self, id: &Id) -> Result<Sha256, BucketError> {
        Ok(sha256(&self.bucket.get(&id.manifest_key(), MANIFEST).await?))
    }

    /// Puts a backup there: content first, read back; then its manifest, which makes it one.
    ///
    /// # Errors
    ///
    /// When it is not there whole. What is left of it then is no backup.
    pub async fn add(&self, id: &Id, manifest: &Manifest, content: &Path) -> Result<(), BucketError> {
        let key = id.content_key();
        self.bucket.put_file(&key, content).await?;
        self.check(id, manifest).await?;
        crate::crash::point("backup-content");
        let text = serde_json::to_vec_pretty(manifest).map_err(|error| BucketError::Failed(error.to_string()))?;
        self.bucket.put(&id.manifest_key(), text.into()).await?;
        crate::crash::point("backup-manifest");
        Ok(())
    }

    /// Whether its content is what the manifest says.
    ///
    /// # Errors
    ///
    /// When it is not, or cannot be read.
    pub async fn check(&self, id: &Id, manifest: &Manifest) -> Result<(), BucketError> {
        compare(id, manifest, self.bucket.digest(&id.content_key()).await?)
    }

    /// Its content in a new file, compared.
    ///
    /// # Errors
    ///
    /// When it is not what the manifest says.
    pub async fn fetch(&self, id: &Id, manifest: &Manifest, path: &Path) -> Result<(), BucketError> {
        compare(id, manifest, self.bucket.get_file(&id.content_key(), path).await?)
    }

    /// Removes one: its manifest first, so that it is none from then on.
    ///
    /// # Errors
    ///
    /// When it may still be there.
    pub async fn remove(&self, id: &Id) -> Result<(), BucketError> {
        self.bucket.remove(&id.manifest_key()).await?;
        crate::crash::point("expunged-manifest");
        self.bucket.remove(&id.content_key()).await
    }

    /// What no manifest names: left by somebody who died while adding or removing. `before` spares one at work.
    ///
    /// # Errors
    ///
    /// When it cannot be listed.
    pub async fn leftovers(&self, before: Time) -> Result<Vec<String>, BucketError> {
        let mut keys = Vec::new();
        for folder in ["meta/full/", "meta/inc/"] {
            keys.extend(self.bucket.list(folder).await?.into_iter().map(|item| item.key));
        }
        let known: BTreeSet<String> =
            keys.iter().filter_map(|key| Id::of_manifest(key)).map(|id| id.content_key()).collect();
        let limit = Id::full(before).full;
        keys.retain(|key| {
            let name = key.split('/').nth(2).and_then(|name| name.get(..19)).unwrap_or_default();
            Id::of_manifest(key).is_none() && !known.contains(key) && name < limit.as_str()
        });
        Ok(keys)
    }

    /// Removes what [`Vault::leftovers`] has found.
    ///
    /// # Errors
    ///
    /// When it may still be there.
    pub async fn remove_leftover(&self, key: &str) -> Result<(), BucketError> {
        self.bucket.remove(key).await
    }

    /// The names of full ones whose chains stay.
    ///
    /// # Errors
    ///
    /// When it cannot be listed.
    pub async fn pinned(&self) -> Result<BTreeSet<String>, BucketError> {
        let items = self.bucket.list("meta/pin/").await?;
        let name = |key: &str| key.strip_prefix("meta/pin/")?.strip_suffix(".jsonl.zst").map(str::to_owned);
        Ok(items.iter().filter_map(|item| name(&item.key)).collect())
    }

    /// Keeps a chain, and the content its rows name, until [`Vault::unpin`].
    ///
    /// # Errors
    ///
    /// When that is not written.
    pub async fn pin(&self, id: &Id, reason: &str, now: Time, content: &BTreeSet<Sha256>) -> Result<(), BucketError> {
        let pack = || -> std::io::Result<Vec<u8>> {
            let mut out = zstd::Encoder::new(Vec::new(), 3)?;
            writeln!(out, "{}", json!({"pinned": now.rfc3339(), "reason": reason, "content": content.len()}))?;
            for hash in content {
                writeln!(out, "\"{hash}\"")?;
            }
            out.finish()
        };
        let packed = pack().map_err(|error| BucketError::local("failed to pack the hashes", error))?;
        self.bucket.put(&id.pin_key(), packed.into()).await
    }

    /// Lets the rules have it again.
    ///
    /// # Errors
    ///
    /// When that is not written.
    pub async fn unpin(&self, id: &Id) -> Result<(), BucketError> {
        self.bucket.remove(&id.pin_key()).await
    }

    /// The content that pinned backups need.
    ///
    /// # Errors
    ///
    /// When that cannot be read: then nothing may be removed.
    pub async fn pinned_content(&self) -> Result<BTreeSet<Sha256>, BucketError> {
        let mut all = BTreeSet::new();
        for item in self.bucket.list("meta/pin/").await? {
            let packed = self.bucket.get(&item.key, PIN).await?;
            let wrong = |why: String| BucketError::Wrong { key: item.key.clone(), why };
            let mut text = String::new();
            let unpacked = zstd::Decoder::new(&packed[..]).and_then(|mut decoder| decoder.read_to_string(&mut text));
            unpacked.map_err(|error| wrong(error.to_string()))?;
            for line in text.lines().skip(1) {
                let hash = line.trim_matches('"').parse().map_err(|()| wrong(format!("{line:?} is no hash")))?;
                all.insert(hash);
            }
        }
        Ok(all)
    }
}

fn compare(id: &Id, manifest: &Manifest, (sha256, size): (Sha256, u64)) -> Result<(), BucketError> {
    let wrong = |why: String| Err(BucketError::Wrong { key: id.content_key(), why });
    if size != manifest.size {
        wrong(format!("it has {size} bytes, and should have {}", manifest.size))
    } else if manifest.sha256 != sha256.to_string() {
        wrong(format!("its SHA-256 is {sha256}, and should be {}", manifest.sha256))
    } else {
        Ok(())
    }
}
