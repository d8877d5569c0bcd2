//! The ssh probe: a banner, a key exchange with a checked host key, or a login with a command.
//!
//! Connecting and waiting for the banner is done here, without the library: a server that accepts and says nothing
//! costs a socket and no session. What comes after the banner runs on [`threads`]. Relays use the same sessions, and have
//! the server connect to somebody else instead of running a command.

mod known_hosts;
mod reach;
mod session;
mod standing;
mod threads;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use self::known_hosts::{Family, KnownHosts};
pub(super) use self::reach::Quest;
use self::session::{Errand, Expected, Report};
pub(super) use self::standing::Answer;
use self::standing::{After, Question};
use self::threads::{Place, Threads};
use super::load::{Asked, Loads};
use super::setup::ProbeSetupError;
use super::{Sight, brief, trouble};
use crate::clock::Stopwatch;
use crate::model::{AskOutcome, Fault, Measured, Node, Outcome, OwnFault, SshLevel, SshLogin, SshProbe, Stage};

/// Probes ssh.
#[derive(Debug)]
pub(super) struct SshProber {
    settings: SshProbe,
    login: Option<Arc<SshLogin>>,
    known_hosts: Option<KnownHosts>,
    /// None at level `banner`, which needs none.
    threads: Option<Threads>,
    /// Which kind of key an address has shown that was the pinned one, where it was not the first choice.
    kinds: Mutex<BTreeMap<IpAddr, Family>>,
    /// Who is asked what it carries, where logging in is part of the probe.
    asked: Asked,
}

impl SshProber {
    pub(super) fn new(settings: SshProbe, loads: Arc<Loads>) -> Result<Self, ProbeSetupError> {
        let login = match settings.level {
            SshLevel::Login => Some(Arc::new(checked(settings.login.clone())?)),
            SshLevel::Banner | SshLevel::Handshake => None,
        };
        let read = |path: &std::path::PathBuf| {
            KnownHosts::read(path).map_err(|source| ProbeSetupError::KnownHosts { path: path.clone(), source })
        };
        let known_hosts = settings.known_hosts.as_ref().map(read).transpose()?;
        let threads = (settings.level > SshLevel::Banner).then(Threads::start).transpose()?;
        Ok(Self { settings, login, known_hosts, threads, kinds: Mutex::default(), asked: Asked::new(loads) })
    }

    /// For everything.
    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// One look at `address` of `node`.
    pub(super) async fn probe(&self, node: &Node, address: IpAddr) -> Sight {
        self.look(node, address, Purpose::Probe, self.settings.timeout).await.sight
    }

    /// Logs in at `address` of `node` and has it go on a quest: what came of that, and how the rest went. Unknown whenever
    /// the node's own session failed, or could not be judged.
    pub(super) async fn reach(&self, node: &Node, address: IpAddr, quest: Quest) -> (AskOutcome, Sight) {
        let Look { sight, reached, .. } = self.look(node, address, Purpose::Reach(quest), self.settings.timeout).await;
        let outcome = match (sight.outcome, reached) {
            (Outcome::Inconclusive(_), _) | (_, None) => AskOutcome::Unknown,
            (Outcome::Passed | Outcome::Failed(_), Some(reached)) => reached,
        };
        (outcome, sight)
    }

    /// Logs in at `address` of `node`, within `patience`, for questions to come. An error is in words for people.
    pub(super) async fn stand(&self, node: &Node, address: IpAddr, patience: Duration) -> Result<Session, String> {
        let Look { sight, session, .. } = self.look(node, address, Purpose::Stand, patience).await;
        session.filter(|_| sight.outcome == Outcome::Passed).ok_or_else(|| {
            let note = sight.measured.note.unwrap_or_default();
            format!("{}: {note}", sight.outcome)
        })
    }

    /// A pin does not say what kind of key it is of, and a server with several kinds shows the one asked for first. So a
    /// key that is not the pinned one is believed only when the server has no other kind that is.
    async fn look(&self, node: &Node, address: IpAddr, purpose: Purpose, timeout: Duration) -> Look {
        let clock = Stopwatch::start();
        let end = Instant::now() + timeout;
        let expected = self.expected(node, address);
        let mut families = self.preferred(&expected, address);
        let mut first: Option<Look> = None;
        let asking = purpose == Purpose::Probe && self.login.is_some() && self.asked.is_due(&node.id);
        loop {
            let call = Call { address, expected: &expected, families: &families, purpose, asking, clock, timeout, end };
            let mut look = self.attempt(&call).await;
            look.sight.load = look.printed.take().and_then(|printed| self.asked.figure(&node.id, &printed));
            let (changed, shown) = (look.sight.outcome == Outcome::Failed(Fault::HostKey), look.shown);
            if changed && matches!(expected, Expected::Pinned(_)) {
                families.retain(|family| Some(*family) != shown);
                let first = first.get_or_insert(look);
                if families.is_empty() || shown.is_none() {
                    return std::mem::replace(first, Look::of(Outcome::Passed, Measured::default()));
                }
                continue;
            }
            return match (first, shown) {
                (Some(_), Some(family)) => {
                    self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(address, family);
                    look
                }
                (Some(first), None) => first,
                (None, _) => look,
            };
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Look {
        let Call { address, expected, families, purpose, asking, clock, timeout, end } = *call;
        let mut measured = Measured::default();
        let ended = |outcome, measured: Measured, note: Option<String>| {
            let note = note.as_deref().map(brief).or(measured.note.clone());
            Look::of(outcome, Measured { total_us: clock.micros(), note, ..measured })
        };
        let troubled =
            |error: &io::Error, stage| trouble::of_io(error, address, stage).unwrap_or(Outcome::Failed(Fault::Reset));

        let stream = match timeout_at(end, TcpStream::connect((address, self.settings.port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return ended(troubled(&error, Stage::Connect), measured, Some(error.to_string())),
            Err(_) => return ended(Outcome::Failed(Fault::Timeout(Stage::Connect)), measured, None),
        };
        measured.connect_us = Some(clock.micros());

        let banner = match timeout_at(end, banner(&stream)).await {
            Ok(Ok(banner)) => banner,
            Ok(Err(NoBanner::Trouble(error))) => {
                return ended(troubled(&error, Stage::Banner), measured, Some(error.to_string()));
            }
            Ok(Err(NoBanner::Other(said))) => return ended(Outcome::Failed(Fault::Protocol), measured, Some(said)),
            Err(_) => return ended(Outcome::Failed(Fault::Timeout(Stage::Banner)), measured, None),
        };
        measured.first_byte_us = Some(clock.micros());
        let Some(threads) = &self.threads else { return ended(Outcome::Passed, measured, Some(banner)) };

        let place = match threads.place(end).await {
            Ok(place) => place,
            Err(report) => return ended(report.outcome, measured, report.note),
        };
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                return ended(Outcome::Inconclusive(OwnFault::Resources), measured, Some(error.to_string()));
            }
        };
        let (after, ask) = match purpose {
            Purpose::Probe => (After::Probe, None),
            Purpose::Reach(quest) => (After::Reach(quest), None),
            Purpose::Stand => {
                let (ask, questions) = mpsc::channel(1);
                let late = Arc::new(AtomicBool::new(false));
                (After::Stand(questions, Arc::clone(&late)), Some((ask, late)))
            }
        };
        let errand = Errand {
            stream,
            families: families.to_vec(),
            expected: expected.clone(),
            login: self.login.clone(),
            asking,
            after,
            clock,
            timeout,
            end,
        };
        let Report { outcome, secure_us, passed_us, shown, note, printed, reached, delayed, .. } =
            threads.run(errand, &place).await;
        measured.secure_us = secure_us;
        // What came after it had passed is no part of it.
        measured.total_us = passed_us.unwrap_or_else(|| clock.micros());
        measured.note = note.or(Some(banner));
        let session = ask.map(|(ask, late)| Session { ask, late, _place: place });
        Look { sight: Sight { outcome, measured, delayed, load: None }, shown, reached, printed, session }
    }

    fn expected(&self, node: &Node, address: IpAddr) -> Expected {
        match (node.ssh_host_key, &self.known_hosts) {
            (Some(pin), _) => Expected::Pinned(pin),
            (None, Some(known)) => {
                let port = self.settings.port;
                let written = |name: String| if port == 22 { name } else { format!("[{name}]:{port}") };
                Expected::Known(known.look_up(vec![written(address.to_string()), written(node.id.to_string())]))
            }
            (None, None) => Expected::Any,
        }
    }

    /// All kinds of keys, first those that can be the right one.
    fn preferred(&self, expected: &Expected, address: IpAddr) -> Vec<Family> {
        let likely: Vec<Family> = match expected {
            Expected::Pinned(_) => {
                let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
                kinds.get(&address).copied().into_iter().collect()
            }
            Expected::Known(known) => known.keys.iter().filter_map(|key| Family::of(key)).collect(),
            Expected::Any => Vec::new(),
        };
        let (mut families, others): (Vec<_>, Vec<_>) =
            Family::ALL.into_iter().partition(|family| likely.contains(family));
        families.extend(others);
        families
    }
}

/// What one look is to do.
#[derive(Clone, Copy)]
struct Call<'a> {
    address: IpAddr,
    expected: &'a Expected,
    /// Which kinds of host keys to ask for, best first.
    families: &'a [Family],
    purpose: Purpose,
    /// Whether to ask what the machine carries, after all has passed.
    asking: bool,
    clock: Stopwatch,
    timeout: Duration,
    end: Instant,
}

/// What a session is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Probe,
    Reach(Quest),
    Stand,
}

/// A session that is logged in and waits for questions. It is ended by dropping this.
#[derive(Debug)]
pub(super) struct Session {
    ask: mpsc::Sender<Question>,
    late: Arc<AtomicBool>,
    _place: Place,
}

impl Session {
    /// Whether it cannot be asked any more.
    pub(super) fn is_over(&self) -> bool {
        self.ask.is_closed()
    }

    /// Whether it is not done yet with what it did not answer in time.
    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// Has the node go on a quest; none where the session turns out to be over.
    pub(super) async fn reach(&self, quest: Quest, timeout: Duration) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.ask.send(Question { quest, timeout, reply }).await.ok()?;
        answer.await.ok()
    }
}

/// What one look brings back.
struct Look {
    sight: Sight,
    /// The kind of key that the server showed.
    shown: Option<Family>,
    /// What came of connecting to a target, where it came to that.
    reached: Option<AskOutcome>,
    /// What the machine printed of what it carries, where it was asked.
    printed: Option<Vec<u8>>,
    /// What stands, where that was asked for.
    session: Option<Session>,
}

impl Look {
    fn of(outcome: Outcome, measured: Measured) -> Self {
        Self { sight: Sight::of(outcome, measured), shown: None, reached: None, printed: None, session: None }
    }
}

/// Why there was no banner.
enum NoBanner {
    Trouble(io::Error),
    /// It said something else.
    Other(String),
}

/// The server's banner, left where it is: the library wants to read it itself.
async fn banner(stream: &TcpStream) -> Result<String, NoBanner> {
    let mut seen = [0; MOST];
    loop {
        let ready = stream.ready(Interest::READABLE).await.map_err(NoBanner::Trouble)?;
        // Having seen too little is this operation's "would block": the next readiness then means that more has come.
        let peeked = stream.try_io(Interest::READABLE, || {
            let (length, _) = recv(stream, &mut seen[..], RecvFlags::PEEK)?;
            match read_banner(&seen[..length]) {
                Peeked::TooLittle if length > 0 => Err(io::ErrorKind::WouldBlock.into()),
                Peeked::TooLittle => Ok(Err(NoBanner::closed())),
                Peeked::Banner(banner) => Ok(Ok(banner)),
                Peeked::Other(said) => Ok(Err(NoBanner::Other(said))),
            }
        });
        match peeked {
            Ok(banner) => return banner,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(NoBanner::Trouble(error)),
            Err(_) if ready.is_read_closed() => return Err(NoBanner::closed()),
            Err(_) => {}
        }
    }
}

impl NoBanner {
    fn closed() -> Self {
        Self::Trouble(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before a banner came"))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Peeked {
    TooLittle,
    Banner(String),
    Other(String),
}

/// Finds the line that begins with `SSH-`; a server may say other things before it.
fn read_banner(seen: &[u8]) -> Peeked {
    let mut rest = seen;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = brief(&String::from_utf8_lossy(&rest[..end]));
        if rest.starts_with(b"SSH-2.0-") || rest.starts_with(b"SSH-1.99-") {
            return Peeked::Banner(line);
        }
        if rest.starts_with(b"SSH-") || rest.starts_with(b"HTTP/") {
            return Peeked::Other(line);
        }
        rest = &rest[end + 1..];
    }
    if seen.len() < MOST { Peeked::TooLittle } else { Peeked::Other(brief(&String::from_utf8_lossy(seen))) }
}

fn checked(login: Option<SshLogin>) -> Result<SshLogin, ProbeSetupError> {
    let login = login.ok_or(ProbeSetupError::NoLogin)?;
    match &login.key_file {
        Some(path) => {
            fs::File::open(path).map_err(|source| ProbeSetupError::KeyFile { path: path.clone(), source })?;
        }
        None if std::env::var_os("SSH_AUTH_SOCK").is_none() => return Err(ProbeSetupError::NoAgent),
        None => {}
    }
    Ok(login)
}

/// How much a server may say before its banner, that included.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_are_found() {
        let check = |seen: &str, expected: Peeked| assert_eq!(read_banner(seen.as_bytes()), expected, "{seen:?}");
        let banner = |text: &str| Peeked::Banner(text.to_owned());
        let other = |text: &str| Peeked::Other(text.to_owned());
        check("", Peeked::TooLittle);
        check("SSH-2.0-Open", Peeked::TooLittle);
        check("SSH-2.0-OpenSSH_9.2p1\r\n", banner("SSH-2.0-OpenSSH_9.2p1"));
        check("SSH-1.99-old\n", banner("SSH-1.99-old"));
        check("Welcome\r\nto us\r\nSSH-2.0-x\r\n", banner("SSH-2.0-x"));
        check("SSH-1.5-ancient\n", other("SSH-1.5-ancient"));
        check("HTTP/1.1 400 Bad Request\r\n", other("HTTP/1.1 400 Bad Request"));
        check("Not allowed at this time\r\n", Peeked::TooLittle);
        assert!(matches!(read_banner(&[b'x'; MOST]), Peeked::Other(_)));
    }

    proptest::proptest! {
        #[test]
        fn anything_can_be_said_instead_of_a_banner(said in proptest::collection::vec(proptest::num::u8::ANY, 0..MOST)) {
            if let Peeked::Banner(banner) = read_banner(&said) {
                proptest::prop_assert!(banner.starts_with("SSH-"));
            }
        }
    }
}
