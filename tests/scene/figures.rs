//! What nodes say that they carry: who is full, what the rest would carry, and who is weak beside the others.

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
fn some_that_are_full_are_an_overload_though_others_have_room() {
    let story = |full: u64| {
        let load = move |node, now| if node <= 2 && now >= 60_000 { full } else { 50 };
        Scene::of(4, |_, _| Looks::Fine).with_load(load).run(DIES + LONG)
    };
    assert!(story(98).fleet.contains("overload"), "{:?}", story(98).fleet);
    assert!(!story(96).fleet.contains("overload"), "{:?}", story(96).fleet);
    // One is not everybody.
    let one = |node, now| if node == 1 && now >= 60_000 { 99 } else { 50 };
    let story = Scene::of(4, |_, _| Looks::Fine).with_load(one).run(DIES + LONG);
    assert!(!story.fleet.contains("overload"), "{:?}", story.fleet);
}

#[test]
fn all_together_are_full_at_their_mean() {
    let story = |load: u64| {
        let scene = Scene::of(4, |_, _| Looks::Fine).with_load(move |node, _| if node == 1 { load - 30 } else { load });
        scene.policy("overload", json!({"full_percent": 70, "full_node_percent": 99})).run(DIES)
    };
    assert!(!story(77).fleet.contains("overload"), "69.5 % of what they can");
    assert!(story(78).fleet.contains("overload"), "70.5 % of what they can");
}

#[test]
fn whoever_does_not_tell_is_taken_for_the_median_of_the_others() {
    // 40 % each until shortly before the death; then four carry 250 % in all, of which the median is 70 %: 320 % with the
    // fifth, 80 % for each of those that stay.
    let load = |node: usize, now| if now < DIES - 60_000 { 40 } else { [80, 60, 40, 60, 70][node - 1] };
    let story = |percent: u32| {
        let limits = json!({"room_percent": percent, "on_shortage": "keep"});
        let scene = Scene::of(5, from(DIES, &[2], Looks::Silent)).with_relays().with_load(load);
        scene.policy("overload", limits).run(DIES + 60_000)
    };
    taken(&story(81), &["n2"]);
    held(&story(78), "n2", "capacity");
}

#[test]
fn where_less_than_half_tell_there_is_no_sample() {
    // 30 % each; then three are left who carry 60 % each, their own and some of the others'.
    let load = |_, now| if now < DIES { 30 } else { 60 };
    let scene = Scene::of(8, from(DIES, &[2, 3, 4, 5, 6], Looks::Silent)).with_relays().with_load(load);
    let story = scene.policy("max_withdrawn", 8.into()).policy("keep", 1.into()).run(DIES + 60_000);
    taken(&story, &["n2", "n3", "n4", "n5", "n6"]);
}

#[test]
fn half_of_them_are_a_sample() {
    // As much as in calm times is 30 % of eight, 48 % of five and 60 % of four: nobody's dead weight. With what the others
    // carry now it is more than 60 %.
    let story = |dead: &'static [usize]| {
        let load = |_, now| if now < DIES { 30 } else { 60 };
        let scene = Scene::of(8, from(DIES, dead, Looks::Silent)).with_relays().with_load(load);
        let scene = scene.policy("overload", json!({"room_dead_percent": 81, "on_shortage": "pull"}));
        scene.policy("max_withdrawn", 8.into()).policy("keep", 1.into()).run(DIES + 60_000)
    };
    let few = story(&[2, 3, 4, 5, 6]);
    taken(&few, &["n2", "n3", "n4", "n5", "n6"]);
    assert!(few.holds.keys().all(|(_, guard)| guard != "capacity"), "{:?}", few.holds);
    let half = story(&[2, 3, 4, 5]);
    assert!(half.holds.keys().any(|(_, guard)| guard == "capacity"), "{:?} {:?}", half.holds, half.actions);
}

#[test]
fn what_is_shed_counts_as_demand() {
    // Too much for a while, and what is left of it on step 1.
    let load = |now: i64| match now {
        ..20_000 => 50,
        20_000..90_000 => 94,
        _ => 80,
    };
    let of = move |_: usize, now: i64| load(now);
    let scene = |how| {
        let scene = Scene::of(4, from(DIES, &[2], how)).with_shed().with_load(of);
        scene.policy("shed", json!({"up_every": "20s"}))
    };
    let story = scene(Looks::Silent).with_relays().run(DIES + 60_000);
    taken(&story, &["n2"]);
    // 80 % of four at 80 % of their speed are 133 % of three without it.
    assert!(story.steps.contains(&1) && story.steps.contains(&2), "{:?}", story.actions);
    held(&scene(Looks::CutOff).run(DIES + LONG), "n2", "unconfirmed");
}

#[test]
fn who_is_weak_is_so_beside_the_median_of_the_others() {
    let story = |own: u64| {
        let load = move |node: usize, _| if node == 2 { own } else { [31, 0, 60, 31, 60][node - 1] };
        Scene::of(5, from(DIES, &[2], Looks::Full)).with_load(load).run(DIES + 2 * LONG)
    };
    taken(&story(30), &["n2"]);
    held(&story(45), "n2", "still-serves");
    // 70 % of 60 %.
    held(&story(42), "n2", "still-serves");
    taken(&story(41), &["n2"]);
}

#[test]
fn where_nobody_carries_anything_nobody_is_weak() {
    let story = Scene::of(4, from(DIES, &[2], Looks::Full)).with_load(|_, _| 0).run(DIES + 2 * LONG);
    held(&story, "n2", "capacity");
}

#[test]
fn one_that_fails_every_time_in_turns_serves_nobody() {
    let looks = |node, now: i64| match node {
        2 if now >= DIES && now / 10_000 % 2 == 0 => Looks::Hung,
        2 if now >= DIES => Looks::Wrong,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).policy("strikes", 50.into()).run(DIES + 3 * LONG);
    taken(&story, &["n2"]);
    assert_eq!(story.rule("withdraw", "n2"), Some("R7.degraded"), "{:?}", story.actions);
}

#[test]
fn a_silence_long_ago_is_nobodys_witness() {
    let looks = |node, now| match node {
        3 if (20_000..50_000).contains(&now) => Looks::CutOff,
        2 if now >= DIES => Looks::CutOff,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).run(DIES + 60_000);
    taken(&story, &["n2"]);
    assert!(!story.is_held("n2", "peers"), "{:?}", story.holds);
}

#[test]
fn trouble_of_another_that_is_long_over_does_not_make_it_everybodys() {
    let blip = |now: i64| now > DIES && (now - DIES) % 400_000 < 12_000;
    let looks = |other: i64| {
        move |node, now: i64| match node {
            2 if blip(now) => Looks::CutOff,
            3 if (other..other + 12_000).contains(&now) => Looks::NoSsh,
            _ => Looks::Fine,
        }
    };
    assert!(!Scene::of(4, looks(60_000)).run(2_400_000).withdrawn().is_empty());
    held(&Scene::of(4, looks(DIES + 200_000)).run(DIES + 1_400_000), "n2", "capacity");
}

#[test]
fn what_is_carried_in_trouble_or_in_an_overload_is_no_calm() {
    // 40 % in calm times: three can carry what four do, whatever it was for some minutes in between.
    let dies = 380_000;
    let scene = |full: Looks, much: u64, until: i64| {
        let looks = move |node, now| match node {
            2 if now >= dies => Looks::CutOff,
            3 if (60_000..until).contains(&now) => full,
            _ => Looks::Fine,
        };
        let load = move |_, now| if (60_000..until).contains(&now) { much } else { 40 };
        Scene::of(4, looks).with_load(load).policy("overload", json!({"latch": "10s"}))
    };
    taken(&scene(Looks::Full, 90, 340_000).run(dies + 60_000), &["n2"]);
    let over = scene(Looks::Fine, 99, 340_000).run(dies + 60_000);
    taken(&over, &["n2"]);
    assert!(over.fleet.contains("overload"), "{:?}", over.fleet);
    // What is usual is: then there is no room.
    held(&scene(Looks::Fine, 90, dies).run(dies + 60_000), "n2", "unconfirmed");
}

#[test]
fn the_mean_is_of_those_that_answer() {
    // n2 refuses, has to stay, and says that it carries nothing.
    let story = |others: u64| {
        let load = move |node: usize, now: i64| match (node, now) {
            (2, DIES..) => 0,
            (_, DIES..) => others,
            _ => 50,
        };
        let scene = Scene::of(4, from(DIES, &[2], Looks::Refused)).with_load(load).policy("keep", 4.into());
        scene.policy("overload", json!({"full_node_percent": 100})).run(DIES + 2 * LONG)
    };
    assert!(story(97).fleet.contains("overload"), "{:?}", story(97).fleet);
    assert!(!story(90).fleet.contains("overload"), "{:?}", story(90).fleet);
}

#[test]
fn where_one_does_not_tell_nobody_knows_the_mean() {
    let story = |tell: usize| {
        let mut scene = Scene::of(4, |_, _| Looks::Fine);
        for node in 1..=tell {
            for turn in 0..20 {
                let line = json!({"k": "load", "n": format!("n{node}"), "src": "metrics", "tx_bps": 990_000_000u64});
                scene.more.push((turn * 10_000 + 500, line));
            }
        }
        scene.run(LONG)
    };
    assert!(story(4).fleet.contains("overload"), "{:?}", story(4).fleet);
    assert!(!story(3).fleet.contains("overload"), "{:?}", story(3).fleet);
}
