//! How nodes are asked to look at each other.

use std::path::PathBuf;
use std::time::Duration;

/// How a node that shows life is asked to reach one that is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// As whom to log in.
    pub user: String,
    /// A private key without a passphrase.
    pub key_file: PathBuf,
    /// The SSH server's TCP port.
    pub port: u16,
    /// For one try, the login included.
    pub timeout: Duration,
    /// How many nodes are asked about a silent one at a time. At least 1.
    pub max: usize,
    /// How many sessions to each node are kept open, logged in, for questions to come.
    pub sessions: usize,
}
