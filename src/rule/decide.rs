//! Memory and verdicts into actions and holds, pool by pool.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Action, ActionKind, Guard, Hold, Memory, Node, NodeId, NodeMemory, Pin, PinState, Policy, Pool, PoolMemory,
    PublishedSets, Request, RequestKind, RuleId, RuleSet, Situation, Withdrawal,
};

use super::guard::{ApprovedPlan, Authority, Grounds, admit, approve};
use super::sight::Sight;
use super::{diagnose, explain, plan, words};

/// What is to be done and what is not.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) actions: Vec<Action>,
    pub(super) holds: Vec<Hold>,
    pub(super) plans: Vec<ApprovedPlan>,
}

/// A change that somebody or something wants.
struct Want {
    kind: ActionKind,
    rule: RuleId,
    why: String,
    authority: Authority,
}

/// What one pool is decided by.
struct Desk<'a> {
    policy: &'a Policy,
    situation: &'a Situation<'a>,
    sight: &'a Sight,
    pool: &'a Pool,
    nodes: &'a BTreeMap<NodeId, NodeMemory>,
}

pub(super) fn decide(policy: &Policy, situation: &Situation<'_>, sight: &Sight, memory: &mut Memory) -> Decision {
    let mut decision = Decision::default();
    memory.pools.retain(|id, _| situation.fleet.pools.contains_key(id));
    for pool in situation.fleet.pools.values() {
        let mut of_pool = memory.pools.remove(&pool.id).unwrap_or_default();
        if let Some(published) = situation.published.get(&pool.id) {
            let desk = Desk { policy, situation, sight, pool, nodes: &memory.nodes };
            for id in desk.reconcile(published, &mut of_pool, &mut decision) {
                // Old failures must not convict it again: it has proved itself since.
                memory.nodes.entry(id).or_default().strikes.clear();
            }
            let desk = Desk { policy, situation, sight, pool, nodes: &memory.nodes };
            desk.change(published, &mut of_pool, &mut decision);
        } else {
            let desk = Desk { policy, situation, sight, pool, nodes: &memory.nodes };
            desk.hold_all(&of_pool, &mut decision);
        }
        for action in decision.actions.iter().filter(|action| action.pool.as_ref() == Some(&pool.id)) {
            let Some(node) = action.node.as_ref().and_then(|id| memory.nodes.get_mut(id)) else { continue };
            let first = action.node.as_ref().and_then(|id| of_pool.out.get(id)).is_some_and(|out| out.at == sight.now);
            if action.kind == ActionKind::Withdraw && first && node.withdrawals.back() != Some(&sight.now) {
                node.withdrawals.push_back(sight.now);
            }
        }
        memory.pools.insert(pool.id.clone(), of_pool);
    }
    alert_on_news(&memory.holds, &mut decision);
    memory.holds.clone_from(&decision.holds);
    decision
}

impl Desk<'_> {
    /// Holds what is remembered against what is published: the published sets are the truth about who is in.
    /// Returns the nodes that are back.
    fn reconcile(&self, published: &PublishedSets, of_pool: &mut PoolMemory, decision: &mut Decision) -> Vec<NodeId> {
        let now = self.sight.now;
        let mut members = BTreeSet::new();
        let mut returned = Vec::new();
        of_pool.out.retain(|id, _| self.pool.nodes.binary_search(id).is_ok());
        for node in self.situation.fleet.nodes_of(self.pool) {
            let id = &node.id;
            let places = plan::places(node, published);
            let is_in = !places.is_empty();
            if is_in {
                members.insert(id.clone());
            }
            let may_be_out = !is_in || !plan::is_removable(node, published);
            match of_pool.out.get_mut(id) {
                Some(out) if out.seen_out && !places.is_subset(&out.left) => {
                    if out.returning_since.is_none() {
                        let why = format!(
                            "{id} is in the records of pool {} again, and witness did not put it back",
                            self.pool.id
                        );
                        decision.actions.push(self.action(ActionKind::Alert, id, words::OUTSIDE, why));
                    }
                    of_pool.out.remove(id);
                    returned.push(id.clone());
                }
                Some(out) if out.seen_out => out.left = places,
                Some(out) if may_be_out => {
                    out.seen_out = true;
                    out.left = places;
                }
                // Not followed. A wish that nothing renews is dropped: an old decision is never carried out later.
                Some(out) if out.by_hand && now.since(out.asked_at) >= 2 * self.pool.ttl => {
                    of_pool.out.remove(id);
                }
                Some(_) => {}
                None if !is_in => {
                    let known_out = of_pool.members.as_ref().is_some_and(|before| !before.contains(id));
                    if !known_out {
                        let why = format!(
                            "{id} is not in the records of pool {}, and witness did not take it out",
                            self.pool.id
                        );
                        decision.actions.push(self.action(ActionKind::Alert, id, words::OUTSIDE, why));
                    }
                    of_pool.out.insert(
                        id.clone(),
                        Withdrawal {
                            at: now,
                            asked_at: now,
                            rule: words::OUTSIDE,
                            why: "taken out by somebody else".to_owned(),
                            seen_out: true,
                            returning_since: None,
                            by_hand: true,
                            places: BTreeSet::new(),
                            left: BTreeSet::new(),
                        },
                    );
                }
                None => {}
            }
        }
        if of_pool.members.as_ref().is_some_and(|before| *before != members) {
            of_pool.changed_at = Some(now);
        }
        of_pool.members = Some(members);
        returned
    }

    /// Decides, in the order of the nodes' names, worst first, and puts what is allowed into one plan.
    fn change(&self, published: &PublishedSets, of_pool: &mut PoolMemory, decision: &mut Decision) {
        let mut grounds = self.grounds(published, of_pool);
        let mut wanted: Vec<(&Node, Want)> = Vec::new();
        for node in self.situation.fleet.nodes_of(self.pool) {
            match self.want(node, published, of_pool) {
                Wish::Nothing => {}
                Wish::Hold(kind, guard, why) => decision.holds.push(self.hold(kind, &node.id, guard, why)),
                Wish::Drop => {
                    of_pool.out.remove(&node.id);
                }
                Wish::Want(want) => wanted.push((node, want)),
            }
        }
        let severity = |id: &NodeId| self.nodes.get(id).map_or(0, |node| node.strikes.len());
        wanted.sort_by_key(|(node, want)| {
            (
                want.kind != ActionKind::Withdraw,
                std::cmp::Reverse(want.authority),
                std::cmp::Reverse(severity(&node.id)),
            )
        });
        let mut admitted = Vec::new();
        let mut authority = Authority::Rule;
        for (node, want) in wanted {
            grounds.authority = want.authority;
            let seen = self.nodes.get(&node.id).map_or(0, |memory| memory.rounds_seen);
            grounds.warmup_left = self.policy.warmup_rounds.saturating_sub(seen);
            match admit(want.kind, &node.id, &grounds) {
                Err(refusal) => {
                    decision.holds.push(self.hold(want.kind, &node.id, refusal.guard, refusal.why));
                }
                Ok(()) => {
                    if want.kind == ActionKind::Withdraw {
                        grounds.staying.remove(&node.id);
                        if is_ours(&want.rule) {
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
        let mut grounds = self.grounds(published, of_pool);
        grounds.authority = authority;
        let because = drawn.because.clone();
        match approve(drawn, &grounds) {
            Ok(approved) => {
                for action in &because {
                    self.remember(action, published, of_pool);
                }
                decision.plans.push(approved);
                decision.actions.extend(because);
            }
            Err(refusal) => {
                for action in because {
                    if let Some(node) = &action.node {
                        decision.holds.push(self.hold(action.kind, node, refusal.guard, refusal.why.clone()));
                    }
                }
            }
        }
    }

    /// What is to become of one node, guards aside.
    fn want(&self, node: &Node, published: &PublishedSets, of_pool: &PoolMemory) -> Wish {
        let Some(memory) = self.nodes.get(&node.id) else { return Wish::Nothing };
        let is_in = !plan::places(node, published).is_empty();
        let removable = plan::is_removable(node, published);
        if let Some(request) = self.request(&node.id) {
            // Whatever is done against a pin would be undone by it in the next tick.
            if let Some(pin) = self.pin(&node.id).filter(|pin| is_against(pin.state, request.kind)) {
                let kind = match request.kind {
                    RequestKind::Withdraw => ActionKind::Withdraw,
                    RequestKind::Reinstate => ActionKind::Reinstate,
                };
                let why = format!("pinned {}: {}; `witness unpin {}` first", pin.state, pin.reason, node.id);
                return Wish::Hold(kind, Guard::Pin, why);
            }
            return self.asked(request.kind, request.force, &request.reason, memory, is_in);
        }
        let nominated = self.nominated(memory);
        match self.pin(&node.id).map(|pin| (pin.state, &pin.reason)) {
            Some((PinState::Out, reason)) if removable => {
                return Wish::want(ActionKind::Withdraw, words::PIN, format!("pinned out: {reason}"), Authority::Hand);
            }
            Some((PinState::In, reason)) if !is_in => {
                return Wish::want(ActionKind::Reinstate, words::PIN, format!("pinned in: {reason}"), Authority::Hand);
            }
            Some((state, reason)) => {
                if nominated && is_in && state != PinState::Out {
                    return Wish::Hold(ActionKind::Withdraw, Guard::Pin, format!("pinned {state}: {reason}"));
                }
                return Wish::Nothing;
            }
            None => {}
        }
        if let Some(out) = of_pool.out.get(&node.id) {
            return self.out(out, memory, nominated);
        }
        if !nominated || !is_in {
            return Wish::Nothing;
        }
        let why = explain::strikes(self.policy, memory);
        if self.policy.rule == RuleSet::Classic {
            return Wish::want(ActionKind::Withdraw, words::CLASSIC, why, Authority::Rule);
        }
        if !diagnose::is_fresh(memory, self.sight) {
            return Wish::Nothing;
        }
        let convict = &self.policy.convict;
        if !memory.strikes.iter().any(|strike| strike.is_from(convict)) {
            let probes: Vec<&str> = convict.iter().map(|probe| probe.name()).collect();
            let why = format!("{why}; it still serves: no strike came from {}", probes.join(" or "));
            return Wish::Hold(ActionKind::Withdraw, Guard::StillServes, why);
        }
        // Strikes nominate, but what passes everything right now is not taken out; its next failing round will tell.
        if memory.failed_rounds == 0 {
            let why = format!("{why}; it serves again: {}", explain::last_round(memory));
            return Wish::Hold(ActionKind::Withdraw, Guard::StillServes, why);
        }
        Wish::want(ActionKind::Withdraw, words::STRIKES, why, Authority::Rule)
    }

    /// A node that is out, or is to be.
    fn out(&self, out: &Withdrawal, memory: &NodeMemory, nominated: bool) -> Wish {
        let now = self.sight.now;
        let ask_again = now.since(out.asked_at) >= self.policy.interval;
        if !out.seen_out {
            let still = nominated && memory.failed_rounds > 0;
            return match (still || self.policy.rule == RuleSet::Classic, ask_again) {
                (false, _) if now.since(out.asked_at) >= 2 * self.pool.ttl => Wish::Drop,
                (false, _) | (true, false) => Wish::Nothing,
                (true, true) => {
                    // Told anew: the words it was first told with have counted who stays already.
                    let why = format!("{}; asked for before, and not followed", explain::strikes(self.policy, memory));
                    Wish::want(ActionKind::Withdraw, out.rule.clone(), why, Authority::Rule)
                }
            };
        }
        let automatic = self.policy.reinstate == crate::model::Reinstatement::Auto
            && self.policy.rule == RuleSet::Witness
            && !out.by_hand;
        if !automatic || !diagnose::is_fresh(memory, self.sight) || (out.returning_since.is_some() && !ask_again) {
            return Wish::Nothing;
        }
        let need = explain::probation(self.policy, memory);
        let clean = memory.clean_since.map_or(std::time::Duration::ZERO, |since| now.since(since));
        if memory.clean_rounds < self.policy.probation_rounds || clean < need {
            return Wish::Nothing;
        }
        let why = format!(
            "{} clean rounds over {} s (needed: {} over {} s, withdrawn {} times in 24 h)",
            memory.clean_rounds,
            clean.as_secs(),
            self.policy.probation_rounds,
            need.as_secs(),
            memory.withdrawals.len()
        );
        Wish::want(ActionKind::Reinstate, words::PROBATION, why, Authority::Rule)
    }

    /// What a person asks for.
    fn asked(&self, kind: RequestKind, force: bool, reason: &str, memory: &NodeMemory, is_in: bool) -> Wish {
        let authority = if force { Authority::Forced } else { Authority::Hand };
        let why =
            if reason.is_empty() { "asked for by hand".to_owned() } else { format!("asked for by hand: {reason}") };
        match kind {
            RequestKind::Withdraw if is_in => Wish::want(ActionKind::Withdraw, words::HAND, why, authority),
            RequestKind::Reinstate => {
                let passes = diagnose::is_fresh(memory, self.sight) && memory.clean_rounds > 0;
                if !passes && !force {
                    let why = format!("{}; --force overrides", explain::last_round(memory));
                    return Wish::Hold(ActionKind::Reinstate, Guard::Unhealthy, why);
                }
                Wish::want(ActionKind::Reinstate, words::HAND, why, authority)
            }
            RequestKind::Withdraw => Wish::Nothing,
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
                    places: BTreeSet::new(),
                    left: BTreeSet::new(),
                });
                out.asked_at = now;
                out.returning_since = None;
                out.by_hand = action.rule == words::HAND;
                out.places.extend(places);
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

    /// The registrar could not be read: whatever is wanted must wait.
    fn hold_all(&self, of_pool: &PoolMemory, decision: &mut Decision) {
        for node in self.situation.fleet.nodes_of(self.pool) {
            let Some(memory) = self.nodes.get(&node.id) else { continue };
            let asked = self.request(&node.id).map(|request| request.kind);
            let kind = match asked {
                Some(RequestKind::Withdraw) => ActionKind::Withdraw,
                Some(RequestKind::Reinstate) => ActionKind::Reinstate,
                None if self.nominated(memory) && !of_pool.out.contains_key(&node.id) => ActionKind::Withdraw,
                None => continue,
            };
            let why = format!("what zone {} holds is not known", self.pool.zone);
            decision.holds.push(self.hold(kind, &node.id, Guard::ZoneUnknown, why));
        }
    }

    fn grounds<'b>(&'b self, published: &PublishedSets, of_pool: &PoolMemory) -> Grounds<'b> {
        let counts = |node: &&Node| {
            self.pin(&node.id).is_none()
                && !of_pool.out.contains_key(&node.id)
                && self.nodes.get(&node.id).is_some_and(|memory| diagnose::is_fresh(memory, self.sight))
                && !plan::places(node, published).is_empty()
        };
        let in_flight = of_pool.out.values().filter(|out| !out.seen_out).map(|out| out.asked_at).max();
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
            withdrawn: of_pool.out.iter().filter(|(_, out)| is_ours(&out.rule)).map(|(id, _)| id.clone()).collect(),
            changed_at: of_pool.changed_at,
            in_flight,
            ttl: published.values().map(|set| set.ttl).max().unwrap_or(0),
        }
    }

    fn nominated(&self, memory: &NodeMemory) -> bool {
        memory.strikes.len() >= self.policy.strikes as usize
    }

    fn request(&self, node: &NodeId) -> Option<&Request> {
        self.situation.requests.iter().find(|request| request.node == *node)
    }

    fn pin(&self, node: &NodeId) -> Option<&Pin> {
        self.situation.pins.iter().find(|pin| pin.node == *node)
    }

    fn action(&self, kind: ActionKind, node: &NodeId, rule: RuleId, why: String) -> Action {
        Action { kind, node: Some(node.clone()), pool: Some(self.pool.id.clone()), step: None, rule, why }
    }

    fn hold(&self, kind: ActionKind, node: &NodeId, guard: Guard, why: String) -> Hold {
        Hold { kind, node: node.clone(), pool: Some(self.pool.id.clone()), guard, why }
    }
}

/// What is to become of a node.
enum Wish {
    Nothing,
    /// Wanted, and refused before any guard is asked.
    Hold(ActionKind, Guard, String),
    /// Nothing renews the wish to take it out.
    Drop,
    Want(Want),
}

impl Wish {
    fn want(kind: ActionKind, rule: RuleId, why: String, authority: Authority) -> Self {
        Self::Want(Want { kind, rule, why, authority })
    }
}

/// Whether what a person asks for contradicts a pin.
fn is_against(pin: PinState, asked: RequestKind) -> bool {
    match pin {
        PinState::In => asked == RequestKind::Withdraw,
        PinState::Out => asked == RequestKind::Reinstate,
        PinState::Ignore => true,
    }
}

/// Whether a withdrawal by this rule was the rule's own, and not a person's.
fn is_ours(rule: &RuleId) -> bool {
    *rule != words::HAND && *rule != words::PIN && *rule != words::OUTSIDE
}

/// A nomination that is held since the node still serves is for a person to look at, once.
fn alert_on_news(before: &[Hold], decision: &mut Decision) {
    for hold in &decision.holds {
        if hold.guard == Guard::StillServes && !before.iter().any(|old| old.is_same(hold)) {
            decision.actions.push(Action {
                kind: ActionKind::Alert,
                node: Some(hold.node.clone()),
                pool: hold.pool.clone(),
                step: None,
                rule: words::STRIKES,
                why: hold.why.clone(),
            });
        }
    }
}
