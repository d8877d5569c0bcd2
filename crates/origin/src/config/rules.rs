//! `[resumable]`, `[scan]`, `[bans]`, `[[edges]]`, and what other sections say about who may do how much.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read::is_url;
use super::table::Table;
use super::units::SIZE;
use super::{Allowance, Network, Secret};
use crate::model::{Sha256, Token};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Of a file with secrets.
const LARGEST: u64 = 1 << 20;

/// `[resumable]`.
#[derive(Clone, Debug)]
pub struct Resumable {
    /// Where such uploads begin.
    pub path: String,
    /// One of which nothing comes for so long is forgotten.
    pub expire: Duration,
    /// Of one address.
    pub max_unfinished: u32,
    /// Of all together.
    pub max_unfinished_of_all: u32,
}

/// `[scan]`.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Where clamd listens.
    pub clamd: Clamd,
    /// What becomes of a file that could not be looked at.
    pub on_failure: OnFailure,
    /// For one file.
    pub timeout: Duration,
    /// A larger file cannot be looked at, in bytes.
    pub max_size: u64,
}

/// Where clamd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clamd {
    /// At a socket of this machine.
    Unix(PathBuf),
    /// At a host and port.
    Tcp(String),
}

/// What becomes of a file with which something could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is taken as it is.
    Keep,
    /// It is not taken.
    Refuse,
}

/// `[bans]`.
#[derive(Clone, Debug)]
pub struct Bans {
    /// They may neither upload nor see anything.
    pub addresses: Vec<Network>,
    /// From their pages nothing is shown; in small letters.
    pub referers: Vec<String>,
}

/// `[[edges]]`.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Where it takes orders: scheme, host and port.
    pub url: String,
    /// The fleet's.
    pub token: Secret,
}

/// What allows to upload. Of the token itself the hash alone is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadToken {
    /// Whose.
    pub name: String,
    /// Of the token.
    pub hash: Sha256,
}

pub(super) fn resumable(table: &Table<'_>) -> Resumable {
    let path = table.text("path").unwrap_or_else(|| "/resumable".to_owned());
    let is_plain = path.len() > 1
        && path.starts_with('/')
        && !path.ends_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte));
    if !is_plain || path.starts_with("/.witness") || path.starts_with("/delete") {
        table.problem("path", "this is no path for uploads", "write it like \"/resumable\"");
    }
    let resumable = Resumable {
        path,
        expire: table.duration("expire", DAY),
        max_unfinished: table.count("max_unfinished", 64, 1..=1_000_000),
        max_unfinished_of_all: table.count("max_unfinished_of_all", 10_000, 1..=10_000_000),
    };
    if resumable.expire.is_zero() {
        table.problem("expire", "nobody could go on", "write \"24h\"");
    }
    table.finish();
    resumable
}

pub(super) fn scan(table: &Table<'_>) -> Option<Scan> {
    let clamd = table.required("clamd", "/run/clamav/clamd.ctl");
    let is_path = clamd.starts_with('/');
    if !is_path && !clamd.is_empty() && clamd.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        let remedy = "write it like \"/run/clamav/clamd.ctl\" or \"127.0.0.1:3310\"";
        table.problem("clamd", "this is neither a socket's path nor a host with a port", remedy);
    }
    let scan = Scan {
        clamd: if is_path { Clamd::Unix(clamd.into()) } else { Clamd::Tcp(clamd) },
        on_failure: on_failure(table, "on_failure", OnFailure::Refuse),
        timeout: table.duration("timeout", Duration::from_secs(60)),
        max_size: table.size("max_size", 100 << 20),
    };
    if scan.timeout.is_zero() {
        table.problem("timeout", "nothing could be looked at", "write \"60s\"");
    }
    table.finish();
    Some(scan)
}

pub(super) fn bans(table: &Table<'_>) -> Bans {
    let addresses = networks(table, "addresses");
    let mut referers = Vec::new();
    for text in table.texts("referers").unwrap_or_default() {
        let host = text.trim().trim_end_matches('.').to_lowercase();
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/:*".contains(c)) {
            table.problem("referers", format!("{text:?} is no host"), "write it like \"example.net\"");
        }
        referers.push(host);
    }
    table.finish();
    Bans { addresses, referers }
}

pub(super) fn edge(table: &Table<'_>) -> Option<Edge> {
    let url = table.required("url", "http://192.0.2.10:9054").trim_end_matches('/').to_owned();
    table.required("token_file", "/etc/witness/fleet.token");
    let path = table.path("token_file");
    if !url.is_empty() && !is_url(&url) {
        table.problem("url", "this is no URL of a server", "write it like \"http://192.0.2.10:9054\"");
    }
    let token = path.and_then(|path| secret(table, "token_file", &path));
    table.finish();
    let token = token?.lines().next().unwrap_or_default().trim().to_owned();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        table.problem("token_file", "there is no token in its first line", "write it there, without spaces");
        return None;
    }
    is_url(&url).then(|| Edge { url, token: Secret::new(token) })
}

/// A line for each: a name, and the token or `sha256:` and its hash.
pub(super) fn tokens(table: &Table<'_>) -> Option<Vec<UploadToken>> {
    table.text("tokens_file")?;
    let path = table.path("tokens_file")?;
    // Where they cannot be read, nobody may upload; nothing starts then, anyway.
    let Some(text) = secret(table, "tokens_file", &path) else { return Some(Vec::new()) };
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (name, token, rest) = (words.next(), words.next(), words.next());
        let hash = token.and_then(|token| match token.strip_prefix("sha256:") {
            Some(hash) => hash.parse().ok(),
            None => (token.len() >= 16).then(|| Token::given(token).hash()),
        });
        match (name, hash, rest) {
            (Some(name), Some(hash), None) => tokens.push(UploadToken { name: name.to_owned(), hash }),
            _ => table.problem(
                "tokens_file",
                format!("its line {} is no name with a token", at + 1),
                "write a name and a token of 16 characters or more, or sha256: and its hash",
            ),
        }
    }
    Some(tokens)
}

/// What stands in a file that nobody else may read.
fn secret(table: &Table<'_>, key: &'static str, path: &Path) -> Option<String> {
    let read = || {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>((mode, text))
    };
    match read() {
        Err(error) => table.problem(key, format!("it cannot be read: {error}"), "make it, readable by this program"),
        Ok((mode, _)) if mode & 0o077 != 0 => {
            table.problem(key, "others can read it", format!("do chmod 600 {}", path.display()));
        }
        Ok((_, text)) => return Some(text),
    }
    None
}

pub(super) fn on_failure(table: &Table<'_>, key: &'static str, default: OnFailure) -> OnFailure {
    table.choice(key, &[("refuse", OnFailure::Refuse), ("keep", OnFailure::Keep)]).unwrap_or(default)
}

pub(super) fn networks(table: &Table<'_>, key: &'static str) -> Vec<Network> {
    let mut networks = Vec::new();
    for text in table.texts(key).unwrap_or_default() {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(()) => table.problem(
                key,
                format!("{text:?} is neither an address nor a network"),
                "write it like \"192.0.2.7\" or \"192.0.2.0/24\"",
            ),
        }
    }
    networks
}

/// Such as `1GiB/h`.
pub(super) fn allowance(table: &Table<'_>, key: &'static str, default: Allowance) -> Option<Allowance> {
    if !table.has(key) {
        let _ = table.get(key);
        return Some(default);
    }
    let text = table.text(key)?;
    let remedy = "write it like \"1GiB/h\", with s, m, h or d behind the stroke, or \"\" for no limit";
    let Some((bytes, per)) = text.split_once('/') else {
        table.problem(key, "this is no size in a time", remedy);
        return None;
    };
    let per = match per.trim() {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => HOUR,
        "d" => DAY,
        _ => {
            table.problem(key, "this is no size in a time", remedy);
            return None;
        }
    };
    match SIZE.read(bytes) {
        Ok(0) => table.problem(key, "nothing could be sent", remedy),
        Ok(bytes) => return Some(Allowance { bytes, per }),
        Err((message, _)) => table.problem(key, message, remedy),
    }
    None
}
