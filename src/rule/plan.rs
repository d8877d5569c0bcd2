//! Actions into record changes: desired minus current.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{
    Action, ActionKind, Change, Fleet, Guard, Hold, Node, NodeId, Plan, Pool, PublishedSets, RecordSet, RecordType,
    SetKey, Withdrawal,
};

use super::words;

/// Every record set that carries the pool's addresses or could.
#[must_use]
pub fn sets_of(fleet: &Fleet, pool: &Pool) -> Vec<SetKey> {
    let types: BTreeSet<RecordType> =
        fleet.nodes_of(pool).flat_map(|node| node.addresses.iter().map(|address| RecordType::of(*address))).collect();
    let mut sets: Vec<SetKey> = pool
        .records
        .iter()
        .flat_map(|owner| types.iter().map(|rtype| SetKey { owner: owner.clone(), rtype: *rtype }))
        .collect();
    sets.sort();
    sets
}

/// Where `node`'s addresses stand in `published`.
pub(super) fn places(node: &Node, published: &PublishedSets) -> BTreeSet<(SetKey, IpAddr)> {
    published
        .iter()
        .flat_map(|(key, set)| {
            let here = node.addresses.iter().filter(|address| set.addresses.contains(address));
            here.map(|address| (key.clone(), *address))
        })
        .collect()
}

/// What record sets show of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// None of its addresses.
    Nothing,
    /// Some, and it is alone in every set it is in.
    Alone,
    /// Some, and there is a set that still had an address without it.
    Removable,
}

impl Shown {
    pub(super) fn is_in(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Alone | Self::Removable => true,
        }
    }
}

/// Record sets as sorted lists, to look up all nodes of a pool in.
pub(super) struct Addresses(Vec<Vec<(bool, u128)>>);

impl Addresses {
    pub(super) fn of(published: &PublishedSets) -> Self {
        let sorted = |set: &RecordSet| set.addresses.iter().map(|address| bits(*address)).collect();
        Self(published.values().map(sorted).collect())
    }

    /// What they show of `node`.
    pub(super) fn show(&self, node: &Node) -> Shown {
        let mut shown = Shown::Nothing;
        for set in &self.0 {
            let of_node = node.addresses.iter().filter(|address| set.binary_search(&bits(**address)).is_ok()).count();
            if of_node > 0 && of_node < set.len() {
                return Shown::Removable;
            }
            if of_node > 0 {
                shown = Shown::Alone;
            }
        }
        shown
    }
}

/// An address as a number, in the order of the addresses: IPv4 first.
fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, address.to_bits().into()),
        IpAddr::V6(address) => (true, address.to_bits()),
    }
}

/// Whether any of `node`'s addresses is in `published`.
pub(super) fn is_in(node: &Node, published: &PublishedSets) -> bool {
    published.values().any(|set| node.addresses.iter().any(|address| set.addresses.contains(address)))
}

/// Whether `node` could be taken out of some set that still had an address then.
pub(super) fn is_removable(node: &Node, published: &PublishedSets) -> bool {
    published.values().any(|set| {
        let of_node = node.addresses.iter().filter(|address| set.addresses.contains(address)).count();
        of_node > 0 && of_node < set.addresses.len()
    })
}

/// The plan that does `actions`, those that change something, and what had to be left out because a set would have been
/// left empty. Who is named first is taken out first.
pub(super) fn draw(
    fleet: &Fleet,
    pool: &Pool,
    published: &PublishedSets,
    actions: Vec<Action>,
    out: &BTreeMap<NodeId, Withdrawal>,
) -> (Plan, Vec<Hold>) {
    let mut changes: BTreeMap<SetKey, Change> = BTreeMap::new();
    let blank = |key: &SetKey| {
        let set = published.get(key).cloned().unwrap_or_default();
        Change {
            set: key.clone(),
            ttl: ttl_of(&set, pool),
            before: set.addresses,
            remove: BTreeSet::new(),
            add: BTreeSet::new(),
        }
    };
    let mut idle = BTreeSet::new();
    let reinstated = |action: &&Action| action.kind == ActionKind::Reinstate;
    for action in actions.iter().filter(reinstated) {
        let Some(node) = action.node.as_ref().and_then(|id| fleet.nodes.get(id)) else { continue };
        let by_hand = action.rule != words::PROBATION;
        let mut added = false;
        for (key, address) in returns_to(node, pool, published, out.get(&node.id), by_hand) {
            let change = changes.entry(key.clone()).or_insert_with(|| blank(&key));
            added |= !change.before.contains(&address) && change.add.insert(address);
        }
        if !added {
            idle.insert(action.clone());
        }
    }
    let mut holds = Vec::new();
    for action in actions.iter().filter(|action| action.kind == ActionKind::Withdraw) {
        let Some(node) = action.node.as_ref().and_then(|id| fleet.nodes.get(id)) else { continue };
        let mut taken: BTreeMap<SetKey, BTreeSet<IpAddr>> = BTreeMap::new();
        for (key, address) in places(node, published) {
            taken.entry(key).or_default().insert(address);
        }
        let mut removed = false;
        for (key, addresses) in taken {
            let change = changes.entry(key.clone()).or_insert_with(|| blank(&key));
            let stay = change.before.len() + change.add.len() - change.remove.len();
            if addresses.len() < stay {
                change.remove.extend(addresses);
                removed = true;
            } else {
                holds.push(Hold {
                    kind: ActionKind::Withdraw,
                    node: node.id.clone(),
                    pool: Some(pool.id.clone()),
                    guard: Guard::EmptySet,
                    why: format!("{key} would be left without an address"),
                });
            }
        }
        if !removed {
            idle.insert(action.clone());
        }
    }
    let plan = Plan {
        pool: pool.id.clone(),
        zone: pool.zone.clone(),
        registrar: pool.registrar.clone(),
        changes: changes.into_values().filter(|change| !change.remove.is_empty() || !change.add.is_empty()).collect(),
        because: actions.into_iter().filter(|action| !idle.contains(action)).collect(),
    };
    (plan, holds)
}

/// Where a node goes back to: where it stood, else every set of the pool. A set that is gone meanwhile was deleted by
/// somebody, and comes back only when a person asks for the node and it has no other place.
pub(super) fn returns_to(
    node: &Node,
    pool: &Pool,
    published: &PublishedSets,
    withdrawal: Option<&Withdrawal>,
    by_hand: bool,
) -> BTreeSet<(SetKey, IpAddr)> {
    let every: BTreeSet<(SetKey, IpAddr)> = pool
        .records
        .iter()
        .flat_map(|owner| node.addresses.iter().map(move |address| (owner.clone(), *address)))
        .map(|(owner, address)| (SetKey { owner, rtype: RecordType::of(address) }, address))
        .collect();
    let stood: BTreeSet<(SetKey, IpAddr)> =
        withdrawal.map(|withdrawal| withdrawal.places.intersection(&every).cloned().collect()).unwrap_or_default();
    let filled = |places: &BTreeSet<(SetKey, IpAddr)>| -> BTreeSet<(SetKey, IpAddr)> {
        let is_filled = |key: &SetKey| published.get(key).is_some_and(|set| !set.addresses.is_empty());
        places.iter().filter(|(key, _)| is_filled(key)).cloned().collect()
    };
    let there = filled(if stood.is_empty() { &every } else { &stood });
    if !there.is_empty() || !by_hand {
        return there;
    }
    let elsewhere = filled(&every);
    if elsewhere.is_empty() { every } else { elsewhere }
}

fn ttl_of(set: &RecordSet, pool: &Pool) -> u32 {
    if set.addresses.is_empty() { u32::try_from(pool.ttl.as_secs()).unwrap_or(u32::MAX) } else { set.ttl }
}
