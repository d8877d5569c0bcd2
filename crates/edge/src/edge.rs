//! The whole edge, put together from its configuration.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::Uri;
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access_log::AccessLog;
use crate::config::{BucketKey, Config, Position, SourceKind};
use crate::fill::{Engine, EngineOptions};
use crate::load::{Limiter, Load};
use crate::serve::{self, Certificates, Connections, Control, Handler, Listener, Manners, TlsError};
use crate::source::{Bucket, SourceOptions, Sources};
use crate::store::{Options, Store};

/// A stream that is silent for so long while somebody waits for it is replaced.
const STALL: Duration = Duration::from_secs(5);
/// A sibling is near; one that is far or busy is no help.
const SIBLING_CONNECT: Duration = Duration::from_secs(2);
const SIBLING_READ: Duration = Duration::from_secs(15);
/// How often old things are dropped, certificates read again, and the index is written if that is worth it.
const TEND: Duration = Duration::from_secs(60);

/// Why an edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken, or not this machine's.
    #[error("failed to listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The cache's folder cannot be used.
    #[error("failed to open the cache {folder}: {error}")]
    Cache {
        /// Which.
        folder: String,
        /// Why.
        error: io::Error,
    },
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A source would be this edge.
    #[error("{}:{}: sources: {url} of {name:?} is this edge itself; write where the files come from", at.line, at.column)]
    Ourselves {
        /// Where it stands in the file.
        at: Position,
        /// The source.
        name: String,
        /// Its URL.
        url: String,
    },
    /// There is none.
    #[error("sources: there is none")]
    NoSource,
    /// The access log cannot be opened.
    #[error("failed to open the access log: {0}")]
    AccessLog(io::Error),
    /// The thread of the health listener.
    #[error("failed to start the health listener: {0}")]
    Health(io::Error),
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    health: SocketAddr,
    engine: Arc<Engine>,
    load: Arc<Load>,
    /// Certificates that are read again.
    pairs: Vec<Arc<Certificates>>,
    access_log: Option<(AccessLog, std::thread::JoinHandle<()>)>,
    end: watch::Sender<bool>,
    end_health: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    tending: JoinHandle<()>,
    /// Looks after the siblings.
    watching: JoinHandle<()>,
    health_thread: std::thread::JoinHandle<()>,
}

impl Edge {
    /// Starts it. Ports of 0 become free ones.
    ///
    /// # Errors
    ///
    /// When it cannot do what its configuration says.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let (sources, mut pairs) = sources(config)?;
        let sources = Arc::new(sources);
        let certificates = match config.listen.certificates.as_slice() {
            [] => None,
            files => Some(Arc::new(Certificates::read(files)?)),
        };
        pairs.extend(certificates.clone());
        let log = config.access_log.as_ref().map(AccessLog::start).transpose();
        let (access_log, log_thread) = log.map_err(StartError::AccessLog)?.unzip();
        let store = Arc::new(open_store(config)?);
        let options =
            EngineOptions { rules: config.cache.rules.clone(), slice_size: config.cache.slice_size, stall: STALL };
        let engine = Engine::new(store.clone(), sources, options);
        let limits = &config.limits;
        let room = limits.connections.map_or_else(half_of_descriptors, |room| room as usize);
        let connections = Connections::new(room, limits.connections_per_client);
        let load = Arc::new(Load::new(config.node.capacity).with_room(room));
        let limiter = Arc::new(Limiter::new(limits.rate_per_client, &limits.shed_rates, limits.rate_burst));
        let control = Arc::new(Control {
            node: config.node.name.clone(),
            fleet: config.node.fleet.clone(),
            token: config.node.token.clone(),
            load: load.clone(),
            engine: engine.clone(),
            purges: AtomicU64::new(0),
            connections: connections.clone(),
            access_log: access_log.clone(),
        });
        let handler = Arc::new(Handler {
            node: config.node.name.clone(),
            fleet: config.node.fleet.clone(),
            engine: engine.clone(),
            load: load.clone(),
            limiter,
            block_referers: limits.block_referers.clone(),
            siblings: config
                .siblings
                .members
                .iter()
                .filter_map(|url| url.host()?.trim_matches(['[', ']']).parse().ok())
                .collect(),
            control: control.clone(),
        });
        let manners = Arc::new(Manners {
            connections,
            proxies: config.listen.proxies.clone(),
            drain: config.listen.drain,
            limits: limits.clone(),
            access_log: access_log.clone(),
        });
        let fail = |address| move |error| StartError::Listen { address, error };
        let health = std::net::TcpListener::bind(config.listen.health).map_err(fail(config.listen.health))?;
        let health_address = health.local_addr().map_err(fail(config.listen.health))?;
        let tls = certificates.clone().map(serve::server_config);
        let (end, ended) = watch::channel(false);
        let (end_health, health_ended) = watch::channel(false);
        let mut bound = Vec::new();
        let wanted = config.listen.http.iter().map(|address| (*address, None));
        let wanted_tls = config.listen.https.iter().map(|address| (*address, tls.clone()));
        for (address, tls) in wanted.chain(wanted_tls) {
            let tcp = TcpListener::bind(address).await.map_err(fail(address))?;
            bound.push((tcp.local_addr().map_err(fail(address))?, Listener { tcp, tls }));
        }
        let addresses = |secure: bool| {
            let of_kind = bound.iter().filter(move |(_, listener)| listener.tls.is_some() == secure);
            of_kind.map(|(address, _)| *address).collect::<Vec<_>>()
        };
        let (http, https) = (addresses(false), addresses(true));
        let health_thread = serve::serve_health(health, control, health_ended).map_err(StartError::Health)?;
        let listeners = bound
            .into_iter()
            .map(|(_, listener)| tokio::spawn(serve::serve(listener, handler.clone(), manners.clone(), ended.clone())))
            .collect();
        let watching = tokio::spawn({
            let engine = engine.clone();
            async move { engine.sources.watch().await }
        });
        let tending = tokio::spawn(tend(engine.clone(), pairs.clone()));
        Ok(Self {
            http,
            https,
            health: health_address,
            engine,
            load,
            pairs,
            access_log: access_log.zip(log_thread),
            end,
            end_health,
            listeners,
            tending,
            watching,
            health_thread,
        })
    }

    /// Where it listens for plain requests.
    #[must_use]
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Where it listens for TLS.
    #[must_use]
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Where it tells how it is.
    #[must_use]
    pub fn health(&self) -> SocketAddr {
        self.health
    }

    /// What it fills from, and keeps.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Reads the certificates again, and opens the access log again.
    ///
    /// # Errors
    ///
    /// When one cannot be read; the old ones stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Some((log, _)) = &self.access_log {
            log.reopen();
        }
        // One that is wrong does not keep the others from being right.
        self.pairs.iter().map(|pair| pair.reload()).fold(Ok(()), Result::and)
    }

    /// Ends it: no new connections, a while for what is under way, then the index is written.
    pub async fn stop(self) {
        self.load.drain();
        let _ = self.end.send(true);
        for listener in self.listeners {
            // One that panicked has ended, too.
            let _ = listener.await;
        }
        self.tending.abort();
        self.watching.abort();
        let _ = self.end_health.send(true);
        let store = self.engine.store.clone();
        let thread = self.health_thread;
        let log = self.access_log;
        let closing = tokio::task::spawn_blocking(move || {
            let _ = thread.join();
            if let Some((log, thread)) = log {
                log.end(thread);
            }
            store.close()
        });
        if let Ok(Err(error)) = closing.await {
            tracing::warn!(%error, "failed to write the cache's index; the next start looks through the folder");
        }
    }
}

async fn tend(engine: Arc<Engine>, pairs: Vec<Arc<Certificates>>) {
    let first = engine.clone();
    let _ = tokio::task::spawn_blocking(move || first.store.look_through()).await;
    loop {
        tokio::time::sleep(TEND).await;
        let engine = engine.clone();
        let tended = tokio::task::spawn_blocking(move || {
            engine.sweep();
            engine.store.tend();
        });
        let _ = tended.await;
        for error in pairs.iter().filter_map(|pair| pair.reload().err()) {
            tracing::warn!(%error, "failed to read the certificates again; the old ones are served");
        }
    }
}

/// The other half is for files and sources.
fn half_of_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 2).unwrap_or(usize::MAX).max(1)
}

fn open_store(config: &Config) -> Result<Store, StartError> {
    let cache = &config.cache;
    Store::open(Options {
        directory: cache.directory.clone(),
        max_size: cache.max_size,
        min_free: cache.min_free,
        inactive: cache.inactive,
        min_uses: cache.min_uses,
        slice_size: cache.slice_size,
    })
    .map_err(|error| StartError::Cache { folder: cache.directory.display().to_string(), error })
}

/// All sources, and what is shown to them.
fn sources(config: &Config) -> Result<(Sources, Vec<Arc<Certificates>>), StartError> {
    let mut identities = Vec::new();
    let mut list = Vec::new();
    for source in &config.sources {
        match &source.kind {
            SourceKind::Http { urls, host, ca_file, connect_timeout, read_timeout, http2, identity, sticky } => {
                let identity = match identity {
                    Some(files) => Some(Arc::new(Certificates::read(std::slice::from_ref(files))?)),
                    None => None,
                };
                identities.extend(identity.clone());
                list.push(SourceOptions {
                    name: source.name.clone(),
                    urls: urls.clone(),
                    host: host.clone(),
                    bucket: None,
                    tls: serve::client_config_with(ca_file.as_deref(), identity)?,
                    connect_timeout: *connect_timeout,
                    read_timeout: *read_timeout,
                    http2: *http2,
                    sticky: *sticky,
                });
            }
            SourceKind::S3 { endpoint, bucket, region, key, ca_file, connect_timeout, read_timeout } => {
                let key = match key {
                    BucketKey::Known(id, secret) => Some((id.reveal().to_owned(), secret.reveal().to_owned())),
                    BucketKey::Missing(variables) => {
                        let variables = variables.join(", ");
                        tracing::warn!(
                            source = source.name,
                            variables,
                            "the environment does not have a bucket's key: it is asked without a signature"
                        );
                        None
                    }
                    BucketKey::None => None,
                };
                list.push(SourceOptions {
                    name: source.name.clone(),
                    urls: vec![endpoint.clone()],
                    host: None,
                    bucket: Some(Arc::new(Bucket::new(bucket, region, key))),
                    tls: serve::client_config(ca_file.as_deref())?,
                    connect_timeout: *connect_timeout,
                    read_timeout: *read_timeout,
                    http2: false,
                    sticky: None,
                });
            }
        }
    }
    if list.is_empty() {
        return Err(StartError::NoSource);
    }
    let sources = Sources::new(list, &config.node.fleet, &config.node.name);
    let members = &config.siblings.members;
    if members.is_empty() {
        return Ok((sources, identities));
    }
    let options = SourceOptions {
        name: "siblings".to_owned(),
        urls: members.clone(),
        host: None,
        bucket: None,
        tls: serve::client_config(config.siblings.ca_file.as_deref())?,
        connect_timeout: SIBLING_CONNECT,
        read_timeout: SIBLING_READ,
        http2: false,
        sticky: None,
    };
    let own = members.iter().position(|url| is_ourselves(config, url));
    Ok((sources.with_siblings(options, own), identities))
}

/// What `check` finds beyond the file: certificates that do not fit, sources that are this edge itself. Each is to be
/// put behind the file's name and a colon.
#[must_use]
pub fn check(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    if !config.listen.certificates.is_empty()
        && let Err(error) = Certificates::read(&config.listen.certificates)
    {
        found.push(format!(" {error}"));
    }
    if let Err(error) = sources(config) {
        found.push(format!(" {error}"));
    }
    if let Err(error) = refuse_ourselves(config) {
        found.push(error.to_string());
    }
    found
}

/// A source that is this machine, at a port where this edge listens.
///
/// # Errors
///
/// With the first that is.
pub fn refuse_ourselves(config: &Config) -> Result<(), StartError> {
    for source in &config.sources {
        let urls = match &source.kind {
            SourceKind::Http { urls, .. } => urls.as_slice(),
            SourceKind::S3 { endpoint, .. } => std::slice::from_ref(endpoint),
        };
        if let Some(url) = urls.iter().find(|url| is_ourselves(config, url)) {
            return Err(StartError::Ourselves { at: source.at, name: source.name.clone(), url: url.to_string() });
        }
    }
    Ok(())
}

/// Whether a URL leads to where this edge listens.
fn is_ourselves(config: &Config, url: &Uri) -> bool {
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let ours = |at: SocketAddr| {
        let mut own = config.listen.http.iter().chain(&config.listen.https);
        own.any(|own| {
            own.port() == at.port() && (own.ip() == at.ip() || own.ip().is_unspecified() && is_local(at.ip()))
        })
    };
    // A name that cannot be looked up now may be known later.
    (host, port).to_socket_addrs().into_iter().flatten().any(ours)
}

/// Whether an address is this machine's: only those can be bound.
fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}
