//! Eight mistakes that earlier rules made, each in the smallest world in which it shows.

use serde_json::json;

use crate::scene::{Looks, Scene};

const DIES: i64 = 120_000;
/// Longer than any span that silence has to last.
const LONG: i64 = 200_000;

fn dies(node: usize, now: i64, which: usize, how: Looks) -> Looks {
    if node == which && now >= DIES { how } else { Looks::Fine }
}

/// Dying nodes counted as degraded: three deaths looked like an overload.
#[test]
fn the_dead_are_no_overload() {
    let looks = |node, now| if node <= 3 && now >= DIES { Looks::Silent } else { Looks::Fine };
    let story = Scene::of(8, looks).with_relays().policy("max_withdrawn", 3.into()).run(DIES + LONG);
    assert!(!story.fleet.contains("overload"), "{:?}", story.fleet);
    assert!(story.when("withdraw", "n1").unwrap() - DIES <= 28_000);
}

/// A node that came back carried its old failures in the window, and was removed again at once.
#[test]
fn what_is_over_is_over() {
    let looks = |node, now| if node == 2 && (DIES..DIES + 60_000).contains(&now) { Looks::Full } else { Looks::Fine };
    let refused = move |node, now| {
        if node == 2 && (DIES + 60_000..DIES + 90_000).contains(&now) { Looks::Refused } else { looks(node, now) }
    };
    let story = Scene::of(4, refused).with_load(|_, _| 40).run(DIES + 900_000);
    assert_eq!(story.withdrawn(), ["n2"], "{:?}", story.actions);
    assert_eq!(story.published.len(), 4);
}

fn with_tries(tries: i64) -> Option<i64> {
    let mut scene = Scene::of(4, |node, now| dies(node, now, 2, Looks::Silent));
    for turn in 0..tries {
        let at = DIES + 11_000 + turn * 100;
        scene.more.push((at, json!({"k": "ask", "via": "n1", "n": "n2", "p": "tcp443", "o": "timeout"})));
    }
    scene.run(DIES + LONG).when("withdraw", "n2").map(|at| at - DIES)
}

/// One failed pass of the relays was taken for a confirmation.
#[test]
fn a_few_tries_of_others_confirm_nothing() {
    assert!(with_tries(5).unwrap() >= 38_000);
    assert!(with_tries(6).unwrap() <= 28_000);
}

/// Nobody was left to ask, and that was taken for "asked and confirmed".
#[test]
fn nobody_to_ask_is_no_confirmation() {
    let looks = |node, now| match (node, now >= DIES) {
        (2, true) => Looks::Silent,
        _ if now >= 60_000 => Looks::Full,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).with_relays().run(DIES + LONG);
    assert_eq!(story.withdrawn(), [""; 0], "{:?}", story.actions);
    assert!(story.is_held("n2", "overload"), "{:?}", story.holds);
}

/// Figures that were missing, or lowered by congestion, kept the ladder from being climbed.
#[test]
fn missing_and_lowered_figures_do_not_keep_the_ladder_down() {
    let full = |_, now| if now >= 60_000 { Looks::Full } else { Looks::Fine };
    let missing = Scene::of(4, full).with_shed().run(LONG);
    assert!(missing.steps.contains(&1), "{:?}", missing.actions);
    let lowered = Scene::of(4, full).with_shed().with_load(|_, _| 65).run(LONG);
    assert!(lowered.steps.contains(&1), "{:?}", lowered.actions);
    // Too little for it to be load: then it is the way from here to there.
    let path = Scene::of(4, full).with_shed().with_load(|_, _| 40).run(LONG);
    assert!(path.steps.is_empty() && path.fleet.contains("path-trouble"), "{:?} {:?}", path.actions, path.fleet);
}

/// The projection forgot what those carried that were out already.
#[test]
fn what_those_carried_that_are_out_is_not_forgotten() {
    let looks = |node, now| match node {
        1 if now >= DIES => Looks::Silent,
        2 if now >= DIES + LONG => Looks::Silent,
        _ => Looks::Fine,
    };
    let load = |node, now| match now {
        _ if node == 1 && now >= DIES => 0,
        ..=180_000 => 60,
        _ => 80,
    };
    let story = Scene::of(4, looks).with_load(load).run(DIES + 2 * LONG);
    assert_eq!(story.withdrawn(), ["n1"], "{:?}", story.actions);
    assert!(story.is_held("n2", "unconfirmed"), "{:?}", story.holds);
}

/// A silence that nobody confirmed was acted on in an overload.
#[test]
fn an_unconfirmed_silence_in_an_overload_is_held() {
    let looks = |node, now| match (node, now >= DIES) {
        (2, true) => Looks::CutOff,
        _ if now >= 60_000 => Looks::Full,
        _ => Looks::Fine,
    };
    let story = Scene::of(4, looks).with_load(|_, _| 97).run(DIES + LONG);
    assert_eq!(story.withdrawn(), [""; 0], "{:?}", story.actions);
    assert!(story.is_held("n2", "overload"), "{:?}", story.holds);
}

/// A slow node looks perfect once it has nothing to do, and came and went all hour.
#[test]
fn what_fails_under_load_stays_in_quarantine() {
    let ends = DIES + 400_000;
    let looks = move |node, now| if node == 2 && (DIES..ends).contains(&now) { Looks::Full } else { Looks::Fine };
    let story = Scene::of(4, looks).with_load(|node, _| if node == 2 { 15 } else { 50 }).run(ends + 1_200_000);
    assert_eq!(story.withdrawn(), ["n2"], "{:?} {:?}", story.actions, story.holds);
    assert_eq!(story.rule("withdraw", "n2"), Some("R7.degraded"));
    let (out, back) = (story.when("withdraw", "n2").unwrap(), story.when("reinstate", "n2").unwrap());
    assert!(back - out >= 15 * 60_000, "{}", back - out);
}
