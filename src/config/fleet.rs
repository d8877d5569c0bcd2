//! `[[nodes]]` and `[[pools]]`: who could serve, and under which names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;

use super::raw::{Found, Reading, Spot, Table, Value};
use super::suggest;
use super::units::duration_text;
use crate::model::{Fingerprint, Fleet, Name, Node, Pool};

/// The fleet, and where its parts stand.
pub(super) struct FleetRead {
    pub(super) fleet: Fleet,
    /// Where each node's name stands.
    pub(super) nodes: BTreeMap<Name, Spot>,
    /// Where each pool's parts stand.
    pub(super) pools: BTreeMap<Name, PoolSpots>,
    /// The nodes' metrics_url.
    pub(super) metrics: BTreeMap<Name, String>,
    /// Pools as they are written.
    pub(super) order: Vec<Name>,
}

/// Where a pool's parts stand.
pub(super) struct PoolSpots {
    pub(super) table: Spot,
    pub(super) zone: Spot,
    pub(super) registrar: Spot,
    pub(super) ttl: Spot,
    pub(super) nodes: Spot,
}

/// Reads the nodes and the pools. What is right is there, even beside what is wrong.
pub(super) fn read(reading: &Reading<'_>, nodes: Option<Vec<Table<'_>>>, pools: Option<Vec<Table<'_>>>) -> FleetRead {
    let top = Spot { key: String::new(), span: 0..0, shown: None, written: false };
    if nodes.as_ref().is_some_and(Vec::is_empty) {
        let spot = Spot { key: "nodes".to_owned(), ..top.clone() };
        reading.error(&spot, "there is no node", "add a table [[nodes]] with name and addresses for each");
    }
    if pools.as_ref().is_some_and(Vec::is_empty) {
        let spot = Spot { key: "pools".to_owned(), ..top };
        reading.error(&spot, "there is no pool", "add a table [[pools]] with zone, records and registrar");
    }
    let mut read = FleetRead {
        fleet: Fleet::default(),
        nodes: BTreeMap::new(),
        pools: BTreeMap::new(),
        metrics: BTreeMap::new(),
        order: Vec::new(),
    };
    let mut owners: BTreeMap<IpAddr, Name> = BTreeMap::new();
    for table in nodes.into_iter().flatten() {
        node(table, &mut read, &mut owners);
    }
    for table in pools.into_iter().flatten() {
        pool(table, &mut read);
    }
    read
}

fn node(mut table: Table<'_>, read: &mut FleetRead, owners: &mut BTreeMap<IpAddr, Name>) {
    let reading = table.reading;
    let name = called(&mut table, "nodes");
    let addresses = table.get("addresses").and_then(|value| addresses(&value));
    let site = table.text("site");
    let capacity = table.get("capacity").and_then(|value| value.rate());
    let key = table.get("ssh_host_key").and_then(|value| {
        value.parsed::<Fingerprint>("run: ssh-keyscan HOST | ssh-keygen -lf -, and write what begins with SHA256:")
    });
    let metrics = table.get("metrics_url").and_then(|value| metrics_url(&value));
    let Ok(name) = name else { return };
    let name = match (name, &addresses) {
        (Some(name), _) => name,
        (None, Some(addresses)) => {
            let text = addresses[0].value.to_string().replace(':', "-");
            let text = text.trim_start_matches('-');
            let Ok(value) = Name::new(text) else { return };
            Found { value, spot: table.spot.clone() }
        }
        (None, None) => return,
    };
    if read.nodes.contains_key(&name.value) {
        reading.error(&name.spot, format!("two nodes are called {}", name.value), "give each a name of its own");
        return;
    }
    read.nodes.insert(name.value.clone(), name.spot);
    let mut own = Vec::new();
    for address in addresses.iter().flatten() {
        match owners.get(&address.value) {
            Some(owner) if *owner == name.value => {
                reading.error(&address.spot, "this address is there twice", "keep one of them");
            }
            Some(owner) => reading.error(
                &address.spot,
                format!("node {owner} has this address too"),
                "an address belongs to one node: which of them is it?",
            ),
            None => {
                owners.insert(address.value, name.value.clone());
                own.push(address.value);
            }
        }
    }
    let node = Node {
        id: name.value.clone(),
        addresses: own,
        site: site.map(|site| site.value),
        capacity_bps: capacity.map(|capacity| capacity.value),
        ssh_host_key: key.map(|key| key.value),
    };
    if let Some(url) = metrics {
        read.metrics.insert(name.value.clone(), url);
    }
    read.fleet.nodes.insert(name.value, node);
}

/// The name of a table of a list, which is called by it from now on; `Err` when it is wrong.
fn called(table: &mut Table<'_>, list: &str) -> Result<Option<Found<Name>>, ()> {
    let Some(value) = table.get("name") else { return Ok(None) };
    let name = value.name().ok_or(())?;
    table.rename(&format!("{list}.{}", name.value));
    Ok(Some(Found { spot: table.spot_of("name"), value: name.value }))
}

fn addresses(value: &Value<'_>) -> Option<Vec<Found<IpAddr>>> {
    let items = value.items()?;
    if items.is_empty() {
        value.reading.error(&value.spot, "a node without an address cannot be reached", "write at least one address");
        return None;
    }
    let found: Vec<_> =
        items.iter().map(|item| item.address().filter(|found| can_serve(item.reading, found))).collect();
    found.into_iter().collect()
}

/// Where a node_exporter is.
fn metrics_url(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let error = |message: &str, remedy: &str| -> Option<String> {
        value.reading.error(&value.spot, message, remedy);
        None
    };
    let example = "write it like \"http://192.0.2.11:9100/metrics\"";
    let url = match Url::parse(&text.value) {
        Ok(url) => url,
        Err(problem) if text.value.contains("://") => return error(&format!("this is no URL: {problem}"), example),
        Err(_) => return error("this is no URL", example),
    };
    if !["http", "https"].contains(&url.scheme()) {
        return error("a node_exporter speaks http or https", example);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return error("a user and a password do not belong into a URL", "let it answer our address without one");
    }
    if url.port() == Some(0) {
        return error("0 is no port", "write the port, most often 9100");
    }
    if url.fragment().is_some() {
        return error("what follows # is never sent", "leave it out");
    }
    Some(url.to_string())
}

/// Whether users could reach anything at this address; loopback is for trying things out.
fn can_serve(reading: &Reading<'_>, found: &Found<IpAddr>) -> bool {
    let address = found.value;
    let (message, remedy) = match address {
        _ if address.is_unspecified() => ("this address stands for none", "write the node's own address".to_owned()),
        _ if address.is_multicast() => ("this is a multicast address", "write the node's own address".to_owned()),
        IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST || v4.octets()[0] >= 240 || v4.octets()[0] == 0 => {
            ("this address cannot be one of a machine", "write the node's own address".to_owned())
        }
        IpAddr::V4(v4) if v4.is_link_local() => {
            ("this address is for one link only", "write the node's public address".to_owned())
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => ("this is an IPv4 address in the clothes of IPv6", format!("write {:?}", v4.to_string())),
            None if v6.is_unicast_link_local() => {
                ("this address is for one link only", "write the node's public address".to_owned())
            }
            None => return true,
        },
        IpAddr::V4(_) => return true,
    };
    reading.error(&found.spot, message, remedy);
    false
}

fn pool(mut table: Table<'_>, read: &mut FleetRead) {
    let reading = table.reading;
    let name = called(&mut table, "pools");
    let zone = table.get("zone").and_then(|value| zone(&value));
    let records = table.get("records").and_then(|value| records(&value, zone.as_ref().map(|zone| zone.value.as_str())));
    let ttl = table.duration("ttl");
    let registrar = table.get("registrar").and_then(|value| value.name());
    let nodes = match table.get("nodes") {
        Some(value) => members(&value, &read.nodes),
        None => Some(read.nodes.keys().cloned().collect()),
    };
    let nameservers = match table.get("nameservers") {
        Some(value) => servers(&value),
        None => Some(Vec::new()),
    };
    let publish_within = table.duration("publish_within");
    if let Some(ttl) = &ttl {
        check_ttl(reading, ttl);
    }
    let Ok(name) = name else { return };
    let name = match (name, &zone) {
        (Some(name), _) => name,
        (None, Some(zone)) => match Name::new(&zone.value) {
            Ok(value) => Found { value, spot: table.spot.clone() },
            Err(_) => {
                reading.error(&zone.spot, "the zone's name is too long to call the pool by", "add name = \"...\"");
                return;
            }
        },
        (None, None) => return,
    };
    if read.pools.contains_key(&name.value) {
        reading.error(&name.spot, format!("two pools are called {}", name.value), "give each a name of its own");
        return;
    }
    let (Some(zone), Some(records), Some(ttl), Some(registrar), Some(nodes), Some(nameservers), Some(publish_within)) =
        (zone, records, ttl, registrar, nodes, nameservers, publish_within)
    else {
        return;
    };
    let spots = PoolSpots {
        table: table.spot.clone(),
        zone: zone.spot,
        registrar: registrar.spot,
        ttl: ttl.spot,
        nodes: table.spot_of("nodes"),
    };
    let pool = Pool {
        id: name.value.clone(),
        zone: zone.value,
        records,
        ttl: ttl.value,
        registrar: registrar.value,
        nodes,
        nameservers,
        publish_within: publish_within.value,
    };
    read.order.push(name.value.clone());
    read.pools.insert(name.value.clone(), spots);
    read.fleet.pools.insert(name.value, pool);
}

fn check_ttl(reading: &Reading<'_>, ttl: &Found<Duration>) {
    if ttl.value.subsec_millis() != 0 {
        reading.error(&ttl.spot, "DNS counts TTLs in whole seconds", "write whole seconds, like \"60s\"");
    } else if ttl.value < Duration::from_secs(30) {
        reading.warn(
            &ttl.spot,
            "many resolvers keep answers for 30 s anyway, and every one asks twice a minute or more",
            "write \"60s\", unless you know better",
        );
    } else if ttl.value > Duration::from_secs(900) {
        reading.warn(
            &ttl.spot,
            format!("users would be sent to a withdrawn node for up to {} more", duration_text(ttl.value)),
            "write \"60s\" to \"5m\"",
        );
    }
}

/// A zone: lower case, without a final dot.
fn zone(value: &Value<'_>) -> Option<Found<String>> {
    let text = value.text()?;
    let name = text.value.trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() {
        value.reading.error(&value.spot, "the root is no zone of yours", "write it like \"example.com\"");
        return None;
    }
    if let Some((message, remedy)) = bad_name(&name, 253) {
        value.reading.error(&value.spot, message, remedy);
        return None;
    }
    Some(Found { value: name, spot: text.spot })
}

fn records(value: &Value<'_>, zone: Option<&str>) -> Option<Vec<String>> {
    let items = value.items()?;
    let before = value.reading.errors();
    if items.is_empty() {
        value.reading.error(
            &value.spot,
            "a pool without a record has nothing to change",
            "write [\"@\"] for the zone itself",
        );
    }
    let mut records = Vec::new();
    for item in items {
        let Some(text) = item.text() else { continue };
        let error = |message: String, remedy: String| value.reading.error(&item.spot, message, remedy);
        let lower = text.value.to_ascii_lowercase();
        let bare = lower.trim_end_matches('.');
        let below = zone
            .and_then(|zone| bare.strip_suffix(zone))
            .and_then(|rest| if rest.is_empty() { Some("@") } else { rest.strip_suffix('.') });
        if let Some(relative) = below {
            error("names are relative to the zone".to_owned(), format!("write {relative:?}"));
        } else if lower.ends_with('.') {
            let zone = zone.unwrap_or_default();
            error(
                format!("this is not in zone {zone}"),
                "write names relative to the zone; other zones need a pool of their own".to_owned(),
            );
        } else if lower.split('.').any(|label| label == "*") {
            error(
                "a wildcard answers for names that nobody can list, so no change of it can be proved".to_owned(),
                "write the names that users use".to_owned(),
            );
        } else if lower != "@"
            && let Some((message, remedy)) = bad_name(&lower, 253_usize.saturating_sub(1 + zone.map_or(0, str::len)))
        {
            error(message, remedy);
        } else if records.contains(&lower) {
            error("this name is there twice".to_owned(), "keep one of them".to_owned());
        } else {
            records.push(lower);
        }
    }
    (value.reading.errors() == before).then_some(records)
}

/// What is wrong with a name of DNS, lower case and without a final dot, and what to do about it.
fn bad_name(name: &str, longest: usize) -> Option<(String, String)> {
    if !name.is_ascii() {
        let ascii = Url::parse(&format!("https://{name}/")).ok().and_then(|url| url.host_str().map(str::to_owned));
        let remedy = ascii.map_or_else(|| "write it in ASCII (xn--...)".to_owned(), |ascii| format!("write {ascii:?}"));
        return Some(("registrars and DNS know this name in ASCII only".to_owned(), remedy));
    }
    if name.len() > longest {
        return Some((
            format!("the whole name has more than 253 characters ({} too many)", name.len() - longest),
            "shorten it".to_owned(),
        ));
    }
    let bad = name.split('.').find(|label| {
        label.is_empty()
            || label.len() > 63
            || label.starts_with('-')
            || label.ends_with('-')
            || !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    })?;
    let message = match bad {
        "" => "there is nothing between two dots, or before the first".to_owned(),
        _ if bad.len() > 63 => "a part between dots has at most 63 characters".to_owned(),
        _ => format!("{bad:?} is no part of a host name"),
    };
    Some((message, "use a-z, 0-9 and -, with a letter or digit at both ends".to_owned()))
}

fn members(value: &Value<'_>, nodes: &BTreeMap<Name, Spot>) -> Option<Vec<Name>> {
    let items = value.items()?;
    let before = value.reading.errors();
    if items.is_empty() {
        value.reading.error(
            &value.spot,
            "a pool needs nodes",
            "write their names, or leave the key out for every node",
        );
    }
    let mut members: Vec<Name> = Vec::new();
    for item in items {
        let Some(name) = item.name() else { continue };
        if !nodes.contains_key(&name.value) {
            let known = || nodes.keys().map(Name::as_str);
            let remedy = match suggest::nearest(name.value.as_str(), known()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => format!("there are {}", list(known())),
            };
            value.reading.error(&item.spot, "there is no such node", remedy);
        } else if members.contains(&name.value) {
            value.reading.error(&item.spot, "this node is there twice", "keep one of them");
        } else {
            members.push(name.value);
        }
    }
    members.sort();
    (value.reading.errors() == before).then_some(members)
}

/// Names for a sentence, not too many.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        1..=8 => names.join(", "),
        more => format!("{} and {} more", names[..7].join(", "), more - 7),
    }
}

fn servers(value: &Value<'_>) -> Option<Vec<SocketAddr>> {
    let items = value.items()?;
    let before = value.reading.errors();
    let mut servers = Vec::new();
    for item in items {
        let Some(server) = item.server(53) else { continue };
        if server.value.ip().is_unspecified() || server.value.ip().is_multicast() {
            value.reading.error(&item.spot, "there can be no server at this address", "write the server's own address");
        } else if servers.contains(&server.value) {
            value.reading.error(&item.spot, "this server is there twice", "keep one of them");
        } else {
            servers.push(server.value);
        }
    }
    (value.reading.errors() == before).then_some(servers)
}
