//! The way back into DNS.

use std::time::Duration;

/// Thresholds of probation where more is known than that probes pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComebackPolicy {
    /// Probation where capacity is needed: in an overload, or when another node is out, dead or in doubt.
    pub needed: Duration,
    /// How long a withdrawal counts, for the doubling of probation and quarantine and for the penalty: trouble that comes
    /// with a time of day meets itself again.
    pub count_over: Duration,
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
    /// How long a node that was withdrawn for being degraded stays out at least; it doubles each time while the last
    /// ones count.
    pub quarantine: Duration,
    /// ... so many times at the most: six make 16 hours, a night and a peak.
    pub quarantine_doublings: u32,
}

impl Default for ComebackPolicy {
    fn default() -> Self {
        Self {
            needed: Duration::from_secs(20),
            count_over: Duration::from_secs(24 * 60 * 60),
            penalty: 1000,
            half_life: Duration::from_secs(15 * 60),
            reuse: 1250,
            reuse_needed: 2500,
            penalty_max: 4000,
            quarantine: Duration::from_secs(15 * 60),
            quarantine_doublings: 6,
        }
    }
}
