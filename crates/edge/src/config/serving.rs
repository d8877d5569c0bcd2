//! `[listen]`, `[limits]` and `[access_log]`: whom this edge serves, how, and what is written down about it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::network::Network;
use super::table::Table;
use super::{is_private, units};

/// `[listen]`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Plain.
    pub http: Vec<SocketAddr>,
    /// TLS.
    pub https: Vec<SocketAddr>,
    /// Health document, metrics, shed, purge.
    pub health: SocketAddr,
    /// Those whose connections begin with a header of the PROXY protocol.
    pub proxies: Vec<Network>,
    /// What is under way when it ends may take so long.
    pub drain: Duration,
    /// For TLS; the first is shown to those who ask for no name or an unknown one.
    pub certificates: Vec<Certificate>,
}

/// A chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, the leaf first.
    pub chain: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// `[limits]`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// In bit/s; none: as fast as it goes.
    pub rate_per_client: Option<u64>,
    /// In bytes.
    pub rate_burst: u64,
    /// In bit/s, at shed steps 1, 2, 3.
    pub shed_rates: Vec<u64>,
    /// Host patterns.
    pub block_referers: Vec<String>,
    /// Connections in all; none: as many as half of the descriptors.
    pub connections: Option<u32>,
    /// Connections of one client; none: any number.
    pub connections_per_client: Option<u32>,
    /// For a head, from its first byte on; for the TLS handshake; for the first head, from the connection on.
    pub header_timeout: Duration,
    /// Of a head, in bytes.
    pub header_size: u32,
    /// Fields of a head.
    pub header_count: u32,
    /// Without a request.
    pub idle_timeout: Duration,
    /// In bit/s: slower clients are left; none: any pace is fine.
    pub min_pace: Option<u64>,
    /// Over so long a time of waiting for the client.
    pub pace_window: Duration,
}

/// `[access_log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where to.
    pub to: LogTo,
    /// How.
    pub format: LogFormat,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// The standard output.
    Stdout,
    /// A file, which is appended to.
    File(PathBuf),
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// As web servers have always written it.
    Combined,
    /// One object a line.
    Json,
}

pub(super) fn listen(table: &Table<'_>) -> Listen {
    let certificates: Vec<Certificate> = table
        .tables("certificates")
        .iter()
        .map(|one| {
            let chain = one.required("chain_file", "fullchain.pem");
            let key = one.required("key_file", "privkey.pem");
            one.finish();
            let (chain, key) =
                (one.path("chain_file").unwrap_or(chain.into()), one.path("key_file").unwrap_or(key.into()));
            if let Err(error) = std::fs::metadata(&chain) {
                one.problem("chain_file", format!("failed to read it: {error}"), "write the path of a file");
            }
            is_private(one, "key_file", &key);
            Certificate { chain, key }
        })
        .collect();
    let addresses = |key: &'static str, default: &str| -> Vec<SocketAddr> {
        if table.has(key) {
            table.texts(key).iter().filter_map(|text| table.address(key, text)).collect()
        } else {
            let _ = table.get(key);
            vec![default.parse().expect("defaults are addresses")]
        }
    };
    let http = addresses("http", "0.0.0.0:80");
    let wants_https = table.has("https");
    let mut https = addresses("https", "0.0.0.0:443");
    if certificates.is_empty() && !https.is_empty() {
        if wants_https {
            table.problem("https", "there is no certificate", "add [[listen.certificates]], or write https = []");
        }
        https.clear();
    }
    let health = table.text("health_listen").and_then(|text| table.address("health_listen", &text));
    let health = health.unwrap_or_else(|| "127.0.0.1:9054".parse().expect("defaults are addresses"));
    let proxies = proxies(table);
    let drain = table.duration("drain", Duration::from_secs(30));
    table.finish();
    Listen { http, https, health, proxies, drain, certificates }
}

/// Whose word about the client's address counts. Whoever may say it can pass for anybody, so they are named.
fn proxies(table: &Table<'_>) -> Vec<Network> {
    let wanted = table.flag("proxy_protocol", false);
    let mut networks = Vec::new();
    for text in table.texts("proxy_protocol_from") {
        match Network::parse(&text) {
            Ok(network) => networks.push(network),
            Err((message, remedy)) => table.problem("proxy_protocol_from", message, remedy),
        }
    }
    let named = table.has("proxy_protocol_from") && !networks.is_empty();
    if wanted && !table.has("proxy_protocol_from") {
        let remedy = "add proxy_protocol_from = [\"192.0.2.1\"] with the addresses of the load balancers";
        table.problem("proxy_protocol", "nobody is named whose header may be believed", remedy);
    } else if !wanted && named {
        let remedy = "write proxy_protocol = true as well, or leave this out";
        table.problem("proxy_protocol_from", "the PROXY protocol is not switched on", remedy);
    }
    if wanted { networks } else { Vec::new() }
}

pub(super) fn limits(table: &Table<'_>) -> Limits {
    let rate = |key, default| {
        if table.has(key) {
            table.quantity(key, &units::RATE)
        } else {
            let _ = table.get(key);
            default
        }
    };
    let rate_per_client = rate("rate_per_client", Some(40_000_000));
    let min_pace = rate("min_pace", Some(8_000));
    for (key, rate) in [("rate_per_client", rate_per_client), ("min_pace", min_pace)] {
        if rate == Some(0) {
            table.problem(key, "it must be more than 0", "write \"\" for no limit");
        }
    }
    let shed_rates = if table.has("shed_rates") {
        let texts = table.texts("shed_rates");
        texts.into_iter().filter_map(|text| table.quantity_of("shed_rates", &text.into(), &units::RATE)).collect()
    } else {
        let _ = table.get("shed_rates");
        vec![32_000_000, 26_000_000, 20_000_000]
    };
    if shed_rates.len() != 3 || shed_rates.contains(&0) {
        table.problem("shed_rates", "three rates belong here", "write one for each of the steps 1, 2 and 3");
    }
    let header_size = table.size("header_size", 64 << 10);
    if !(8 << 10..=1 << 20).contains(&header_size) {
        table.problem("header_size", "it must be from 8KiB to 1MiB", "write \"64KiB\"");
    }
    let at_least = |key, default, least: Duration| {
        let value = table.duration(key, default);
        if value < least {
            let remedy = format!("write at least \"{}ms\"", least.as_millis());
            table.problem(key, "it is too short", remedy);
        }
        value
    };
    let short = Duration::from_millis(100);
    let limits = Limits {
        rate_per_client,
        rate_burst: table.size("rate_burst", 8 << 20).max(64 << 10),
        shed_rates,
        block_referers: table.texts("block_referers"),
        connections: Some(table.count("connections", 0, 0..=10_000_000)).filter(|count| *count > 0),
        connections_per_client: Some(table.count("connections_per_client", 1024, 0..=10_000_000))
            .filter(|count| *count > 0),
        header_timeout: at_least("header_timeout", Duration::from_secs(10), short),
        header_size: u32::try_from(header_size).unwrap_or(64 << 10),
        header_count: table.count("header_count", 100, 10..=1000),
        idle_timeout: at_least("idle_timeout", Duration::from_secs(60), short),
        min_pace,
        pace_window: at_least("pace_window", Duration::from_secs(60), short),
    };
    table.finish();
    limits
}

pub(super) fn access_log(table: &Table<'_>) -> Option<AccessLog> {
    let to = match table.text("file").as_deref() {
        None => None,
        Some("stdout") => Some(LogTo::Stdout),
        Some(_) => table.path("file").map(LogTo::File),
    };
    if let Some(LogTo::File(path)) = &to
        // The configuration's own folder may have no name.
        && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        let remedy = format!("run: mkdir -p {}", folder.display());
        table.problem("file", format!("there is no folder {}", folder.display()), remedy);
    }
    let format = match table.text("format").as_deref() {
        None | Some("combined") => LogFormat::Combined,
        Some("json") => LogFormat::Json,
        Some(_) => {
            table.problem("format", "there is no such format", "write \"combined\" or \"json\"");
            LogFormat::Combined
        }
    };
    table.finish();
    to.map(|to| AccessLog { to, format })
}
