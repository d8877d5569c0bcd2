//! Whom to ask.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Node, NodeId};

/// A node that showed life in its last round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// Where.
    pub at: IpAddr,
    /// Whether it passed everything.
    pub passes: bool,
}

/// At most `max` nodes to ask about `silent`, and where to log in. Those of other sites alone, where there are any: one in
/// the same place may reach it inside, while nobody outside can. Those that pass everything first: who is overloaded loses
/// packets. Each `turn` begins with another, so that one that never can tell does not stand in the way.
#[must_use]
pub fn choose(
    nodes: &BTreeMap<NodeId, Node>,
    alive: &BTreeMap<NodeId, Alive>,
    silent: &Node,
    max: usize,
    turn: usize,
) -> Vec<(NodeId, IpAddr)> {
    let mut able: Vec<(&Node, Alive)> = alive
        .iter()
        .filter(|(id, _)| **id != silent.id)
        .filter_map(|(id, alive)| Some((nodes.get(id)?, *alive)))
        .filter(|(node, _)| node.ssh_host_key.is_some())
        .collect();
    let is_beside = |node: &Node| node.site.is_some() && node.site == silent.site;
    if able.iter().any(|(node, _)| !is_beside(node)) {
        able.retain(|(node, _)| !is_beside(node));
    }
    if !able.is_empty() {
        let first = turn.wrapping_mul(max) % able.len();
        able.rotate_left(first);
    }
    able.sort_by_key(|(_, alive)| !alive.passes);
    able.into_iter().take(max).map(|(node, alive)| (node.id.clone(), alive.at)).collect()
}

/// Where `relay` could connect to were its own network well, best first: at nodes that live, `silent` and itself apart.
/// Each `turn` begins with another.
pub(super) fn controls(alive: &BTreeMap<NodeId, Alive>, silent: &NodeId, relay: &NodeId, turn: usize) -> Vec<IpAddr> {
    let mut others: Vec<Alive> =
        alive.iter().filter(|(id, _)| *id != silent && *id != relay).map(|(_, alive)| *alive).collect();
    if !others.is_empty() {
        let first = turn % others.len();
        others.rotate_left(first);
    }
    others.sort_by_key(|alive| !alive.passes);
    others.into_iter().map(|alive| alive.at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn node(number: u8, site: &str, key: bool) -> Node {
        Node {
            id: NodeId::new(&format!("n{number}")).unwrap(),
            addresses: vec![IpAddr::from([192, 0, 2, number])],
            site: (!site.is_empty()).then(|| site.to_owned()),
            capacity_bps: None,
            ssh_host_key: key.then(|| KEY.parse().unwrap()),
        }
    }

    /// The numbers of those chosen to be asked about n1, of whom those in `passing` pass and those in `failing` merely live.
    fn chosen(nodes: &[Node], passing: &[u8], failing: &[u8], max: usize, turn: usize) -> Vec<u8> {
        let all: BTreeMap<NodeId, Node> = nodes.iter().map(|node| (node.id.clone(), node.clone())).collect();
        let lives = |number: &u8, passes: bool| {
            let at = IpAddr::from([192, 0, 2, *number]);
            (NodeId::new(&format!("n{number}")).unwrap(), Alive { at, passes })
        };
        let alive: BTreeMap<NodeId, Alive> =
            passing.iter().map(|n| lives(n, true)).chain(failing.iter().map(|n| lives(n, false))).collect();
        let chosen = choose(&all, &alive, &nodes[0], max, turn);
        chosen
            .into_iter()
            .map(|(id, at)| {
                assert_eq!(at, all[&id].addresses[0]);
                id.as_str()[1..].parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn others_that_live_and_can_be_told_from_strangers() {
        let nodes = [node(1, "", true), node(2, "", true), node(3, "", false), node(4, "", true), node(5, "", true)];
        assert_eq!(chosen(&nodes, &[1, 2, 3, 4, 5], &[], 3, 0), [2, 4, 5], "neither itself nor one without a key");
        assert_eq!(chosen(&nodes, &[2, 5], &[], 3, 0), [2, 5], "nor one that shows no life");
        assert_eq!(chosen(&nodes, &[1, 3], &[], 3, 0), [0; 0]);
        assert_eq!(chosen(&nodes, &[5], &[2, 4], 2, 0), [5, 2], "those that pass come first");
    }

    #[test]
    fn another_site_is_preferred() {
        let nodes = [node(1, "ams", true), node(2, "ams", true), node(3, "fra", true), node(4, "", true)];
        assert_eq!(chosen(&nodes, &[2, 3, 4], &[], 3, 0), [3, 4]);
        assert_eq!(chosen(&nodes, &[2], &[3], 3, 0), [3], "even if it fails something");
        assert_eq!(chosen(&nodes, &[2], &[], 3, 0), [2], "better one beside it than nobody");
    }

    #[test]
    fn a_control_lives_and_is_neither_of_the_two() {
        let id = |number: u8| NodeId::new(&format!("n{number}")).unwrap();
        let lives = |number: u8, passes: bool| (id(number), Alive { at: IpAddr::from([192, 0, 2, number]), passes });
        let alive = BTreeMap::from([lives(1, true), lives(2, true), lives(3, false), lives(4, true)]);
        let check = |turn: usize, expected: &[u8]| {
            let expected: Vec<IpAddr> = expected.iter().map(|number| IpAddr::from([192, 0, 2, *number])).collect();
            assert_eq!(controls(&alive, &id(1), &id(2), turn), expected);
        };
        check(0, &[4, 3]);
        assert_eq!(controls(&alive, &id(9), &id(2), 2).first(), Some(&IpAddr::from([192, 0, 2, 4])));
        assert_eq!(controls(&BTreeMap::from([lives(2, true)]), &id(1), &id(2), 3), [] as [IpAddr; 0]);
    }

    #[test]
    fn everybody_has_a_turn() {
        let nodes: Vec<Node> = (1..=5).map(|number| node(number, "", true)).collect();
        let all = [2, 3, 4, 5];
        assert_eq!(chosen(&nodes, &all, &[], 3, 0), [2, 3, 4]);
        assert_eq!(chosen(&nodes, &all, &[], 3, 1), [5, 2, 3]);
        assert_eq!(chosen(&nodes, &all, &[], 3, 2), [4, 5, 2]);
        assert_eq!(chosen(&nodes, &all, &[], 9, usize::MAX).len(), 4);
    }
}
