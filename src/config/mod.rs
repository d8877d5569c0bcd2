//! The configuration: what was written, and what it means.
//!
//! [`Config`] is valid by construction. Every mistake of a file is told at once, each as a [`Problem`] with file, line,
//! key, value and remedy. Reading a configuration opens the secrets and looks whether files are there; it asks no
//! network, and what this machine is like is for [`crate::check`] to say.

mod actuators;
mod cross;
mod fleet;
mod keys;
mod policy;
mod probes;
mod problem;
mod raw;
mod reference;
mod registrars;
mod secret;
mod suggest;
mod syntax;
mod units;
mod value;
mod witness;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;

pub use keys::{Absent, Key, SECTIONS, Section, Takes};
pub use policy::{policy_of_keys, policy_of_text};
pub use problem::{Problem, Severity};
pub use reference::reference;
pub use suggest::nearest;
pub use units::{Quantity, UnitError, duration, duration_text, rate, rate_text, size, size_text};
pub use witness::{Notify, Serve, Witness};

use crate::model::{Abilities, Fleet, Name, Policy, ProbeSettings, RegistrarSettings, RelaySettings, ShedSettings};
use raw::{Environment, Found, Reading, Secrets, Spot};

/// A whole configuration with every key explained, as a beginning for one's own.
pub const EXAMPLE: &str = include_str!("default.toml");

/// No configuration is longer, bytes.
const LONGEST: usize = 4 << 20;

/// Everything configured, already valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// This vantage point.
    pub witness: Witness,
    /// The thresholds.
    pub policy: Policy,
    /// How nodes are probed, and the anchors.
    pub probes: ProbeSettings,
    /// Nodes and pools. Every pool has a node, a record, and a registrar of `registrars`.
    pub fleet: Fleet,
    /// What edits the DNS.
    pub registrars: BTreeMap<Name, RegistrarSettings>,
    /// How nodes are asked to look at each other; none: they are not.
    pub relays: Option<RelaySettings>,
    /// How nodes are told to shed load; none: they are not.
    pub shed: Option<ShedSettings>,
    /// The status page.
    pub serve: Serve,
    /// Who is told.
    pub notify: Notify,
    /// What somebody should know, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file at any of the places.
    #[error(
        "no configuration: there is neither {}; write one, or name it with --config",
        .tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" nor ")
    )]
    NotFound {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("failed to read the configuration {}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something wrong: errors and warnings, at least one error, in the order of the file.
    #[error(
        "the configuration has {} {}",
        .0.iter().filter(|problem| problem.severity == Severity::Error).count(),
        if .0.iter().filter(|problem| problem.severity == Severity::Error).count() == 1 { "mistake" } else { "mistakes" }
    )]
    Problems(Vec<Problem>),
}

impl Config {
    /// Reads and checks the file at `path`, with its secrets.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or every mistake at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::read(&text_of(path)?, path, &process_environment, Secrets::Read)
    }

    /// The same without opening the secrets, which are then empty: for commands that read the ledger only, whose user
    /// need not have them.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or every mistake at once.
    pub fn load_without_secrets(path: &Path) -> Result<Self, ConfigError> {
        Self::read(&text_of(path)?, path, &process_environment, Secrets::Leave)
    }

    /// Checks `text` as if it were the file at `path`, with `env` for the environment.
    ///
    /// # Errors
    /// [`ConfigError::Problems`]: every mistake at once.
    pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::read(text.as_bytes(), path, env, Secrets::Read)
    }

    /// The TCP port of the service on every node: the https probe's, 443 where there is none.
    #[must_use]
    pub fn service_port(&self) -> u16 {
        let url = self.probes.https.as_ref().and_then(|https| Url::parse(&https.url).ok());
        url.and_then(|url| url.port_or_known_default()).unwrap_or(443)
    }

    /// What can be done beside probing and editing DNS. Relays need a node that can be told from a stranger, and
    /// another to be asked about.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        let known = self.fleet.nodes.values().filter(|node| node.ssh_host_key.is_some()).count();
        Abilities {
            shed: self.shed.is_some(),
            relays: self.relays.is_some() && known > 0 && self.fleet.nodes.len() > 1,
        }
    }

    /// Where the configuration is: `--config`, `$WITNESS_CONFIG`, `./witness.toml`, `/etc/witness/witness.toml`.
    /// A path that somebody gave is taken as it is.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] names every place.
    pub fn find(cli: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
        let variable = std::env::var_os("WITNESS_CONFIG").map(PathBuf::from);
        find_among(cli, variable, &[PathBuf::from("witness.toml"), PathBuf::from("/etc/witness/witness.toml")])
    }

    fn read(bytes: &[u8], path: &Path, env: Environment<'_>, secrets: Secrets) -> Result<Self, ConfigError> {
        let (text, rest) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                (std::str::from_utf8(good).expect("valid up to there"), bad.first())
            }
        };
        let reading = Reading::new(text, path, env, secrets);
        let here = |span| Spot { key: String::new(), span, shown: None, written: true };
        if let Some(bad) = rest {
            let end = text.len()..text.len();
            reading.error(&here(end), format!("this is no UTF-8: byte 0x{bad:02x}"), "save the file as UTF-8");
            return Err(ConfigError::Problems(reading.into_problems()));
        }
        if text.len() > LONGEST {
            reading.error(&here(0..0), "the file has more than 4 MiB", "is it the right file?");
            return Err(ConfigError::Problems(reading.into_problems()));
        }
        let document = syntax::document(&reading);
        let config = document.as_ref().and_then(|document| meaning(&reading, document.get_ref(), path));
        let failed = reading.errors() > 0;
        let problems = reading.into_problems();
        match config {
            Some(config) if !failed => Ok(Self { warnings: problems, ..config }),
            _ => Err(ConfigError::Problems(problems)),
        }
    }
}

/// What the document means; what is wrong with it is in `reading`.
fn meaning<'r>(reading: &'r Reading<'r>, root: &'r toml::de::DeTable<'r>, path: &Path) -> Option<Config> {
    refuse_unknown_tables(reading, root);
    let table_of = |section, parent| reading.table(section, parent);
    let witness_table = table_of(&keys::WITNESS, Some(root));
    let policy_table = table_of(&keys::POLICY, Some(root));
    let below = root.get("probes").and_then(|value| value.get_ref().as_table());
    let (https_table, ping_table, ssh_table) =
        (table_of(&keys::HTTPS, below), table_of(&keys::PING, below), table_of(&keys::SSH, below));
    let written = [("https", https_table.is_there()), ("ping", ping_table.is_there()), ("ssh", ssh_table.is_there())];

    let witness = witness::witness(&witness_table);
    let interval = witness.interval.as_ref().map(|interval| interval.value);
    let policy = policy::read(&policy_table, interval, witness.fast_interval);
    let registrars = registrars::read(reading, root);
    let fleet = fleet::read(reading, reading.tables(&keys::NODES, root), reading.tables(&keys::POOLS, root));
    let usual_url = fleet.order.first().map(|id| {
        let pool = &fleet.fleet.pools[id];
        let name =
            if pool.records[0] == "@" { pool.zone.clone() } else { format!("{}.{}", pool.records[0], pool.zone) };
        format!("https://{name}/.witness/health")
    });
    let https = https_table.is_there().then(|| probes::https(&https_table, usual_url));
    let ping = ping_table.is_there().then(|| probes::ping(&ping_table));
    let ssh = ssh_table.is_there().then(|| probes::ssh(&ssh_table));
    let https = https.flatten();
    let (relays_table, shed_table) = (table_of(&keys::RELAYS, Some(root)), table_of(&keys::SHED, Some(root)));
    let relays = relays_table.is_there().then(|| actuators::relays(&relays_table)).flatten();
    let shed = shed_table.is_there().then(|| actuators::shed(&shed_table, https.as_ref(), written[0].1)).flatten();
    let serve = witness::serve(&table_of(&keys::SERVE, Some(root)));
    let notify = witness::notify(&table_of(&keys::NOTIFY, Some(root)));

    let probes = ProbeSettings {
        https,
        ping: ping.flatten(),
        ssh: ssh.flatten(),
        anchors: witness.anchors.iter().flatten().map(|anchor| anchor.value).collect(),
        metrics: fleet.metrics.clone(),
        load_every: interval.unwrap_or_default(),
    };
    cross::pools_and_registrars(reading, &fleet, &registrars);
    cross::pools_and_guards(reading, &fleet, policy.as_ref());
    cross::probes_and_policy(reading, &written, policy.as_ref());
    cross::host_keys(reading, &fleet, &probes, &ssh_table.spot_of("level"));
    if let Some(relays) = &relays {
        let timeout = Found { value: relays.timeout, spot: relays_table.spot_of("timeout") };
        cross::relays(reading, &fleet, &relays_table.spot, &timeout, witness.once_deadline.as_ref());
    }
    if let Some(anchors) = &witness.anchors {
        cross::anchors(reading, &witness.anchors_spot, anchors, &fleet);
    }
    if let (Some(interval), Some(deadline)) = (&witness.interval, &witness.once_deadline) {
        let timeout =
            |span: std::time::Duration, table: &raw::Table<'_>| Found { value: span, spot: table.spot_of("timeout") };
        let timeouts: Vec<_> = [
            probes.https.as_ref().map(|https| timeout(https.timeout, &https_table)),
            probes.ping.as_ref().map(|ping| timeout(ping.timeout, &ping_table)),
            probes.ssh.as_ref().map(|ssh| timeout(ssh.timeout, &ssh_table)),
        ]
        .into_iter()
        .flatten()
        .collect();
        cross::probes_and_schedule(reading, &timeouts, interval, deadline);
    }

    let registrars = registrars.into_iter().filter_map(|(name, (_, settings))| Some((name, settings?))).collect();
    Some(Config {
        path: path.to_path_buf(),
        witness: witness.witness?,
        policy: policy?.policy,
        probes,
        fleet: fleet.fleet,
        registrars,
        relays,
        shed,
        serve: serve?,
        notify: notify?,
        warnings: Vec::new(),
    })
}

/// Tables that there are not.
fn refuse_unknown_tables(reading: &Reading<'_>, root: &toml::de::DeTable<'_>) {
    let top = ["witness", "policy", "probes", "pools", "registrars", "nodes", "relays", "shed", "serve", "notify"];
    let probes = ["https", "ping", "ssh"];
    let refuse = |table: &toml::de::DeTable<'_>, known: &[&'static str], before: &str, place: &str| {
        for (name, value) in table {
            if known.contains(&name.get_ref().as_ref()) {
                continue;
            }
            let key = format!("{before}{}", name.get_ref().chars().take(60).collect::<String>());
            let spot = Spot { key, span: name.span(), shown: None, written: true };
            let what = if value.get_ref().is_table() || value.get_ref().is_array() { "table" } else { "key" };
            let belongs = SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name.get_ref()));
            let remedy = match (nearest(name.get_ref(), known.iter().copied()), belongs) {
                (Some(nearest), _) => format!("did you mean {nearest:?}?"),
                (None, Some(section)) => format!("it belongs below a line {}", section.heading),
                (None, None) => format!(
                    "the nearest is {:?}, and there are {}",
                    suggest::ranked(name.get_ref(), known.iter().copied()).unwrap_or_default(),
                    known.join(", ")
                ),
            };
            reading.error(&spot, format!("there is no such {what} {place}"), remedy);
        }
    };
    refuse(root, &top, "", "in this file");
    if let Some(value) = root.get("probes") {
        if let Some(table) = value.get_ref().as_table() {
            refuse(table, &probes, "probes.", "in [probes]");
        } else {
            let spot = Spot { key: "probes".to_owned(), span: value.span(), shown: None, written: true };
            let remedy = "begin each with a line [probes.https], [probes.ping] or [probes.ssh]";
            reading.error(&spot, "this is a table of tables", remedy);
        }
    }
}

fn find_among(cli: Option<PathBuf>, variable: Option<PathBuf>, usual: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    if let Some(given) = cli.or(variable.filter(|path| !path.as_os_str().is_empty())) {
        return Ok(given);
    }
    let found = usual.iter().find(|path| path.exists()).cloned();
    found.ok_or_else(|| ConfigError::NotFound { tried: usual.to_vec() })
}

fn text_of(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })
}

fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
