//! A fleet of four, plans for it, and what every suite leans on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use witness::model::{
    Action, ActionKind, Change, Fleet, Name, Node, Plan, Policy, Pool, RecordType, RuleId, SetKey, Time, Vantage,
};
use witness::registrar::ZoneReading;
use witness::rule::{ApprovedPlan, Authority, Grounds, Refusal, approve};

pub(crate) const ZONE: &str = "example.com";
/// For each call; a loaded machine is slow.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// The zone that every suite begins with. The first address is nobody's of ours.
pub(crate) const RECORDS: &[&str] = &[
    "@ 60 IN A 192.0.2.99",
    "@ 60 IN A 192.0.2.11",
    "@ 60 IN A 192.0.2.12",
    "@ 60 IN A 192.0.2.13",
    "@ 60 IN AAAA 2001:db8::14",
    "files 120 IN A 192.0.2.11",
    "@ 300 IN MX 10 mail.example.net.",
    "@ 300 IN TXT \"v=spf1 -all\"",
    "other 300 IN A 192.0.2.77",
    "alias 300 IN CNAME other",
];

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

pub(crate) fn key(owner: &str, rtype: RecordType) -> SetKey {
    SetKey { owner: owner.to_owned(), rtype }
}

pub(crate) fn apex() -> SetKey {
    key("@", RecordType::A)
}

/// Every set that the pool has.
pub(crate) fn keys() -> Vec<SetKey> {
    ["@", "files"].into_iter().flat_map(|owner| RecordType::ALL.map(|rtype| key(owner, rtype))).collect()
}

/// Nodes n11 to n14: 192.0.2.11 to .14, the last with 2001:db8::14 too.
pub(crate) fn fleet() -> Fleet {
    let mut nodes = BTreeMap::new();
    for last in 11..=14 {
        let mut addresses = vec![ip(&format!("192.0.2.{last}"))];
        if last == 14 {
            addresses.push(ip("2001:db8::14"));
        }
        let id = name(&format!("n{last}"));
        let node = Node { id: id.clone(), addresses, site: None, capacity_bps: None, ssh_host_key: None };
        nodes.insert(id, node);
    }
    let pool = Pool {
        id: name("files"),
        zone: ZONE.to_owned(),
        records: vec!["@".to_owned(), "files".to_owned()],
        ttl: Duration::from_secs(60),
        registrar: name("main"),
        nodes: nodes.keys().cloned().collect(),
        nameservers: Vec::new(),
        publish_within: Duration::from_secs(60),
    };
    Fleet { nodes, pools: [(pool.id.clone(), pool)].into() }
}

/// One set's change, against what was read.
pub(crate) fn change(reading: &ZoneReading, set: &SetKey, remove: &[&str], add: &[&str]) -> Change {
    let stands = &reading.sets[set];
    let ttl = if stands.addresses.is_empty() { 60 } else { stands.ttl };
    Change { set: set.clone(), ttl, before: stands.addresses.clone(), remove: ips(remove), add: ips(add) }
}

/// Asks the guards, which are as generous as they come.
pub(crate) fn ask_guard(changes: Vec<Change>) -> Result<ApprovedPlan, Refusal> {
    let fleet = fleet();
    let pool = &fleet.pools[&name("files")];
    let policy = Policy { keep: 1, max_withdrawn: 100, ..Policy::default() };
    let because = fleet
        .nodes
        .values()
        .filter(|node| {
            let mut touched = changes.iter().flat_map(|change| change.remove.iter().chain(&change.add));
            touched.any(|address| node.addresses.contains(address))
        })
        .map(|node| Action {
            kind: ActionKind::Reinstate,
            node: Some(node.id.clone()),
            pool: Some(pool.id.clone()),
            step: None,
            rule: RuleId::of("test"),
            why: "the test wants it".to_owned(),
        })
        .collect();
    let plan =
        Plan { pool: pool.id.clone(), zone: pool.zone.clone(), registrar: pool.registrar.clone(), changes, because };
    let grounds = Grounds {
        fleet: &fleet,
        policy: &policy,
        pool,
        authority: Authority::Rule,
        now: Time(1_700_000_000_000),
        vantage: Vantage::Clear,
        clock_back_ms: 0,
        warmup_left: 0,
        staying: pool.nodes.iter().cloned().collect(),
        withdrawn: BTreeSet::new(),
        changed_at: None,
        in_flight: None,
        ttl: 60,
        urgent: false,
    };
    approve(plan, &grounds)
}

pub(crate) fn approved(changes: Vec<Change>) -> ApprovedPlan {
    ask_guard(changes).unwrap()
}

/// Says that a suite is left out: a skipped test must be seen.
pub(crate) fn skipped(what: &str, why: &str) {
    witness_lab::skip(what, why);
}
