//! A way that is broken between the witness and one node alone: the others are asked, and the node stays.

use std::fs;

use witness_lab::netns::Network;

use crate::net::relays;
use crate::watch::{Watch, of_node};
use crate::world::{Settings, World};

/// A rule of n3's own firewall, by nft.
fn nft(network: &Network, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    let output = network.exec("n3", "nft", &words).unwrap();
    assert!(output.status.success(), "nft {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn who_is_reached_by_others_stays() {
    let Some(world) = World::start() else { return };
    let config = world.configuration(&Settings::new("relays"));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + &relays(&world.internet)).unwrap();
    let mut watch = Watch::run(world.network(), config);
    World::wait_until_well(&watch);
    let (code, out, error) = watch.command(world.network(), &["check", "--live"]);
    assert_eq!(code, 0, "{out}{error}");
    assert_eq!(out.matches("reaches 192.0.2.").count(), 4, "{out}");

    // What comes from the witness does not arrive; everything else does.
    nft(world.network(), "add table inet cut");
    nft(world.network(), "add chain inet cut in { type filter hook input priority 0 ; }");
    nft(world.network(), "add rule inet cut in ip saddr 203.0.113.10 drop");
    watch.wait_node("n3", "is partitioned", |node| node["verdict"] == "partitioned");
    watch.ticks(20);
    let status = watch.status().unwrap();
    assert_eq!(of_node(&status, "n3")["verdict"], "partitioned", "{status:#}");
    world.assert_unchanged();
    nft(world.network(), "delete table inet cut");
    // It counts as degraded for a while, having failed so much.
    watch.wait_node("n3", "answers again", |node| node["verdict"] != "partitioned");
    watch.ticks(10);
    world.assert_unchanged();
    watch.stop();
    drop(watch);
    world.end();
}
