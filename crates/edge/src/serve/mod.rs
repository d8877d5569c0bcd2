//! Listeners and connections.

mod answer;
mod body;
mod connections;
mod control;
mod handler;
mod proxied;
mod relayed;
mod tls;
mod upload;
mod watch;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use body::Attendance;
pub use body::Outgoing;
pub use connections::{Connections, Counts};
pub use control::Control;
pub use handler::Handler;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
pub use tls::{Certificates, TlsError, client_config, client_config_with, server_config};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch as signal;
use tokio_rustls::TlsAcceptor;
pub(crate) use upload::Progress;
use watch::{Gone, Patience, Watch, Watched};
use wire::{Lane, Wire};

use crate::access_log::AccessLog;
use crate::config::{Limits, Network};

/// To send a request's head to the health listener.
const PATIENCE: Duration = Duration::from_secs(10);
/// After which HTTP/2 is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// Fields that the library has room for without asking for memory.
const USUAL_FIELDS: usize = 100;

/// A listener of the public kind.
#[derive(Debug)]
pub struct Listener {
    /// Bound already.
    pub tcp: TcpListener,
    /// With TLS, or plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// How connections are dealt with, the same for all listeners.
#[derive(Debug)]
pub struct Manners {
    /// How many there are.
    pub connections: Arc<Connections>,
    /// Those whose connections begin with a header of the PROXY protocol.
    pub proxies: Vec<Network>,
    /// What is under way at the end may take so long.
    pub drain: Duration,
    /// What clients may do.
    pub limits: Limits,
    /// Where answers are written down.
    pub access_log: Option<AccessLog>,
}

/// Serves on `listener` until `end` is true, and then what is under way for a while.
pub async fn serve(listener: Listener, handler: Arc<Handler>, manners: Arc<Manners>, mut end: signal::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let limits = &manners.limits;
    let (size, count) = (limits.header_size as usize, limits.header_count as usize);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // How long a head may take is watched by us: there the time between two of them is another.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(size);
    // What stands in for a file must reach the wire as it is, and never be copied.
    builder.http1().writev(true);
    if count != USUAL_FIELDS {
        builder.http1().max_headers(count);
    }
    builder.http2().timer(TokioTimer::new()).max_header_list_size(limits.header_size).keep_alive_interval(PING);
    builder.http2().max_concurrent_streams(128).max_send_buf_size(512 << 10);
    let serving = Serving { builder: Arc::new(builder), handler, manners: manners.clone(), tls: listener.tls };
    loop {
        let accepted = tokio::select! {
            accepted = listener.tcp.accept() => accepted,
            _ = end.wait_for(|end| *end) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: some come back when clients leave.
                manners.connections.not_accepted(&error);
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        manners.connections.accepted();
        // While there is none, further ones wait in the kernel's queue.
        let room = tokio::select! {
            room = manners.connections.room() => room,
            _ = end.wait_for(|end| *end) => break,
        };
        let (serving, watcher) = (serving.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _room = room;
            serving.stream(stream, plain_address(peer.ip()), watcher).await;
        });
    }
    drop(listener.tcp);
    // Clients that never read would keep it for ever.
    let _ = tokio::time::timeout(manners.drain, graceful.shutdown()).await;
}

/// What a connection needs.
#[derive(Clone)]
struct Serving {
    builder: Arc<auto::Builder<TokioExecutor>>,
    handler: Arc<Handler>,
    manners: Arc<Manners>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Serving {
    async fn stream(self, mut stream: TcpStream, peer: IpAddr, watcher: Watcher) {
        let _ = stream.set_nodelay(true);
        let _counted = self.handler.load.connection();
        let connections = &self.manners.connections;
        let patience = self.manners.limits.header_timeout;
        let mut client = peer;
        if self.manners.proxies.iter().any(|network| network.contains(peer)) {
            match tokio::time::timeout(patience, proxied::read_header(&mut stream)).await {
                Ok(Ok(address)) => client = address.map_or(peer, |address| plain_address(address.ip())),
                Ok(Err(error)) => {
                    tracing::debug!(%error, %peer, "a connection is refused");
                    return connections.refuse();
                }
                Err(_) => return connections.leave(Gone::SlowHead),
            }
        }
        let is_sibling = self.handler.siblings.contains(&client);
        let _of_client = match connections.of(client) {
            Some(guard) => Some(guard),
            None if is_sibling => None,
            None => {
                connections.refuse();
                // A handshake would cost more than the client is owed.
                if self.tls.is_none() {
                    let _ = tokio::time::timeout(patience, connections::turn_away(stream)).await;
                }
                return;
            }
        };
        match self.tls.clone() {
            None => self.connection(Wire::plain(stream), client, false, watcher).await,
            Some(config) => {
                let handshake = TlsAcceptor::from(config).accept(stream);
                match tokio::time::timeout(patience, handshake).await {
                    Ok(Ok(stream)) => self.connection(Wire::secure(stream), client, true, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, %client, "a handshake failed"),
                    Err(_) => connections.leave(Gone::SlowHead),
                }
            }
        }
    }

    async fn connection(self, wire: Wire, client: IpAddr, secure: bool, watcher: Watcher) {
        let Self { builder, handler, manners, .. } = self;
        let limits = &manners.limits;
        let watch = Watch::new(Patience {
            head: limits.header_timeout,
            idle: limits.idle_timeout,
            pace: limits.min_pace.map(|pace| (pace / 8).max(1)),
            window: limits.pace_window,
        });
        let lane = wire.lane();
        let stream = Watched { stream: wire, watch: watch.clone() };
        let visitor =
            Arc::new(Visitor { handler, manners: manners.clone(), watch: watch.clone(), lane, client, secure });
        let service = service_fn(move |request| {
            let visitor = visitor.clone();
            async move { Ok::<_, Infallible>(visitor.answer(request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // How a client's connection ends is the client's matter.
            _ = watcher.watch(connection.into_owned()) => {}
            gone = watch.until_gone() => {
                tracing::debug!(?gone, %client, "a client is left");
                manners.connections.leave(gone);
            }
        }
    }
}

/// Whoever is at the other end of a connection.
struct Visitor {
    handler: Arc<Handler>,
    manners: Arc<Manners>,
    watch: Arc<Watch>,
    lane: Lane,
    client: IpAddr,
    secure: bool,
}

impl Visitor {
    async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let is_http2 = request.version() == http::Version::HTTP_2;
        let active = self.watch.request(is_http2);
        let log = self.manners.access_log.as_ref();
        let mut entry = log.map(|log| log.entry(&request, self.client, self.secure));
        let mut response = if request.headers().len() > self.manners.limits.header_count as usize {
            answer::text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many fields")
        } else {
            // The streams of HTTP/2 share a connection, and their bytes are cut into frames.
            let lane = (!is_http2).then(|| self.lane.clone());
            self.handler.handle(request, self.client, self.secure, &self.watch, lane).await
        };
        if is_http2 {
            // Of HTTP/1.1 only.
            response.headers_mut().remove(header::CONNECTION);
        } else if self.manners.connections.is_tight() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(entry) = &mut entry {
            entry.set_answer(&response);
        }
        let waits = self.watch.body();
        response.map(|body| body.attended(Attendance { _active: active, waits, entry, given: 0 }))
    }
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
    mut end: signal::Receiver<bool>,
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
