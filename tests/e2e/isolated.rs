//! The witness loses its own network: that is nobody's fault but its own.

use witness_lab::netns::Network;

use crate::watch::Watch;
use crate::world::{Settings, World};

/// Cuts, waits until the witness knows, and mends.
fn cut_and_mend(world: &World, watch: &Watch, cut: impl Fn(&Network), mend: impl Fn(&Network)) {
    cut(world.network());
    watch.wait("it knows that it is isolated", |status| (status["fleet"] == "isolated").then_some(()));
    let (code, line) = watch.check();
    assert_eq!(code, 2, "{line}");
    watch.ticks(3);
    world.assert_unchanged();
    mend(world.network());
    watch.wait("it sees again", |status| {
        let nodes = status["nodes"].as_array()?;
        let well = nodes.iter().all(|node| node["verdict"] == "healthy" && node["standing"] == "serving");
        (status["vantage"] == "clear" && well).then_some(())
    });
    // And goes on seeing: nothing that was observed meanwhile comes up later.
    watch.ticks(4);
    world.assert_unchanged();
    watch.assert_nothing_happened();
}

#[test]
fn nothing_is_changed_and_nobody_is_struck() {
    let Some(mut world) = World::start() else { return };
    // Longer time-outs than elsewhere: here not a single strike is forgiven.
    let settings = Settings { connect: "3s", timeout: "4s", ..Settings::new("isolated") };
    let mut watch = world.watch(&settings);

    // Its own interface is down: its own kernel has no route.
    cut_and_mend(
        &world,
        &watch,
        |network| network.link_down("witness").unwrap(),
        |network| network.link_up("witness").unwrap(),
    );
    // Somebody has pulled the cable at the other end: neighbours are missed after a while.
    cut_and_mend(
        &world,
        &watch,
        |network| network.unplug("witness").unwrap(),
        |network| network.plug("witness").unwrap(),
    );
    // Packets leave and no answer ever comes.
    cut_and_mend(
        &world,
        &watch,
        |network| network.blackhole("witness").unwrap(),
        |network| network.clear_the_way().unwrap(),
    );
    world.assert_resolves(&[1, 2, 3, 4]);

    // It is not blind for good.
    world.node(4).kill_all();
    world.wait_for(&[1, 2, 3]);
    watch.stop();
    drop(watch);
    world.end();
}
