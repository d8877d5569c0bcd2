//! What a probe saw.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fleet::NodeId;
use super::time::Time;

/// A configured check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// A request over TLS to the service that users use.
    Https,
    /// ICMP echo.
    Ping,
    /// An SSH server's banner, key exchange or login.
    Ssh,
}

impl ProbeKind {
    /// Every kind, in order.
    pub const ALL: [Self; 3] = [Self::Https, Self::Ping, Self::Ssh];

    /// The name used in configuration and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Ping => "ping",
            Self::Ssh => "ssh",
        }
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How far a probe had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The TCP handshake.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Request sent, no complete response head yet.
    Request,
    /// Reading the body.
    Body,
    /// Waiting for `SSH-`.
    Banner,
    /// SSH key exchange.
    Handshake,
    /// SSH authentication.
    Login,
    /// A command over SSH.
    Command,
}

impl Stage {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Request => "request",
            Self::Body => "body",
            Self::Banner => "banner",
            Self::Handshake => "handshake",
            Self::Login => "login",
            Self::Command => "command",
        }
    }
}

/// Why TLS could not be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsFault {
    /// The certificate, or one above it, has run out.
    Expired,
    /// The certificate is from the future.
    NotYetValid,
    /// Signed by nobody we trust.
    UnknownIssuer,
    /// Valid, for another name.
    WrongName,
    /// Revoked, malformed or otherwise refused.
    BadCertificate,
    /// The server speaks no version we accept.
    Version,
    /// Anything else in the handshake: alerts, plain HTTP on the port, rubbish.
    Protocol,
}

impl TlsFault {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::UnknownIssuer => "unknown-issuer",
            Self::WrongName => "wrong-name",
            Self::BadCertificate => "bad-certificate",
            Self::Version => "version",
            Self::Protocol => "protocol",
        }
    }
}

/// What was wrong with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Its kernel answered the connection with RST: nobody listens. A sign of life of the host.
    Refused,
    /// A router or the host's firewall says that it cannot be reached.
    Unreachable,
    /// An open connection was reset or closed too early.
    Reset,
    /// Nothing came in time.
    Timeout(Stage),
    /// TLS was not to be trusted.
    Tls(TlsFault),
    /// An HTTP status outside the expected.
    Status(u16),
    /// 429 or 503: alive, and says that it has too much to do.
    Shedding(u16),
    /// The body does not match.
    Body,
    /// Every echo was lost.
    Lost,
    /// It does not speak the protocol.
    Protocol,
    /// It shows another SSH host key than the one pinned.
    HostKey,
    /// It refused our SSH login.
    Auth,
    /// The command over SSH ended with this code.
    Exit(i32),
}

impl Fault {
    /// Whether the fault itself proves that something at the address is alive: any answer of its kernel or service.
    #[must_use]
    pub fn is_sign_of_life(self) -> bool {
        match self {
            Self::Refused
            | Self::Reset
            | Self::Tls(_)
            | Self::Status(_)
            | Self::Shedding(_)
            | Self::Body
            | Self::Protocol
            | Self::HostKey
            | Self::Auth
            | Self::Exit(_) => true,
            Self::Timeout(stage) => stage != Stage::Connect,
            Self::Unreachable | Self::Lost => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout(stage) => write!(f, "timeout:{}", stage.name()),
            Self::Tls(why) => write!(f, "tls:{}", why.name()),
            Self::Status(code) => write!(f, "status:{code}"),
            Self::Shedding(code) => write!(f, "shedding:{code}"),
            Self::Body => f.write_str("body"),
            Self::Lost => f.write_str("lost"),
            Self::Protocol => f.write_str("protocol"),
            Self::HostKey => f.write_str("host-key"),
            Self::Auth => f.write_str("auth"),
            Self::Exit(code) => write!(f, "exit:{code}"),
        }
    }
}

/// What was wrong with us, when a probe could not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnFault {
    /// This machine has no route there (`ENETUNREACH`, `ENETDOWN`, `EADDRNOTAVAIL`, a local `EHOSTUNREACH`).
    NoRoute,
    /// No descriptors, ports, buffers or memory left.
    Resources,
    /// A name of ours could not be resolved.
    Dns,
    /// A local firewall forbids it (`EPERM`, `EACCES`).
    Firewall,
    /// This process was starved: the probe started late, or timed out while we were not running.
    Starved,
    /// This machine does not permit such probes at all.
    Unavailable,
    /// We gave up early, because we were told to stop.
    Cancelled,
}

impl OwnFault {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::Resources => "resources",
            Self::Dns => "dns",
            Self::Firewall => "firewall",
            Self::Starved => "starved",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The node did what was asked.
    Passed,
    /// It did not.
    Failed(Fault),
    /// We could not tell, and it is our own fault.
    Inconclusive(OwnFault),
}

impl Outcome {
    /// The fault, if it failed.
    #[must_use]
    pub fn fault(self) -> Option<Fault> {
        match self {
            Self::Failed(fault) => Some(fault),
            Self::Passed | Self::Inconclusive(_) => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(fault) => write!(f, "{fault}"),
            Self::Inconclusive(own) => write!(f, "inconclusive:{}", own.name()),
        }
    }
}

/// The numbers a probe came back with. Times are microseconds since the probe started, each absent if not reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// TCP connection established.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u32>,
    /// TLS or SSH key exchange done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_us: Option<u32>,
    /// First byte of the answer: the HTTP response head, the SSH banner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u32>,
    /// The whole probe.
    pub total_us: u32,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whole days until the certificate ends; negative when it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days: Option<i32>,
    /// Echoes sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u16>,
    /// Echo replies received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u16>,
    /// Median round trip of the replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// One line for people: the error's own words, a fingerprint, a banner. At most 200 characters, never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One probe's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Which check.
    pub probe: ProbeKind,
    /// Which of the node's addresses.
    pub address: IpAddr,
    /// When it completed.
    pub at: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// Its numbers.
    pub measured: Measured,
}

impl Observation {
    /// Whether it proves that something at the address is alive.
    #[must_use]
    pub fn is_sign_of_life(&self) -> bool {
        match self.outcome {
            Outcome::Passed => true,
            Outcome::Failed(fault) => fault.is_sign_of_life() || self.measured.received.is_some_and(|got| got > 0),
            Outcome::Inconclusive(_) => false,
        }
    }
}

/// One set of probes of one node, run side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Whose.
    pub node: NodeId,
    /// When its probes were started.
    pub started: Time,
    /// When the last of them was done.
    pub finished: Time,
    /// One for each configured probe and address, sorted by probe, then address.
    pub observations: Vec<Observation>,
}

impl Round {
    /// Whether any probe failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.faults().next().is_some()
    }

    /// Whether any probe failed for another reason than that the node sheds load. A node that says "too much" is alive
    /// and honest, and that must not cost it anything.
    #[must_use]
    pub fn strikes(&self) -> bool {
        self.faults().any(|(_, fault)| !matches!(fault, Fault::Shedding(_)))
    }

    /// Whether at least one probe passed and none failed.
    #[must_use]
    pub fn clean(&self) -> bool {
        !self.failed() && self.observations.iter().any(|seen| seen.outcome == Outcome::Passed)
    }

    /// Whether any probe told anything about the node at all.
    #[must_use]
    pub fn conclusive(&self) -> bool {
        self.observations.iter().any(|seen| !matches!(seen.outcome, Outcome::Inconclusive(_)))
    }

    /// The failures, in the order of the observations.
    pub fn faults(&self) -> impl Iterator<Item = (ProbeKind, Fault)> + '_ {
        self.observations.iter().filter_map(|seen| seen.outcome.fault().map(|fault| (seen.probe, fault)))
    }
}

/// One look at our own connectivity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorRound {
    /// When it began: what failed after that is not excused nor confirmed by it.
    pub at: Time,
    /// How many anchors answered.
    pub ok: u32,
    /// How many were asked.
    pub of: u32,
}
