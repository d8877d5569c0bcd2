//! The zone that is edited, as `dig` shows it: whole, line by line.

use std::collections::BTreeSet;
use std::net::IpAddr;

use witness_lab::internet::DNS;
use witness_lab::nameserver::{KEY_NAME, KEY_SECRET};
use witness_lab::netns::Network;

/// Its name.
pub(crate) const ZONE: &str = "example.test";
/// The names in it that carry the nodes' addresses.
pub(crate) const RECORDS: [&str; 2] = ["@", "files"];
/// One more, for a second witness that goes by the classic rule.
pub(crate) const CLASSIC: &str = "classic";
/// What all of their sets have, seconds.
pub(crate) const TTL: u32 = 1;

/// What is nobody's business but the zone's owner's, one of them in a set that is edited.
pub(crate) const FOREIGN: [&str; 9] = [
    "@ 3600 IN MX 10 mail",
    "@ 300 IN TXT \"v=spf1 mx -all\"",
    "@ 300 IN CAA 0 issue \"ca.example.net\"",
    "mail 3600 IN A 192.0.2.250",
    "mail 3600 IN AAAA 2001:db8::250",
    "files 1 IN A 192.0.2.251",
    "files 300 IN TXT \"keep \\\"me\\\"\"",
    "www 300 IN CNAME files",
    "_imaps._tcp 300 IN SRV 0 1 993 mail",
];

/// The lines of the zone file for these addresses.
pub(crate) fn lines(addresses: &[IpAddr]) -> Vec<String> {
    let owners = RECORDS.iter().chain([&CLASSIC]);
    let nodes = owners.flat_map(|owner| addresses.iter().map(move |address| line(owner, *address)));
    FOREIGN.iter().map(|line| (*line).to_owned()).chain(nodes).collect()
}

fn line(owner: &str, address: IpAddr) -> String {
    format!("{owner} {TTL} IN {} {address}", if address.is_ipv4() { "A" } else { "AAAA" })
}

/// A line of a zone with these addresses at these owners, for each, as `dig` writes it.
pub(crate) fn published(owners: &[&str], addresses: &[IpAddr]) -> BTreeSet<String> {
    let all = owners.iter().flat_map(|owner| addresses.iter().map(move |address| line(owner, *address)));
    all.map(|line| absolute(&line)).collect()
}

/// With the owner's whole name.
fn absolute(line: &str) -> String {
    let (owner, rest) = line.split_once(' ').unwrap();
    if owner == "@" { format!("{ZONE}. {rest}") } else { format!("{owner}.{ZONE}. {rest}") }
}

/// Everything in the zone but its SOA record, asked for where the server is, whatever has been done to the network.
pub(crate) fn whole(network: &Network) -> BTreeSet<String> {
    let at = format!("@{}", DNS.ip());
    let key = format!("hmac-sha256:{KEY_NAME}:{KEY_SECRET}");
    let output = network
        .exec("dns", "dig", &["-y", &key, &at, ZONE, "AXFR", "+noall", "+answer", "+nocookie", "+time=10", "+tries=3"])
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("SOA"), "no transfer of the zone: {text}{output:?}");
    let records = text.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty());
    records
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.contains(" SOA ") && !line.contains(" TSIG "))
        .collect()
}

/// The addresses that users get who ask from `host`.
pub(crate) fn resolved(network: &Network, host: &str, name: &str, rtype: &str) -> BTreeSet<IpAddr> {
    let at = format!("@{}", DNS.ip());
    let output = network.exec(host, "dig", &[&at, name, rtype, "+short", "+time=5", "+tries=5"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{host} asks for {name} and gets: {text}");
    text.lines().map(|line| line.parse().unwrap()).collect()
}
