//! One TLS configuration for every node, and what its errors mean.
//!
//! Sessions are never resumed: a resumed TLS 1.3 session shows no certificate, so a certificate that has run out would go
//! unnoticed for as long as the server's tickets last.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, NamedGroup, PeerIncompatible, ProtocolVersion, RootCertStore,
    SupportedProtocolVersion,
};

use super::phases;
use super::setup::ProbeSetupError;
use crate::model::{Fault, HttpsProbe, Outcome, OwnFault, Time, TlsFault};

/// The configuration that all nodes' clients share.
pub(super) fn config(settings: &HttpsProbe) -> Result<Arc<ClientConfig>, ProbeSetupError> {
    let versions: &[_] = if settings.tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
    with_roots(roots(settings.ca_file.as_deref())?, versions).map(Arc::new)
}

/// Who is trusted: those in `ca_file`, else those that the system trusts.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, ProbeSetupError> {
    match ca_file {
        Some(path) => roots_in(path),
        None => system_roots(),
    }
}

/// A configuration that trusts `roots`.
pub(super) fn with_roots(
    roots: RootCertStore,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, ProbeSetupError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)
        .map_err(ProbeSetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What a TLS error says, and the certificate's remaining days where it tells them.
pub(super) fn fault(error: &rustls::Error, now: Time) -> (Outcome, Option<i32>) {
    let mut days = None;
    let fault = match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired => TlsFault::Expired,
            CertificateError::ExpiredContext { not_after, .. } => {
                days = i64::try_from(not_after.as_secs()).ok().map(|end| days_left(end, now));
                TlsFault::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYetValid,
            CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFault::WrongName,
            _ => TlsFault::BadCertificate,
        },
        rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertRevocationList(_) => {
            TlsFault::BadCertificate
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => TlsFault::Version,
        rustls::Error::FailedToGetCurrentTime | rustls::Error::FailedToGetRandomBytes => {
            return (Outcome::Inconclusive(OwnFault::Resources), None);
        }
        _ => TlsFault::Protocol,
    };
    (Outcome::Failed(Fault::Tls(fault)), days)
}

/// Whole days from `now` until the certificate `der` ends; none if it cannot be read.
pub(super) fn certificate_days(der: &[u8], now: Time) -> Option<i32> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(days_left(certificate.validity().not_after.timestamp(), now))
}

/// Whole days from `now` until `end`, seconds since 1970; negative when that has passed.
fn days_left(end: i64, now: Time) -> i32 {
    let days = end.saturating_sub(now.0.div_euclid(1000)).div_euclid(24 * 60 * 60);
    i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX })
}

/// AES-128 before AES-256, whose SHA-384 costs 8 % of a handshake more where the CPU has no instructions for it, and
/// classical key exchange only: a probe's secrets are not worth harvesting.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![&MarkingX25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// X25519 that notes when it is first used: the client's key share is made when the TCP connection stands and before
/// the first byte goes out, which is the moment that `connect_us` means and that reqwest has no other way to tell.
#[derive(Debug)]
struct MarkingX25519;

impl SupportedKxGroup for MarkingX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        phases::connected();
        kx_group::X25519.start()
    }

    fn start_and_complete(&self, peer_pub_key: &[u8]) -> Result<CompletedKeyExchange, rustls::Error> {
        kx_group::X25519.start_and_complete(peer_pub_key)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        kx_group::X25519.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        kx_group::X25519.name()
    }

    fn fips(&self) -> bool {
        kx_group::X25519.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        kx_group::X25519.usable_for_version(version)
    }
}

fn roots_in(path: &Path) -> Result<RootCertStore, ProbeSetupError> {
    let fault = |why: String| ProbeSetupError::CaFile { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))? {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, ProbeSetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems ship roots that no strict parser accepts; the others still stand.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Err(ProbeSetupError::NoRoots(why));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_rounded_down() {
        const DAY: i64 = 86_400;
        let check = |end: i64, now_ms: i64, expected: i32| assert_eq!(days_left(end, Time(now_ms)), expected);
        check(10 * DAY, 0, 10);
        check(10 * DAY - 1, 0, 9);
        check(0, 0, 0);
        check(0, 1000, -1);
        check(0, 2 * DAY * 1000, -2);
        check(i64::MAX, 0, i32::MAX);
        check(i64::MIN, 0, i32::MIN);
    }

    #[test]
    fn aes_128_and_x25519_are_offered_first() {
        let provider = provider();
        assert_eq!(provider.cipher_suites[0].suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(provider.kx_groups[0].name(), NamedGroup::X25519);
    }

    #[test]
    fn tls_errors_are_told_apart() {
        let check = |error: rustls::Error, expected: TlsFault| {
            assert_eq!(fault(&error, Time(0)).0, Outcome::Failed(Fault::Tls(expected)), "{error:?}");
        };
        check(CertificateError::Expired.into(), TlsFault::Expired);
        check(CertificateError::NotValidYet.into(), TlsFault::NotYetValid);
        check(CertificateError::UnknownIssuer.into(), TlsFault::UnknownIssuer);
        check(CertificateError::NotValidForName.into(), TlsFault::WrongName);
        check(CertificateError::Revoked.into(), TlsFault::BadCertificate);
        check(CertificateError::BadSignature.into(), TlsFault::BadCertificate);
        check(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion), TlsFault::Version);
        check(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into(), TlsFault::Version);
        check(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), TlsFault::Protocol);
        check(rustls::Error::DecryptError, TlsFault::Protocol);
        assert_eq!(
            fault(&rustls::Error::FailedToGetRandomBytes, Time(0)).0,
            Outcome::Inconclusive(OwnFault::Resources)
        );
    }

    proptest::proptest! {
        #[test]
        fn rubbish_is_no_certificate(der in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            proptest::prop_assert_eq!(certificate_days(&der, Time(0)), None);
        }
    }
}
