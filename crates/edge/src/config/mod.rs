//! The configuration: one TOML file, read whole or not at all.

mod table;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

pub use table::Problem;
use table::{Problems, Table};

use crate::http::Rules;

/// A text that must not be seen. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the same. It takes as long whatever differs.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), given).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The configuration, valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this edge is.
    pub node: Node,
    /// Where it listens.
    pub listen: Listen,
    /// What it keeps.
    pub cache: Cache,
    /// What clients get.
    pub limits: Limits,
    /// The other edges of the fleet.
    pub siblings: Siblings,
    /// Whom it asks, in order.
    pub sources: Vec<Source>,
}

/// `[node]`.
#[derive(Clone, Debug)]
pub struct Node {
    /// Of this edge.
    pub name: String,
    /// Of the fleet.
    pub fleet: String,
    /// What the line carries, in bit/s.
    pub capacity: u64,
    /// For shedding and purges; without one, nobody may.
    pub token: Option<Secret>,
}

/// `[listen]`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Plain.
    pub http: Vec<SocketAddr>,
    /// TLS.
    pub https: Vec<SocketAddr>,
    /// Health document, metrics, shed, purge.
    pub health: SocketAddr,
    /// For TLS; the first is shown to those who ask for no name or an unknown one.
    pub certificates: Vec<Certificate>,
}

/// `[[listen.certificates]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, the leaf first.
    pub chain: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// `[cache]`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Where.
    pub directory: PathBuf,
    /// At most, in bytes.
    pub max_size: u64,
    /// To leave free, in bytes.
    pub min_free: u64,
    /// Dropped when nobody asks for so long.
    pub inactive: Duration,
    /// To be stored in a cache fuller than 70 %.
    pub min_uses: u32,
    /// In bytes.
    pub slice_size: u64,
    /// What holds where the origin says nothing.
    pub rules: Rules,
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
}

/// `[siblings]`.
#[derive(Clone, Debug)]
pub struct Siblings {
    /// Asked before any source; this edge may be among them.
    pub members: Vec<Uri>,
    /// Whom to trust; none: whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

/// `[[sources]]`.
#[derive(Clone, Debug)]
pub struct Source {
    /// For logs.
    pub name: String,
    /// How it is reached.
    pub kind: SourceKind,
}

/// How a source is reached.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// Over HTTP.
    Http {
        /// Asked in turn.
        urls: Vec<Uri>,
        /// Sent in place of the site's name.
        host: Option<String>,
        /// Whom to trust; none: whom the system trusts.
        ca_file: Option<PathBuf>,
        /// To connect.
        connect_timeout: Duration,
        /// Between signs of life.
        read_timeout: Duration,
    },
    /// A bucket that speaks S3.
    S3 {
        /// Its server.
        endpoint: Uri,
        /// Its name.
        bucket: String,
        /// Where it is, as signatures name it.
        region: String,
        /// With which key.
        key: BucketKey,
        /// Whom to trust; none: whom the system trusts.
        ca_file: Option<PathBuf>,
        /// To connect.
        connect_timeout: Duration,
        /// Between signs of life.
        read_timeout: Duration,
    },
}

/// What signs requests to a bucket.
#[derive(Clone, Debug)]
pub enum BucketKey {
    /// A key's id, and its secret.
    Known(Secret, Secret),
    /// The environment should have it, and does not: these variables are missing.
    Missing(Vec<String>),
    /// Everybody may read the bucket.
    None,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is no TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        message: String,
    },
    /// All that is wrong.
    #[error("{}", list(path, problems))]
    Problems {
        /// Which.
        path: PathBuf,
        /// In the order in which they were found.
        problems: Vec<Problem>,
    },
}

fn list(path: &Path, problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads the file at `path`, and the secret files it names.
    ///
    /// # Errors
    ///
    /// With everything that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Self::parse(&text, path)
    }

    /// The same of a text that stood at `path`.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim().to_owned(),
        })?;
        let problems = Problems::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let config = read(&Table::root(&table, &problems, folder));
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems { path: path.to_owned(), problems: problems.into_vec() })
        }
    }
}

fn read(root: &Table<'_>) -> Config {
    let config = Config {
        node: node(&root.table("node")),
        listen: listen(&root.table("listen")),
        cache: cache(&root.table("cache")),
        limits: limits(&root.table("limits")),
        siblings: siblings(&root.table("siblings")),
        sources: sources(root),
    };
    root.finish();
    config
}

fn node(table: &Table<'_>) -> Node {
    let name = plain(table, "name", "slice1");
    let fleet = plain(table, "fleet", "files.example.com");
    let capacity = table.quantity("capacity", &units::RATE).unwrap_or(1_000_000_000);
    if capacity == 0 {
        table.problem("capacity", "it must be more than 0", "write what the line carries, like \"1Gbit/s\"");
    }
    let token = table.path("token_file").and_then(|path| secret(table, "token_file", &path));
    table.finish();
    Node { name, fleet, capacity, token }
}

/// A name that can stand in header fields.
fn plain(table: &Table<'_>, key: &'static str, example: &str) -> String {
    let name = table.required(key, example);
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        table.problem(key, "a name has characters from A-Z a-z 0-9 . _ - alone", "choose such a name");
    }
    name
}

fn secret(table: &Table<'_>, key: &'static str, path: &Path) -> Option<Secret> {
    is_private(table, key, path);
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => {
            table.problem(key, "the file is empty", "write the token into it");
            None
        }
        Ok(text) => Some(Secret::new(text.trim())),
        // Told by the look at who may read it.
        Err(_) => None,
    }
}

fn is_private(table: &Table<'_>, key: &'static str, path: &Path) {
    match std::fs::metadata(path) {
        Ok(file) if file.permissions().mode() & 0o077 != 0 => {
            table.problem(key, "others can read this file", format!("chmod 600 {}", path.display()));
        }
        Ok(_) => {}
        Err(error) => table.problem(key, format!("failed to read it: {error}"), "write the path of a file"),
    }
}

fn listen(table: &Table<'_>) -> Listen {
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
    if table.flag("proxy_protocol", false) {
        table.problem("proxy_protocol", "the PROXY protocol is not there yet", "write false, or leave the key out");
    }
    table.finish();
    Listen { http, https, health, certificates }
}

fn cache(table: &Table<'_>) -> Cache {
    const DAY: Duration = Duration::from_secs(86_400);
    let directory = table.path("directory").unwrap_or_else(|| {
        table.problem("directory", "it is missing", "write directory = \"/var/cache/witness-edge\"");
        PathBuf::new()
    });
    let slice_size = table.size("slice_size", 1 << 20);
    if !slice_size.is_power_of_two() || !(64 << 10..=64 << 20).contains(&slice_size) {
        table.problem("slice_size", "it must be a power of two from 64KiB to 64MiB", "write \"1MiB\"");
    }
    let max_size = table.size("max_size", 100_000_000_000);
    if max_size < 16 << 20 {
        table.problem("max_size", "it must be at least 16MiB", "write how much the cache may take, like \"100GB\"");
    }
    let valid_table = table.table("valid");
    let mut valid =
        BTreeMap::from([(200, DAY), (206, DAY), (302, Duration::from_secs(600)), (404, Duration::from_secs(10))]);
    for name in valid_table.names() {
        match name.parse::<u16>().ok().filter(|status| (200..=599).contains(status)) {
            Some(status) => {
                let value = valid_table.value_of(name).expect("it is one of its names");
                if let Some(milliseconds) = valid_table.quantity_of(name, value, &units::DURATION) {
                    // None at all: what the origin says alone counts, or how long it has been as it is.
                    match milliseconds {
                        0 => valid.remove(&status),
                        _ => valid.insert(status, units::duration(milliseconds)),
                    };
                }
            }
            None => valid_table.problem(name, "this is no status", "write a status in quotes, like \"200\" = \"1d\""),
        }
    }
    let stale = table.table("stale");
    let rules = Rules {
        valid,
        stale_on_error: stale.duration("on_error", 7 * DAY),
        stale_while_revalidate: stale.duration("while_revalidate", Duration::from_secs(30)),
    };
    stale.finish();
    let cache = Cache {
        directory,
        max_size,
        min_free: table.size("min_free", 2_000_000_000),
        inactive: table.duration("inactive", DAY),
        min_uses: table.count("min_uses", 2, 1..=2),
        slice_size,
        rules,
    };
    table.finish();
    cache
}

fn limits(table: &Table<'_>) -> Limits {
    let rate = |key, default| {
        if table.has(key) {
            table.quantity(key, &units::RATE)
        } else {
            let _ = table.get(key);
            default
        }
    };
    let rate_per_client = rate("rate_per_client", Some(40_000_000));
    if rate_per_client == Some(0) {
        table.problem("rate_per_client", "it must be more than 0", "write \"\" for no limit");
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
    let limits = Limits {
        rate_per_client,
        rate_burst: table.size("rate_burst", 8 << 20).max(64 << 10),
        shed_rates,
        block_referers: table.texts("block_referers"),
    };
    table.finish();
    limits
}

fn siblings(table: &Table<'_>) -> Siblings {
    let members = table.texts("members").iter().filter_map(|text| url(table, "members", text)).collect();
    let ca_file = table.path("ca_file");
    if let Some(Err(error)) = ca_file.as_ref().map(std::fs::metadata) {
        table.problem("ca_file", format!("failed to read it: {error}"), "write the path of a file, or leave it empty");
    }
    table.finish();
    Siblings { members, ca_file }
}

fn url(table: &Table<'_>, key: &str, text: &str) -> Option<Uri> {
    let url: Option<Uri> = text.parse().ok().filter(|url: &Uri| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url
                .authority()
                .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
            && matches!(url.path_and_query().map(|path| path.as_str()), None | Some("/" | ""))
    });
    if url.is_none() {
        let remedy = "write it like \"https://origin.example.net:8443\", without a path";
        table.problem(key, format!("{text:?} is no URL of a server"), remedy);
    }
    url
}

fn sources(root: &Table<'_>) -> Vec<Source> {
    let tables = root.tables("sources");
    if tables.is_empty() {
        root.problem("sources", "there is none", "add [[sources]] with name and urls");
    }
    tables.iter().map(source).collect()
}

fn source(table: &Table<'_>) -> Source {
    let name = plain(table, "name", "home");
    let kind = if table.has("s3") {
        s3(table)
    } else {
        let urls: Vec<Uri> = table.texts("urls").iter().filter_map(|text| url(table, "urls", text)).collect();
        if urls.is_empty() && !table.has("urls") {
            table.problem("urls", "it is missing", "write urls = [\"https://origin.example.net:8443\"]");
        } else if table.texts("urls").is_empty() {
            table.problem("urls", "it is empty", "write at least one URL");
        }
        SourceKind::Http {
            urls,
            host: table.has("host").then(|| plain(table, "host", "files.example.com")).filter(|host| !host.is_empty()),
            ca_file: ca_file(table),
            connect_timeout: table.duration("connect_timeout", Duration::from_secs(4)),
            read_timeout: table.duration("read_timeout", Duration::from_secs(90)),
        }
    };
    let _ = table.get("host");
    table.finish();
    Source { name, kind }
}

fn ca_file(table: &Table<'_>) -> Option<PathBuf> {
    let path = table.path("ca_file");
    if let Some(Err(error)) = path.as_ref().map(std::fs::metadata) {
        table.problem("ca_file", format!("failed to read it: {error}"), "write the path of a file, or leave it out");
    }
    path
}

fn s3(table: &Table<'_>) -> SourceKind {
    let bucket = table.table("s3");
    let endpoint = bucket.required("endpoint", "https://s3.example.net");
    let endpoint = if endpoint.is_empty() { None } else { url(&bucket, "endpoint", &endpoint) };
    let name = plain(&bucket, "bucket", "files");
    let region = plain(&bucket, "region", "eu-1");
    let id = bucket_secret(&bucket, "access_key_id_file", "access_key_id_env");
    let secret = bucket_secret(&bucket, "secret_key_file", "secret_key_env");
    let key = match (id, secret) {
        (None, None) => BucketKey::None,
        (Some(Ok(id)), Some(Ok(secret))) => BucketKey::Known(id, secret),
        (None, Some(_)) => {
            bucket.problem("access_key_id_env", "it is missing", "write the name of a variable that has the key's id");
            BucketKey::None
        }
        (Some(_), None) => {
            bucket.problem("secret_key_env", "it is missing", "write the name of a variable that has the secret");
            BucketKey::None
        }
        (id, secret) => {
            BucketKey::Missing([id, secret].into_iter().flatten().filter_map(Result::err).flatten().collect())
        }
    };
    bucket.finish();
    SourceKind::S3 {
        endpoint: endpoint.unwrap_or_default(),
        bucket: name,
        region,
        key,
        ca_file: ca_file(table),
        connect_timeout: table.duration("connect_timeout", Duration::from_secs(4)),
        read_timeout: table.duration("read_timeout", Duration::from_secs(90)),
    }
}

/// From a file or a variable. The environment is that of the service and not of whoever checks the file, so that a
/// variable which is missing is told when the edge starts.
fn bucket_secret(
    table: &Table<'_>,
    file: &'static str,
    variable: &'static str,
) -> Option<Result<Secret, Option<String>>> {
    let (path, name) = (table.path(file), table.text(variable));
    if path.is_some() && name.is_some() {
        table.problem(file, format!("{variable} is there, too"), "write one of them");
    }
    if let Some(path) = path {
        return Some(secret(table, file, &path).ok_or(None));
    }
    let name = name?;
    let value = std::env::var(&name).ok().filter(|value| !value.trim().is_empty());
    Some(value.map(|value| Secret::new(value.trim())).ok_or(Some(name)))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
