//! The registrar cannot be reached when it is needed.

use witness_lab::internet::{ANCHORS, DNS};
use witness_lab::netns::{Firewall, Traffic};

use crate::world::{Settings, World};

#[test]
fn nothing_changes_while_the_name_server_is_out_of_reach() {
    let Some(mut world) = World::start() else { return };
    // One of the two name servers answers no questions at all: that is told, and stops nobody.
    let nameservers = format!("\"{}\", \"{}\"", DNS.ip(), ANCHORS[1].ip());
    let settings = Settings { nameservers, publish_within: "2s", ..Settings::new("unreachable") };
    let mut watch = world.watch(&settings);

    world.network().firewall("dns", Traffic::All, Firewall::Drop).unwrap();
    world.node(1).kill_web();
    watch.wait_held("n1", "zone-unknown");
    watch.ticks(4);
    world.assert_unchanged();
    assert!(watch.events("change").is_empty(), "what was not read is not written over");
    assert!(watch.log().contains("could not read zone example.test"), "it is told");

    // It converges by itself once it can.
    world.network().open_firewall("dns").unwrap();
    world.wait_for(&[2, 3, 4]);
    watch.wait_node("n1", "is out", |node| node["standing"] == "withdrawn");

    // Proof, server by server: seen at one, alarm for the other.
    let silent = format!("{}:53", ANCHORS[1].ip());
    watch.wait("both servers are reported on", |_| (watch.events("publication").len() >= 2).then_some(()));
    for report in watch.events("publication") {
        let server = report["detail"]["server"].as_str().unwrap().to_owned();
        assert_eq!(report["detail"]["seen"].is_null(), server == silent, "{report:#}");
    }

    // Every fifth packet to it is lost: slower, and no worse.
    world.network().on_the_way_to("dns", Traffic::Tcp(DNS.port()), Firewall::Lose(20)).unwrap();
    world.node(1).restart().unwrap();
    world.wait_for(&[1, 2, 3, 4]);
    world.network().clear_the_way().unwrap();
    watch.stop();
    drop(watch);
    world.end();
}
