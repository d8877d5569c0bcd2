//! The SQLite database of everything observed, judged, intended and done.
//!
//! [`Ledger`] is the writer: one connection, synchronous, used by one thread at a time. [`Reader`] looks at the same file
//! without ever making the writer wait, and [`View`] is what both can be asked. [`LedgerHandle`] and [`ReaderHandle`] keep
//! either on a thread of its own, because SQLite blocks and the async runtime must not.
//!
//! ```text
//! tick ──▶ record_tick   rounds, strikes, judgement, memory: one transaction
//!      ──▶ intend        durable before the registrar is called ...
//!      ──▶ conclude      ... and after it
//! idle ──▶ prune         old rows, a slice at a time
//! ```
//!
//! Nothing here decides anything, reads a clock, or knows a registrar. Several processes may share one file on one machine;
//! [`Lease`] keeps their ticks apart.

mod asks;
mod cache;
mod code;
mod error;
mod handle;
mod history;
mod intents;
mod lease;
mod loads;
mod names;
mod pins;
mod prune;
mod remembered;
mod rounds;
mod states;
mod store;
mod tick;
mod view;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::crash;
use crate::model::Memory;

pub use error::LedgerError;
pub use handle::{Handle, LedgerHandle, ReaderHandle};
pub use history::{Event, EventKind, Happening, HistoryQuery};
pub use intents::{Publication, Snapshot, SnapshotEntry};
pub use lease::{BoxFuture, Holder, Lease, LeaseGuard, LeaseInfo, LeaseState, TICK_LEASE};
pub use pins::PastPin;
pub use prune::Retention;
pub use states::{NodeState, Standpoint};
pub use tick::TickRecord;
pub use view::{Chain, Counts, JudgementRow, Reader, View};

/// The newest schema this program knows (`user_version`).
pub const SCHEMA: u32 = store::KNOWN as u32;

use cache::Cache;
use error::Trouble;

/// The writer.
#[derive(Debug)]
pub struct Ledger {
    db: Connection,
    path: PathBuf,
    cache: Cache,
    /// Leases taken through this connection: while there are any, nothing is recorded after one was lost.
    held: Vec<LeaseGuard>,
}

impl Ledger {
    /// Opens the ledger at `path`; creates it, readable by its owner only, and upgrades an older one.
    ///
    /// # Errors
    /// What is wrong with the file or its place; it is left as it was.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { db: store::open_writer(path)?, path: path.to_owned(), cache: Cache::default(), held: Vec::new() })
    }

    /// A ledger that is gone when it is dropped: for tests and dry runs.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { db: store::open_memory(), path: PathBuf::from(":memory:"), cache: Cache::default(), held: Vec::new() }
    }

    /// One in memory with everything that `from` holds now.
    fn copied(from: &Connection) -> Result<Self, Trouble> {
        let mut copy = Self::in_memory();
        rusqlite::backup::Backup::new(from, &mut copy.db)?.run_to_completion(1000, std::time::Duration::ZERO, None)?;
        Ok(copy)
    }

    /// Where it is; `:memory:` for none.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What can be asked of it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::of(&self.db, &self.path)
    }

    /// What the rule remembered in the newest judgement; empty before the first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn memory(&self) -> Result<Memory, LedgerError> {
        let read = || -> Result<Memory, Trouble> {
            let tx = self.db.unchecked_transaction()?;
            remembered::load(&tx)
        };
        read().map_err(|trouble| trouble.at(&self.path))
    }

    /// A number that changes when another connection has written: then pins or memory may have changed.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn data_version(&self) -> Result<i64, LedgerError> {
        cache::data_version(&self.db).map_err(|trouble| trouble.at(&self.path))
    }

    /// Copies the write-ahead log into the file and cuts it to nothing, unless a reader is still in it.
    ///
    /// SQLite does the copying by itself every 4 MB; this is for quiet times.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn checkpoint(&mut self) -> Result<(), LedgerError> {
        self.db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|e| Trouble::from(e).at(&self.path))
    }

    /// Runs `work` in one transaction: all of it is written, durably, or nothing is.
    fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Trouble>) -> Result<T, LedgerError> {
        let run = || -> Result<T, Trouble> {
            let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            crash::point("committing");
            tx.commit()?;
            crash::point("committed");
            Ok(done)
        };
        run().map_err(|trouble| trouble.at(&self.path))
    }
}
