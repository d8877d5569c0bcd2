//! Backups of the metadata: full ones and segments, which of them stay, whether they are any good, and the way back.
//!
//! ```text
//!   journal ──► take ──► vault ──► verify      which rows changed; a copy of them elsewhere; whether it can be read
//!                          │ └───► restore     and back
//!   chain  due  retention  expunge  violators  pure: what there is, what is wanted, what may go, what is wrong
//! ```
//!
//! It knows nothing of content but its hashes: that is immutable and in the tier already.

pub mod chain;
pub mod due;
pub mod expunge;
pub mod journal;
pub mod restore;
pub mod retention;
pub mod survey;
pub mod take;
pub mod vault;
pub mod verify;
pub mod violators;
pub mod when;

use crate::db::DbError;
use crate::tier::bucket::BucketError;

/// Why something could not be done with backups.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Another process is at it.
    #[error("another process is making, checking or removing backups")]
    Busy,
    /// Where they are.
    #[error("{0}")]
    Bucket(#[from] BucketError),
    /// The database.
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The database, too.
    #[error("the database: {0}")]
    Db(#[from] DbError),
    /// This machine's disk.
    #[error("{0}: {1}")]
    Local(String, std::io::Error),
    /// Anything else, for people.
    #[error("{0}")]
    Other(String),
}
