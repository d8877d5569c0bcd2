//! What evidence is worth: each number of it, met and just missed.

use serde_json::json;

use crate::scene::{Looks, Scene, Story};

const DIES: i64 = 120_000;
const LONG: i64 = 200_000;

fn from(start: i64, nodes: &'static [usize], how: Looks) -> impl Fn(usize, i64) -> Looks {
    move |node, now| if nodes.contains(&node) && now >= start { how } else { Looks::Fine }
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
fn the_dead_wait_a_moment_for_those_that_fall_silent() {
    let looks = |node, now| match node {
        2 if now >= DIES => Looks::Silent,
        3 if now >= DIES + 4_000 => Looks::Silent,
        _ => Looks::Fine,
    };
    // One cut, one change.
    let both = Scene::of(8, looks).with_relays().run(DIES + LONG);
    taken(&both, &["n2", "n3"]);
    assert_eq!(both.when("withdraw", "n2"), both.when("withdraw", "n3"), "{:?}", both.actions);
    assert!(both.is_held("n2", "peers"), "{:?}", both.holds);
    // Alone it would have left before.
    let alone = Scene::of(8, from(DIES, &[2], Looks::Silent)).with_relays().run(DIES + LONG);
    assert!(alone.when("withdraw", "n2") < both.when("withdraw", "n2"));
    assert!(!alone.is_held("n2", "peers"), "{:?}", alone.holds);
    // Whoever is waited for longer than that is not.
    let patience = |seconds: u32| {
        let wait = json!({"cut_wait": format!("{seconds}s")});
        let scene = Scene::of(8, looks).with_relays().policy("overload", wait);
        let scene = scene.policy("evidence", json!({"silent_confirmed": "20s"}));
        scene.run(DIES + LONG).when("withdraw", "n2").unwrap()
    };
    let waits: Vec<i64> = [0, 2, 6].map(patience).to_vec();
    assert_eq!((waits[1] - waits[0], waits[2] - waits[0]), (2_000, 6_000), "{waits:?}");
}

/// Four that carry 60 % each: the rest would carry 80.0 %.
fn four(looks: Looks, limits: serde_json::Value) -> Scene {
    Scene::of(4, from(DIES, &[2], looks)).with_load(|_, _| 60).policy("overload", limits)
}

#[test]
fn the_rest_may_carry_just_as_much_as_is_allowed() {
    let alone = |percent: u32| four(Looks::CutOff, json!({"room_percent": percent})).run(DIES + LONG);
    taken(&alone(80), &["n2"]);
    held(&alone(79), "n2", "unconfirmed");
    // Who was weak and slow.
    let weak = |percent: u32| {
        let limits = json!({"room_percent": percent});
        let load = |node, _| if node == 2 { 15 } else { 55 };
        let scene = Scene::of(4, from(DIES, &[2], Looks::Wrong)).with_load(load).policy("overload", limits);
        scene.run(DIES + 2 * LONG)
    };
    // Calm times are remembered: 180 % in all.
    taken(&weak(60), &["n2"]);
    held(&weak(59), "n2", "capacity");
}

#[test]
fn a_death_for_certain_that_the_rest_has_no_room_for() {
    let dies = |limits| four(Looks::Silent, limits).with_relays().run(DIES + LONG);
    taken(&dies(json!({"room_percent": 79})), &["n2"]);
    held(&dies(json!({"room_percent": 79, "on_shortage": "keep"})), "n2", "capacity");
    taken(&dies(json!({"room_percent": 80, "on_shortage": "keep"})), &["n2"]);
    // Nobody can shed load, and it would make an overload of a death.
    taken(&dies(json!({"room_percent": 70, "room_dead_percent": 80})), &["n2"]);
    held(&dies(json!({"room_percent": 70, "room_dead_percent": 79})), "n2", "capacity");
    // Whoever can makes room.
    let limits = json!({"room_percent": 70, "room_dead_percent": 79, "on_shortage": "keep"});
    taken(&four(Looks::Silent, limits).with_relays().with_shed().run(DIES + LONG), &["n2"]);
}

/// Everybody carries 99 % from a minute on; n4 looks well enough to be asked.
fn overloaded(how: Looks, load: impl Fn(i64) -> u64 + 'static, limits: serde_json::Value) -> Scene {
    let looks = move |node, now| match (node, now >= DIES) {
        (2, true) => how,
        (1 | 3, _) if now >= 60_000 => Looks::Full,
        _ => Looks::Fine,
    };
    let carries = move |node, now| match now {
        _ if node == 2 && now >= DIES => load(now),
        60_000.. => 99,
        _ => 60,
    };
    Scene::of(4, looks).with_relays().with_load(carries).policy("overload", limits)
}

#[test]
fn a_death_in_an_overload_must_last() {
    let story = overloaded(Looks::Silent, |_| 0, json!({})).run(DIES + LONG);
    taken(&story, &["n2"]);
    assert!(story.is_held("n2", "overload"), "{:?}", story.holds);
    let after = story.when("withdraw", "n2").unwrap() - DIES;
    assert!((132_000..=150_000).contains(&after), "{after}");
    let later = overloaded(Looks::Silent, |_| 0, json!({"dead_for": "130s"})).run(DIES + LONG);
    assert_eq!(later.when("withdraw", "n2").unwrap() - DIES - after, 10_000, "{:?}", later.actions);
    // The rest would carry 132.0 %.
    taken(&overloaded(Looks::Silent, |_| 0, json!({"room_dead_percent": 132})).run(DIES + LONG), &["n2"]);
    held(&overloaded(Looks::Silent, |_| 0, json!({"room_dead_percent": 131})).run(DIES + LONG), "n2", "overload");
}

#[test]
fn what_is_hung_and_idle_in_an_overload_leaves_only_where_there_is_room() {
    held(&overloaded(Looks::Hung, |_| 0, json!({})).run(DIES + 2 * LONG), "n2", "overload");
    // With a little more of it, it does as the dead do.
    let story = overloaded(Looks::Hung, |_| 0, json!({"room_percent": 132})).run(DIES + 2 * LONG);
    taken(&story, &["n2"]);
    assert!(story.when("withdraw", "n2").unwrap() - DIES >= 120_000, "{:?}", story.actions);
}

#[test]
fn after_one_that_hurt_nothing_leaves_for_soft_evidence_for_a_while() {
    let left = DIES + 240_000;
    let looks = move |node, now| match node {
        2 if now >= DIES => Looks::Full,
        3 if (left..left + 120_000).contains(&now) => Looks::Full,
        _ => Looks::Fine,
    };
    let scene = Scene::of(4, looks).with_load(|node, _| if node == 2 { 15 } else { 50 });
    let story = scene.policy("overload", json!({"regret_block": "20m"})).run(left + 1_500_000);
    taken(&story, &["n2", "n2"]);
    assert!(story.is_held("n2", "regret"), "{:?}", story.holds);
    let undone = story.when("reinstate", "n2").unwrap();
    let again = story.actions.iter().rfind(|one| one.1 == "withdraw").unwrap().0;
    assert!((1_200_000..1_210_000).contains(&(again - undone)), "{:?}", story.actions);
}

#[test]
fn soft_evidence_costs_a_pool_nothing_of_which_half_is_gone() {
    let looks = |gone: usize| {
        move |node, now| match node {
            _ if node <= gone && now >= DIES => Looks::Refused,
            4 if now >= DIES + 60_000 => Looks::Wrong,
            _ => Looks::Fine,
        }
    };
    let scene = |gone| Scene::of(6, looks(gone)).policy("keep", 1.into()).policy("max_withdrawn", 6.into());
    taken(&scene(2).run(DIES + 3 * LONG), &["n1", "n2", "n4"]);
    let story = scene(3).run(DIES + 3 * LONG);
    taken(&story, &["n1", "n2", "n3"]);
    held(&story, "n4", "keep");
}

#[test]
fn a_soft_withdrawal_waits_for_the_last_change() {
    let looks = |node, now| match node {
        1 if now >= DIES + 170_000 => Looks::Refused,
        2 if now >= DIES => Looks::Wrong,
        _ => Looks::Fine,
    };
    let gap = |settle: &str| {
        let scene = Scene::of(6, looks).policy("overload", json!({"settle": settle}));
        let story = scene.policy("strikes", 50.into()).run(DIES + 4 * LONG);
        taken(&story, &["n1", "n2"]);
        assert!(story.is_held("n2", "settle") || story.is_held("n2", "peers"), "{:?}", story.holds);
        story.when("withdraw", "n2").unwrap() - story.when("withdraw", "n1").unwrap()
    };
    // From when the change is to be seen, a registrar's time later.
    assert_eq!((gap("4m") - gap("3m"), gap("3m") / 10_000), (60_000, 18));
}
