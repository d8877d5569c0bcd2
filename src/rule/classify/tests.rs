//! Every class of evidence, each of its numbers met and just missed.

use super::*;
use crate::model::{Asked, Fault, Load, Observation, OwnFault, Policy, Round, ServiceStreak, Stage, Vantage};
use crate::rule::sight::Sight;

/// Now; times are told in seconds before it.
const NOW: Time = Time(1_700_000_000_000);

fn ago(seconds: u64) -> Time {
    NOW.minus(std::time::Duration::from_secs(seconds))
}

fn streak(since: u64, until: u64, rounds: u32) -> Streak {
    Streak { since: ago(since), until: ago(until), rounds }
}

/// A node that was seen a moment ago, and of which nothing is open.
fn seen() -> NodeMemory {
    let mut memory = NodeMemory::default();
    let id = crate::model::Name::new("n1").expect("a name");
    memory.last_round = Some(Round { node: id, started: ago(1), finished: NOW, observations: Vec::new() });
    memory.recent.life_at = Some(NOW);
    memory
}

fn found(memory: &NodeMemory) -> Finding {
    classify(&Policy::default().evidence, &Sight::at(NOW, Vantage::Clear, 30_000), memory)
}

#[track_caller]
fn check(memory: &NodeMemory, class: Evidence) {
    let finding = found(memory);
    assert_eq!(finding.class, class, "{}", finding.why);
}

/// A check of the service that passed, `seconds` ago.
fn passed(seconds: u64) -> Check {
    Check {
        at: ago(seconds),
        probe: ProbeKind::Https,
        service: true,
        failed: false,
        shed: false,
        life: true,
        connect_ms: Some(10),
        answer_ms: Some(50),
        sent: 0,
        lost: 0,
    }
}

fn failed(seconds: u64) -> Check {
    Check { failed: true, life: false, connect_ms: None, answer_ms: None, ..passed(seconds) }
}

fn ping(seconds: u64, lost: u16) -> Check {
    let check = Check { probe: ProbeKind::Ping, service: false, connect_ms: None, answer_ms: None, ..passed(seconds) };
    Check { sent: 3, lost, failed: lost == 3, ..check }
}

/// What is open of a node with these checks, oldest first.
fn with(checks: impl IntoIterator<Item = Check>) -> NodeMemory {
    let mut memory = seen();
    memory.recent.checks = checks.into_iter().collect();
    memory
}

#[test]
fn what_is_old_is_no_data() {
    let mut memory = seen();
    check(&memory, Evidence::Fine);
    let finished = |memory: &mut NodeMemory, at| memory.last_round.as_mut().expect("it is there").finished = at;
    finished(&mut memory, ago(30));
    check(&memory, Evidence::Fine);
    finished(&mut memory, ago(30).minus(std::time::Duration::from_millis(1)));
    check(&memory, Evidence::NoData);
    check(&NodeMemory::default(), Evidence::NoData);
}

fn silent_for(seconds: u64, rounds: u32) -> NodeMemory {
    let mut memory = seen();
    memory.recent.silence = Some(streak(seconds, 0, rounds));
    memory.recent.life_at = Some(ago(seconds));
    memory
}

#[test]
fn silence_that_nobody_confirms() {
    check(&silent_for(38, 7), Evidence::Silent);
    check(&silent_for(37, 7), Evidence::Suspect);
    check(&silent_for(38, 6), Evidence::Suspect);
    let finding = found(&silent_for(38, 7));
    assert!(finding.hard && !finding.confirmed && !finding.is_soft(), "{finding:?}");
}

#[test]
fn silence_that_others_confirm() {
    let asked = |seconds, tries| {
        let mut memory = silent_for(seconds, 7);
        memory.recent.asked = Asked { tries, ..Asked::default() };
        memory
    };
    check(&asked(12, 6), Evidence::Silent);
    check(&asked(11, 6), Evidence::Suspect);
    check(&asked(12, 5), Evidence::Suspect);
    assert!(found(&asked(12, 6)).confirmed && found(&asked(38, 6)).confirmed);
    assert!(!found(&asked(38, 5)).confirmed);
}

#[test]
fn silence_that_others_did_not_have() {
    let reached = |seconds, reached, tries| {
        let mut memory = silent_for(seconds, 7);
        memory.recent.asked = Asked { tries, reached_at: Some(ago(reached)), ..Asked::default() };
        memory
    };
    check(&reached(100, 60, 6), Evidence::Silent);
    check(&reached(100, 59, 6), Evidence::Suspect);
    check(&reached(100, 60, 5), Evidence::Suspect);
    // It counts from when the silence began, not from before.
    check(&reached(59, 100, 6), Evidence::Suspect);
    check(&reached(60, 100, 6), Evidence::Silent);
    let policy = Policy::default().evidence;
    let sight = Sight::at(NOW, Vantage::Clear, 30_000);
    // Others reach it: not long ago, or nobody has tried often enough since.
    assert!(is_reached(&policy, &sight, &reached(100, 29, 6)));
    assert!(is_reached(&policy, &sight, &reached(100, 60, 5)));
    assert!(!is_reached(&policy, &sight, &reached(100, 30, 6)));
    assert!(!is_reached(&policy, &sight, &silent_for(100, 7)));
    let mut lives = reached(100, 29, 6);
    lives.recent.silence = None;
    assert!(!is_reached(&policy, &sight, &lives));
}

fn service(failing: Failing, same: Streak, refused: u32) -> NodeMemory {
    let mut memory = seen();
    memory.recent.service = Some(ServiceStreak { any: same, failing, same, refused, refused_at: None });
    memory
}

#[test]
fn a_refused_port() {
    check(&service(Failing::Refused, streak(8, 0, 4), 4), Evidence::Down);
    check(&service(Failing::Refused, streak(8, 0, 4), 3), Evidence::Suspect);
    check(&service(Failing::Refused, streak(7, 0, 4), 4), Evidence::Suspect);
    check(&service(Failing::Unanswered, streak(8, 0, 4), 4), Evidence::Suspect);
    let finding = found(&service(Failing::Refused, streak(8, 0, 4), 4));
    assert!(finding.hard && finding.confirmed && !finding.is_soft(), "{finding:?}");
}

fn carries(mut memory: NodeMemory, at: Time, percent: u64) -> NodeMemory {
    let tx_bps = percent * 10;
    memory.recent.load = Some(Load { at, tx_bps, smooth_bps: tx_bps, capacity_bps: Some(1000), shed_step: None });
    memory
}

#[test]
fn a_service_that_hangs() {
    let hangs = |seconds, rounds| service(Failing::Unanswered, streak(seconds, 0, rounds), 0);
    check(&hangs(60, 8), Evidence::Hung);
    check(&hangs(59, 8), Evidence::Suspect);
    check(&hangs(60, 7), Evidence::Suspect);
    assert!(found(&hangs(60, 8)).is_soft());
    // It sends next to nothing.
    check(&carries(hangs(20, 8), NOW, 9), Evidence::Hung);
    assert!(found(&carries(hangs(20, 8), NOW, 9)).hard);
    check(&carries(hangs(19, 8), NOW, 9), Evidence::Suspect);
    check(&carries(hangs(20, 8), NOW, 10), Evidence::Suspect);
    let busy = found(&carries(hangs(60, 8), NOW, 10));
    assert!(busy.class == Evidence::Hung && !busy.hard && busy.is_soft(), "{busy:?}");
    // What it sent before it began to hang says nothing, nor does a figure that is old.
    check(&carries(hangs(20, 8), ago(20), 0), Evidence::Suspect);
    check(&carries(hangs(20, 8), ago(19), 0), Evidence::Hung);
    assert!(found(&carries(hangs(100, 8), ago(60), 0)).hard);
    assert!(!found(&carries(hangs(100, 8), ago(61), 0)).hard);
    // Nothing of it lives: that is for silence to say.
    let silent = |rounds| {
        let mut memory = hangs(60, 8);
        memory.recent.silence = Some(streak(20, 0, rounds));
        memory
    };
    check(&silent(1), Evidence::Hung);
    check(&silent(2), Evidence::Suspect);
}

#[test]
fn a_service_that_answers_wrongly() {
    let wrong = |seconds, rounds| service(Failing::Wrong(Fault::Status(500)), streak(seconds, 0, rounds), 0);
    check(&wrong(60, 5), Evidence::Broken);
    check(&wrong(59, 5), Evidence::Suspect);
    check(&wrong(60, 4), Evidence::Suspect);
    assert!(!found(&wrong(60, 5)).is_soft() && !found(&wrong(60, 5)).hard);
}

/// `fail` failed checks of `all`, the newest so many seconds ago.
fn some_failed(fail: u64, all: u64, newest: u64) -> NodeMemory {
    with((0..all).rev().map(|turn| if turn < fail { failed(newest + turn) } else { passed(newest + turn) }))
}

#[test]
fn checks_of_which_some_fail() {
    check(&some_failed(4, 40, 0), Evidence::Degraded);
    check(&some_failed(3, 12, 0), Evidence::Fine);
    check(&some_failed(4, 41, 0), Evidence::Fine);
    check(&some_failed(4, 40, 60), Evidence::Degraded);
    check(&some_failed(4, 40, 61), Evidence::Fine);
    assert!(found(&some_failed(4, 40, 0)).is_soft());
    // Pings count as well, where they pass at all; without any failure of the service they are only loss.
    let pings = |service: bool, any: bool| {
        let one = if service { failed(1) } else { passed(1) };
        let last = if any { ping(0, 0) } else { passed(0) };
        with([ping(7, 3), ping(6, 3), ping(5, 3), ping(4, 3), one, last])
    };
    check(&pings(true, true), Evidence::Degraded);
    check(&pings(false, true), Evidence::Stressed);
    check(&pings(true, false), Evidence::Fine);
    // SSH counts for nothing here.
    let ssh = |check: Check| Check { probe: ProbeKind::Ssh, service: false, ..check };
    check(&with((1..9).rev().map(failed).map(ssh)), Evidence::Fine);
}

#[test]
fn what_came_after_the_last_sign_of_life_waits() {
    let mut memory = some_failed(4, 40, 0);
    memory.recent.life_at = Some(ago(1));
    check(&memory, Evidence::Fine);
    memory.recent.life_at = Some(NOW);
    check(&memory, Evidence::Degraded);
    memory.recent.silence = Some(streak(3, 0, 2));
    check(&memory, Evidence::Suspect);
    memory.recent.silence = Some(streak(3, 0, 1));
    check(&memory, Evidence::Degraded);
    memory.recent.life_at = None;
    check(&memory, Evidence::Suspect);
}

#[test]
fn what_fails_alike_each_time_is_no_mixture() {
    let of = |failing, since: u64| {
        let mut memory = some_failed(5, 12, 0);
        let same = streak(since, 0, 3);
        memory.recent.service = Some(ServiceStreak { any: same, failing, same, refused: 3, refused_at: None });
        memory
    };
    // Those since the streak began are left out: too few are left, or enough.
    check(&of(Failing::Refused, 1), Evidence::Suspect);
    check(&of(Failing::Refused, 0), Evidence::Degraded);
    check(&of(Failing::Wrong(Fault::Body), 1), Evidence::Suspect);
    check(&of(Failing::Unanswered, 1), Evidence::Degraded);
}

#[test]
fn answers_that_come_late() {
    let late = |late: u64, all: u64, ms: u32| {
        let answer = |turn| Check { answer_ms: Some(if turn < late { ms } else { 100 }), ..passed(turn) };
        let mut memory = with((0..all).rev().map(answer));
        memory.recent.usual_answer = Some(100 * 16);
        memory
    };
    // Three times the usual and 300 ms more, by more than half of the last twelve.
    check(&late(6, 12, 601), Evidence::Stressed);
    check(&late(6, 12, 600), Evidence::Fine);
    check(&late(5, 12, 601), Evidence::Fine);
    check(&late(6, 20, 601), Evidence::Stressed);
    check(&late(5, 20, 601), Evidence::Fine);
    check(&late(6, 6, 601), Evidence::Stressed);
    check(&late(5, 5, 601), Evidence::Fine);
    let mut unknown = late(12, 12, 601);
    unknown.recent.usual_answer = None;
    check(&unknown, Evidence::Fine);
    // Their order says nothing.
    let answers = [700, 100, 700, 100, 700, 100, 700];
    let mut mixed =
        with((0..7).rev().map(|turn: u64| Check { answer_ms: Some(answers[turn as usize]), ..passed(turn) }));
    mixed.recent.usual_answer = Some(100 * 16);
    check(&mixed, Evidence::Stressed);
}

#[test]
fn handshakes_that_come_late() {
    let late = |many: u64, ms| {
        let shake = |turn| Check { connect_ms: Some(if turn < many { ms } else { 20 }), ..passed(turn) };
        with((0..12).rev().map(shake))
    };
    check(&late(3, 900), Evidence::Stressed);
    check(&late(3, 899), Evidence::Fine);
    check(&late(2, 900), Evidence::Fine);
    let mut falls = late(3, 900);
    falls.recent.silence = Some(streak(3, 0, 2));
    check(&falls, Evidence::Suspect);
}

#[test]
fn echoes_that_are_lost() {
    // 8 % of 36 are 2.9, of 39 3.1.
    let lost = |many: u64, pings: u64| with((0..pings).rev().map(|turn| ping(turn, u16::from(turn < many))));
    check(&lost(3, 12), Evidence::Stressed);
    check(&lost(3, 13), Evidence::Fine);
    check(&lost(2, 2), Evidence::Fine);
    check(&lost(4, 16), Evidence::Stressed);
    // Exactly so many.
    let exact = with((0..25).rev().map(|turn| Check { sent: 4, ..ping(turn, u16::from(turn < 8)) }));
    check(&exact, Evidence::Stressed);
    // Where none ever comes back it is a filter.
    check(&with((0..12).rev().map(|turn| ping(turn, 3))), Evidence::Fine);
}

#[test]
fn answers_that_say_too_much() {
    let shed = |turns: &'static [u64]| {
        with((0..12).rev().map(move |turn| Check { shed: turns.contains(&turn), ..passed(turn) }))
    };
    check(&shed(&[0, 4]), Evidence::Shedding);
    check(&shed(&[0, 5]), Evidence::Fine);
    check(&shed(&[0]), Evidence::Fine);
    assert!(found(&shed(&[0, 4])).is_soft() && found(&shed(&[0, 4])).why.starts_with("2 of its last 5"));
}

#[test]
fn a_round_that_failed_is_a_suspicion() {
    let mut memory = seen();
    memory.failed_rounds = 1;
    let round = memory.last_round.as_mut().expect("it is there");
    let measured = crate::model::Measured::default();
    let address = std::net::IpAddr::from([192, 0, 2, 1]);
    let outcome = crate::model::Outcome::Failed(Fault::Timeout(Stage::Connect));
    round.observations = vec![Observation { probe: ProbeKind::Ssh, address, at: NOW, outcome, measured }];
    check(&memory, Evidence::Suspect);
    assert_eq!(found(&memory).why, "last round failed: ssh timeout:connect");
    memory.failed_rounds = 0;
    memory.last_round.as_mut().expect("it is there").observations[0].outcome =
        crate::model::Outcome::Inconclusive(OwnFault::NoRoute);
    check(&memory, Evidence::Fine);
}

fn learnt(mut memory: NodeMemory, class: Evidence, newest: Option<Time>) -> Option<u32> {
    let finding = Finding { class, hard: false, confirmed: false, why: String::new() };
    learn(&Policy::default().evidence, &mut memory, &finding, newest);
    memory.recent.usual_answer
}

#[test]
fn what_is_usual_is_learnt_while_all_is_well() {
    let answers = |ms: &[u32]| {
        let many = ms.len() as u64;
        with((0..many).rev().map(|turn| Check { answer_ms: Some(ms[(many - 1 - turn) as usize]), ..passed(turn) }))
    };
    // First the median of half a dozen.
    assert_eq!(learnt(answers(&[90, 10, 80, 20, 70, 30]), Evidence::Fine, None), Some(70 * 16));
    assert_eq!(learnt(answers(&[90, 10, 80, 20, 70]), Evidence::Fine, None), None);
    assert_eq!(learnt(answers(&[50; 6]), Evidence::Suspect, None), None);
    let mut doubted = answers(&[50; 6]);
    doubted.recent.doubt_since = Some(NOW);
    assert_eq!(learnt(doubted, Evidence::Fine, None), None);
    // Then a step of a sixty-fourth towards each that came since the last tick.
    let known = |ms: &[u32]| {
        let mut memory = answers(ms);
        memory.recent.usual_answer = Some(64 * 16);
        memory
    };
    assert_eq!(learnt(known(&[500; 6]), Evidence::Fine, Some(ago(1))), Some(64 * 16 + 16));
    assert_eq!(learnt(known(&[5; 6]), Evidence::Fine, Some(ago(1))), Some(64 * 16 - 16));
    assert_eq!(learnt(known(&[64; 6]), Evidence::Fine, Some(ago(1))), Some(64 * 16));
    assert_eq!(learnt(known(&[64, 64, 500, 500]), Evidence::Fine, Some(ago(2))), Some(64 * 16 + 32));
    assert_eq!(learnt(known(&[64, 64, 500]), Evidence::Fine, None), Some(64 * 16 + 16));
    let mut short = answers(&[500]);
    short.recent.usual_answer = Some(16);
    assert_eq!(learnt(short, Evidence::Fine, None), Some(17), "a step is never nothing");
}
