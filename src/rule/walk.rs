//! A map that is asked for one node after the other, in order: a step each, and not a search.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;

use crate::model::NodeId;

/// Where the walk is. Out of order is allowed, and costs a search.
#[derive(Debug)]
pub(super) struct Walk<'a, V> {
    map: &'a BTreeMap<NodeId, V>,
    ahead: Range<'a, NodeId, V>,
}

impl<'a, V> Walk<'a, V> {
    pub(super) fn over(map: &'a BTreeMap<NodeId, V>) -> Self {
        Self { map, ahead: map.range::<NodeId, _>(..) }
    }

    /// What is there for `id`.
    pub(super) fn to(&mut self, id: &NodeId) -> Option<&'a V> {
        let is_it = |(key, value): (&NodeId, &'a V)| (key == id).then_some(value);
        self.ahead.next().and_then(is_it).or_else(|| {
            self.ahead = self.map.range(id..);
            self.ahead.next().and_then(is_it)
        })
    }
}
