//! A node that loses its link in the middle of an overload: only others can tell its death from a queue that is full for
//! everything, and what they say has to come through queues that are full, too.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::net::{self, nothing_left, patiently};
use crate::watch::{Watch, of_node};
use crate::world::{World, now, turn};

/// How long those that are left are looked at.
const AFTERWARDS: Duration = Duration::from_secs(20);

#[test]
#[ignore = "takes minutes and both cores; cargo xtask overload-test"]
fn a_node_without_its_link_leaves_in_the_middle_of_an_overload() {
    let Some(_turn) = turn() else { return };
    let world = World::start("relays");
    let mut watch = world.watch("rule", "", &net::relays(&world.internet));
    fill(&world, &watch);
    lose_link(&world, &watch);

    // There is as much to do for those that are left as ever: they live, and stay.
    let rest = world.assert_stay(&[1, 2, 4], AFTERWARDS);
    assert!([1, 2, 4].iter().all(|number| rest.served_by[&world.address(*number)] > 0), "all of them serve: {rest:?}");
    let status = watch.status().unwrap();
    assert_eq!(status["fleet"], "overload", "{status:#}");
    assert_eq!(watch.changes().len(), 1, "one died: {:?}", watch.changes());
    watch.stop();
    drop(watch);
    world.end();
    nothing_left();
}

#[test]
#[ignore = "takes minutes and both cores; cargo xtask overload-test"]
fn with_a_ladder_the_rest_can_carry_it() {
    let Some(_turn) = turn() else { return };
    let world = World::start("ladder");
    net::secret(&world.internet.folder().join("edge.token"), b"anybody's");
    let sections = format!(
        "{}\n[shed]\nkind = \"edge\"\ntoken_file = \"edge.token\"\n\n[policy.shed]\nup_every = \"8s\"\n",
        net::relays(&world.internet)
    );
    let mut watch = world.watch("rule", "", &sections);
    fill(&world, &watch);
    lose_link(&world, &watch);

    let highest = patiently(|| shed_steps(&watch).last().copied().filter(|step| *step == 3));
    assert!(highest.is_some(), "the rest should be told to give each client half: {:?}", shed_steps(&watch));
    world.say(&format!("steps of the ladder: {:?}", shed_steps(&watch)));
    // What waits from before is done with, or has given up.
    std::thread::sleep(Duration::from_secs(12));
    let rest = world.assert_stay(&[1, 2, 4], AFTERWARDS);
    assert!(rest.served * 10 > rest.begun * 9, "three carry what four could not: {rest:?}");
    assert_eq!(watch.changes().len(), 1, "one died: {:?}", watch.changes());
    watch.stop();
    drop(watch);
    world.end();
    nothing_left();
}

/// More is wanted of the four than they can send, and the witness knows.
fn fill(world: &World, watch: &Watch) {
    world.offer(30);
    world.assert_stay(&[1, 2, 3, 4], Duration::from_secs(8));
    world.offer(120);
    watch.wait("it is told that there is too much to do", |status| (status["fleet"] == "overload").then_some(()));
    world.say("it is told that there is too much to do");
    world.assert_stay(&[1, 2, 3, 4], Duration::from_secs(10));
}

/// n3's interface goes down, and nobody else may leave before n3 has.
fn lose_link(world: &World, watch: &Watch) {
    let begun = now();
    world.network().link_down("n3").unwrap();
    world.say("n3's link is down");
    world.wait_for(&[1, 2, 4]);
    world.say(&format!("out of DNS {:.1} s after its link went down", begun.elapsed().as_secs_f32()));
    for (answer, many) in said(watch) {
        world.say(&format!("{many} times: asked via {answer}"));
    }
    watch.wait_node("n3", "is out", |node| node["standing"] == "withdrawn");
    let status = watch.status().unwrap();
    let why = of_node(&status, "n3")["why"].to_string();
    world.say(&format!("the witness says: {why}"));
    assert!(
        why.contains("and saw nothing") || why.contains("others last reached it"),
        "nobody else confirmed it: {why}"
    );
}

/// How often each relay said what, of a log with each answer.
fn said(watch: &Watch) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in watch.log().lines() {
        if let Some((_, said)) = line.split_once(" asked via=").filter(|(_, said)| said.contains("node=n3")) {
            *counted.entry(said.to_owned()).or_default() += 1;
        }
    }
    counted
}

fn shed_steps(watch: &Watch) -> Vec<u64> {
    let actions = watch.events("action");
    actions
        .iter()
        .filter(|action| action["detail"]["a"] == "shed")
        .filter_map(|action| action["detail"]["step"].as_u64())
        .collect()
}
