//! Those who look once a minute, each time in a process of its own: what is open about a node is forgotten in between, and
//! what the strikes of a run of failing rounds are worth is all there is.

use std::time::Duration;

use witness::model::{Fault, Judgement, Outcome, ProbeKind, Round};

use crate::world::{Sees, World, actions, holds, name};

const FINE: Sees = Sees::Fine;
const DEAD: Sees = Sees::Silent;
const REFUSED: Sees = Sees::Refused;
const HTTPS: Sees = Sees::Only(ProbeKind::Https);
const SSH: Sees = Sees::Only(ProbeKind::Ssh);

/// Six nodes, of which three may leave at once.
fn six() -> World {
    let mut world = World::of(6);
    (world.policy.max_withdrawn, world.policy.keep) = (3, 1);
    for _ in 0..5 {
        look(&mut world, 60, FINE);
    }
    world
}

/// Another process looks after `seconds`: n1 and n2 are seen as told, all others are well.
fn look(world: &mut World, seconds: u64, sees: Sees) -> Judgement {
    looked(world, seconds, sees, |_| {})
}

fn looked(world: &mut World, seconds: u64, sees: Sees, change: impl Fn(&mut Round)) -> Judgement {
    world.pass(seconds);
    world.memory.nodes.values_mut().for_each(|node| node.recent = Default::default());
    let mut rounds = world.rounds(&[sees, sees, FINE, FINE, FINE, FINE]);
    rounds.iter_mut().take(2).for_each(change);
    let ruling = world.judge_rounds(&rounds, None);
    world.take(ruling)
}

fn run(world: &mut World, sees: &[Sees]) -> Judgement {
    sees.iter().map(|sees| look(world, 60, *sees)).last().unwrap()
}

/// Both at once: hard evidence.
#[track_caller]
fn both(judgement: &Judgement) {
    assert_eq!(actions(judgement), ["withdraw n1 S2.strikes", "withdraw n2 S2.strikes"], "{:?}", holds(judgement));
}

/// One of them, and the other waits: soft evidence.
#[track_caller]
fn one(judgement: &Judgement) {
    assert_eq!(actions(judgement), ["withdraw n1 S2.strikes"], "{:?}", holds(judgement));
    assert_eq!(holds(judgement), ["withdraw n2 peers"]);
}

/// Neither: some are served, and nobody knows how many.
#[track_caller]
fn neither(judgement: &Judgement) {
    assert_eq!(holds(judgement), ["withdraw n1 capacity", "withdraw n2 capacity"], "{:?}", actions(judgement));
}

#[test]
fn a_run_of_silence_or_refusals_is_hard_evidence() {
    both(&run(&mut six(), &[DEAD; 4]));
    both(&run(&mut six(), &[REFUSED; 4]));
    one(&run(&mut six(), &[HTTPS; 4]));
}

#[test]
fn a_run_is_three_rounds_or_as_many_as_nominate() {
    both(&run(&mut six(), &[DEAD, FINE, DEAD, DEAD, DEAD]));
    neither(&run(&mut six(), &[DEAD, FINE, DEAD, FINE, DEAD, DEAD]));
    let few = |strikes| {
        let mut world = six();
        world.policy.strikes = strikes;
        world
    };
    both(&run(&mut few(2), &[DEAD; 2]));
    both(&run(&mut few(2), &[REFUSED; 2]));
    neither(&run(&mut few(2), &[DEAD, FINE, DEAD]));
    both(&run(&mut few(1), &[REFUSED]));
}

#[test]
fn old_strikes_belong_to_no_run() {
    // Many rounds of one incident: a run of rounds, and of one strike.
    let mut world = six();
    run(&mut world, &[DEAD, FINE, DEAD, FINE, DEAD, FINE]);
    look(&mut world, 60, DEAD);
    for _ in 0..3 {
        neither(&look(&mut world, 10, DEAD));
    }
}

#[test]
fn a_run_is_of_probes_that_convict() {
    neither(&run(&mut six(), &[DEAD, DEAD, SSH, DEAD]));
    // Something of it lived in one of them.
    one(&run(&mut six(), &[DEAD, HTTPS, DEAD, DEAD]));
    one(&run(&mut six(), &[DEAD, DEAD, DEAD, HTTPS]));
    one(&run(&mut six(), &[DEAD, REFUSED, DEAD, DEAD]));
}

#[test]
fn a_refusal_among_silence_is_a_sign_of_life() {
    let mut world = six();
    run(&mut world, &[DEAD; 2]);
    let refuse = |round: &mut Round| {
        let https = round.observations.iter_mut().find(|one| one.probe == ProbeKind::Https).unwrap();
        https.outcome = Outcome::Failed(Fault::Refused);
    };
    looked(&mut world, 60, DEAD, refuse);
    one(&look(&mut world, 60, DEAD));
}

#[test]
fn a_run_of_seconds_is_no_death() {
    let fast = |alone: u64| {
        let mut world = six();
        world.policy.strike_spacing = Duration::from_secs(1);
        world.policy.evidence.silent_alone = Duration::from_secs(alone);
        for _ in 0..3 {
            look(&mut world, 10, DEAD);
        }
        look(&mut world, 10, DEAD)
    };
    // From when the first of its rounds began.
    both(&fast(31));
    one(&fast(32));
}

/// Ticks of one process, so that streaks count.
fn together(world: &mut World, seconds: u64, sees: [Sees; 3]) -> Judgement {
    let [first, second, others] = sees;
    world.pass(seconds);
    world.tick(&[first, second, others, others, others, others])
}

#[test]
fn a_streak_that_is_too_short_for_its_class_is_hard_where_strikes_nominate() {
    let mut world = six();
    run(&mut world, &[REFUSED, FINE, REFUSED, FINE, REFUSED, FINE]);
    let steady = [REFUSED, REFUSED, FINE];
    neither(&together(&mut world, 60, steady));
    neither(&together(&mut world, 20, steady));
    both(&together(&mut world, 20, steady));
    // Over too short a time it is a blip like those before it.
    let mut world = six();
    run(&mut world, &[REFUSED, FINE, REFUSED, FINE, REFUSED, FINE]);
    neither(&together(&mut world, 60, steady));
    neither(&together(&mut world, 10, steady));
    neither(&together(&mut world, 10, steady));
}

#[test]
fn the_last_that_answers_stays_though_others_are_in_dns() {
    let mut world = World::of(3);
    (world.policy.max_withdrawn, world.policy.keep, world.policy.strikes) = (3, 1, 3);
    world.ticks(5, 60, &[FINE]);
    let last = world.ticks(3, 60, &[REFUSED, DEAD, DEAD]);
    assert!(holds(&last).contains(&"withdraw n1 dark".to_owned()), "{:?} {:?}", holds(&last), actions(&last));
    assert_eq!(world.in_dns(), ["n1", "n2", "n3"]);
}

#[test]
fn what_is_certain_goes_before_what_nobody_confirmed() {
    let mut world = World::of(6);
    world.policy.max_withdrawn = 1;
    world.ticks(5, 10, &[FINE]);
    // Nothing can be done until the zone can be read again; then one may leave.
    world.readable = false;
    world.ticks(9, 10, &[DEAD, REFUSED, FINE, FINE, FINE, FINE]);
    world.readable = true;
    world.pass(10);
    let judgement = world.tick(&[DEAD, REFUSED, FINE, FINE, FINE, FINE]);
    assert_eq!(actions(&judgement), ["withdraw n2 R6.down"], "{:?}", holds(&judgement));
    assert_eq!(holds(&judgement), ["withdraw n1 max-withdrawn"]);
    assert!(world.out("n2").is_some() && world.memory.nodes.contains_key(&name("n1")));
}

#[test]
fn withdrawals_for_soft_evidence_are_forgotten_as_others_are() {
    let mut world = six();
    let now = world.clock.wall;
    let day = world.policy.comeback.count_over;
    let node = world.memory.nodes.get_mut(&name("n1")).unwrap();
    for at in [now.minus(day), now.minus(day / 2)] {
        node.withdrawals.push_back(at);
        node.soft_withdrawals.push_back(at);
    }
    look(&mut world, 60, FINE);
    let node = &world.memory.nodes[&name("n1")];
    assert_eq!((node.withdrawals.len(), node.soft_withdrawals.len()), (1, 1));
}

#[test]
fn a_run_is_refused_whatever_else_fails_beside_it() {
    let refuse = |round: &mut Round| {
        let https = round.observations.iter_mut().find(|one| one.probe == ProbeKind::Https).unwrap();
        https.outcome = Outcome::Failed(Fault::Refused);
    };
    let mut world = six();
    for _ in 0..3 {
        looked(&mut world, 60, SSH, refuse);
    }
    both(&looked(&mut world, 60, SSH, refuse));
}

#[test]
fn failures_that_pile_up_unconfirmed_confirm_nothing() {
    let mut world = six();
    world.anchors = Some((3, 3));
    run(&mut world, &[DEAD, FINE, DEAD, FINE, DEAD, FINE]);
    world.just_started = true;
    run(&mut world, &[DEAD, FINE, FINE, FINE]);
    let asked = world.clock.wall;
    for _ in 0..12 {
        world.pass(10);
        world.memory.nodes.values_mut().for_each(|node| node.recent = Default::default());
        let ruling = world.judge_at(&world.rounds(&[DEAD, FINE, FINE, FINE, FINE, FINE]), None, asked);
        let judgement = world.take(ruling);
        assert!(holds(&judgement).contains(&"withdraw n1 vantage".to_owned()), "{:?}", holds(&judgement));
        assert!(!actions(&judgement).iter().any(|action| action.starts_with("withdraw")), "{:?}", actions(&judgement));
    }
}
