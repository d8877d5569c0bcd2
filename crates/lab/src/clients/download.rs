//! One download.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ClientsConfig;
use crate::node::SHED_HEADER;
use crate::tls::Authority;

/// What is fetched, and how.
pub(super) struct Fetch {
    connector: TlsConnector,
    name: ServerName<'static>,
    port: u16,
    request: String,
    bytes: usize,
}

impl Fetch {
    pub(super) fn new(config: &ClientsConfig, authority: &Authority) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (host, bytes) = (&config.host, config.bytes);
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            name: ServerName::try_from(host.clone()).map_err(io::Error::other)?,
            port: config.port,
            request: format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            bytes,
        })
    }

    /// Fetches all of it, and returns how much that is: less than was asked for only where the node says that it gives less.
    /// What is short, or no good answer, is an error.
    pub(super) async fn from(&self, address: IpAddr) -> io::Result<usize> {
        let stream = TcpStream::connect(SocketAddr::new(address, self.port)).await?;
        stream.set_nodelay(true)?;
        let mut tls = self.connector.connect(self.name.clone(), stream).await?;
        tls.write_all(self.request.as_bytes()).await?;
        tls.flush().await?;
        let mut answer = Vec::with_capacity(self.bytes + 512);
        tls.read_to_end(&mut answer).await?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let head = String::from_utf8_lossy(&answer[..end.unwrap_or(0)]);
        let percent = head.lines().find_map(|line| line.strip_prefix(SHED_HEADER)?.strip_prefix(": ")?.parse().ok());
        let (body, whole) = (end.map(|at| answer.len() - at - 4), self.bytes * percent.unwrap_or(100) / 100);
        if head.starts_with("HTTP/1.1 200 ") && body == Some(whole) {
            return Ok(whole);
        }
        Err(io::Error::other(format!("{body:?} bytes of body, where {whole} were to be had")))
    }
}
