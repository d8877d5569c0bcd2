//! Nodes that look at other nodes for us, over SSH.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::load::Loads;
use super::setup::ProbeSetupError;
use super::ssh::{Answer, Quest, Session, SshProber};
use crate::clock::Stopwatch;
use crate::model::{AskOutcome, Node, NodeId, RelaySettings, SshLevel, SshLogin, SshProbe};

/// Logs in to nodes and has them connect to somebody else. Meant to be shared; its sessions run on two threads of their
/// own, and each ends with its time-out, but those that are [kept](Forwarder::keep).
#[derive(Debug)]
pub struct Forwarder {
    ssh: SshProber,
    timeout: Duration,
    /// How many sessions to each node are kept.
    sessions: usize,
    kept: Mutex<BTreeMap<NodeId, Kept>>,
    /// Told when a session becomes free, or is over.
    changed: Notify,
}

/// The sessions to one node.
#[derive(Debug, Default)]
struct Kept {
    ready: Vec<Session>,
    /// Being asked.
    busy: usize,
    opening: bool,
    /// When the next one may be opened, and how many could not be in a row.
    next: Option<Instant>,
    failures: u32,
}

impl Kept {
    /// How many could be asked at once.
    fn free(&self) -> usize {
        self.ready.iter().filter(|session| !session.is_over() && !session.is_late()).count()
    }
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Whether the target answered, as far as the one asked could tell.
    pub outcome: AskOutcome,
    /// Words for people: why it is not known, mostly.
    pub note: String,
    /// How long it took, the login included, microseconds.
    pub took_us: u32,
}

impl Forwarder {
    /// Starts the threads, connects to nobody.
    ///
    /// # Errors
    /// [`ProbeSetupError`] when the key cannot be read or the threads cannot be started.
    pub fn new(settings: &RelaySettings) -> Result<Self, ProbeSetupError> {
        let login = SshLogin {
            user: settings.user.clone(),
            key_file: Some(settings.key_file.clone()),
            command: String::new(), // none is ever run
        };
        let probe = SshProbe {
            port: settings.port,
            level: SshLevel::Login,
            known_hosts: None,
            login: Some(login),
            timeout: settings.timeout,
        };
        // Whoever forwards is never asked what it carries.
        let ssh = SshProber::new(probe, Arc::new(Loads::new(settings.timeout)))?;
        Ok(Self {
            ssh,
            timeout: settings.timeout,
            sessions: settings.sessions,
            kept: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Logs in to `node`, at `address`, for questions to come, where fewer sessions are kept than are wanted; returns at once.
    /// Through a link that is full a login takes longer than a question may, so it must have been done before. Must be
    /// called on a runtime.
    pub fn keep(self: &Arc<Self>, node: &Node, address: IpAddr) {
        let mut kept = self.kept();
        let of_node = kept.entry(node.id.clone()).or_default();
        of_node.ready.retain(|session| !session.is_over());
        let enough = of_node.free() + of_node.busy >= self.sessions;
        let too_early = of_node.next.is_some_and(|next| Instant::now() < next);
        if enough || of_node.opening || too_early || node.ssh_host_key.is_none() {
            return;
        }
        of_node.opening = true;
        let (forwarder, node) = (Arc::clone(self), node.clone());
        tokio::spawn(async move {
            let opened = forwarder.ssh.stand(&node, address, PATIENCE).await;
            let mut kept = forwarder.kept();
            let of_node = kept.entry(node.id.clone()).or_default();
            of_node.opening = false;
            match opened {
                Ok(session) => {
                    tracing::debug!(via = %node.id, "a session is kept");
                    of_node.ready.push(session);
                    (of_node.next, of_node.failures) = (None, 0);
                    forwarder.changed.notify_waiters();
                }
                Err(why) => {
                    tracing::debug!(via = %node.id, why, "no session");
                    of_node.next = Some(Instant::now() + AGAIN.saturating_mul(1 << of_node.failures.min(5)));
                    of_node.failures = of_node.failures.saturating_add(1);
                }
            }
        });
    }

    /// How many sessions to `node` wait for a question.
    #[must_use]
    pub fn ready(&self, node: &NodeId) -> usize {
        self.kept().get(node).map_or(0, Kept::free)
    }

    /// Has `through` connect to `target`, over a session that is kept if there is one, which it waits for; else as
    /// [`Forwarder::reach`].
    pub async fn ask(&self, through: &Node, address: IpAddr, target: SocketAddr, control: Option<SocketAddr>) -> Reach {
        while let Some(session) = self.take_in_time(&through.id).await {
            let clock = Stopwatch::start();
            let answer = session.reach(Quest { target, control }, self.timeout).await;
            self.give_back(&through.id, answer.as_ref().is_some_and(|answer| answer.lasts).then_some(session));
            if let Some(Answer { outcome, note, .. }) = answer {
                return Reach { outcome, note: note.unwrap_or_default(), took_us: clock.micros() };
            }
        }
        if self.is_busy(&through.id) {
            // A login would only be in the way of those that others wait for.
            let note = format!("{} is busy with other questions", through.id);
            return Reach { outcome: AskOutcome::Unknown, note, took_us: 0 };
        }
        self.reach(through, address, target, control).await
    }

    /// Logs in at `address` of `through` and has it connect to `target`; where it cannot, to `control`, which tells whether
    /// it could connect to anybody. A node whose host key is not configured is not logged in to: somebody else might answer
    /// there, and say what suits him.
    pub async fn reach(
        &self,
        through: &Node,
        address: IpAddr,
        target: SocketAddr,
        control: Option<SocketAddr>,
    ) -> Reach {
        if through.ssh_host_key.is_none() {
            let note = format!("{} has no ssh_host_key", through.id);
            return Reach { outcome: AskOutcome::Unknown, note, took_us: 0 };
        }
        let (outcome, sight) = self.ssh.reach(through, address, Quest { target, control }).await;
        let note = sight.measured.note.unwrap_or_else(|| sight.outcome.to_string());
        Reach { outcome, note, took_us: sight.measured.total_us }
    }

    /// Waits for a session while there is one to wait for, for as long as a question may take.
    async fn take_in_time(&self, node: &NodeId) -> Option<Session> {
        let end = Instant::now() + self.timeout;
        loop {
            let changed = self.changed.notified();
            if let Some(session) = self.take(node) {
                return Some(session);
            }
            if !self.is_busy(node) || Instant::now() >= end {
                return None;
            }
            // One that was late comes back without a word.
            let _ = timeout_at(end.min(Instant::now() + LOOK), changed).await;
        }
    }

    fn take(&self, node: &NodeId) -> Option<Session> {
        let mut kept = self.kept();
        let of_node = kept.get_mut(node)?;
        of_node.ready.retain(|session| !session.is_over());
        let free = of_node.ready.iter().position(|session| !session.is_late())?;
        of_node.busy += 1;
        Some(of_node.ready.remove(free))
    }

    /// Whether there are sessions, or will be, and none of them is free.
    fn is_busy(&self, node: &NodeId) -> bool {
        let kept = self.kept();
        let late = |of_node: &Kept| of_node.ready.iter().any(|session| !session.is_over());
        kept.get(node).is_some_and(|of_node| of_node.busy > 0 || of_node.opening || late(of_node))
    }

    fn give_back(&self, node: &NodeId, session: Option<Session>) {
        if let Some(of_node) = self.kept().get_mut(node) {
            of_node.busy = of_node.busy.saturating_sub(1);
            of_node.ready.extend(session);
        }
        self.changed.notify_waiters();
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<NodeId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a login for questions to come may take: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for one that is of use again.
const LOOK: Duration = Duration::from_millis(200);
/// The wait after one that failed; it doubles, five times at the most.
const AGAIN: Duration = Duration::from_secs(10);
