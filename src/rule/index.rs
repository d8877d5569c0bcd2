//! What is looked up for every node, sorted once for a tick.

use std::collections::BTreeMap;

use crate::model::{NodeId, Pin, Pool, Request, Situation};

/// By node.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pins: BTreeMap<&'a NodeId, &'a Pin>,
    requests: BTreeMap<&'a NodeId, &'a Request>,
    /// Sorted.
    pools: Vec<(&'a NodeId, &'a Pool)>,
}

impl<'a> Index<'a> {
    pub(super) fn of(situation: &Situation<'a>) -> Self {
        let mut pools: Vec<(&NodeId, &Pool)> =
            situation.fleet.pools.values().flat_map(|pool| pool.nodes.iter().map(move |id| (id, pool))).collect();
        pools.sort_by_key(|(id, pool)| (*id, &pool.id));
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

    /// The pools of `node`, in order.
    pub(super) fn pools(&self, node: &NodeId) -> impl Iterator<Item = &'a Pool> + Clone {
        let from = self.pools.partition_point(|(id, _)| *id < node);
        let of_node = self.pools.get(from..).unwrap_or_default();
        let many = of_node.iter().take_while(|(id, _)| *id == node).count();
        of_node[..many].iter().map(|(_, pool)| *pool)
    }
}
