//! Memory and verdicts into actions and holds, pool by pool.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Action, ActionKind, Alerted, Guard, Hold, Memory, Node, NodeId, NodeMemory, Policy, Pool, PoolId, PoolMemory,
    PublishedSets, RuleId, RuleSet, Situation, Time, Withdrawal,
};

use super::classify::percent;
use super::crowd::{self, Crowd, Light, State};
use super::findings::Findings;
use super::guard::{ApprovedPlan, Authority, Grounds, Refusal, admit, approve};
use super::index::{Index, Seat};
use super::plan::Shown;
use super::reconcile::is_ours;
use super::sight::Sight;
use super::walk::Walk;
use super::wish::{Want, Wish};
use super::worth::Worth;
use super::{classify, plan, words};

/// What is to be done and what is not.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) actions: Vec<Action>,
    pub(super) holds: Vec<Hold>,
    pub(super) plans: Vec<ApprovedPlan>,
    /// What a person is to look at.
    told: Vec<Told>,
    /// What each pool is in.
    pub(super) states: BTreeMap<PoolId, State>,
}

/// What one pool is decided by.
pub(super) struct Desk<'a> {
    pub(super) policy: &'a Policy,
    pub(super) situation: &'a Situation<'a>,
    pub(super) index: &'a Index<'a>,
    pub(super) sight: &'a Sight,
    pub(super) pool: &'a Pool,
    pub(super) nodes: &'a BTreeMap<NodeId, NodeMemory>,
    pub(super) findings: &'a Findings<'a>,
    pub(super) crowd: &'a Crowd<'a>,
    /// When the anchors last answered.
    pub(super) anchored_at: Option<Time>,
    /// How many nodes are out for our own reasons.
    pub(super) out_count: usize,
    /// Since when the pool is overloaded.
    pub(super) overload_since: Option<Time>,
    /// When the pool was last changed, and until when soft evidence is not acted on.
    pub(super) changed_at: Option<Time>,
    pub(super) regret_until: Option<Time>,
    /// What was held in the last tick, by whom.
    told: &'a BTreeSet<Told>,
}

/// A desk without what is remembered.
struct View<'a> {
    policy: &'a Policy,
    situation: &'a Situation<'a>,
    index: &'a Index<'a>,
    sight: &'a Sight,
    pool: &'a Pool,
    findings: &'a Findings<'a>,
    crowd: &'a Crowd<'a>,
    anchored_at: Option<Time>,
    told: &'a BTreeSet<Told>,
}

impl View<'_> {
    fn desk<'b>(&'b self, nodes: &'b BTreeMap<NodeId, NodeMemory>, of_pool: &PoolMemory) -> Desk<'b> {
        Desk {
            policy: self.policy,
            situation: self.situation,
            index: self.index,
            sight: self.sight,
            pool: self.pool,
            nodes,
            findings: self.findings,
            crowd: self.crowd,
            anchored_at: self.anchored_at,
            // One whose last address of a set stays is out and, until it is seen to be, in service as well.
            out_count: of_pool.out.iter().filter(|(id, out)| is_ours(out) && !self.crowd.serves(id)).count(),
            overload_since: of_pool.overload_since,
            changed_at: of_pool.changed_at,
            regret_until: of_pool.regret_until,
            told: self.told,
        }
    }
}

type Told = (NodeId, Option<PoolId>, Guard);

pub(super) fn decide<'a>(
    policy: &'a Policy,
    situation: &'a Situation<'a>,
    index: &'a Index<'a>,
    sight: &'a Sight,
    findings: &'a Findings<'a>,
    memory: &mut Memory,
) -> Decision {
    let mut decision = Decision::default();
    let lately = |at: Time| sight.now.since(at) < policy.tell_again;
    memory.alerted.retain(|alert| situation.fleet.nodes.contains_key(&alert.node) && lately(alert.at));
    let told: BTreeSet<Told> =
        memory.alerted.iter().map(|alert| (alert.node.clone(), alert.pool.clone(), alert.guard)).collect();
    let anchored_at = memory.anchored_at;
    memory.pools.retain(|id, _| situation.fleet.pools.contains_key(id));
    let light = Light { policy, index, sight, findings };
    for pool in situation.fleet.pools.values() {
        let mut of_pool = memory.pools.remove(&pool.id).unwrap_or_default();
        let crowd = crowd::look(&light, memory, pool, &mut of_pool);
        let view = View { policy, situation, index, sight, pool, findings, crowd: &crowd, anchored_at, told: &told };
        let mut gone = BTreeSet::new();
        if let Some(published) = situation.published.get(&pool.id) {
            let moves = view.desk(&memory.nodes, &of_pool).reconcile(published, &mut of_pool);
            for id in &moves.back {
                memory.nodes.entry(id.clone()).or_default().forgive();
            }
            for id in moves.gone {
                // One that leaves several pools for the same reason is withdrawn once.
                let place = index.place_of(&id);
                let out_already = place
                    .into_iter()
                    .flat_map(|place| index.seats_at(place))
                    .filter_map(|other| memory.pools.get(&other.pool.id)?.out.get(&id))
                    .any(|out| out.seen_out && is_ours(out));
                let ours = of_pool.out.get(&id).is_some_and(is_ours);
                if ours && !out_already {
                    let node = memory.nodes.entry(id.clone()).or_default();
                    node.withdrawals.push_back(sight.now);
                    if of_pool.out.get(&id).is_some_and(|out| out.soft) {
                        node.soft_withdrawals.push_back(sight.now);
                    }
                }
            }
            decision.actions.extend(moves.alerts);
            gone = view.desk(&memory.nodes, &of_pool).change(published, &mut of_pool, &mut decision);
        } else {
            let desk = view.desk(&memory.nodes, &of_pool);
            let mut remembered = Walk::over(&memory.nodes);
            for seat in index.seats_of(pool) {
                if let Some(of_node) = remembered.to(&seat.node.id) {
                    desk.hold(seat.node, desk.wish_in_the_dark(seat, of_node, &of_pool), &mut decision);
                }
            }
        }
        decision.actions.extend(view.desk(&memory.nodes, &of_pool).climb(&mut of_pool, &gone));
        decision.states.insert(pool.id.clone(), crowd.state.clone());
        memory.pools.insert(pool.id.clone(), of_pool);
    }
    memory.holds.clone_from(&decision.holds);
    for (node, pool, guard) in std::mem::take(&mut decision.told) {
        memory.alerted.retain(|alert| (&alert.node, &alert.pool, alert.guard) != (&node, &pool, guard));
        memory.alerted.push(Alerted { node, pool, guard, at: sight.now });
    }
    decision
}

impl Desk<'_> {
    /// Decides, in the order of the nodes' names, worst first, and puts what is allowed into one plan.
    /// Returns who leaves.
    fn change(&self, published: &PublishedSets, of_pool: &mut PoolMemory, decision: &mut Decision) -> BTreeSet<NodeId> {
        let mut wanted: Vec<(&Node, Want)> = Vec::new();
        let mut remembered = Walk::over(self.nodes);
        for seat in self.index.seats_of(self.pool) {
            let node = seat.node;
            let Some(memory) = remembered.to(&node.id) else { continue };
            match self.wish(seat, memory, published, of_pool) {
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
            return BTreeSet::new();
        }
        let hard = |(node, want): &(&Node, Want)| matches!(want.worth, Worth::Hard { .. }).then(|| node.id.clone());
        let settled: BTreeSet<NodeId> = wanted.iter().filter_map(hard).collect();
        // The original script knew no worse and worst.
        let classic = self.policy.rule == RuleSet::Classic;
        let severity = |id: &NodeId| self.nodes.get(id).filter(|_| !classic).map_or(0, |node| node.strikes.len());
        wanted.sort_by_key(|(node, want)| {
            (
                want.kind != ActionKind::Withdraw,
                std::cmp::Reverse(want.authority),
                want.worth.rank(),
                std::cmp::Reverse(severity(&node.id)),
            )
        });
        let first = self.grounds(published, of_pool);
        let in_flight = in_flight(of_pool);
        let newest = in_flight.values().copied().max();
        let mut grounds = first.clone();
        let mut admitted = Vec::new();
        let mut authority = Authority::Rule;
        let mut urgent = true;
        // Whoever was asked for and is to be seen still is as good as gone.
        let leaving = of_pool.out.iter().filter(|(_, out)| is_ours(out) && !out.seen_out);
        let mut taken: BTreeSet<NodeId> = leaving.map(|(id, _)| id.clone()).collect();
        let mut worths: BTreeMap<NodeId, Worth> = BTreeMap::new();
        for (node, want) in wanted {
            grounds.authority = want.authority;
            // One death at a time while all are overloaded; otherwise nobody waits for the dead.
            grounds.urgent =
                want.worth.is_urgent(self.crowd.is_overloaded()) && (taken.is_empty() || !self.crowd.is_overloaded());
            let seen = self.nodes.get(&node.id).map_or(0, |memory| memory.rounds_seen);
            grounds.warmup_left = self.policy.warmup_rounds.saturating_sub(seen);
            // A change that is under way blocks new ones, not its own repetition.
            let again = in_flight.contains_key(&node.id);
            grounds.in_flight = if again { None } else { newest };
            let refused = match admit(want.kind, &node.id, &grounds) {
                Ok(()) => match want.but {
                    Some((guard, why)) => Some(Wish::Hold(want.kind, guard, why)),
                    None => self.weigh(&node.id, want.worth, &taken, &settled).err().map(|refused| {
                        let why = format!("{}; {}", want.why, refused.why);
                        if refused.tell {
                            Wish::Tell(want.kind, refused.guard, want.rule.clone(), why)
                        } else {
                            Wish::Hold(want.kind, refused.guard, why)
                        }
                    }),
                },
                Err(refusal) => Some(Wish::Hold(want.kind, refusal.guard, refusal.why)),
            };
            match refused {
                Some(refused) => self.hold(node, refused, decision),
                None => {
                    urgent &= grounds.urgent;
                    worths.insert(node.id.clone(), want.worth);
                    if want.kind == ActionKind::Withdraw {
                        grounds.staying.remove(&node.id);
                        taken.insert(node.id.clone());
                        if want.authority == Authority::Rule {
                            grounds.withdrawn.insert(node.id.clone());
                        }
                    }
                    authority = authority.max(want.authority);
                    let why = match want.kind {
                        ActionKind::Withdraw => {
                            // What it would do to the others, where their figures tell.
                            let carry = match self.crowd.room.after(&taken, 100) {
                                Some(milli) => format!(", which would carry {}", percent(milli)),
                                None => String::new(),
                            };
                            format!(
                                "{}; {} of {} nodes of pool {} stay{carry}",
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
            return BTreeSet::new();
        }
        let (drawn, mut left_out) = plan::draw(self.situation.fleet, self.pool, published, admitted, &of_pool.out);
        decision.holds.append(&mut left_out);
        if drawn.changes.is_empty() {
            return BTreeSet::new();
        }
        let because = drawn.because.clone();
        let is_new = |action: &Action| action.node.as_ref().is_some_and(|id| !in_flight.contains_key(id));
        let in_flight = newest.filter(|_| because.iter().any(is_new));
        let grounds = Grounds { authority, in_flight, urgent, ..first };
        match approve(drawn, &grounds) {
            Ok(approved) => {
                for action in &because {
                    let worth = action.node.as_ref().and_then(|id| worths.get(id)).copied().unwrap_or(Worth::Settled);
                    self.remember(action, worth, published, of_pool);
                }
                decision.plans.push(approved);
                decision.actions.extend(because);
                taken
            }
            Err(Refusal { guard, why }) => {
                for action in &because {
                    let Some(node) = action.node.as_ref().and_then(|id| self.situation.fleet.nodes.get(id)) else {
                        continue;
                    };
                    self.hold(node, Wish::Hold(action.kind, guard, why.clone()), decision);
                }
                BTreeSet::new()
            }
        }
    }

    /// Takes note of an admitted change.
    fn remember(&self, action: &Action, worth: Worth, published: &PublishedSets, of_pool: &mut PoolMemory) {
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
                if let Worth::Soft { whole } = worth {
                    out.soft = true;
                    if !whole {
                        out.quarantine_until = Some(now.plus(self.quarantine(&node.id)));
                    }
                }
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
                if worth == Worth::Undo {
                    let limits = &self.policy.overload;
                    of_pool.regret_until = of_pool.regret_until.max(Some(now.plus(limits.regret_block)));
                    of_pool.overload_since.get_or_insert(now);
                    of_pool.overload_until = of_pool.overload_until.max(Some(now.plus(limits.latch)));
                }
            }
            ActionKind::Shed | ActionKind::Alert => {}
        }
    }

    fn grounds(&self, published: &PublishedSets, of_pool: &PoolMemory) -> Grounds<'_> {
        let mut remembered = Walk::over(self.nodes);
        let mut counts = |seat: &Seat<'_>| {
            let id = &seat.node.id;
            self.index.pin(id).is_none()
                && !of_pool.out.contains_key(id)
                && remembered.to(id).is_some_and(|memory| classify::is_fresh(memory, self.sight))
                && seat.shown.is_some_and(Shown::is_in)
        };
        let seats = self.index.seats_of(self.pool).iter();
        Grounds {
            fleet: self.situation.fleet,
            policy: self.policy,
            pool: self.pool,
            authority: Authority::Rule,
            now: self.sight.now,
            vantage: self.sight.vantage,
            clock_back_ms: self.sight.clock_back_ms,
            warmup_left: 0,
            staying: seats.filter(|seat| counts(seat)).map(|seat| seat.node.id.clone()).collect(),
            withdrawn: of_pool.out.iter().filter(|(_, out)| is_ours(out)).map(|(id, _)| id.clone()).collect(),
            changed_at: of_pool.changed_at,
            in_flight: None,
            ttl: published.values().map(|set| set.ttl).max().unwrap_or(0),
            urgent: false,
        }
    }

    pub(super) fn action(&self, kind: ActionKind, node: &NodeId, rule: RuleId, why: String) -> Action {
        Action { kind, node: Some(node.clone()), pool: Some(self.pool.id.clone()), step: None, rule, why }
    }

    /// Writes down what is refused; what a person is to look at is told once, when it begins or has been gone for a while.
    fn hold(&self, node: &Node, refused: Wish, decision: &mut Decision) {
        let (kind, guard, rule, why) = match refused {
            Wish::Hold(kind, guard, why) => (kind, guard, None, why),
            Wish::Tell(kind, guard, rule, why) => (kind, guard, Some(rule), why),
            Wish::Nothing | Wish::Drop | Wish::Own(_) | Wish::Want(_) => return,
        };
        let key = (node.id.clone(), Some(self.pool.id.clone()), guard);
        if let Some(rule) = rule {
            if !self.told.contains(&key) {
                decision.actions.push(self.action(ActionKind::Alert, &node.id, rule, why.clone()));
            }
            decision.told.push(key.clone());
        }
        let (node, pool, guard) = key;
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
