//! The original script's rule in an equal world: it takes the living for dead, and makes it worse for the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::world::{World, now, patiently};

#[test]
#[ignore = "takes minutes and both cores; cargo xtask overload-test"]
fn the_classic_rule_takes_out_nodes_that_live() {
    let Some(world) = World::start() else { return };
    let mut watch = world.watch("classic", "rule = \"classic\"");
    world.offer(30);
    world.assert_stay(&[1, 2, 3, 4], Duration::from_secs(8));

    world.offer(120);
    let mut inside: BTreeSet<usize> = (1..=4).collect();
    let (before, begun) = (world.clients.tally(), now());
    // Two is what it takes at most. Both may go in one tick, or the second right after the first.
    while inside.len() > 2 {
        let shown = patiently(|| Some(world.published()).filter(|shown| shown.len() < inside.len()));
        let shown = shown.unwrap_or_else(|| panic!("of {inside:?} none was taken out"));
        let tally = world.clients.tally().since(&before);
        for gone in inside.difference(&shown) {
            let served = tally.served_by.get(&world.address(*gone)).copied().unwrap_or_default();
            world.say(&format!("n{gone} is taken out; it has served {served} of those who came since"));
            assert!(served > 0, "n{gone} lived: {tally:?}");
        }
        world.tell(&format!("until {shown:?} were left"), &tally, begun.elapsed());
        inside = shown;
    }
    // What four could not carry, two have to, once nobody has the others' addresses in mind any more. There is no way back.
    std::thread::sleep(Duration::from_secs(6));
    let nodes: Vec<usize> = inside.into_iter().collect();
    let tally = world.assert_stay(&nodes, Duration::from_secs(15));
    assert!(tally.served * 2 < tally.begun + tally.turned_away, "less than half of them are served: {tally:?}");
    watch.stop();
    drop(watch);
    world.end();
}
