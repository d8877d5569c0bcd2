//! Four narrow nodes, those who want more of them than there is, a name server, a witness.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use witness_lab::clients::{Clients, ClientsConfig, Tally};
use witness_lab::internet::{self, DNS, HOST, Internet, Machine};
use witness_lab::nameserver::{KEY_NAME, KEY_SECRET, Kind, NameServer, Spec};
use witness_lab::netns::{Narrow, Network, NoNarrow, can_narrow};
use witness_lab::process::which;

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
const RECORD: &str = "files";
/// Seconds; who has asked goes on with an address for so long.
const TTL: u32 = 5;

/// How long anything may take that should happen. Most of it takes seconds; a busy machine is no failure.
const BOUND: Duration = Duration::from_secs(90);
const NAP: Duration = Duration::from_millis(250);

/// Asks until there is an answer, at most for about [`BOUND`].
pub(crate) fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..BOUND.as_millis() / NAP.as_millis() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(NAP);
    }
    None
}

/// The internet, its clients and the clock that the report goes by.
pub(crate) struct World {
    // In the order in which they must go.
    pub(crate) clients: Clients,
    _knot: NameServer,
    internet: Internet,
    begun: Instant,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// All is well in it, and nobody downloads yet; none, and it is told, where it cannot be made.
    pub(crate) fn start() -> Option<Self> {
        match available() {
            Ok(()) => {}
            Err(NoNarrow::Install(reason)) => {
                witness_lab::skip("overload", &reason);
                return None;
            }
            Err(NoNarrow::Machine(reason)) => {
                witness_lab::skip_machine("overload", &reason);
                return None;
            }
        }
        // Tests of one process take turns: each has more than enough to carry.
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut internet = Internet::behind(NODES, &LINK).unwrap();
        internet.network.add("clients", &[Ipv4Addr::new(203, 0, 113, 50).into()]).unwrap();
        let knot = name_server(&internet);
        let key = internet.folder().join("tsig.key");
        std::fs::write(&key, KEY_SECRET).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
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
        Some(Self { clients, _knot: knot, internet, begun: now(), _alone: alone })
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

    /// Who is in DNS, asked for where the name server is: no queue is between.
    pub(crate) fn published(&self) -> BTreeSet<usize> {
        let (at, name) = (format!("@{}", DNS.ip()), format!("{RECORD}.{ZONE}"));
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
        let there = patiently(|| {
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
        let bits = tally.served * u64::try_from(BODY).unwrap() * 8;
        let kbit_s = bits / u64::try_from(time.as_millis()).unwrap().max(1);
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
        println!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f32());
    }

    /// `witness run` in its own place, with further lines of `[policy]`, after it has seen that all is well.
    pub(crate) fn watch(&self, name: &str, policy: &str) -> Watch {
        let watch = Watch::run(self.network(), self.configuration(name, policy));
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
    fn configuration(&self, name: &str, policy: &str) -> PathBuf {
        let anchors: Vec<String> = internet::ANCHORS.iter().map(|anchor| format!("\"{anchor}\"")).collect();
        let mut text = format!(
            "[witness]
name = \"{name}\"
database = \"{name}.db\"
interval = \"2s\"
fast_interval = \"1s\"
anchors = [{anchors}]

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
records = [\"{RECORD}\"]
ttl = \"{TTL}s\"
registrar = \"knot\"
nameservers = [\"{server}\"]
publish_within = \"30s\"

[registrars.knot]
kind = \"rfc2136\"
server = \"{server}\"
key_name = \"{KEY_NAME}\"
key_file = \"tsig.key\"
timeout = \"5s\"
refresh = \"2s\"
",
            anchors = anchors.join(", "),
            server = DNS.ip(),
        );
        for machine in &self.internet.machines {
            text.push_str(&format!(
                "\n[[nodes]]\nname = \"{}\"\naddresses = [\"{}\"]\nssh_host_key = \"{}\"\n",
                machine.name(),
                machine.address(),
                machine.sshd.fingerprint().unwrap()
            ));
        }
        let file = self.internet.folder().join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Takes everything down and looks whether anything is left behind.
    pub(crate) fn end(self) {
        let Self { clients, _knot, internet, _alone, .. } = self;
        drop(clients);
        drop(_knot);
        drop(internet);
        let ours = format!("wl-{}-", std::process::id());
        let listed = std::process::Command::new("ip").args(["netns", "list"]).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(!listed.contains(&ours), "left behind:\n{listed}");
    }
}

#[expect(clippy::disallowed_methods, reason = "for the report, and to look for a while; nothing is decided by it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn available() -> Result<(), NoNarrow> {
    internet::available().map_err(NoNarrow::Install)?;
    if !Kind::Knot.available() {
        return Err(NoNarrow::Install("knotd is not installed (Debian package knot)".to_owned()));
    }
    if which("dig").is_none() {
        return Err(NoNarrow::Install("dig is not installed (Debian package bind9-dnsutils)".to_owned()));
    }
    can_narrow()
}

fn name_server(internet: &Internet) -> NameServer {
    let namespace = internet.network.namespace("dns").unwrap();
    let lines: Vec<String> =
        internet.machines.iter().map(|machine| format!("{RECORD} {TTL} IN A {}", machine.address())).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let spec = Spec {
        listen: Some(DNS),
        prefix: ["ip", "netns", "exec", namespace].map(str::to_owned).into(),
        ..Spec::new(ZONE, &lines, &[RECORD])
    };
    NameServer::start(Kind::Knot, &spec).unwrap()
}
