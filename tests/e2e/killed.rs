//! Nodes die in every way we can think of, two at a time, and come back.

use witness_lab::netns::{Firewall, Traffic};

use crate::watch::{Watch, of_node};
use crate::world::{Settings, World};

/// The node's strikes are all of the kind that this death looks like.
fn assert_struck_by(watch: &Watch, node: &str, since: usize, https: &[&str]) {
    let strikes = watch.events("strike");
    let of_node: Vec<_> = strikes[since..].iter().filter(|strike| strike["node"] == node).collect();
    assert!(of_node.len() >= 3, "{node} left after {} strikes", of_node.len());
    let faults = of_node.iter().flat_map(|strike| strike["detail"]["faults"].as_array().unwrap());
    let seen: Vec<&str> =
        faults.filter(|fault| fault["probe"] == "https").map(|fault| fault["fault"].as_str().unwrap()).collect();
    assert!(https.iter().any(|fault| seen.contains(fault)), "{node} was struck for {seen:?}, not {https:?}");
}

#[test]
fn by_its_link_and_by_its_process() {
    let Some(mut world) = World::start() else { return };
    let mut watch = world.watch(&Settings::new("killed"));

    // The interface is down: the router says so after a while. The process is dead: its kernel says so at once.
    world.network().link_down("n1").unwrap();
    world.node(2).kill_web();
    world.wait_for(&[3, 4]);
    world.assert_resolves(&[3, 4]);
    watch.wait_node("n1", "is dead and out", |node| node["verdict"] == "dead" && node["standing"] == "withdrawn");
    watch.wait_node("n2", "is down and out", |node| node["verdict"] == "down" && node["standing"] == "withdrawn");
    assert_struck_by(&watch, "n1", 0, &["timeout:connect", "unreachable"]);
    assert_struck_by(&watch, "n2", 0, &["refused"]);

    // One comes back; the other stays out.
    world.network().link_up("n1").unwrap();
    world.wait_for(&[1, 3, 4]);
    world.node(2).restart().unwrap();
    world.wait_for(&[1, 2, 3, 4]);
    world.assert_resolves(&[1, 2, 3, 4]);
    watch.wait("all is well", |status| (status["fleet"] == "normal").then_some(()));

    // The whole machine without its power: cable out, nothing answers; and everything on it dead but the kernel.
    let since = watch.events("strike").len();
    world.network().unplug("n3").unwrap();
    world.node(4).kill_all();
    world.wait_for(&[1, 2]);
    watch.wait_node("n3", "is dead", |node| node["verdict"] == "dead");
    watch.wait_node("n4", "is down, and its kernel answers", |node| node["verdict"] == "down");
    assert_struck_by(&watch, "n3", since, &["timeout:connect", "unreachable"]);
    assert_struck_by(&watch, "n4", since, &["refused"]);
    world.network().plug("n3").unwrap();
    world.node(4).restart().unwrap();
    world.wait_for(&[1, 2, 3, 4]);

    // What was done is proved: every change was seen at the name server.
    let changes = watch.changes();
    assert!(changes.len() >= 6, "{changes:#?}");
    assert!(changes.values().all(|state| state == "confirmed"), "{changes:#?}");
    let seen = watch.events("publication");
    assert!(changes.keys().all(|id| seen.iter().any(|seen| seen["detail"]["change"] == *id)), "{seen:#?}");
    watch.stop();
    drop(watch);
    world.end();
}

#[test]
fn by_a_firewall() {
    let Some(world) = World::start() else { return };
    let mut watch = world.watch(&Settings::new("firewall"));

    // Silence on one, and ICMP "port unreachable" from the other.
    world.network().firewall("n1", Traffic::All, Firewall::Drop).unwrap();
    world.network().firewall("n2", Traffic::All, Firewall::Reject).unwrap();
    world.wait_for(&[3, 4]);
    watch.wait_node("n1", "is dead", |node| node["verdict"] == "dead");
    watch.wait_node("n2", "is out", |node| node["standing"] == "withdrawn");
    assert_struck_by(&watch, "n1", 0, &["timeout:connect"]);
    assert_struck_by(&watch, "n2", 0, &["refused"]);
    world.network().open_firewall("n1").unwrap();
    world.network().open_firewall("n2").unwrap();
    world.wait_for(&[1, 2, 3, 4]);

    // "Administratively prohibited" from one, and a hole in the way to the other.
    let since = watch.events("strike").len();
    world.network().firewall("n3", Traffic::All, Firewall::Prohibit).unwrap();
    world.network().blackhole("n4").unwrap();
    world.wait_for(&[1, 2]);
    world.assert_resolves(&[1, 2]);
    watch.wait_node("n4", "is dead", |node| node["verdict"] == "dead");
    assert_struck_by(&watch, "n3", since, &["unreachable"]);
    assert_struck_by(&watch, "n4", since, &["timeout:connect"]);
    let status = watch.status().unwrap();
    assert_eq!(of_node(&status, "n1")["standing"], "serving");
    world.network().open_firewall("n3").unwrap();
    world.network().clear_the_way().unwrap();
    world.wait_for(&[1, 2, 3, 4]);
    watch.stop();
    drop(watch);
    world.end();
}
