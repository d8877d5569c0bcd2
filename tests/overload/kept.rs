//! The rule: who has too much to do stays, who is dead goes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::net::nothing_left;
use crate::watch::{Watch, of_node};
use crate::world::{World, now, turn};

/// How long all four are looked at under more than they can carry.
const FULL: Duration = Duration::from_secs(60);

#[test]
#[ignore = "takes minutes and both cores; cargo xtask overload-test"]
fn an_overload_costs_nobody_its_record_and_a_death_in_it_does() {
    let Some(_turn) = turn() else { return };
    let mut world = World::start("");
    let mut watch = world.watch("rule", "", "");
    world.offer(30);
    let calm = world.assert_stay(&[1, 2, 3, 4], Duration::from_secs(8));
    assert!(calm.served * 2 > calm.begun, "a third of what they can carry is no trouble: {calm:?}");

    world.offer(120);
    let full = world.assert_stay(&[1, 2, 3, 4], FULL);
    assert!(full.given_up + full.failed + full.turned_away > 0, "more was offered than can be had: {full:?}");
    assert!((1..=4).all(|number| full.served_by[&world.address(number)] > 0), "all of them serve: {full:?}");
    watch.wait("it is told that there is too much to do", |status| (status["fleet"] == "overload").then_some(()));
    assert!(watch.events("change").is_empty(), "nobody was taken out, not even for a moment");
    for told in fleets(&watch) {
        world.say(&format!("the fleet is {told}"));
    }
    // Or the run has shown nothing: whoever only counts would have taken out these.
    let strikes = https_strikes(&watch);
    world.say(&format!("strikes in which HTTPS failed: {strikes:?}"));
    assert!(strikes.values().any(|many| *many >= 4), "nobody failed often enough: {strikes:?}");
    let held = held(&watch);
    world.say(&format!("held, and how often: {held:?}"));
    assert!(held.keys().any(|(_, guard)| guard == "overload"), "it was something else that kept them: {held:?}");

    // In the middle of it a server crashes: its kernel says so, which no overload does.
    world.node(2).kill_web();
    world.say("n2's server is killed");
    world.wait_for(&[1, 3, 4]);

    // And a cable is pulled. From one place alone that cannot be told from a queue that is full for everything, so it is
    // held and told while there is an overload, and done when that is over.
    let (before, begun) = (world.clients.tally(), now());
    world.network().unplug("n3").unwrap();
    world.say("n3 is unplugged");
    watch.wait("n3 is held", |status| {
        let holds = status["holds"].as_array()?;
        let hold = holds.iter().find(|hold| hold["n"] == "n3" && hold["guard"] == "overload")?;
        hold["why"].as_str()?.contains(UNCONFIRMED).then_some(())
    });
    world.say("n3 is held");
    watch.wait("a person is told of n3", |_| {
        let told = |action: &Value| {
            let detail = &action["detail"];
            action["node"] == "n3" && detail["a"] == "alert" && detail["why"].as_str().unwrap().contains(UNCONFIRMED)
        };
        watch.events("action").iter().any(told).then_some(())
    });
    world.say("a person is told of n3");
    assert_eq!(world.published(), [1, 3, 4].into());
    world.tell("with one out and one unplugged", &world.clients.tally().since(&before), begun.elapsed());
    world.clients.stay_away();
    world.say("nobody comes any more");
    world.wait_for(&[1, 4]);

    watch.wait("two are out for good reasons, and two serve", |status| {
        let standing = |node: &str| of_node(status, node)["standing"].clone();
        let out = ["n2", "n3"].iter().all(|node| standing(node) == "withdrawn");
        (out && ["n1", "n4"].iter().all(|node| standing(node) != "withdrawn")).then_some(())
    });
    assert_eq!(watch.changes().len(), 2, "two died: {:?}", watch.changes());
    watch.stop();
    drop(watch);
    world.end();
    nothing_left();
}

/// Of a hold: nothing else stands in the way.
const UNCONFIRMED: &str = "nobody else could confirm it";

/// Every verdict on the fleet, with its time.
fn fleets(watch: &Watch) -> Vec<String> {
    let fleets = watch.history("verdicts").into_iter().filter(|event| event["kind"] == "fleet");
    fleets.map(|event| format!("{} at {}", event["detail"]["fleet"], event["at"])).collect()
}

/// How many strikes each node got for what clients need.
fn https_strikes(watch: &Watch) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for strike in watch.events("strike") {
        let faults = strike["detail"]["faults"].as_array().unwrap();
        if faults.iter().any(|fault| fault["probe"] == "https") {
            *counted.entry(strike["node"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    counted
}

/// Which guard refused a change of which node, and how often.
fn held(watch: &Watch) -> BTreeMap<(String, String), usize> {
    let mut counted = BTreeMap::new();
    for hold in watch.events("hold") {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *counted.entry((text(&hold["node"]), text(&hold["detail"]["guard"]))).or_default() += 1;
    }
    counted
}
