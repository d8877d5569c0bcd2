//! Which observations make a round.
//!
//! While a node is in doubt its rounds overlap: the next begins before the slowest probe of the last is done. The k-th
//! result of each probe is of the k-th round.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{NodeId, Observation, ProbeKind, Round, Time};

/// A round whose first observation is older than this waits for no more.
const ROUND_MS: i64 = 10_000;

/// The rounds of one node that are not whole yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct OpenRounds {
    rounds: VecDeque<Vec<Observation>>,
    /// Which probes its rounds have been seen to have, each at which addresses.
    kinds: BTreeSet<(ProbeKind, IpAddr)>,
}

impl OpenRounds {
    pub(super) fn take(&mut self, seen: Observation) {
        self.kinds.insert((seen.probe, seen.address));
        let lacks = |round: &&mut Vec<Observation>| {
            round.iter().all(|one| (one.probe, one.address) != (seen.probe, seen.address))
        };
        match self.rounds.iter_mut().find(lacks) {
            Some(round) => round.push(seen),
            None => self.rounds.push_back(vec![seen]),
        }
    }

    /// Moves those to `closed` that are whole, or wait for too long.
    pub(super) fn close(&mut self, node: &NodeId, now: Time, closed: &mut Vec<Round>) {
        while let Some(round) = self.rounds.front() {
            let old = round.first().is_none_or(|one| now.0.saturating_sub(one.at.0) >= ROUND_MS);
            if round.len() < self.kinds.len() && !old {
                return;
            }
            closed.extend(self.rounds.pop_front().and_then(|round| whole(node, round)));
        }
    }
}

fn whole(node: &NodeId, mut observations: Vec<Observation>) -> Option<Round> {
    let began = |one: &Observation| one.at.minus(Duration::from_micros(u64::from(one.measured.total_us)));
    let started = observations.iter().map(began).min()?;
    let finished = observations.iter().map(|one| one.at).max()?;
    observations.sort_by_key(|one| (one.probe, one.address));
    Some(Round { node: node.clone(), started, finished, observations })
}
