//! What is remembered from tick to tick, and what is not.

use std::time::Duration;

use witness::model::{Evidence, FleetVerdict, ProbeKind, Round, Standing, Time, Vantage};
use witness::rule::sets_of;

use crate::world::{Sees, World, actions, holds, name, of, past, with_v6};
use crate::{DEAD, FINE, warm, warmed};

const SSH: Sees = Sees::Only(ProbeKind::Ssh);
const DOWN: Sees = Sees::Refused;

#[test]
fn each_alert_is_told_once_beside_others() {
    let mut world = warm();
    let mut told = Vec::new();
    for _ in 0..20 {
        let judged = world.ticks(1, 60, &[SSH, SSH, FINE, FINE]);
        told.extend(actions(&judged));
        assert_eq!(judged.memory.holds, judged.holds);
    }
    assert_eq!(told, ["alert n1 S2.strikes", "alert n2 S2.strikes"]);
    assert_eq!(world.memory.alerted.len(), 2);
    assert!(world.memory.alerted.iter().all(|alert| alert.at == world.clock.wall), "{:?}", world.memory.alerted);
}

#[test]
fn a_standing_is_as_old_as_it_is() {
    let mut world = World::of(4);
    let began = |world: &World| {
        let node = &world.memory.nodes[&name("n1")];
        (node.standing, node.standing_since)
    };
    world.ticks(1, 60, &[FINE]);
    let first = (Standing::Serving, Some(world.clock.wall));
    assert_eq!(began(&world), first);
    world.ticks(4, 60, &[FINE]);
    assert_eq!(began(&world), first);
    let gone = world.ticks(4, 10, &[DOWN, FINE, FINE, FINE]);
    let out = (Standing::Withdrawn, Some(world.clock.wall));
    assert_eq!((began(&world), &of(&gone, "n1").why), (out, &gone.actions[0].why));
    world.ticks(2, 10, &[DOWN, FINE, FINE, FINE]);
    assert_eq!(began(&world), out);
}

#[test]
fn a_node_that_is_new_is_watched_first() {
    let mut world = World::of(5);
    let whole = (world.fleet.clone(), world.published.clone());
    world.fleet.nodes.remove(&name("n5"));
    world.fleet.pools.get_mut(&name("p")).unwrap().nodes.pop();
    world.policy.strikes = 1;
    let mut world = warmed(world);
    world.ticks(1, 60, &[FINE, SSH, FINE, FINE]);
    (world.fleet, world.published) = whole;
    let first = world.ticks(1, 60, &[FINE, FINE, FINE, FINE, DOWN]);
    assert!(holds(&first).contains(&"withdraw n5 warmup".to_owned()), "{:?}", holds(&first));
    assert_eq!(of(&first, "n2").strikes, 1, "what is known of the others is kept");
}

#[test]
fn a_node_that_was_not_seen_since_a_start_is_watched_first() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.just_started = true;
    world.ticks(4, 60, &[Sees::NoRound, FINE, FINE, FINE]);
    let first = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!((first.vantage, holds(&first)), (Vantage::Clear, vec!["withdraw n1 warmup".to_owned()]));
}

#[test]
fn a_streak_with_a_hole_in_it_is_none() {
    let down = [DOWN, FINE, FINE, FINE];
    let after = |hole: fn(&mut World, [Sees; 4])| {
        let mut world = warm();
        world.anchors = Some((3, 3));
        world.ticks(4, 10, &[FINE]);
        world.ticks(3, 10, &down);
        hole(&mut world, down);
        let next = world.ticks(1, 10, &down);
        (of(&next, "n1").evidence, next.vantage)
    };
    assert_eq!(after(|_, _| {}), (Evidence::Down, Vantage::Clear));
    assert_eq!(after(|world, _| world.just_started = true), (Evidence::Suspect, Vantage::Blind));
    assert_eq!(after(|world, _| world.memory.last = None), (Evidence::Suspect, Vantage::Blind));
    assert_eq!(after(|world, _| world.clock.wall = world.clock.wall.shifted(-5_000)).0, Evidence::Suspect);
    let cut = |world: &mut World, down: [Sees; 4]| {
        world.anchors = Some((0, 3));
        world.ticks(1, 10, &down);
        world.anchors = Some((3, 3));
        world.ticks(1, 10, &[Sees::NoRound]);
    };
    assert_eq!(after(cut), (Evidence::Suspect, Vantage::Blind));
}

#[test]
fn what_waits_for_the_anchors_at_a_start_is_nothing() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(2, 60, &[FINE]);
    world.pass(60);
    let asked = world.clock.wall.minus(Duration::from_secs(5));
    let ruling = world.judge_at(&world.rounds(&[DEAD, FINE, FINE, FINE]), None, asked);
    assert_eq!(world.take(ruling).memory.nodes[&name("n1")].pending.len(), 1);
    world.just_started = true;
    assert_eq!(of(&world.ticks(1, 10, &[FINE]), "n1").strikes, 0);
}

#[test]
fn what_came_after_a_clock_step_is_where_it_was() {
    let mut world = warm();
    world.clock.wall = world.clock.wall.shifted(7_200_000);
    world.pass(60);
    let ruling = world.judge_rounds(&past(&world, &[10]), None);
    let round = ruling.judgement.memory.nodes[&name("n1")].last_round.clone().unwrap();
    assert_eq!(round.finished, world.clock.wall.minus(Duration::from_secs(10)));
}

#[test]
fn an_overload_is_none_before_it_is_known_what_is_usual() {
    let mut world = World::of(4);
    world.carries = Some(99);
    let first = world.ticks(1, 10, &[FINE]);
    assert_eq!((first.vantage, world.memory.pools[&name("p")].overload_since), (Vantage::Blind, None));
    assert_eq!(world.ticks(4, 10, &[FINE]).fleet, FleetVerdict::Overload);
}

#[test]
fn the_original_script_and_one_that_is_cut_off_know_no_evidence() {
    let mut world = warm();
    world.policy = world.policy.clone().classic();
    assert_eq!(of(&world.ticks(4, 10, &[DOWN, FINE, FINE, FINE]), "n1").evidence, Evidence::NoData);
    let mut world = warm();
    world.anchors = Some((0, 3));
    assert_eq!(of(&world.ticks(4, 10, &[DOWN, FINE, FINE, FINE]), "n1").evidence, Evidence::NoData);
    let mut world = warm();
    assert_eq!(of(&world.ticks(4, 10, &[DOWN, FINE, FINE, FINE]), "n1").evidence, Evidence::Down);
}

#[test]
fn the_original_script_asks_no_anchors() {
    for (classic, strikes) in [(true, 1), (false, 0)] {
        let mut world = warm();
        if classic {
            world.policy = world.policy.clone().classic();
        }
        world.anchors = Some((0, 3));
        world.ticks(2, 60, &[FINE]);
        world.anchors = Some((3, 3));
        // Its round began before they answered again.
        assert_eq!(of(&world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]), "n1").strikes, strikes);
    }
}

#[test]
fn in_whatever_order_rounds_come() {
    let world = warm();
    let judged = |rounds: &[Round]| {
        let mut world = World { memory: world.memory.clone(), ..World::of(4) };
        world.clock = World::of(4).clock;
        world.clock.wall = Time(1_700_000_000_000).plus(Duration::from_secs(360));
        world.clock.boot_ms += 360_000;
        world.judge_rounds(rounds, None).judgement
    };
    let mut later = World::of(4);
    later.pass(360);
    // Three of the same node at the same time, and all of them backwards.
    let mut rounds: Vec<Round> = [DEAD, FINE, DOWN].iter().flat_map(|sees| later.rounds(&[*sees])).collect();
    rounds.extend(past(&later, &[30, 20]));
    let forward = judged(&rounds);
    rounds.reverse();
    assert_eq!(judged(&rounds), forward);
    rounds.rotate_left(3);
    assert_eq!(judged(&rounds), forward);
}

#[test]
fn strikes_are_told_in_the_order_of_their_time() {
    let mut world = warm();
    world.pass(60);
    let mut rounds = world.rounds(&[DEAD]);
    for (round, ago) in rounds.iter_mut().zip([0, 20, 10, 0]) {
        round.started = round.started.minus(Duration::from_secs(ago));
        round.finished = round.finished.minus(Duration::from_secs(ago));
    }
    let ruling = world.judge_rounds(&rounds, None);
    let order: Vec<&str> = ruling.judgement.strikes.iter().map(|(node, _)| node.as_str()).collect();
    assert_eq!(order, ["n2", "n3", "n1", "n4"]);
}

#[test]
fn a_strike_names_each_fault_once() {
    let mut world = warmed(with_v6(4, &[1]));
    world.pass(60);
    let mut rounds = world.rounds(&[DEAD, FINE, FINE, FINE]);
    let other = world.fleet.nodes[&name("n1")].addresses[1];
    let mut more = rounds[0].observations.clone();
    more.iter_mut().for_each(|one| one.address = other);
    more.reverse();
    rounds[0].observations.extend(more);
    let ruling = world.judge_rounds(&rounds, None);
    let faults = &ruling.judgement.strikes[0].1.faults;
    assert!(faults.len() == ProbeKind::ALL.len() && faults.is_sorted(), "{faults:?}");
}

#[test]
fn sets_come_in_their_order() {
    let mut world = with_v6(2, &[1]);
    let pool = world.fleet.pools.get_mut(&name("p")).unwrap();
    pool.records = vec!["files".to_owned(), "@".to_owned()];
    let sets = sets_of(&world.fleet, world.pool());
    assert!(sets.len() == 4 && sets.is_sorted(), "{sets:?}");
}

#[test]
fn a_node_that_nobody_sees_any_more_is_not_in_trouble() {
    let back = |sees: Sees| {
        let mut world = warmed(World::of(6));
        world.ticks(6, 60, &[DEAD, FINE, FINE, FINE, FINE, FINE]);
        let hung = Sees::Only(ProbeKind::Https);
        world.ticks(2, 20, &[DEAD, FINE, FINE, FINE, hung, FINE]);
        world.ticks(6, 60, &[DEAD, FINE, FINE, FINE, sees, FINE]);
        let judged = world.ticks(3, 20, &[FINE, FINE, FINE, FINE, sees, FINE]);
        actions(&judged).contains(&"reinstate n1 S4.probation".to_owned())
    };
    assert!(!back(Sees::NoRound));
}

#[test]
fn what_is_told_twice_counts_once() {
    let mut world = warm();
    world.pass(10);
    let rounds = world.rounds(&[FINE]);
    let twice: Vec<Round> = rounds.iter().chain(&rounds).cloned().collect();
    let checks =
        |rounds: &[Round]| world.judge_rounds(rounds, None).judgement.memory.nodes[&name("n1")].recent.checks.len();
    assert_eq!(checks(&twice), checks(&rounds));
}

#[test]
fn what_began_in_the_dark_begins_no_streak() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(3, 60, &[FINE]);
    world.anchors = Some((0, 3));
    world.ticks(3, 60, &[DEAD]);
    world.anchors = Some((3, 3));
    let mut back = |sees: Sees, seconds: u64| {
        world.pass(seconds);
        let mut rounds = world.rounds(&[sees]);
        let all = rounds.iter_mut().flat_map(|round| &mut round.observations);
        all.for_each(|one| one.measured.total_us = 1_000_000);
        let ruling = world.judge_rounds(&rounds, None);
        world.take(ruling).memory.nodes[&name("n1")].recent.clone()
    };
    let dark = back(DEAD, 10);
    assert_eq!((dark.silence, dark.service), (None, None));
    // A success is one whenever it began, and a failure of after it is one, too.
    assert!(back(FINE, 0).life_at.is_some());
    let after = back(DEAD, 10);
    assert!(after.silence.is_some() && after.service.is_some(), "{after:?}");
}

#[test]
fn a_success_ends_what_a_failure_of_the_same_moment_begins() {
    let mut world = warmed(with_v6(4, &[1]));
    world.pass(10);
    let mut rounds = world.rounds(&[Sees::Only(ProbeKind::Https), FINE, FINE, FINE]);
    let other = world.fleet.nodes[&name("n1")].addresses[1];
    let mut more = world.rounds(&[FINE])[0].observations.clone();
    more.iter_mut().for_each(|one| one.address = other);
    rounds[0].observations.extend(more);
    let open = |rounds: &[Round]| {
        let recent = world.judge_rounds(rounds, None).judgement.memory.nodes[&name("n1")].recent.clone();
        (recent.service.is_some(), recent.silence.is_some())
    };
    assert_eq!(open(&rounds), (false, false));
    rounds[0].observations.reverse();
    assert_eq!(open(&rounds), (false, false));
}

#[test]
fn what_is_usual_of_a_node_is_learnt_from_each_answer_once() {
    let mut world = World::of(4);
    let mut answers = |ms: u32, times: u32| {
        for _ in 0..times {
            world.pass(10);
            let mut rounds = world.rounds(&[FINE]);
            let all = rounds.iter_mut().flat_map(|round| &mut round.observations);
            all.for_each(|one| one.measured.first_byte_us = Some(ms * 1000));
            let ruling = world.judge_rounds(&rounds, None);
            world.take(ruling);
        }
        world.memory.nodes[&name("n1")].recent.usual_answer
    };
    // In sixteenths of a millisecond, by a sixty-fourth of it.
    assert_eq!(answers(50, 10), Some(800));
    assert_eq!(answers(500, 1), Some(812));
    assert_eq!(answers(500, 1), Some(824));
    assert_eq!(answers(50, 1), Some(812));
    let steps = (0..8).fold(812, |usual, _| usual + usual / 64);
    assert_eq!(answers(60, 8), Some(steps));
}
