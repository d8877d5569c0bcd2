//! A fleet on loopback, a zone, a ledger and the built program.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use witness::clock::Stopwatch;
use witness::ledger::Reader;
use witness::model::{Intent, IntentState, Time};
use witness_lab::dnsserver::{DnsServer, Source};
use witness_lab::fleet::{Fleet, FleetConfig};
use witness_lab::process::Guard;

/// Where something is waited for that must come: hangs are found, and slow machines are not.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// An address in a set of the pool that is no node's: it must stay whatever happens.
pub(crate) const STRANGER: &str = "192.0.2.200";

/// Nodes that several worlds may share.
pub(crate) struct Nodes {
    pub(crate) fleet: Fleet,
    folder: TempDir,
}

impl Nodes {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet::start(&FleetConfig::new(folder.path())).unwrap();
        Self { fleet, folder }
    }

    /// Who signed their certificates.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Four nodes of which the third refuses connections.
    pub(crate) fn with_a_dead_one() -> Self {
        let nodes = Self::start();
        nodes.fleet.nodes[2].power_off().unwrap();
        nodes
    }
}

pub(crate) fn address(node: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10 + node))
}

/// A folder with a configuration, a zone and, soon, a ledger; and a name server for the zone.
pub(crate) struct World {
    folder: TempDir,
    _dns: DnsServer,
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn is(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n-- stdout\n{}\n-- stderr\n{}", self.out, self.err);
        self
    }

    /// Every one of `words` is said on stderr.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in\n-- stderr\n{}\n-- stdout\n{}", self.err, self.out);
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

impl World {
    /// A world in which the fourth failing round in a row takes a node out at once.
    pub(crate) fn new(nodes: &Nodes) -> Self {
        Self::with(nodes, |text| text)
    }

    /// The same with another configuration.
    pub(crate) fn with(nodes: &Nodes, change: impl FnOnce(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addresses: Vec<IpAddr> = (1..=4).map(address).collect();
        let mut in_files = addresses.clone();
        in_files.push(STRANGER.parse().unwrap());
        let zone = json!({
            "zone": "example.com", "serial": 1,
            "sets": {
                "@ A": { "ttl": 1, "addresses": addresses },
                "files A": { "ttl": 1, "addresses": in_files },
                "mail A": { "ttl": 300, "addresses": ["192.0.2.25"] },
                "files AAAA": { "ttl": 300, "addresses": ["2001:db8::25"] },
            },
            "other": ["@ MX 10 mail.example.com.", { "odd": [1, null] }],
        });
        let zone_file = folder.path().join("zone.json");
        fs::write(&zone_file, zone.to_string()).unwrap();
        let dns = DnsServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), Source::File(zone_file)).unwrap();
        let config = change(configuration(nodes, dns.address()));
        fs::write(folder.path().join("witness.toml"), config).unwrap();
        Self { folder, _dns: dns }
    }

    /// The same once more, its ledger as it is now: so that not every seed has to begin from nothing.
    pub(crate) fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
        }
        let zone_file = folder.path().join("zone.json");
        let dns = DnsServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), Source::File(zone_file)).unwrap();
        let world = Self { folder, _dns: dns };
        let (old, new) = (self._dns.address().to_string(), world._dns.address().to_string());
        world.edit_config(|text| text.replace(&old, &new));
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn edit_config(&self, change: impl FnOnce(String) -> String) {
        let path = self.path("witness.toml");
        let text = change(fs::read_to_string(&path).unwrap());
        fs::write(&path, text).unwrap();
    }

    /// The zone's file as it is.
    pub(crate) fn zone(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("zone.json")).unwrap()).unwrap()
    }

    /// Changes the zone's file as somebody else would, and scripts faults.
    pub(crate) fn edit_zone(&self, change: impl FnOnce(&mut Value)) {
        let mut zone = self.zone();
        change(&mut zone);
        // As a whole, so that nobody reads a half.
        let beside = self.path("zone.new");
        fs::write(&beside, zone.to_string()).unwrap();
        fs::rename(&beside, self.path("zone.json")).unwrap();
    }

    pub(crate) fn script(&self, faults: Value) {
        self.edit_zone(|zone| zone["faults"] = faults);
    }

    /// How often the registrar has written.
    pub(crate) fn writes(&self) -> u64 {
        self.zone()["serial"].as_u64().unwrap() - 1
    }

    /// Which nodes are in the zone; that the pool's two sets agree is a part of every check.
    pub(crate) fn members(&self) -> BTreeSet<u8> {
        let zone = self.zone();
        let of = |set: &str| -> BTreeSet<u8> {
            let there = addresses_in(&zone, set);
            (1..=4).filter(|node| there.contains(&address(*node))).collect()
        };
        assert_eq!(of("@ A"), of("files A"), "{zone:#}");
        of("@ A")
    }

    /// What is not the pool's is as it was, and what must never be is not.
    #[track_caller]
    pub(crate) fn assert_zone_whole(&self, about: &str) {
        let zone = self.zone();
        assert_eq!(zone["zone"], "example.com", "{about}: {zone:#}");
        assert_eq!(zone["sets"]["mail A"], json!({"ttl": 300, "addresses": ["192.0.2.25"]}), "{about}: {zone:#}");
        assert_eq!(zone["sets"]["files AAAA"]["addresses"], json!(["2001:db8::25"]), "{about}: {zone:#}");
        assert_eq!(zone["other"], json!(["@ MX 10 mail.example.com.", { "odd": [1, null] }]), "{about}: {zone:#}");
        assert_eq!(zone["sets"].as_object().unwrap().len(), 4, "{about}: {zone:#}");
        assert!(addresses_in(&zone, "files A").contains(&STRANGER.parse().unwrap()), "{about}: {zone:#}");
        let strangers: BTreeSet<IpAddr> = [STRANGER.parse().unwrap()].into();
        for set in ["@ A", "files A"] {
            let there = addresses_in(&zone, set);
            let nodes = (1..=4).filter(|node| there.contains(&address(*node))).count();
            assert!(nodes >= 2, "{about}: keep = 2, and {set} has {there:?}");
            let others = there.iter().filter(|one| !(1..=4).any(|node| address(node) == **one));
            assert!(others.into_iter().all(|one| strangers.contains(one)), "{about}: {set} has {there:?}");
            assert_eq!(zone["sets"][set]["ttl"], 1, "{about}");
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_witness"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["WITNESS_CRASH_AT", "WITNESS_LOG", "JOURNAL_STREAM", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.env("WITNESS_CONFIG", self.path("witness.toml"));
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        finish(&mut self.command(args))
    }

    /// Runs `once` and dies at `place`; whether it came that far.
    pub(crate) fn dies_at(&self, args: &[&str], place: &str) -> bool {
        let status =
            self.command(args).env("WITNESS_CRASH_AT", place).stderr(self.log()).stdout(Stdio::null()).status();
        was_killed(status.unwrap())
    }

    /// Starts the daemon, its log at `log`.
    pub(crate) fn daemon(&self) -> Daemon<'_> {
        let process = Guard::start(self.command(&["run"]).stderr(self.log()).stdout(Stdio::null())).unwrap();
        Daemon { world: self, process }
    }

    /// Where processes in the background write; it is looked at by [`Self::assert_nothing_panicked`].
    pub(crate) fn log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap()
    }

    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn assert_nothing_panicked(&self, about: &str) {
        let log = self.logged();
        assert!(!log.contains("panicked"), "{about}: {log}");
    }

    /// The ledger, to look at.
    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&self.path("witness.db")).unwrap()
    }

    pub(crate) fn intents(&self) -> Vec<Intent> {
        self.reader().view().intents(Time(0), Time(i64::MAX)).unwrap()
    }

    pub(crate) fn states(&self) -> Vec<IntentState> {
        self.intents().iter().map(|intent| intent.state).collect()
    }

    /// How many ticks there were.
    pub(crate) fn ticks(&self) -> i64 {
        // Before the first start there is no ledger to read.
        let Ok(reader) = Reader::open(&self.path("witness.db")) else { return 0 };
        reader.view().counts().unwrap().judgements
    }

    /// What `status --json` says of a node.
    #[track_caller]
    pub(crate) fn standing(&self, node: &str) -> String {
        let ran = self.run(&["status", "--json"]).is(0);
        let status = ran.json();
        let all = status["nodes"].as_array().unwrap();
        let of_node =
            all.iter().find(|one| one["node"] == node || one["n"] == node).unwrap_or_else(|| panic!("{status:#}"));
        of_node["standing"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let waiting = Stopwatch::start();
        let there = loop {
            if condition() {
                break true;
            }
            if waiting.elapsed() > PATIENCE {
                break false;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(there, "not within {PATIENCE:?}: {what}\n{}\n{:#}", self.logged(), self.zone());
    }
}

/// A daemon at work; it ends with this value.
pub(crate) struct Daemon<'a> {
    world: &'a World,
    pub(crate) process: Guard,
}

impl Daemon<'_> {
    /// Waits until it has ticked `count` times from now on.
    #[track_caller]
    pub(crate) fn ticks(&mut self, count: i64) {
        let from = self.world.ticks();
        let process = &mut self.process;
        let world = self.world;
        world.wait("ticks of the daemon", || {
            assert!(process.is_running(), "the daemon has ended: {}", world.logged());
            world.ticks() >= from + count
        });
    }
}

/// Runs a command to its end, and sees to it that it does not panic.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Ran {
    let done = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ran = Ran { code: done.status.code(), out: text(&done.stdout), err: text(&done.stderr) };
    assert!(!ran.err.contains("panicked"), "{command:?}: {}", ran.err);
    ran
}

pub(crate) fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(9)
}

fn addresses_in(zone: &Value, set: &str) -> BTreeSet<IpAddr> {
    let there = zone["sets"][set]["addresses"].as_array().into_iter().flatten();
    there.map(|address| address.as_str().unwrap().parse().unwrap()).collect()
}

fn configuration(nodes: &Nodes, dns: SocketAddr) -> String {
    let mut text = format!(
        r#"[witness]
name = "test"
database = "witness.db"
interval = "400ms"
fast_interval = "100ms"
once_deadline = "4100ms"
anchors = []

[policy]
strike_spacing = "0s"
warmup_rounds = 0
probation = "0s"
probation_rounds = 2
probation_max = "1s"

[probes.https]
url = "https://files.example.com:{port}/.witness/health"
ca_file = "{ca}"
connect_timeout = "2s"
timeout = "4s"

[[pools]]
name = "files"
zone = "example.com"
records = ["@", "files"]
ttl = "1s"
registrar = "file"
nameservers = ["{dns}"]
publish_within = "2s"

[registrars.file]
kind = "mock"
file = "zone.json"
timeout = "5s"
refresh = "0s"
"#,
        port = nodes.fleet.https_port(),
        ca = nodes.certificate().display(),
    );
    for node in 1..=4 {
        text.push_str(&format!("\n[[nodes]]\nname = \"slice{node}\"\naddresses = [\"{}\"]\n", address(node)));
    }
    text
}

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// How many seeds are tried.
pub(crate) fn seeds(default: u64) -> u64 {
    match std::env::var("WITNESS_CRASH_SEEDS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("WITNESS_CRASH_SEEDS={text:?} is no number")),
        Err(_) => default,
    }
}
