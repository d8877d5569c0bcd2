//! What can go wrong with the ledger, and what a person can do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi;
use rustix::fs::{Access, access, statvfs};

use crate::model::IntentState;

/// Why the ledger could not do what was asked. Every message completes "failed to ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The path names a directory.
    #[error("open ledger {}: it is a directory; set `database` to a file in it, such as {}", path.display(), path.join("witness.db").display())]
    Directory { path: PathBuf },
    /// The directory it should be in is not there.
    #[error("open ledger {}: there is no directory {}; create it, or set `database` to another place", path.display(), parent.display())]
    NoParent { path: PathBuf, parent: PathBuf },
    /// Somebody wants to read, and nothing was ever written.
    #[error("open ledger {}: there is no such file yet; `witness once` or `witness run` creates it", path.display())]
    Missing { path: PathBuf },
    /// This user may not.
    #[error("open ledger {}: permission denied on {}; run as its owner, or give this user read and write access to the file and its directory", path.display(), on.display())]
    Permission { path: PathBuf, on: PathBuf },
    /// The file or the place it is in cannot be written.
    #[error("write ledger {}: {} is read-only; make it writable (the file, its directory and the file system: SQLite keeps -wal and -shm files beside it), or set `database` to another place", path.display(), on.display())]
    ReadOnly { path: PathBuf, on: PathBuf },
    /// A newer version of this program has written it.
    #[error("open ledger {}: its schema {found} is newer than {known}, the newest that this version knows; run the newer version of witness, or set `database` to another file", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// Written by an older version, and only being read.
    #[error("read ledger {}: its schema {found} is older than {known}; run `witness once` or `witness run` of this version, which upgrades it", path.display())]
    Older { path: PathBuf, found: i64, known: i64 },
    /// An SQLite database of something else.
    #[error("open ledger {}: it is an SQLite database, but not a ledger of witness; it was left as it is, set `database` to another file", path.display())]
    Foreign { path: PathBuf },
    /// Some other file.
    #[error("open ledger {}: it is not an SQLite database; it was left as it is, set `database` to another file or move this one away", path.display())]
    NotADatabase { path: PathBuf },
    /// Damaged.
    #[error("use ledger {}: it is damaged ({what}); stop witness, keep a copy of the file with its -wal file, then save what can be read with `sqlite3 {} .dump` as the reference page of the ledger tells, or move it away to begin anew", path.display(), path.display())]
    Corrupt { path: PathBuf, what: String },
    /// No space.
    #[error("write ledger {}: no space left; what was written before is safe, free some space on its file system", path.display())]
    Full { path: PathBuf },
    /// Another process keeps it locked.
    #[error("write ledger {}: another process has kept it locked for more than {waited_s} s; see `fuser {}` for who it is", path.display(), path.display())]
    Locked { path: PathBuf, waited_s: u64 },
    /// The disk or the file system failed.
    #[error("use ledger {}: input or output failed ({what}); look at the kernel's log for its disk, nothing was recorded by halves", path.display())]
    Io { path: PathBuf, what: String },
    /// The file system cannot carry a write-ahead log.
    #[error("open ledger {}: its file system does not support a write-ahead log (it kept journal mode {mode:?}); set `database` to a local disk", path.display())]
    NoWal { path: PathBuf, mode: String },
    /// Another one ticks now.
    #[error("record in ledger {}: the lease {name:?} was taken over by another process after this one had not renewed it in time", path.display())]
    LeaseLost { path: PathBuf, name: String },
    /// No such intent, judgement or pin.
    #[error("find {what} in ledger {}: there is none", path.display())]
    Unknown { path: PathBuf, what: String },
    /// An intent that has come to its end does not change any more.
    #[error("conclude intent {intent} as {to}: it is already {is}")]
    Closed { intent: i64, is: IntentState, to: IntentState },
    /// A row that this version does not understand.
    #[error("read ledger {}: {what} is not understood ({why}); it may be of another version of witness", path.display())]
    Unreadable { path: PathBuf, what: String, why: String },
    /// Anything else that SQLite says.
    #[error("use ledger {}: {what}", path.display())]
    Sql { path: PathBuf, what: String },
}

impl LedgerError {
    /// Whether the same call may work later without a person touching the ledger itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Locked { .. } | Self::Io { .. })
    }
}

/// What goes wrong inside, where the path is not at hand.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// SQLite's own.
    Sql(rusqlite::Error),
    /// A column that is not what it should be: which, and why.
    Unreadable(String, String),
    /// There is no such thing.
    Unknown(String),
    /// Somebody else holds the lease of this name.
    LeaseLost(String),
    /// Already complete.
    Done(LedgerError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Trouble {
    /// Something undecodable in `what`.
    pub(crate) fn unreadable(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Unreadable(what.into(), why.to_string())
    }

    /// Names the file and what can be done.
    pub(crate) fn at(self, path: &Path) -> LedgerError {
        let path = path.to_owned();
        match self {
            Self::Sql(error) => of_sqlite(&error, path),
            Self::Unreadable(what, why) => LedgerError::Unreadable { path, what, why },
            Self::Unknown(what) => LedgerError::Unknown { path, what },
            Self::LeaseLost(name) => LedgerError::LeaseLost { path, name },
            Self::Done(error) => error,
        }
    }
}

fn of_sqlite(error: &rusqlite::Error, path: PathBuf) -> LedgerError {
    let what = error.to_string();
    let Some(code) = error.sqlite_error_code() else {
        return match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => {
                LedgerError::Unreadable { path, what: "a row".to_owned(), why: what }
            }
            _ => LedgerError::Sql { path, what },
        };
    };
    match code {
        ErrorCode::NotADatabase => LedgerError::NotADatabase { path },
        ErrorCode::DatabaseCorrupt => LedgerError::Corrupt { path, what },
        ErrorCode::DiskFull => LedgerError::Full { path },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            LedgerError::Locked { path, waited_s: super::store::BUSY.as_secs() }
        }
        ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::ReadOnly => not_writable(path, &what),
        ErrorCode::SystemIoFailure => {
            let short = matches!(
                error.sqlite_error().map(|e| e.extended_code),
                Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_FSYNC)
            );
            if short && is_full(&path) { LedgerError::Full { path } } else { LedgerError::Io { path, what } }
        }
        _ => LedgerError::Sql { path, what },
    }
}

/// Says why `path` cannot be written, by asking the file system.
pub(crate) fn not_writable(path: PathBuf, what: &str) -> LedgerError {
    if path.is_dir() {
        return LedgerError::Directory { path };
    }
    let parent = directory_of(&path);
    if !parent.exists() {
        return LedgerError::NoParent { path, parent };
    }
    let both = [(path.clone(), path.exists()), (parent, true)];
    for (on, _) in both.into_iter().filter(|(_, exists)| *exists) {
        match access(&on, Access::READ_OK | Access::WRITE_OK) {
            Ok(()) => {}
            Err(rustix::io::Errno::ROFS) => return LedgerError::ReadOnly { path, on },
            Err(_) if access(&on, Access::READ_OK).is_ok() => return LedgerError::ReadOnly { path, on },
            Err(_) => return LedgerError::Permission { path, on },
        }
    }
    if is_full(&path) {
        return LedgerError::Full { path };
    }
    LedgerError::Io { path, what: what.to_owned() }
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn is_full(path: &Path) -> bool {
    statvfs(directory_of(path)).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < 64 * 1024)
}
