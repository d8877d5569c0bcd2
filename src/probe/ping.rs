//! The ping probe: ICMP echo, through one socket per address family that all nodes share.
//!
//! surge-ping is careful about much, and this module about the rest:
//! - It hands an ICMP error to the waiting echo as if it were a reply. Only an echo reply is one here.
//! - It takes the other kind of socket when the wanted one is not permitted, and the two behave differently. Here the
//!   kind is chosen before, and a socket of another kind is not used.
//! - It counts a late reply to a sequence number for whoever waits on that number now, and shows nothing of the payload.
//!   Here each address counts through all 65,536 numbers before one comes again.
//! - Replies wait in the socket's receive buffer, which by default holds 256 of them, or 128 on a raw socket. Here the
//!   buffer is enlarged as far as the kernel permits, and no more echoes are under way than it holds replies.
//!
//! A datagram socket (`net.ipv4.ping_group_range`) needs no privilege but does not show ICMP errors: an unreachable host
//! is merely lost there. A raw socket (`CAP_NET_RAW`) shows them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::{Domain, Protocol, Socket, Type};
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::{BoxFuture, Sight, brief, side_by_side, trouble};
use crate::clock::Stopwatch;
use crate::model::{Fault, Measured, Outcome, OwnFault, PingProbe, Stage};

/// Probes by ICMP echo.
#[derive(Debug)]
pub(super) struct PingProber {
    settings: PingProbe,
    v4: Result<Family, NoSocket>,
    v6: Result<Family, NoSocket>,
    /// The next sequence number of each address.
    sequences: Mutex<BTreeMap<IpAddr, u16>>,
}

/// How pings of one address family travel.
struct Family {
    client: Client,
    ident: PingIdentifier,
    kind: Type,
    /// One for each reply that the receive buffer certainly holds.
    room: Semaphore,
}

/// Why a family cannot be pinged.
#[derive(Debug)]
enum NoSocket {
    /// Neither kind of socket is permitted.
    NotPermitted,
    /// This machine does not speak the protocol.
    NoFamily,
    /// Anything else.
    Other(io::Error),
}

/// How one echo ended.
enum Echo {
    Reply(Duration),
    /// A router or the host said that it cannot be reached.
    Unreachable(String),
    Lost,
    Own(OwnFault, String),
}

impl PingProber {
    /// Opens the sockets. What is not permitted is remembered, not an error: nodes are not to blame for it.
    pub(super) fn new(settings: PingProbe) -> Self {
        Self { v4: Family::open(ICMP::V4), v6: Family::open(ICMP::V6), settings, sequences: Mutex::default() }
    }

    /// For everything.
    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// What a person should know.
    pub(super) fn notices(&self) -> Vec<String> {
        let notice = |family: &Result<Family, NoSocket>, name: &str| match family {
            // Without IPv6 there are no IPv6 nodes, or each of their observations says so.
            Ok(_) | Err(NoSocket::NoFamily) => None,
            Err(NoSocket::NotPermitted) => Some(format!(
                "ping of {name} is unavailable: this machine permits this process neither datagram nor raw ICMP \
                 sockets; permit the former with `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`, or give the \
                 program CAP_NET_RAW with `setcap cap_net_raw+ep`, or remove [probes.ping]"
            )),
            Err(NoSocket::Other(error)) => Some(format!("ping of {name} is unavailable: {error}")),
        };
        [notice(&self.v4, "IPv4"), notice(&self.v6, "IPv6")].into_iter().flatten().collect()
    }

    /// Some echoes to `address`.
    pub(super) async fn probe(&self, address: IpAddr) -> Sight {
        let clock = Stopwatch::start();
        let family = match if address.is_ipv4() { &self.v4 } else { &self.v6 } {
            Ok(family) => family,
            Err(why) => {
                let measured =
                    Measured { total_us: clock.micros(), note: Some(brief(&why.to_string())), ..Measured::default() };
                return Sight::of(Outcome::Inconclusive(OwnFault::Unavailable), measured);
            }
        };
        let end = Instant::now() + self.settings.timeout;
        let spacing = self.spacing();
        let echoes = (0..u32::from(self.settings.count)).map(|nth| {
            Box::pin(async move {
                if nth > 0 {
                    sleep(spacing * nth).await;
                }
                self.echo(family, address, end).await
            }) as BoxFuture<'_, (Echo, Duration)>
        });
        let echoes = side_by_side(echoes.collect()).await;
        let delayed = echoes.iter().map(|(_, delayed)| *delayed).max().unwrap_or_default();
        let (outcome, measured) = summary(echoes.into_iter().map(|(echo, _)| echo).collect(), clock);
        Sight { outcome, measured, delayed, load: None }
    }

    /// As configured, but the last echo has at least half of the time to come back.
    fn spacing(&self) -> Duration {
        let gaps = u32::from(self.settings.count).saturating_sub(1).max(1);
        self.settings.spacing.min(self.settings.timeout / 2 / gaps)
    }

    /// One echo, and how long it had to wait for room.
    async fn echo(&self, family: &Family, address: IpAddr, end: Instant) -> (Echo, Duration) {
        let waiting = Stopwatch::start();
        let Ok(room) = timeout_at(end, family.room.acquire()).await else {
            let why = "too many echoes under way at once".to_owned();
            return (Echo::Own(OwnFault::Starved, why), waiting.elapsed());
        };
        let delayed = waiting.elapsed();
        let sent = async {
            // A redirect is not an end, but the library ends with it: ask again.
            for _ in 0..ATTEMPTS {
                if let Some(echo) = self.attempt(family, address, end).await {
                    return echo;
                }
            }
            Echo::Lost
        };
        tokio::pin!(sent);
        let echo = tokio::select! {
            echo = &mut sent => echo,
            () = sleep(SPREAD) => {
                drop(room);
                sent.await
            }
        };
        (echo, delayed)
    }

    /// Sends once; none when what came back was no answer to count.
    async fn attempt(&self, family: &Family, address: IpAddr, end: Instant) -> Option<Echo> {
        let mut pinger = family.client.pinger(address, family.ident).await;
        pinger.timeout(end.saturating_duration_since(Instant::now()));
        let payload = vec![FILLER; self.settings.size];
        match pinger.ping(self.next_sequence(address), &payload).await {
            Ok((packet, rtt)) => match Answer::of(&packet) {
                Answer::Reply => Some(Echo::Reply(rtt)),
                Answer::Unreachable(why) => Some(Echo::Unreachable(why)),
                Answer::Other => None,
            },
            Err(SurgeError::Timeout { .. }) => Some(Echo::Lost),
            Err(SurgeError::IOError(error)) => {
                let note = error.to_string();
                match trouble::of_io(&error, address, Stage::Request) {
                    Some(Outcome::Inconclusive(own)) => Some(Echo::Own(own, note)),
                    Some(Outcome::Passed | Outcome::Failed(_)) => Some(Echo::Unreachable(note)),
                    None => Some(Echo::Own(OwnFault::Unavailable, note)),
                }
            }
            Err(error) => Some(Echo::Own(OwnFault::Unavailable, error.to_string())),
        }
    }

    fn next_sequence(&self, address: IpAddr) -> PingSequence {
        let mut sequences = self.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let next = sequences.entry(address).or_default();
        *next = next.wrapping_add(1);
        PingSequence(*next)
    }
}

impl Family {
    fn open(icmp: ICMP) -> Result<Self, NoSocket> {
        let kind = permitted(icmp)?;
        let client =
            Client::new(&Config::builder().kind(icmp).sock_type_hint(kind).build()).map_err(NoSocket::Other)?;
        let socket = client.get_socket();
        if socket.get_type() != kind {
            return Err(NoSocket::Other(io::Error::other("the kind of ICMP socket changed while it was opened")));
        }
        let buffer = enlarge(socket.get_native_sock());
        let replies = buffer / REPLY_COST / if kind == Type::RAW { 2 } else { 1 };
        let room = Semaphore::new(replies.clamp(FEWEST, Semaphore::MAX_PERMITS));
        let name = if kind == Type::RAW { "raw" } else { "datagram" };
        tracing::info!(family = ?icmp, kind = name, buffer, "icmp socket opened");
        Ok(Self { client, ident: next_ident(), kind, room })
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Family").field("kind", &self.kind).field("room", &self.room).finish_non_exhaustive()
    }
}

impl std::fmt::Display for NoSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotPermitted => f.write_str("this machine permits us no ICMP socket"),
            Self::NoFamily => f.write_str("this machine does not speak this version of IP"),
            Self::Other(error) => write!(f, "no ICMP socket: {error}"),
        }
    }
}

/// The kind of socket to use: datagram where permitted, or else raw.
fn permitted(icmp: ICMP) -> Result<Type, NoSocket> {
    let (domain, protocol) = match icmp {
        ICMP::V4 => (Domain::IPV4, Protocol::ICMPV4),
        ICMP::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let mut refusal = NoSocket::NotPermitted;
    for kind in [Type::DGRAM, Type::RAW] {
        match Socket::new(domain, kind, Some(protocol)) {
            Ok(_) => return Ok(kind),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => {
                let no_family = rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::AFNOSUPPORT);
                refusal = if no_family { NoSocket::NoFamily } else { NoSocket::Other(error) };
            }
        }
    }
    Err(refusal)
}

/// Makes the receive buffer of the socket as large as the kernel permits and says how large it is, in its own counting.
fn enlarge(socket: std::os::fd::RawFd) -> usize {
    // The library lends only the number of its descriptor. A duplicate of our own makes it safe to use.
    let own = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|ourselves| pidfd_getfd(ourselves, socket, PidfdGetfdFlags::empty()));
    let Ok(own) = own else { return SMALLEST_BUFFER };
    if sockopt::set_socket_recv_buffer_size_force(&own, BUFFER).is_err() {
        // Without CAP_NET_ADMIN: as far as net.core.rmem_max goes. A refusal leaves the default.
        let _ = sockopt::set_socket_recv_buffer_size(&own, BUFFER);
    }
    sockopt::socket_recv_buffer_size(&own).unwrap_or(SMALLEST_BUFFER)
}

/// Another identifier for every raw socket of this process, and most likely of others.
fn next_ident() -> PingIdentifier {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(getpid().as_raw_nonzero().get() & 0x7fff).unwrap_or_default();
    PingIdentifier(process.wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// What a packet means to the echo that waits.
enum Answer {
    Reply,
    Unreachable(String),
    /// Neither: a redirect, a source quench.
    Other,
}

impl Answer {
    fn of(packet: &IcmpPacket) -> Self {
        let (kind, code, from, ipv4) = match packet {
            IcmpPacket::V4(packet) => {
                (packet.get_icmp_type().0, packet.get_icmp_code().0, IpAddr::V4(packet.get_source()), true)
            }
            IcmpPacket::V6(packet) => {
                (packet.get_icmpv6_type().0, packet.get_icmpv6_code().0, IpAddr::V6(packet.get_source()), false)
            }
        };
        Self::read(kind, code, from, ipv4)
    }

    fn read(kind: u8, code: u8, from: IpAddr, ipv4: bool) -> Self {
        let what = match (ipv4, kind) {
            (true, 0) | (false, 129) => return Self::Reply,
            (true, 3) | (false, 1) => "destination unreachable",
            (true, 11) | (false, 3) => "time exceeded",
            (true, 12) | (false, 4) => "parameter problem",
            (false, 2) => "packet too big",
            _ => return Self::Other,
        };
        Self::Unreachable(format!("{from} says {what}, code {code}"))
    }
}

/// One reply is enough to pass; how many were lost is in the numbers.
fn summary(echoes: Vec<Echo>, clock: Stopwatch) -> (Outcome, Measured) {
    let sent = echoes.iter().filter(|echo| !matches!(echo, Echo::Own(..))).count();
    let mut rtts = Vec::new();
    let (mut unreachable, mut own) = (None, None);
    for echo in echoes {
        match echo {
            Echo::Reply(rtt) => rtts.push(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
            Echo::Unreachable(why) => unreachable = unreachable.or(Some(why)),
            Echo::Own(fault, why) => own = own.or(Some((fault, why))),
            Echo::Lost => {}
        }
    }
    rtts.sort_unstable();
    let (outcome, note) = match (rtts.is_empty(), unreachable, own) {
        (false, _, _) => (Outcome::Passed, None),
        (true, Some(why), _) => (Outcome::Failed(Fault::Unreachable), Some(why)),
        // If only some could be sent, the silence of the others is not worth much either.
        (true, None, Some((fault, why))) => (Outcome::Inconclusive(fault), Some(why)),
        (true, None, None) => (Outcome::Failed(Fault::Lost), None),
    };
    let count = |of: usize| Some(u16::try_from(of).unwrap_or(u16::MAX));
    let measured = Measured {
        total_us: clock.micros(),
        sent: count(sent),
        received: count(rtts.len()),
        rtt_us: rtts.get(rtts.len() / 2).copied(),
        note: note.as_deref().map(brief),
        ..Measured::default()
    };
    (outcome, measured)
}

/// Wanted receive buffer, bytes.
const BUFFER: usize = 8 << 20;
/// What the kernel charges the buffer for a small reply, bytes: 832 on loopback, up to this with common drivers.
const REPLY_COST: usize = 2304;
/// The kernel's default buffer, halved for good measure, where it could not be asked.
const SMALLEST_BUFFER: usize = 106_496;
/// Even the smallest buffer holds this many.
const FEWEST: usize = 16;
/// An echo that has not come back after this long gives its room to the next. Replies that take longer arrive spread
/// out as their echoes were sent, so this bounds how many come between two looks at the socket.
const SPREAD: Duration = Duration::from_millis(25);
/// How often an echo is sent again because something other than an answer came back.
const ATTEMPTS: usize = 3;
const FILLER: u8 = 0x57;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(count: u16, spacing_ms: u64, timeout_ms: u64) -> PingProbe {
        PingProbe {
            count,
            spacing: Duration::from_millis(spacing_ms),
            timeout: Duration::from_millis(timeout_ms),
            size: 56,
        }
    }

    fn prober(settings: PingProbe) -> PingProber {
        PingProber {
            settings,
            v4: Err(NoSocket::NotPermitted),
            v6: Err(NoSocket::NoFamily),
            sequences: Mutex::default(),
        }
    }

    #[test]
    fn only_echo_replies_are_replies() {
        let check = |kind: u8, ipv4: bool, expected: &str| {
            let shown = match Answer::read(kind, 1, IpAddr::from([192, 0, 2, 1]), ipv4) {
                Answer::Reply => "reply".to_owned(),
                Answer::Unreachable(why) => why,
                Answer::Other => "other".to_owned(),
            };
            assert_eq!(shown, expected, "type {kind}, IPv4: {ipv4}");
        };
        check(0, true, "reply");
        check(129, false, "reply");
        check(3, true, "192.0.2.1 says destination unreachable, code 1");
        check(1, false, "192.0.2.1 says destination unreachable, code 1");
        check(11, true, "192.0.2.1 says time exceeded, code 1");
        check(2, false, "192.0.2.1 says packet too big, code 1");
        check(5, true, "other");
        check(129, true, "other");
        check(0, false, "other");
    }

    #[test]
    fn one_reply_passes_and_silence_needs_all_to_be_sent() {
        let reply = |us| Echo::Reply(Duration::from_micros(us));
        let own = || Echo::Own(OwnFault::Firewall, "not permitted".to_owned());
        let gone = || Echo::Unreachable("gone".to_owned());
        let check = |echoes: Vec<Echo>, expected: &str, numbers: (u16, u16, Option<u32>)| {
            let (outcome, measured) = summary(echoes, Stopwatch::start());
            assert_eq!(outcome.to_string(), expected);
            assert_eq!((measured.sent.unwrap(), measured.received.unwrap(), measured.rtt_us), numbers);
        };
        check(vec![reply(30), reply(10), reply(20)], "passed", (3, 3, Some(20)));
        check(vec![Echo::Lost, reply(10), Echo::Lost], "passed", (3, 1, Some(10)));
        check(vec![gone(), reply(10)], "passed", (2, 1, Some(10)));
        check(vec![Echo::Lost, Echo::Lost], "lost", (2, 0, None));
        check(vec![Echo::Lost, gone()], "unreachable", (2, 0, None));
        check(vec![Echo::Lost, own()], "inconclusive:firewall", (1, 0, None));
        check(vec![own(), reply(5)], "passed", (1, 1, Some(5)));
    }

    #[test]
    fn the_last_echo_has_half_of_the_time() {
        let check = |count, spacing, timeout, expected| {
            assert_eq!(prober(settings(count, spacing, timeout)).spacing(), Duration::from_millis(expected));
        };
        check(3, 200, 2000, 200);
        check(3, 2000, 2000, 500);
        check(1, 200, 2000, 200);
        check(11, 200, 2000, 100);
    }

    #[test]
    fn an_address_counts_through_all_numbers() {
        let prober = prober(settings(1, 0, 1));
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let seen: std::collections::BTreeSet<u16> = (0..=u16::MAX).map(|_| prober.next_sequence(one).0).collect();
        assert_eq!(seen.len(), 65_536);
        assert_eq!(prober.next_sequence(other), PingSequence(1));
    }

    #[tokio::test]
    async fn what_is_not_permitted_is_said_once_and_is_nobodys_fault() {
        let prober = prober(settings(3, 10, 100));
        let notices = prober.notices();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].contains("ping_group_range") && notices[0].contains("CAP_NET_RAW"), "{notices:?}");
        for address in ["192.0.2.1", "2001:db8::1"] {
            let seen = prober.probe(address.parse().unwrap()).await;
            assert_eq!(seen.outcome, Outcome::Inconclusive(OwnFault::Unavailable));
        }
    }

    #[test]
    fn identifiers_differ() {
        assert_ne!(next_ident(), next_ident());
    }
}
