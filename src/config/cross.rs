//! What sections have to do with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::fleet::{FleetRead, PoolSpots, list};
use super::policy::PolicyRead;
use super::raw::{Found, Reading, Spot};
use super::registrars::Registrars;
use super::suggest;
use super::units::duration_text;
use crate::model::{Name, Pool, ProbeSettings, RegistrarKind, RegistrarSettings, SshLevel};

/// Pools and the registrars that edit their zones.
pub(super) fn pools_and_registrars(reading: &Reading<'_>, fleet: &FleetRead, registrars: &Registrars) {
    let mut carriers: BTreeMap<(&str, &str), &Name> = BTreeMap::new();
    let mut zones: BTreeMap<&str, (&Name, &Name)> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for id in &fleet.order {
        let (pool, spots) = (&fleet.fleet.pools[id], &fleet.pools[id]);
        used.insert(&pool.registrar);
        match registrars.get(&pool.registrar) {
            Some((_, settings)) => {
                if let Some(settings) = settings {
                    namecheap(reading, pool, spots, settings);
                }
            }
            None => {
                let known = || registrars.keys().map(Name::as_str);
                let remedy = match suggest::nearest(pool.registrar.as_str(), known()) {
                    Some(nearest) => format!("did you mean {nearest:?}?"),
                    None => format!("add a table [registrars.{}]; there are {}", pool.registrar, list(known())),
                };
                reading.error(&spots.registrar, "there is no such registrar", remedy);
            }
        }
        for record in &pool.records {
            if let Some(other) = carriers.insert((&pool.zone, record), id) {
                let name = if record == "@" { pool.zone.clone() } else { format!("{record}.{}", pool.zone) };
                reading.error(
                    &spots.table,
                    format!("pool {other} has the record {name} too"),
                    "a name belongs to one pool: join the two, or take it out of one",
                );
            }
        }
        match zones.get(pool.zone.as_str()) {
            Some((other, registrar)) if **registrar != pool.registrar => reading.warn(
                &spots.registrar,
                format!("pool {other} has the same zone and another registrar, {registrar}"),
                "one zone is edited in one place; use the same registrar for both",
            ),
            Some(_) => {}
            None => {
                zones.insert(&pool.zone, (id, &pool.registrar));
            }
        }
    }
    for (name, (spot, _)) in registrars {
        if reading.errors() == 0 && !used.contains(name) {
            reading.warn(
                spot,
                "no pool uses this registrar",
                format!("write registrar = \"{name}\" in a pool, or leave it out"),
            );
        }
    }
}

fn namecheap(reading: &Reading<'_>, pool: &Pool, spots: &PoolSpots, settings: &RegistrarSettings) {
    let RegistrarKind::Namecheap(_) = settings.kind else { return };
    match psl::domain_str(&pool.zone) {
        None => reading.error(
            &spots.zone,
            "nobody can own this domain",
            "write the domain as it is in the account, like \"example.com\"",
        ),
        Some(domain) if domain != pool.zone => {
            let below = pool.zone.trim_end_matches(domain).trim_end_matches('.');
            reading.warn(
                &spots.zone,
                format!("Namecheap edits {domain} as a whole"),
                format!("write zone = \"{domain}\" and records like \"{below}\", unless the account holds this subdomain by itself"),
            );
        }
        Some(_) => {}
    }
    if pool.ttl.as_secs() < 60 {
        reading.warn(&spots.ttl, "Namecheap keeps no TTL below 60s", "write \"60s\" or more");
    }
}

/// Pools and the guards that count them.
pub(super) fn pools_and_guards(reading: &Reading<'_>, fleet: &FleetRead, policy: Option<&PolicyRead>) {
    if reading.errors() > 0 {
        // Who counts is not known yet.
        return;
    }
    let mut pooled = BTreeSet::new();
    for id in &fleet.order {
        let (pool, spots) = (&fleet.fleet.pools[id], &fleet.pools[id]);
        pooled.extend(&pool.nodes);
        if let Some(policy) = policy
            && policy.keep.value as usize >= pool.nodes.len()
        {
            let spot = if policy.keep.spot.written { &policy.keep.spot } else { &spots.nodes };
            let nodes = pool.nodes.len();
            let message = format!(
                "pool {id} has {nodes} {}, and keep = {} leaves none to withdraw",
                if nodes == 1 { "node" } else { "nodes" },
                policy.keep.value
            );
            let remedy = if nodes < 2 {
                "add a node to the pool; the last one is never withdrawn".to_owned()
            } else {
                format!("write keep = {} or less in [policy], or add nodes", nodes - 1)
            };
            reading.warn(spot, message, remedy);
        }
        for (family, is_it) in [("IPv4", true), ("IPv6", false)] {
            let with: Vec<_> = fleet
                .fleet
                .nodes_of(pool)
                .filter(|node| node.addresses.iter().any(|address| address.is_ipv4() == is_it))
                .map(|node| node.id.as_str())
                .collect();
            if let [only] = with[..]
                && pool.nodes.len() > 1
            {
                reading.warn(
                    &spots.nodes,
                    format!("{only} alone has an {family} address in pool {id}, and a record set is never emptied, so that address stays even when the node is withdrawn"),
                    format!("give another node an {family} address, or take {only}'s away"),
                );
            }
        }
    }
    for (name, spot) in &fleet.nodes {
        if !pooled.contains(name) {
            reading.warn(
                spot,
                "this node is in no pool: it is probed, and nothing else",
                "add it to the nodes of a pool, or leave it out",
            );
        }
    }
}

/// Probes and what is concluded from them.
pub(super) fn probes_and_policy(reading: &Reading<'_>, written: &[(&'static str, bool)], policy: Option<&PolicyRead>) {
    let there = |name: &str| written.iter().any(|(probe, there)| *probe == name && *there);
    let spot = Spot { key: "probes".to_owned(), span: 0..0, shown: None, written: false };
    if !written.iter().any(|(_, there)| *there) {
        reading.error(
            &spot,
            "there is no probe, so nothing would ever be known of a node",
            "add a table [probes.https], [probes.ping] or [probes.ssh]",
        );
        return;
    }
    let Some(policy) = policy else { return };
    let missing: Vec<_> = policy.convict.value.iter().map(|kind| kind.name()).filter(|name| !there(name)).collect();
    for name in &missing {
        if policy.convict.spot.written {
            reading.error(
                &policy.convict.spot,
                format!("{name} is not probed"),
                format!("add a table [probes.{name}], or take it out of convict"),
            );
        } else if missing.len() == policy.convict.value.len() {
            let others: Vec<_> =
                written.iter().filter(|(_, there)| *there).map(|(name, _)| format!("{name:?}")).collect();
            reading.warn(
                &Spot { key: "policy.convict".to_owned(), shown: policy.convict.spot.shown.clone(), ..spot.clone() },
                format!("{name} is not probed, so no node would ever be withdrawn"),
                format!("add a table [probes.{name}], or write convict = [{}] in [policy]", others.join(", ")),
            );
        }
    }
}

/// Probes and the schedule.
pub(super) fn probes_and_schedule(
    reading: &Reading<'_>,
    timeouts: &[Found<std::time::Duration>],
    interval: &Found<std::time::Duration>,
    once_deadline: &Found<std::time::Duration>,
) {
    for timeout in timeouts {
        if timeout.value > interval.value {
            // A default is told where the interval is written.
            let spot = if timeout.spot.written || !interval.spot.written { &timeout.spot } else { &interval.spot };
            reading.warn(
                spot,
                format!(
                    "{} is {} and the interval {}: while a node hangs, its rounds come later than that",
                    timeout.spot.key,
                    duration_text(timeout.value),
                    duration_text(interval.value)
                ),
                "write a longer interval or a shorter timeout",
            );
        }
        if timeout.value >= once_deadline.value {
            reading.error(
                if once_deadline.spot.written { &once_deadline.spot } else { &timeout.spot },
                format!(
                    "witness once would end after {} and never see {} of {} run out",
                    duration_text(once_deadline.value),
                    timeout.spot.key,
                    duration_text(timeout.value)
                ),
                "write a longer once_deadline or a shorter timeout",
            );
        }
    }
}

/// Nodes whose host key nobody could check.
pub(super) fn host_keys(reading: &Reading<'_>, fleet: &FleetRead, probes: &ProbeSettings, spot: &Spot) {
    let Some(ssh) = probes.ssh.as_ref().filter(|ssh| ssh.level > SshLevel::Banner && ssh.known_hosts.is_none()) else {
        return;
    };
    let without: Vec<_> =
        fleet.fleet.nodes.values().filter(|node| node.ssh_host_key.is_none()).map(|node| node.id.as_str()).collect();
    if !without.is_empty() {
        let level = if ssh.level == SshLevel::Login { "login" } else { "handshake" };
        reading.warn(
            spot,
            format!("level {level:?} checks host keys, and none is known of {}", list(without.iter().copied())),
            "add ssh_host_key to these nodes, or known_hosts here",
        );
    }
}

/// Relays and the schedule; and nodes that cannot be asked, since nobody could tell who answers there.
pub(super) fn relays(
    reading: &Reading<'_>,
    fleet: &FleetRead,
    spot: &Spot,
    timeout: &Found<std::time::Duration>,
    once_deadline: Option<&Found<std::time::Duration>>,
) {
    if let Some(deadline) = once_deadline.filter(|deadline| timeout.value >= deadline.value) {
        reading.error(
            if timeout.spot.written { &timeout.spot } else { &deadline.spot },
            format!(
                "witness once would end after {} and never see relays.timeout of {} run out",
                duration_text(deadline.value),
                duration_text(timeout.value)
            ),
            "write a longer once_deadline or a shorter timeout",
        );
    }
    let nodes = &fleet.fleet.nodes;
    let without: Vec<_> =
        nodes.values().filter(|node| node.ssh_host_key.is_none()).map(|node| node.id.as_str()).collect();
    let message = match nodes.len() - without.len() {
        _ if without.is_empty() => return,
        0 => "no node has an ssh_host_key, so none is ever asked".to_owned(),
        1 => "one node alone has an ssh_host_key, so nobody is asked about it".to_owned(),
        _ => format!("no ssh_host_key is known of {}, so they are never asked", list(without.iter().copied())),
    };
    reading.warn(spot, message, "add ssh_host_key to the nodes: ssh-keyscan HOST | ssh-keygen -lf -");
}

/// Anchors: somebody else's, several, in different networks.
pub(super) fn anchors(reading: &Reading<'_>, list_spot: &Spot, anchors: &[Found<SocketAddr>], fleet: &FleetRead) {
    let mut networks: BTreeMap<Vec<u8>, SocketAddr> = BTreeMap::new();
    for anchor in anchors {
        let owner = fleet.fleet.nodes.values().find(|node| node.addresses.contains(&anchor.value.ip()));
        if let Some(owner) = owner {
            reading.error(
                &anchor.spot,
                format!("this is node {} itself, and an anchor tells of us, not of our nodes", owner.id),
                "write somebody else's reliable host",
            );
        }
        let network = match anchor.value.ip() {
            IpAddr::V4(v4) => v4.octets()[..3].to_vec(),
            IpAddr::V6(v6) => v6.octets()[..6].to_vec(),
        };
        let size = if anchor.value.is_ipv4() { "/24" } else { "/48" };
        if let Some(other) = networks.insert(network, anchor.value) {
            reading.warn(
                &anchor.spot,
                format!("{other} is in the same {size}, so both fail together"),
                "write an anchor in another network",
            );
        }
    }
    let message = match anchors.len() {
        0 => "without anchors our own network's failure looks like everybody's",
        1 | 2 => "with fewer than three anchors, one that fails counts for too much",
        _ => return,
    };
    reading.warn(list_spot, message, "write three or more, in different networks");
}
