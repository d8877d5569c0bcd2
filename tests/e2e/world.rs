//! The internet that a test breaks, with a name server in it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::MutexGuard;

use witness_lab::internet::{self, DNS, Internet, Machine};
use witness_lab::nameserver::NameServer;
use witness_lab::netns::Network;

use crate::net::{self, alone, available, nothing_left, patiently};
use crate::watch::Watch;
use crate::zone::{self, CLASSIC, RECORDS, ZONE};

/// What makes the rule quick, and easy on nodes that live on a busy machine and answer late.
pub(crate) const HURRIED: &str = "[policy.overload]
settle = \"2s\"

[policy.evidence]
slow_connect = \"1400ms\"
slow_extra = \"10s\"
";

/// Four nodes, anchors, knot.
pub(crate) struct World {
    // In the order in which they must go.
    _knot: NameServer,
    pub(crate) internet: Internet,
    /// What the zone's foreign records are, the zone's own NS among them.
    foreign: BTreeSet<String>,
    /// The nodes that were last seen in the zone.
    inside: RefCell<BTreeSet<usize>>,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// All is well in it; none, and it is told, where it cannot be made.
    pub(crate) fn start() -> Option<Self> {
        if let Err(reason) = available() {
            witness_lab::skip("end to end", &reason);
            return None;
        }
        let alone = alone();
        let internet = Internet::start(4).unwrap();
        let addresses: Vec<IpAddr> = internet.machines.iter().map(Machine::address).collect();
        let knot = name_server(&internet.network, &addresses);
        let owners = [RECORDS[0], RECORDS[1], CLASSIC];
        let nodes = zone::published(&owners, &addresses);
        let foreign: BTreeSet<String> = zone::whole(&internet.network).difference(&nodes).cloned().collect();
        assert_eq!(foreign.len(), zone::FOREIGN.len() + 2, "and NS with its address: {foreign:#?}");
        Some(Self { _knot: knot, internet, foreign, inside: RefCell::new((1..=4).collect()), _alone: alone })
    }

    pub(crate) fn network(&self) -> &Network {
        &self.internet.network
    }

    /// The node with this number: n1 is 1.
    pub(crate) fn node(&mut self, number: usize) -> &mut Machine {
        &mut self.internet.machines[number - 1]
    }

    pub(crate) fn address(&self, number: usize) -> IpAddr {
        self.internet.machines[number - 1].address()
    }

    /// A configuration that watches this internet in seconds rather than in minutes.
    pub(crate) fn configuration(&self, settings: &Settings) -> PathBuf {
        let name = &settings.name;
        let records: Vec<String> = settings.records.iter().map(|record| format!("\"{record}\"")).collect();
        let (interval, connect, timeout) = (settings.interval, settings.connect, settings.timeout);
        let mut text = format!(
            "[witness]
name = \"{name}\"
database = \"{name}.db\"
interval = \"{interval}\"
fast_interval = \"500ms\"
once_deadline = \"25s\"
{anchors}

[policy]
strikes = 3
window = \"30m\"
strike_spacing = \"500ms\"
probation = \"1s\"
probation_max = \"2s\"
{policy}

{HURRIED}
[probes.https]
url = \"https://{host}/.witness/health\"
ca_file = \"ca.pem\"
connect_timeout = \"{connect}\"
timeout = \"{timeout}\"

[probes.ping]
count = 3
timeout = \"{connect}\"

[probes.ssh]
timeout = \"{timeout}\"

[[pools]]
name = \"files\"
zone = \"{ZONE}\"
records = [{records}]
ttl = \"{ttl}s\"
registrar = \"knot\"
nameservers = [{nameservers}]
publish_within = \"{publish_within}\"
",
            anchors = net::anchors(),
            policy = settings.policy,
            host = internet::HOST,
            records = records.join(", "),
            ttl = zone::TTL,
            nameservers = settings.nameservers,
            publish_within = settings.publish_within,
        );
        text.push_str(&net::registrar(self.internet.folder(), "3s"));
        text.push_str(&net::nodes(&self.internet));
        let file = self.internet.folder().join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    /// `witness run` in its own place, after it has seen enough to act.
    pub(crate) fn watch(&self, settings: &Settings) -> Watch {
        let watch = Watch::run(self.network(), self.configuration(settings));
        Self::wait_until_well(&watch);
        watch
    }

    /// Waits until it has seen all four nodes well.
    pub(crate) fn wait_until_well(watch: &Watch) {
        watch.wait("every node is seen to be well", |status| {
            let nodes = status["nodes"].as_array()?;
            let well = nodes.iter().all(|node| node["verdict"] == "healthy" && node["standing"] == "serving");
            (nodes.len() == 4 && well && status["fleet"] == "normal").then_some(())
        });
    }

    /// Waits until exactly these nodes are in the zone, under every name, and nothing else has changed. On the way
    /// there no other node may leave or come, not even for a moment.
    pub(crate) fn wait_for(&self, nodes: &[usize]) {
        let wanted: BTreeSet<usize> = nodes.iter().copied().collect();
        let before = self.inside.borrow().clone();
        let mut shown = BTreeSet::new();
        let there = patiently(|| {
            shown = zone::whole(self.network());
            self.assert_on_the_way(&shown, &before, &wanted);
            (shown == self.expected(&wanted)).then_some(())
        });
        assert!(there.is_some(), "{wanted:?} should be in the zone, which is {shown:#?}");
        self.inside.replace(wanted);
    }

    /// The zone is exactly as it was left.
    pub(crate) fn assert_unchanged(&self) {
        let shown = zone::whole(self.network());
        assert_eq!(shown, self.expected(&self.inside.borrow()));
    }

    /// What users get who ask from somewhere.
    pub(crate) fn assert_resolves(&self, nodes: &[usize]) {
        let nobodys: IpAddr = "192.0.2.251".parse().unwrap();
        let addresses: BTreeSet<IpAddr> = nodes.iter().map(|number| self.address(*number)).collect();
        let apex = zone::resolved(self.network(), "anchor2", ZONE, "A");
        assert_eq!(apex, addresses);
        let files = zone::resolved(self.network(), "anchor2", &format!("files.{ZONE}"), "A");
        assert_eq!(files, addresses.into_iter().chain([nobodys]).collect());
    }

    fn expected(&self, nodes: &BTreeSet<usize>) -> BTreeSet<String> {
        let addresses: Vec<IpAddr> = nodes.iter().map(|number| self.address(*number)).collect();
        let all: Vec<IpAddr> = self.internet.machines.iter().map(Machine::address).collect();
        let ours = zone::published(&RECORDS, &addresses);
        // A witness of its own edits this name, in its own time.
        ours.into_iter().chain(zone::published(&[CLASSIC], &all)).chain(self.foreign.iter().cloned()).collect()
    }

    fn assert_on_the_way(&self, shown: &BTreeSet<String>, before: &BTreeSet<usize>, after: &BTreeSet<usize>) {
        let stays = self.expected(&before.intersection(after).copied().collect());
        let may_be = self.expected(&before.union(after).copied().collect());
        let missing: Vec<&String> = stays.difference(shown).collect();
        assert!(missing.is_empty(), "lost on the way from {before:?} to {after:?}: {missing:#?}");
        let uncalled: Vec<&String> = shown.difference(&may_be).collect();
        assert!(uncalled.is_empty(), "appeared on the way from {before:?} to {after:?}: {uncalled:#?}");
    }

    /// Takes everything down and looks whether anything is left behind.
    pub(crate) fn end(self) {
        let Self { _knot, internet, _alone, .. } = self;
        drop(_knot);
        drop(internet);
        nothing_left();
    }
}

/// Knot where the name server belongs, with these addresses in its zone.
pub(crate) fn name_server(network: &Network, addresses: &[IpAddr]) -> NameServer {
    net::name_server(network, ZONE, &zone::lines(addresses), &[RECORDS[0], RECORDS[1], CLASSIC])
}

/// What differs from one configuration to the next.
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) interval: &'static str,
    pub(crate) connect: &'static str,
    pub(crate) timeout: &'static str,
    /// Further lines of `[policy]`.
    pub(crate) policy: &'static str,
    pub(crate) records: Vec<&'static str>,
    /// As in the file, with quotes.
    pub(crate) nameservers: String,
    pub(crate) publish_within: &'static str,
}

impl Settings {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            interval: "1s",
            connect: "1s",
            timeout: "1500ms",
            policy: "",
            records: RECORDS.to_vec(),
            nameservers: format!("\"{}\"", DNS.ip()),
            publish_within: "30s",
        }
    }
}
