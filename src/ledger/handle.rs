//! A connection on a thread of its own: SQLite blocks, the async runtime must not.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::{Ledger, LedgerError, Reader};

/// The writer on its thread.
pub type LedgerHandle = Handle<Ledger>;
/// A reader on its thread.
pub type ReaderHandle = Handle<Reader>;

/// How many calls may wait in line. Beyond it, callers wait before theirs is in.
const LINE: usize = 64;

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

/// Sends calls to a connection's thread, which runs them one after another. Cheap to clone; the thread ends with the last
/// clone, after what is still in line.
pub struct Handle<C> {
    jobs: mpsc::Sender<Job<C>>,
}

impl<C: Send + 'static> Handle<C> {
    /// Moves a connection to a thread of its own.
    ///
    /// # Panics
    /// When the system has no thread to give, as [`std::thread::spawn`] does.
    #[must_use]
    pub fn new(connection: C) -> Self {
        Self::spawn(connection).0
    }

    /// The same, with the thread: to be waited for once every clone was dropped, so that a process does not end before its
    /// last call was carried out.
    ///
    /// # Panics
    /// When the system has no thread to give, as [`std::thread::spawn`] does.
    #[must_use]
    pub fn spawn(mut connection: C) -> (Self, JoinHandle<()>) {
        let (jobs, mut line) = mpsc::channel::<Job<C>>(LINE);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                while let Some(job) = line.blocking_recv() {
                    job(&mut connection);
                }
            })
            .expect("a thread can be started");
        (Self { jobs }, thread)
    }

    /// Runs `work` on the connection's thread and gives back what it returns.
    ///
    /// A call that was begun is carried out, even when its caller stops waiting for it.
    ///
    /// # Panics
    /// When `work` panics, with its panic; the connection goes on with the next call.
    pub async fn call<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&mut C) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let job: Job<C> = Box::new(move |connection| {
            // A transaction that is dropped on the way is rolled back, so the connection is as it was before.
            let done = catch_unwind(AssertUnwindSafe(|| work(connection)));
            // Nobody may be waiting any more.
            drop(answer.send(done));
        });
        assert!(self.jobs.send(job).await.is_ok(), "the thread lives as long as a handle");
        match answered.await.expect("the thread answers every call") {
            Ok(done) => done,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl LedgerHandle {
    /// Opens a ledger on its thread. Blocks while it is opened and upgraded, which a start has time for.
    ///
    /// # Errors
    /// Those of [`Ledger::open`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self::new(Ledger::open(path)?))
    }
}

impl ReaderHandle {
    /// Opens a reader on its thread.
    ///
    /// # Errors
    /// Those of [`Reader::open`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self::new(Reader::open(path)?))
    }
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<C> fmt::Debug for Handle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("waiting", &(LINE - self.jobs.capacity())).finish()
    }
}
