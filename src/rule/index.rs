//! What is looked up for every node, found once for a tick.
//!
//! Nodes, what is remembered of them and what was found of them all come in the order of the names, so that a node's
//! number in that order, its *place*, is worth a search in each.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{Node, NodeId, Pin, Pool, PoolId, Request, Round, Situation};

use super::plan::{self, Shown};
use super::walk::Walk;

/// By node.
#[derive(Debug)]
pub(super) struct Index<'a> {
    ids: Vec<&'a NodeId>,
    pins: BTreeMap<&'a NodeId, &'a Pin>,
    requests: BTreeMap<&'a NodeId, &'a Request>,
    /// Pool by pool, in each in the order of its nodes.
    seats: Vec<Seat<'a>>,
    of_pool: BTreeMap<&'a PoolId, Range<usize>>,
    /// The numbers of the seats node by node, in each in the order of the pools, and where those of each node begin.
    by_node: Vec<usize>,
    begins: Vec<usize>,
    /// Of the nodes that there are, in the order in which they came.
    rounds: Vec<(usize, &'a Round)>,
}

/// A node in one of its pools.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    pub(super) node: &'a Node,
    /// Its number among all nodes.
    pub(super) place: usize,
    pub(super) pool: &'a Pool,
    /// What the pool's record sets show of it; none where that is not known.
    pub(super) shown: Option<Shown>,
}

impl<'a> Index<'a> {
    pub(super) fn of(situation: &Situation<'a>) -> Self {
        let fleet = situation.fleet;
        let mut index = Self {
            ids: fleet.nodes.keys().collect(),
            // The first counts, should there be two.
            pins: situation.pins.iter().rev().map(|pin| (&pin.node, pin)).collect(),
            requests: situation.requests.iter().rev().map(|request| (&request.node, request)).collect(),
            seats: Vec::new(),
            of_pool: BTreeMap::new(),
            by_node: Vec::new(),
            begins: Vec::new(),
            rounds: Vec::with_capacity(situation.rounds.len()),
        };
        let mut near = 0;
        for pool in fleet.pools.values() {
            let from = index.seats.len();
            let sets = situation.published.get(&pool.id).map(plan::Addresses::of);
            let mut nodes = Walk::over(&fleet.nodes);
            for id in &pool.nodes {
                let (Some(node), Some(place)) = (nodes.to(id), index.place(id, &mut near)) else { continue };
                let shown = sets.as_ref().map(|sets| sets.show(node));
                index.seats.push(Seat { node, place, pool, shown });
            }
            index.of_pool.insert(&pool.id, from..index.seats.len());
        }
        index.sort_by_node();
        for round in situation.rounds {
            if let Some(place) = index.place(&round.node, &mut near) {
                index.rounds.push((place, round));
            }
        }
        index
    }

    fn sort_by_node(&mut self) {
        let mut begins = vec![0; self.ids.len() + 1];
        for seat in &self.seats {
            begins[seat.place + 1] += 1;
        }
        for place in 1..begins.len() {
            begins[place] += begins[place - 1];
        }
        let mut next = begins.clone();
        self.by_node = vec![0; self.seats.len()];
        for (number, seat) in self.seats.iter().enumerate() {
            self.by_node[next[seat.place]] = number;
            next[seat.place] += 1;
        }
        self.begins = begins;
    }

    /// The place of `id`, looked for at `near` first and right behind it, where it was found the last time: most lists
    /// come in order.
    pub(super) fn place(&self, id: &NodeId, near: &mut usize) -> Option<usize> {
        let is_at = |place: &usize| self.ids.get(*place).is_some_and(|other| *other == id);
        let place = [*near, *near + 1].into_iter().find(is_at).or_else(|| self.ids.binary_search(&id).ok())?;
        *near = place;
        Some(place)
    }

    pub(super) fn place_of(&self, id: &NodeId) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    /// The rounds, each with the place of its node.
    pub(super) fn rounds(&self) -> &[(usize, &'a Round)] {
        &self.rounds
    }

    pub(super) fn pin(&self, node: &NodeId) -> Option<&'a Pin> {
        self.pins.get(node).copied()
    }

    pub(super) fn request(&self, node: &NodeId) -> Option<&'a Request> {
        self.requests.get(node).copied()
    }

    /// The nodes of `pool`, in order.
    pub(super) fn seats_of(&self, pool: &Pool) -> &[Seat<'a>] {
        self.of_pool.get(&pool.id).and_then(|range| self.seats.get(range.clone())).unwrap_or_default()
    }

    /// The node at `place` in each of its pools, in their order.
    pub(super) fn seats_at(&self, place: usize) -> impl Iterator<Item = &Seat<'a>> + Clone {
        let range = self.begins[place]..self.begins[place + 1];
        self.by_node[range].iter().map(|number| &self.seats[*number])
    }
}
