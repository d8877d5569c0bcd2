//! A node with both families among nodes with one: its addresses leave together, but never the last of a set.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use witness_lab::internet::DNS;
use witness_lab::netns::Network;
use witness_lab::node::{Mode, Node, NodeConfig};
use witness_lab::tls::Authority;

use crate::net::{alone, available, nothing_left, patiently, registrar};
use crate::watch::Watch;
use crate::world::{HURRIED, name_server};
use crate::zone::{self, ZONE};

const NODES: [(&str, &[&str]); 4] = [
    ("n1", &["192.0.2.11", "2001:db8:11::1"]),
    ("n2", &["192.0.2.12", "2001:db8:12::1"]),
    ("n3", &["192.0.2.13"]),
    ("n4", &["192.0.2.14"]),
];

fn addresses(node: &str) -> Vec<IpAddr> {
    let (_, addresses) = NODES.iter().find(|(name, _)| *name == node).unwrap();
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn wait_for(network: &Network, rtype: &str, wanted: &[&str]) {
    let wanted: BTreeSet<IpAddr> = wanted.iter().map(|address| address.parse().unwrap()).collect();
    let mut shown = BTreeSet::new();
    let there = patiently(|| {
        shown = zone::resolved(network, "dns", ZONE, rtype);
        assert!(!shown.is_empty(), "no set is ever empty");
        (shown == wanted).then_some(())
    });
    assert!(there.is_some(), "{rtype} should be {wanted:?} and is {shown:?}");
}

#[test]
fn both_families_leave_together_but_for_the_last_of_one() {
    if let Err(reason) = available() {
        return witness_lab::skip("end to end", &reason);
    }
    let alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut network = Network::new().unwrap();
    network.add("witness", &["203.0.113.10".parse().unwrap(), "2001:db8:10::1".parse().unwrap()]).unwrap();
    network.add("dns", &[DNS.ip()]).unwrap();
    let authority = Authority::new().unwrap();
    let identity = authority.identity(&["files.example.com"]).unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let mut nodes = Vec::new();
    let mut all = Vec::new();
    let mut text = configuration() + &registrar(folder.path(), "3s");
    for (name, own) in NODES {
        network.add(name, &addresses(name)).unwrap();
        // One socket for both families.
        let any: IpAddr = if own.len() > 1 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let mut config = NodeConfig::new(name, SocketAddr::new(any, 443), identity.good.clone());
        config.netns = Some(network.path(name).unwrap());
        nodes.push(Node::start(config).unwrap());
        all.extend(addresses(name));
        text.push_str(&format!("\n[[nodes]]\nname = \"{name}\"\naddresses = {own:?}\n"));
    }
    let knot = name_server(&network, &all);
    let config = folder.path().join("dual.toml");
    std::fs::write(&config, text).unwrap();
    let mut watch = Watch::run(&network, config);
    watch.wait("all is well", |status| (status["fleet"] == "normal").then_some(()));
    let before = zone::whole(&network);

    // n1 loses its IPv6 address and serves IPv4 on. Its users get both, so that it is out, whole.
    let ip6 = |words: &[&str]| {
        let output = network.exec("n1", "ip", &[&["-6", "address"], words].concat()).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    ip6(&["delete", "2001:db8:11::1/128", "dev", "eth0"]);
    wait_for(&network, "A", &["192.0.2.12", "192.0.2.13", "192.0.2.14"]);
    wait_for(&network, "AAAA", &["2001:db8:12::1"]);

    // The last IPv6 address stays, and its node leaves IPv4 alone.
    nodes[1].set(Mode::Status(500)).unwrap();
    wait_for(&network, "A", &["192.0.2.13", "192.0.2.14"]);
    watch.ticks(4);
    wait_for(&network, "AAAA", &["2001:db8:12::1"]);
    assert!(watch.events("hold").iter().any(|hold| hold["node"] == "n2" && hold["detail"]["guard"] == "empty-set"));

    ip6(&["add", "2001:db8:11::1/128", "dev", "eth0", "nodad"]);
    nodes[1].set(Mode::Healthy).unwrap();
    let whole = patiently(|| (zone::whole(&network) == before).then_some(()));
    assert!(whole.is_some(), "{:#?}", zone::whole(&network));
    watch.stop();
    drop((watch, knot, nodes, network));
    nothing_left();
    drop(alone);
}

fn configuration() -> String {
    format!(
        "[witness]
database = \"dual.db\"
interval = \"1s\"
fast_interval = \"500ms\"
anchors = []

[policy]
strikes = 3
strike_spacing = \"500ms\"
probation = \"1s\"
probation_max = \"2s\"

{HURRIED}
[probes.https]
url = \"https://files.example.com/.witness/health\"
ca_file = \"ca.pem\"
connect_timeout = \"1s\"
timeout = \"1500ms\"

[probes.ping]
timeout = \"1s\"

[[pools]]
zone = \"{ZONE}\"
ttl = \"1s\"
registrar = \"knot\"
nameservers = [\"{server}\"]
publish_within = \"30s\"
",
        server = DNS.ip()
    )
}
