//! How soon the dead leave, at `interval = "10s"`, whenever in the interval they die.

use serde_json::{Value, json};

use crate::scene::{Looks, Scene, Story};

const DIES: i64 = 120_000;

/// Deaths at every step of an interval: what was done, and how long after the death n2 left, the longest of all.
fn slowest(scene: impl Fn(i64) -> Scene) -> i64 {
    let each = (0..5).map(|phase| {
        let dies = DIES + phase * 2_000;
        let story = scene(dies).run(dies + 200_000);
        assert_eq!(story.withdrawn(), ["n2"], "{:?} {:?}", story.actions, story.holds);
        story.when("withdraw", "n2").unwrap() - dies
    });
    each.max().unwrap()
}

fn one(looks: Looks) -> impl Fn(i64) -> Scene {
    move |dies| Scene::of(4, move |node, now| if node == 2 && now >= dies { looks } else { Looks::Fine })
}

#[test]
fn silent_to_everybody() {
    let slowest = slowest(|dies| one(Looks::Silent)(dies).with_relays());
    assert!(slowest <= 28_000, "{slowest}");
}

#[test]
fn silent_with_nobody_to_ask() {
    let slowest = slowest(one(Looks::Silent));
    assert!((38_000..=50_000).contains(&slowest), "{slowest}");
}

#[test]
fn refused() {
    let slowest = slowest(one(Looks::Refused));
    assert!(slowest <= 20_000, "{slowest}");
}

#[test]
fn rejected_by_a_firewall_that_seldom_says_so() {
    let story = one(Looks::Rejected)(DIES).run(DIES + 200_000);
    assert_eq!(story.rule("withdraw", "n2"), Some("R6.down"), "{:?} {:?}", story.actions, story.holds);
    assert!(story.when("withdraw", "n2").unwrap() - DIES <= 60_000, "{:?}", story.actions);
}

#[test]
fn hung_and_idle() {
    let idle = |dies: i64| move |node: usize, now: i64| if node == 2 && now >= dies { 0 } else { 50 };
    let slowest = slowest(|dies| one(Looks::Hung)(dies).with_load(idle(dies)));
    assert!(slowest <= 40_000, "{slowest}");
}

#[test]
fn hung_and_nobody_knows_what_it_carries() {
    let slowest = slowest(one(Looks::Hung));
    assert!((60_000..=76_000).contains(&slowest), "{slowest}");
}

/// Nobody of those that leave waits for another: one change.
fn three_of_eight(scene: Scene) -> Story {
    let story = scene.policy("max_withdrawn", 3.into()).run(DIES + 100_000);
    assert_eq!(story.withdrawn(), ["n2", "n3", "n4"], "{:?} {:?}", story.actions, story.holds);
    let when = |node| story.when("withdraw", node).unwrap();
    assert!(when("n2") == when("n3") && when("n3") == when("n4"), "{:?}", story.actions);
    story
}

fn site(node: usize, now: i64) -> Looks {
    if (2..=4).contains(&node) && now >= DIES { Looks::Silent } else { Looks::Fine }
}

#[test]
fn a_site_of_three_is_one_change() {
    let confirmed = three_of_eight(Scene::of(8, site).with_relays());
    assert!(confirmed.when("withdraw", "n2").unwrap() - DIES <= 28_000);
    let alone = three_of_eight(Scene::of(8, site));
    assert!(alone.when("withdraw", "n2").unwrap() - DIES <= 50_000);
}

#[test]
fn a_death_during_an_overload_is_made_room_for() {
    let looks = |node, now| match (node, now >= DIES) {
        (2, true) => Looks::Silent,
        _ if now >= 60_000 => Looks::Full,
        _ => Looks::Fine,
    };
    // n4 stays well enough to be asked.
    let scene = Scene::of(4, move |node, now| if node == 4 { Looks::Fine } else { looks(node, now) });
    let story =
        scene.with_relays().with_shed().with_load(|_, now| if now >= 60_000 { 99 } else { 60 }).run(DIES + 60_000);
    assert_eq!(story.withdrawn(), ["n2"], "{:?} {:?}", story.actions, story.holds);
    assert!(story.when("withdraw", "n2").unwrap() - DIES <= 30_000, "{:?}", story.actions);
    assert!(story.fleet.contains("overload") && story.steps.contains(&1), "{:?} {:?}", story.fleet, story.steps);
}

#[test]
fn it_comes_back_after_a_minute_without_a_fault() {
    let story =
        Scene::of(
            4,
            |node, now| if node == 2 && (DIES..DIES + 200_000).contains(&now) { Looks::Refused } else { Looks::Fine },
        )
        .run(DIES + 400_000);
    let back = story.when("reinstate", "n2").unwrap() - (DIES + 200_000);
    assert!((60_000..=80_000).contains(&back), "{back}");
    assert_eq!(story.rule("reinstate", "n2"), Some("S4.probation"));
}

#[test]
fn a_flapping_node_leaves_at_most_five_times_in_forty_minutes() {
    let looks = |node, now: i64| if node == 2 && (now / 60_000) % 3 == 1 { Looks::Silent } else { Looks::Fine };
    let story = Scene::of(4, looks).with_relays().run(40 * 60_000);
    let times = story.withdrawn().len();
    assert!((2..=5).contains(&times), "{times}: {:?}", story.actions);
    assert!(story.verdicts.contains(&("n2".to_owned(), "flapping".to_owned())), "{:?}", story.verdicts);
    assert!(story.is_held("n2", "flapping"), "{:?}", story.holds);
}

#[test]
fn equal_lines_give_equal_bytes() {
    let story = || one(Looks::Silent)(DIES).with_relays().with_load(|_, _| 50).run(DIES + 60_000);
    assert_eq!(story().answers, story().answers);
}

/// The times, after the death, of the answers that advise `how` of n2.
fn advised(story: &Story, how: &str) -> Vec<i64> {
    let answers = story.answers.iter().map(|answer| serde_json::from_str::<Value>(answer).unwrap());
    let has = |answer: &Value| answer["probe"][how].as_array().unwrap().contains(&json!("n2"));
    (0..).zip(answers).filter(|(_, answer)| has(answer)).map(|(turn, _)| turn * 2_000 + 1_999 - DIES).collect()
}

#[test]
fn others_are_asked_from_the_round_on_that_is_no_lost_packet() {
    let first = |rounds: u32| {
        let scene = one(Looks::Silent)(DIES).with_relays().policy("evidence", json!({"falling_rounds": rounds}));
        advised(&scene.run(DIES + 30_000), "ask")[0]
    };
    let once = first(1);
    assert!(once < 6_000, "{once}");
    assert_eq!((first(2) - once, first(3) - once), (4_000, 6_000));
}

#[test]
fn what_is_not_settled_after_so_long_is_probed_as_others_are() {
    let scene = one(Looks::Hung)(DIES).policy("keep", 4.into()).policy("evidence", json!({"doubt": "2m"}));
    let fast = advised(&scene.run(DIES + 400_000), "fast");
    let last = *fast.last().unwrap();
    assert!((118_000..140_000).contains(&last), "{fast:?}");
}
