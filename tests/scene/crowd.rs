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

#[test]
fn one_node_alone_is_not_everybody() {
    for how in [Looks::Full, Looks::Silent, Looks::Wrong] {
        let story = Scene::of(1, from(60_000, 1, how)).run(LONG);
        for fleet in ["overload", "dark", "common-fault"] {
            assert!(!has(&story, fleet), "{how:?} {:?}", story.fleet);
        }
    }
    let limits = json!({"full_percent": 99, "full_node_percent": 50});
    let full =
        |nodes: usize| Scene::of(nodes, |_, _| Looks::Fine).with_load(|_, _| 60).policy("overload", limits.clone());
    assert_eq!((has(&full(1).run(LONG), "overload"), has(&full(2).run(LONG), "overload")), (false, true));
}

#[test]
fn whoever_was_soft_a_moment_ago_counts() {
    let looks = |node, now: i64| match node {
        2 if (60_000..90_000).contains(&now) => Looks::Full,
        3 if (240_000..270_000).contains(&now) => Looks::Full,
        _ => Looks::Fine,
    };
    let story = |together: &str| Scene::of(4, looks).policy("overload", json!({"together": together})).run(300_000);
    assert_eq!((has(&story("4m"), "overload"), has(&story("4s"), "overload")), (true, false));
}

#[test]
fn the_dead_and_the_silent_are_not_soft() {
    let looks = |how: Looks| {
        move |node, now: i64| match node {
            2 if (60_000..DIES).contains(&now) => Looks::Full,
            2 if now >= DIES => how,
            3 if now >= DIES + 20_000 => Looks::Full,
            _ => Looks::Fine,
        }
    };
    let story = |how| Scene::of(4, looks(how)).policy("keep", 4.into()).run(DIES + 100_000);
    assert!(has(&story(Looks::Fine), "overload"));
    assert!(!has(&story(Looks::Silent), "overload") && !has(&story(Looks::Refused), "overload"));
}

#[test]
fn a_fault_is_common_from_so_many_rounds_of_the_second_on() {
    let second = DIES + 90_000;
    let told = |rounds: u32| {
        let looks = move |node, now| match node {
            2 if now >= DIES => Looks::Wrong,
            3 if now >= second => Looks::Wrong,
            _ => Looks::Fine,
        };
        let scene = Scene::of(4, looks).policy("overload", json!({"common_rounds": rounds, "settle": "1h"}));
        let story = scene.policy("keep", 4.into()).run(second + 60_000);
        let told = story.actions.iter().find(|one| one.3 == "R4.common-fault");
        told.unwrap_or_else(|| panic!("{:?}", story.actions)).0 - second
    };
    assert_eq!([1, 2, 3].map(told), [1_999, 3_999, 5_999]);
}

#[test]
fn a_fault_is_common_to_those_that_have_the_same() {
    let looks = |node, now: i64| match node {
        2 | 4 if now >= DIES => Looks::Wrong,
        3 if now >= DIES => Looks::Missing,
        _ => Looks::Fine,
    };
    assert!(has(&Scene::of(6, looks).run(DIES + LONG), "common-fault"));
    let other = move |node, now| if node == 4 { Looks::Fine } else { looks(node, now) };
    assert!(!has(&Scene::of(6, other).run(DIES + LONG), "common-fault"));
}

#[test]
fn one_that_is_silent_again_did_not_come_back() {
    let looks = |node, now: i64| match node {
        3 if now >= DIES => Looks::CutOff,
        2 if (DIES + 10_000..DIES + 24_000).contains(&now) || now >= DIES + 30_000 => Looks::CutOff,
        _ => Looks::Fine,
    };
    let scene = Scene::of(8, looks).policy("overload", json!({"cut_wait": "80s"}));
    let story = scene.run(DIES + LONG);
    assert_eq!(story.withdrawn(), ["n3", "n2"], "{:?}", story.holds);
    let after = story.when("withdraw", "n3").unwrap() - DIES;
    assert!(after < 90_000, "{after} {:?}", story.holds);
}

#[test]
fn in_an_overload_who_was_slow_comes_back_with_its_first_clean_round() {
    let (gone, over, mends) = (DIES + 400_000, DIES + 700_000, DIES + 800_000);
    let looks = move |node, now: i64| match node {
        2 if (DIES..gone).contains(&now) => Looks::Full,
        2 if (gone..mends).contains(&now) => Looks::Wrong,
        _ if node != 2 && now >= over => Looks::Full,
        _ => Looks::Fine,
    };
    let load = move |node: usize, now: i64| match node {
        2 => 15,
        _ if now >= over => 90,
        _ => 50,
    };
    let story = Scene::of(4, looks).with_load(load).run(mends + 120_000);
    assert_eq!(story.withdrawn(), ["n2"], "{:?}", story.holds);
    assert!(story.when("withdraw", "n2").unwrap() < gone && has(&story, "overload"), "{:?}", story.actions);
    let back = story.when("reinstate", "n2").unwrap();
    assert!((mends..mends + 14_000).contains(&back), "{back} {mends} {:?}", story.actions);
}

#[test]
fn a_quarantine_grows_no_longer_than_it_may() {
    let slow = |now: i64| (DIES..DIES + 400_000).contains(&now) || (1_800_000..2_200_000).contains(&now);
    let looks = move |node, now| if node == 2 && slow(now) { Looks::Full } else { Looks::Fine };
    let scene = Scene::of(4, looks).with_load(|node, _| if node == 2 { 15 } else { 50 });
    let scene = scene.policy("strikes", 50.into()).policy("comeback", json!({"quarantine_doublings": 0}));
    let story = scene.run(3_600_000);
    let at = |action: &str| -> Vec<i64> {
        story.actions.iter().filter(|one| one.1 == action && one.2 == "n2").map(|one| one.0).collect()
    };
    let minutes: Vec<i64> =
        at("withdraw").iter().zip(&at("reinstate")).map(|(out, back)| (back - out) / 60_000).collect();
    assert_eq!(minutes, [15, 15], "{:?}", story.actions);
}

/// n2 leaves for being slow, and n3 is soft before it or after it, for half a minute.
fn regretted(n3: (i64, i64), together: &str) -> Story {
    let looks = move |node, now: i64| match node {
        2 if (DIES..DIES + 300_000).contains(&now) => Looks::Full,
        3 if (n3.0..n3.1).contains(&now) => Looks::Full,
        _ => Looks::Fine,
    };
    let scene = Scene::of(7, looks).with_load(|node, _| if node == 2 { 15 } else { 50 });
    scene.policy("overload", json!({"together": together, "regret": "8m"})).run(DIES + 700_000)
}

#[test]
fn a_withdrawal_that_hurt_is_an_overload_for_a_while() {
    let alone = regretted((0, 0), "2m");
    let left = alone.when("withdraw", "n2").unwrap();
    assert!(!has(&alone, "overload") && alone.when("reinstate", "n2").is_none_or(|back| back > left + 480_000));
    let hurt = regretted((left + 240_000, left + 280_000), "10s");
    assert!(hurt.when("reinstate", "n2").is_some_and(|back| back < left + 480_000), "{:?}", hurt.actions);
    assert_eq!(hurt.rule("reinstate", "n2"), Some("R5b.regret"), "{:?}", hurt.actions);
    assert!(has(&hurt, "overload"), "{:?}", hurt.fleet);
    // Who was soft before does not suffer from it.
    let before = regretted((left - 100_000, left - 60_000), "4m");
    assert_eq!(before.withdrawn(), ["n2"], "{:?}", before.holds);
    assert_eq!(before.rule("reinstate", "n2").filter(|rule| *rule == "R5b.regret"), None, "{:?}", before.actions);
    // Unless it was long before, and is again.
    let blip = move |node, now: i64| match node {
        2 if (DIES..DIES + 300_000).contains(&now) => Looks::Full,
        3 if (10_000..40_000).contains(&now) || (left + 240_000..left + 280_000).contains(&now) => Looks::Full,
        _ => Looks::Fine,
    };
    let scene = Scene::of(7, blip).with_load(|node, _| if node == 2 { 15 } else { 50 });
    let again = scene.policy("overload", json!({"together": "10s", "regret": "8m"})).run(DIES + 700_000);
    assert_eq!(again.rule("reinstate", "n2"), Some("R5b.regret"), "{:?}", again.actions);
}

#[test]
fn one_that_fails_round_after_round_is_not_put_back_for_the_others() {
    let story = |fails: i64, steady: u32| {
        let looks = move |node, now: i64| match node {
            2 if (DIES..DIES + 300_000).contains(&now) => Looks::Full,
            2 if now >= fails => Looks::Wrong,
            3 if (DIES + 460_000..DIES + 500_000).contains(&now) => Looks::Full,
            _ => Looks::Fine,
        };
        let scene = Scene::of(7, looks).with_load(|node, _| if node == 2 { 15 } else { 50 });
        let scene = scene.policy("evidence", json!({"steady_rounds": steady}));
        scene.policy("overload", json!({"together": "10s", "regret": "8m"})).run(DIES + 540_000)
    };
    let undone = |fails: i64, steady: u32| story(fails, steady).when("reinstate", "n2");
    let usual = undone(i64::MAX, 3).unwrap();
    // Two rounds by then, and three.
    let (two, three) = (usual - 24_000, usual - 28_000);
    assert_eq!([undone(two, 3), undone(two, 2), undone(three, 3)], [Some(usual), None, None]);
}
