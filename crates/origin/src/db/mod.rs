//! Rows: names, objects, claims, bans, and what happened.
//!
//! SQLite with a write-ahead log that is synced at each commit. One thread writes; whoever asks while it waits for the
//! disk shares the next commit, so that many clients cost as many syncs as few. Readers have connections of their own,
//! and never wait for the writer.
//!
//! Queries are functions over a connection, in [`links`] and its neighbours: they decide nothing about who may do what.

pub mod addresses;
pub mod bans;
pub mod imports;
pub mod links;
pub mod listing;
mod open;
pub mod purges;
pub mod replicas;
pub mod resumable;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

pub use open::{SCHEMA, look};
pub use writer::Commits;
use writer::Writer;

/// Connections that read at once.
const READERS: usize = 8;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// A newer version has written it.
    #[error("{} has schema {found}, and this version knows {SCHEMA}; use the newer version", path.display())]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// What it has.
        found: i64,
    },
    /// An older version has written it, and who only reads does not bring it up to date.
    #[error("{} has schema {found}, and this version wants {SCHEMA}; start the server once", path.display())]
    Older {
        /// Where it is.
        path: PathBuf,
        /// What it has.
        found: i64,
    },
    /// Somebody else's.
    #[error("{} is another program's database", .0.display())]
    Foreign(PathBuf),
    /// What was to be written turned out not to be allowed.
    #[error("it is not allowed")]
    Refused,
    /// This origin does not write: another one does.
    #[error("another origin writes")]
    Elsewhere,
    /// It is being closed.
    #[error("the database is closed")]
    Closed,
    /// What is done with it went wrong.
    #[error("{0}")]
    Other(String),
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            // What the triggers of the fence say.
            Some(rusqlite::ErrorCode::ConstraintViolation) if error.to_string().contains("another origin writes") => {
                Self::Elsewhere
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

/// The database. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    free: Semaphore,
}

impl Db {
    /// Opens the one at `path`; creates it, and brings an older one up to date.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let writer = Writer::start(open::writer(path)?)?;
        let inner = Inner { path: path.to_owned(), writer, readers: Mutex::default(), free: Semaphore::new(READERS) };
        Ok(Self(Arc::new(inner)))
    }

    /// Does `work` in a transaction, and returns when that is durable. What fails leaves nothing behind, and does not
    /// disturb the others in it.
    ///
    /// # Errors
    ///
    /// Those of `work`, or of the commit: then nothing was written, unless the disk itself failed.
    pub async fn write<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    {
        let (send, receive) = oneshot::channel();
        self.0.writer.submit(work, move |result| {
            // Who asked may have gone.
            let _ = send.send(result);
        })?;
        receive.await.map_err(|_| DbError::Closed)?
    }

    /// Reads on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub async fn read<T, F>(&self, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    {
        let inner = self.0.clone();
        let Ok(_permit) = self.0.free.acquire().await else { return Err(DbError::Closed) };
        let done = tokio::task::spawn_blocking(move || inner.read(work)).await;
        done.map_err(|error| DbError::Other(error.to_string()))?
    }

    /// How many commits there were, and how many pieces of work in them.
    #[must_use]
    pub fn commits(&self) -> (u64, u64) {
        let counts = self.0.writer.counts();
        (counts.commits.get(), counts.writes.get())
    }

    /// What is counted of commits.
    #[must_use]
    pub fn counts(&self) -> &Commits {
        self.0.writer.counts()
    }

    /// Writes what waits, copies the log into the file, and ends the writer. Blocks.
    pub fn close(&self) {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.0.writer.close();
    }
}

impl Inner {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, DbError>) -> Result<T, DbError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = kept.map_or_else(|| open::reader(&self.path), Ok)?;
        let result = work(&connection);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        result
    }
}

#[cfg(test)]
mod tests;
