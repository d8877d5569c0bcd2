//! What is looked up for every node, sorted once for a tick.

use std::collections::BTreeMap;

use crate::model::{NodeId, Pin, Pool, PoolId, PoolMemory, Request, Situation, Withdrawal};

/// By node.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pins: BTreeMap<&'a NodeId, &'a Pin>,
    requests: BTreeMap<&'a NodeId, &'a Request>,
    pools: BTreeMap<&'a NodeId, Vec<&'a Pool>>,
}

impl<'a> Index<'a> {
    pub(super) fn of(situation: &Situation<'a>) -> Self {
        let mut pools: BTreeMap<&NodeId, Vec<&Pool>> = BTreeMap::new();
        for pool in situation.fleet.pools.values() {
            for id in &pool.nodes {
                pools.entry(id).or_default().push(pool);
            }
        }
        // The first counts, should there be two.
        Self {
            pins: situation.pins.iter().rev().map(|pin| (&pin.node, pin)).collect(),
            requests: situation.requests.iter().rev().map(|request| (&request.node, request)).collect(),
            pools,
        }
    }

    pub(super) fn pin(&self, node: &NodeId) -> Option<&'a Pin> {
        self.pins.get(node).copied()
    }

    pub(super) fn request(&self, node: &NodeId) -> Option<&'a Request> {
        self.requests.get(node).copied()
    }

    pub(super) fn pools(&self, node: &NodeId) -> &[&'a Pool] {
        self.pools.get(node).map_or(&[], Vec::as_slice)
    }

    /// The pools that `node` is out of, or is to be.
    pub(super) fn outs<'b>(
        &'b self,
        node: &'b NodeId,
        pools: &'b BTreeMap<PoolId, PoolMemory>,
    ) -> impl Iterator<Item = &'b Withdrawal> {
        self.pools(node).iter().filter_map(|pool| pools.get(&pool.id)?.out.get(node))
    }
}
