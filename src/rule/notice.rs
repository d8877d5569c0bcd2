//! What probes, load figures and other vantage points told since the last tick, into what is open about each node.
//!
//! Everything here goes by single observations in the order in which they were done, not by rounds: fast rounds overlap,
//! and evidence does not wait for a round's slowest probe.

use std::cmp::Ordering;

use crate::model::{
    Ask, AskOutcome, Check, EvidencePolicy, Failing, Fault, Load, LoadFigure, Memory, Node, NodeId, Observation,
    Outcome, Policy, ProbeKind, Recent, RuleSet, ServiceStreak, Situation, Streak, Time, Vantage,
};

use super::index::Index;
use super::sight::Sight;

/// Checks that are remembered of a node at the most, however fast somebody probes: a bound of memory and no threshold, since
/// the window holds 60 of a probe every 2 s.
const CHECKS: usize = 1024;

/// Brings what is open about every node up to now.
pub(super) fn notice(
    policy: &Policy,
    situation: &Situation<'_>,
    index: &Index<'_>,
    sight: &Sight,
    memory: &mut Memory,
) {
    if policy.rule == RuleSet::Classic {
        return;
    }
    if sight.anew || sight.vantage == Vantage::Isolated {
        memory.nodes.values_mut().for_each(|node| node.recent.forget());
    }
    if sight.vantage == Vantage::Isolated {
        return;
    }
    let seen = seen(situation, index, sight, memory.clear_since);
    let loads = sorted(situation.loads.iter(), index, |load| &load.node, |load| sight.placed(load.at));
    let asks = sorted(situation.asks.iter(), index, |ask| &ask.node, |ask| sight.placed(ask.at));
    let (mut seen, mut loads, mut asks) = (seen.as_slice(), loads.as_slice(), asks.as_slice());
    for (place, (node, remembered)) in situation.fleet.nodes.values().zip(memory.nodes.values_mut()).enumerate() {
        let recent = &mut remembered.recent;
        let before = recent.service_at;
        for (_, at, one) in of_node(&mut seen, place) {
            recent.see(policy, node, one, *at, before);
        }
        for (_, at, figure) in of_node(&mut loads, place) {
            recent.weigh(&policy.evidence, node, figure, *at);
        }
        for (_, at, ask) in of_node(&mut asks, place) {
            recent.hear(ask, *at);
        }
        recent.age(policy, sight);
    }
}

type Placed<'a, T> = (usize, Time, &'a T);

/// Takes the part of the node at `place` off the front of `list`.
fn of_node<'a, 'b, T>(list: &mut &'b [Placed<'a, T>], place: usize) -> &'b [Placed<'a, T>] {
    let many = list.iter().take_while(|(of, _, _)| *of == place).count();
    let (part, rest) = list.split_at(many);
    *list = rest;
    part
}

/// The observations to go by: by node, then in the order in which they were done, each once.
fn seen<'a>(
    situation: &Situation<'a>,
    index: &Index<'a>,
    sight: &Sight,
    clear_since: Option<Time>,
) -> Vec<Placed<'a, Observation>> {
    let many = index.rounds().iter().map(|(_, round)| round.observations.len()).sum();
    let mut seen: Vec<Placed<'a, Observation>> = Vec::with_capacity(many);
    let mut take = |place: usize, one: &'a Observation| {
        if matches!(one.outcome, Outcome::Inconclusive(_)) {
            return;
        }
        let at = sight.placed(one.at);
        // What was still under way when the anchors answered again began in the dark.
        let in_the_dark = clear_since.is_some_and(|since| since <= sight.now && began(one, at) < since);
        if !(in_the_dark && one.outcome != Outcome::Passed) {
            seen.push((place, at, one));
        }
    };
    match situation.sightings {
        Some(sightings) => {
            let mut near = 0;
            for (node, one) in sightings {
                if let Some(place) = index.place(node, &mut near) {
                    take(place, one);
                }
            }
        }
        None => {
            for (place, round) in index.rounds() {
                round.observations.iter().for_each(|one| take(*place, one));
            }
        }
    }
    seen.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| in_order(a.2, b.2)));
    seen.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1 && a.2 == b.2);
    seen
}

/// Two observations of the same moment are taken in the same order every time: what failed first, so that a success of the
/// same moment ends what it began.
fn in_order(a: &Observation, b: &Observation) -> Ordering {
    let passed = |one: &Observation| one.outcome == Outcome::Passed;
    (passed(a), a.probe, a.address)
        .cmp(&(passed(b), b.probe, b.address))
        .then_with(|| if a == b { Ordering::Equal } else { format!("{a:?}").cmp(&format!("{b:?}")) })
}

fn sorted<'a, T: std::fmt::Debug>(
    of: impl Iterator<Item = &'a T>,
    index: &Index<'_>,
    node: impl Fn(&T) -> &NodeId,
    at: impl Fn(&T) -> Time,
) -> Vec<Placed<'a, T>> {
    let mut near = 0;
    let mut placed: Vec<Placed<'a, T>> =
        of.filter_map(|one| Some((index.place(node(one), &mut near)?, at(one), one))).collect();
    placed.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| format!("{:?}", a.2).cmp(&format!("{:?}", b.2))));
    placed
}

fn began(one: &Observation, at: Time) -> Time {
    at.shifted(-i64::from(one.measured.total_us / 1000))
}

fn failing(fault: Fault) -> Failing {
    match fault {
        Fault::Refused => Failing::Refused,
        Fault::Unreachable | Fault::Reset | Fault::Timeout(_) | Fault::Lost => Failing::Unanswered,
        Fault::Tls(_)
        | Fault::Status(_)
        | Fault::Shedding(_)
        | Fault::Body
        | Fault::Protocol
        | Fault::HostKey
        | Fault::Auth
        | Fault::Exit(_) => Failing::Wrong(fault),
    }
}

fn is_alike(a: Failing, b: Failing) -> bool {
    match (a, b) {
        (Failing::Refused, Failing::Refused) | (Failing::Unanswered, Failing::Unanswered) => true,
        (Failing::Wrong(_), Failing::Wrong(_)) => true,
        (Failing::Refused | Failing::Unanswered | Failing::Wrong(_), _) => false,
    }
}

impl Streak {
    fn of(since: Time, until: Time) -> Self {
        Self { since: since.min(until), until, rounds: 1 }
    }

    fn grow(&mut self, until: Time, by: u32) {
        self.until = self.until.max(until);
        self.rounds = self.rounds.saturating_add(by);
    }
}

impl Recent {
    /// Everything that needs to be without a hole. What the node carries, and what is usual for it, stays.
    fn forget(&mut self) {
        *self = Self { usual_answer: self.usual_answer, load: self.load, ..Self::default() };
    }

    /// Takes in one observation. What was done before `before` came late: it is evidence, and ends no streak nor grows one.
    fn see(&mut self, policy: &Policy, node: &Node, one: &Observation, at: Time, before: Option<Time>) {
        let service = policy.convict.contains(&one.probe);
        let fault = one.outcome.fault();
        let shed = matches!(fault, Some(Fault::Shedding(_)));
        let failed = fault.is_some() && !shed;
        let life = one.is_sign_of_life();
        let late = before.is_some_and(|before| at <= before);
        if late && self.checks.iter().any(|check| check.at == at && check.probe == one.probe) {
            // Told twice, or as good as.
            return;
        }
        let first = node.addresses.first() == Some(&one.address);
        if life {
            self.live(&policy.evidence, at);
        }
        if service && !late {
            self.service_at = self.service_at.max(Some(at));
            match fault.filter(|_| failed) {
                Some(fault) => self.fail(&policy.evidence, failing(fault), began(one, at), at, first),
                None => self.service = None,
            }
            if failed && !life {
                self.fall_silent(began(one, at), at, first);
            }
        }
        self.doubt(service, failed, one.probe, at);
        let millis = |us: Option<u32>| us.map(|us| us / 1000);
        let (sent, received) = (one.measured.sent.unwrap_or(0), one.measured.received.unwrap_or(0));
        let check = Check {
            at,
            probe: one.probe,
            service,
            failed,
            shed,
            life,
            connect_ms: millis(one.measured.connect_us).map(|ms| u16::try_from(ms).unwrap_or(u16::MAX)),
            answer_ms: millis(one.measured.first_byte_us).filter(|_| service && !failed),
            sent,
            lost: sent.saturating_sub(received),
        };
        // Nearly always it is the newest.
        let later = self.checks.iter().rev().take_while(|other| other.at > at).count();
        self.checks.insert(self.checks.len() - later, check);
    }

    fn live(&mut self, policy: &EvidencePolicy, at: Time) {
        self.life_at = self.life_at.max(Some(at));
        if let Some(silence) = self.silence.filter(|silence| at >= silence.since) {
            if silence.rounds >= policy.falling_rounds {
                self.revived_at = Some(at);
            }
            self.silence = None;
            self.asked = crate::model::Asked::default();
        }
    }

    /// The service failed: alone, or once more.
    fn fail(&mut self, policy: &EvidencePolicy, how: Failing, began: Time, at: Time, first: bool) {
        // A round of a node with several addresses counts once.
        let by = u32::from(first);
        match &mut self.service {
            None => {
                let streak = Streak::of(began.max(self.passed_at().unwrap_or(began)), at);
                let refused = u32::from(how == Failing::Refused);
                let refused_at = (how == Failing::Refused).then_some(at);
                self.service = Some(ServiceStreak { any: streak, failing: how, same: streak, refused, refused_at });
            }
            Some(service) => {
                service.any.grow(at, by);
                let lately = service.refused_at.is_some_and(|refused| at.since(refused) <= policy.down_pause);
                if service.failing == Failing::Refused && how == Failing::Unanswered && lately {
                    service.same.grow(at, by);
                    return;
                }
                if is_alike(service.failing, how) {
                    service.same.grow(at, by);
                } else {
                    service.same = Streak::of(began.max(service.any.since), at);
                    service.refused = 0;
                }
                service.failing = how;
                if how == Failing::Refused {
                    service.refused = service.refused.saturating_add(by);
                    service.refused_at = Some(at);
                }
            }
        }
    }

    /// When the service last passed, as far as it is still known.
    fn passed_at(&self) -> Option<Time> {
        let passed = |check: &&Check| !check.failed && (check.answer_ms.is_some() || check.shed);
        self.checks.iter().rev().find(passed).map(|check| check.at)
    }

    fn fall_silent(&mut self, began: Time, at: Time, first: bool) {
        match &mut self.silence {
            None => self.silence = Some(Streak::of(began.max(self.life_at.unwrap_or(began)), at)),
            Some(silence) => silence.grow(at, u32::from(first)),
        }
    }

    /// A failure puts the node in doubt; passes of the service in a row end it. A probe that never passes, an ICMP filter
    /// say, says nothing new each time it fails.
    fn doubt(&mut self, service: bool, failed: bool, probe: ProbeKind, at: Time) {
        let passes = |check: &Check| check.probe == probe && !check.failed;
        if failed && (service || self.checks.iter().any(passes)) {
            self.doubt_since.get_or_insert(at);
            self.calm = 0;
        } else if service && !failed {
            self.calm = self.calm.saturating_add(1);
        }
    }

    /// A newer load figure.
    fn weigh(&mut self, policy: &EvidencePolicy, node: &Node, figure: &LoadFigure, at: Time) {
        let Some(tx_bps) = figure.tx_bps else { return };
        if self.load.is_some_and(|load| load.at > at) {
            return;
        }
        let smooth_bps = match self.load {
            Some(before) => {
                let over = i128::try_from(policy.load_smoothing.as_millis()).unwrap_or(i128::MAX / 8).max(2);
                // Whatever was not seen for longer moves it no more than this.
                let passed = i128::from(at.0.saturating_sub(before.at.0)).clamp(0, over * 4);
                let (old, new) = (i128::from(before.smooth_bps), i128::from(tx_bps));
                let moved = old + (new - old) * passed / (passed + over / 2);
                u64::try_from(moved).unwrap_or(0)
            }
            None => tx_bps,
        };
        let capacity_bps = figure.capacity_bps.or(node.capacity_bps);
        self.load = Some(Load { at, tx_bps, smooth_bps, capacity_bps, shed_step: figure.shed_step });
    }

    /// What somebody else found out about a node that is silent to us.
    fn hear(&mut self, ask: &Ask, at: Time) {
        if self.silence.is_none_or(|silence| at < silence.since) {
            return;
        }
        let asked = &mut self.asked;
        match ask.outcome {
            AskOutcome::Reached => {
                asked.reached_at = asked.reached_at.max(Some(at));
                asked.tries = 0;
                asked.since = None;
            }
            AskOutcome::Nothing => {
                asked.tries = asked.tries.saturating_add(ask.tries.max(1));
                asked.since.get_or_insert(at);
            }
            AskOutcome::Unknown => return,
        }
        asked.at = asked.at.max(Some(at));
    }

    /// What is too old to count goes.
    fn age(&mut self, policy: &Policy, sight: &Sight) {
        let window_ms = i64::try_from(policy.evidence.window.as_millis()).unwrap_or(i64::MAX);
        let oldest = sight.now.shifted(-window_ms);
        while self.checks.front().is_some_and(|check| check.at <= oldest) || self.checks.len() > CHECKS {
            self.checks.pop_front();
        }
        if self.calm >= policy.evidence.calm_rounds {
            self.doubt_since = None;
        }
    }

    /// Old failures must not convict a node again that has come back since.
    pub(super) fn forgive(&mut self) {
        self.checks.clear();
        (self.service, self.silence, self.soft, self.degraded, self.hard) = (None, None, None, None, None);
    }
}

#[cfg(test)]
mod tests;
