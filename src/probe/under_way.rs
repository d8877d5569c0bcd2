//! Which nodes have rounds under way: they overlap, so that what hangs until its time-out does not keep the next round
//! from being begun, but not without end.

use std::collections::BTreeMap;

use crate::model::NodeId;

/// Rounds of one node under way at once at the most: as many as the default time-out of 8 s has fast rounds, and as many
/// again.
const MOST: u32 = 8;

/// How many rounds of each node are under way.
#[derive(Debug, Default)]
pub struct UnderWay(BTreeMap<NodeId, u32>);

impl UnderWay {
    /// Counts one more round of `node`; false where it has as many as it may, and none is to be begun.
    pub fn begin(&mut self, node: &NodeId) -> bool {
        let count = self.0.entry(node.clone()).or_default();
        let may = *count < MOST;
        *count += u32::from(may);
        may
    }

    /// A round of `node` is done.
    pub fn end(&mut self, node: &NodeId) {
        if let Some(count) = self.0.get_mut(node) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_at_once() {
        let (mut under_way, node) = (UnderWay::default(), NodeId::new("n1").unwrap());
        let begun = (0..20).filter(|_| under_way.begin(&node)).count();
        assert_eq!(begun, 8);
        under_way.end(&node);
        assert!(under_way.begin(&node) && !under_way.begin(&node));
        assert!(under_way.begin(&NodeId::new("n2").unwrap()), "each node for itself");
    }
}
