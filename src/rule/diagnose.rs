//! What to call it: findings into verdicts, for a node and for the fleet. Verdicts explain; they convict nobody.

use std::collections::BTreeMap;

use crate::model::{
    Action, ActionKind, Evidence, Fault, FleetVerdict, NodeJudgement, NodeMemory, NodeVerdict, Observation, Outcome,
    Pin, Policy, PoolId, ProbeKind, RuleId, RuleSet, Stage, Time, Vantage, Withdrawal,
};

use super::classify::{Finding, is_fresh, is_reached};
use super::comeback::penalty;
use super::crowd::State;
use super::sight::Sight;
use super::{explain, words};

/// One node, with everything that its name depends on.
pub(super) struct Case<'a> {
    pub(super) policy: &'a Policy,
    pub(super) sight: &'a Sight,
    pub(super) memory: &'a NodeMemory,
    pub(super) finding: &'a Finding,
    pub(super) pin: Option<&'a Pin>,
    /// Why it is out of DNS, or is to be.
    pub(super) out: Option<&'a Withdrawal>,
}

impl Case<'_> {
    /// What the node is.
    pub(super) fn verdict(&self) -> NodeVerdict {
        if self.pin.is_some() {
            return NodeVerdict::Maintenance;
        }
        if !is_fresh(self.memory, self.sight) {
            return NodeVerdict::Unknown;
        }
        if self.is_asleep() {
            return self.by_rounds();
        }
        match self.finding.class {
            Evidence::NoData => NodeVerdict::Unknown,
            Evidence::Silent => NodeVerdict::Dead,
            _ if self.is_partitioned() => NodeVerdict::Partitioned,
            Evidence::Down => NodeVerdict::Down,
            Evidence::Hung => NodeVerdict::Hung,
            Evidence::Broken => NodeVerdict::Broken,
            Evidence::Degraded | Evidence::Stressed | Evidence::Shedding => NodeVerdict::Degraded,
            Evidence::Suspect if self.lasts() => self.by_rounds(),
            Evidence::Suspect => NodeVerdict::Suspect,
            Evidence::Fine if self.penalty() > self.policy.comeback.reuse => NodeVerdict::Flapping,
            Evidence::Fine if self.out.is_some() => NodeVerdict::Recovering,
            Evidence::Fine => NodeVerdict::Healthy,
        }
    }

    /// The rule that spoke of a node to which nothing is done, and why.
    pub(super) fn reason(&self, verdict: NodeVerdict) -> (RuleId, String) {
        let memory = self.memory;
        if self.sight.vantage == Vantage::Isolated {
            return (words::ISOLATED, "our own network is down: nothing is concluded".to_owned());
        }
        if let Some(out) = self.out {
            let why = if out.by_hand || !explain::is_automatic(self.policy) {
                format!("{}; only a person puts it back; {}", out.why, explain::last_round(memory))
            } else {
                let need = explain::probation(self.policy, memory).as_secs();
                format!("{}; back after {need} s without a fault; {}", out.why, explain::last_round(memory))
            };
            return (words::OUT, why);
        }
        if verdict == NodeVerdict::Unknown {
            return (words::NO_DATA, "no fresh data".to_owned());
        }
        if !self.is_asleep() {
            if self.finding.class != Evidence::Silent && self.is_partitioned() {
                return (words::PARTITIONED, format!("{}; others reach it", self.finding.why));
            }
            if let Some(rule) = self.evident() {
                return (rule, self.finding.why.clone());
            }
        }
        if memory.strikes.is_empty() {
            if !self.is_asleep() && self.finding.class == Evidence::Suspect {
                return (words::SUSPECT, self.finding.why.clone());
            }
            return (words::CLEAN, explain::last_round(memory));
        }
        let enough = memory.strikes.len() >= self.policy.strikes as usize;
        let rule = if enough { words::STRIKES } else { words::STRUCK };
        (rule, format!("{}; {}", explain::strikes(self.policy, memory), explain::last_round(memory)))
    }

    /// The rule of the node's evidence, where it has one of its own.
    fn evident(&self) -> Option<RuleId> {
        match self.finding.class {
            Evidence::Silent => Some(words::SILENT),
            Evidence::Down => Some(words::DOWN),
            Evidence::Hung if self.finding.hard => Some(words::IDLE),
            Evidence::Hung => Some(words::HUNG),
            Evidence::Broken => Some(words::BROKEN),
            Evidence::Degraded => Some(words::DEGRADED),
            Evidence::Stressed => Some(words::STRESSED),
            Evidence::Shedding => Some(words::SHEDDING),
            Evidence::Suspect | Evidence::Fine | Evidence::NoData => None,
        }
    }

    /// Whether there is no evidence to go by but the rounds: the original script gathers none, nor does one that is cut off.
    fn is_asleep(&self) -> bool {
        self.policy.rule == RuleSet::Classic || self.sight.vantage == Vantage::Isolated
    }

    fn is_partitioned(&self) -> bool {
        let silent =
            self.memory.recent.silence.is_some_and(|silence| silence.rounds >= self.policy.evidence.falling_rounds);
        silent && is_reached(&self.policy.evidence, self.sight, self.memory)
    }

    fn penalty(&self) -> u32 {
        penalty(&self.policy.comeback, self.memory, self.sight.now)
    }

    /// Whether it fails for so long that it deserves a name, though too few of its checks say the same.
    fn lasts(&self) -> bool {
        if self.out.is_some() {
            return true;
        }
        let recent = &self.memory.recent;
        let begun = [
            recent.silence.map(|silence| silence.since),
            recent.service.map(|service| service.any.since),
            recent.doubt_since,
            // It may have been failing before there was anybody to gather evidence.
            self.memory.failed_since,
        ];
        let since = begun.into_iter().flatten().min();
        since.is_none_or(|since| self.sight.now.since(since) >= self.policy.evidence.silent_alone)
    }

    /// A name by rounds alone.
    fn by_rounds(&self) -> NodeVerdict {
        match self.memory.failed_rounds {
            0 if self.out.is_some() => NodeVerdict::Recovering,
            0 => NodeVerdict::Healthy,
            few if few < self.policy.evidence.named_rounds => NodeVerdict::Suspect,
            _ => {
                self.memory.last_round.as_ref().map_or(NodeVerdict::Unknown, |round| name_failure(&round.observations))
            }
        }
    }
}

fn name_failure(seen: &[Observation]) -> NodeVerdict {
    if !seen.iter().any(Observation::is_sign_of_life) {
        return NodeVerdict::Dead;
    }
    let service: Vec<Outcome> = seen
        .iter()
        .filter(|one| one.probe == ProbeKind::Https && !matches!(one.outcome, Outcome::Inconclusive(_)))
        .map(|one| one.outcome)
        .collect();
    if service.is_empty() || service.contains(&Outcome::Passed) {
        return NodeVerdict::Degraded;
    }
    let all = |test: fn(Fault) -> bool| service.iter().all(|outcome| outcome.fault().is_some_and(test));
    if all(|fault| fault == Fault::Refused) {
        NodeVerdict::Down
    } else if all(|fault| matches!(fault, Fault::Shedding(_))) {
        NodeVerdict::Degraded
    } else if all(|fault| matches!(fault, Fault::Tls(_) | Fault::Status(_) | Fault::Body | Fault::Protocol)) {
        NodeVerdict::Broken
    } else if all(|fault| {
        matches!(
            fault,
            Fault::Timeout(Stage::Connect | Stage::Tls | Stage::Request | Stage::Body)
                | Fault::Reset
                | Fault::Unreachable
        )
    }) {
        NodeVerdict::Hung
    } else {
        NodeVerdict::Degraded
    }
}

/// What the fleet is in, by which rule, and why.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) verdict: FleetVerdict,
    pub(super) rule: RuleId,
    pub(super) why: String,
}

/// What the fleet looks like, from what its pools are in and from the verdicts of its nodes. Of several pools the worst
/// speaks.
pub(super) fn fleet(nodes: &[NodeJudgement], states: &BTreeMap<PoolId, State>, sight: &Sight) -> Whole {
    let whole = |verdict, rule, why: String| Whole { verdict, rule, why };
    match sight.vantage {
        Vantage::Isolated => {
            return whole(FleetVerdict::Isolated, words::ISOLATED, "the anchors do not answer".to_owned());
        }
        Vantage::Blind => {
            let why = "too few ticks since a start, a gap or a clock step".to_owned();
            return whole(FleetVerdict::Blind, words::NO_DATA, why);
        }
        Vantage::Clear => {}
    }
    let judged =
        || nodes.iter().filter(|node| !matches!(node.verdict, NodeVerdict::Maintenance | NodeVerdict::Unknown));
    if judged().next().is_none() {
        return whole(FleetVerdict::Blind, words::NO_DATA, "no fresh data of any node".to_owned());
    }
    let worst = states.iter().filter_map(|(pool, state)| Some((pool, state.verdict()?)));
    if let Some((pool, (verdict, rule, why))) = worst.min_by_key(|(_, (verdict, _, _))| badness(*verdict)) {
        let why = if states.len() > 1 { format!("pool {pool}: {why}") } else { why.to_owned() };
        return whole(verdict, rule, why);
    }
    let well = |node: &&NodeJudgement| matches!(node.verdict, NodeVerdict::Healthy | NodeVerdict::Recovering);
    let sick: Vec<String> =
        judged().filter(|node| !well(node)).map(|node| format!("{} ({})", node.node, node.verdict)).collect();
    let verdict = match sick.len() {
        0 => return whole(FleetVerdict::Normal, words::CLEAN, String::new()),
        1 => FleetVerdict::SingleFault,
        _ => FleetVerdict::MultiFault,
    };
    let (some, more) = sick.split_at(sick.len().min(8));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    let why = format!("{} of {} nodes in trouble: {}{more}", sick.len(), judged().count(), some.join(", "));
    whole(verdict, words::FAULTS, why)
}

/// Worst first.
fn badness(verdict: FleetVerdict) -> u8 {
    match verdict {
        FleetVerdict::Dark => 0,
        FleetVerdict::Overload => 1,
        FleetVerdict::PathTrouble => 2,
        FleetVerdict::CommonFault => 3,
        FleetVerdict::Isolated
        | FleetVerdict::Blind
        | FleetVerdict::MultiFault
        | FleetVerdict::SingleFault
        | FleetVerdict::Normal => 4,
    }
}

impl Whole {
    /// What a person is to be told of it: once, when it begins or has been gone for a while. What cannot be seen changes
    /// nothing of what was told.
    pub(super) fn news(&self, policy: &Policy, now: Time, told: &mut Vec<(FleetVerdict, Time)>) -> Option<Action> {
        match self.verdict {
            FleetVerdict::Isolated | FleetVerdict::Blind => None,
            FleetVerdict::Normal | FleetVerdict::SingleFault | FleetVerdict::MultiFault => None,
            FleetVerdict::Dark | FleetVerdict::Overload | FleetVerdict::PathTrouble | FleetVerdict::CommonFault => {
                told.retain(|(_, at)| now.since(*at) < policy.tell_again);
                let known = told.iter_mut().find(|(verdict, _)| *verdict == self.verdict);
                if let Some((_, at)) = known {
                    *at = now;
                    return None;
                }
                told.push((self.verdict, now));
                Some(Action {
                    kind: ActionKind::Alert,
                    node: None,
                    pool: None,
                    step: None,
                    rule: self.rule.clone(),
                    why: format!("{}: {}", self.verdict, self.why),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
