//! What the rest would carry.
//!
//! Round robin gives every node the same share, whatever its size, so the smallest fills first:
//! `after_j = demand / nodes after / capacity_j`, and what counts is the fullest.

use std::collections::BTreeSet;

use crate::model::{Load, NodeId, Policy, PoolMemory};

/// The demand on a pool, and what its nodes can carry.
#[derive(Clone, Debug, Default)]
pub(super) struct Room<'a> {
    /// What all of them carry now, bit/s, those that do not tell being taken for the median of those that do; none where
    /// too few tell.
    pub(super) carried_bps: Option<u64>,
    /// What they would be asked for: at least what they carry, and what they carried while all was well.
    demand_bps: Option<u64>,
    /// The same where those that do not tell are dead: part of what they carried is with the others by now, and must not be
    /// counted twice.
    demand_of_the_rest_bps: Option<u64>,
    /// The capacity of every node in service; none where it is not known.
    capacities: Vec<(&'a NodeId, Option<u64>)>,
    /// What each carries of what it can, smoothed, in thousandths.
    pub(super) shares_milli: Vec<(&'a NodeId, u64)>,
    /// What each carries, bit/s.
    loads: Vec<(&'a NodeId, u64)>,
}

/// What is known of what a node carries.
pub(super) struct Figure<'a> {
    pub(super) id: &'a NodeId,
    pub(super) load: Option<Load>,
    pub(super) capacity_bps: Option<u64>,
}

impl<'a> Room<'a> {
    pub(super) fn of(policy: &Policy, figures: impl Iterator<Item = Figure<'a>>, of_pool: &PoolMemory) -> Self {
        let mut capacities = Vec::with_capacity(figures.size_hint().0);
        let (mut shares, mut loads) = (Vec::new(), Vec::new());
        for Figure { id, load, capacity_bps } in figures {
            capacities.push((id, capacity_bps));
            let Some(load) = load else { continue };
            loads.push((id, load.smooth_bps));
            shares.extend(load.smooth_milli().map(|milli| (id, milli)));
        }
        let mut sorted: Vec<u64> = loads.iter().map(|(_, bps)| *bps).collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied();
        let missing = u64::try_from(capacities.len() - loads.len()).unwrap_or(u64::MAX);
        // Some of them must tell, or there is nothing to take the others for.
        let known = policy.overload.known_percent as usize;
        let carried = median.filter(|_| loads.len() * 100 >= capacities.len() * known).map(|median| {
            let sum: u64 = sorted.iter().fold(0, |sum, bps| sum.saturating_add(*bps));
            sum.saturating_add(median.saturating_mul(missing))
        });
        let step = usize::from(of_pool.shed.step);
        let share = policy.shed.steps.get(step).copied().unwrap_or(100).max(1);
        // A cap hides demand: what is carried at 65 % of the speed would be half as much again without it.
        let unshed = carried.map(|bps| bps.saturating_mul(100) / u64::from(share));
        let demand = unshed.max(of_pool.calm.map(|calm| calm.bps));
        let told: u64 = sorted.iter().fold(0, |sum, bps| sum.saturating_add(*bps));
        let told = told.saturating_mul(100) / u64::from(share);
        let of_the_rest = demand.map(|demand| of_pool.calm.map_or(demand, |calm| calm.bps.max(told)));
        Self {
            carried_bps: carried,
            demand_bps: demand,
            demand_of_the_rest_bps: of_the_rest,
            capacities,
            shares_milli: shares,
            loads,
        }
    }

    /// What the fullest would carry, in thousandths of its capacity, were `without` out of DNS, and clients held to `percent`
    /// of their speed; none where the figures do not tell.
    pub(super) fn after(&self, without: &BTreeSet<NodeId>, percent: u32) -> Option<u64> {
        self.shared(self.demand_bps?, without, percent)
    }

    /// The same were all of `dead` out, which includes all that do not answer.
    pub(super) fn after_deaths(&self, dead: &BTreeSet<NodeId>) -> Option<u64> {
        self.shared(self.demand_of_the_rest_bps?, dead, 100)
    }

    fn shared(&self, demand: u64, without: &BTreeSet<NodeId>, percent: u32) -> Option<u64> {
        let (mut nodes, mut least) = (0u128, u64::MAX);
        for (_, capacity) in self.capacities.iter().filter(|(id, _)| !without.contains(*id)) {
            nodes += 1;
            least = least.min((*capacity)?);
        }
        if nodes == 0 || least == 0 {
            return None;
        }
        let milli = u128::from(demand) * u128::from(percent) * 10 / nodes / u128::from(least);
        Some(u64::try_from(milli).unwrap_or(u64::MAX))
    }

    /// What `node` carries of the median of the others, percent; none where the figures do not tell.
    pub(super) fn of_peers_percent(&self, node: &NodeId) -> Option<u64> {
        let own = self.loads.iter().find(|(id, _)| *id == node).map(|(_, bps)| *bps)?;
        let mut others: Vec<u64> = self.loads.iter().filter(|(id, _)| *id != node).map(|(_, bps)| *bps).collect();
        others.sort_unstable();
        let median = others.get(others.len() / 2).copied().filter(|median| *median > 0)?;
        Some(own.saturating_mul(100) / median)
    }
}
