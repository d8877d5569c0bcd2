//! Copies another origin: its content, then the rows that name it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use serde::Deserialize;
use tokio::sync::watch;

use super::standing::{self, Role, Standing};
use crate::backup::journal::{self, Replay};
use crate::clock;
use crate::config::{Follow, Secret};
use crate::crash;
use crate::db::{Db, DbError};
use crate::model::Sha256;
use crate::store::{Staged, Store, StoreError};
use crate::tier::bucket::Scratch;

const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);
/// After something went wrong.
const PAUSE: Duration = Duration::from_secs(5);
/// Of an answer with lines.
const MOST: usize = 256 << 20;
/// Content that is fetched at once.
const AT_ONCE: usize = 4;

/// Why it does not come on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The other one does not answer as it should.
    #[error("{0}")]
    Other(String),
    /// This one's disk.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// This one's database.
    #[error("{0}")]
    Db(#[from] DbError),
}

impl From<reqwest::Error> for FollowError {
    fn from(error: reqwest::Error) -> Self {
        let mut text = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        Self::Other(text)
    }
}

/// Copies another origin.
#[derive(Debug)]
pub struct Follower {
    settings: Follow,
    token: Secret,
    client: reqwest::Client,
    /// None for one that asks and tells alone.
    store: Option<Arc<Store>>,
    db: Db,
    scratch: PathBuf,
    /// How far it has come, for metrics: the line, and when it last had all there was.
    pub progress: Arc<Progress>,
}

/// How far it has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// The last line it has.
    pub line: AtomicI64,
    /// The other one's last line.
    pub last: AtomicI64,
    /// When it last had all there was, in milliseconds since 1970.
    pub level: AtomicI64,
    /// Content that was fetched.
    pub fetched: AtomicU64,
}

#[derive(Deserialize)]
struct Sent {
    seq: i64,
    line: String,
}

impl Follower {
    /// One that follows as `settings` say.
    ///
    /// # Errors
    ///
    /// When it has no token, or no client.
    pub fn new(settings: &Follow, store: &Arc<Store>, db: &Db, scratch: PathBuf) -> Result<Self, FollowError> {
        Ok(Self { store: Some(store.clone()), scratch, ..Self::to_ask(settings, db)? })
    }

    /// One that asks and tells the other one, and copies nothing.
    ///
    /// # Errors
    ///
    /// When it has no token, or no client.
    pub fn to_ask(settings: &Follow, db: &Db) -> Result<Self, FollowError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Self {
            token: super::token(&settings.token_file).map_err(|error| FollowError::Other(error.to_string()))?,
            client: reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?,
            settings: settings.clone(),
            store: None,
            db: db.clone(),
            scratch: PathBuf::new(),
            progress: Arc::default(),
        })
    }

    /// Follows until `end` is true, or until it is promoted; then it tells the other one so, until that has heard it.
    pub async fn run(self, mut end: watch::Receiver<bool>) {
        let mut told = false;
        loop {
            let step = async {
                let own = self.db.read(standing::read).await?;
                match own.role {
                    Role::Follows => self.step(&own).await,
                    Role::Writes if !told => {
                        let other = self.fence(own.epoch, &own.origin).await?;
                        told = other.role != Role::Writes;
                        Ok(true)
                    }
                    Role::Writes | Role::Fenced => Ok(true),
                }
            };
            let pause = tokio::select! {
                done = step => match done {
                    Ok(true) => self.settings.every,
                    Ok(false) => Duration::ZERO,
                    Err(error) => {
                        tracing::warn!(%error, url = self.settings.url, "failed to follow");
                        PAUSE.max(self.settings.every)
                    }
                },
                _ = end.wait_for(|end| *end) => return,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = end.wait_for(|end| *end) => return,
            }
        }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}/replicate/{path}", self.settings.url)).bearer_auth(self.token.reveal())
    }

    /// Tells the other one that this one writes.
    ///
    /// # Errors
    ///
    /// When it does not hear it.
    pub async fn fence(&self, epoch: i64, by: &str) -> Result<Standing, FollowError> {
        let body = serde_json::json!({ "epoch": epoch, "by": by }).to_string();
        let url = format!("{}/replicate/fence", self.settings.url);
        let answer = self.client.put(url).bearer_auth(self.token.reveal()).body(body).send().await?;
        let answer = answer.error_for_status()?.bytes().await?;
        serde_json::from_slice(&answer).map_err(|error| FollowError::Other(error.to_string()))
    }

    /// Who the other one is.
    ///
    /// # Errors
    ///
    /// When it does not say so.
    pub async fn other(&self) -> Result<Standing, FollowError> {
        let answer = self.get("standing").send().await?.error_for_status()?.bytes().await?;
        serde_json::from_slice(&answer).map_err(|error| FollowError::Other(error.to_string()))
    }

    /// Comes on a little. Whether it has all there is.
    async fn step(&self, own: &Standing) -> Result<bool, FollowError> {
        let after = self.db.read(standing::mark).await?.unwrap_or(0);
        let query = format!(
            "journal?after={after}&lineage={}&epoch={}&by={}",
            own.lineage,
            own.epoch,
            own.fenced_by.as_deref().unwrap_or_default()
        );
        let answer = self.get(&query).send().await?;
        if answer.status() == http::StatusCode::CONFLICT {
            self.copy(own).await?;
            return Ok(false);
        }
        let body = whole(answer.error_for_status()?).await?;
        let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let wrong =
            |error: serde_json::Error| FollowError::Other(format!("the other one says something else: {error}"));
        let other: Standing = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(wrong)?;
        if other.epoch < own.epoch {
            return Err(FollowError::Other(format!(
                "it is of epoch {}, and epoch {} has begun",
                other.epoch, own.epoch
            )));
        }
        let lines: Vec<Sent> = lines.map(serde_json::from_slice).collect::<Result<_, _>>().map_err(wrong)?;
        self.progress.last.store(other.last, Ordering::Relaxed);
        let last = lines.last().map_or(after, |line| line.seq);
        if !lines.is_empty() {
            let needed = lines.iter().filter_map(|line| content_of(&line.line)).collect();
            self.fetch_all(needed).await?;
            crash::point("follow-fetched");
            let (epoch, by) = (other.epoch, other.fenced_by.clone());
            self.db
                .write(move |db| {
                    apply(db, |db| {
                        let replay = Replay::on(db).map_err(|error| DbError::Other(error.to_string()))?;
                        for line in &lines {
                            replay.line(line.seq, &line.line).map_err(|error| DbError::Other(error.to_string()))?;
                        }
                        // Who it is that has it, the other one knows.
                        db.execute("UPDATE standing SET epoch = ?1, fenced_by = ?2 WHERE epoch < ?1", (epoch, &by))?;
                        standing::set_mark(db, last)
                    })
                })
                .await?;
        }
        self.progress.line.store(last, Ordering::Relaxed);
        let is_level = last >= other.last;
        if is_level {
            self.progress.level.store(clock::now().0, Ordering::Relaxed);
        }
        Ok(is_level)
    }

    /// Takes all rows anew.
    async fn copy(&self, own: &Standing) -> Result<(), FollowError> {
        tracing::info!(url = self.settings.url, "all rows are copied");
        let scratch = Scratch::inside(&self.scratch).map_err(|error| FollowError::Other(error.to_string()))?;
        let path = scratch.file("copy.db");
        let mut answer = self.get("copy").send().await?.error_for_status()?;
        let expected = answer.content_length();
        let local = |error: std::io::Error| FollowError::Other(format!("failed to write the copy: {error}"));
        let mut file = tokio::fs::File::create_new(&path).await.map_err(local)?;
        let mut size = 0;
        while let Some(chunk) = answer.chunk().await? {
            use tokio::io::AsyncWriteExt as _;
            size += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(local)?;
        }
        file.sync_all().await.map_err(local)?;
        if expected.is_some_and(|expected| expected != size) {
            return Err(FollowError::Other("the copy was cut short".to_owned()));
        }
        let copied = path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let db = Connection::open(&copied)?;
            let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            if verdict != "ok" {
                return Err(DbError::Other(format!("the copy is damaged: {verdict}")));
            }
            let schema: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if schema != crate::db::SCHEMA {
                return Err(DbError::Other(format!(
                    "the other one has schema {schema}, and this one {}",
                    crate::db::SCHEMA
                )));
            }
            let mut statement = db.prepare("SELECT sha256 FROM objects")?;
            let needed = statement.query_map([], |row| row.get(0).map(Sha256))?.collect::<Result<BTreeSet<_>, _>>()?;
            Ok((standing::read(&db)?, needed))
        });
        let (other, needed) = read.await.map_err(|error| FollowError::Other(error.to_string()))??;
        if other.epoch < own.epoch {
            return Err(FollowError::Other(format!(
                "it is of epoch {}, and epoch {} has begun",
                other.epoch, own.epoch
            )));
        }
        self.fetch_all(needed).await?;
        crash::point("follow-copied");
        let write = self.db.write(move |db| {
            let from = Connection::open(&path)?;
            apply(db, |db| {
                // In any order: references are looked at when it is over.
                db.execute_batch("PRAGMA defer_foreign_keys = ON")?;
                journal::replace_all(db, &from).map_err(|error| DbError::Other(error.to_string()))?;
                db.execute("UPDATE standing SET lineage = ?1, epoch = ?2", (&other.lineage, other.epoch))?;
                standing::set_mark(db, other.last)
            })
        });
        write.await?;
        drop(scratch);
        Ok(())
    }

    /// Has all this content here. Rows come after it.
    async fn fetch_all(&self, needed: BTreeSet<Sha256>) -> Result<(), FollowError> {
        use futures_util::{StreamExt as _, TryStreamExt as _};
        let Some(store) = &self.store else { return Ok(()) };
        let missing = needed.into_iter().filter(|sha256| !store.path(sha256).is_file());
        let all = missing.map(|sha256| self.fetch(store, sha256));
        futures_util::stream::iter(all).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn fetch(&self, store: &Arc<Store>, sha256: Sha256) -> Result<(), FollowError> {
        let answer = self.get(&format!("objects/{sha256}")).send().await?;
        if answer.status() == http::StatusCode::NOT_FOUND {
            // It was removed since its line was written; the line that says so comes.
            return Ok(());
        }
        let staged = receive(store, answer.error_for_status()?).await?;
        if staged.sha256 != sha256 {
            return Err(FollowError::Other(format!("for {sha256}, content with the hash {} came", staged.sha256)));
        }
        let held = store.share([sha256]).await;
        let store = store.clone();
        let placed = tokio::task::spawn_blocking(move || store.place(staged, &held)).await;
        placed.map_err(|error| FollowError::Other(error.to_string()))??;
        self.progress.fetched.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn receive(store: &Store, mut answer: reqwest::Response) -> Result<Staged, FollowError> {
    let mut room = store.reserve(answer.content_length().unwrap_or(0))?;
    let mut staging = store.stage();
    while let Some(chunk) = answer.chunk().await? {
        room.written(chunk.len() as u64)?;
        let written = tokio::task::spawn_blocking(move || staging.write(&[chunk]).map(|()| staging)).await;
        staging = written.map_err(|error| FollowError::Other(error.to_string()))??;
    }
    let staged = tokio::task::spawn_blocking(move || staging.finish()).await;
    Ok(staged.map_err(|error| FollowError::Other(error.to_string()))??)
}

/// Writes what another one has written, as one that follows may. One that was promoted meanwhile does not.
fn apply(db: &Connection, work: impl FnOnce(&Connection) -> Result<(), DbError>) -> Result<(), DbError> {
    if db.execute("UPDATE standing SET applying = 1 WHERE role = 'follows'", [])? != 1 {
        return Err(DbError::Other("this one does not follow any more".to_owned()));
    }
    work(db)?;
    db.execute("UPDATE standing SET applying = 0", [])?;
    Ok(())
}

/// The content that a line's row names.
fn content_of(line: &str) -> Option<Sha256> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    (line["t"] == "objects").then(|| line["put"]["sha256"].as_str()?.parse().ok()).flatten()
}

async fn whole(mut answer: reqwest::Response) -> Result<Bytes, FollowError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST {
            return Err(FollowError::Other("its answer is too long".to_owned()));
        }
    }
    Ok(body.into())
}
