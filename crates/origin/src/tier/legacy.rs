//! Older servers, folders and buckets that are asked, in order, for a name that is not known here. The first that has
//! it is believed, and what it gives is taken over under the same name.
//!
//! A server is asked with a field that says so, and whoever is asked with it does not ask on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderName, StatusCode, header};

use super::bucket::{Bucket, BucketError};
use super::negative::Negative;
use crate::clock;
use crate::config::{Legacy as Settings, TierPlace};
use crate::crash;
use crate::db::links::{self, Publication};
use crate::db::{Db, DbError};
use crate::follow::standing::{self, Role};
use crate::metrics::Metrics;
use crate::model::Name;
use crate::rules;
use crate::store::{Staged, Store, StoreError};

/// What a server is asked with.
pub const ASKED: HeaderName = HeaderName::from_static("witness-origin-legacy");
/// To connect, and between two pieces of an answer.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);
/// A name that nobody knew is not asked for again for so long.
const FORGET: Duration = Duration::from_secs(60);
/// Files that are taken over at once.
const AT_ONCE: usize = 8;

/// Who is asked.
#[derive(Debug)]
pub struct Legacy {
    sources: Vec<Source>,
    store: Arc<Store>,
    db: Db,
    metrics: Arc<Metrics>,
    unknown: Negative<Name>,
    /// One at a time for each name: the others wait, and find it.
    busy: Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>,
    room: tokio::sync::Semaphore,
}

#[derive(Debug)]
enum Source {
    Directory(PathBuf),
    Server(String, reqwest::Client),
    Bucket(Bucket),
}

enum AskError {
    /// It has no such name.
    Unknown,
    /// It may have.
    Failed(String),
    /// This machine's trouble.
    Here(StoreError),
}

impl From<StoreError> for AskError {
    fn from(error: StoreError) -> Self {
        Self::Here(error)
    }
}

impl From<BucketError> for AskError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Missing(_) => Self::Unknown,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Legacy {
    /// Those that are configured; nothing where none is.
    ///
    /// # Errors
    ///
    /// When one cannot be asked at all.
    pub fn open(
        settings: &[Settings],
        store: &Arc<Store>,
        db: &Db,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, BucketError> {
        if settings.is_empty() {
            return Ok(None);
        }
        let source = |setting: &Settings| match setting {
            Settings::Directory(directory) => Ok(Source::Directory(directory.clone())),
            Settings::S3(s3) => Bucket::open(&TierPlace::S3(s3.clone())).map(Source::Bucket),
            Settings::Url(url) => {
                let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
                let client = reqwest::Client::builder()
                    .connect_timeout(CONNECT)
                    .read_timeout(SILENCE)
                    .redirect(reqwest::redirect::Policy::limited(3))
                    .build();
                let client = client.map_err(|error| BucketError::Failed(error.to_string()))?;
                Ok(Source::Server(url.clone(), client))
            }
        };
        Ok(Some(Arc::new(Self {
            sources: settings.iter().map(source).collect::<Result<_, BucketError>>()?,
            store: store.clone(),
            db: db.clone(),
            metrics: metrics.clone(),
            unknown: Negative::new(FORGET),
            busy: Mutex::default(),
            room: tokio::sync::Semaphore::new(AT_ONCE),
        })))
    }

    /// Asks for `name`, and takes over what the first that has it gives. Whether the name may be known now.
    ///
    /// # Errors
    ///
    /// When it cannot be kept here.
    pub async fn import(self: &Arc<Self>, name: &Name) -> Result<bool, DbError> {
        if self.unknown.has(name) {
            return Ok(false);
        }
        let lock = self.busy.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone();
        let (legacy, wanted, held) = (self.clone(), name.clone(), lock.clone());
        // To its end, also when the client leaves: the next one will come.
        let work = tokio::spawn(async move {
            let _alone = held.lock().await;
            legacy.import_alone(&wanted).await
        });
        let done = work.await.map_err(|error| DbError::Other(error.to_string()));
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // This one, and the list's own.
        if Arc::strong_count(&lock) <= 2 {
            busy.remove(name);
        }
        drop(busy);
        done?
    }

    async fn import_alone(&self, name: &Name) -> Result<bool, DbError> {
        // Whoever waited for another's import finds it done, one way or the other.
        if self.unknown.has(name) {
            return Ok(false);
        }
        let wanted = name.clone();
        if self.db.read(move |db| links::lookup(db, &wanted, clock::now())).await?.is_some() {
            return Ok(true);
        }
        if self.db.read(standing::read).await?.role != Role::Writes {
            return Ok(false);
        }
        let Ok(_room) = self.room.acquire().await else { return Ok(false) };
        let mut all_answered = true;
        for source in &self.sources {
            match self.ask(source, name).await {
                Ok(staged) => return self.adopt(name, staged).await,
                Err(AskError::Unknown) => {}
                Err(AskError::Failed(why)) => {
                    self.metrics.failed_legacy.add(1);
                    tracing::warn!(source = source.name(), %name, why, "a legacy source does not answer as it should");
                    all_answered = false;
                }
                Err(AskError::Here(error)) => return Err(DbError::Other(error.to_string())),
            }
        }
        self.metrics.legacy_misses.add(1);
        // One that did not answer may have it: the next client asks again.
        if all_answered {
            self.unknown.add(name.clone());
        }
        Ok(false)
    }

    async fn ask(&self, source: &Source, name: &Name) -> Result<Staged, AskError> {
        match source {
            Source::Directory(directory) => {
                let (path, mut staging) = (directory.join(name.as_str()), self.store.stage());
                let store = self.store.clone();
                let copied = tokio::task::spawn_blocking(move || {
                    let mut file = open_plain(&path)?;
                    let mut room = store.reserve(file.metadata().map(|metadata| metadata.len()).unwrap_or(0))?;
                    let mut buffer = vec![0; 256 << 10];
                    loop {
                        let read = file.read(&mut buffer).map_err(|error| AskError::Failed(error.to_string()))?;
                        if read == 0 {
                            return Ok(staging.finish()?);
                        }
                        room.written(read as u64)?;
                        staging.write(&[Bytes::copy_from_slice(&buffer[..read])])?;
                    }
                });
                copied.await.map_err(|error| AskError::Failed(error.to_string()))?
            }
            Source::Bucket(bucket) => {
                let (size, stream) = bucket.stream(name.as_str(), None).await?;
                let stream = stream.map_err(|error| error.to_string()).boxed();
                self.receive(stream, Some(size)).await
            }
            Source::Server(url, client) => {
                let request = client.get(format!("{url}/{}", name.in_url())).header(ASKED, "1");
                // What is packed on the way would be another length.
                let request = request.header(header::ACCEPT_ENCODING, "identity");
                let answer = request.send().await.map_err(|error| AskError::Failed(error.without_url().to_string()))?;
                match answer.status() {
                    StatusCode::OK => {}
                    StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => {
                        return Err(AskError::Unknown);
                    }
                    other => return Err(AskError::Failed(format!("it answers {other}"))),
                }
                if is_a_page_instead(name, answer.headers()) {
                    return Err(AskError::Unknown);
                }
                let size = answer.content_length();
                let stream = answer.bytes_stream().map_err(|error| error.without_url().to_string()).boxed();
                self.receive(stream, size).await
            }
        }
    }

    async fn receive(
        &self,
        mut stream: BoxStream<'static, Result<Bytes, String>>,
        size: Option<u64>,
    ) -> Result<Staged, AskError> {
        let mut room = self.store.reserve(size.unwrap_or(0))?;
        let mut staging = self.store.stage();
        loop {
            let chunk = stream.try_next().await.map_err(AskError::Failed)?;
            let Some(chunk) = chunk else { break };
            room.written(chunk.len() as u64)?;
            let written = tokio::task::spawn_blocking(move || staging.write(&[chunk]).map(|()| staging)).await;
            staging = written.map_err(|error| AskError::Failed(error.to_string()))??;
        }
        if size.is_some_and(|size| size != staging.size()) {
            return Err(AskError::Failed(format!("{} bytes came of {}", staging.size(), size.unwrap_or_default())));
        }
        let staged = tokio::task::spawn_blocking(move || staging.finish()).await;
        Ok(staged.map_err(|error| AskError::Failed(error.to_string()))??)
    }

    async fn adopt(&self, name: &Name, staged: Staged) -> Result<bool, DbError> {
        let failed = |error: &dyn std::fmt::Display| DbError::Other(error.to_string());
        let (sha256, now) = (staged.sha256, clock::now());
        let read_at = |buffer: &mut [u8], at: u64| staged.read_at(buffer, at);
        let kind = rules::kinds(name.as_str(), &staged.head, staged.size, &read_at).kind;
        let upload = Publication {
            sha256,
            sha1: staged.sha1,
            md5: staged.md5,
            size: staged.size,
            kind,
            original: name.as_str().to_owned(),
            address: None,
            expires: None,
            max_views: None,
            shared: false,
            token: None,
        };
        let held = self.store.share([sha256]).await;
        let store = self.store.clone();
        let placed = tokio::task::spawn_blocking(move || store.place(staged, &held).map(|()| held)).await;
        let _held = placed.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        crash::point("legacy-placed");
        let wanted = name.clone();
        if self.db.write(move |db| links::adopt(db, &wanted, &upload, now)).await? {
            self.metrics.legacy_imports.add(1);
            tracing::info!(%name, %sha256, "taken over from a legacy source");
        }
        Ok(true)
    }
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Directory(directory) => directory.to_str().unwrap_or("a directory"),
            Self::Server(url, _) => url,
            Self::Bucket(bucket) => bucket.name(),
        }
    }
}

/// A file that is one: no link to somewhere else, no folder, no pipe that nobody writes to.
fn open_plain(path: &Path) -> Result<File, AskError> {
    use rustix::fs::OFlags;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).expect("flags of open fit");
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(AskError::Unknown),
        // A link, or a name that the file system cannot have.
        Err(error) if matches!(error.raw_os_error(), Some(code) if [rustix::io::Errno::LOOP, rustix::io::Errno::NAMETOOLONG].iter().any(|errno| errno.raw_os_error() == code)) =>
        {
            return Err(AskError::Unknown);
        }
        Err(error) => return Err(AskError::Failed(error.to_string())),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(AskError::Unknown),
        Err(error) => Err(AskError::Failed(error.to_string())),
    }
}

/// Servers there are that answer 200 and a page for whatever they do not have. A page is taken for a file only where a
/// page was asked for.
fn is_a_page_instead(name: &Name, headers: &http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let name = name.as_str().to_ascii_lowercase();
    kind.to_ascii_lowercase().starts_with("text/html")
        && ![".html", ".htm", ".xhtml"].iter().any(|end| name.ends_with(end))
}
