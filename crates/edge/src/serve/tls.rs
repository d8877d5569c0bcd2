//! Certificates: ours for clients, and whom to trust of sources.

use std::path::Path;
use std::sync::{Arc, RwLock};

use rustls::client::{ResolvesClientCert, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};

use crate::config::Certificate;

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {message}")]
pub struct TlsError {
    file: String,
    message: String,
}

fn error(path: &Path, message: impl std::fmt::Display) -> TlsError {
    TlsError { file: path.display().to_string(), message: message.to_string() }
}

/// Our certificates. The one that is for the name a client asks for is shown, else the first.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<Certificate>,
    keys: RwLock<Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or its key is another's.
    pub fn read(files: &[Certificate]) -> Result<Self, TlsError> {
        let keys = files.iter().map(read_pair).collect::<Result<_, _>>()?;
        Ok(Self { files: files.to_vec(), keys: RwLock::new(keys) })
    }

    /// Reads them again, for connections from now on. Those that there are stay.
    ///
    /// # Errors
    ///
    /// As [`Certificates::read`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let keys = self.files.iter().map(read_pair).collect::<Result<_, _>>()?;
        *self.keys.write().expect("no thread panics while it holds this") = keys;
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys.read().expect("no thread panics while it holds this");
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_for = |key: &&Arc<CertifiedKey>| {
            name.as_ref().is_some_and(|name| {
                ParsedCertificate::try_from(&key.cert[0]).is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
            })
        };
        keys.iter().find(is_for).or(keys.first()).cloned()
    }
}

/// Shown to sources, whoever they trust: it is the one that there is.
impl ResolvesClientCert for Certificates {
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys.read().expect("no thread panics while it holds this");
        keys.first().filter(|key| key.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn read_pair(files: &Certificate) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|reason| error(&files.chain, reason))?;
    if chain.is_empty() {
        return Err(error(&files.chain, "there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|reason| error(&files.key, reason))?;
    let provider = aws_lc_rs::default_provider();
    let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|reason| error(&files.key, reason))?;
    Ok(Arc::new(pair))
}

/// For listeners: HTTP/2 and HTTP/1.1.
///
/// # Panics
///
/// Never: the versions are the provider's own.
#[must_use]
pub fn server_config(certificates: Arc<Certificates>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions")
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_half_rtt_data = false;
    Arc::new(config)
}

/// For sources: trusts the authorities in `ca_file` alone, or without one those of the system.
///
/// # Errors
///
/// When the file cannot be read.
///
/// # Panics
///
/// Never: the versions are the provider's own.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    client_config_with(ca_file, None)
}

/// The same, showing a certificate to those who ask for one.
///
/// # Errors
///
/// As [`client_config`].
///
/// # Panics
///
/// Never: the versions are the provider's own.
pub fn client_config_with(
    ca_file: Option<&Path>,
    identity: Option<Arc<Certificates>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let authorities = CertificateDer::pem_file_iter(path).map_err(|reason| error(path, reason))?;
            for authority in authorities {
                let authority = authority.map_err(|reason| error(path, reason))?;
                roots.add(authority).map_err(|reason| error(path, reason))?;
            }
            if roots.is_empty() {
                return Err(error(path, "there is no certificate in it"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions")
        .with_root_certificates(roots);
    let config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}
