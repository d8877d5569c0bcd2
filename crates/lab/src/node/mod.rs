//! A toy HTTPS node that can be broken, in one of many ways, while it runs.
//!
//! It answers `/.witness/health` with the health document of a witness-edge, `/bytes/100000` with a body of that length
//! and everything else with a small text. `PUT /.witness/shed` has it give less of a body, as an edge gives less speed.
//! It is no web server: one request is read at a time, other bodies of requests are passed over, HTTP/2 is not spoken.

mod http;
mod mode;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::server::ServerSessionMemoryCache;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub use self::mode::{Answer, BadMode, Mode, SshMode, Stage};
use crate::tls::{Flaw, Identity, Leaf, TlsError};
use crate::worker::Worker;

/// The header by which a node that sheds load says how many percent of a body it gives.
pub const SHED_HEADER: &str = "X-Shed-Percent";

/// What clients get at each step of shedding, percent.
const SHED_STEPS: [usize; 4] = [100, 80, 65, 50];

/// How many of the last requests are remembered.
const REMEMBERED: usize = 256;

/// As long as the system permits: a burst of ten thousand connections should not be lost in the queue.
const BACKLOG: u32 = 4096;

/// What a node is made of.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name, in the health document and the small text.
    pub name: String,
    /// Where it serves HTTPS; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Its certificates.
    pub identity: Identity,
    /// Where something with an SSH banner listens, if anywhere; port 0 picks a free one.
    pub ssh: Option<SocketAddr>,
    /// With a token, only those who send it get the whole health document, as on an edge's public listeners.
    pub token: Option<String>,
    /// The network namespace to live in, as a path such as `/run/netns/NAME`.
    pub netns: Option<PathBuf>,
}

impl NodeConfig {
    /// A node with HTTPS only, which tells its health to anyone.
    pub fn new(name: &str, listen: SocketAddr, identity: impl Into<Identity>) -> Self {
        Self { name: name.to_owned(), listen, identity: identity.into(), ssh: None, token: None, netns: None }
    }
}

/// The health document of an edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the document's, which the contract describes")]
pub struct Health {
    pub status: String,
    pub node: String,
    pub version: String,
    pub uptime_s: u64,
    pub egress_bps: u64,
    pub capacity_bps: u64,
    pub active_connections: u64,
    pub shed_step: u8,
    pub sources: BTreeMap<String, String>,
    pub cache: CacheHealth,
}

/// The part of [`Health`] about the cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct CacheHealth {
    pub hit_ratio_1m: f64,
    pub fill_errors_1m: u64,
}

impl Health {
    /// Of a node that has little to do.
    #[must_use]
    pub fn of(node: &str) -> Self {
        Self {
            status: "ok".to_owned(),
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: 86_400,
            egress_bps: 120_000_000,
            capacity_bps: 1_000_000_000,
            active_connections: 210,
            shed_step: 0,
            sources: BTreeMap::from([("origin".to_owned(), "up".to_owned())]),
            cache: CacheHealth { hit_ratio_1m: 0.991, fill_errors_1m: 0 },
        }
    }
}

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections accepted on the HTTPS port.
    pub connections: u64,
    /// TLS handshakes done, resumed ones included.
    pub handshakes: u64,
    /// Handshakes that resumed an earlier session, and so showed no certificate.
    pub resumed: u64,
    /// Handshakes that failed, most often because the client did not like the certificate.
    pub failed_handshakes: u64,
    /// Connections accepted on the SSH port.
    pub ssh_connections: u64,
    /// The last requests, oldest first.
    pub requests: VecDeque<Request>,
}

/// One request as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET, say.
    pub method: String,
    /// The path with the query.
    pub target: String,
    /// Names in lower case; the last of several headers of one name.
    pub headers: BTreeMap<String, String>,
    /// The name the client asked for in TLS.
    pub sni: Option<String>,
    /// As `TLSv1_3`.
    pub tls_version: String,
    /// Its beginning.
    pub body: Vec<u8>,
}

/// A running node; dropping it frees its ports and ends its connections.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    ssh_address: Option<SocketAddr>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    worker: Worker,
}

#[derive(Debug)]
struct Shared {
    name: String,
    token: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    ssh_mode: SshMode,
    health: Health,
    /// The step of shedding load, and until when.
    shed: Option<(u8, Instant)>,
    seen: Seen,
}

impl State {
    /// The step that it was told to keep, while that holds.
    fn ordered_step(&self) -> Option<u8> {
        self.shed.filter(|(_, until)| Instant::now() < *until).map(|(step, _)| step)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the handle asks of the node's thread.
#[derive(Debug)]
enum Order {
    Https(Mode, SyncSender<io::Result<()>>),
    Ssh(SshMode, SyncSender<io::Result<()>>),
}

impl Node {
    /// Starts a healthy node.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound, the namespace cannot be entered or the certificates cannot be served with.
    pub fn start(mut config: NodeConfig) -> io::Result<Self> {
        if config.netns.is_none() {
            for address in [Some(&mut config.listen), config.ssh.as_mut()].into_iter().flatten() {
                if address.port() == 0 {
                    address.set_port(crate::ports::free_on(address.ip()));
                }
            }
        }
        let acceptors = Acceptors::new(&config.identity).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            token: config.token,
            state: Mutex::new(State {
                mode: Mode::Healthy,
                ssh_mode: SshMode::Banner,
                health: Health::of(&config.name),
                shed: None,
                seen: Seen::default(),
            }),
            name: config.name,
        });
        let (orders, inbox) = mpsc::unbounded_channel();
        let serving = Arc::clone(&shared);
        let (listen, ssh) = (config.listen, config.ssh);
        let (worker, (address, ssh_address)) = Worker::start("lab-node", config.netns, move || async move {
            let https = Door::open(listen)?;
            let ssh = ssh.map(Door::open).transpose()?;
            let addresses = (https.address, ssh.as_ref().map(|door| door.address));
            Ok((addresses, serve(https, ssh, inbox, Arc::new(acceptors), serving)))
        })?;
        Ok(Self { address, ssh_address, shared, orders, worker })
    }

    /// Where it serves HTTPS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the SSH banner is.
    #[must_use]
    pub fn ssh_address(&self) -> Option<SocketAddr> {
        self.ssh_address
    }

    /// Behaves so from now on; new connections do when this returns. [`Mode::Refuse`] ends the open ones, too.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened again, or there is no certificate with the flaw asked for.
    pub fn set(&self, mode: Mode) -> io::Result<()> {
        self.order(|done| Order::Https(mode, done))
    }

    /// The same for the SSH port.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened again.
    pub fn set_ssh(&self, mode: SshMode) -> io::Result<()> {
        self.order(|done| Order::Ssh(mode, done))
    }

    /// Both ports refuse, as when the whole machine's services are gone.
    ///
    /// # Errors
    ///
    /// None that is known.
    pub fn power_off(&self) -> io::Result<()> {
        self.set(Mode::Refuse)?;
        self.set_ssh(SshMode::Refuse)
    }

    /// Both ports serve again.
    ///
    /// # Errors
    ///
    /// When a port cannot be opened again.
    pub fn power_on(&self) -> io::Result<()> {
        self.set(Mode::Healthy)?;
        self.set_ssh(SshMode::Banner)
    }

    /// How it behaves now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.state().mode.clone()
    }

    /// The health document from now on.
    pub fn set_health(&self, health: Health) {
        self.shared.state().health = health;
    }

    /// The health document.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.state().health.clone()
    }

    /// What has come in so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.state().seen.clone()
    }

    /// Stops; the ports are free when this returns.
    pub async fn stop(self) {
        self.worker.stop().await;
    }

    fn order(&self, order: impl FnOnce(SyncSender<io::Result<()>>) -> Order) -> io::Result<()> {
        let (done, told) = std::sync::mpsc::sync_channel(1);
        let gone = |_| io::Error::other("the node's thread has ended");
        self.orders.send(order(done)).map_err(|_| gone(()))?;
        told.recv().map_err(|_| gone(()))?
    }
}

/// One configuration of TLS per certificate and version, all with one memory of sessions: a client that resumes a
/// session never sees that the certificate has changed since, as with any real server.
struct Acceptors {
    good: TlsAcceptor,
    tls12: TlsAcceptor,
    flawed: BTreeMap<Flaw, TlsAcceptor>,
}

impl Acceptors {
    fn new(identity: &Identity) -> Result<Self, TlsError> {
        let sessions = ServerSessionMemoryCache::new(1024);
        let acceptor = |leaf: &Leaf, versions: &[&'static rustls::SupportedProtocolVersion]| {
            leaf.server_config_with(versions, sessions.clone()).map(|config| TlsAcceptor::from(Arc::new(config)))
        };
        let mut flawed = BTreeMap::new();
        for flaw in [Flaw::Expired, Flaw::NotYet, Flaw::WrongName, Flaw::Untrusted] {
            if let Some(leaf) = identity.flawed(flaw) {
                flawed.insert(flaw, acceptor(leaf, rustls::ALL_VERSIONS)?);
            }
        }
        Ok(Self {
            good: acceptor(&identity.good, rustls::ALL_VERSIONS)?,
            tls12: acceptor(&identity.good, &[&rustls::version::TLS12])?,
            flawed,
        })
    }

    fn choose(&self, mode: &Mode) -> Option<&TlsAcceptor> {
        match mode {
            Mode::Certificate(flaw) => self.flawed.get(flaw),
            Mode::Tls12 => Some(&self.tls12),
            _ => Some(&self.good),
        }
    }
}

/// A port that can be closed and opened again without anybody else's getting it in between.
struct Door {
    address: SocketAddr,
    /// Bound, never listening: it keeps the port ours, and the kernel refuses connections to it.
    _reservation: TcpSocket,
    listener: Option<TcpListener>,
}

impl Door {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let reservation = bind(address)?;
        let address = reservation.local_addr()?;
        Ok(Self { address, _reservation: reservation, listener: Some(bind(address)?.listen(BACKLOG)?) })
    }

    fn set_open(&mut self, open: bool) -> io::Result<()> {
        if !open {
            self.listener = None;
        } else if self.listener.is_none() {
            self.listener = Some(bind(self.address)?.listen(BACKLOG)?);
        }
        Ok(())
    }

    async fn accept(&self) -> TcpStream {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                // Out of descriptors, most likely: give those who hold them time.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it, connections of the closed listener that linger in the kernel keep the port for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address).map_err(|error| io::Error::new(error.kind(), format!("failed to bind {address}: {error}")))?;
    Ok(socket)
}

async fn serve(
    mut https: Door,
    mut ssh: Option<Door>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    acceptors: Arc<Acceptors>,
    shared: Arc<Shared>,
) {
    let mut https_connections = JoinSet::new();
    let mut ssh_connections = JoinSet::new();
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                None => return,
                Some(Order::Https(mode, done)) => {
                    let changed = if acceptors.choose(&mode).is_none() {
                        Err(io::Error::other(format!("this node has no certificate for the mode {mode}")))
                    } else {
                        https.set_open(mode != Mode::Refuse)
                    };
                    if changed.is_ok() {
                        if mode == Mode::Refuse {
                            https_connections.abort_all();
                            while https_connections.join_next().await.is_some() {}
                        }
                        shared.state().mode = mode;
                    }
                    let _ = done.send(changed);
                }
                Some(Order::Ssh(mode, done)) => {
                    let changed = ssh.as_mut().map_or(Ok(()), |door| door.set_open(mode != SshMode::Refuse));
                    if mode == SshMode::Refuse {
                        ssh_connections.abort_all();
                        while ssh_connections.join_next().await.is_some() {}
                    }
                    shared.state().ssh_mode = mode;
                    let _ = done.send(changed);
                }
            },
            stream = https.accept() => {
                shared.state().seen.connections += 1;
                https_connections.spawn(http::converse(stream, Arc::clone(&acceptors), Arc::clone(&shared)));
            }
            stream = async { match &ssh { Some(door) => door.accept().await, None => std::future::pending().await } } => {
                let mode = {
                    let mut state = shared.state();
                    state.seen.ssh_connections += 1;
                    state.ssh_mode
                };
                ssh_connections.spawn(pretend_ssh(stream, mode));
            }
            // Finished ones are taken out, or they would gather.
            Some(_) = https_connections.join_next() => {}
            Some(_) = ssh_connections.join_next() => {}
        }
    }
}

async fn pretend_ssh(mut stream: TcpStream, mode: SshMode) {
    if mode == SshMode::Banner {
        let _ = stream.write_all(b"SSH-2.0-witness_lab\r\n").await;
    }
    until_closed(&mut stream).await;
}

/// Says nothing until the other side closes: a hung server.
async fn until_closed<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) {
    let mut ignored = [0; 4096];
    while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests;
