//! The networks themselves: what is cut is cut, and nothing is left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use witness_lab::dnsserver::{DnsServer, SharedZone, Source, Zone};
use witness_lab::netns::{self, Firewall, Narrow, Network, NoNarrow, Traffic, can_narrow};
use witness_lab::node::{Node, NodeConfig};
use witness_lab::tls::{Authority, Validity};

fn network() -> Option<Network> {
    if let Err(reason) = netns::available() {
        witness_lab::skip("networks of the lab", &reason);
        return None;
    }
    let mut network = Network::new().unwrap();
    network.add("witness", &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]).unwrap();
    network.add("n1", &["192.0.2.11".parse().unwrap(), "2001:db8::11".parse().unwrap()]).unwrap();
    network.add("anchor", &["198.51.100.1".parse().unwrap()]).unwrap();
    Some(network)
}

/// Patient, as what should answer answers at once on an idle machine and late on a busy one.
fn pings(network: &Network, target: &str) -> bool {
    network.exec("witness", "ping", &["-c1", "-W10", "-n", target]).unwrap().status.success()
}

fn is_silent(network: &Network, target: &str) -> bool {
    !network.exec("witness", "ping", &["-c1", "-W1", "-n", target]).unwrap().status.success()
}

fn namespaces() -> String {
    String::from_utf8(witness_lab::process::command("ip").args(["netns", "list"]).output().unwrap().stdout).unwrap()
}

#[test]
fn hosts_reach_each_other_until_a_link_is_cut() {
    let Some(network) = network() else { return };
    for target in ["192.0.2.11", "2001:db8::11", "198.51.100.1"] {
        assert!(pings(&network, target), "{target}");
    }
    for (cut, mend) in [
        (Network::link_down as fn(&Network, &str) -> _, Network::link_up as fn(&Network, &str) -> _),
        (Network::unplug, Network::plug),
        (Network::blackhole, |network, _| network.clear_the_way()),
        (
            |network: &Network, host: &str| network.firewall(host, Traffic::Ping, Firewall::Drop),
            |network: &Network, host: &str| network.open_firewall(host),
        ),
        (
            |network: &Network, host: &str| network.firewall(host, Traffic::All, Firewall::Reject),
            |network: &Network, host: &str| network.open_firewall(host),
        ),
        (
            |network: &Network, host: &str| network.on_the_way_to(host, Traffic::All, Firewall::Lose(100)),
            |network: &Network, _: &str| network.clear_the_way(),
        ),
    ] {
        cut(&network, "n1").unwrap();
        assert!(is_silent(&network, "192.0.2.11"));
        assert!(is_silent(&network, "2001:db8::11"));
        assert!(pings(&network, "198.51.100.1"), "only n1 was cut");
        mend(&network, "n1").unwrap();
        assert!(pings(&network, "192.0.2.11"));
        assert!(pings(&network, "2001:db8::11"));
    }
    network.link_down("witness").unwrap();
    assert!(is_silent(&network, "192.0.2.11") && is_silent(&network, "198.51.100.1"));
    network.link_up("witness").unwrap();
    assert!(pings(&network, "192.0.2.11") && pings(&network, "198.51.100.1"));
}

#[test]
fn servers_of_this_process_live_in_a_host() {
    let Some(network) = network() else { return };
    let leaf = Authority::new().unwrap().issue(&["files.example.com"], Validity::Good).unwrap();
    let address: SocketAddr = "192.0.2.11:443".parse().unwrap();
    let mut config = NodeConfig::new("n1", address, leaf);
    config.netns = Some(network.path("n1").unwrap());
    config.ssh = Some("192.0.2.11:22".parse().unwrap());
    let node = Node::start(config).unwrap();
    assert_eq!(node.address(), address);
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err(), "not outside");

    let mut zone = Zone::new("example.com");
    zone.put("@", 60, ["192.0.2.11".parse::<IpAddr>().unwrap()]);
    let at = "198.51.100.1:53".parse().unwrap();
    let dns =
        DnsServer::start_in(Some(network.path("anchor").unwrap()), at, Source::Shared(SharedZone::new(zone))).unwrap();

    let connect = "exec 3<>/dev/tcp/$0/$1 && head -c 7 <&3";
    let banner = || network.exec("witness", "timeout", &["2", "bash", "-c", connect, "192.0.2.11", "22"]).unwrap();
    assert_eq!(String::from_utf8(banner().stdout).unwrap(), "SSH-2.0");
    network.firewall("n1", Traffic::Tcp(22), Firewall::Reset).unwrap();
    let refused = String::from_utf8(banner().stderr).unwrap();
    assert!(refused.contains("refused"), "{refused}");
    assert!(pings(&network, "192.0.2.11"), "the port alone is closed");
    network.open_firewall("n1").unwrap();
    assert_eq!(String::from_utf8(banner().stdout).unwrap(), "SSH-2.0");

    if witness_lab::process::which("dig").is_none() {
        return witness_lab::skip(
            "dig in a network of the lab",
            "dig is not installed (Debian package bind9-dnsutils)",
        );
    }
    let dug = network.exec("witness", "dig", &["@198.51.100.1", "+short", "+tries=1", "example.com", "A"]).unwrap();
    assert_eq!(String::from_utf8(dug.stdout).unwrap(), "192.0.2.11\n");
    let dug = network.exec("witness", "dig", &["@198.51.100.1", "+tcp", "+short", "example.com", "A"]).unwrap();
    assert_eq!(String::from_utf8(dug.stdout).unwrap(), "192.0.2.11\n");
    assert_eq!(dns.queries(), 2);
}

#[test]
fn nothing_stays_behind() {
    let Some(mut network) = network() else { return };
    network.add("n2", &["192.0.2.12".parse().unwrap()]).unwrap();
    assert!(network.add("n2", &["192.0.2.12".parse().unwrap()]).is_err(), "the name is taken");
    let name = network.namespace("n2").unwrap().to_owned();
    assert!(namespaces().contains(&name));
    // Not through a guard: the network itself must end it.
    let mut orphan = network.command("n2", "sleep").unwrap().arg("1000").spawn().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _network = network;
        panic!("as a failing test does");
    }));
    assert!(panicked.is_err());
    assert!(!namespaces().contains(&name));
    assert!(orphan.wait().unwrap().code().is_none(), "ended by a signal");
}

#[test]
fn what_the_dead_have_left_is_swept() {
    if let Err(reason) = netns::available() {
        return witness_lab::skip("networks of the lab", &reason);
    }
    let mut gone = Command::new("true").spawn().unwrap();
    let pid = gone.id();
    gone.wait().unwrap();
    let stale = format!("wl-{pid}-0-n1");
    assert!(witness_lab::process::command("ip").args(["netns", "add", &stale]).status().unwrap().success());
    let _network = Network::new().unwrap();
    assert!(!namespaces().contains(&stale));
}

#[test]
fn a_narrow_link_loses_what_its_queue_has_no_room_for() {
    let Some(network) = network() else { return };
    match can_narrow() {
        Ok(()) => {}
        Err(NoNarrow::Install(reason)) => return witness_lab::skip("narrow links", &reason),
        Err(NoNarrow::Machine(reason)) => return witness_lab::skip_machine("narrow links", &reason),
    }
    assert_eq!(network.lost("n1").unwrap(), 0, "a link as wide as any loses nothing");
    network.narrow("n1", &Narrow { rate_bps: 1_000_000, burst: 8_000, queue: 7 }).unwrap();
    assert!(pings(&network, "192.0.2.11"), "little passes as before");
    assert_eq!(network.lost("n1").unwrap(), 0);
    // Fifty answers of 1.4 kB at once, where a dozen have room.
    network.exec("witness", "ping", &["-n", "-c50", "-l50", "-s1400", "-W2", "192.0.2.11"]).unwrap();
    let lost = network.lost("n1").unwrap();
    assert!((10..50).contains(&lost), "{lost}");
    assert!(pings(&network, "192.0.2.11"), "and it has come to itself");
}
