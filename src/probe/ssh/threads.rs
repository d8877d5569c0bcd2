//! Where libssh2 runs: two threads of their own, each with a small runtime, each driving any number of sessions.
//!
//! libssh2 computes key exchanges and reads files in its callers' time, which the threads that everything else runs on
//! cannot spare. Its sessions never block, so a server that has fallen silent costs memory (about 82 KB) until its
//! time-out and nobody's time. An ssh agent does block, and is asked on threads apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::session::{self, Errand, Report};
use super::standing::stand;
use crate::clock::Stopwatch;
use crate::model::{Outcome, OwnFault};
use crate::probe::setup::ProbeSetupError;
use crate::probe::starvation::{Watchdog, judged};

/// The threads. They end when this is dropped, and so do the sessions on them.
#[derive(Debug)]
pub(super) struct Threads {
    lanes: Vec<mpsc::UnboundedSender<Job>>,
    next: AtomicUsize,
    /// One for each session that may be open.
    sessions: Arc<Semaphore>,
}

struct Job {
    errand: Errand,
    handed_over: Stopwatch,
    reply: oneshot::Sender<Report>,
}

impl Threads {
    pub(super) fn start() -> Result<Self, ProbeSetupError> {
        let lanes = (0..THREADS).map(lane).collect::<Result<_, _>>().map_err(ProbeSetupError::Thread)?;
        Ok(Self { lanes, next: AtomicUsize::new(0), sessions: Arc::new(Semaphore::new(SESSIONS)) })
    }

    /// Waits for a place for a session.
    pub(super) async fn place(&self, end: Instant) -> Result<Place, Report> {
        let waiting = Stopwatch::start();
        match timeout_at(end, Arc::clone(&self.sessions).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit, waited: waiting.elapsed() }),
            _ => Err(Report::of(Outcome::Inconclusive(OwnFault::Starved), "too many ssh sessions at once")),
        }
    }

    /// Runs `errand` on one of the threads. It ends itself at its deadline; a thread that cannot keep it is our trouble.
    /// A session that stands afterwards needs its place for as long as it does.
    pub(super) async fn run(&self, errand: Errand, place: &Place) -> Report {
        let (timeout, end) = (errand.timeout, errand.end);
        let (reply, report) = oneshot::channel();
        let lane = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let job = Job { errand, handed_over: Stopwatch::start(), reply };
        if self.lanes[lane].send(job).is_err() {
            return Report::of(Outcome::Inconclusive(OwnFault::Unavailable), "the ssh threads have ended");
        }
        let report = timeout_at(end + GRACE, report).await;
        let waited = place.waited;
        match report {
            Ok(Ok(mut report)) => {
                report.delayed += waited;
                report.outcome = judged(report.outcome, report.lost, timeout);
                report
            }
            // Its task has panicked; whatever the server sent, it did not come through the checks.
            Ok(Err(_)) => Report::of(Outcome::Inconclusive(OwnFault::Unavailable), "the ssh session broke off"),
            Err(_) => Report::of(Outcome::Inconclusive(OwnFault::Starved), "the ssh threads are overloaded"),
        }
    }
}

/// The right to open one session.
#[derive(Debug)]
pub(super) struct Place {
    _permit: tokio::sync::OwnedSemaphorePermit,
    waited: Duration,
}

fn lane(number: usize) -> std::io::Result<mpsc::UnboundedSender<Job>> {
    let (jobs, waiting) = mpsc::unbounded_channel();
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(AGENT_THREADS).build()?;
    thread::Builder::new().name(format!("ssh-{number}")).spawn(move || {
        runtime.block_on(serve(waiting));
        // An agent that never answers must not keep us.
        runtime.shutdown_background();
    })?;
    Ok(jobs)
}

async fn serve(mut jobs: mpsc::UnboundedReceiver<Job>) {
    let watchdog = Watchdog::start();
    while let Some(Job { errand, handed_over, mut reply }) = jobs.recv().await {
        let watchdog = Arc::clone(&watchdog);
        tokio::spawn(async move {
            let attention = watchdog.attend();
            let waited = handed_over.elapsed();
            let from = watchdog.now();
            let done = tokio::select! {
                ended = session::run(errand) => Some(ended),
                () = reply.closed() => None, // nobody wants to know any more
            };
            let Some((mut report, standing)) = done else { return };
            report.lost = watchdog.lost_since(from).and(waited);
            let _ = reply.send(report);
            drop(attention);
            if let Some(standing) = standing {
                stand(standing).await;
            }
        });
    }
}

const THREADS: usize = 2;
/// 84 MB of sessions at the most.
const SESSIONS: usize = 1024;
/// On each thread: for the agent, which blocks.
const AGENT_THREADS: usize = 2;
/// How much later than its deadline a report may come.
const GRACE: Duration = Duration::from_millis(250);
