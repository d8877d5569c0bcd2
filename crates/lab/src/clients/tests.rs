use std::collections::BTreeSet;

use super::*;
use crate::fleet::{Fleet, FleetConfig};
use crate::process::wait_until;

/// Generous: what is waited for comes at once on an idle machine.
const BOUND: Duration = Duration::from_secs(30);

fn config(fleet: &Fleet) -> ClientsConfig {
    ClientsConfig {
        netns: None,
        dns: fleet.dns.address(),
        name: "files.example.com.".to_owned(),
        host: "files.example.com".to_owned(),
        port: fleet.https_port(),
        bytes: 50_000,
        patience: BOUND,
        most: 100,
        seed: 7,
    }
}

fn fleet(folder: &tempfile::TempDir) -> Fleet {
    Fleet::start(&FleetConfig { ttl: 1, ssh: false, ..FleetConfig::new(folder.path()) }).unwrap()
}

#[test]
fn download_from_everybody_in_the_zone_until_they_stay_away() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(&folder);
    let clients = Clients::start(config(&fleet), &fleet.authority).unwrap();
    assert!(wait_until(BOUND, || clients.addresses().len() == 4), "{:?}", clients.addresses());
    assert_eq!(clients.tally(), Tally::default(), "nobody comes uncalled");
    clients.come_every(Duration::from_millis(10));
    assert!(wait_until(BOUND, || clients.tally().served_by.len() == 4), "{:?}", clients.tally());
    clients.stay_away();
    let all_done = |tally: &Tally| tally.served == tally.begun;
    assert!(wait_until(BOUND, || all_done(&clients.tally())), "{:?}", clients.tally());
    let nodes: BTreeSet<IpAddr> = fleet.nodes.iter().map(|node| node.address().ip()).collect();
    let tally = clients.tally();
    assert_eq!(tally.served_by.keys().copied().collect::<BTreeSet<_>>(), nodes);
    assert_eq!(tally.since(&tally).served, 0);
}

#[test]
fn follow_the_zone_and_count_who_was_let_down() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet(&folder);
    let clients = Clients::start(config(&fleet), &fleet.authority).unwrap();
    assert!(wait_until(BOUND, || !clients.addresses().is_empty()));
    fleet.nodes[0].power_off().unwrap();
    clients.come_every(Duration::from_millis(10));
    assert!(wait_until(BOUND, || clients.tally().failed > 0), "{:?}", clients.tally());
    // Out of the zone it goes.
    let text = std::fs::read_to_string(fleet.zone_file()).unwrap();
    let gone = fleet.nodes[0].address().ip();
    let mut zone: crate::dnsserver::Zone = serde_json::from_str(&text).unwrap();
    zone.put("files", 1, fleet.nodes[1..].iter().map(|node| node.address().ip()));
    std::fs::write(fleet.zone_file(), serde_json::to_string(&zone).unwrap()).unwrap();
    assert!(wait_until(BOUND, || clients.addresses().len() == 3), "{:?}", clients.addresses());
    assert!(!clients.addresses().contains(&gone));
    assert_eq!(clients.tally().served_by.get(&gone), None);
}
