//! What is open about a node into the class of its evidence.

use crate::model::{Check, Evidence, EvidencePolicy, Failing, NodeMemory, ProbeKind, Streak, Time};

use super::sight::Sight;

/// What was found about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) class: Evidence,
    /// Whether it is evidence that overload does not produce.
    pub(super) hard: bool,
    /// Whether others looked as well and saw the same; or need not be asked, since the node's own kernel said it.
    pub(super) confirmed: bool,
    /// Words and numbers; none where there is nothing against the node.
    pub(super) why: String,
}

impl Finding {
    /// Evidence that overload produces.
    pub(super) fn is_soft(&self) -> bool {
        match self.class {
            Evidence::Hung => !self.hard,
            Evidence::Degraded | Evidence::Stressed | Evidence::Shedding => true,
            Evidence::Silent
            | Evidence::Down
            | Evidence::Broken
            | Evidence::Suspect
            | Evidence::Fine
            | Evidence::NoData => false,
        }
    }
}

/// One node, as the tests below see it.
#[derive(Debug)]
struct Case<'a> {
    policy: &'a EvidencePolicy,
    sight: &'a Sight,
    memory: &'a NodeMemory,
    counted: Counted,
}

/// What the checks in the window add up to. Those of a silence that lasts are left out: a dying node is no overload.
#[derive(Debug, Default)]
struct Counted {
    checks: u32,
    failed: u32,
    service_failed: u32,
    newest_failed: Option<Time>,
    slow_connects: u32,
    echoes: u32,
    lost: u32,
    /// Of the last few checks of the service.
    shed: u32,
    service: u32,
    /// The last answers of the service, ms.
    answers: Vec<u32>,
}

type Test = fn(&Case<'_>) -> Option<Finding>;

/// The classes in the order in which they are tried; the first whose test finds something is the node's.
const TABLE: [(Evidence, Test); 8] = [
    (Evidence::NoData, no_data),
    (Evidence::Silent, silent),
    (Evidence::Down, down),
    (Evidence::Hung, hung),
    (Evidence::Broken, broken),
    (Evidence::Degraded, degraded),
    (Evidence::Stressed, stressed),
    (Evidence::Shedding, shedding),
];

/// What is usual is remembered in sixteenths of a millisecond, so that steps of a sixty-fourth are not lost below 64 ms. That
/// is a unit, and the step how an average follows: neither is a threshold.
const PARTS: u32 = 16;
const STEP: u32 = 64;

/// The class of one node's evidence.
pub(super) fn classify(policy: &EvidencePolicy, sight: &Sight, memory: &NodeMemory) -> Finding {
    let case = Case { policy, sight, memory, counted: count(policy, memory) };
    for (class, test) in TABLE {
        if let Some(finding) = test(&case) {
            debug_assert_eq!(finding.class, class, "the table says what its tests find");
            return finding;
        }
    }
    suspect(&case).unwrap_or(Finding { class: Evidence::Fine, hard: false, confirmed: false, why: String::new() })
}

fn count(policy: &EvidencePolicy, memory: &NodeMemory) -> Counted {
    let recent = &memory.recent;
    // What came after the last sign of life may be the beginning of a death, and counts once there is another sign.
    let trails = |check: &Check| recent.life_at.is_none_or(|life| check.at > life);
    // Nor are a port that is refused and a service that answers wrongly each time: overload mixes.
    let steady = |check: &Check| {
        let streak = recent.service.filter(|service| service.failing != Failing::Unanswered);
        streak.is_some_and(|service| check.at >= service.same.since)
    };
    let pings_pass = recent.checks.iter().rev().any(|check| check.probe == ProbeKind::Ping && !check.failed);
    let most = policy.slow_answers as usize;
    let mut counted = Counted { answers: Vec::with_capacity(most), ..Counted::default() };
    for check in recent.checks.iter().rev() {
        if trails(check) || (check.failed && steady(check)) {
            continue;
        }
        let is_service = check.service;
        let is_ping = check.probe == ProbeKind::Ping && pings_pass;
        if is_ping {
            counted.echoes += u32::from(check.sent);
            counted.lost += u32::from(check.lost);
        }
        if is_service || is_ping {
            counted.checks += 1;
            counted.failed += u32::from(check.failed);
            if check.failed {
                counted.newest_failed = counted.newest_failed.max(Some(check.at));
            }
        }
        if is_service {
            counted.service_failed += u32::from(check.failed);
            counted.service += 1;
            if counted.service <= policy.shedding_of {
                counted.shed += u32::from(check.shed);
            }
            let slow = policy.slow_connect.as_millis();
            counted.slow_connects += u32::from(check.connect_ms.is_some_and(|ms| u128::from(ms) >= slow));
        }
        if let Some(answer) = check.answer_ms.filter(|_| counted.answers.len() < most) {
            counted.answers.push(answer);
        }
    }
    counted
}

fn no_data(case: &Case<'_>) -> Option<Finding> {
    let fresh = is_fresh(case.memory, case.sight);
    (!fresh).then(|| Finding {
        class: Evidence::NoData,
        hard: false,
        confirmed: false,
        why: "no fresh data".to_owned(),
    })
}

/// Whether there is a conclusive round of the node that is young enough to go by.
pub(super) fn is_fresh(memory: &NodeMemory, sight: &Sight) -> bool {
    memory.last_round.as_ref().is_some_and(|round| sight.now.0.saturating_sub(round.finished.0) <= sight.fresh_ms)
}

/// Whether somebody else reached, not long ago, a node that is silent to us.
pub(super) fn is_reached(policy: &EvidencePolicy, sight: &Sight, memory: &NodeMemory) -> bool {
    let asked = &memory.recent.asked;
    memory.recent.silence.is_some()
        && asked.reached_at.is_some_and(|at| sight.now.since(at) < policy.ask_age || asked.tries < policy.ask_tries)
}

fn silent(case: &Case<'_>) -> Option<Finding> {
    let (policy, now) = (case.policy, case.sight.now);
    let silence = case.memory.recent.silence?;
    if silence.rounds < policy.silent_rounds {
        return None;
    }
    let asked = &case.memory.recent.asked;
    let enough = asked.tries >= policy.ask_tries;
    let span = |since: Time| silence.until.since(since.max(silence.since));
    let seen = |words: String, confirmed| Finding {
        class: Evidence::Silent,
        hard: true,
        confirmed,
        why: format!("{} rounds over {} s without any sign of life; {words}", silence.rounds, seconds(&silence)),
    };
    if let Some(reached) = asked.reached_at {
        // Somebody saw it alive in this very silence: then others, too, must have seen nothing for long.
        return (enough && span(reached) >= policy.silent_seen).then(|| {
            let ago = now.since(reached).as_secs();
            seen(format!("others last reached it {ago} s ago, and not in {} tries since", asked.tries), true)
        });
    }
    if enough && span(silence.since) >= policy.silent_confirmed {
        return Some(seen(format!("others tried {} times and saw nothing", asked.tries), true));
    }
    (span(silence.since) >= policy.silent_alone).then(|| {
        let words = match asked.tries {
            0 => "nobody else could be asked".to_owned(),
            few => format!("others tried {few} times, too few to confirm it"),
        };
        seen(words, false)
    })
}

fn down(case: &Case<'_>) -> Option<Finding> {
    let service = case.memory.recent.service.filter(|service| service.failing == Failing::Refused)?;
    let same = &service.same;
    (service.refused >= case.policy.down_rounds && span(same) >= case.policy.down_span).then(|| Finding {
        class: Evidence::Down,
        hard: true,
        confirmed: true,
        why: format!("the service's port refused {} times over {} s", service.refused, seconds(same)),
    })
}

fn hung(case: &Case<'_>) -> Option<Finding> {
    let recent = &case.memory.recent;
    let service = recent.service.filter(|service| service.failing == Failing::Unanswered)?;
    let streak = &service.same;
    if is_falling(case) || streak.rounds < case.policy.hung_rounds {
        return None;
    }
    let idle = idle(case, streak);
    let needed = if idle.is_some() { case.policy.hung_idle_span } else { case.policy.hung_span };
    (span(streak) >= needed).then(|| {
        let load = match idle {
            Some(milli) => format!("it sends {} of what it can", percent(milli)),
            None => match load(case).filter(|load| load.at >= streak.since).and_then(|load| load.share_milli()) {
                Some(milli) => format!("it still sends {} of what it can", percent(milli)),
                None => "what it carries is not known".to_owned(),
            },
        };
        let why = format!(
            "the service did not answer {} times over {} s, and the host lives; {load}",
            streak.rounds,
            seconds(streak)
        );
        Finding { class: Evidence::Hung, hard: idle.is_some(), confirmed: true, why }
    })
}

/// What a node whose service does not answer sends, where that is as good as nothing: a figure of since it hangs.
fn idle(case: &Case<'_>, streak: &Streak) -> Option<u64> {
    let milli = load(case).filter(|load| load.at > streak.since)?.share_milli()?;
    (milli < u64::from(case.policy.idle_percent) * 10).then_some(milli)
}

/// Whether it has been silent for more than a lost packet or two.
fn is_falling(case: &Case<'_>) -> bool {
    case.memory.recent.silence.is_some_and(|silence| silence.rounds >= case.policy.falling_rounds)
}

fn load(case: &Case<'_>) -> Option<crate::model::Load> {
    fresh_load(case.policy, case.sight, case.memory)
}

/// The node's load figure, if it is young enough to go by.
pub(super) fn fresh_load(policy: &EvidencePolicy, sight: &Sight, memory: &NodeMemory) -> Option<crate::model::Load> {
    memory.recent.load.filter(|load| sight.now.since(load.at) <= policy.load_age)
}

fn broken(case: &Case<'_>) -> Option<Finding> {
    let service = case.memory.recent.service?;
    let Failing::Wrong(fault) = service.failing else { return None };
    let same = &service.same;
    (same.rounds >= case.policy.broken_rounds && span(same) >= case.policy.broken_span).then(|| Finding {
        class: Evidence::Broken,
        hard: false,
        confirmed: true,
        why: format!("the service answered wrongly {} times over {} s: {fault}", same.rounds, seconds(same)),
    })
}

fn degraded(case: &Case<'_>) -> Option<Finding> {
    let (policy, counted) = (case.policy, &case.counted);
    let lasts = counted.newest_failed.is_some_and(|at| case.sight.now.since(at) <= policy.degraded_ends);
    let many = counted.failed >= policy.degraded_checks
        && u64::from(counted.failed) * 100 >= u64::from(counted.checks) * u64::from(policy.degraded_percent);
    (many && lasts && !is_falling(case) && counted.service_failed > 0).then(|| Finding {
        class: Evidence::Degraded,
        hard: false,
        confirmed: false,
        why: format!("{} of {} checks failed in {} s", counted.failed, counted.checks, policy.window.as_secs()),
    })
}

fn stressed(case: &Case<'_>) -> Option<Finding> {
    let (policy, counted) = (case.policy, &case.counted);
    if is_falling(case) {
        return None;
    }
    let slow = slow_answers(case);
    let lossy = counted.lost >= policy.lost_echoes
        && u64::from(counted.lost) * 100 >= u64::from(counted.echoes) * u64::from(policy.lost_percent);
    let why = if let Some((median, usual)) = slow {
        format!("half of the last answers took {median} ms or more, and {usual} ms is usual")
    } else if counted.slow_connects >= policy.slow_connects {
        format!("{} handshakes took {} ms or more", counted.slow_connects, policy.slow_connect.as_millis())
    } else if lossy {
        format!("{} of {} echoes were lost", counted.lost, counted.echoes)
    } else {
        return None;
    };
    Some(Finding { class: Evidence::Stressed, hard: false, confirmed: false, why })
}

/// The median answer and the usual one, ms, where the first is much more than the second.
fn slow_answers(case: &Case<'_>) -> Option<(u32, u32)> {
    if case.counted.answers.len() < case.policy.slow_answers as usize / 2 {
        return None;
    }
    let median = median(&case.counted.answers)?;
    let usual = case.memory.recent.usual_answer? / PARTS;
    let extra = u32::try_from(case.policy.slow_extra.as_millis()).unwrap_or(u32::MAX);
    let limit = usual.saturating_mul(case.policy.slow_factor).saturating_add(extra);
    (median > limit).then_some((median, usual))
}

fn median(of: &[u32]) -> Option<u32> {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn shedding(case: &Case<'_>) -> Option<Finding> {
    let counted = &case.counted;
    (counted.shed >= case.policy.shedding_answers).then(|| Finding {
        class: Evidence::Shedding,
        hard: false,
        confirmed: false,
        why: format!(
            "{} of its last {} answers said too much",
            counted.shed,
            counted.service.min(case.policy.shedding_of)
        ),
    })
}

fn suspect(case: &Case<'_>) -> Option<Finding> {
    let recent = &case.memory.recent;
    let why = match (recent.silence, recent.service) {
        (Some(silence), _) => {
            format!("{} without a sign of life, over {} s", rounds(silence.rounds), seconds(&silence))
        }
        (None, Some(service)) => {
            format!("the service failed {} over {} s", times(service.any.rounds), seconds(&service.any))
        }
        (None, None) if case.memory.failed_rounds > 0 => super::explain::last_round(case.memory),
        (None, None) => return None,
    };
    Some(Finding { class: Evidence::Suspect, hard: false, confirmed: false, why })
}

/// Learns what is usual of a node that has nothing against it. A step of a sixty-fourth towards each answer follows the
/// median, not the mean: a few late ones do not matter.
pub(super) fn learn(policy: &EvidencePolicy, memory: &mut NodeMemory, finding: &Finding, newest: Option<Time>) {
    let recent = &mut memory.recent;
    if finding.class != Evidence::Fine || recent.doubt_since.is_some() {
        return;
    }
    match &mut recent.usual_answer {
        None => {
            let all: Vec<u32> = recent.checks.iter().filter_map(|check| check.answer_ms).collect();
            if all.len() >= policy.slow_answers as usize / 2 {
                recent.usual_answer = median(&all).map(|ms| ms.saturating_mul(PARTS));
            }
        }
        Some(usual) => {
            let later = recent.checks.iter().rev().take_while(|check| newest.is_none_or(|newest| check.at > newest));
            let later = recent.checks.range(recent.checks.len() - later.count()..);
            for answer in later.filter_map(|check| check.answer_ms) {
                let step = (*usual / STEP).max(1);
                match answer.saturating_mul(PARTS).cmp(usual) {
                    std::cmp::Ordering::Less => *usual = usual.saturating_sub(step),
                    std::cmp::Ordering::Equal => {}
                    std::cmp::Ordering::Greater => *usual = usual.saturating_add(step),
                }
            }
        }
    }
}

fn span(streak: &Streak) -> std::time::Duration {
    streak.until.since(streak.since)
}

fn seconds(streak: &Streak) -> u64 {
    span(streak).as_secs()
}

/// `0.874` as `87.4 %`.
pub(super) fn percent(milli: u64) -> String {
    format!("{}.{} %", milli / 10, milli % 10)
}

fn rounds(count: u32) -> String {
    if count == 1 { "1 round".to_owned() } else { format!("{count} rounds") }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times in a row") }
}

#[cfg(test)]
mod tests;
