//! The thread that writes, and the commits that many share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Savepoint, Transaction, TransactionBehavior};

use super::DbError;
use crate::clock::Stopwatch;
use crate::crash;
use crate::metrics::{Counter, Histogram};

/// In one commit.
const MOST: usize = 512;

/// Tells who asked how it went, once the commit has.
type Reply = Box<dyn FnOnce(Result<(), Arc<DbError>>) + Send>;
/// Works in a transaction, if one could be begun.
type Job = Box<dyn FnOnce(Option<&mut Transaction<'_>>) -> Reply + Send>;

/// What is counted of commits.
#[derive(Debug, Default)]
pub struct Commits {
    /// Those that were durable.
    pub commits: Counter,
    /// Pieces of work in them.
    pub writes: Counter,
    /// Those that failed.
    pub failures: Counter,
    /// How long each took, from its first piece of work until it was durable.
    pub seconds: Histogram,
}

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Commits>,
}

impl Writer {
    pub(super) fn start(db: Connection) -> Result<Self, DbError> {
        let (send, receive) = channel();
        let counts = Arc::<Commits>::default();
        let counted = counts.clone();
        let thread = std::thread::Builder::new().name("db-writer".to_owned());
        let thread = thread.spawn(move || run(db, &receive, &counted));
        let thread = thread.map_err(|error| DbError::Other(format!("failed to start the writer: {error}")))?;
        Ok(Self { jobs: Mutex::new(Some(send)), thread: Mutex::new(Some(thread)), counts })
    }

    /// `reply` gets what `work` returned once that is durable, or why it is not.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
        reply: impl FnOnce(Result<T, DbError>) + Send + 'static,
    ) -> Result<(), DbError> {
        let job: Job = Box::new(move |tx| {
            let done = tx.map_or(Err(DbError::Closed), |tx| in_savepoint(tx, work));
            Box::new(move |committed| {
                reply(match (done, committed) {
                    (Ok(value), Ok(())) => Ok(value),
                    (Err(error), Ok(())) => Err(error),
                    (_, Err(error)) => Err(match *error {
                        DbError::Full => DbError::Full,
                        ref other => DbError::Other(other.to_string()),
                    }),
                });
            })
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or(DbError::Closed)
    }

    pub(super) fn counts(&self) -> &Commits {
        &self.counts
    }

    /// Does what waits, and ends.
    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn run(mut db: Connection, jobs: &Receiver<Job>, counts: &Commits) {
    while let Ok(first) = jobs.recv() {
        // While the disk was busy with the last commit, others have come.
        let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(MOST - 1)).collect();
        let count = batch.len() as u64;
        let mut replies = Vec::with_capacity(batch.len());
        let since = Stopwatch::start();
        let committed = transact(&mut db, batch, &mut replies).map_err(Arc::new);
        if let Err(error) = &committed {
            tracing::error!(%error, "failed to commit");
            counts.failures.add(1);
        } else {
            counts.commits.add(1);
            counts.writes.add(count);
            counts.seconds.add(since.elapsed());
        }
        for reply in replies {
            reply(committed.clone());
        }
    }
    // The log is copied into the file, so that the file alone is the database while nobody runs.
    let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

fn transact(db: &mut Connection, batch: Vec<Job>, replies: &mut Vec<Reply>) -> Result<(), DbError> {
    let mut tx = match Transaction::new(db, TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(error) => {
            replies.extend(batch.into_iter().map(|job| job(None)));
            return Err(error.into());
        }
    };
    replies.extend(batch.into_iter().map(|job| job(Some(&mut tx))));
    crash::point("committing");
    tx.commit()?;
    crash::point("committed");
    Ok(())
}

/// So that what fails takes nothing of the others' work with it.
fn in_savepoint<T>(
    tx: &mut Transaction<'_>,
    work: impl FnOnce(&Connection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let savepoint: Savepoint<'_> = tx.savepoint()?;
    let done = catch_unwind(AssertUnwindSafe(|| work(&savepoint)));
    match done {
        Ok(Ok(value)) => {
            savepoint.commit()?;
            Ok(value)
        }
        // Dropping the savepoint undoes it.
        Ok(Err(error)) => Err(error),
        Err(_) => Err(DbError::Other("what should have been written made the program panic".to_owned())),
    }
}
