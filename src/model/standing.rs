//! Where a node stands, and what an operator laid over it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fleet::NodeId;
use super::time::Time;

/// Where a node stands: it goes round, `Serving → Suspect → Withdrawn → Probation → Serving`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// In DNS, nothing against it.
    #[default]
    Serving,
    /// In DNS, with strikes in the window.
    Suspect,
    /// Out of DNS, by us or by a person.
    Withdrawn,
    /// Out of DNS, passing its probes, proving itself.
    Probation,
}

impl Standing {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Suspect => "suspect",
            Self::Withdrawn => "withdrawn",
            Self::Probation => "probation",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a pin says of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinState {
    /// Keep it in DNS whatever the probes say.
    In,
    /// Keep it out of DNS whatever the probes say.
    Out,
    /// Leave it exactly as it is.
    Ignore,
}

impl PinState {
    /// The name used in commands and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Ignore => "ignore",
        }
    }
}

impl fmt::Display for PinState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An operator's override. Every pin ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Which node.
    pub node: NodeId,
    /// What is asked of it.
    pub state: PinState,
    /// When it was set.
    pub since: Time,
    /// When it ends.
    pub until: Time,
    /// Why, in the operator's words.
    pub reason: String,
}
