//! When the fleet counts as overloaded, and what may still be done then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is done with a confirmed death that the rest has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shortage {
    /// It is taken out: whoever was sent to a dead address gets nothing at all.
    #[default]
    Pull,
    /// It stays: the others have enough to carry.
    Keep,
}

/// Thresholds of overload, of room, and of soft withdrawals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverloadPolicy {
    /// How long ago a node may have been soft to count among those that are: waves of retries come minutes apart, and an
    /// overload strikes the weakest first.
    pub together: Duration,
    /// How many nodes in service must be soft, or full, to be everybody's trouble: one in so many ...
    pub together_one_in: u32,
    /// ... and at least so many, or all where there are fewer: one is never everybody.
    pub together_nodes: u32,
    /// How many nodes must answer wrongly in the same way to have a common cause: two equal faults at a time are no chance.
    pub common_nodes: u32,
    /// ... in at least so many rounds in a row each, one of them being broken for certain: what has only begun to fail like
    /// the others belongs to them.
    pub common_rounds: u32,
    /// How many of the nodes in service must say what they carry for the others to be taken for their median, percent: fewer
    /// are no sample.
    pub known_percent: u32,
    /// Over how long the demand of calm times is smoothed: slow enough for the first minutes of an overload not to be taken
    /// for calm. At least 1 s.
    pub calm_smoothing: Duration,
    /// How long a pool counts as overloaded after the last sign of it: longer than two TTLs and the slowest wave of retries.
    pub latch: Duration,
    /// What all nodes together carry when they are full, percent of their capacity.
    pub full_percent: u32,
    /// What a node carries when it is full, percent.
    pub full_node_percent: u32,
    /// Below this, a pool whose nodes all fail a little is not overloaded: it is the way to them. Percent.
    pub path_percent: u32,
    /// What the rest may carry after a withdrawal that could be a mistake or a matter of taste, percent.
    pub room_percent: u32,
    /// What the rest may carry after a person takes a node out for maintenance, percent.
    pub drain_percent: u32,
    /// What the rest may carry after the withdrawal of a node that is dead for certain, without a way to shed load, percent.
    pub room_dead_percent: u32,
    /// How long a node must be dead in an overload before it is taken out, without a way to shed load: a crashed process may
    /// be started again.
    pub dead_for: Duration,
    /// What is done with a confirmed death that the rest has no room for.
    pub on_shortage: Shortage,
    /// How long others that are falling silent are waited for, so that one cut takes them all.
    pub cut_wait: Duration,
    /// How long soft evidence must last before it costs a node its record.
    pub soft_for: Duration,
    /// How many of the pool's nodes must still answer, percent, where no figures tell what they can carry: a pool is built to
    /// lose a part of it, seldom more than half.
    pub quorum_percent: u32,
    /// For how much of the policy's `window` a node must have had its trouble alone, percent, to leave for it where no figures
    /// tell: in its first minutes an overload may look as if it were one node's.
    pub sporadic_percent: u32,
    /// What a degraded node must carry at the most of what its peers do (median), percent, to be taken out.
    pub weak_percent: u32,
    /// Whether a degraded node is taken out without load figures, to be put back should the others suffer.
    pub canary: bool,
    /// How long after a soft withdrawal the others' suffering is blamed on it.
    pub regret: Duration,
    /// How long nothing is withdrawn for soft evidence after one that hurt.
    pub regret_block: Duration,
    /// The least time between two soft withdrawals; `settle_ttls` times the TTL if that is longer.
    pub settle: Duration,
}

impl Default for OverloadPolicy {
    fn default() -> Self {
        Self {
            together: Duration::from_secs(120),
            together_one_in: 3,
            together_nodes: 2,
            common_nodes: 2,
            common_rounds: 2,
            known_percent: 50,
            calm_smoothing: Duration::from_secs(100),
            latch: Duration::from_secs(600),
            full_percent: 95,
            full_node_percent: 97,
            path_percent: 60,
            room_percent: 95,
            drain_percent: 85,
            room_dead_percent: 150,
            dead_for: Duration::from_secs(120),
            on_shortage: Shortage::Pull,
            cut_wait: Duration::from_secs(15),
            soft_for: Duration::from_secs(180),
            quorum_percent: 50,
            sporadic_percent: 25,
            weak_percent: 70,
            canary: false,
            regret: Duration::from_secs(240),
            regret_block: Duration::from_secs(3600),
            settle: Duration::from_secs(120),
        }
    }
}
