//! One SSH session: key exchange, host key, login, and a command or a connection to somewhere else, each as far as asked.
//!
//! Runs on the SSH threads only. libssh2 is told not to block and says by a code that it would have; then the socket is
//! waited for and the same call made again.

use std::io::{self, Read as _};
use std::net::{self, Shutdown};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use ssh2::{BlockDirections, Channel, ErrorCode, MethodType, Session};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::known_hosts::{Family, Known, fingerprint};
use super::reach::{Quest, reach};
use super::standing::{After, Standing};
use crate::clock::Stopwatch;
use crate::model::{AskOutcome, Fault, Fingerprint, Outcome, OwnFault, SshLogin, Stage};
use crate::probe::starvation::Lost;
use crate::probe::{brief, load};

/// What to do on an open connection whose banner has been seen and not read.
#[derive(Debug)]
pub(super) struct Errand {
    /// Non-blocking.
    pub(super) stream: net::TcpStream,
    /// Which host keys to ask for, best first.
    pub(super) families: Vec<Family>,
    pub(super) expected: Expected,
    /// None: no further than the host key.
    pub(super) login: Option<Arc<SshLogin>>,
    /// Whether to ask what the machine carries, after all has passed.
    pub(super) asking: bool,
    /// What is to be done after the login, instead of running the command.
    pub(super) after: After,
    /// Started with the probe.
    pub(super) clock: Stopwatch,
    pub(super) timeout: Duration,
    pub(super) end: Instant,
}

/// Which host key is the right one.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    Pinned(Fingerprint),
    Known(Arc<Known>),
    Any,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) outcome: Outcome,
    /// When the key exchange was done, since the probe started.
    pub(super) secure_us: Option<u32>,
    /// When everything that decides had passed, the same.
    pub(super) passed_us: Option<u32>,
    /// What the machine printed of what it carries.
    pub(super) printed: Option<Vec<u8>>,
    /// The kind of key that the server showed.
    pub(super) shown: Option<Family>,
    pub(super) note: Option<String>,
    /// What came of connecting to the target; none where it did not come to that.
    pub(super) reached: Option<AskOutcome>,
    /// How long it had to wait for a place.
    pub(super) delayed: Duration,
    /// How much of its time its thread did not have.
    pub(super) lost: Lost,
}

impl Report {
    pub(super) fn of(outcome: Outcome, note: &str) -> Self {
        Self {
            outcome,
            secure_us: None,
            passed_us: None,
            printed: None,
            shown: None,
            note: Some(note.to_owned()),
            reached: None,
            delayed: Duration::ZERO,
            lost: Lost::default(),
        }
    }
}

/// Why a session ended early.
pub(super) struct Stop(pub(super) Outcome, pub(super) String);

/// What has been reached, for the report of a session that is cut off.
pub(super) struct Progress {
    stage: Stage,
    asking_agent: bool,
    secure_us: Option<u32>,
    passed_us: Option<u32>,
    printed: Option<Vec<u8>>,
    shown: Option<Family>,
    pub(super) note: Option<String>,
    pub(super) reached: Option<AskOutcome>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Handshake,
            asking_agent: false,
            secure_us: None,
            passed_us: None,
            printed: None,
            shown: None,
            note: None,
            reached: None,
        }
    }
}

/// Runs `errand` until it is done or its time is up. What is to stand then is to be given to [`super::standing::stand`].
pub(super) async fn run(errand: Errand) -> (Report, Option<Standing>) {
    let end = errand.end;
    let mut progress = Progress::new();
    let ended = timeout_at(end, through(errand, &mut progress)).await;
    let mut standing = None;
    let (outcome, note) = match ended {
        Ok(Ok(stands)) => {
            standing = stands;
            (Outcome::Passed, progress.note)
        }
        Ok(Err(Stop(outcome, note))) => (outcome, Some(note)),
        Err(_) if progress.passed_us.is_some() => (Outcome::Passed, progress.note),
        Err(_) if progress.asking_agent => {
            (Outcome::Inconclusive(OwnFault::Unavailable), Some("the ssh agent did not answer".to_owned()))
        }
        Err(_) => (Outcome::Failed(Fault::Timeout(progress.stage)), progress.note),
    };
    let report = Report {
        outcome,
        secure_us: progress.secure_us,
        passed_us: progress.passed_us,
        printed: progress.printed,
        shown: progress.shown,
        note: note.as_deref().map(brief),
        reached: progress.reached,
        delayed: Duration::ZERO,
        lost: Lost::default(),
    };
    (report, standing)
}

async fn through(errand: Errand, progress: &mut Progress) -> Result<Option<Standing>, Stop> {
    let Errand { stream, families, expected, login, after, asking, clock, timeout, .. } = errand;
    let line = Line::open(stream, &families)?;
    let task = match (&login, &after) {
        (None, _) => Task::HostKey,
        (Some(login), After::Probe) => Task::Command(login),
        (Some(login), After::Reach(quest)) => Task::Reach(login, *quest, timeout),
        (Some(login), After::Stand(..)) => Task::LogIn(login),
    };
    match along(&line, &expected, task, asking, clock, progress).await {
        // The library does not tell a connection that ended from one that makes no sense.
        Err(Stop(Outcome::Failed(Fault::Protocol), why)) if line.is_closed() => {
            return Err(Stop(Outcome::Failed(Fault::Reset), why));
        }
        ended => ended?,
    }
    Ok(match after {
        After::Stand(questions, late) => Some(Standing { line, late, questions }),
        After::Probe | After::Reach(_) => {
            // Said once and not insisted on: it spares the server a line in its log.
            let _ = line.session.disconnect(None, "done", None);
            None
        }
    })
}

/// How far a session goes.
enum Task<'a> {
    /// To the host key.
    HostKey,
    /// Through the login's command.
    Command(&'a SshLogin),
    /// To connections that the server makes, within this long for everything.
    Reach(&'a SshLogin, Quest, Duration),
    /// To the login.
    LogIn(&'a SshLogin),
}

async fn along(
    line: &Line,
    expected: &Expected,
    task: Task<'_>,
    asking: bool,
    clock: Stopwatch,
    progress: &mut Progress,
) -> Result<(), Stop> {
    line.until_done(|session| session.clone().handshake()).await.map_err(|error| stop(&error, Stage::Handshake))?;
    progress.secure_us = Some(clock.micros());

    let (key, _) = line.session.host_key().ok_or_else(|| broken("the server showed no host key"))?;
    progress.shown = Family::of(key);
    progress.note = Some(accept(key, expected)?);

    if let Task::Command(login) | Task::Reach(login, ..) | Task::LogIn(login) = task {
        progress.stage = Stage::Login;
        log_in(line, login, progress).await?;
        progress.stage = Stage::Command;
    }
    match task {
        Task::HostKey | Task::LogIn(_) => {}
        Task::Command(login) => run_command(line, &login.command).await?,
        Task::Reach(_, quest, timeout) => reach(line, quest, timeout, progress).await?,
    }
    progress.passed_us = Some(clock.micros());
    if asking {
        // Nothing that it does can fail the probe any more, nor hold up the round for long.
        progress.printed = timeout(ASKING, output(line, load::COMMAND)).await.ok().flatten();
    }
    Ok(())
}

/// The key's fingerprint and how it was checked, if it is the right one.
fn accept(key: &[u8], expected: &Expected) -> Result<String, Stop> {
    let shown = fingerprint(key);
    let changed = |why: String| Err(Stop(Outcome::Failed(Fault::HostKey), why));
    match expected {
        Expected::Any => Ok(format!("host key {shown}, not checked")),
        Expected::Pinned(pin) if *pin == shown => Ok(format!("host key {shown}")),
        Expected::Pinned(pin) => changed(format!("shows host key {shown}, pinned is {pin}")),
        Expected::Known(known) if known.revoked.iter().any(|revoked| revoked == key) => {
            changed(format!("shows host key {shown}, which known_hosts has revoked"))
        }
        Expected::Known(known) if known.keys.iter().any(|good| good == key) => Ok(format!("host key {shown}")),
        Expected::Known(known) => match known.keys.first() {
            None => Ok(format!("host key {shown}, not in known_hosts")),
            Some(first) => {
                let like = known.keys.iter().find(|good| Family::of(good) == Family::of(key)).unwrap_or(first);
                changed(format!("shows host key {shown}, known_hosts has {}", fingerprint(like)))
            }
        },
    }
}

async fn log_in(line: &Line, login: &SshLogin, progress: &mut Progress) -> Result<(), Stop> {
    let before = line.methods(&login.user).await?;
    if line.session.authenticated() {
        return Ok(()); // it lets anybody in
    }
    if !offers_keys(&before) {
        return Err(refused(format!("the server takes no keys from {}, only: {before}", login.user)));
    }
    let tried = match &login.key_file {
        Some(path) => {
            let key = |session: &Session| session.userauth_pubkey_file(&login.user, None, path, None);
            line.until_done(key).await.map_err(|error| stop(&error, Stage::Login))
        }
        None => ask_agent(line, &login.user, progress).await,
    };
    match tried {
        Ok(()) if line.session.authenticated() => Ok(()),
        Ok(()) => Err(refused(second_factor(&before))),
        Err(Stop(Outcome::Failed(Fault::Auth), why)) => {
            // Accepted in part looks like refused. The methods that are left tell: the key is no longer among them.
            let after = line.methods(&login.user).await?;
            let partly = !after.is_empty() && !offers_keys(&after);
            Err(refused(if partly { second_factor(&after) } else { why }))
        }
        Err(stop) => Err(stop),
    }
}

fn offers_keys(methods: &str) -> bool {
    methods.split(',').any(|method| method == "publickey")
}

fn second_factor(methods: &str) -> String {
    format!("the key was accepted, but the server wants a second factor ({methods}): use level \"handshake\"")
}

/// Tries the agent's keys in turn. Everything that may wait for the agent happens on a thread apart.
async fn ask_agent(line: &Line, user: &str, progress: &mut Progress) -> Result<(), Stop> {
    let session = line.session.clone();
    progress.asking_agent = true;
    let (mut agent, identities) = apart(move || {
        let mut agent = session.agent()?;
        agent.connect()?;
        agent.list_identities()?;
        let identities = agent.identities()?;
        Ok((agent, identities))
    })
    .await?
    .map_err(|error: ssh2::Error| {
        Stop(Outcome::Inconclusive(OwnFault::Unavailable), format!("the ssh agent: {}", error.message()))
    })?;
    if identities.is_empty() {
        return Err(Stop(Outcome::Inconclusive(OwnFault::Unavailable), "the ssh agent has no keys".to_owned()));
    }
    let mut refusal = refused("the server takes none of the agent's keys".to_owned());
    for identity in identities {
        let identity = Arc::new(identity);
        loop {
            progress.asking_agent = true;
            let (user, key) = (user.to_owned(), Arc::clone(&identity));
            let (back, answer) = apart(move || {
                let answer = agent.userauth(&user, &key);
                (agent, answer)
            })
            .await?;
            agent = back;
            progress.asking_agent = false;
            match answer {
                Ok(()) => return Ok(()),
                Err(error) if would_block(&error) => line.wait().await.map_err(|error| broken(&error.to_string()))?,
                Err(error) => {
                    refusal = stop(&error, Stage::Login);
                    break;
                }
            }
        }
        if !matches!(refusal.0, Outcome::Failed(Fault::Auth)) {
            break;
        }
    }
    Err(refusal)
}

/// Runs what may block on one of the few threads for it.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    let broke = |_| Stop(Outcome::Inconclusive(OwnFault::Unavailable), "the ssh agent's thread broke off".to_owned());
    tokio::task::spawn_blocking(work).await.map_err(broke)
}

async fn run_command(line: &Line, command: &str) -> Result<(), Stop> {
    // What it prints is of no interest.
    let channel = execute(line, command, &mut |_| {}).await?;
    if let Some(signal) = channel.exit_signal().ok().and_then(|exit| exit.exit_signal) {
        return Err(Stop(Outcome::Failed(Fault::Exit(KILLED)), format!("the command was ended by signal {signal}")));
    }
    match channel.exit_status().map_err(|error| stop(&error, Stage::Command))? {
        0 => Ok(()),
        code => Err(Stop(Outcome::Failed(Fault::Exit(code)), format!("the command ended with code {code}"))),
    }
}

/// What `command` prints on its standard output; none when it cannot be run or prints too much.
async fn output(line: &Line, command: &str) -> Option<Vec<u8>> {
    let mut printed = Vec::new();
    let mut keep = |part: &[u8]| {
        if printed.len() <= MOST_PRINTED {
            printed.extend_from_slice(part);
        }
    };
    execute(line, command, &mut keep).await.ok()?;
    (printed.len() <= MOST_PRINTED).then_some(printed)
}

/// Runs `command` to its end and hands what it prints on its standard output to `keep`.
async fn execute(line: &Line, command: &str, keep: &mut (dyn FnMut(&[u8]) + Send)) -> Result<Channel, Stop> {
    let failed = |error: ssh2::Error| stop(&error, Stage::Command);
    let mut channel = line.until_done(Session::channel_session).await.map_err(failed)?;
    line.until_done(|_| channel.exec(command)).await.map_err(failed)?;
    // It must be taken for the command to go on.
    let mut part = [0; 4096];
    for stream in [STDOUT, STDERR] {
        loop {
            let length = line.until_done(|_| take(&channel, stream, &mut part)).await.map_err(failed)?;
            if length == 0 {
                break;
            }
            if stream == STDOUT {
                keep(&part[..length]);
            }
        }
    }
    line.until_done(|_| channel.close()).await.map_err(failed)?;
    line.until_done(|_| channel.wait_close()).await.map_err(failed)?;
    Ok(channel)
}

fn take(channel: &Channel, stream: i32, into: &mut [u8]) -> Result<usize, ssh2::Error> {
    channel.stream(stream).read(into).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => ssh2::Error::new(ErrorCode::Session(EAGAIN), "would block"),
        _ => ssh2::Error::new(ErrorCode::Session(SOCKET_RECV), "the connection broke while the command ran"),
    })
}

/// A session and the socket under it.
pub(super) struct Line {
    pub(super) socket: Arc<TcpStream>,
    pub(super) session: Session,
}

impl Line {
    fn open(stream: net::TcpStream, families: &[Family]) -> Result<Self, Stop> {
        let own = |why: String| Stop(Outcome::Inconclusive(OwnFault::Resources), why);
        let socket = Arc::new(TcpStream::from_std(stream).map_err(|error| own(error.to_string()))?);
        let mut session = Session::new().map_err(|error| own(error.message().to_owned()))?;
        session.set_tcp_stream(Arc::clone(&socket));
        session.set_blocking(false);
        let host_keys = families.iter().map(|family| family.algorithms()).collect::<Vec<_>>().join(",");
        for (method, wanted) in [(MethodType::Kex, KEY_EXCHANGES), (MethodType::HostKey, host_keys.as_str())] {
            let set = session.method_pref(method, wanted);
            set.map_err(|error| Stop(Outcome::Inconclusive(OwnFault::Unavailable), error.message().to_owned()))?;
        }
        Ok(Self { socket, session })
    }

    /// Calls `step` until it no longer would block.
    pub(super) async fn until_done<T>(
        &self,
        mut step: impl FnMut(&Session) -> Result<T, ssh2::Error>,
    ) -> Result<T, ssh2::Error> {
        loop {
            match step(&self.session) {
                Err(error) if would_block(&error) => self.wait().await?,
                done => return done,
            }
        }
    }

    /// Waits until the socket is ready for what the session wants from it.
    pub(super) async fn wait(&self) -> Result<(), ssh2::Error> {
        let wanted = match self.session.block_directions() {
            BlockDirections::Outbound => Interest::WRITABLE,
            BlockDirections::Both => Interest::READABLE | Interest::WRITABLE,
            BlockDirections::Inbound | BlockDirections::None => Interest::READABLE,
        };
        let failed = |_| ssh2::Error::new(ErrorCode::Session(SOCKET_RECV), "the socket cannot be waited for");
        loop {
            self.socket.ready(wanted).await.map_err(failed)?;
            // The library also says that it would block when it has merely not got a whole packet yet and there is more
            // to read. So the socket itself is asked, and only its own "no" makes us wait for the next event.
            match self.socket.try_io(wanted, || self.ready_now(wanted)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Ok(()),
            }
        }
    }

    fn ready_now(&self, wanted: Interest) -> io::Result<()> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, wanted.is_readable());
        flags.set(PollFlags::OUT, wanted.is_writable());
        let ready = poll(&mut [PollFd::new(&*self.socket, flags)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        if ready > 0 { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Whether the server has closed or reset the connection.
    fn is_closed(&self) -> bool {
        !matches!(recv(&*self.socket, &mut [0; 1][..], RecvFlags::PEEK), Ok((1.., _)) | Err(Errno::AGAIN))
    }

    /// The same while there may be something to read before that, which a session that stands does not do.
    pub(super) fn is_hung_up(&self) -> bool {
        let mut polled = [PollFd::new(&*self.socket, PollFlags::RDHUP)];
        let ready = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        ready.is_err() || polled[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// The ways to log in that the server names to `user`, separated by commas.
    async fn methods(&self, user: &str) -> Result<String, Stop> {
        let asked = self.until_done(|session| session.auth_methods(user).map(str::to_owned)).await;
        match asked {
            Ok(methods) => Ok(methods),
            Err(_) if self.session.authenticated() => Ok(String::new()),
            Err(error) => Err(stop(&error, Stage::Login)),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // With its socket shut the library cannot want to wait while it takes the session down; it would leave it be.
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Both);
    }
}

pub(super) fn would_block(error: &ssh2::Error) -> bool {
    error.code() == ErrorCode::Session(EAGAIN)
}

fn refused(why: String) -> Stop {
    Stop(Outcome::Failed(Fault::Auth), why)
}

fn broken(why: &str) -> Stop {
    Stop(Outcome::Failed(Fault::Protocol), why.to_owned())
}

/// What an error of libssh2's says about the node.
pub(super) fn stop(error: &ssh2::Error, stage: Stage) -> Stop {
    let ErrorCode::Session(code) = error.code() else { return broken(error.message()) };
    let outcome = match code {
        SOCKET_SEND | SOCKET_RECV | SOCKET_DISCONNECT | BAD_SOCKET => Outcome::Failed(Fault::Reset),
        TIMEOUT | SOCKET_TIMEOUT => Outcome::Failed(Fault::Timeout(stage)),
        AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED => Outcome::Failed(Fault::Auth),
        ALLOC => Outcome::Inconclusive(OwnFault::Resources),
        FILE | KEYFILE_AUTH_FAILED | AGENT_PROTOCOL => Outcome::Inconclusive(OwnFault::Unavailable),
        _ => Outcome::Failed(Fault::Protocol),
    };
    Stop(outcome, error.message().to_owned())
}

/// Curve25519 before the others: five to seven times cheaper than the last, which is for servers that have nothing else.
const KEY_EXCHANGES: &str = "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,\
                             ecdh-sha2-nistp521,diffie-hellman-group14-sha256";
/// How long a machine may take to tell what it carries: what it has to do is read a few files.
const ASKING: Duration = Duration::from_secs(1);
/// A machine with a thousand network devices prints half of it, bytes.
const MOST_PRINTED: usize = 256 * 1024;
const STDOUT: i32 = 0;
const STDERR: i32 = 1;
/// The exit code of a command that a signal has ended.
const KILLED: i32 = -1;

// libssh2.h
const ALLOC: i32 = -6;
const SOCKET_SEND: i32 = -7;
const TIMEOUT: i32 = -9;
const SOCKET_DISCONNECT: i32 = -13;
const FILE: i32 = -16;
const AUTHENTICATION_FAILED: i32 = -18;
const PUBLICKEY_UNVERIFIED: i32 = -19;
const SOCKET_TIMEOUT: i32 = -30;
const EAGAIN: i32 = -37;
const AGENT_PROTOCOL: i32 = -42;
const SOCKET_RECV: i32 = -43;
const BAD_SOCKET: i32 = -45;
const KEYFILE_AUTH_FAILED: i32 = -48;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, rest: u8) -> Vec<u8> {
        let length = u32::try_from(kind.len()).unwrap().to_be_bytes();
        [&length[..], kind.as_bytes(), &[rest; 32]].concat()
    }

    #[test]
    fn a_host_key_is_the_right_one_or_not() {
        let (right, other) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2));
        let rsa = key("ssh-rsa", 3);
        let known = |keys: &[&Vec<u8>], revoked: &[&Vec<u8>]| {
            let copies = |keys: &[&Vec<u8>]| keys.iter().map(|key| (*key).clone()).collect();
            Expected::Known(Arc::new(Known { keys: copies(keys), revoked: copies(revoked) }))
        };
        let check = |expected: Expected, accepted: bool, says: &str| {
            let (was_accepted, note) = match accept(&right, &expected) {
                Ok(note) => (true, note),
                Err(Stop(outcome, note)) => {
                    assert_eq!(outcome, Outcome::Failed(Fault::HostKey));
                    (false, note)
                }
            };
            assert_eq!(was_accepted, accepted, "{expected:?}");
            assert!(note.contains(says) && note.contains(&fingerprint(&right).to_string()), "{note}");
        };
        check(Expected::Any, true, "not checked");
        check(Expected::Pinned(fingerprint(&right)), true, "");
        check(Expected::Pinned(fingerprint(&other)), false, &fingerprint(&other).to_string());
        check(known(&[&right], &[]), true, "");
        check(known(&[&rsa, &right], &[]), true, "");
        check(known(&[], &[]), true, "not in known_hosts");
        check(known(&[&rsa, &other], &[]), false, &fingerprint(&other).to_string());
        check(known(&[&rsa], &[]), false, &fingerprint(&rsa).to_string());
        check(known(&[&right], &[&right]), false, "revoked");
    }

    #[test]
    fn the_librarys_errors_are_the_nodes_or_ours() {
        let check = |code: i32, expected: &str| {
            let Stop(outcome, _) = stop(&ssh2::Error::new(ErrorCode::Session(code), "made up"), Stage::Login);
            assert_eq!(outcome.to_string(), expected, "{code}");
        };
        check(SOCKET_DISCONNECT, "reset");
        check(SOCKET_RECV, "reset");
        check(TIMEOUT, "timeout:login");
        check(AUTHENTICATION_FAILED, "auth");
        check(ALLOC, "inconclusive:resources");
        check(FILE, "inconclusive:unavailable");
        check(AGENT_PROTOCOL, "inconclusive:unavailable");
        check(-5, "protocol");
        check(-12345, "protocol");
    }

    #[test]
    fn methods_are_whole_words() {
        assert!(offers_keys("publickey,password"));
        assert!(offers_keys("password,publickey"));
        assert!(!offers_keys("publickeys,password"));
        assert!(!offers_keys(""));
    }
}
