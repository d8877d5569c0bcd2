//! `witness once`, again and again, as cron would; and `witness check --live` before it.

use std::process::Output;
use std::time::Duration;

use witness_lab::node::{Mode, Stage};

use crate::watch::{Watch, of_node};
use crate::world::{Settings, World};
use crate::zone;

/// Runs `once` until the status is as wanted; returns in how many runs.
fn runs_until(world: &World, watch: &Watch, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> u32 {
    for run in 1..=30 {
        let (code, _, error) = watch.command(world.network(), &["once"]);
        assert_eq!(code, 0, "{error}");
        if wanted(&watch.status().unwrap()) {
            return run;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("30 runs, and still not: {what}; {:#}", watch.status().unwrap());
}

#[test]
fn one_tick_at_a_time() {
    let Some(mut world) = World::start() else { return };
    let watch = Watch::idle(world.configuration(&Settings { interval: "5s", timeout: "3s", ..Settings::new("cron") }));

    let (code, out, error) = watch.command(world.network(), &["check", "--live"]);
    assert_eq!(code, 0, "{out}{error}");
    for told in ["192.0.2.251", "3 of 3", "n4"] {
        assert!(out.contains(told), "{told} is not in:\n{out}");
    }
    assert!(watch.status().is_none(), "check writes no ledger");
    let before = zone::whole(world.network());

    let (code, out, error) = watch.command(world.network(), &["once", "--json"]);
    assert_eq!(code, 0, "{error}");
    let judged: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(judged["nodes"].as_array().unwrap().len(), 4, "{judged:#}");
    assert_eq!(zone::whole(world.network()), before);

    world.node(2).kill_web();
    // One run settles it: it looks again and again while a node is in doubt.
    let runs = runs_until(&world, &watch, "n2 is out", |status| of_node(status, "n2")["standing"] == "withdrawn");
    assert_eq!(runs, 1, "{:#}", watch.status().unwrap());
    world.wait_for(&[1, 3, 4]);
    world.assert_resolves(&[1, 3, 4]);

    // A dry run judges, and leaves neither DNS nor ledger otherwise than they were.
    let last = watch.status().unwrap();
    let (code, out, error) = watch.command(world.network(), &["once", "--dry-run"]);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("dry run") && out.contains("down"), "{out}");
    assert_eq!(watch.status().unwrap()["judgement"], last["judgement"]);

    // Runs that overlap do not stack: the second says so, and all is well.
    world.node(3).set(&Mode::Hang(Stage::Tls)).unwrap();
    let met = (0..5).any(|_| {
        let two = [(); 2].map(|()| watch.background(world.network(), &["once"]));
        let ended = two.map(|one| one.wait_with_output().unwrap());
        assert!(ended.iter().all(|ended| ended.status.success()), "{ended:?}");
        let told = |ended: &&Output| String::from_utf8_lossy(&ended.stderr).contains("is watching already");
        ended.iter().filter(told).count() == 1
    });
    assert!(met, "no run has met another");
    world.node(3).set(&Mode::Healthy).unwrap();

    world.node(2).restart().unwrap();
    runs_until(&world, &watch, "n2 is back", |status| {
        let node = of_node(status, "n2");
        node["standing"] == "serving" && node["in_dns"]["files"] == true
    });
    world.wait_for(&[1, 2, 3, 4]);
    assert_eq!(zone::whole(world.network()), before, "as if nothing had happened");
    drop(watch);
    world.end();
}
