//! The configuration: one TOML file, read whole or not at all.

mod network;
mod position;
mod serving;
mod table;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

pub use network::Network;
use position::Document;
pub use position::Position;
pub use serving::{AccessLog, Certificate, Limits, Listen, LogFormat, LogTo};
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
    /// What is written down about it; none: nothing.
    pub access_log: Option<AccessLog>,
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
    /// Where its URLs stand in the file.
    pub at: Position,
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
        /// Speaks HTTP/2 where the server does.
        http2: bool,
        /// Shown to servers that ask who this is.
        identity: Option<Certificate>,
        /// How requests of one client that cannot be cached stay at one server.
        sticky: Option<Sticky>,
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

/// What keeps a client at one of several servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// A cookie that this edge sets.
    Cookie,
    /// The client's address, of IPv6 the /64.
    Address,
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
    #[error("{}:{}:{}: {message}; {remedy}", path.display(), at.line, at.column)]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where.
        at: Position,
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// All that is wrong.
    #[error("{}", list(path, problems))]
    Problems {
        /// Which.
        path: PathBuf,
        /// In the order in which they stand in the file.
        problems: Vec<Problem>,
    },
}

fn list(path: &Path, problems: &[Problem]) -> String {
    let line = |problem: &Problem| format!("{}:{}:{}: {problem}", path.display(), problem.at.line, problem.at.column);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
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
        let syntax = |at, message, remedy| ConfigError::Syntax { path: path.to_owned(), at, message, remedy };
        let document = Document::parse(text).map_err(|(at, message, remedy)| syntax(at, message, remedy))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            syntax(document.value(""), error.message().to_owned(), "correct it".to_owned())
        })?;
        let problems = Problems::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut config = read(&Table::root(&table, &problems, folder));
        for (number, source) in config.sources.iter_mut().enumerate() {
            source.at = document.value(&format!("sources[{number}].urls"));
        }
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems { path: path.to_owned(), problems: problems.placed(&document) })
        }
    }
}

fn read(root: &Table<'_>) -> Config {
    let config = Config {
        node: node(&root.table("node")),
        listen: serving::listen(&root.table("listen")),
        cache: cache(&root.table("cache")),
        limits: serving::limits(&root.table("limits")),
        access_log: serving::access_log(&root.table("access_log")),
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
        let http2 = table.flag("http2", false);
        if http2 && urls.iter().any(|url| url.scheme_str() != Some("https")) {
            table.problem("http2", "it is negotiated in TLS, and there are URLs without", "write https:// in urls");
        }
        let sticky = match table.text("sticky").as_deref() {
            None => None,
            Some("cookie") => Some(Sticky::Cookie),
            Some("address") => Some(Sticky::Address),
            Some(_) => {
                table.problem("sticky", "there is no such way", "write \"cookie\", \"address\", or leave it empty");
                None
            }
        };
        SourceKind::Http {
            urls,
            http2,
            identity: identity(table),
            sticky,
            host: table.has("host").then(|| plain(table, "host", "files.example.com")).filter(|host| !host.is_empty()),
            ca_file: ca_file(table),
            connect_timeout: table.duration("connect_timeout", Duration::from_secs(4)),
            read_timeout: table.duration("read_timeout", Duration::from_secs(90)),
        }
    };
    let _ = table.get("host");
    table.finish();
    Source { at: Position { line: 1, column: 1 }, name, kind }
}

/// What is shown to servers that ask who this is.
fn identity(table: &Table<'_>) -> Option<Certificate> {
    let (chain, key) = (table.path("client_chain_file"), table.path("client_key_file"));
    match (chain, key) {
        (Some(chain), Some(key)) => {
            if let Err(error) = std::fs::metadata(&chain) {
                table.problem("client_chain_file", format!("failed to read it: {error}"), "write the path of a file");
            }
            is_private(table, "client_key_file", &key);
            Some(Certificate { chain, key })
        }
        (Some(_), None) => {
            table.problem("client_key_file", "it is missing", "write the path of the certificate's key");
            None
        }
        (None, Some(_)) => {
            table.problem("client_chain_file", "it is missing", "write the path of the key's certificate");
            None
        }
        (None, None) => None,
    }
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
