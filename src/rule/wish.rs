//! What is to become of one node, guards aside.

use crate::model::{
    ActionKind, Guard, Node, NodeMemory, Pin, PinState, PoolMemory, PublishedSets, Request, RequestKind, Round, RuleId,
    RuleSet, Withdrawal,
};

use super::decide::Desk;
use super::guard::Authority;
use super::reconcile::is_ours;
use super::{diagnose, explain, plan, tally, words};

/// A change that somebody or something wants.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) kind: ActionKind,
    pub(super) rule: RuleId,
    pub(super) why: String,
    pub(super) authority: Authority,
    /// What speaks against it should no guard refuse it.
    pub(super) but: Option<(Guard, String)>,
}

/// What is to become of a node.
#[derive(Debug)]
pub(super) enum Wish {
    Nothing,
    /// Wanted, and refused before any guard is asked.
    Hold(ActionKind, Guard, String),
    /// The same, and a person is to look at it.
    Tell(ActionKind, Guard, String),
    /// Nothing renews the wish to take it out.
    Drop,
    /// It is out already; from now on it is a person's word that keeps it there.
    Own(String),
    Want(Want),
}

impl Wish {
    fn want(kind: ActionKind, rule: RuleId, why: String, authority: Authority) -> Self {
        Self::Want(Want { kind, rule, why, authority, but: None })
    }
}

impl Desk<'_> {
    pub(super) fn wish(&self, node: &Node, published: &PublishedSets, of_pool: &PoolMemory) -> Wish {
        let Some(memory) = self.nodes.get(&node.id) else { return Wish::Nothing };
        let out = of_pool.out.get(&node.id);
        let pin = self.index.pin(&node.id);
        if let Some(request) = self.index.request(&node.id) {
            return match pin.filter(|pin| is_against(pin.state, request.kind)) {
                Some(pin) => Wish::Hold(action_of(request.kind), Guard::Pin, format!("{}; unpin it first", says(pin))),
                None => self.asked(request, node, memory, published, out),
            };
        }
        if let Some(pin) = pin {
            return self.pinned(pin, node, memory, published, out);
        }
        match out {
            Some(out) if out.seen_out => self.out(out, node, memory, published),
            Some(out) => self.leaving(out, node, memory, published),
            None if plan::is_in(node, published) => self.nominee(memory, plan::is_removable(node, published)),
            None => Wish::Nothing,
        }
    }

    /// The same while it is not known what is published.
    pub(super) fn wish_in_the_dark(&self, node: &Node, of_pool: &PoolMemory) -> Wish {
        let Some(memory) = self.nodes.get(&node.id) else { return Wish::Nothing };
        let unknown =
            |kind| Wish::Hold(kind, Guard::ZoneUnknown, format!("what zone {} holds is not known", self.pool.zone));
        if let Some(request) = self.index.request(&node.id) {
            return unknown(action_of(request.kind));
        }
        if of_pool.out.contains_key(&node.id) {
            return Wish::Nothing;
        }
        if let Some(pin) = self.index.pin(&node.id) {
            return self.held_by(pin, memory);
        }
        match self.nominee(memory, true) {
            Wish::Want(Want { kind, but: None, .. }) => unknown(kind),
            Wish::Want(Want { kind, but: Some((guard, why)), .. }) => Wish::Hold(kind, guard, why),
            held => held,
        }
    }

    /// What the strikes want of a node that is in.
    fn nominee(&self, memory: &NodeMemory, removable: bool) -> Wish {
        if !self.is_nominated(memory) {
            return Wish::Nothing;
        }
        let kind = ActionKind::Withdraw;
        let why = explain::strikes(self.policy, memory);
        let classic = self.policy.rule == RuleSet::Classic;
        if !classic && !diagnose::is_fresh(memory, self.sight) {
            return Wish::Nothing;
        }
        let convict = &self.policy.convict;
        if !classic && !memory.strikes.iter().any(|strike| strike.is_from(convict)) {
            let probes: Vec<&str> = convict.iter().map(|probe| probe.name()).collect();
            let why = format!("{why}; it still serves: no strike came from {}", probes.join(" or "));
            return Wish::Tell(kind, Guard::StillServes, why);
        }
        if !removable {
            let why = format!("{why}; every set it is in would be left without an address");
            return Wish::Hold(kind, Guard::EmptySet, why);
        }
        if classic {
            return Wish::want(kind, words::CLASSIC, why, Authority::Rule);
        }
        // Strikes nominate, but what serves right now is not taken out; its next failing round will tell.
        let but = if memory.failed_rounds == 0 {
            Some((Guard::StillServes, format!("{why}; it serves again: {}", explain::last_round(memory))))
        } else if !memory.last_round.as_ref().is_some_and(Round::strikes) {
            let why = format!("{why}; it lives, and says that it has too much to do: {}", explain::last_round(memory));
            Some((Guard::StillServes, why))
        } else if !is_confirmed(memory) {
            Some((Guard::Vantage, format!("{why}; the anchors have not answered since it fails")))
        } else {
            None
        };
        Wish::Want(Want { kind, rule: words::STRIKES, why, authority: Authority::Rule, but })
    }

    /// A node that was to go and is still in.
    fn leaving(&self, out: &Withdrawal, node: &Node, memory: &NodeMemory, published: &PublishedSets) -> Wish {
        let wish = match self.nominee(memory, plan::is_removable(node, published)) {
            wish @ Wish::Want(Want { but: None, .. }) if is_ours(out) => wish,
            _ if self.is_stale(out) => return Wish::Drop,
            _ => return Wish::Nothing,
        };
        if self.may_ask(out) { wish } else { Wish::Nothing }
    }

    /// A node that is out.
    fn out(&self, out: &Withdrawal, node: &Node, memory: &NodeMemory, published: &PublishedSets) -> Wish {
        let may_ask = self.may_ask(out);
        let fresh = diagnose::is_fresh(memory, self.sight);
        let fails = fresh && is_confirmed(memory);
        if fails && is_ours(out) && out.returning_since.is_none() && plan::is_removable(node, published) {
            // It was the last of a set, and is not any more.
            let why = format!("{}; the rest of its addresses can go now", out.why);
            return if may_ask {
                Wish::want(ActionKind::Withdraw, out.rule.clone(), why, Authority::Rule)
            } else {
                Wish::Nothing
            };
        }
        let automatic = explain::is_automatic(self.policy) && !out.by_hand;
        if !automatic || !fresh || (out.returning_since.is_some() && !may_ask) {
            return Wish::Nothing;
        }
        let need = explain::probation(self.policy, memory);
        let clean = memory.clean_since.map_or(std::time::Duration::ZERO, |since| self.sight.now.since(since));
        if memory.clean_rounds < self.policy.probation_rounds.max(1) || clean < need {
            return Wish::Nothing;
        }
        let kind = ActionKind::Reinstate;
        if plan::returns_to(node, self.pool, published, Some(out), false).is_empty() {
            let why = "the record sets it stood in are gone; `witness reinstate` makes them anew".to_owned();
            return Wish::Hold(kind, Guard::ChangedByHand, why);
        }
        let why = format!(
            "{} clean rounds over {} s (needed: {} over {} s, withdrawn {} times in 24 h)",
            memory.clean_rounds,
            clean.as_secs(),
            self.policy.probation_rounds,
            need.as_secs(),
            memory.withdrawals.len()
        );
        Wish::want(kind, words::PROBATION, why, Authority::Rule)
    }

    /// What a person asks for.
    fn asked(
        &self,
        request: &Request,
        node: &Node,
        memory: &NodeMemory,
        published: &PublishedSets,
        out: Option<&Withdrawal>,
    ) -> Wish {
        let authority = if request.force { Authority::Forced } else { Authority::Hand };
        let kind = action_of(request.kind);
        let why = match request.reason.as_str() {
            "" => "asked for by hand".to_owned(),
            reason => format!("asked for by hand: {reason}"),
        };
        if request.kind == RequestKind::Withdraw {
            return if plan::is_removable(node, published) {
                Wish::want(kind, words::HAND, why, authority)
            } else if plan::is_in(node, published) && !out.is_some_and(|out| out.seen_out) {
                Wish::Hold(kind, Guard::EmptySet, "every set it is in would be left without an address".to_owned())
            } else if out.is_some_and(|out| !out.by_hand) {
                Wish::Own(why)
            } else {
                Wish::Nothing
            };
        }
        let passes = diagnose::is_fresh(memory, self.sight) && memory.clean_rounds > 0;
        if !passes && !request.force {
            return Wish::Hold(kind, Guard::Unhealthy, format!("{}; --force overrides", explain::last_round(memory)));
        }
        if out.is_some_and(|out| !out.seen_out) {
            // It has not gone yet, and now it is not to.
            return Wish::Drop;
        }
        Wish::want(kind, words::HAND, why, authority)
    }

    /// A node that a pin lies over.
    fn pinned(
        &self,
        pin: &Pin,
        node: &Node,
        memory: &NodeMemory,
        published: &PublishedSets,
        out: Option<&Withdrawal>,
    ) -> Wish {
        let is_out = out.is_some_and(|out| out.seen_out);
        let waits = out.is_some_and(|out| (!out.seen_out || out.returning_since.is_some()) && !self.may_ask(out));
        match pin.state {
            PinState::Out if plan::is_removable(node, published) => {
                if waits {
                    return Wish::Nothing;
                }
                Wish::want(ActionKind::Withdraw, words::PIN, format!("pinned out: {}", pin.reason), Authority::Hand)
            }
            PinState::Out if plan::is_in(node, published) && !is_out => {
                let why = format!("{}; every set it is in would be left without an address", says(pin));
                Wish::Hold(ActionKind::Withdraw, Guard::EmptySet, why)
            }
            PinState::In if is_out => {
                if waits {
                    return Wish::Nothing;
                }
                Wish::want(ActionKind::Reinstate, words::PIN, format!("pinned in: {}", pin.reason), Authority::Hand)
            }
            PinState::In | PinState::Ignore if out.is_some_and(|out| !out.seen_out && self.is_stale(out)) => Wish::Drop,
            _ if plan::is_in(node, published) => self.held_by(pin, memory),
            _ => Wish::Nothing,
        }
    }

    fn held_by(&self, pin: &Pin, memory: &NodeMemory) -> Wish {
        if self.is_nominated(memory) && pin.state != PinState::Out {
            return Wish::Hold(ActionKind::Withdraw, Guard::Pin, says(pin));
        }
        Wish::Nothing
    }

    /// Whether a change that was asked for before may be asked for again.
    fn may_ask(&self, out: &Withdrawal) -> bool {
        self.sight.now.since(out.asked_at) >= self.policy.interval
    }

    fn is_nominated(&self, memory: &NodeMemory) -> bool {
        memory.strikes.len() >= self.policy.strikes.max(1) as usize
    }
}

/// Whether at least one failing round of those in a row is known not to be our own network's fault.
fn is_confirmed(memory: &NodeMemory) -> bool {
    let waiting = memory.pending.len();
    waiting < tally::PENDING && memory.failed_rounds as usize > waiting
}

fn is_against(pin: PinState, request: RequestKind) -> bool {
    match pin {
        PinState::In => request == RequestKind::Withdraw,
        PinState::Out => request == RequestKind::Reinstate,
        PinState::Ignore => true,
    }
}

fn action_of(request: RequestKind) -> ActionKind {
    match request {
        RequestKind::Withdraw => ActionKind::Withdraw,
        RequestKind::Reinstate => ActionKind::Reinstate,
    }
}

fn says(pin: &Pin) -> String {
    format!("pinned {}: {}", pin.state, pin.reason)
}
