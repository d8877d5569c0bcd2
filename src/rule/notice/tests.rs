//! What is open about a node, observation by observation.

use std::net::IpAddr;

use super::*;
use crate::model::{AskHow, Asked, LoadSource, Measured, Name, Stage};

/// Times are told in seconds after this.
const THEN: Time = Time(1_700_000_000_000);

fn at(seconds: i64) -> Time {
    THEN.shifted(seconds * 1000)
}

fn node() -> Node {
    let id = Name::new("n1").expect("a name");
    let addresses = vec![IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
    Node { id, addresses, site: None, capacity_bps: Some(1000), ssh_host_key: None }
}

fn one(probe: ProbeKind, outcome: Outcome, seconds: i64) -> Observation {
    let measured = Measured { total_us: 1_000_000, ..Measured::default() };
    Observation { probe, address: node().addresses[0], at: at(seconds), outcome, measured }
}

/// An answer of the service.
fn passed(seconds: i64) -> Observation {
    let mut one = one(ProbeKind::Https, Outcome::Passed, seconds);
    (one.measured.connect_us, one.measured.first_byte_us) = (Some(20_999), Some(50_999));
    one
}

fn failed(fault: Fault, seconds: i64) -> Observation {
    one(ProbeKind::Https, Outcome::Failed(fault), seconds)
}

fn unanswered(seconds: i64) -> Observation {
    failed(Fault::Timeout(Stage::Connect), seconds)
}

/// Sees each in its time.
fn open(seen: &[Observation]) -> Recent {
    let mut recent = Recent::default();
    for one in seen {
        let before = recent.service_at;
        recent.see(&Policy::default(), &node(), one, one.at, before);
    }
    recent
}

fn streak(since: i64, until: i64, rounds: u32) -> Streak {
    Streak { since: at(since), until: at(until), rounds }
}

#[test]
fn silence_begins_with_what_nothing_answered_and_ends_with_a_sign_of_life() {
    let seen = [passed(0), unanswered(14), unanswered(24)];
    // From when the first of them was begun.
    assert_eq!(open(&seen).silence, Some(streak(13, 24, 2)));
    // What lived until later was not silent before.
    let ping = one(ProbeKind::Ping, Outcome::Passed, 14);
    assert_eq!(open(&[passed(0), ping.clone(), unanswered(14)]).silence, Some(streak(14, 14, 1)));
    // Another address of the node is no other round.
    let mut other = unanswered(24);
    other.address = node().addresses[1];
    assert_eq!(open(&[passed(0), unanswered(14), other]).silence, Some(streak(13, 24, 1)));
    let lives = open(&[passed(0), unanswered(14), unanswered(24), one(ProbeKind::Ssh, Outcome::Passed, 25)]);
    assert_eq!((lives.silence, lives.revived_at, lives.life_at), (None, Some(at(25)), Some(at(25))));
    // The service still fails.
    assert_eq!(lives.service.map(|service| service.any), Some(streak(13, 24, 2)));
    let once = open(&[passed(0), unanswered(14), one(ProbeKind::Ssh, Outcome::Passed, 25)]);
    assert_eq!((once.silence, once.revived_at), (None, None), "one lost packet or two");
    // Life from before it began says nothing.
    let mut late = open(&seen);
    late.live(&Policy::default().evidence, at(12));
    assert!(late.silence.is_some());
    late.asked = Asked { tries: 3, ..Asked::default() };
    late.live(&Policy::default().evidence, at(13));
    assert_eq!((late.silence, late.asked), (None, Asked::default()));
    // An answer that is wrong is a sign of life.
    assert_eq!(open(&[failed(Fault::Status(500), 14)]).silence, None);
    // What may not convict is silent to nobody.
    assert_eq!(open(&[one(ProbeKind::Ssh, Outcome::Failed(Fault::Timeout(Stage::Connect)), 14)]).silence, None);
}

#[test]
fn a_service_fails_in_one_way_or_in_several() {
    let fails = open(&[passed(0), failed(Fault::Status(500), 10), failed(Fault::Body, 20)]).service.expect("it fails");
    assert_eq!((fails.any, fails.same), (streak(9, 20, 2), streak(9, 20, 2)), "each answers wrongly");
    assert_eq!(fails.failing, Failing::Wrong(Fault::Body));
    let turns = open(&[passed(0), failed(Fault::Body, 10), unanswered(20)]).service.expect("it fails");
    assert_eq!((turns.any, turns.same), (streak(9, 20, 2), streak(19, 20, 1)));
    assert_eq!(turns.failing, Failing::Unanswered);
    let refused = open(&[passed(0), unanswered(10), failed(Fault::Refused, 20)]).service.expect("it fails");
    assert_eq!((refused.failing, refused.same, refused.refused), (Failing::Refused, streak(19, 20, 1), 1));
    assert_eq!(open(&[failed(Fault::Body, 10), passed(20)]).service, None);
    // Too much to do is no failure.
    assert_eq!(open(&[failed(Fault::Shedding(503), 10)]).service, None);
    assert_eq!(open(&[failed(Fault::Body, 10), failed(Fault::Shedding(503), 20)]).service, None);
    // No streak reaches back before the last answer, whatever it said.
    let began = |first: Observation| {
        let mut slow = unanswered(14);
        slow.measured.total_us = 8_000_000;
        open(&[first, slow]).service.expect("it fails").any.since
    };
    assert_eq!(began(passed(5)), at(6));
    assert_eq!(began(passed(10)), at(10));
    assert_eq!(began(failed(Fault::Shedding(503), 10)), at(10));
    assert_eq!(began(one(ProbeKind::Ssh, Outcome::Passed, 10)), at(6));
}

#[test]
fn a_port_that_is_refused_now_and_then_is_refused() {
    let refused = |seconds| failed(Fault::Refused, seconds);
    let service = open(&[refused(0), unanswered(10), refused(11)]).service.expect("it fails");
    assert_eq!((service.failing, service.refused), (Failing::Refused, 2));
    assert_eq!(service.same, streak(-1, 11, 3));
    // Too long ago.
    let service = open(&[refused(0), unanswered(11), refused(12)]).service.expect("it fails");
    assert_eq!((service.refused, service.same), (1, streak(11, 12, 1)));
    // An answer that is wrong is something else at once.
    let service = open(&[refused(0), failed(Fault::Body, 5)]).service.expect("it fails");
    assert_eq!((service.failing, service.refused), (Failing::Wrong(Fault::Body), 0));
}

#[test]
fn what_comes_late_is_evidence_and_ends_nothing() {
    let policy = Policy::default();
    let mut recent = open(&[passed(0), unanswered(20), unanswered(30)]);
    let before = recent.service_at;
    assert_eq!(before, Some(at(30)));
    let (silence, service) = (recent.silence, recent.service);
    recent.see(&policy, &node(), &unanswered(25), at(25), before);
    assert_eq!((recent.silence, recent.service), (silence, service));
    let times = |recent: &Recent| recent.checks.iter().map(|check| check.at).collect::<Vec<_>>();
    assert_eq!(times(&recent), [at(0), at(20), at(25), at(30)]);
    // Told twice it is one; another probe of the same moment is another.
    recent.see(&policy, &node(), &unanswered(25), at(25), before);
    recent.see(&policy, &node(), &unanswered(30), at(30), before);
    assert_eq!(recent.checks.len(), 4);
    recent.see(&policy, &node(), &one(ProbeKind::Ssh, Outcome::Failed(Fault::Auth), 25), at(25), before);
    recent.see(&policy, &node(), &unanswered(26), at(26), before);
    assert_eq!(recent.checks.len(), 6);
    // An answer from before the newest failure does not end the failing.
    recent.see(&policy, &node(), &passed(29), at(29), before);
    assert!(recent.service.is_some());
}

#[test]
fn what_is_measured() {
    let first = |seen: Observation| open(&[seen]).checks[0];
    let check = first(passed(0));
    assert_eq!((check.connect_ms, check.answer_ms, check.failed, check.life), (Some(20), Some(50), false, true));
    let mut wrong = passed(0);
    wrong.outcome = Outcome::Failed(Fault::Status(500));
    assert_eq!(first(wrong.clone()).answer_ms, None);
    wrong.outcome = Outcome::Failed(Fault::Shedding(503));
    let shed = first(wrong);
    assert_eq!((shed.answer_ms, shed.shed, shed.failed), (Some(50), true, false));
    let mut ssh = passed(0);
    ssh.probe = ProbeKind::Ssh;
    assert_eq!((first(ssh.clone()).answer_ms, first(ssh).service), (None, false));
    let mut ping = one(ProbeKind::Ping, Outcome::Passed, 0);
    (ping.measured.sent, ping.measured.received) = (Some(3), Some(1));
    let check = first(ping);
    assert_eq!((check.sent, check.lost, check.service), (3, 2, false));
}

#[test]
fn a_failure_puts_in_doubt_and_passes_in_a_row_end_it() {
    let policy = Policy::default();
    let sight = Sight::at(at(100), Vantage::Clear, 30_000);
    let doubt = |seen: &[Observation]| {
        let mut recent = open(seen);
        recent.age(&policy, &sight);
        recent.doubt_since
    };
    let mut seen = vec![passed(0), unanswered(10), unanswered(20)];
    assert_eq!(doubt(&seen), Some(at(10)));
    seen.extend((30..34).map(passed));
    assert_eq!(doubt(&seen), Some(at(10)), "four pass");
    seen.push(passed(34));
    assert_eq!(doubt(&seen), None, "five pass");
    seen.insert(5, unanswered(32));
    assert_eq!(doubt(&seen), Some(at(10)), "not in a row");
    // What never passes says nothing new.
    let ping = |outcome, seconds| one(ProbeKind::Ping, outcome, seconds);
    let lost = |seconds| ping(Outcome::Failed(Fault::Lost), seconds);
    assert_eq!(doubt(&[passed(0), lost(1), lost(2)]), None);
    assert_eq!(doubt(&[ping(Outcome::Passed, 0), lost(1), lost(2)]), Some(at(1)));
}

#[test]
fn what_is_old_goes() {
    let policy = Policy::default();
    let aged = |now: Time| {
        let mut recent = open(&[passed(0), passed(1)]);
        recent.age(&policy, &Sight::at(now, Vantage::Clear, 30_000));
        recent.checks.len()
    };
    assert_eq!(aged(at(120).shifted(-1)), 2);
    assert_eq!(aged(at(120)), 1);
    let mut many = Recent::default();
    for turn in 0..2000 {
        let at = at(0).shifted(turn);
        many.see(&policy, &node(), &passed(0), at, None);
    }
    many.age(&policy, &Sight::at(at(2), Vantage::Clear, 30_000));
    assert_eq!(many.checks.len(), 1024);
}

fn figure(tx_bps: u64, seconds: i64) -> LoadFigure {
    LoadFigure {
        node: node().id,
        at: at(seconds),
        source: LoadSource::Health,
        tx_bps: Some(tx_bps),
        capacity_bps: None,
        active: None,
        shed_step: None,
        load1_milli: None,
        ncpu: None,
        psi_cpu10_milli: None,
        psi_io10_milli: None,
        listen_overflows: None,
    }
}

#[test]
fn load_is_smoothed_over_its_time() {
    let policy = Policy::default().evidence;
    let load = |figures: &[(u64, i64)]| {
        let mut recent = Recent::default();
        for (tx_bps, seconds) in figures {
            recent.weigh(&policy, &node(), &figure(*tx_bps, *seconds), at(*seconds));
        }
        recent.load.map(|load| (load.tx_bps, load.smooth_bps, load.capacity_bps))
    };
    assert_eq!(load(&[(600, 0)]), Some((600, 600, Some(1000))));
    // Half of the way in half of the 20 s, and 8/9 of it however long nothing came.
    assert_eq!(load(&[(600, 0), (0, 10)]), Some((0, 300, Some(1000))));
    assert_eq!(load(&[(900, 0), (0, 80)]), Some((0, 100, Some(1000))));
    assert_eq!(load(&[(900, 0), (0, 1000)]), Some((0, 100, Some(1000))));
    // An older one changes nothing; one of the same moment is as good.
    assert_eq!(load(&[(600, 0), (0, -1)]), Some((600, 600, Some(1000))));
    assert_eq!(load(&[(600, 0), (0, 0)]), Some((0, 600, Some(1000))));
    let mut own = figure(600, 0);
    own.capacity_bps = Some(2000);
    let mut recent = Recent::default();
    recent.weigh(&policy, &node(), &own, at(0));
    assert_eq!(recent.load.and_then(|load| load.capacity_bps), Some(2000));
}

#[test]
fn what_others_say_counts_from_when_the_silence_began() {
    let silent = || open(&[passed(0), unanswered(14), unanswered(24)]);
    let ask = |outcome, tries| Ask { node: node().id, via: node().id, at: at(0), how: AskHow::Tcp, outcome, tries };
    let heard = |asks: &[(AskOutcome, u32, i64)]| {
        let mut recent = silent();
        for (outcome, tries, seconds) in asks {
            recent.hear(&ask(*outcome, *tries), at(*seconds));
        }
        recent.asked
    };
    use AskOutcome::{Nothing, Reached, Unknown};
    assert_eq!(heard(&[(Nothing, 2, 12)]), Asked::default());
    let asked = heard(&[(Nothing, 2, 13), (Nothing, 0, 20)]);
    assert_eq!(asked, Asked { tries: 3, since: Some(at(13)), at: Some(at(20)), reached_at: None });
    let asked = heard(&[(Nothing, 2, 20), (Reached, 1, 21)]);
    assert_eq!(asked, Asked { tries: 0, since: None, at: Some(at(21)), reached_at: Some(at(21)) });
    let asked = heard(&[(Reached, 1, 21), (Nothing, 2, 20), (Unknown, 9, 30)]);
    assert_eq!(asked, Asked { tries: 2, since: Some(at(20)), at: Some(at(21)), reached_at: Some(at(21)) });
    let mut lives = open(&[passed(0)]);
    lives.hear(&ask(Nothing, 2), at(20));
    assert_eq!(lives.asked, Asked::default());
}

#[test]
fn what_is_forgotten_and_what_is_forgiven() {
    let mut recent = open(&[passed(0), unanswered(14), unanswered(24)]);
    recent.usual_answer = Some(800);
    recent.weigh(&Policy::default().evidence, &node(), &figure(600, 20), at(20));
    (recent.soft, recent.degraded, recent.hard) = (recent.silence, recent.silence, recent.silence);
    let mut forgotten = recent.clone();
    forgotten.forget();
    let kept = Recent { usual_answer: recent.usual_answer, load: recent.load, ..Recent::default() };
    assert!(forgotten == kept && kept.load.is_some());
    recent.forgive();
    assert!(recent.checks.is_empty());
    let open = [recent.silence, recent.soft, recent.degraded, recent.hard, recent.service.map(|service| service.any)];
    assert_eq!(open, [None; 5]);
}
