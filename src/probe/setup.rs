//! What can be wrong with the settings, found before the first probe.

use std::io;
use std::path::PathBuf;

use crate::model::NodeId;

/// Why there can be no prober.
#[derive(Debug, thiserror::Error)]
pub enum ProbeSetupError {
    /// The url cannot be probed.
    #[error("use url {url:?} for the https probe: {why}")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The metrics_url of a node is none.
    #[error("use metrics_url of node {node}: {why}")]
    MetricsUrl {
        /// Whose.
        node: NodeId,
        /// What is wrong.
        why: String,
    },
    /// No HTTP method.
    #[error("use {0:?} as an HTTP method: give GET, HEAD or another token of letters")]
    Method(String),
    /// No HTTP header.
    #[error("send the header {0:?}: its name or value has characters that HTTP forbids")]
    Header(String),
    /// The token has characters that no header may have. It is not shown.
    #[error("send the bearer token: it has characters that HTTP forbids; is the file really a token?")]
    Token,
    /// The roots cannot be read.
    #[error("read ca_file {}: {why}; it must hold certificates in PEM", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system trusts nobody.
    #[error("find the system's root certificates: install the package ca-certificates, or set ca_file ({0})")]
    NoRoots(String),
    /// rustls refuses the configuration.
    #[error("set up TLS: {0}")]
    Tls(rustls::Error),
    /// reqwest refuses the configuration.
    #[error("set up the https client: {0}")]
    Client(String),
    /// The known hosts cannot be read.
    #[error("read known_hosts {}: {source}", path.display())]
    KnownHosts {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The private key cannot be read.
    #[error("read key_file {}: {source}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no agent to ask.
    #[error("find an ssh agent: SSH_AUTH_SOCK is not set; start an agent, or give key_file")]
    NoAgent,
    /// Level `login` without a login.
    #[error("log in over ssh: level \"login\" needs a user and a command")]
    NoLogin,
    /// The ssh threads cannot be started.
    #[error("start a thread for ssh: {0}")]
    Thread(io::Error),
    /// Edges are told as they are probed.
    #[error("tell the edges to shed load: there is no [probes.https], whose name and port they would be told under")]
    NoHttps,
    /// A programming mistake of ours.
    #[error("start probing outside a tokio runtime")]
    NoRuntime,
}
