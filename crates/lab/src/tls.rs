//! Certificates: an authority of the test's own, and leaves that are good or bad in one known way each.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

const DAY: u64 = 86_400;

/// Making or reading a certificate failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A name that cannot stand in a certificate, or a key that cannot sign.
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A PEM text without what was looked for.
    #[error("failed to read PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// rustls does not take the pair.
    #[error("failed to serve with this certificate: {0}")]
    Serve(#[from] rustls::Error),
}

/// When a leaf is valid, beside now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Since yesterday, for a year.
    Good,
    /// Since yesterday; ends this many days and one hour from now.
    DaysLeft(u16),
    /// Ended yesterday.
    Expired,
    /// Begins tomorrow.
    NotYet,
}

/// A certificate authority that nobody trusts but those who are given its certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// A new one with a key of its own.
    ///
    /// # Errors
    ///
    /// When the key cannot be made.
    pub fn new() -> Result<Self, TlsError> {
        let mut params = CertificateParams::new(Vec::new())?;
        // A name of its own: of two authorities with one name, clients try the wrong one's key.
        static MADE: AtomicU32 = AtomicU32::new(1);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("witness lab authority {}-{number}", std::process::id());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2120, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) })
    }

    /// Its certificate, for a `ca_file`.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate, for a root store.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A leaf for these names; what reads as an IP address becomes one.
    ///
    /// # Errors
    ///
    /// When a name cannot stand in a certificate.
    pub fn issue(&self, names: &[&str], validity: Validity) -> Result<Leaf, TlsError> {
        self.issue_for(ExtendedKeyUsagePurpose::ServerAuth, names, validity)
    }

    /// The same for a client, who shows it to servers.
    ///
    /// # Errors
    ///
    /// As [`Authority::issue`].
    pub fn issue_client(&self, name: &str) -> Result<Leaf, TlsError> {
        self.issue_for(ExtendedKeyUsagePurpose::ClientAuth, &[name], Validity::Good)
    }

    fn issue_for(&self, usage: ExtendedKeyUsagePurpose, names: &[&str], validity: Validity) -> Result<Leaf, TlsError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "witness lab leaf");
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let now = seconds_since_1970();
        let (from, until) = match validity {
            Validity::Good => (now - DAY, now + 365 * DAY),
            Validity::DaysLeft(days) => (now - DAY, now + u64::from(days) * DAY + 3600),
            Validity::Expired => (now - 30 * DAY, now - DAY),
            Validity::NotYet => (now + DAY, now + 30 * DAY),
        };
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(from);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { chain_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// A good leaf for these names, and one of every flaw.
    ///
    /// # Errors
    ///
    /// When a name cannot stand in a certificate.
    pub fn identity(&self, names: &[&str]) -> Result<Identity, TlsError> {
        Ok(Identity {
            good: self.issue(names, Validity::Good)?,
            expired: Some(self.issue(names, Validity::Expired)?),
            not_yet: Some(self.issue(names, Validity::NotYet)?),
            wrong_name: Some(self.issue(&["elsewhere.example.net"], Validity::Good)?),
            untrusted: Some(Self::new()?.issue(names, Validity::Good)?),
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("pem", &self.pem).finish_non_exhaustive()
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Leaf {
    chain_pem: String,
    key_pem: String,
}

impl Leaf {
    /// From PEM texts; the chain begins with the leaf.
    ///
    /// # Errors
    ///
    /// When either holds nothing that can be served with.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsError> {
        let leaf = Self { chain_pem: chain.to_owned(), key_pem: key.to_owned() };
        leaf.server_config().map(|_| leaf)
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The key, PEM (PKCS #8).
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Writes `NAME.pem` and `NAME.key` into `folder`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> std::io::Result<()> {
        std::fs::write(folder.join(format!("{name}.pem")), &self.chain_pem)?;
        std::fs::write(folder.join(format!("{name}.key")), &self.key_pem)
    }

    /// Serves with this leaf, TLS 1.2 and 1.3, sessions resumable as in most servers.
    ///
    /// # Errors
    ///
    /// When the PEM texts hold no certificate, no key, or a pair that does not match.
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        self.server_config_with(rustls::ALL_VERSIONS, ServerSessionMemoryCache::new(256))
    }

    /// The same with the TLS versions and the memory of sessions chosen: servers that share the memory resume each
    /// other's sessions.
    ///
    /// # Errors
    ///
    /// As [`Leaf::server_config`].
    pub fn server_config_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        sessions: Arc<dyn StoresServerSessions>,
    ) -> Result<ServerConfig, TlsError> {
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?;
        // The provider is named: a process that uses several libraries may have none installed, or another.
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.session_storage = sessions;
        Ok(config)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// A way in which a certificate can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is for somebody else.
    WrongName,
    /// An authority signed it that nobody here knows.
    Untrusted,
}

/// What a node can show: a good certificate, and bad ones to switch to.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The good one.
    pub good: Leaf,
    /// Expired.
    pub expired: Option<Leaf>,
    /// Not yet valid.
    pub not_yet: Option<Leaf>,
    /// For another name.
    pub wrong_name: Option<Leaf>,
    /// From another authority.
    pub untrusted: Option<Leaf>,
}

impl Identity {
    /// Nothing to switch to.
    #[must_use]
    pub fn of(good: Leaf) -> Self {
        Self { good, expired: None, not_yet: None, wrong_name: None, untrusted: None }
    }

    /// The leaf with this flaw, if there is one.
    #[must_use]
    pub fn flawed(&self, flaw: Flaw) -> Option<&Leaf> {
        match flaw {
            Flaw::Expired => self.expired.as_ref(),
            Flaw::NotYet => self.not_yet.as_ref(),
            Flaw::WrongName => self.wrong_name.as_ref(),
            Flaw::Untrusted => self.untrusted.as_ref(),
        }
    }
}

impl From<Leaf> for Identity {
    fn from(good: Leaf) -> Self {
        Self::of(good)
    }
}

fn seconds_since_1970() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).expect("the clock of a machine that makes certificates is past 1970")
}
