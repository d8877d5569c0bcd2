//! What other vantage points say.

use serde::{Deserialize, Serialize};

use super::fleet::{Name, NodeId};
use super::time::Time;

/// How somebody else tried to reach a node's public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskHow {
    /// A TCP connection to the service's port.
    Tcp,
    /// ICMP echo.
    Ping,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskOutcome {
    /// The node answered: it is alive, whatever we see.
    Reached,
    /// It was tried, and nothing came back.
    Nothing,
    /// The one that was asked could not tell: it did not answer us, or has no network itself. As good as not asked.
    Unknown,
}

/// One try of another vantage point: a relay's, or another witness's vote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ask {
    /// Who tried: a node of the fleet, or another witness.
    pub via: Name,
    /// Whom.
    pub node: NodeId,
    /// When it was done.
    pub at: Time,
    /// How.
    pub how: AskHow,
    /// What came of it.
    pub outcome: AskOutcome,
    /// How many tries it stands for; a vote may sum up several. At least 1.
    pub tries: u32,
}

/// What the caller can do beside probing and editing DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Abilities {
    /// It can tell the nodes to shed load.
    pub shed: bool,
    /// It can have other nodes try one that is silent.
    pub relays: bool,
}
