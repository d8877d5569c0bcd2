//! Listeners and connections.

mod answer;
mod body;
mod control;
mod handler;
mod tls;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use body::Outgoing;
pub use control::Control;
pub use handler::Handler;
use http::{Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
pub use tls::{Certificates, TlsError, client_config, server_config};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use wire::{Lane, Wire};

/// To send a request's head, and for a TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is under way when the end is near may take so long.
const DRAIN: Duration = Duration::from_secs(30);
/// Of a request's head.
const LARGEST_HEAD: usize = 64 << 10;

/// A listener of the public kind.
#[derive(Debug)]
pub struct Listener {
    /// Bound already.
    pub tcp: TcpListener,
    /// With TLS, or plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Serves on `listener` until `end` is true, and then what is under way for a while.
pub async fn serve(listener: Listener, handler: Arc<Handler>, mut end: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD);
    // What stands in for a file must reach the wire as it is, and never be copied.
    builder.http1().writev(true);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(64 << 10).keep_alive_interval(PATIENCE * 3);
    builder.http2().max_concurrent_streams(128).max_send_buf_size(512 << 10);
    let builder = Arc::new(builder);
    loop {
        let accepted = tokio::select! {
            accepted = listener.tcp.accept() => accepted,
            _ = end.wait_for(|end| *end) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: some come back when clients leave.
                tracing::debug!(%error, "failed to accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (builder, handler, tls) = (builder.clone(), handler.clone(), listener.tls.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _counted = handler.load.connection();
            match tls {
                None => connection(&builder, Wire::plain(stream), handler, peer, false, watcher).await,
                Some(config) => {
                    let handshake = TlsAcceptor::from(config).accept(stream);
                    if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, handshake).await {
                        connection(&builder, Wire::secure(stream), handler, peer, true, watcher).await;
                    }
                }
            }
        });
    }
    drop(listener);
    // Clients that never read would keep it for ever.
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn connection(
    builder: &auto::Builder<TokioExecutor>,
    wire: Wire,
    handler: Arc<Handler>,
    peer: SocketAddr,
    secure: bool,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let client = plain_address(peer.ip());
    let lane = wire.lane();
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, lane) = (handler.clone(), lane.clone());
        async move {
            let version = request.version();
            // The streams of HTTP/2 share a connection, and their bytes are cut into frames.
            let lane: Option<Lane> = (version <= http::Version::HTTP_11).then_some(lane);
            let mut response = handler.handle(request, client, secure, lane).await;
            if version == http::Version::HTTP_2 {
                // Of HTTP/1.1 only.
                response.headers_mut().remove(header::CONNECTION);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(wire), service);
    // How a client's connection ends is the client's matter.
    let _ = watcher.watch(connection.into_owned()).await;
}

fn plain_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Serves the health listener on a thread of its own, which nothing else can keep busy, until `end` is true. Once a
/// second it notes how much was sent.
///
/// # Errors
///
/// When the thread or its runtime cannot be made.
pub fn serve_health(
    listener: std::net::TcpListener,
    control: Arc<Control>,
    mut end: watch::Receiver<bool>,
) -> io::Result<std::thread::JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("health".into()).spawn(move || {
        runtime.block_on(async move {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "failed to serve the health document"),
            };
            let mut second = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    _ = second.tick() => control.load.sample(control.engine.failures()),
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => { tokio::spawn(health_connection(stream, control.clone())); }
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    },
                    _ = end.wait_for(|end| *end) => return,
                }
            }
        });
    })
}

async fn health_connection(stream: TcpStream, control: Arc<Control>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let control = control.clone();
        async move { Ok::<_, Infallible>(control.private(request).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // How a client's connection ends is the client's matter.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
