//! What each is called, and by which rule.

use std::time::Duration;

use super::*;
use crate::model::{
    Failing, Measured, Name, OwnFault, PinState, Round, ServiceStreak, Standing, Streak, Strike, TlsFault, Withdrawal,
};

/// Now; times are told in seconds before it.
const NOW: Time = Time(1_700_000_000_000);

fn ago(seconds: u64) -> Time {
    NOW.minus(Duration::from_secs(seconds))
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn one(probe: ProbeKind, outcome: Outcome) -> Observation {
    let address = std::net::IpAddr::from([192, 0, 2, 1]);
    Observation { probe, address, at: NOW, outcome, measured: Measured::default() }
}

fn failed(fault: Fault) -> Outcome {
    Outcome::Failed(fault)
}

/// A node that has passed everything so far.
fn well() -> NodeMemory {
    let observations = vec![one(ProbeKind::Https, Outcome::Passed)];
    let round = Round { node: name("n1"), started: ago(1), finished: NOW, observations };
    NodeMemory { last_round: Some(round), clean_rounds: 5, ..NodeMemory::default() }
}

fn of(class: Evidence, hard: bool) -> Finding {
    Finding { class, hard, confirmed: hard, why: "seen".to_owned() }
}

fn withdrawal(by_hand: bool) -> Withdrawal {
    Withdrawal {
        at: ago(100),
        asked_at: ago(100),
        rule: words::SILENT,
        why: "it was dead".to_owned(),
        seen_out: true,
        returning_since: None,
        by_hand,
        soft: false,
        quarantine_until: None,
        places: Default::default(),
        left: Default::default(),
    }
}

/// What a node is called, by which rule, when it was last seen `fresh`.
struct Told<'a> {
    policy: Policy,
    vantage: Vantage,
    memory: &'a NodeMemory,
    finding: Finding,
    out: Option<Withdrawal>,
}

impl<'a> Told<'a> {
    fn of(memory: &'a NodeMemory, finding: Finding) -> Self {
        Self { policy: Policy::default(), vantage: Vantage::Clear, memory, finding, out: None }
    }

    #[track_caller]
    fn is(self, verdict: NodeVerdict, rule: RuleId) -> String {
        let Self { policy, vantage, memory, finding, out } = &self;
        let sight = Sight::at(NOW, *vantage, 30_000);
        let case = Case { policy, sight: &sight, memory, finding, pin: None, out: out.as_ref() };
        assert_eq!(case.verdict(), verdict);
        let (spoke, why) = case.reason(verdict);
        assert_eq!(spoke, rule, "{why}");
        why
    }
}

#[test]
fn by_its_evidence() {
    let memory = well();
    let check = |class, hard, verdict, rule| {
        let why = Told::of(&memory, of(class, hard)).is(verdict, rule);
        assert_eq!(why, "seen");
    };
    check(Evidence::Silent, true, NodeVerdict::Dead, words::SILENT);
    check(Evidence::Down, true, NodeVerdict::Down, words::DOWN);
    check(Evidence::Hung, true, NodeVerdict::Hung, words::IDLE);
    check(Evidence::Hung, false, NodeVerdict::Hung, words::HUNG);
    check(Evidence::Broken, false, NodeVerdict::Broken, words::BROKEN);
    check(Evidence::Degraded, false, NodeVerdict::Degraded, words::DEGRADED);
    check(Evidence::Stressed, false, NodeVerdict::Degraded, words::STRESSED);
    check(Evidence::Shedding, false, NodeVerdict::Degraded, words::SHEDDING);
    Told::of(&memory, of(Evidence::Fine, false)).is(NodeVerdict::Healthy, words::CLEAN);
    let sight = Sight::at(NOW, Vantage::Clear, 30_000);
    let (policy, finding) = (Policy::default(), of(Evidence::Silent, true));
    let pin = Pin { node: name("n1"), state: PinState::In, since: NOW, until: NOW, reason: String::new() };
    let case = Case { policy: &policy, sight: &sight, memory: &memory, finding: &finding, pin: Some(&pin), out: None };
    assert_eq!(case.verdict(), NodeVerdict::Maintenance);
    let unseen = NodeMemory::default();
    Told::of(&unseen, of(Evidence::NoData, false)).is(NodeVerdict::Unknown, words::NO_DATA);
}

#[test]
fn by_its_strikes() {
    let mut memory = well();
    let strike = Strike { at: ago(60), faults: vec![(ProbeKind::Https, Fault::Body)] };
    memory.strikes = vec![strike.clone(); 3];
    Told::of(&memory, of(Evidence::Fine, false)).is(NodeVerdict::Healthy, words::STRUCK);
    Told::of(&memory, of(Evidence::Suspect, false)).is(NodeVerdict::Healthy, words::STRUCK);
    memory.strikes.push(strike);
    Told::of(&memory, of(Evidence::Fine, false)).is(NodeVerdict::Healthy, words::STRIKES);
}

#[test]
fn out_of_dns() {
    let mut memory = well();
    fn out(memory: &NodeMemory, finding: Finding, by_hand: bool) -> Told<'_> {
        Told { out: Some(withdrawal(by_hand)), ..Told::of(memory, finding) }
    }
    let why = out(&memory, of(Evidence::Fine, false), false).is(NodeVerdict::Recovering, words::OUT);
    assert!(why.contains("back after 60 s"), "{why}");
    let why = out(&memory, of(Evidence::Fine, false), true).is(NodeVerdict::Recovering, words::OUT);
    assert!(why.contains("only a person"), "{why}");
    out(&memory, of(Evidence::Suspect, false), false).is(NodeVerdict::Recovering, words::OUT);
    // Above what it may come back with: 1000 each, halved in a quarter of an hour.
    memory.withdrawals = [ago(0)].into();
    out(&memory, of(Evidence::Fine, false), false).is(NodeVerdict::Recovering, words::OUT);
    memory.withdrawals = [ago(1800), ago(0)].into();
    out(&memory, of(Evidence::Fine, false), false).is(NodeVerdict::Recovering, words::OUT);
    memory.withdrawals = [ago(1797), ago(0)].into();
    out(&memory, of(Evidence::Fine, false), false).is(NodeVerdict::Flapping, words::OUT);
    Told::of(&memory, of(Evidence::Fine, false)).is(NodeVerdict::Flapping, words::CLEAN);
}

fn silent(rounds: u32, reached: bool) -> NodeMemory {
    let mut memory = well();
    (memory.failed_rounds, memory.failed_since, memory.clean_rounds) = (rounds, Some(ago(20)), 0);
    memory.recent.silence = Some(Streak { since: ago(20), until: NOW, rounds });
    memory.recent.asked.reached_at = reached.then(|| ago(5));
    memory
}

#[test]
fn whoever_others_reach() {
    let suspect = || of(Evidence::Suspect, false);
    Told::of(&silent(2, true), suspect()).is(NodeVerdict::Partitioned, words::PARTITIONED);
    Told::of(&silent(1, true), suspect()).is(NodeVerdict::Suspect, words::SUSPECT);
    Told::of(&silent(2, false), suspect()).is(NodeVerdict::Suspect, words::SUSPECT);
    Told::of(&silent(2, true), of(Evidence::Silent, true)).is(NodeVerdict::Dead, words::SILENT);
}

#[test]
fn what_lasts_is_named() {
    let fails = |seconds: u64, rounds: u32| {
        let mut memory = silent(rounds, false);
        let round = memory.last_round.as_mut().expect("it is there");
        round.observations = vec![one(ProbeKind::Https, failed(Fault::Refused))];
        (memory.failed_since, memory.recent.silence) = (Some(ago(seconds)), None);
        memory
    };
    let suspect = || of(Evidence::Suspect, false);
    Told::of(&fails(38, 3), suspect()).is(NodeVerdict::Down, words::SUSPECT);
    Told::of(&fails(37, 3), suspect()).is(NodeVerdict::Suspect, words::SUSPECT);
    Told::of(&fails(38, 2), suspect()).is(NodeVerdict::Suspect, words::SUSPECT);
    // Of all that is open what began first counts.
    let mut begun = fails(10, 3);
    let streak = Streak { since: ago(38), until: NOW, rounds: 9 };
    let service =
        ServiceStreak { any: streak, failing: Failing::Unanswered, same: streak, refused: 0, refused_at: None };
    begun.recent.service = Some(service);
    Told::of(&begun, suspect()).is(NodeVerdict::Down, words::SUSPECT);
    let mut doubted = fails(10, 3);
    doubted.recent.doubt_since = Some(ago(38));
    Told::of(&doubted, suspect()).is(NodeVerdict::Down, words::SUSPECT);
    // One that is out has been looked at for long enough.
    let memory = fails(5, 3);
    Told { out: Some(withdrawal(false)), ..Told::of(&memory, suspect()) }.is(NodeVerdict::Down, words::OUT);
}

#[test]
fn where_there_is_no_evidence_rounds_name_it() {
    fn told(memory: &NodeMemory, out: Option<Withdrawal>) -> Told<'_> {
        let policy = Policy::default().classic();
        Told { policy, out, ..Told::of(memory, of(Evidence::NoData, false)) }
    }
    let memory = well();
    told(&memory, None).is(NodeVerdict::Healthy, words::CLEAN);
    told(&memory, Some(withdrawal(false))).is(NodeVerdict::Recovering, words::OUT);
    let mut fails = silent(2, true);
    fails.last_round.as_mut().expect("it is there").observations =
        vec![one(ProbeKind::Https, failed(Fault::Timeout(Stage::Connect)))];
    told(&fails, None).is(NodeVerdict::Suspect, words::CLEAN);
    fails.failed_rounds = 3;
    told(&fails, None).is(NodeVerdict::Dead, words::CLEAN);
    let cut_off = |memory| Told { vantage: Vantage::Isolated, ..Told::of(memory, of(Evidence::NoData, false)) };
    cut_off(&memory).is(NodeVerdict::Healthy, words::ISOLATED);
    cut_off(&fails).is(NodeVerdict::Dead, words::ISOLATED);
}

#[test]
fn the_newest_round_gives_the_name() {
    let check = |https: &[Outcome], verdict| {
        let mut seen: Vec<_> = https.iter().map(|outcome| one(ProbeKind::Https, *outcome)).collect();
        seen.push(one(ProbeKind::Ping, Outcome::Passed));
        // What SSH says names nothing.
        seen.push(one(ProbeKind::Ssh, failed(Fault::Auth)));
        assert_eq!(name_failure(&seen), verdict, "{https:?}");
    };
    check(&[failed(Fault::Refused)], NodeVerdict::Down);
    check(&[failed(Fault::Refused), Outcome::Inconclusive(OwnFault::NoRoute)], NodeVerdict::Down);
    check(&[failed(Fault::Refused), failed(Fault::Body)], NodeVerdict::Degraded);
    check(&[failed(Fault::Refused), Outcome::Passed], NodeVerdict::Degraded);
    check(&[Outcome::Inconclusive(OwnFault::NoRoute)], NodeVerdict::Degraded);
    check(&[failed(Fault::Shedding(503))], NodeVerdict::Degraded);
    check(&[failed(Fault::Tls(TlsFault::Expired)), failed(Fault::Status(500))], NodeVerdict::Broken);
    check(&[failed(Fault::Body), failed(Fault::Protocol)], NodeVerdict::Broken);
    check(&[failed(Fault::Timeout(Stage::Connect)), failed(Fault::Reset)], NodeVerdict::Hung);
    check(&[failed(Fault::Timeout(Stage::Request)), failed(Fault::Body)], NodeVerdict::Degraded);
    check(&[], NodeVerdict::Degraded);
    let silent = [one(ProbeKind::Https, failed(Fault::Timeout(Stage::Connect)))];
    assert_eq!(name_failure(&silent), NodeVerdict::Dead);
}

fn judged(verdicts: &[NodeVerdict]) -> Vec<NodeJudgement> {
    let one = |(turn, verdict): (usize, &NodeVerdict)| NodeJudgement {
        node: name(&format!("n{}", turn + 1)),
        verdict: *verdict,
        evidence: Evidence::Fine,
        standing: Standing::Serving,
        pin: None,
        strikes: 0,
        rule: words::CLEAN,
        why: String::new(),
        in_dns: BTreeMap::new(),
    };
    verdicts.iter().enumerate().map(one).collect()
}

#[test]
fn the_fleet() {
    use NodeVerdict::{Dead, Healthy, Maintenance, Recovering, Suspect, Unknown};
    let states = |of: &[State]| -> BTreeMap<PoolId, State> {
        of.iter().enumerate().map(|(turn, state)| (name(&format!("p{turn}")), state.clone())).collect()
    };
    let clear = Sight::at(NOW, Vantage::Clear, 30_000);
    let check = |verdicts: &[NodeVerdict], of: &[State], verdict| {
        let whole = fleet(&judged(verdicts), &states(of), &clear);
        assert_eq!(whole.verdict, verdict, "{}", whole.why);
        whole.why
    };
    let normal = [State::Normal];
    check(&[Healthy, Recovering, Maintenance], &normal, FleetVerdict::Normal);
    check(&[Healthy, Dead, Unknown], &normal, FleetVerdict::SingleFault);
    let why = check(&[Suspect, Dead, Healthy, Maintenance], &normal, FleetVerdict::MultiFault);
    assert_eq!(why, "2 of 3 nodes in trouble: n1 (suspect), n2 (dead)");
    let why = check(&[Dead; 10], &normal, FleetVerdict::MultiFault);
    assert!(why.ends_with("n8 (dead) and 2 more"), "{why}");
    assert!(check(&[Dead; 8], &normal, FleetVerdict::MultiFault).ends_with("n8 (dead)"));
    check(&[Maintenance, Unknown], &normal, FleetVerdict::Blind);
    // The worst of several pools speaks.
    let say = || "so".to_owned();
    let (dark, over) = (State::Dark(say()), State::Overload(say()));
    let (path, common) = (State::PathTrouble(say()), State::CommonFault(say()));
    let worst = [dark, over, path, common];
    let verdicts = [FleetVerdict::Dark, FleetVerdict::Overload, FleetVerdict::PathTrouble, FleetVerdict::CommonFault];
    for (from, verdict) in verdicts.into_iter().enumerate() {
        let mut some: Vec<State> = worst[from..].to_vec();
        some.reverse();
        let why = check(&[Healthy], &some, verdict);
        assert_eq!(why.starts_with("pool p"), some.len() > 1, "{why}");
    }
    let of = |vantage| fleet(&judged(&[Dead]), &states(&worst), &Sight::at(NOW, vantage, 30_000)).verdict;
    assert_eq!((of(Vantage::Isolated), of(Vantage::Blind)), (FleetVerdict::Isolated, FleetVerdict::Blind));
}

#[test]
fn news_is_told_once_in_a_while() {
    let policy = Policy::default();
    let whole = |verdict| Whole { verdict, rule: words::OVERLOAD, why: String::new() };
    let mut told = Vec::new();
    let mut news = |verdict, at| whole(verdict).news(&policy, at, &mut told).is_some();
    assert!(news(FleetVerdict::Overload, ago(5000)));
    assert!(!news(FleetVerdict::Overload, ago(4401)), "not ten minutes, and it counts anew");
    assert!(!news(FleetVerdict::Overload, ago(3802)));
    assert!(news(FleetVerdict::Dark, ago(3802)), "another one");
    assert!(news(FleetVerdict::Overload, ago(3202)), "gone for ten minutes");
    for quiet in [FleetVerdict::Normal, FleetVerdict::Isolated, FleetVerdict::Blind, FleetVerdict::MultiFault] {
        assert!(!news(quiet, NOW));
    }
}
