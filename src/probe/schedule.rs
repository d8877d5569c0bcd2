//! Which node is due when, at two speeds.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::NodeId;

/// When each node is due: at a phase of its own in the interval, the same over restarts, so that rounds are spread evenly
/// and never bunch up behind a slow one.
#[derive(Debug)]
pub struct Schedule {
    every: Duration,
    due: BTreeSet<(Instant, NodeId)>,
}

impl Schedule {
    /// From now on, the first rounds spread over `every`.
    pub fn spread<'a>(nodes: impl ExactSizeIterator<Item = &'a NodeId>, every: Duration) -> Self {
        let start = Instant::now();
        // A handful of nodes is probed at once at the start, so that the first verdict does not wait for a whole interval.
        let few = nodes.len() <= 16;
        let phase = |node: &NodeId| {
            let mut hasher = DefaultHasher::new();
            node.as_str().hash(&mut hasher);
            every.mul_f64(f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / f64::from(u32::MAX))
        };
        let due = nodes.map(|node| (start + if few { Duration::ZERO } else { phase(node) }, node.clone())).collect();
        Self { every, due }
    }

    /// From `every` on, each of `nodes` having had a round just now.
    pub fn going_on<'a>(nodes: impl Iterator<Item = &'a NodeId>, every: Duration) -> Self {
        let next = Instant::now() + every;
        Self { every, due: nodes.map(|node| (next, node.clone())).collect() }
    }

    /// When the next node is due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.due.first().map_or_else(|| Instant::now() + self.every, |(at, _)| *at)
    }

    /// Brings the next round of those in `fast`, which is sorted, to `within` from now at the latest: with nodes in doubt
    /// nobody waits until their next regular turn.
    pub fn hurry(&mut self, fast: &[NodeId], within: Duration) {
        let soonest = Instant::now() + within;
        let late = |(at, node): &(Instant, NodeId)| *at > soonest && fast.binary_search(node).is_ok();
        let moved: Vec<(Instant, NodeId)> = self.due.iter().filter(|one| late(one)).cloned().collect();
        for (at, node) in moved {
            self.due.remove(&(at, node.clone()));
            self.due.insert((soonest, node));
        }
    }

    /// Takes the nodes that are due, and sets each one's next time from the one it had: for those in doubt, `fast`, after
    /// `fast_every`.
    pub fn due(&mut self, fast: &[NodeId], fast_every: Duration) -> Vec<NodeId> {
        let now = Instant::now();
        let mut due = Vec::new();
        while let Some((at, _)) = self.due.first() {
            if *at > now {
                break;
            }
            let Some((at, node)) = self.due.pop_first() else { break };
            let every = if fast.binary_search(&node).is_ok() { fast_every } else { self.every };
            let mut next = at + every;
            while next <= now {
                next += every;
            }
            due.push(node.clone());
            self.due.insert((next, node));
        }
        due
    }
}
