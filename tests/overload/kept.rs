//! The rule: who has too much to do stays, who is dead goes.

use std::time::Duration;

use crate::watch::{Watch, of_node};
use crate::world::World;

/// How long all four are looked at under more than they can carry.
const FULL: Duration = Duration::from_secs(60);

#[test]
#[ignore = "takes minutes and both cores; cargo xtask overload-test"]
fn an_overload_costs_nobody_its_record_and_a_death_in_it_does() {
    let Some(mut world) = World::start() else { return };
    let mut watch = world.watch("rule", "");
    world.offer(50);
    let calm = world.assert_stay(&[1, 2, 3, 4], Duration::from_secs(10));
    assert!(calm.served * 10 > calm.begun * 5, "half of what they can carry is no trouble: {calm:?}");
    assert!(overloads(&watch).is_empty());

    world.offer(120);
    let full = world.assert_stay(&[1, 2, 3, 4], FULL);
    assert!(full.given_up + full.failed + full.turned_away > 0, "more was offered than can be had: {full:?}");
    assert!((1..=4).all(|number| full.served_by[&world.address(number)] > 0), "all of them serve: {full:?}");
    watch.wait("it is told that there is too much to do", |status| (status["fleet"] == "overload").then_some(()));
    assert!(watch.events("change").is_empty(), "nobody was taken out, not even for a moment");
    let strikes = watch.events("strike");
    world.say(&format!("strikes: {}", per_node(&strikes)));
    world.say(&format!("the fleet's verdicts: {}", overloads(&watch).join("; ")));

    // In the middle of it a server crashes: its kernel says so, which no overload does.
    world.node(2).kill_web();
    world.say("n2's server is killed");
    world.wait_for(&[1, 3, 4]);

    // And a cable is pulled. From one place alone that cannot be told from a queue that is full for everything, so it is
    // held and told while there is an overload, and done when that is over.
    let before = world.clients.tally();
    let begun = crate::world::now();
    world.network().unplug("n3").unwrap();
    world.say("n3 is unplugged");
    watch.wait_held("n3", "overload");
    world.say("n3 is held, and told");
    assert!(world.published().contains(&3));
    world.tell("with one out and one unplugged", &world.clients.tally().since(&before), begun.elapsed());
    world.clients.stay_away();
    world.say("nobody comes any more");
    world.wait_for(&[1, 4]);

    let status = watch.status().unwrap();
    for (node, standing) in [("n1", "serving"), ("n2", "withdrawn"), ("n3", "withdrawn"), ("n4", "serving")] {
        let shown = of_node(&status, node);
        assert!(standing == "withdrawn" || shown["standing"] != "withdrawn", "{shown:#}");
    }
    world.say(&format!("changes: {:?}", watch.changes()));
    assert_eq!(watch.changes().len(), 2, "two died: {:?}", watch.changes());
    watch.stop();
    drop(watch);
    world.end();
}

/// Every verdict on the fleet that was not normal, with its time.
fn overloads(watch: &Watch) -> Vec<String> {
    let fleets = watch.history("verdicts").into_iter().filter(|event| event["kind"] == "fleet");
    fleets
        .map(|event| format!("{} {}", event["at"].as_str().unwrap_or_default(), event["detail"]["fleet"]))
        .filter(|told| told.contains("overload"))
        .collect()
}

fn per_node(strikes: &[serde_json::Value]) -> String {
    let of = |node: &str| strikes.iter().filter(|strike| strike["node"] == node).count();
    ["n1", "n2", "n3", "n4"].map(|node| format!("{node} {}", of(node))).join(", ")
}
