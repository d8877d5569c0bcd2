//! The configuration: one TOML file, read whole or not at all.

mod network;
mod read;
pub mod rules;
mod table;
pub mod tier;
pub(crate) mod units;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

pub use network::Network;
pub use rules::{Bans, Edge, OnFailure, Resumable, Scan, UploadToken};
pub use table::Problem;
use table::{Reading, Table};
pub use tier::{Backup, Follow, Legacy, Replicate, S3, Tier, TierPlace};

/// A text that must not be seen. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `given` is the same. It takes as long whatever differs.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), given).is_ok()
    }

    /// The text itself, to be sent to whom it is meant for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
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
    /// Where it listens, and who it is.
    pub server: Server,
    /// Where content is.
    pub store: Store,
    /// What may come in.
    pub upload: Upload,
    /// How files go out.
    pub serve: Serve,
    /// What Pomf clients see.
    pub compat: Compat,
    /// Uploads that come in parts.
    pub resumable: Resumable,
    /// Who looks for viruses.
    pub scan: Option<Scan>,
    /// Who may neither upload nor see anything.
    pub bans: Bans,
    /// Who is told what to forget.
    pub edges: Vec<Edge>,
    /// The long-term tier.
    pub tier: Option<Tier>,
    /// When copies of the metadata are made, and which stay.
    pub backup: Backup,
    /// Asked in order for names that are not known here.
    pub legacy: Vec<Legacy>,
    /// What others may copy.
    pub replicate: Option<Replicate>,
    /// What is copied from another one.
    pub follow: Option<Follow>,
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Uploads and files.
    pub listen: SocketAddr,
    /// Health, metrics, the admin page.
    pub admin_listen: SocketAddr,
    /// What stands before names: scheme and host, without a slash at the end.
    pub files_url: String,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<Network>,
    /// At most so many at once.
    pub max_connections: u32,
    /// The same of one address; proxies that are trusted may have as many as they like.
    pub max_connections_per_address: u32,
    /// What opens the admin page; without it there is none.
    pub admin_token: Option<Secret>,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where.
    pub directory: PathBuf,
    /// To leave free, in bytes.
    pub min_free: u64,
    /// What an equal upload gets.
    pub dedupe: Dedupe,
}

/// What an equal upload gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// The URL that is there.
    SameUrl,
    /// A URL of its own, for the same content on the disk; nobody learns that it was there.
    StorageOnly,
}

/// `[upload]`.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Of a file, in bytes.
    pub max_size: u64,
    /// Of a request, in bytes.
    pub max_request: u64,
    /// In a request.
    pub max_files: u32,
    /// Of the random part.
    pub name_length: u32,
    /// In small letters, without a dot.
    pub block_extensions: Vec<String>,
    /// In small letters.
    pub block_mime: Vec<String>,
    /// None: never.
    pub expire: Option<Duration>,
    /// Whether what a camera wrote beside the picture is taken out.
    pub strip_exif: bool,
    /// What becomes of a picture that cannot be taken apart for that.
    pub strip_failure: OnFailure,
    /// What one address may send.
    pub per_address: Option<Allowance>,
    /// How much one address may send at once, in requests.
    pub at_once_per_address: u32,
    /// Who may upload; everybody, if that is not said.
    pub tokens: Option<Vec<UploadToken>>,
    /// Whether it is kept from which address something came.
    pub keep_addresses: bool,
    /// A client that sends nothing for so long is given up.
    pub idle_timeout: Duration,
}

/// So many bytes in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// In bytes.
    pub bytes: u64,
    /// In so long.
    pub per: Duration,
}

/// `[serve]`.
#[derive(Clone, Copy, Debug)]
pub struct Serve {
    /// Whether an SVG is shown, in a sandbox, or saved.
    pub svg: Shown,
    /// Whether a PDF is shown, without the sandbox that browsers' viewers do not stand, or saved.
    pub pdf: Shown,
    /// Whether those who save a file get the uploader's name for it.
    pub original_names: bool,
    /// Who takes less of what is sent is left ...
    pub min_rate: Option<Allowance>,
    /// ... after so long.
    pub slow_after: Duration,
}

/// What a browser does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Shows it.
    Inline,
    /// Saves it.
    Attachment,
}

/// `[compat]`.
#[derive(Clone, Debug)]
pub struct Compat {
    /// Where uploads go, each with how it answers.
    pub paths: Vec<(String, Dialect)>,
}

/// How an upload is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// How JSON is laid out.
    pub json: Json,
    /// What `url` has.
    pub url: Url,
    /// What `size` is.
    pub size: Size,
    /// Which status an error has.
    pub status: Status,
    /// Whether there is more than Pomf's four keys.
    pub extras: bool,
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Json {
    /// As PHP does it since 2015.
    Pretty,
    /// As in 2013, with `"error":null`.
    Compact,
}

/// What `url` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Url {
    /// All of it.
    Absolute,
    /// The name alone.
    Bare,
}

/// What `size` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As in 2.3.0.
    Number,
    /// As in 2.8.2.
    Text,
}

/// Which status an error has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its own.
    Real,
    /// 200, for clients that stop reading at others.
    Always200,
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
        /// In the order of their lines.
        problems: Vec<Problem>,
    },
}

fn list(path: &Path, problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads the file at `path`.
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
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim().to_owned(),
        })?;
        let reading = Reading::new(text, path.parent().unwrap_or(Path::new("")));
        let config = read::config(&Table::root(document.get_ref(), &reading));
        let problems = reading.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems { path: path.to_owned(), problems }) }
    }
}

#[cfg(test)]
mod tests;
