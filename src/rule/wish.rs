//! What is to become of one node, guards aside.

use crate::model::{
    ActionKind, Evidence, Failing, Fault, Guard, Node, NodeMemory, Observation, Pin, PinState, PoolMemory,
    PublishedSets, Request, RequestKind, Round, RuleId, RuleSet, Streak, Strike, Time, Withdrawal,
};

use super::classify::Finding;
use super::decide::Desk;
use super::guard::Authority;
use super::index::Seat;
use super::plan::Shown;
use super::reconcile::is_ours;
use super::worth::Worth;
use super::{classify, explain, plan, tally, words};

const UNANCHORED: &str = "the anchors have not answered since it fails";

/// A change that somebody or something wants.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) kind: ActionKind,
    pub(super) rule: RuleId,
    pub(super) why: String,
    pub(super) authority: Authority,
    /// On what ground.
    pub(super) worth: Worth,
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
    Tell(ActionKind, Guard, RuleId, String),
    /// Nothing renews the wish to take it out.
    Drop,
    /// It is out already; from now on it is a person's word that keeps it there.
    Own(String),
    Want(Want),
}

impl Wish {
    fn want(kind: ActionKind, rule: RuleId, why: String, authority: Authority, worth: Worth) -> Self {
        Self::Want(Want { kind, rule, why, authority, worth, but: None })
    }
}

impl Desk<'_> {
    pub(super) fn wish(
        &self,
        seat: &Seat<'_>,
        memory: &NodeMemory,
        published: &PublishedSets,
        of_pool: &PoolMemory,
    ) -> Wish {
        let node = seat.node;
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
            Some(out) => self.leaving(out, seat, memory, published),
            None if seat.shown.is_some_and(Shown::is_in) => self.nominee(seat, memory),
            None => Wish::Nothing,
        }
    }

    /// The same while it is not known what is published.
    pub(super) fn wish_in_the_dark(&self, seat: &Seat<'_>, memory: &NodeMemory, of_pool: &PoolMemory) -> Wish {
        let node = seat.node;
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
        match self.nominee(seat, memory) {
            Wish::Want(Want { kind, but: None, .. }) => unknown(kind),
            Wish::Want(Want { kind, but: Some((guard, why)), .. }) => Wish::Hold(kind, guard, why),
            held => held,
        }
    }

    /// What the evidence, or else the strikes, want of a node that is in.
    fn nominee(&self, seat: &Seat<'_>, memory: &NodeMemory) -> Wish {
        // As long as it is not known what is published, nothing is in the way.
        let removable = seat.shown.is_none_or(|shown| shown == Shown::Removable);
        if self.policy.rule == RuleSet::Classic {
            return self.classic(memory, removable);
        }
        match self.evident(self.findings.at(seat.place), memory).or_else(|| self.struck(memory)) {
            Some(Wish::Want(want)) if !removable => {
                let why = format!("{}; every set it is in would be left without an address", want.why);
                Wish::Hold(want.kind, Guard::EmptySet, why)
            }
            wish => wish.unwrap_or(Wish::Nothing),
        }
    }

    /// The original script knew strikes and nothing else.
    fn classic(&self, memory: &NodeMemory, removable: bool) -> Wish {
        if !self.is_nominated(memory) {
            return Wish::Nothing;
        }
        let why = explain::strikes(self.policy, memory);
        if removable {
            return Wish::want(ActionKind::Withdraw, words::CLASSIC, why, Authority::Rule, Worth::Settled);
        }
        Wish::Hold(
            ActionKind::Withdraw,
            Guard::EmptySet,
            format!("{why}; every set it is in would be left without an address"),
        )
    }

    /// What the evidence of this moment wants.
    fn evident(&self, finding: &Finding, memory: &NodeMemory) -> Option<Wish> {
        let (recent, limits) = (&memory.recent, &self.policy.overload);
        let lasts = |since: Option<Time>| since.is_some_and(|since| self.sight.now.since(since) >= limits.soft_for);
        let (rule, worth, since) = match finding.class {
            Evidence::Silent => (words::SILENT, Worth::Hard { confirmed: finding.confirmed }, recent.silence?.since),
            Evidence::Down => (words::DOWN, Worth::Hard { confirmed: true }, recent.service?.same.since),
            Evidence::Hung if finding.hard => {
                (words::IDLE, Worth::Hard { confirmed: true }, recent.service?.same.since)
            }
            Evidence::Hung => (words::HUNG, Worth::Soft { whole: true }, recent.service?.same.since),
            Evidence::Broken => {
                let since = recent.service?.same.since;
                lasts(Some(since)).then_some((words::BROKEN, Worth::Soft { whole: true }, since))?
            }
            Evidence::Degraded => {
                let since = recent.degraded?.since;
                // Of an overload three failures in a row are nothing out of the ordinary; over so long they are.
                let whole = recent.service.is_some_and(|service| self.is_steady(&service.any));
                lasts(Some(since)).then_some((words::DEGRADED, Worth::Soft { whole }, since))?
            }
            Evidence::Stressed | Evidence::Shedding | Evidence::Suspect | Evidence::Fine | Evidence::NoData => {
                return None;
            }
        };
        let kind = ActionKind::Withdraw;
        let but = (!self.is_anchored(since)).then(|| (Guard::Vantage, format!("{}; {UNANCHORED}", finding.why)));
        Some(Wish::Want(Want { kind, rule, why: finding.why.clone(), authority: Authority::Rule, worth, but }))
    }

    /// What the strikes want: they nominate for slow, sporadic trouble, and what is seen now says what that is worth.
    fn struck(&self, memory: &NodeMemory) -> Option<Wish> {
        if !self.is_nominated(memory) || !classify::is_fresh(memory, self.sight) {
            return None;
        }
        let kind = ActionKind::Withdraw;
        let why = explain::strikes(self.policy, memory);
        let convict = &self.policy.convict;
        let convicting = memory.strikes.iter().filter(|strike| strike.is_from(convict)).count();
        if convicting * 100 < memory.strikes.len() * self.policy.convict_percent as usize {
            // The others corroborate: most of it must be about what users get.
            let probes: Vec<&str> = convict.iter().map(|probe| probe.name()).collect();
            let many = if convicting == 0 { "no strike".to_owned() } else { format!("{convicting} of them") };
            let why = format!("{why}; it still serves: {many} came from {}", probes.join(" or "));
            return Some(Wish::Tell(kind, Guard::StillServes, words::STRIKES, why));
        }
        // Strikes nominate, but what serves right now is not taken out; its next failing round will tell.
        let but = if memory.failed_rounds == 0 {
            Some((Guard::StillServes, format!("{why}; it serves again: {}", explain::last_round(memory))))
        } else if !memory.last_round.as_ref().is_some_and(Round::strikes) {
            let why = format!("{why}; it lives, and says that it has too much to do: {}", explain::last_round(memory));
            Some((Guard::StillServes, why))
        } else if classify::is_reached(&self.policy.evidence, self.sight, memory) {
            Some((Guard::Unconfirmed, format!("{why}; others reach it, so it is the way from here to there")))
        } else if self.situation.can.relays && memory.recent.silence.is_some() {
            // They will say, and if they see nothing either, its silence is hard evidence.
            Some((Guard::Unconfirmed, format!("{why}; it is silent, and others are asked whether they reach it")))
        } else if !is_confirmed(memory) {
            Some((Guard::Vantage, format!("{why}; {UNANCHORED}")))
        } else {
            None
        };
        let worth = self.worth_of_strikes(memory);
        let want = Want { kind, rule: words::STRIKES, why, authority: Authority::Rule, worth, but };
        Some(Wish::Want(want))
    }

    fn worth_of_strikes(&self, memory: &NodeMemory) -> Worth {
        let recent = &memory.recent;
        if recent.silence.is_some_and(|silence| self.is_steady(&silence)) {
            return Worth::Hard { confirmed: false };
        }
        // Shorter than that, it may be a blip of the way there like those before it.
        let steady = recent.service.filter(|service| self.is_steady(&service.any));
        match steady {
            Some(service) if service.failing == Failing::Refused => Worth::Hard { confirmed: true },
            Some(_) => Worth::Soft { whole: true },
            // Another process saw most of it, and all that is left of that are its strikes.
            None => self.worth_of_run(memory),
        }
    }

    /// Whether it has failed every time for long enough not to be chance.
    fn is_steady(&self, streak: &Streak) -> bool {
        streak.rounds >= self.policy.evidence.steady_rounds
            && streak.until.since(streak.since) >= self.policy.evidence.silent_alone
    }

    /// What the strikes of failing rounds in a row are worth by themselves: for those who look once a minute, each time in
    /// a process of its own.
    fn worth_of_run(&self, memory: &NodeMemory) -> Worth {
        let convict = &self.policy.convict;
        // Whoever lets fewer strikes nominate says that fewer are steady.
        let steady = self.policy.evidence.steady_rounds.min(self.policy.strikes.max(1));
        let Some(since) = memory.failed_since.filter(|_| memory.failed_rounds >= steady) else {
            return Worth::Soft { whole: false };
        };
        let run: Vec<&Strike> = memory.strikes.iter().filter(|strike| strike.at >= since).collect();
        if run.len() < steady as usize || !run.iter().all(|strike| strike.is_from(convict)) {
            return Worth::Soft { whole: false };
        }
        let faults = || run.iter().flat_map(|strike| &strike.faults);
        if faults().filter(|(probe, _)| convict.contains(probe)).all(|(_, fault)| *fault == Fault::Refused) {
            return Worth::Hard { confirmed: true };
        }
        let dead = |round: &Round| {
            !round.observations.iter().any(Observation::is_sign_of_life)
                && run.iter().all(|strike| round.observations.iter().all(|one| strike.is_from(&[one.probe])))
        };
        let lasts = self.sight.now.since(since) >= self.policy.evidence.silent_alone;
        if lasts && memory.last_round.as_ref().is_some_and(dead) && !faults().any(|(_, fault)| fault.is_sign_of_life())
        {
            return Worth::Hard { confirmed: false };
        }
        Worth::Soft { whole: true }
    }

    /// A node that was to go and is still in.
    fn leaving(&self, out: &Withdrawal, seat: &Seat<'_>, memory: &NodeMemory, published: &PublishedSets) -> Wish {
        let wish = match self.nominee(seat, memory) {
            wish @ Wish::Want(Want { but: None, .. }) if is_ours(out) => wish,
            // A part of it went: it comes back whole once it is well.
            _ if is_ours(out) && plan::places(seat.node, published).len() < out.places.len() => return Wish::Nothing,
            _ if self.is_stale(out) => return Wish::Drop,
            _ => return Wish::Nothing,
        };
        if self.may_ask(out) { wish } else { Wish::Nothing }
    }

    /// A node that is out.
    fn out(&self, out: &Withdrawal, node: &Node, memory: &NodeMemory, published: &PublishedSets) -> Wish {
        let may_ask = self.may_ask(out);
        let fresh = classify::is_fresh(memory, self.sight);
        let fails = fresh && is_confirmed(memory);
        if fails && is_ours(out) && out.returning_since.is_none() && plan::is_removable(node, published) {
            // It was the last of a set, and is not any more.
            let why = format!("{}; the rest of its addresses can go now", out.why);
            return if may_ask {
                Wish::want(ActionKind::Withdraw, out.rule.clone(), why, Authority::Rule, Worth::Settled)
            } else {
                Wish::Nothing
            };
        }
        let automatic = explain::is_automatic(self.policy) && !out.by_hand;
        if !automatic || !fresh || (out.returning_since.is_some() && !may_ask) {
            return Wish::Nothing;
        }
        if self.regrets(&node.id, out, memory) {
            let ago = self.sight.now.since(out.at).as_secs();
            let why = format!("it was taken out for soft evidence {ago} s ago, and since then others are in trouble");
            return Wish::want(ActionKind::Reinstate, words::REGRET, why, Authority::Rule, Worth::Undo);
        }
        self.comeback(out, node, memory, published)
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
                Wish::want(kind, words::HAND, why, authority, Worth::Settled)
            } else if plan::is_in(node, published) && !out.is_some_and(|out| out.seen_out) {
                Wish::Hold(kind, Guard::EmptySet, "every set it is in would be left without an address".to_owned())
            } else if out.is_some_and(|out| !out.by_hand) {
                Wish::Own(why)
            } else {
                Wish::Nothing
            };
        }
        let passes = classify::is_fresh(memory, self.sight) && memory.clean_rounds > 0;
        if !passes && !request.force {
            return Wish::Hold(kind, Guard::Unhealthy, format!("{}; --force overrides", explain::last_round(memory)));
        }
        if out.is_some_and(|out| !out.seen_out) {
            // It has not gone yet, and now it is not to.
            return Wish::Drop;
        }
        Wish::want(kind, words::HAND, why, authority, Worth::Settled)
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
                if let Some(why) = self.too_much_without(&node.id) {
                    return Wish::Hold(ActionKind::Withdraw, Guard::Capacity, format!("{}; {why}", says(pin)));
                }
                Wish::want(
                    ActionKind::Withdraw,
                    words::PIN,
                    format!("pinned out: {}", pin.reason),
                    Authority::Hand,
                    Worth::Settled,
                )
            }
            PinState::Out if plan::is_in(node, published) && !is_out => {
                let why = format!("{}; every set it is in would be left without an address", says(pin));
                Wish::Hold(ActionKind::Withdraw, Guard::EmptySet, why)
            }
            PinState::In if is_out => {
                if waits {
                    return Wish::Nothing;
                }
                Wish::want(
                    ActionKind::Reinstate,
                    words::PIN,
                    format!("pinned in: {}", pin.reason),
                    Authority::Hand,
                    Worth::Settled,
                )
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

    /// Whether the anchors have answered since `since`, and lately, where there are any.
    fn is_anchored(&self, since: Time) -> bool {
        let lately = |at: Time| self.sight.now.0.saturating_sub(at.0) <= self.sight.fresh_ms;
        !self.situation.has_anchors || self.anchored_at.is_some_and(|at| at >= since && lately(at))
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
