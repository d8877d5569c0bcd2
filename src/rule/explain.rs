//! The words of a judgement, with the numbers it went by.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{NodeMemory, Outcome, Policy, Reinstatement, RuleSet};

/// Whether what the rule took out comes back by the rule.
pub(super) fn is_automatic(policy: &Policy) -> bool {
    policy.reinstate == Reinstatement::Auto && policy.rule == RuleSet::Witness
}

/// How long the node must pass everything before it comes back: doubled by every withdrawal of the last 24 h but the first.
pub(super) fn probation(policy: &Policy, memory: &NodeMemory) -> Duration {
    let doublings = u32::try_from(memory.withdrawals.len().saturating_sub(1)).unwrap_or(u32::MAX).min(20);
    policy.probation.saturating_mul(1 << doublings).min(policy.probation_max.max(policy.probation))
}

/// `4 strikes in 60m (4 nominate): https timeout:connect x4, ping lost x3; from 12:00:00 to 12:03:00`.
pub(super) fn strikes(policy: &Policy, memory: &NodeMemory) -> String {
    let mut faults: BTreeMap<String, u32> = BTreeMap::new();
    for (probe, fault) in memory.strikes.iter().flat_map(|strike| &strike.faults) {
        *faults.entry(format!("{probe} {fault}")).or_default() += 1;
    }
    let listed: Vec<String> = faults.iter().map(|(fault, times)| format!("{fault} x{times}")).collect();
    let span = match (memory.strikes.first(), memory.strikes.last()) {
        (Some(first), Some(last)) => format!("; over {} s", last.at.since(first.at).as_secs()),
        _ => String::new(),
    };
    format!(
        "{} strikes in {} min ({} nominate): {}{span}",
        memory.strikes.len(),
        policy.window.as_secs() / 60,
        policy.strikes,
        listed.join(", ")
    )
}

/// `last round failed: https timeout:connect, ping lost` or `last 12 rounds clean`.
pub(super) fn last_round(memory: &NodeMemory) -> String {
    let Some(round) = &memory.last_round else { return "no round yet".to_owned() };
    let mut faults: Vec<String> = round.faults().map(|(probe, fault)| format!("{probe} {fault}")).collect();
    faults.dedup();
    if !faults.is_empty() {
        return format!("last {} failed: {}", rounds(memory.failed_rounds), faults.join(", "));
    }
    let unknown = round.observations.iter().filter(|one| matches!(one.outcome, Outcome::Inconclusive(_))).count();
    match unknown {
        // Most nodes of most ticks.
        0 if memory.clean_rounds != 1 => format!("last {} rounds clean", memory.clean_rounds),
        0 => "last round clean".to_owned(),
        some => format!("last {} clean, {some} of its probes inconclusive", rounds(memory.clean_rounds)),
    }
}

fn rounds(count: u32) -> String {
    if count == 1 { "round".to_owned() } else { format!("{count} rounds") }
}
