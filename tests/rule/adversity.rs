//! Histories that were thought up to break the rule.

use std::net::IpAddr;
use std::time::Duration;

use witness::model::{NodeVerdict, PinState, RecordType, Standing, Time, Vantage};

use crate::world::{NOTHING, Sees, World, actions, holds, name, of, past, with_v6};
use crate::{DEAD, FINE, warm, warmed};

#[test]
fn what_no_anchor_confirms_withdraws_nobody() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.just_started = true;
    assert_eq!(holds(&world.ticks(1, 60, &[DEAD, FINE, FINE, FINE])), ["withdraw n1 warmup"]);
    world.ticks(12, 60, &[FINE]);
    let mut tick = |ago: u64| {
        world.pass(10);
        let asked = world.clock.wall.minus(Duration::from_secs(ago));
        let ruling = world.judge_at(&world.rounds(&[DEAD, FINE, FINE, FINE]), None, asked);
        world.take(ruling)
    };
    // All four strikes are there, and the newest failure may be our own.
    let first = tick(5);
    assert_eq!((actions(&first).as_slice(), holds(&first)), (&NOTHING[..], vec!["withdraw n1 vantage".to_owned()]));
    let second = tick(5);
    assert_eq!(actions(&second), ["withdraw n1 S2.strikes"], "the first of the two is confirmed");
}

#[test]
fn failures_that_pile_up_unconfirmed_withdraw_nobody() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    let asked = world.clock.wall;
    for _ in 0..12 {
        world.pass(10);
        let ruling = world.judge_at(&world.rounds(&[DEAD, FINE, FINE, FINE]), None, asked);
        assert_eq!(ruling.plans, []);
        let judgement = world.take(ruling);
        assert!(judgement.memory.nodes[&name("n1")].pending.len() <= 4);
    }
}

#[test]
fn who_only_sheds_load_is_not_withdrawn_for_old_strikes() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.just_started = true;
    world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    let last = world.ticks(5, 60, &[Sees::Shedding, FINE, FINE, FINE]);
    assert_eq!((actions(&last).as_slice(), holds(&last)), (&NOTHING[..], vec!["withdraw n1 still-serves".to_owned()]));
    assert_eq!(of(&last, "n1").verdict, NodeVerdict::Degraded);
}

#[test]
fn what_stayed_as_the_last_of_a_set_goes_when_it_is_not_the_last() {
    let mut world = warmed(with_v6(6, &[1, 2]));
    world.ticks(5, 60, &[DEAD, FINE, FINE, FINE, FINE, FINE]);
    world.ticks(4, 60, &[DEAD, DEAD, FINE, FINE, FINE, FINE]);
    assert_eq!(world.set("@", RecordType::Aaaa), ["2001:db8::2"], "both are dead, and one has to stay");
    world.ticks(8, 60, &[FINE, DEAD, FINE, FINE, FINE, FINE]);
    assert_eq!(world.set("@", RecordType::Aaaa), ["2001:db8::1"]);
    assert_eq!(world.set("files", RecordType::Aaaa), ["2001:db8::1"]);
    assert_eq!(world.memory.nodes[&name("n2")].withdrawals.len(), 1);
    world.ticks(8, 60, &[FINE]);
    assert_eq!(world.set("@", RecordType::Aaaa).len(), 2);
}

#[test]
fn coming_back_in_part_is_not_being_back() {
    for fails in [false, true] {
        let mut world = warm();
        world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
        world.follows = false;
        let back = world.ticks(4, 20, &[FINE]);
        assert_eq!(actions(&back), ["reinstate n1 S4.probation"]);
        world.set_mut("@", RecordType::A).addresses.insert("192.0.2.1".parse().unwrap());
        world.follows = true;
        let sees = if fails { DEAD } else { FINE };
        let next = world.ticks(1, 20, &[sees, FINE, FINE, FINE]);
        if fails {
            assert_eq!(of(&next, "n1").standing, Standing::Withdrawn);
            world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
            assert_eq!(world.in_dns(), ["n2", "n3", "n4"]);
        } else {
            assert_eq!(actions(&next), ["reinstate n1 S4.probation"]);
            assert_eq!(world.set("files", RecordType::A).len(), 5);
            assert_eq!(of(&world.ticks(1, 20, &[FINE]), "n1").standing, Standing::Serving);
        }
    }
}

#[test]
fn a_wish_that_nothing_renews_is_dropped_and_was_no_withdrawal() {
    let mut world = warm();
    world.follows = false;
    world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    let soon = world.ticks(1, 60, &[FINE]);
    assert_eq!((of(&soon, "n1").standing, actions(&soon).as_slice()), (Standing::Withdrawn, &NOTHING[..]));
    let later = world.ticks(1, 60, &[FINE]);
    assert_eq!(of(&later, "n1").standing, Standing::Suspect);
    assert_eq!(later.memory.nodes[&name("n1")].withdrawals.len(), 0);
    // And one that lands before that is ours.
    let mut world = warm();
    world.follows = false;
    let ruled = world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    world.ticks(1, 60, &[FINE]);
    assert_eq!(actions(&ruled), ["withdraw n1 S2.strikes"]);
    for owner in ["@", "files"] {
        world.set_mut(owner, RecordType::A).addresses.remove(&IpAddr::from([192, 0, 2, 1]));
    }
    let landed = world.ticks(1, 30, &[FINE]);
    assert_eq!((actions(&landed).as_slice(), of(&landed, "n1").standing), (&NOTHING[..], Standing::Probation));
}

#[test]
fn nothing_comes_back_while_another_change_is_under_way() {
    let mut world = warmed(World::of(8));
    let mut sees = vec![FINE; 8];
    sees[0] = DEAD;
    world.ticks(8, 60, &sees);
    world.follows = false;
    world.pin("n2", PinState::Out);
    assert_eq!(actions(&world.ticks(1, 10, &sees)), ["withdraw n2 H2.pin"]);
    sees[0] = FINE;
    let next = world.ticks(3, 30, &sees);
    assert_eq!(
        (actions(&next), holds(&next)),
        (vec!["withdraw n2 H2.pin".to_owned()], vec!["reinstate n1 settle".to_owned()])
    );
    // Unless it is missed: another one dies.
    sees[3] = DEAD;
    let missed = world.ticks(2, 30, &sees);
    assert_eq!(actions(&missed), ["withdraw n2 H2.pin", "reinstate n1 S4.probation"]);
}

#[test]
fn rounds_that_come_twice_or_late_count_once_and_do_not_turn_time_back() {
    let mut world = warm();
    let dead = past(&world, &[0]);
    world.pass(60);
    let mut rounds = past(&world, &[0, 0]);
    rounds.extend(dead.clone());
    let ruling = world.judge_rounds(&rounds, None);
    let memory = &ruling.judgement.memory.nodes[&name("n1")];
    assert_eq!((memory.failed_rounds, memory.strikes.len()), (1, 1), "the round before was clean, and is kept");
    world.take(ruling);
    world.pass(60);
    let fine = world.tick(&[FINE]);
    assert_eq!(fine.memory.nodes[&name("n1")].clean_rounds, 1);
    world.pass(60);
    // Older than what is known: a failure, and not the newest.
    let ruling = world.judge_rounds(&past(&world, &[70, 90, 125]), None);
    let memory = &ruling.judgement.memory.nodes[&name("n1")];
    assert_eq!((memory.failed_rounds, memory.clean_rounds), (0, 1));
    assert!(memory.last_round.as_ref().unwrap().clean());
    assert_eq!(memory.strikes.len(), 1, "less than a strike's spacing after the one that is known");
}

#[test]
fn rounds_from_before_a_clock_step_are_as_old_as_they_are() {
    for step_s in [7200i64, -7200] {
        let mut world = warm();
        world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
        world.pass(60);
        let rounds = world.rounds(&[DEAD, FINE, FINE, FINE]);
        world.clock.wall = world.clock.wall.shifted(step_s * 1000);
        let ruling = world.judge_rounds(&rounds, None);
        assert_eq!(of(&ruling.judgement, "n1").strikes, 4, "{step_s}");
        let memory = &ruling.judgement.memory.nodes[&name("n1")];
        assert_eq!(memory.strikes.last().unwrap().at, world.clock.wall);
        assert_eq!(memory.last_round.as_ref().unwrap().finished, world.clock.wall);
        assert_eq!(memory.last_round.as_ref().unwrap().started, world.clock.wall.minus(Duration::from_secs(1)));
        assert_eq!(ruling.plans.len(), usize::from(step_s > 0));
    }
}

#[test]
fn another_boot_tells_no_step_forward() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.clock.boot_id = "another".to_owned();
    world.clock.boot_ms = 1000;
    let last = world.ticks(1, 600, &[DEAD, FINE, FINE, FINE]);
    assert_eq!((of(&last, "n1").strikes, holds(&last)), (4, vec!["withdraw n1 warmup".to_owned()]));
    // A machine without a clock of its own starts in the past: ages stay what they are.
    world.clock.boot_id = "a third".to_owned();
    world.clock.wall = Time(1000);
    let last = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(
        (of(&last, "n1").strikes, holds(&last)),
        (4, vec!["withdraw n1 clock".to_owned()]),
        "no time has passed"
    );
}

#[test]
fn isolation_ends_with_the_anchors_or_without_any() {
    let mut world = warm();
    world.anchors = Some((0, 3));
    assert_eq!(world.ticks(2, 60, &[DEAD]).vantage, Vantage::Isolated);
    world.anchors = None;
    let freed = world.ticks(1, 60, &[FINE]);
    assert_eq!(freed.vantage, Vantage::Blind);
    assert_eq!(world.ticks(2, 60, &[FINE]).vantage, Vantage::Clear);
    for (ok, of, isolated) in [(1, 2, false), (1, 3, true), (2, 4, false), (0, 0, false), (u32::MAX, u32::MAX, false)] {
        world.anchors = Some((ok, of));
        let judged = world.ticks(1, 60, &[FINE]);
        assert_eq!(judged.vantage == Vantage::Isolated, isolated, "{ok} of {of}");
    }
}

#[test]
fn anchors_that_answer_now_and_then_let_nothing_through() {
    let mut world = warm();
    for i in 0..40 {
        world.anchors = Some(if i % 2 == 0 { (0, 3) } else { (3, 3) });
        let judged = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
        assert_eq!(actions(&judged), NOTHING);
    }
}

#[test]
fn serving_again_is_held_and_no_alert() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.just_started = true;
    world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    let last = world.ticks(3, 60, &[FINE]);
    assert_eq!((actions(&last).as_slice(), holds(&last)), (&NOTHING[..], vec!["withdraw n1 still-serves".to_owned()]));
}

#[test]
fn many_rounds_in_one_tick_are_no_warm_up() {
    let mut world = World::of(4);
    world.policy.strikes = 1;
    world.pass(60);
    let ruling = world.judge_rounds(&past(&world, &[6, 4, 2, 0]), None);
    assert_eq!(holds(&ruling.judgement), ["withdraw n1 warmup"]);
    assert_eq!(ruling.judgement.vantage, Vantage::Blind);
}

#[test]
fn a_daemon_does_not_take_over_the_rhythm_of_cron() {
    let mut world = World::of(4);
    world.ticks(12, 300, &[FINE]);
    world.just_started = true;
    world.ticks(3, 10, &[FINE]);
    // Half a minute later it is a gap again.
    world.ticks(1, 40, &[FINE]);
    assert_eq!(world.memory.ticks_seen, 1);
}

#[test]
fn data_that_is_three_intervals_old_is_none() {
    for (every, verdict) in [(30, NodeVerdict::Healthy), (31, NodeVerdict::Unknown)] {
        let mut world = World::of(4);
        world.ticks(8, 10, &[FINE]);
        for _ in 0..3 {
            world.pass(10);
            world.tick(&[Sees::NoRound]);
        }
        world.pass(every - 30);
        assert_eq!(of(&world.tick(&[Sees::NoRound]), "n1").verdict, verdict, "{every}");
    }
}

#[test]
fn what_is_not_known_any_more_withdraws_nobody() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.readable = false;
    world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    world.ticks(4, 60, &[Sees::NoRound, FINE, FINE, FINE]);
    world.readable = true;
    let last = world.ticks(1, 60, &[Sees::NoRound, FINE, FINE, FINE]);
    assert_eq!((of(&last, "n1").strikes, of(&last, "n1").verdict), (4, NodeVerdict::Unknown));
    assert_eq!((actions(&last).as_slice(), holds(&last).as_slice()), (&NOTHING[..], &NOTHING[..]));
}

#[test]
fn to_ask_no_anchor_is_no_answer() {
    let mut world = warm();
    world.anchors = Some((0, 3));
    world.ticks(2, 60, &[FINE]);
    world.anchors = Some((0, 0));
    assert_eq!(world.ticks(2, 60, &[FINE]).vantage, Vantage::Isolated);
}

#[test]
fn what_is_not_known_any_more_does_not_come_back() {
    let mut world = warm();
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    world.readable = false;
    world.ticks(6, 60, &[FINE]);
    world.ticks(4, 60, &[Sees::NoRound, FINE, FINE, FINE]);
    world.readable = true;
    let last = world.ticks(1, 60, &[Sees::NoRound, FINE, FINE, FINE]);
    assert_eq!((actions(&last).as_slice(), world.in_dns().len()), (&NOTHING[..], 3));
}

#[test]
fn probation_counts_rounds_too() {
    for rounds in [1, 3] {
        let mut world = warm();
        world.policy.probation = Duration::ZERO;
        world.policy.probation_rounds = rounds;
        world.ticks(8, 60, &[DEAD, FINE, FINE, FINE]);
        for round in 1..=rounds {
            let judged = world.ticks(1, 10, &[FINE]);
            assert_eq!(judged.actions.len(), usize::from(round == rounds), "{round} of {rounds}");
        }
    }
}

#[test]
fn the_usual_rhythm_is_the_median() {
    let mut world = World::of(4);
    world.ticks(4, 10, &[FINE]);
    world.ticks(5, 300, &[FINE]);
    world.pass(300);
    assert_eq!(of(&world.tick(&[Sees::NoRound]), "n1").verdict, NodeVerdict::Healthy);
    world.ticks(8, 10, &[FINE]);
    world.pass(300);
    assert_eq!(of(&world.tick(&[Sees::NoRound]), "n1").verdict, NodeVerdict::Unknown);
}
