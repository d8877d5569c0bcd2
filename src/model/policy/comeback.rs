//! The way back into DNS.

use std::time::Duration;

/// Thresholds of probation where more is known than that probes pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComebackPolicy {
    /// Probation where capacity is needed: in an overload, or when another node is out, dead or in doubt.
    pub needed: Duration,
    /// What each withdrawal adds to a node's penalty.
    pub penalty: u32,
    /// The penalty halves in this long (RFC 2439's default).
    pub half_life: Duration,
    /// It may come back at or below this. The first withdrawal is free.
    pub reuse: u32,
    /// ... where capacity is needed.
    pub reuse_needed: u32,
    /// What it ends at.
    pub penalty_max: u32,
    /// How long a node that was withdrawn for being degraded stays out at least; it doubles each time in 24 h.
    pub quarantine: Duration,
}

impl Default for ComebackPolicy {
    fn default() -> Self {
        Self {
            needed: Duration::from_secs(20),
            penalty: 1000,
            half_life: Duration::from_secs(15 * 60),
            reuse: 1250,
            reuse_needed: 2500,
            penalty_max: 4000,
            quarantine: Duration::from_secs(15 * 60),
        }
    }
}
