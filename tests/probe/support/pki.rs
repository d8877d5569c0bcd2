//! A certificate authority for a test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        // Two authorities of one name would be taken for each other.
        let name = format!("test authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Where its certificate is, in PEM.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().to_owned()
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// A server's configuration with a certificate for `name` that is good from and until so many days from now.
    pub(crate) fn server(&self, name: &str, from: i64, until: i64) -> ServerConfig {
        self.server_with(name, from, until, rustls::DEFAULT_VERSIONS)
    }

    pub(crate) fn server_with(
        &self,
        name: &str,
        from: i64,
        until: i64,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        (params.not_before, params.not_after) = (epoch + since_1970(from), epoch + since_1970(until));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// To so many days from now, and an hour.
fn since_1970(days: i64) -> Duration {
    let now = witness::clock::now().0.div_euclid(1000);
    Duration::from_secs(u64::try_from(now + days * 86_400 + 3600).unwrap())
}
