//! A remembered failure.

use serde::{Deserialize, Serialize};

use super::observation::{Fault, ProbeKind};
use super::time::Time;

/// A failing round that is remembered against its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// When the round ended.
    pub at: Time,
    /// What failed in it, sorted, without repetition.
    pub faults: Vec<(ProbeKind, Fault)>,
}

impl Strike {
    /// Whether one of `probes` failed in it.
    #[must_use]
    pub fn is_from(&self, probes: &[ProbeKind]) -> bool {
        self.faults.iter().any(|(probe, _)| probes.contains(probe))
    }
}
