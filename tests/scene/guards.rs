//! Every guard on either side of what it goes by.

use crate::scene::{Looks, Scene, Story};

const DIES: i64 = 120_000;
const LONG: i64 = 200_000;

fn dead(nodes: &'static [usize], how: Looks) -> impl Fn(usize, i64) -> Looks {
    move |node, now| if nodes.contains(&node) && now >= DIES { how } else { Looks::Fine }
}

fn full_from(start: i64) -> impl Fn(usize, i64) -> Looks {
    move |_, now| if now >= start { Looks::Full } else { Looks::Fine }
}

#[track_caller]
fn held(story: &Story, node: &str, guard: &str) {
    assert!(story.is_held(node, guard), "{:?} {:?} {:?}", story.holds, story.actions, story.fleet);
    assert!(!story.withdrawn().contains(&node), "{:?}", story.actions);
}

#[track_caller]
fn taken(story: &Story, nodes: &[&str]) {
    assert_eq!(story.withdrawn(), nodes, "{:?} {:?}", story.holds, story.fleet);
}

#[test]
fn overload_costs_nobody_its_record() {
    for load in [None, Some(97), Some(130)] {
        let scene = Scene::of(4, full_from(60_000));
        let scene = match load {
            Some(load) => scene.with_load(move |_, now| if now >= 60_000 { load } else { 60 }),
            None => scene,
        };
        let story = scene.run(20 * 60_000);
        taken(&story, &[]);
        assert!(story.fleet.contains("overload"), "{load:?}: {:?}", story.fleet);
    }
}

#[test]
fn the_original_rule_takes_two_of_them() {
    let mut scene = Scene::of(4, full_from(60_000));
    scene.policy = Some(witness::model::Policy::default().classic());
    assert_eq!(scene.run(20 * 60_000).withdrawn().len(), 2);
}

#[test]
fn a_witness_that_is_cut_off_convicts_nobody() {
    let mut scene = Scene::of(4, dead(&[1, 2, 3, 4], Looks::CutOff));
    scene.anchors = Box::new(|now| now < DIES);
    let story = scene.run(DIES + LONG);
    taken(&story, &[]);
    assert!(story.fleet.contains("isolated"), "{:?}", story.fleet);
}

#[test]
fn nobody_leaves_when_nobody_answers() {
    let story = Scene::of(4, dead(&[1, 2, 3, 4], Looks::Silent)).with_relays().run(DIES + LONG);
    taken(&story, &[]);
    assert!(story.fleet.contains("dark"), "{:?}", story.fleet);
}

#[test]
fn the_last_ones_are_kept() {
    taken(&Scene::of(3, dead(&[1], Looks::Refused)).run(DIES + LONG), &["n1"]);
    let story = Scene::of(3, dead(&[1, 2], Looks::Refused)).run(DIES + LONG);
    taken(&story, &["n1"]);
    held(&story, "n2", "keep");
}

#[test]
fn no_more_leave_than_may() {
    let scene = || Scene::of(8, dead(&[1, 2, 3], Looks::Refused));
    taken(&scene().policy("max_withdrawn", 3.into()).run(DIES + LONG), &["n1", "n2", "n3"]);
    let story = scene().run(DIES + LONG);
    taken(&story, &["n1", "n2"]);
    held(&story, "n3", "max-withdrawn");
}

#[test]
fn a_silence_that_nobody_confirms_must_be_harmless_if_it_is_none() {
    let scene = |load: u64| Scene::of(4, dead(&[2], Looks::CutOff)).with_load(move |_, _| load);
    taken(&scene(60).run(DIES + LONG), &["n2"]);
    let story = scene(80).run(DIES + LONG);
    taken(&story, &[]);
    held(&story, "n2", "unconfirmed");
}

#[test]
fn without_figures_half_of_the_pool_must_answer() {
    let scene =
        |nodes| Scene::of(6, dead(nodes, Looks::CutOff)).policy("max_withdrawn", 5.into()).policy("keep", 1.into());
    taken(&scene(&[1, 2, 3]).run(DIES + LONG), &["n1", "n2", "n3"]);
    let story = scene(&[1, 2, 3, 4]).run(DIES + LONG);
    assert!(story.withdrawn().len() <= 3, "{:?}", story.actions);
    assert!(story.holds.keys().any(|(_, guard)| guard == "unconfirmed"), "{:?}", story.holds);
}

#[test]
fn whoever_others_reach_is_partitioned() {
    let story = Scene::of(4, dead(&[2], Looks::CutOff)).with_relays().run(DIES + 2 * LONG);
    taken(&story, &[]);
    assert!(story.verdicts.contains(&("n2".to_owned(), "partitioned".to_owned())), "{:?}", story.verdicts);
}

#[test]
fn the_same_fault_on_several_is_common() {
    let scene = |nodes| Scene::of(4, dead(nodes, Looks::Wrong)).with_load(|_, _| 40).policy("strikes", 50.into());
    let story = scene(&[2]).run(DIES + 2 * LONG);
    taken(&story, &["n2"]);
    assert_eq!(story.rule("withdraw", "n2"), Some("R7.broken"));
    let story = scene(&[2, 3]).run(DIES + 2 * LONG);
    taken(&story, &[]);
    assert!(story.fleet.contains("common-fault"), "{:?}", story.fleet);
}

#[test]
fn a_node_that_says_it_has_too_much_to_do_stays() {
    let story = Scene::of(4, dead(&[2], Looks::Shedding)).run(DIES + 20 * 60_000);
    taken(&story, &[]);
}

#[test]
fn ssh_alone_convicts_nobody() {
    let story = Scene::of(4, dead(&[2], Looks::NoSsh)).run(DIES + 20 * 60_000);
    taken(&story, &[]);
    held(&story, "n2", "still-serves");
}

#[test]
fn one_that_is_slow_leaves_only_if_it_is_weak_and_the_rest_can_carry_it() {
    let scene = |own: u64, others: u64| {
        Scene::of(4, dead(&[2], Looks::Full)).with_load(move |node, _| if node == 2 { own } else { others })
    };
    taken(&scene(20, 50).run(DIES + 2 * LONG), &["n2"]);
    held(&scene(50, 50).run(DIES + 2 * LONG), "n2", "still-serves");
    held(&scene(50, 90).run(DIES + 2 * LONG), "n2", "capacity");
    // And nobody knows without figures.
    held(&Scene::of(4, dead(&[2], Looks::Full)).run(DIES + 2 * LONG), "n2", "capacity");
}

#[test]
fn what_hurt_the_others_is_undone() {
    // As soon as n2 has left, n3 is in trouble.
    let left = DIES + 240_000;
    let looks = move |node, now| match node {
        2 if now >= DIES => Looks::Full,
        3 if now >= left => Looks::Full,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).with_load(|node, _| if node == 2 { 15 } else { 50 }).run(left + 400_000);
    assert_eq!(story.withdrawn(), ["n2"], "{:?} {:?}", story.actions, story.holds);
    assert!(story.when("withdraw", "n2").unwrap() < left, "{:?}", story.actions);
    assert_eq!(story.rule("reinstate", "n2"), Some("R5b.regret"), "{:?}", story.actions);
    assert!(story.when("reinstate", "n2").unwrap() - left <= 120_000, "{:?}", story.actions);
}

#[test]
fn the_ladder_goes_up_while_there_is_too_much_and_down_slowly() {
    let over = 600_000;
    let load = move |_: usize, now: i64| if (60_000..over).contains(&now) { 99 } else { 30 };
    let story = Scene::of(4, |_, _| Looks::Fine).with_shed().with_load(load).run(over + 1_800_000);
    taken(&story, &[]);
    let steps: Vec<(i64, &str)> =
        story.actions.iter().filter(|one| one.1 == "shed").map(|one| (one.0, one.3.as_str())).collect();
    assert_eq!(story.steps.iter().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "{steps:?}");
    let downs: Vec<i64> = steps.iter().filter(|(_, rule)| *rule == "L2.down").map(|(at, _)| *at).collect();
    assert!(downs[0] >= over && downs.windows(2).all(|two| two[1] - two[0] >= 300_000), "{steps:?}");
    // Below the limits nobody is told anything.
    let calm = Scene::of(4, |_, _| Looks::Fine).with_shed().with_load(|_, _| 80).run(600_000);
    assert!(calm.steps.is_empty(), "{:?}", calm.actions);
}

#[test]
fn a_pause_neither_convicts_nor_forgets() {
    // Ten seconds before n2 would be taken, the witness stands still for a while.
    let scene = |paused: bool| {
        let mut scene = Scene::of(4, dead(&[2], Looks::Refused));
        if paused {
            scene.more.push((DIES + 8_500, serde_json::json!({"k": "clock", "wall_step_ms": 0, "pause_ms": 60_000})));
        }
        scene.run(DIES + LONG).when("withdraw", "n2").unwrap() - DIES
    };
    let (straight, paused) = (scene(false), scene(true));
    assert!(paused > straight && paused <= straight + 40_000, "{straight} {paused}");
}

#[test]
fn a_step_of_the_clock_convicts_nobody() {
    for step in [-3_600_000, -5_000, 5_000, 3_600_000] {
        let mut scene = Scene::of(4, dead(&[2], Looks::Refused));
        scene.more.push((DIES - 20_000, serde_json::json!({"k": "clock", "wall_step_ms": step, "pause_ms": 0})));
        taken(&scene.run(DIES + LONG), &["n2"]);
    }
}

#[test]
fn two_in_trouble_each_in_its_own_way_are_no_overload() {
    let looks = |node, now| match node {
        1 if now >= DIES => Looks::Hung,
        2 if now >= DIES => Looks::Wrong,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).run(DIES + 2 * LONG);
    assert!(!story.fleet.contains("overload"), "{:?} {:?}", story.fleet, story.actions);
}

#[test]
fn what_serves_nobody_is_not_put_back_for_the_others() {
    // n2 answers wrongly and leaves; then n3 is in trouble.
    let looks = |node, now| match node {
        2 if now >= DIES => Looks::Wrong,
        3 if now >= DIES + 220_000 => Looks::Full,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).with_load(|_, _| 40).run(DIES + 3 * LONG);
    taken(&story, &["n2"]);
    assert!(story.when("withdraw", "n2").unwrap() < DIES + 220_000, "{:?}", story.actions);
    assert_eq!(story.when("reinstate", "n2"), None, "{:?}", story.actions);
}

#[test]
fn one_that_answers_wrongly_waits_while_another_sheds_load() {
    let looks = |node, now| match node {
        2 if now >= DIES => Looks::Wrong,
        3 if now >= DIES => Looks::Shedding,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).run(DIES + 2 * LONG);
    taken(&story, &[]);
    held(&story, "n2", "peers");
}

#[test]
fn who_was_in_trouble_before_does_not_suffer_from_a_withdrawal() {
    // n3 begins to hang a moment before n2 leaves, and is soft only after it.
    let left = Scene::of(4, dead(&[2], Looks::Wrong)).run(DIES + 2 * LONG).when("withdraw", "n2").unwrap();
    let hangs = left - 18_000;
    let looks = move |node, now| match node {
        // It has mended by the time that somebody might want it back.
        2 if (DIES..left + 2_000).contains(&now) => Looks::Wrong,
        3 if now >= hangs => Looks::Hung,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).run(left + 30_000);
    taken(&story, &["n2"]);
    assert_eq!(story.rule("reinstate", "n2"), None, "{:?}", story.actions);
}

/// What another witness says while n2 is silent to us.
fn with_vote(evidence: &str, rounds: u32) -> Story {
    let mut scene = Scene::of(4, dead(&[2], Looks::CutOff));
    let vote = |after: i64| {
        let line =
            serde_json::json!({"k": "vote", "w": "w2", "n": "n2", "ev": evidence, "rounds": rounds, "age_ms": 300});
        (DIES + after, line)
    };
    scene.more.extend((10..70).step_by(10).map(|seconds| vote(seconds * 1_000)));
    scene.run(DIES + 60_000)
}

#[test]
fn another_witness_confirms_or_vetoes() {
    let silent = with_vote("silent", 8);
    assert!(silent.when("withdraw", "n2").unwrap() - DIES <= 28_000, "{:?}", silent.actions);
    taken(&with_vote("fine", 8), &[]);
    // It does not know either: as if it were not there.
    assert!(with_vote("nodata", 8).when("withdraw", "n2").unwrap() - DIES >= 38_000);
}

#[test]
fn who_comes_back_first_does_not_make_room_for_the_withdrawal_of_the_others() {
    // Most are out of sight, too many to act on; then they come back, one a moment before the other.
    let looks = |node: usize, now| {
        let until = DIES + LONG + 2_000 * node as i64;
        if (2..=6).contains(&node) && (DIES..until).contains(&now) { Looks::CutOff } else { Looks::Fine }
    };
    let story = Scene::of(8, looks).run(DIES + 2 * LONG);
    taken(&story, &[]);
    held(&story, "n6", "unconfirmed");
    held(&story, "n6", "peers");
}

#[test]
fn some_of_many_silent_nodes_do_not_leave_because_there_is_room_for_some() {
    let load = |percent: u64| {
        let silent = |node: usize, now: i64| (2..=6).contains(&node) && now >= DIES;
        let looks = move |node, now| if silent(node, now) { Looks::CutOff } else { Looks::Fine };
        Scene::of(8, looks).with_load(move |_, _| percent).run(DIES + LONG)
    };
    let story = load(50);
    taken(&story, &[]);
    held(&story, "n2", "unconfirmed");
    // Three could carry it all: then it does no harm were it wrong.
    assert_eq!(load(30).withdrawn().len(), 2, "as many as max_withdrawn lets go");
}

#[test]
fn figures_that_fall_in_an_overload_do_not_make_it_trouble_on_the_way() {
    // Full, then a port that is refused while the others are full still, and their figures collapse.
    let looks = |node, now| match node {
        2 if now >= DIES + 80_000 => Looks::Refused,
        _ if now >= DIES => Looks::Full,
        _ => Looks::Fine,
    };
    let load = |_, now: i64| {
        if now < DIES {
            90
        } else if now < DIES + 60_000 {
            100
        } else {
            40
        }
    };
    let story = Scene::of(4, looks).with_load(load).run(DIES + 80_000 + 100_000);
    taken(&story, &[]);
    held(&story, "n2", "overload");
    assert!(!story.fleet.contains("path-trouble"), "{:?}", story.fleet);
}

#[test]
fn a_blip_after_three_others_is_no_steady_failure() {
    // Each lasts long enough for three failing fast rounds; two nodes have theirs at other times.
    let blip = |node: usize, now: i64| (now - node as i64 * 300_000).rem_euclid(600_000) < 14_000 && now > DIES;
    let looks = move |node, now| if matches!(node, 2 | 3) && blip(node, now) { Looks::CutOff } else { Looks::Fine };
    let story = Scene::of(4, looks).run(3_600_000);
    taken(&story, &[]);
    held(&story, "n2", "capacity");
}

#[test]
fn what_comes_and_goes_is_told_once_in_a_while() {
    // Its ssh fails in every other minute for 40 minutes: one trouble, not twenty.
    let looks = |node: usize, now: i64| {
        let ssh = node == 2 && now > DIES && (now / 60_000) % 2 == 0;
        if ssh { Looks::NoSsh } else { Looks::Fine }
    };
    let story = Scene::of(4, looks).run(2_400_000);
    taken(&story, &[]);
    let alerts = story.actions.iter().filter(|(_, action, node, _)| action == "alert" && node == "n2").count();
    assert_eq!(alerts, 1, "{:?}", story.actions);
}

#[test]
fn what_the_dead_carried_is_not_counted_twice() {
    // Half of the clients of the dead are with the others by now: five carry 61 % where eight carried 50 %, and with all
    // of it they would carry 80 %.
    let load = |_, now: i64| if now < DIES { 50 } else { 61 };
    let scene = Scene::of(8, dead(&[2, 3, 4], Looks::Silent)).with_load(load).policy("max_withdrawn", 3.into());
    let story = scene.run(DIES + 60_000);
    taken(&story, &["n2", "n3", "n4"]);
}

#[test]
fn a_silent_node_that_strikes_nominate_waits_for_what_others_say() {
    // Three blips, long enough ago, and a fourth that others do not have.
    let blip = |node: usize, now: i64| node == 2 && now > DIES && (now - DIES) % 400_000 < 12_000;
    let looks = move |node, now| if blip(node, now) { Looks::CutOff } else { Looks::Fine };
    let story = Scene::of(4, looks).with_relays().run(2_400_000);
    taken(&story, &[]);
    held(&story, "n2", "unconfirmed");
    // Alone it is one node's sporadic trouble, and leaves.
    assert!(!Scene::of(4, looks).run(2_400_000).withdrawn().is_empty());
}

#[test]
fn failures_in_a_row_for_some_seconds_are_not_steady() {
    // Four strikes in six minutes, each of several failing rounds within 24 s; all others are clean.
    let fails = |node: usize, now: i64| node == 2 && now >= DIES && (now - DIES) % 120_000 < 24_000;
    let looks = move |node, now| if fails(node, now) { Looks::CutOff } else { Looks::Fine };
    let story = Scene::of(4, looks).run(DIES + 400_000);
    taken(&story, &[]);
    held(&story, "n2", "capacity");
}

#[test]
fn a_death_is_not_made_an_overload_of_whoever_is_left() {
    // Two of three are dead for certain, and the one that is left would have to carry it all.
    let story = |load: u64| {
        let scene = Scene::of(3, dead(&[2, 3], Looks::Silent)).with_relays().with_load(move |_, _| load);
        scene.policy("keep", 1.into()).policy("max_withdrawn", 2.into()).run(DIES + 60_000)
    };
    taken(&story(45), &["n2", "n3"]);
    let full = story(60);
    assert_eq!(full.withdrawn().len(), 1, "{:?}", full.actions);
    held(&full, "n3", "capacity");
}
