//! Four narrow nodes, those who want more of them than there is, a name server, a witness.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use witness_lab::clients::{Clients, ClientsConfig, Tally};
use witness_lab::internet::{DNS, HOST, Internet, Machine};
use witness_lab::nameserver::NameServer;
use witness_lab::netns::{Narrow, Network, NoNarrow, can_narrow};

use crate::net;
use crate::watch::Watch;

/// What a node can send. Little, so that two busy cores are more than enough to fill four of them.
const LINK: Narrow = Narrow {
    rate_bps: 4_000_000,
    // Two frames at least; more would let probes pass beside the queue.
    burst: 8_000,
    // 100 ms of whole frames, and fewer of them than there are downloads that wait.
    queue: 33,
};
const NODES: u8 = 4;
/// What one client wants, bytes.
const BODY: usize = 100_000;
/// How long clients wait for it; alone, one has it in a fifth of a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waiting at once at the most: what `PATIENCE` lets gather where nobody is served, and some.
const MOST: usize = 400;

const ZONE: &str = "example.test";
/// The name that clients follow.
const RECORD: &str = "files";
/// A name that nobody follows, for a second opinion.
const SHADOW: &str = "shadow";
/// Seconds; who has asked goes on with an address for so long.
const TTL: u32 = 5;

/// Between two looks at the name server.
const NAP: Duration = Duration::from_millis(250);

/// The internet, its clients and the clock that the report goes by.
pub(crate) struct World {
    // In the order in which they must go.
    pub(crate) clients: Clients,
    _knot: NameServer,
    pub(crate) internet: Internet,
    name: &'static str,
    begun: Instant,
}

/// A turn at the machine, which a world or two need for themselves; none, and it is told, where they cannot be made.
pub(crate) fn turn() -> Option<MutexGuard<'static, ()>> {
    match net::available().map_err(NoNarrow::Install).and_then(|()| can_narrow()) {
        Ok(()) => return Some(net::alone()),
        Err(NoNarrow::Install(reason)) => witness_lab::skip("overload", &reason),
        Err(NoNarrow::Machine(reason)) => witness_lab::skip_machine("overload", &reason),
    }
    None
}

impl World {
    /// All is well in it, and nobody downloads yet. `name` tells it from another one in the report.
    pub(crate) fn start(name: &'static str) -> Self {
        let mut internet = Internet::behind(NODES, &LINK).unwrap();
        internet.network.add("clients", &[Ipv4Addr::new(203, 0, 113, 50).into()]).unwrap();
        let line = |owner: &str, machine: &Machine| format!("{owner} {TTL} IN A {}", machine.address());
        let owners = [RECORD, SHADOW];
        let lines = owners.iter().flat_map(|owner| internet.machines.iter().map(move |machine| line(owner, machine)));
        let lines: Vec<String> = lines.collect();
        let knot = net::name_server(&internet.network, ZONE, &lines, &owners);
        let clients = ClientsConfig {
            netns: Some(internet.network.path("clients").unwrap()),
            dns: DNS,
            name: format!("{RECORD}.{ZONE}."),
            host: HOST.to_owned(),
            port: 443,
            bytes: BODY,
            patience: PATIENCE,
            most: MOST,
            seed: 20,
        };
        let clients = Clients::start(clients, &internet.authority).unwrap();
        Self { clients, _knot: knot, internet, name, begun: now() }
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

    /// People come who want, all together, this share of what the four links carry, their bodies alone counted.
    pub(crate) fn offer(&self, percent: u64) {
        let bits = u64::try_from(BODY).unwrap() * 8;
        let per_second = LINK.rate_bps * u64::from(NODES) * percent / 100;
        self.clients.come_every(Duration::from_micros(bits * 1_000_000 / per_second));
        self.say(&format!("{percent} % is offered"));
    }

    /// Another world, whose report goes by the same clock.
    pub(crate) fn beside(&self, name: &'static str) -> Self {
        Self { begun: self.begun, ..Self::start(name) }
    }

    /// Who is in DNS, asked for where the name server is: no queue is between.
    pub(crate) fn published(&self) -> BTreeSet<usize> {
        self.published_at(RECORD)
    }

    /// Who would be, if it went by who edits the name that nobody follows.
    pub(crate) fn published_in_the_shadow(&self) -> BTreeSet<usize> {
        self.published_at(SHADOW)
    }

    fn published_at(&self, owner: &str) -> BTreeSet<usize> {
        let (at, name) = (format!("@{}", DNS.ip()), format!("{owner}.{ZONE}"));
        let words = [&at, &name, "A", "+short", "+time=10", "+tries=3"];
        let output = self.network().exec("dns", "dig", &words).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{output:?}");
        let addresses: BTreeSet<IpAddr> = text.lines().map(|line| line.parse().unwrap()).collect();
        let inside = (1..=usize::from(NODES)).filter(|number| addresses.contains(&self.address(*number)));
        let inside: BTreeSet<usize> = inside.collect();
        assert_eq!(inside.len(), addresses.len(), "nobody's address: {text}");
        inside
    }

    /// Waits until exactly these are in DNS; on the way there nobody else may leave.
    pub(crate) fn wait_for(&self, nodes: &[usize]) {
        let wanted: BTreeSet<usize> = nodes.iter().copied().collect();
        let there = net::patiently(|| {
            let shown = self.published();
            assert!(shown.is_superset(&wanted), "{shown:?} are in DNS, and {wanted:?} should be");
            (shown == wanted).then_some(())
        });
        assert!(there.is_some(), "{wanted:?} should be in DNS, and {:?} are", self.published());
        self.say(&format!("in DNS: {wanted:?}"));
    }

    /// Looks for this long whether exactly these are in DNS all the time, and tells how the clients fare meanwhile.
    pub(crate) fn assert_stay(&self, nodes: &[usize], time: Duration) -> Tally {
        let wanted: BTreeSet<usize> = nodes.iter().copied().collect();
        let (before, begun) = (self.clients.tally(), now());
        let mut looks = 0;
        while begun.elapsed() < time {
            assert_eq!(self.published(), wanted, "after {looks} looks");
            looks += 1;
            std::thread::sleep(NAP);
        }
        let tally = self.clients.tally().since(&before);
        self.tell(&format!("{wanted:?} stayed, {looks} looks"), &tally, begun.elapsed());
        tally
    }

    /// How the clients fared in this time.
    pub(crate) fn tell(&self, what: &str, tally: &Tally, time: Duration) {
        let asked = tally.begun + tally.turned_away;
        let kbit_s = tally.bytes * 8 / u64::try_from(time.as_millis()).unwrap().max(1);
        let lost: Vec<u64> = (1..=NODES).map(|number| self.network().lost(&format!("n{number}")).unwrap()).collect();
        self.say(&format!(
            "{what}: {} of {asked} served ({} %), {} gave up, {} failed, {} turned away; {kbit_s} kbit/s of bodies; \
             packets lost so far at n1 to n4: {lost:?}",
            tally.served,
            tally.served * 100 / asked.max(1),
            tally.given_up,
            tally.failed,
            tally.turned_away,
        ));
    }

    /// A line for who looks on (`--nocapture`).
    pub(crate) fn say(&self, what: &str) {
        println!("{:6.1} s {:8} {what}", self.begun.elapsed().as_secs_f32(), self.name);
    }

    /// `witness run` in its own place, with further lines of `[policy]` and further sections, after it has seen that all
    /// is well.
    pub(crate) fn watch(&self, name: &str, policy: &str, sections: &str) -> Watch {
        self.watch_at(RECORD, name, policy, sections)
    }

    /// The same, only that nobody follows the name that it edits.
    pub(crate) fn watch_in_the_shadow(&self, name: &str) -> Watch {
        self.watch_at(SHADOW, name, "", "")
    }

    fn watch_at(&self, owner: &str, name: &str, policy: &str, sections: &str) -> Watch {
        let watch = Watch::run(self.network(), self.configuration(owner, name, policy, sections));
        watch.wait("every node is seen to be well", |status| {
            let nodes = status["nodes"].as_array()?;
            let well = nodes.iter().all(|node| node["verdict"] == "healthy" && node["standing"] == "serving");
            (nodes.len() == usize::from(NODES) && well && status["fleet"] == "normal").then_some(())
        });
        self.say(&format!("{name} watches"));
        watch
    }

    /// Everything in seconds that is minutes by default: a round every 2 s, and a strike in 4 s at the most, so that a few of
    /// them fit into a run. Time-outs are those of the end-to-end tests. SSH shows its
    /// banner only: the many turns of its handshake fail long before HTTPS does, and what SSH alone suffers takes nobody out.
    fn configuration(&self, owner: &str, name: &str, policy: &str, sections: &str) -> PathBuf {
        let mut text = format!(
            "[witness]
name = \"{name}\"
database = \"{name}.db\"
interval = \"2s\"
fast_interval = \"1s\"
{anchors}

[policy]
strikes = 4
window = \"60m\"
strike_spacing = \"4s\"
probation = \"5s\"
{policy}

[policy.evidence]
slow_extra = \"1s\"
silent_alone = \"12s\"

[policy.overload]
settle = \"2s\"
dead_for = \"8s\"
cut_wait = \"5s\"
latch = \"20s\"

[probes.https]
url = \"https://{HOST}/.witness/health\"
ca_file = \"ca.pem\"
connect_timeout = \"1s\"
timeout = \"1500ms\"

[probes.ping]
timeout = \"1s\"

[probes.ssh]
level = \"banner\"
timeout = \"1500ms\"

[[pools]]
name = \"files\"
zone = \"{ZONE}\"
records = [\"{owner}\"]
ttl = \"{TTL}s\"
registrar = \"knot\"
nameservers = [\"{server}\"]
publish_within = \"30s\"
",
            anchors = net::anchors(),
            server = DNS.ip(),
        );
        text.push_str(sections);
        text.push_str(&net::registrar(self.internet.folder(), "5s"));
        text.push_str(&net::nodes(&self.internet));
        let file = self.internet.folder().join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Takes everything down.
    pub(crate) fn end(self) {
        let Self { clients, _knot, internet, .. } = self;
        drop(clients);
        drop(_knot);
        drop(internet);
    }
}

#[expect(clippy::disallowed_methods, reason = "for the report, and to look for a while; nothing is decided by it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
