//! Connections to sources, kept and used again.

use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use tower_service::Service;

use crate::source::Upload;

/// Speaks to servers.
pub type Client = legacy::Client<HttpsConnector<To>, Upload>;

/// Unused ones are closed after so long a time.
const UNUSED: Duration = Duration::from_secs(30);
/// After which a server that speaks HTTP/2 is asked whether it is still there.
const PING: Duration = Duration::from_secs(10);
/// What may be on its way on one stream of HTTP/2, and on all of a connection: enough for a gigabit at 30 ms, and for
/// four such.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Leads to one server whatever the request names, or to the one that it names.
#[derive(Clone, Debug)]
pub struct To {
    tcp: HttpConnector,
    server: Option<Uri>,
}

impl Service<Uri> for To {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, named: Uri) -> Self::Future {
        self.tcp.call(self.server.clone().unwrap_or(named))
    }
}

/// For servers that speak HTTP/1.1.
#[must_use]
pub fn http1(tls: &rustls::ClientConfig, timeout: Duration) -> Client {
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(To { tcp: tcp(timeout), server: None });
    builder().build(https)
}

/// For one server, which may speak HTTP/2. There a request names its site in its URL, not the server.
#[must_use]
pub fn http2(tls: &rustls::ClientConfig, timeout: Duration, server: &Uri) -> Client {
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    // Whoever answers must be the server, whatever site it is asked for.
    let https = match ServerName::try_from(host) {
        Ok(name) => https.with_server_name_resolver(FixedServerNameResolver::new(name)),
        Err(_) => https,
    };
    let https = https.enable_all_versions().wrap_connector(To { tcp: tcp(timeout), server: Some(server.clone()) });
    builder()
        .timer(TokioTimer::new())
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING)
        .build(https)
}

fn tcp(timeout: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeout));
    tcp
}

fn builder() -> legacy::Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .pool_idle_timeout(UNUSED)
        .pool_max_idle_per_host(32)
        .pool_timer(TokioTimer::new())
        // A slow client that holds on to a few bytes holds on to the whole buffer they came in.
        .http1_max_buf_size(64 << 10);
    builder
}
