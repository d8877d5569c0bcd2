//! A bucket or a directory that keeps things by key: the wire of the tier and of the backups.
//!
//! Nothing here relies on what a server may get wrong without telling: that a write is refused because something is
//! there, that what was put is what comes back, or that a size is a size. Keys of content are hashes, so writing twice
//! is harmless, and whoever reads compares.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig,
};
use tokio::io::AsyncReadExt as _;

use crate::config::{Secret, TierPlace};
use crate::model::Sha256;

/// From here on a file goes up in parts, in bytes, and so long is each.
const PART: usize = 8 << 20;
/// Nothing comes for so long: the connection is given up.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// Why something could not be done with it.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// It is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// It is not what it should be.
    #[error("{key} is not what it should be: {why}")]
    Wrong {
        /// What.
        key: String,
        /// In which way.
        why: String,
    },
    /// It does not answer as it should; another time it may.
    #[error("{0}")]
    Failed(String),
    /// This machine's own trouble.
    #[error("{what}: {error}")]
    Local {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: std::io::Error,
    },
}

impl BucketError {
    fn of(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::Missing(path),
            // The rest of a cause's causes says what it is about; a URL has no secret, for those are signed.
            other => Self::Failed(causes(&other)),
        }
    }

    pub(crate) fn local(what: impl Into<String>, error: std::io::Error) -> Self {
        Self::Local { what: what.into(), error }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where things are kept.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// Stands before each key.
    prefix: String,
    /// Where it is, for people.
    name: Arc<str>,
    /// Which can be a place where another one should be mounted.
    pub(super) is_directory: bool,
}

/// Something that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// In bytes, as the server says.
    pub size: u64,
}

impl Bucket {
    /// Opens it; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// When it cannot be one, or a secret is missing.
    pub fn open(place: &TierPlace) -> Result<Self, BucketError> {
        match place {
            TierPlace::Directory(directory) => Self::directory(directory),
            TierPlace::S3(s3) => {
                let secret = |name: &str| match std::env::var(name) {
                    Ok(value) if !value.is_empty() => Ok(Secret::new(value)),
                    _ => Err(BucketError::Failed(format!("the variable {name} is not set"))),
                };
                let (id, key) = (secret(&s3.access_key_id_env)?, secret(&s3.secret_key_env)?);
                let options = ClientOptions::new()
                    .with_allow_http(true)
                    .with_connect_timeout(CONNECT)
                    .with_read_timeout(SILENCE)
                    // Of a whole answer: a large one may take as long as it likes while something comes.
                    .with_timeout_disabled();
                let retry = RetryConfig {
                    backoff: BackoffConfig {
                        init_backoff: Duration::from_millis(100),
                        max_backoff: Duration::from_secs(2),
                        base: 2.0,
                    },
                    max_retries: 3,
                    retry_timeout: Duration::from_secs(20),
                };
                // Before the first connection: which ciphers. Who comes second finds them chosen.
                let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
                let store = AmazonS3Builder::new()
                    .with_endpoint(&s3.endpoint)
                    .with_bucket_name(&s3.bucket)
                    .with_region(&s3.region)
                    .with_access_key_id(id.reveal())
                    .with_secret_access_key(key.reveal())
                    // The server compares, if it knows how to, before it says that it has it.
                    .with_checksum_algorithm(Checksum::SHA256)
                    // Every server knows how to remove one thing; many at once, some do not.
                    .with_disable_bulk_delete(true)
                    .with_client_options(options)
                    .with_retry(retry)
                    .build()
                    .map_err(BucketError::of)?;
                let name = format!("{} at {}", s3.bucket, s3.endpoint);
                Ok(Self { store: Arc::new(store), prefix: s3.prefix.clone(), name: name.into(), is_directory: false })
            }
        }
    }

    /// A directory, which is made.
    ///
    /// # Errors
    ///
    /// When it cannot be made or used.
    pub fn made_directory(directory: &Path) -> Result<Self, BucketError> {
        // What is in it is nobody else's.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| BucketError::local(format!("failed to make {}", directory.display()), error))?;
        Self::directory(directory)
    }

    /// A directory that is there. One that has vanished is not made again: it may be one that is not mounted.
    ///
    /// # Errors
    ///
    /// When it is not, or cannot be used.
    pub fn directory(directory: &Path) -> Result<Self, BucketError> {
        if !directory.is_dir() {
            return Err(BucketError::Failed(format!(
                "there is no directory {}; mount it, or make it",
                directory.display()
            )));
        }
        let store = LocalFileSystem::new_with_prefix(directory).map_err(BucketError::of)?.with_fsync(true);
        let name = directory.display().to_string().into();
        Ok(Self { store: Arc::new(store), prefix: String::new(), name, is_directory: true })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn key(&self, key: &str) -> Key {
        Key::from(format!("{}{key}", self.prefix))
    }

    /// Puts a few bytes there, and reads them back: it is there when this returns, whatever the server says.
    ///
    /// # Errors
    ///
    /// When it is not, as far as is known.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.store.put(&self.key(key), PutPayload::from_bytes(bytes.clone())).await.map_err(BucketError::of)?;
        if self.get(key, bytes.len() as u64).await? != bytes {
            return Err(BucketError::Wrong {
                key: key.to_owned(),
                why: "other bytes came back than were put".to_owned(),
            });
        }
        Ok(())
    }

    /// Puts a file there, in parts if it is large. Whether that went well, [`Bucket::digest`] tells.
    ///
    /// # Errors
    ///
    /// When the server refuses it, or the file cannot be read.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), BucketError> {
        let local = |error| BucketError::local(format!("failed to read {}", path.display()), error);
        let mut file = tokio::fs::File::open(path).await.map_err(local)?;
        let mut part = read_part(&mut file).await.map_err(local)?;
        if part.len() < PART {
            let put = self.store.put(&self.key(key), PutPayload::from_bytes(part)).await;
            return put.map(drop).map_err(BucketError::of);
        }
        let mut upload = self.store.put_multipart(&self.key(key)).await.map_err(BucketError::of)?;
        let sent = async {
            while !part.is_empty() {
                upload.put_part(PutPayload::from_bytes(part)).await.map_err(BucketError::of)?;
                part = read_part(&mut file).await.map_err(local)?;
            }
            upload.complete().await.map(drop).map_err(BucketError::of)
        };
        let sent = sent.await;
        if sent.is_err() {
            // Parts that nobody puts together cost money for ever; but that they are there is no reason to fail.
            if let Err(error) = upload.abort().await {
                tracing::debug!(error = %causes(&error), "failed to take back parts of an upload");
            }
        }
        sent
    }

    /// A small thing, whole. One that is larger than `most` is refused.
    ///
    /// # Errors
    ///
    /// When it is not there, too large, or cut short.
    pub async fn get(&self, key: &str, most: u64) -> Result<Bytes, BucketError> {
        let mut stream = self.stream(key, None).await?.1;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                return Err(BucketError::Wrong { key: key.to_owned(), why: format!("it has more than {most} bytes") });
            }
        }
        Ok(bytes.into())
    }

    /// Some of it as it comes, and how long all of it is as the server says.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub async fn stream(
        &self,
        key: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, BucketError>>), BucketError> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let result = self.store.get_opts(&self.key(key), options).await.map_err(BucketError::of)?;
        let size = result.meta.size;
        Ok((size, result.into_stream().map_err(BucketError::of).boxed()))
    }

    /// Reads all of it, for its SHA-256 and its length.
    ///
    /// # Errors
    ///
    /// When it cannot be read to its end.
    pub async fn digest(&self, key: &str) -> Result<(Sha256, u64), BucketError> {
        let mut stream = self.stream(key, None).await?.1;
        let (mut context, mut size) = (Context::new(&SHA256), 0);
        while let Some(chunk) = stream.try_next().await? {
            context.update(&chunk);
            size += chunk.len() as u64;
        }
        Ok((digest(context), size))
    }

    /// Reads all of it into a new file, and gives its SHA-256 and its length.
    ///
    /// # Errors
    ///
    /// When it cannot be read to its end, or written.
    pub async fn get_file(&self, key: &str, path: &Path) -> Result<(Sha256, u64), BucketError> {
        use tokio::io::AsyncWriteExt as _;
        let local = |error| BucketError::local(format!("failed to write {}", path.display()), error);
        let mut stream = self.stream(key, None).await?.1;
        let mut file = tokio::fs::File::create_new(path).await.map_err(local)?;
        let (mut context, mut size) = (Context::new(&SHA256), 0);
        while let Some(chunk) = stream.try_next().await? {
            context.update(&chunk);
            size += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(local)?;
        }
        file.sync_all().await.map_err(local)?;
        Ok((digest(context), size))
    }

    /// How long it is, as the server says.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub async fn size(&self, key: &str) -> Result<u64, BucketError> {
        Ok(self.store.head(&self.key(key)).await.map_err(BucketError::of)?.size)
    }

    /// Removes it. That it is not there is no error.
    ///
    /// # Errors
    ///
    /// When it may still be there.
    pub async fn remove(&self, key: &str) -> Result<(), BucketError> {
        match self.store.delete(&self.key(key)).await.map_err(BucketError::of) {
            Err(BucketError::Missing(_)) => Ok(()),
            other => other,
        }
    }

    /// All whose keys begin with `folder`, which ends with a stroke, in the order of their keys.
    ///
    /// # Errors
    ///
    /// When it cannot be listed to the end.
    pub async fn list(&self, folder: &str) -> Result<Vec<Item>, BucketError> {
        let prefix = self.key(folder.trim_end_matches('/'));
        let mut items: Vec<Item> = self
            .store
            .list(Some(&prefix))
            .map_ok(|meta| Item {
                key: meta.location.as_ref().strip_prefix(self.prefix.as_str()).unwrap_or_default().to_owned(),
                size: meta.size,
            })
            .map_err(BucketError::of)
            .try_collect()
            .await?;
        items.retain(|item| item.key.starts_with(folder));
        items.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(items)
    }
}

/// As much as a part has, less at the end of the file.
async fn read_part(file: &mut tokio::fs::File) -> std::io::Result<Bytes> {
    let mut part = Vec::with_capacity(PART.min(1 << 20));
    file.take(PART as u64).read_to_end(&mut part).await?;
    Ok(part.into())
}

pub(crate) fn digest(context: Context) -> Sha256 {
    Sha256(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    digest(context)
}

/// Of a file. Blocks.
///
/// # Errors
///
/// When it cannot be read.
pub fn digest_of(path: &Path) -> std::io::Result<Sha256> {
    use std::io::Read as _;
    let (mut file, mut context) = (std::fs::File::open(path)?, Context::new(&SHA256));
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest(context)),
            read => context.update(&buffer[..read]),
        }
    }
}

/// Where content is: `objects/ab/cd/SHA-256`.
#[must_use]
pub fn object_key(sha256: &Sha256) -> String {
    let name = sha256.to_string();
    format!("objects/{}/{}/{name}", &name[..2], &name[2..4])
}

/// A directory of its own for what is on its way, removed with its value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// In `parent`, which is made.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn inside(parent: &Path) -> Result<Self, BucketError> {
        let path = parent.join(format!("scratch-{}", crate::model::random(12)));
        std::fs::create_dir_all(&path)
            .map_err(|error| BucketError::local(format!("failed to make {}", path.display()), error))?;
        Ok(Self(path))
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "failed to remove what was on its way");
        }
    }
}
