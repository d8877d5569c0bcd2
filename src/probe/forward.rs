//! Nodes that look at other nodes for us, over SSH.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::load::Loads;
use super::setup::ProbeSetupError;
use super::ssh::SshProber;
use crate::model::{AskOutcome, Node, RelaySettings, SshLevel, SshLogin, SshProbe};

/// Logs in to nodes and has them connect to somebody else. Meant to be shared; its sessions run on two threads of their
/// own, and each ends with its time-out.
#[derive(Debug)]
pub struct Forwarder {
    ssh: SshProber,
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
        Ok(Self { ssh })
    }

    /// Logs in at `address` of `through` and has it connect to `target`. A node whose host key is not configured is not
    /// logged in to: somebody else might answer there, and say what suits him.
    pub async fn reach(&self, through: &Node, address: IpAddr, target: SocketAddr) -> Reach {
        if through.ssh_host_key.is_none() {
            let note = format!("{} has no ssh_host_key", through.id);
            return Reach { outcome: AskOutcome::Unknown, note, took_us: 0 };
        }
        let (outcome, sight) = self.ssh.reach(through, address, target).await;
        let note = match (outcome, sight.measured.note) {
            (AskOutcome::Nothing, _) => format!("nothing comes back from {target}"),
            (_, Some(note)) => note,
            (_, None) => sight.outcome.to_string(),
        };
        Reach { outcome, note, took_us: sight.measured.total_us }
    }
}
