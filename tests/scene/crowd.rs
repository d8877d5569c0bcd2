//! One node or all: how many it takes, how long it lasts, and what is better then.

use serde_json::json;

use crate::scene::{Looks, Scene, Story};

const DIES: i64 = 120_000;
const LONG: i64 = 200_000;

fn from(start: i64, nodes: usize, how: Looks) -> impl Fn(usize, i64) -> Looks {
    move |node, now| if node <= nodes && now >= start { how } else { Looks::Fine }
}

fn has(story: &Story, fleet: &str) -> bool {
    story.fleet.contains(fleet)
}

#[test]
fn a_third_of_the_nodes_and_two_at_least_are_everybody() {
    let soft = |of: usize, many: usize| has(&Scene::of(of, from(60_000, many, Looks::Full)).run(LONG), "overload");
    assert_eq!((soft(4, 1), soft(4, 2)), (false, true));
    assert_eq!((soft(7, 2), soft(7, 3)), (false, true));
    let asks = |key: &str, value: u32| {
        let scene = Scene::of(6, from(60_000, 2, Looks::Full)).policy("overload", json!({ key: value }));
        has(&scene.run(LONG), "overload")
    };
    assert_eq!((asks("together_nodes", 2), asks("together_nodes", 3)), (true, false));
    assert_eq!((asks("together_one_in", 3), asks("together_one_in", 2)), (true, false));
}

#[test]
fn the_way_to_them_is_to_blame_where_none_carries_much() {
    let full = |load: u64| Scene::of(4, from(60_000, 4, Looks::Full)).with_load(move |_, _| load).run(LONG);
    let (much, little) = (full(60), full(59));
    assert!(has(&much, "overload") && !has(&much, "path-trouble"), "{:?}", much.fleet);
    assert!(has(&little, "path-trouble") && !has(&little, "overload"), "{:?}", little.fleet);
    let mean = |load: u64| has(&Scene::of(4, |_, _| Looks::Fine).with_load(move |_, _| load).run(LONG), "overload");
    assert_eq!((mean(95), mean(94)), (true, false));
}

#[test]
fn an_overload_ends_when_it_has_not_shown_for_long_enough() {
    // All are full for a minute; then one answers wrongly, and the others are well.
    let looks = |node, now| match node {
        _ if (60_000..DIES).contains(&now) => Looks::Full,
        2 if now >= DIES => Looks::Wrong,
        _ => Looks::Fine,
    };
    let left = |latch: &str| {
        let scene = Scene::of(4, looks).with_load(|_, now| if (60_000..DIES).contains(&now) { 99 } else { 40 });
        let story = scene.policy("overload", json!({"latch": latch})).run(DIES + 1_200_000);
        assert_eq!(story.withdrawn(), ["n2"], "{:?}", story.holds);
        assert!(story.is_held("n2", "overload"), "{:?}", story.holds);
        story.when("withdraw", "n2").unwrap()
    };
    let usual = left("10m");
    assert!((600_000..900_000).contains(&(usual - DIES)), "{usual}");
    assert_eq!(left("12m") - usual, 120_000);
}

#[test]
fn a_common_fault_is_one_that_is_certain_for_one_of_them() {
    let common = |second: i64, until: i64| {
        let looks = move |node, now| match node {
            2 if now >= DIES => Looks::Wrong,
            3 if now >= second => Looks::Wrong,
            _ => Looks::Fine,
        };
        has(&Scene::of(4, looks).run(until), "common-fault")
    };
    assert!(!common(DIES, DIES + 50_000));
    assert!(common(DIES, DIES + 80_000));
    // One that has only begun to belongs to it, from its second round on.
    assert!(!common(DIES + 90_000, DIES + 88_000));
    assert!(common(DIES + 90_000, DIES + 100_000));
    assert!(!common(i64::MAX, DIES + LONG));
}

#[test]
fn capacity_that_is_needed_comes_back_sooner() {
    let mends = DIES + 100_000;
    let back = |others: usize, trouble: Looks| {
        let looks = move |node, now| match node {
            _ if node <= 1 + others && (DIES..mends).contains(&now) => Looks::Refused,
            6 if now >= mends - 20_000 => trouble,
            _ => Looks::Fine,
        };
        let story = Scene::of(6, looks).run(mends + 120_000);
        story.when("reinstate", "n1").unwrap() - mends
    };
    let alone = back(0, Looks::Fine);
    assert!((60_000..80_000).contains(&alone), "{alone}");
    let two = back(1, Looks::Fine);
    assert!((20_000..40_000).contains(&two), "another is out as well: {two}");
    let trouble = back(0, Looks::Hung);
    assert!((20_000..40_000).contains(&trouble), "another is in trouble: {trouble}");
    // Only its SSH fails: the service is well.
    assert_eq!(back(0, Looks::NoSsh), alone);
}

#[test]
fn each_quarantine_is_twice_as_long() {
    let slow = |now: i64| (DIES..DIES + 400_000).contains(&now) || (1_800_000..2_200_000).contains(&now);
    let looks = move |node, now| if node == 2 && slow(now) { Looks::Full } else { Looks::Fine };
    let scene = Scene::of(4, looks).with_load(|node, _| if node == 2 { 15 } else { 50 });
    let story = scene.policy("strikes", 50.into()).run(5_400_000);
    let at = |action: &str| -> Vec<i64> {
        story.actions.iter().filter(|one| one.1 == action && one.2 == "n2").map(|one| one.0).collect()
    };
    let (out, back) = (at("withdraw"), at("reinstate"));
    assert_eq!((out.len(), back.len()), (2, 2), "{:?}", story.actions);
    let minutes: Vec<i64> = out.iter().zip(&back).map(|(out, back)| (back - out) / 60_000).collect();
    assert_eq!(minutes, [15, 30], "{:?}", story.actions);
    assert!(story.is_held("n2", "quarantine"), "{:?}", story.holds);
}

#[test]
fn what_was_gone_for_long_is_told_again() {
    let alerts = |pause: i64| {
        let fails = move |now: i64| (DIES..DIES + 300_000).contains(&now) || now >= DIES + 300_000 + pause;
        let looks = move |node, now| if node == 2 && fails(now) { Looks::NoSsh } else { Looks::Fine };
        let story = Scene::of(4, looks).policy("window", "5m".into()).run(DIES + pause + 600_000);
        story.actions.iter().filter(|one| one.1 == "alert" && one.2 == "n2").count()
    };
    // The strikes of before are held for a while after the last of them.
    assert_eq!((alerts(300_000), alerts(1_200_000)), (1, 2));
}
