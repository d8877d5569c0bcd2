//! The Namecheap adapter against the fake server, and the fake server against what was recorded from the original.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod faults;
mod odd;
mod property;
mod pynamecheap;
mod replay;
mod safety;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use witness::model::{
    Action, ActionKind, Change, Fleet, Name, NamecheapSettings, Node, Plan, Policy, Pool, RecordType, RuleId, Secret,
    SetKey, Time, Vantage,
};
use witness::registrar::namecheap::Namecheap;
use witness::registrar::{ApplyOutcome, Registrar as _, ZoneReading};
use witness::rule::{ApprovedPlan, Authority, Grounds, approve};
use witness_lab::namecheap::{Account, FakeNamecheap, Host, Rules, Zone};

pub const ZONE: &str = "example.com";
/// With a character that forms write otherwise.
pub const KEY: &str = "k3y-that-nobody+may-see";

/// A server with an account of its own, and the adapter for its zone.
#[derive(Debug)]
pub struct Bench {
    pub server: FakeNamecheap,
    pub registrar: Namecheap,
    pub settings: NamecheapSettings,
}

impl Bench {
    pub fn new(zone: Zone) -> Self {
        Self::with(zone, Rules::default(), Duration::from_secs(20), false)
    }

    pub fn with(zone: Zone, rules: Rules, timeout: Duration, allow_ddns_downgrade: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // An account of its own, so that a port that is used again does not inherit another server's budget.
        let user = format!("user{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let account = Account::Keyed {
            api_user: user.clone(),
            api_key: KEY.to_owned(),
            username: user.clone(),
            allowed: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        };
        let server = FakeNamecheap::start(account, rules).unwrap();
        server.seed(ZONE, zone);
        let settings = NamecheapSettings {
            endpoint: server.endpoint(),
            api_user: user.clone(),
            username: user,
            client_ip: Ipv4Addr::new(198, 51, 100, 7),
            api_key: Secret::new(KEY),
            allow_ddns_downgrade,
        };
        let registrar = Namecheap::new(&settings, ZONE, timeout).unwrap();
        Self { server, registrar, settings }
    }

    pub fn zone(&self) -> Zone {
        self.server.zone(ZONE).unwrap()
    }

    pub fn writes(&self) -> usize {
        self.server.calls().iter().filter(|call| call.command.ends_with(".sethosts")).count()
    }

    pub async fn observe(&self) -> ZoneReading {
        self.registrar.observe(&[apex()]).await.unwrap()
    }

    /// Observes, plans to take `address` out of the apex, and applies it.
    pub async fn remove(&self, address: &str) -> ApplyOutcome {
        let reading = self.observe().await;
        self.registrar.apply(&reading, &plan(&reading, &[(apex(), &[address], &[])])).await
    }
}

pub fn apex() -> SetKey {
    set("@", RecordType::A)
}

pub fn set(owner: &str, rtype: RecordType) -> SetKey {
    SetKey { owner: owner.to_owned(), rtype }
}

/// Four nodes at the apex, mail, and some of everything else.
pub fn usual() -> Zone {
    Zone::new(
        "MX",
        vec![
            Host::new("@", "A", "192.0.2.11", 300),
            Host::new("@", "A", "192.0.2.12", 300),
            Host::new("@", "A", "192.0.2.13", 300),
            Host::new("@", "A", "192.0.2.14", 300),
            Host::new("files", "A", "192.0.2.11", 60),
            Host::new("files", "A", "192.0.2.12", 60),
            Host::new("@", "MX", "mail.example.net.", 1800).preference(5),
            Host::new("@", "TXT", "v=spf1 include:example.net ~all", 1799),
            Host::new("key", "TXT", "k=rsa; p=a+b/c==&<\"x'>%41 ü 日本", 1800),
            Host::new("@", "CAA", "0 issue \"letsencrypt.org\"", 1800),
            Host::new("www", "CNAME", "example.com.", 1800),
            Host::new("old", "URL301", "https://example.com/a?b=1&c=2+3", 1800),
        ],
    )
}

/// An approved plan made from `reading`: per set, what goes out and what comes in.
pub fn plan(reading: &ZoneReading, wanted: &[(SetKey, &[&str], &[&str])]) -> ApprovedPlan {
    let parse = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
    let changes: Vec<Change> = wanted
        .iter()
        .map(|(set, remove, add)| Change {
            set: set.clone(),
            ttl: reading.sets[set].ttl,
            before: reading.sets[set].addresses.clone(),
            remove: parse(remove),
            add: parse(add),
        })
        .collect();
    approved(ZONE, changes)
}

/// Passes `changes` by the guard, on grounds that allow everything that does not damage the zone.
pub fn approved(zone: &str, changes: Vec<Change>) -> ApprovedPlan {
    let touched: BTreeSet<IpAddr> =
        changes.iter().flat_map(|change| change.remove.iter().chain(&change.add)).copied().collect();
    let node = Name::new("touched").unwrap();
    let nodes = BTreeMap::from([(
        node.clone(),
        Node {
            id: node.clone(),
            addresses: touched.into_iter().collect(),
            site: None,
            capacity_bps: None,
            ssh_host_key: None,
        },
    )]);
    let pool = Pool {
        id: Name::new("files").unwrap(),
        zone: zone.to_owned(),
        records: changes.iter().map(|change| change.set.owner.clone()).collect(),
        ttl: Duration::from_secs(60),
        registrar: Name::new("namecheap-main").unwrap(),
        nodes: vec![node.clone()],
        nameservers: Vec::new(),
        publish_within: Duration::from_secs(600),
    };
    let fleet = Fleet { nodes, pools: BTreeMap::from([(pool.id.clone(), pool.clone())]) };
    let policy = Policy { keep: 0, ..Policy::default() };
    let grounds = Grounds {
        fleet: &fleet,
        policy: &policy,
        pool: &pool,
        authority: Authority::Forced,
        now: Time(0),
        vantage: Vantage::Clear,
        clock_back_ms: 0,
        warmup_left: 0,
        staying: BTreeSet::new(),
        withdrawn: BTreeSet::new(),
        changed_at: None,
        in_flight: None,
        ttl: 60,
        urgent: false,
    };
    let because = vec![Action {
        kind: ActionKind::Withdraw,
        node: Some(node),
        pool: Some(pool.id.clone()),
        step: None,
        rule: RuleId::of("test"),
        why: "a test wants it".to_owned(),
    }];
    let plan =
        Plan { pool: pool.id.clone(), zone: zone.to_owned(), registrar: pool.registrar.clone(), changes, because };
    approve(plan, &grounds).unwrap()
}

/// The rows, without the apex's A rows.
pub fn unmanaged(zone: &Zone) -> Vec<Host> {
    zone.hosts.iter().filter(|host| (host.name.as_str(), host.rtype.as_str()) != ("@", "A")).cloned().collect()
}

/// The addresses of the apex.
pub fn addresses(zone: &Zone) -> Vec<String> {
    let apex = zone.hosts.iter().filter(|host| (host.name.as_str(), host.rtype.as_str()) == ("@", "A"));
    let mut all: Vec<String> = apex.map(|host| host.address.clone()).collect();
    all.sort();
    all
}
