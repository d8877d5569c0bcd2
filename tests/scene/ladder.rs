//! The brownout ladder: each reason to go up or down, met and just missed.

use serde_json::{Value, json};

use crate::scene::{Looks, Scene, Story};

const DIES: i64 = 120_000;

fn steps(story: &Story) -> Vec<(i64, &str)> {
    story.actions.iter().filter(|one| one.1 == "shed").map(|one| (one.0, one.3.as_str())).collect()
}

fn ups(story: &Story) -> usize {
    steps(story).iter().filter(|(_, rule)| *rule == "L1.up").count()
}

fn well(load: impl Fn(usize, i64) -> u64 + 'static, limits: Value) -> Scene {
    Scene::of(4, |_, _| Looks::Fine).with_shed().with_load(load).policy("shed", limits)
}

#[test]
fn up_when_all_together_or_one_carry_too_much() {
    assert!(ups(&well(|_, _| 93, json!({})).run(DIES)) > 0);
    assert_eq!(ups(&well(|_, _| 92, json!({})).run(DIES)), 0);
    let one = |most: u64| well(move |node, _| if node == 1 { most } else { 50 }, json!({})).run(DIES);
    assert!(ups(&one(97)) > 0 && ups(&one(96)) == 0);
}

#[test]
fn one_step_in_so_long_and_none_beyond_the_last() {
    let story = well(|_, _| 99, json!({"steps": [100, 80, 60], "up_every": "40s"})).run(10 * DIES);
    let times: Vec<i64> = steps(&story).iter().filter(|(_, rule)| *rule == "L1.up").map(|one| one.0).collect();
    assert_eq!(times.len(), 2, "{:?}", steps(&story));
    assert_eq!(times[1] - times[0], 40_000);
    assert_eq!(story.steps.iter().max(), Some(&2));
    // What is not renewed ends by itself.
    let told: Vec<i64> = steps(&story).iter().map(|one| one.0).collect();
    assert!(told.windows(2).skip(1).all(|two| two[1] - two[0] == 100_000), "{told:?}");
    assert_eq!(steps(&story).last().map(|one| one.1), Some("L3.renew"));
}

#[test]
fn nobody_is_told_what_is_not_so() {
    // Without a way to tell them, while we do not see, and by the original script.
    let classic = Scene::of(4, |_, _| Looks::Fine).with_shed().with_load(|_, _| 99).policy("rule", "classic".into());
    assert!(steps(&classic.run(DIES)).is_empty());
    let alone = Scene::of(4, |_, _| Looks::Fine).with_load(|_, _| 99).run(DIES);
    assert!(steps(&alone).is_empty());
    let mut blind = well(|_, _| 99, json!({}));
    blind.anchors = Box::new(|_| false);
    assert!(steps(&blind.run(DIES)).is_empty());
}

#[test]
fn without_figures_or_with_lowered_ones_the_signs_of_overload_are_enough() {
    let full = |load: Option<u64>, limits: Value| {
        let scene = Scene::of(4, |_, now| if now >= 60_000 { Looks::Full } else { Looks::Fine }).with_shed();
        let scene = match load {
            Some(load) => scene.with_load(move |_, _| load),
            None => scene,
        };
        scene.policy("shed", limits).run(5 * DIES)
    };
    // As far as the last step that is taken without sight.
    assert_eq!(ups(&full(None, json!({}))), 2);
    assert_eq!(ups(&full(None, json!({"blind_step": 1}))), 1);
    assert_eq!(ups(&full(Some(60), json!({}))), 2);
    assert_eq!(ups(&full(Some(59), json!({}))), 0, "it is the way there");
    // One alone is not everybody.
    let alone = Scene::of(1, |_, now| if now >= 60_000 { Looks::Full } else { Looks::Fine }).with_shed();
    assert_eq!(ups(&alone.run(5 * DIES)), 0);
    let one = Scene::of(4, |node, now| if node == 2 && now >= 60_000 { Looks::Full } else { Looks::Fine }).with_shed();
    assert_eq!(ups(&one.run(DIES + 30_000)), 0);
}

/// n2 dies and leaves; everybody carries so much.
fn death(how: Looks, load: u64, limits: Value) -> Story {
    let looks = move |node, now| if node == 2 && now >= DIES { how } else { Looks::Fine };
    let scene = Scene::of(4, looks).with_relays().with_shed().with_load(move |_, _| load);
    scene.policy("overload", limits).run(DIES + 60_000)
}

#[test]
fn room_is_made_for_the_share_of_the_dead() {
    // Three would carry 80.0 %.
    let tight = death(Looks::Silent, 60, json!({"room_percent": 79}));
    assert_eq!(tight.withdrawn(), ["n2"], "{:?}", tight.holds);
    assert_eq!((ups(&tight), tight.when("withdraw", "n2")), (1, Some(steps(&tight)[0].0)), "in the same tick");
    assert_eq!(ups(&death(Looks::Silent, 60, json!({"room_percent": 80}))), 0);
    // Others reach it: it stays, and nobody must carry its share.
    let reached = death(Looks::CutOff, 60, json!({"room_percent": 79}));
    assert_eq!((ups(&reached), reached.withdrawn().len()), (0, 0), "{:?}", reached.actions);
}

/// Too much for three minutes, and then so much.
fn over(then: u64, limits: Value) -> Story {
    let load = move |_: usize, now: i64| if (60_000..240_000).contains(&now) { 94 } else { then };
    well(load, limits).run(1_500_000)
}

#[test]
fn down_when_the_nodes_would_carry_it() {
    let two = |down: u32| json!({"steps": [100, 80], "down_percent": down, "up_percent": 90});
    // 64 % at 80 % of their speed are 80.0 % at full speed.
    let down = |story: &Story| steps(story).iter().filter(|(_, rule)| *rule == "L2.down").count();
    let story = over(64, two(80));
    assert_eq!((down(&story), ups(&story)), (1, 1), "{:?}", steps(&story));
    assert_eq!(story.steps.iter().copied().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(down(&over(64, two(79))), 0);
    let at = |rule: &str| steps(&story).iter().find(|one| one.1 == rule).map(|one| one.0).unwrap();
    assert_eq!(at("L2.down") - at("L1.up"), 300_000, "as long as a step is held");
}

#[test]
fn a_step_given_up_too_early_is_held_longer_the_next_time() {
    // It comes back whenever it is let go.
    let load = |_: usize, now: i64| if now >= 60_000 && (now / 1_000) % 900 < 120 { 94 } else { 50 };
    let limits = json!({"steps": [100, 80], "hold": "2m", "hold_max": "6m", "relapse": "15m"});
    let story = well(load, limits).run(4_800_000);
    let (mut held, mut up) = (Vec::new(), 0);
    for (at, rule) in steps(&story) {
        match rule {
            "L1.up" => up = at,
            "L2.down" => held.push(at - up),
            _ => {}
        }
    }
    let minutes: Vec<i64> = held.iter().map(|ms| ms / 60_000).collect();
    assert!(minutes.len() >= 4 && minutes.is_sorted(), "{held:?}");
    assert_eq!((minutes[0], minutes[1], *minutes.last().unwrap()), (2, 4, 6), "{held:?}");
}

#[test]
fn a_step_given_up_long_ago_is_held_as_the_first_time() {
    let load = |_: usize, now: i64| {
        let over = (60_000..180_000).contains(&now) || (1_500_000..1_620_000).contains(&now);
        if over { 94 } else { 50 }
    };
    let limits = json!({"steps": [100, 80], "hold": "2m", "hold_max": "60m", "relapse": "5m"});
    let story = well(load, limits).run(2_400_000);
    let at = |rule: &str| -> Vec<i64> { steps(&story).iter().filter(|one| one.1 == rule).map(|one| one.0).collect() };
    let (up, down) = (at("L1.up"), at("L2.down"));
    let held: Vec<i64> = up.iter().zip(&down).map(|(up, down)| (down - up) / 60_000).collect();
    assert_eq!(held, [2, 2], "{:?}", steps(&story));
}

#[test]
fn the_first_step_waits_for_no_other() {
    // It comes back a minute after the step was given up.
    let load = |_: usize, now: i64| if (60_000..180_000).contains(&now) || now >= 420_000 { 94 } else { 50 };
    let story = well(load, json!({"steps": [100, 80], "hold": "4m", "up_every": "20m"})).run(600_000);
    assert_eq!(ups(&story), 2, "{:?}", steps(&story));
}

#[test]
fn what_one_carries_makes_no_step_where_all_together_carry_little() {
    let story = |others: u64| {
        let full = |_, now: i64| if now >= 60_000 { Looks::Full } else { Looks::Fine };
        let load = move |node: usize, _| if node == 1 { 90 } else { others };
        Scene::of(4, full).with_shed().with_load(load).run(2 * DIES)
    };
    // One carries too much for it to be the way there; 52.5 % and 60.0 % in all.
    let little = story(40);
    assert!(little.fleet.contains("overload") && ups(&little) == 0, "{:?} {:?}", little.fleet, steps(&little));
    assert!(ups(&story(50)) > 0);
}

#[test]
fn as_many_as_are_everybody_are_enough_for_a_step() {
    let soft = |many: usize| {
        let looks = move |node, now: i64| if node <= many && now >= 60_000 { Looks::Full } else { Looks::Fine };
        ups(&Scene::of(4, looks).with_shed().run(2 * DIES))
    };
    assert!(soft(2) > 0 && soft(1) == 0);
}

#[test]
fn where_it_would_not_be_carried_a_step_is_kept() {
    // 70 % at 80 % of their speed; the step after it would make 52 % of that.
    let story = over(70, json!({"steps": [100, 80, 60], "up_every": "10m", "down_percent": 80}));
    let down = steps(&story).iter().filter(|(_, rule)| *rule == "L2.down").count();
    assert_eq!((ups(&story), down), (1, 0), "{:?}", steps(&story));
}

#[test]
fn without_figures_a_step_is_kept_as_long_as_signs_of_overload_count() {
    let full = |_, now: i64| if (60_000..180_000).contains(&now) { Looks::Full } else { Looks::Fine };
    let scene = Scene::of(4, full).with_shed().policy("shed", json!({"steps": [100, 80]}));
    let story = scene.policy("overload", json!({"latch": "15m"})).run(1_500_000);
    let down = steps(&story).iter().find(|one| one.1 == "L2.down").map(|one| one.0).unwrap();
    assert!((1_200_000..1_400_000).contains(&down), "{:?}", steps(&story));
}

#[test]
fn a_step_is_kept_for_the_share_of_one_that_is_dead_and_still_in() {
    // 60 % at 80 % of their speed would be 75 % for four, and 100 % for three.
    let down = |load: u64, dies: bool| {
        let looks = move |node, now| if dies && node == 2 && now >= 240_000 { Looks::Refused } else { Looks::Fine };
        let carries = move |_: usize, now: i64| if (60_000..240_000).contains(&now) { 94 } else { load };
        let scene = Scene::of(4, looks).with_shed().with_load(carries).policy("keep", 4.into());
        let story = scene.policy("shed", json!({"steps": [100, 80], "up_percent": 92})).run(1_200_000);
        assert!(story.withdrawn().is_empty(), "{:?}", story.actions);
        steps(&story).iter().filter(|(_, rule)| *rule == "L2.down").count()
    };
    assert_eq!((down(60, false), down(60, true), down(57, true)), (1, 0, 1));
}

#[test]
fn room_is_made_for_whoever_is_dead_for_certain_and_has_to_stay() {
    let story = |relays: bool| {
        let looks = move |node, now| if node == 2 && now >= DIES { Looks::Silent } else { Looks::Fine };
        let scene = Scene::of(4, looks).with_shed().with_load(|_, _| 60).policy("keep", 4.into());
        let scene = if relays { scene.with_relays() } else { scene };
        scene.policy("overload", json!({"room_percent": 79})).run(DIES + 120_000)
    };
    let (certain, alone) = (story(true), story(false));
    assert!(ups(&certain) > 0 && certain.withdrawn().is_empty(), "{:?}", certain.actions);
    assert!(ups(&alone) == 0 && alone.withdrawn().is_empty(), "{:?}", alone.actions);
}

#[test]
fn one_node_that_dies_leaves_nobody_to_make_room() {
    let looks = |_, now| if now >= DIES { Looks::Refused } else { Looks::Fine };
    let story = Scene::of(1, looks).with_shed().with_load(|_, _| 50).run(DIES + 60_000);
    assert!(story.withdrawn().is_empty() && ups(&story) == 0, "{:?}", story.actions);
}
