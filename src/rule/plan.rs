//! Actions into record changes: desired minus current.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{
    Action, ActionKind, Change, Fleet, Guard, Hold, Node, Plan, Pool, PublishedSets, RecordSet, RecordType, SetKey,
    Withdrawal,
};

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

/// Whether `node` could be taken out of some set that still had an address then.
pub(super) fn is_removable(node: &Node, published: &PublishedSets) -> bool {
    published.values().any(|set| {
        let of_node = set.addresses.iter().filter(|address| node.addresses.contains(address)).count();
        of_node > 0 && of_node < set.addresses.len()
    })
}

/// The plan that does `actions`, and what had to be left out because a set would have been left empty.
pub(super) fn draw(
    fleet: &Fleet,
    pool: &Pool,
    published: &PublishedSets,
    actions: Vec<Action>,
    out: &BTreeMap<crate::model::NodeId, Withdrawal>,
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
    for action in &actions {
        let Some(node) = action.node.as_ref().and_then(|id| fleet.nodes.get(id)) else { continue };
        match action.kind {
            ActionKind::Withdraw => {
                for (key, address) in places(node, published) {
                    changes.entry(key.clone()).or_insert_with(|| blank(&key)).remove.insert(address);
                }
            }
            ActionKind::Reinstate => {
                for (key, address) in wanted_places(node, pool, published, out.get(&node.id)) {
                    let change = changes.entry(key.clone()).or_insert_with(|| blank(&key));
                    if !change.before.contains(&address) {
                        change.add.insert(address);
                    }
                }
            }
            ActionKind::Shed | ActionKind::Alert => {}
        }
    }
    let mut holds = Vec::new();
    changes.retain(|key, change| {
        if !change.remove.is_empty() && change.after().is_empty() {
            for action in actions.iter().filter(|action| action.kind == ActionKind::Withdraw) {
                let Some(node) = action.node.as_ref().and_then(|id| fleet.nodes.get(id)) else { continue };
                if node.addresses.iter().any(|address| change.remove.contains(address)) {
                    holds.push(Hold {
                        kind: ActionKind::Withdraw,
                        node: node.id.clone(),
                        pool: Some(pool.id.clone()),
                        guard: Guard::EmptySet,
                        why: format!("{key} would be left without an address"),
                    });
                }
            }
            return false;
        }
        !change.remove.is_empty() || !change.add.is_empty()
    });
    let plan = Plan {
        pool: pool.id.clone(),
        zone: pool.zone.clone(),
        registrar: pool.registrar.clone(),
        changes: changes.into_values().collect(),
        because: actions,
    };
    (plan, holds)
}

/// Where a node goes back to: where it stood; else every set of the pool that has addresses; else every set it could be in.
fn wanted_places(
    node: &Node,
    pool: &Pool,
    published: &PublishedSets,
    withdrawal: Option<&Withdrawal>,
) -> BTreeSet<(SetKey, IpAddr)> {
    let every = |only_filled: bool| -> BTreeSet<(SetKey, IpAddr)> {
        pool.records
            .iter()
            .flat_map(|owner| node.addresses.iter().map(move |address| (owner.clone(), *address)))
            .map(|(owner, address)| (SetKey { owner, rtype: RecordType::of(address) }, address))
            .filter(|(key, _)| !only_filled || published.get(key).is_some_and(|set| !set.addresses.is_empty()))
            .collect()
    };
    let stood: BTreeSet<(SetKey, IpAddr)> = withdrawal
        .map(|withdrawal| {
            let still_ours = |(key, address): &&(SetKey, IpAddr)| {
                node.addresses.contains(address) && pool.records.contains(&key.owner)
            };
            withdrawal.places.iter().filter(still_ours).cloned().collect()
        })
        .unwrap_or_default();
    if !stood.is_empty() {
        return stood;
    }
    let filled = every(true);
    if filled.is_empty() { every(false) } else { filled }
}

fn ttl_of(set: &RecordSet, pool: &Pool) -> u32 {
    if set.addresses.is_empty() { u32::try_from(pool.ttl.as_secs()).unwrap_or(u32::MAX) } else { set.ttl }
}
