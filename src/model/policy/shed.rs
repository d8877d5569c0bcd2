//! The brownout ladder.

use std::time::Duration;

/// Thresholds of the ladder. Each step lets clients have less, so that all of them have something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShedPolicy {
    /// What clients get at steps 0, 1, 2, ..., percent. The first is 100.
    pub steps: Vec<u32>,
    /// At most one step up in this long: what a step does must be seen first.
    pub up_every: Duration,
    /// Up when all nodes together carry this, percent of their capacity.
    pub up_percent: u32,
    /// Up when a node carries this, percent.
    pub up_node_percent: u32,
    /// The highest step that is taken without load figures.
    pub blind_step: u8,
    /// How long a step is held at least. A rate cap moves work in time and does not remove it.
    pub hold: Duration,
    /// What the hold may grow to when it was given up too early.
    pub hold_max: Duration,
    /// Down when all nodes together would carry no more than this then, percent.
    pub down_percent: u32,
    /// A step down was too early when the overload is back within this long.
    pub relapse: Duration,
    /// How often the nodes are told again: what they are told ends by itself.
    pub renew: Duration,
    /// For how long they are told.
    pub lasts: Duration,
}

impl Default for ShedPolicy {
    fn default() -> Self {
        Self {
            steps: vec![100, 80, 65, 50],
            up_every: Duration::from_secs(60),
            up_percent: 93,
            up_node_percent: 97,
            blind_step: 2,
            hold: Duration::from_secs(300),
            hold_max: Duration::from_secs(3600),
            down_percent: 80,
            relapse: Duration::from_secs(600),
            renew: Duration::from_secs(100),
            lasts: Duration::from_secs(300),
        }
    }
}
