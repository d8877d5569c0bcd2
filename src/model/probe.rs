//! How nodes are to be probed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::fleet::{Node, NodeId};
use super::observation::ProbeKind;
use super::secret::Secret;

/// Every configured check. A probe runs when it is there.
#[derive(Clone, Debug, Default)]
pub struct ProbeSettings {
    /// The service that users use.
    pub https: Option<HttpsProbe>,
    /// ICMP echo.
    pub ping: Option<PingProbe>,
    /// An SSH server.
    pub ssh: Option<SshProbe>,
    /// Somebody else's reliable hosts, probed by a TCP connection to learn about ourselves.
    pub anchors: Vec<SocketAddr>,
    /// The URLs of node_exporters, `http` or `https`, by node.
    pub metrics: BTreeMap<NodeId, String>,
    /// How often nodes are asked what they carry, where that is no part of a probe.
    pub load_every: Duration,
}

impl ProbeSettings {
    /// Which probes there are, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<ProbeKind> {
        let there = [self.https.is_some(), self.ping.is_some(), self.ssh.is_some()];
        ProbeKind::ALL.into_iter().zip(there).filter_map(|(kind, is)| is.then_some(kind)).collect()
    }

    /// The longest any probe may take: the deadline of a round.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        [
            self.https.as_ref().map(|https| https.timeout),
            self.ping.as_ref().map(|ping| ping.timeout),
            self.ssh.as_ref().map(|ssh| ssh.timeout),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or_default()
    }

    /// How many observations a round of `node` has.
    #[must_use]
    pub fn observations_of(&self, node: &Node) -> usize {
        self.kinds().len() * node.addresses.len()
    }
}

/// A range of HTTP statuses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest.
    pub from: u16,
    /// The highest.
    pub to: u16,
}

/// The https probe.
#[derive(Clone, Debug)]
pub struct HttpsProbe {
    /// Scheme `https`. Host and port name the service: host for SNI and Host, the connection goes to each node's address.
    pub url: String,
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Further request headers, in order.
    pub headers: Vec<(String, String)>,
    /// Statuses that pass.
    pub expect_status: Vec<StatusRange>,
    /// What the body's beginning must match; none: any body.
    pub expect_body: Option<regex::bytes::Regex>,
    /// How much of the body is read at the most, bytes.
    pub body_limit: usize,
    /// PEM roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Bearer token.
    pub token: Option<Secret>,
    /// How many redirects to follow, within the same host name and address; 0: a 3xx is judged as any status.
    pub redirects: u32,
    /// Whether TLS 1.2 will do; otherwise 1.3 is asked for.
    pub tls12: bool,
    /// Warn when the certificate ends within this many days.
    pub warn_certificate_days: i32,
    /// For the TCP handshake. 4 s on purpose: it covers SYNs at 0, 1 and 3 s.
    pub connect_timeout: Duration,
    /// For everything.
    pub timeout: Duration,
}

/// The ping probe.
#[derive(Clone, Debug)]
pub struct PingProbe {
    /// Echoes in a round.
    pub count: u16,
    /// Between two of them.
    pub spacing: Duration,
    /// For the whole round: the last echo is sent early enough to be waited for.
    pub timeout: Duration,
    /// Payload bytes.
    pub size: usize,
}

/// How far the ssh probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SshLevel {
    /// Reads `SSH-2.0-...`.
    Banner,
    /// Exchanges keys and checks the host key.
    Handshake,
    /// Logs in and runs a command.
    Login,
}

/// How the ssh probe logs in.
#[derive(Clone, Debug)]
pub struct SshLogin {
    /// As whom.
    pub user: String,
    /// A private key without a passphrase; none: the agent's keys.
    pub key_file: Option<PathBuf>,
    /// What to run; exit code 0 passes.
    pub command: String,
}

/// The ssh probe.
#[derive(Clone, Debug)]
pub struct SshProbe {
    /// TCP port.
    pub port: u16,
    /// How far to go.
    pub level: SshLevel,
    /// Host keys in OpenSSH's format, for nodes without a pinned fingerprint.
    pub known_hosts: Option<PathBuf>,
    /// For level `login`.
    pub login: Option<SshLogin>,
    /// For everything.
    pub timeout: Duration,
}
