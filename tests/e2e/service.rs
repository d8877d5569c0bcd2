//! The machine lives and the service does not; and the other way round.

use witness_lab::node::{Mode, Stage};
use witness_lab::tls::Flaw;

use crate::watch::{Watch, of_node};
use crate::world::{Settings, World};
use crate::zone::{self, CLASSIC, ZONE};

#[test]
fn https_is_broken_while_ping_and_ssh_live() {
    let Some(mut world) = World::start() else { return };
    let mut watch = world.watch(&Settings::new("broken"));

    world.node(1).set(&Mode::Hang(Stage::Http)).unwrap();
    world.node(2).set(&Mode::Certificate(Flaw::Expired)).unwrap();
    world.wait_for(&[3, 4]);
    world.assert_resolves(&[3, 4]);
    watch.wait_node("n1", "hangs", |node| node["verdict"] == "hung" && node["standing"] == "withdrawn");
    watch.wait_node("n2", "is broken", |node| node["verdict"] == "broken" && node["standing"] == "withdrawn");
    let status = watch.status().unwrap();
    for (node, https) in [("n1", "timeout:request"), ("n2", "tls:expired")] {
        let probes = of_node(&status, node)["probes"].as_array().unwrap().clone();
        for probe in probes {
            let expected = if probe["probe"] == "https" { https } else { "passed" };
            assert_eq!(probe["outcome"], expected, "{node}: {probe:#}");
        }
    }
    world.node(1).set(&Mode::Healthy).unwrap();
    world.node(2).set(&Mode::Healthy).unwrap();
    world.wait_for(&[1, 2, 3, 4]);

    // An error of the service's own; and one that says that it has too much to do, which is honest and no failure.
    world.node(3).set(&Mode::Status(500)).unwrap();
    world.wait_for(&[1, 2, 4]);
    watch.wait_node("n3", "is broken", |node| node["verdict"] == "broken");
    world.node(4).set(&Mode::Shedding(30)).unwrap();
    watch.ticks(4);
    world.assert_unchanged();
    assert!(watch.events("strike").iter().all(|strike| strike["node"] != "n4"), "shedding load is no strike");
    world.node(3).set(&Mode::Healthy).unwrap();
    world.node(4).set(&Mode::Healthy).unwrap();
    world.wait_for(&[1, 2, 3, 4]);
    watch.stop();
    drop(watch);
    world.end();
}

/// Two witnesses on one fleet, each with a name of its own in the zone.
#[test]
fn only_ssh_is_broken_and_the_classic_rule_beside_it() {
    let Some(mut world) = World::start() else { return };
    let mut watch = world.watch(&Settings::new("ssh"));
    let classic = Settings {
        policy: "rule = \"classic\"\nmax_withdrawn = 1",
        records: vec![CLASSIC],
        ..Settings::new("classic")
    };
    let mut classic = world.watch(&classic);

    world.node(1).sshd.stop();
    // As after a reinstallation, or with somebody in between.
    world.node(2).sshd.restart_with_new_host_key().unwrap();
    for node in ["n1", "n2"] {
        watch.wait_held(node, "still-serves");
    }
    watch.ticks(4);
    let all = [1, 2, 3, 4];
    let addresses = all.map(|number| world.address(number));
    let at = |name: &str| zone::resolved(world.network(), "anchor2", &format!("{name}.{ZONE}"), "A");
    assert!(addresses.iter().all(|address| at("files").contains(address)), "nobody has left: {:?}", at("files"));

    let strikes = watch.events("strike");
    let fault_of = |node: &str| {
        let strike = strikes.iter().find(|strike| strike["node"] == node).unwrap();
        strike["detail"]["faults"][0]["fault"].as_str().unwrap().to_owned()
    };
    assert_eq!(fault_of("n1"), "refused");
    assert_eq!(fault_of("n2"), "host-key");
    let alerts: Vec<_> = watch.events("action");
    for node in ["n1", "n2"] {
        let of_node: Vec<_> = alerts.iter().filter(|alert| alert["node"] == node).collect();
        assert_eq!(of_node.len(), 1, "one alert for {node}, and nothing else: {alerts:#?}");
        assert_eq!(of_node[0]["detail"]["a"], "alert");
    }
    assert!(watch.events("change").is_empty());
    assert_eq!(watch.check().0, 1, "{}", watch.check().1);

    // The old rule takes the first of them out, and has no way back for it.
    let gone = classic.wait("the classic rule withdraws", |status| {
        let nodes = status["nodes"].as_array()?;
        let out = nodes.iter().find(|node| node["standing"] == "withdrawn")?;
        out["node"].as_str().map(str::to_owned)
    });
    assert!(["n1", "n2"].contains(&gone.as_str()), "{gone}");
    assert_eq!(at(CLASSIC).len(), 3);
    classic.stop();

    world.node(1).restart().unwrap();
    watch.wait_node("n1", "is well, and the strikes stay", |node| {
        node["verdict"] == "healthy" && node["strikes"].as_u64() >= Some(3)
    });
    watch.stop();
    assert_one_process_is_enough(&world, &watch);
    drop((watch, classic));
    world.end();
}

/// A second daemon with the same ledger does not start while one runs.
fn assert_one_process_is_enough(world: &World, watch: &Watch) {
    let mut first = Watch::run(world.network(), watch.config().to_owned());
    first.ticks(1);
    let (code, _, error) = watch.command(world.network(), &["run"]);
    assert_eq!(code, 1, "{error}");
    let (code, _, error) = watch.command(world.network(), &["once"]);
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("watching already"), "{error}");
    first.stop();
}
