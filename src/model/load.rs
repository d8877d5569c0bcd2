//! What a node says it carries.

use serde::{Deserialize, Serialize};

use super::fleet::NodeId;
use super::time::Time;

/// Where a load figure came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadSource {
    /// The edge's health document.
    Health,
    /// A node_exporter's `/metrics`.
    Metrics,
    /// `/proc` over SSH.
    Ssh,
}

impl LoadSource {
    /// Every source, in order.
    pub const ALL: [Self; 3] = [Self::Health, Self::Metrics, Self::Ssh];

    /// The name used in traces and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Ssh => "ssh",
        }
    }
}

/// One look at what a node carries. What it does not tell is absent, and never taken for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadFigure {
    /// Whose.
    pub node: NodeId,
    /// When it was true, not when it came: a figure that was old already is dated back.
    pub at: Time,
    /// Where it came from.
    pub source: LoadSource,
    /// What leaves the node, bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_bps: Option<u64>,
    /// What it says it can send, bit/s; else its configured capacity counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bps: Option<u64>,
    /// Open client connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<u64>,
    /// The brownout step that it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shed_step: Option<u8>,
    /// The load average of one minute, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load1_milli: Option<u32>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ncpu: Option<u32>,
    /// Share of the last 10 s in which something waited for a processor, in thousandths of a percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi_cpu10_milli: Option<u32>,
    /// The same for input and output, everything waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psi_io10_milli: Option<u32>,
    /// Connections dropped since boot because an accept queue was full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_overflows: Option<u64>,
}

impl LoadFigure {
    /// A figure that tells nothing yet.
    #[must_use]
    pub fn new(node: NodeId, at: Time, source: LoadSource) -> Self {
        Self {
            node,
            at,
            source,
            tx_bps: None,
            capacity_bps: None,
            active: None,
            shed_step: None,
            load1_milli: None,
            ncpu: None,
            psi_cpu10_milli: None,
            psi_io10_milli: None,
            listen_overflows: None,
        }
    }

    /// Whether it tells nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.node.clone(), self.at, self.source)
    }
}
