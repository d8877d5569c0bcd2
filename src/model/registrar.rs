//! How registrars are to be reached.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::fleet::Name;
use super::secret::Secret;

/// One `[registrars.NAME]` section.
#[derive(Clone, Debug)]
pub struct RegistrarSettings {
    /// Its name.
    pub name: Name,
    /// For each call.
    pub timeout: Duration,
    /// How old a reading may be before a tick takes another, where nothing is to be changed.
    pub refresh: Duration,
    /// What it is.
    pub kind: RegistrarKind,
}

/// The registrars we speak to.
#[derive(Clone, Debug)]
pub enum RegistrarKind {
    /// Namecheap's XML API.
    Namecheap(NamecheapSettings),
    /// RFC 2136 dynamic updates with TSIG.
    Rfc2136(Rfc2136Settings),
    /// A zone in a JSON file.
    Mock(MockSettings),
    /// Any program.
    Exec(ExecSettings),
}

impl RegistrarKind {
    /// The name used in configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Namecheap(_) => "namecheap",
            Self::Rfc2136(_) => "rfc2136",
            Self::Mock(_) => "mock",
            Self::Exec(_) => "exec",
        }
    }
}

/// Namecheap.
#[derive(Clone, Debug)]
pub struct NamecheapSettings {
    /// `https://api.namecheap.com/xml.response`.
    pub endpoint: String,
    /// `ApiUser`.
    pub api_user: String,
    /// `UserName`.
    pub username: String,
    /// `ClientIp`, the allow-listed address that our calls come from.
    pub client_ip: Ipv4Addr,
    /// `ApiKey`.
    pub api_key: Secret,
    /// Whether a zone with dynamic-DNS rows may be written; the API turns them into plain A rows.
    pub allow_ddns_downgrade: bool,
}

/// RFC 2136.
#[derive(Clone, Debug)]
pub struct Rfc2136Settings {
    /// The primary server.
    pub server: SocketAddr,
    /// TSIG key name; none: unsigned.
    pub key_name: Option<String>,
    /// TSIG algorithm.
    pub algorithm: TsigAlgorithm,
    /// TSIG secret, base64.
    pub key: Option<Secret>,
}

/// TSIG algorithms (RFC 8945, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`.
    #[default]
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

/// The mock.
#[derive(Clone, Debug)]
pub struct MockSettings {
    /// The zone, as JSON.
    pub file: PathBuf,
}

/// Any program.
#[derive(Clone, Debug)]
pub struct ExecSettings {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Further environment, in order.
    pub environment: Vec<(String, Secret)>,
}
