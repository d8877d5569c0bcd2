//! Memory and verdicts into actions and holds, pool by pool.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Action, ActionKind, Guard, Hold, Memory, Node, NodeId, NodeMemory, Policy, Pool, PoolId, PoolMemory, PublishedSets,
    RuleId, RuleSet, Situation, Time, Withdrawal,
};

use super::guard::{ApprovedPlan, Authority, Grounds, Refusal, admit, approve};
use super::index::Index;
use super::reconcile::is_ours;
use super::sight::Sight;
use super::wish::{Want, Wish};
use super::{diagnose, plan, words};

/// What is to be done and what is not.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) actions: Vec<Action>,
    pub(super) holds: Vec<Hold>,
    pub(super) plans: Vec<ApprovedPlan>,
}

/// What one pool is decided by.
pub(super) struct Desk<'a> {
    pub(super) policy: &'a Policy,
    pub(super) situation: &'a Situation<'a>,
    pub(super) index: &'a Index<'a>,
    pub(super) sight: &'a Sight,
    pub(super) pool: &'a Pool,
    pub(super) nodes: &'a BTreeMap<NodeId, NodeMemory>,
    /// What was held in the last tick because it still serves.
    told: &'a BTreeSet<(NodeId, Option<PoolId>)>,
}

pub(super) fn decide<'a>(
    policy: &'a Policy,
    situation: &'a Situation<'a>,
    index: &'a Index<'a>,
    sight: &'a Sight,
    memory: &mut Memory,
) -> Decision {
    let mut decision = Decision::default();
    let told: BTreeSet<_> = std::mem::take(&mut memory.holds)
        .into_iter()
        .filter(|hold| hold.guard == Guard::StillServes)
        .map(|hold| (hold.node, hold.pool))
        .collect();
    memory.pools.retain(|id, _| situation.fleet.pools.contains_key(id));
    for pool in situation.fleet.pools.values() {
        let mut of_pool = memory.pools.remove(&pool.id).unwrap_or_default();
        let desk = Desk { policy, situation, index, sight, pool, nodes: &memory.nodes, told: &told };
        if let Some(published) = situation.published.get(&pool.id) {
            let moves = desk.reconcile(published, &mut of_pool);
            for id in &moves.back {
                memory.nodes.entry(id.clone()).or_default().forgive();
            }
            for id in moves.gone {
                // One that leaves several pools for the same reason is withdrawn once.
                let out_already = index
                    .pools(&id)
                    .filter_map(|other| memory.pools.get(&other.id)?.out.get(&id))
                    .any(|out| out.seen_out && is_ours(out));
                let ours = of_pool.out.get(&id).is_some_and(is_ours);
                if ours && !out_already {
                    memory.nodes.entry(id).or_default().withdrawals.push_back(sight.now);
                }
            }
            decision.actions.extend(moves.alerts);
            let desk = Desk { policy, situation, index, sight, pool, nodes: &memory.nodes, told: &told };
            desk.change(published, &mut of_pool, &mut decision);
        } else {
            for node in situation.fleet.nodes_of(pool) {
                desk.hold(node, desk.wish_in_the_dark(node, &of_pool), &mut decision);
            }
        }
        memory.pools.insert(pool.id.clone(), of_pool);
    }
    memory.holds.clone_from(&decision.holds);
    decision
}

impl Desk<'_> {
    /// Decides, in the order of the nodes' names, worst first, and puts what is allowed into one plan.
    fn change(&self, published: &PublishedSets, of_pool: &mut PoolMemory, decision: &mut Decision) {
        let mut wanted: Vec<(&Node, Want)> = Vec::new();
        for node in self.situation.fleet.nodes_of(self.pool) {
            match self.wish(node, published, of_pool) {
                Wish::Drop => {
                    of_pool.out.remove(&node.id);
                }
                Wish::Own(why) => {
                    if let Some(out) = of_pool.out.get_mut(&node.id) {
                        out.own(why);
                    }
                }
                Wish::Want(want) => wanted.push((node, want)),
                refused => self.hold(node, refused, decision),
            }
        }
        if wanted.is_empty() {
            return;
        }
        // The original script knew no worse and worst.
        let classic = self.policy.rule == RuleSet::Classic;
        let severity = |id: &NodeId| self.nodes.get(id).filter(|_| !classic).map_or(0, |node| node.strikes.len());
        wanted.sort_by_key(|(node, want)| {
            (
                want.kind != ActionKind::Withdraw,
                std::cmp::Reverse(want.authority),
                std::cmp::Reverse(severity(&node.id)),
            )
        });
        let first = self.grounds(published, of_pool);
        let in_flight = in_flight(of_pool);
        let newest = in_flight.values().copied().max();
        let mut grounds = first.clone();
        let mut admitted = Vec::new();
        let mut authority = Authority::Rule;
        for (node, want) in wanted {
            grounds.authority = want.authority;
            let seen = self.nodes.get(&node.id).map_or(0, |memory| memory.rounds_seen);
            grounds.warmup_left = self.policy.warmup_rounds.saturating_sub(seen);
            // A change that is under way blocks new ones, not its own repetition.
            let again = in_flight.contains_key(&node.id);
            grounds.in_flight = if again { None } else { newest };
            let refused = match admit(want.kind, &node.id, &grounds) {
                Ok(()) => want.but,
                Err(refusal) => Some((refusal.guard, refusal.why)),
            };
            match refused {
                Some((guard, why)) => self.hold(node, Wish::Hold(want.kind, guard, why), decision),
                None => {
                    if want.kind == ActionKind::Withdraw {
                        grounds.staying.remove(&node.id);
                        if want.authority == Authority::Rule {
                            grounds.withdrawn.insert(node.id.clone());
                        }
                    }
                    authority = authority.max(want.authority);
                    let why = match want.kind {
                        ActionKind::Withdraw => {
                            format!(
                                "{}; {} of {} nodes of pool {} stay",
                                want.why,
                                grounds.staying.len(),
                                self.pool.nodes.len(),
                                self.pool.id
                            )
                        }
                        _ => want.why,
                    };
                    admitted.push(self.action(want.kind, &node.id, want.rule, why));
                }
            }
        }
        if admitted.is_empty() {
            return;
        }
        let (drawn, mut left_out) = plan::draw(self.situation.fleet, self.pool, published, admitted, &of_pool.out);
        decision.holds.append(&mut left_out);
        if drawn.changes.is_empty() {
            return;
        }
        let because = drawn.because.clone();
        let is_new = |action: &Action| action.node.as_ref().is_some_and(|id| !in_flight.contains_key(id));
        let in_flight = newest.filter(|_| because.iter().any(is_new));
        let grounds = Grounds { authority, in_flight, ..first };
        match approve(drawn, &grounds) {
            Ok(approved) => {
                for action in &because {
                    self.remember(action, published, of_pool);
                }
                decision.plans.push(approved);
                decision.actions.extend(because);
            }
            Err(Refusal { guard, why }) => {
                for action in &because {
                    let Some(node) = action.node.as_ref().and_then(|id| self.situation.fleet.nodes.get(id)) else {
                        continue;
                    };
                    self.hold(node, Wish::Hold(action.kind, guard, why.clone()), decision);
                }
            }
        }
    }

    /// Takes note of an admitted change.
    fn remember(&self, action: &Action, published: &PublishedSets, of_pool: &mut PoolMemory) {
        let now = self.sight.now;
        let Some(node) = action.node.as_ref().and_then(|id| self.situation.fleet.nodes.get(id)) else { return };
        match action.kind {
            ActionKind::Withdraw => {
                let places = plan::places(node, published);
                let out = of_pool.out.entry(node.id.clone()).or_insert_with(|| Withdrawal {
                    at: now,
                    asked_at: now,
                    rule: action.rule.clone(),
                    why: action.why.clone(),
                    seen_out: false,
                    returning_since: None,
                    by_hand: false,
                    soft: false,
                    quarantine_until: None,
                    places: BTreeSet::new(),
                    left: BTreeSet::new(),
                });
                out.asked_at = now;
                out.places.extend(places);
                if action.rule == words::HAND {
                    out.own(action.why.clone());
                }
                out.returning_since = None;
            }
            ActionKind::Reinstate => {
                if let Some(out) = of_pool.out.get_mut(&node.id) {
                    out.asked_at = now;
                    out.returning_since.get_or_insert(now);
                }
            }
            ActionKind::Shed | ActionKind::Alert => {}
        }
    }

    fn grounds(&self, published: &PublishedSets, of_pool: &PoolMemory) -> Grounds<'_> {
        let counts = |node: &&Node| {
            self.index.pin(&node.id).is_none()
                && !of_pool.out.contains_key(&node.id)
                && self.nodes.get(&node.id).is_some_and(|memory| diagnose::is_fresh(memory, self.sight))
                && plan::is_in(node, published)
        };
        Grounds {
            fleet: self.situation.fleet,
            policy: self.policy,
            pool: self.pool,
            authority: Authority::Rule,
            now: self.sight.now,
            vantage: self.sight.vantage,
            clock_back_ms: self.sight.clock_back_ms,
            warmup_left: 0,
            staying: self.situation.fleet.nodes_of(self.pool).filter(counts).map(|node| node.id.clone()).collect(),
            withdrawn: of_pool.out.iter().filter(|(_, out)| is_ours(out)).map(|(id, _)| id.clone()).collect(),
            changed_at: of_pool.changed_at,
            in_flight: None,
            ttl: published.values().map(|set| set.ttl).max().unwrap_or(0),
        }
    }

    pub(super) fn action(&self, kind: ActionKind, node: &NodeId, rule: RuleId, why: String) -> Action {
        Action { kind, node: Some(node.clone()), pool: Some(self.pool.id.clone()), step: None, rule, why }
    }

    /// Writes down what is refused; what a person is to look at is told once, when it begins.
    fn hold(&self, node: &Node, refused: Wish, decision: &mut Decision) {
        let tell = matches!(refused, Wish::Tell(..));
        let (Wish::Hold(kind, guard, why) | Wish::Tell(kind, guard, why)) = refused else { return };
        let pool = Some(self.pool.id.clone());
        let key = (node.id.clone(), pool);
        if tell && !self.told.contains(&key) {
            decision.actions.push(self.action(ActionKind::Alert, &node.id, words::STRIKES, why.clone()));
        }
        let (node, pool) = key;
        decision.holds.push(Hold { kind, node, pool, guard, why });
    }
}

impl Withdrawal {
    /// From now on a person's word keeps it out.
    fn own(&mut self, why: String) {
        self.by_hand = true;
        self.rule = words::HAND;
        self.why = why;
        self.returning_since = None;
    }
}

/// Changes that were asked for and that the published sets do not show yet, and when they were first asked for. Being asked
/// for again and again does not make them newer: one that cannot be done must not block the others for ever.
fn in_flight(of_pool: &PoolMemory) -> BTreeMap<NodeId, Time> {
    let began = |out: &Withdrawal| if out.seen_out { out.returning_since } else { Some(out.at) };
    of_pool.out.iter().filter_map(|(id, out)| Some((id.clone(), began(out)?))).collect()
}
