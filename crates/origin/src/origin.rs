//! The whole origin, put together from its configuration.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::admin::{Admin, Desk, Health};
use crate::clock::Stopwatch;
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::janitor::Janitor;
use crate::metrics::Metrics;
use crate::model::NameMaker;
use crate::pages::Pages;
use crate::serve::{self, Files, Router};
use crate::store::{Store, StoreError};
use crate::upload::{Publisher, Receiver, Uploads};

/// On the listener for whoever runs this.
const ADMIN_CONNECTIONS: u32 = 64;

/// Why it does not start.
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
    /// The folder cannot be used.
    #[error("failed to open the store: {0}")]
    Store(#[from] StoreError),
    /// The database cannot be used.
    #[error("failed to open the database: {0}")]
    Database(#[from] DbError),
}

/// A running origin.
#[derive(Debug)]
pub struct Origin {
    listen: SocketAddr,
    admin: SocketAddr,
    store: Arc<Store>,
    db: Db,
    metrics: Arc<Metrics>,
    ending: Arc<AtomicBool>,
    end: watch::Sender<bool>,
    end_admin: watch::Sender<bool>,
    public: JoinHandle<()>,
    janitor: JoinHandle<()>,
    private: JoinHandle<()>,
}

impl Origin {
    /// Starts it. Ports of 0 become free ones.
    ///
    /// # Errors
    ///
    /// When it cannot do what its configuration says.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        // Before anything is touched: two of them must not even look at the same folder.
        let (directory, min_free) = (config.store.directory.clone(), config.store.min_free);
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&directory, min_free)?;
            let db = Db::open(&store.database())?;
            Ok::<_, StartError>((Arc::new(store), db))
        });
        let (store, db) = opened.await.map_err(|error| DbError::Other(error.to_string()))??;
        let fail = |address| move |error| StartError::Listen { address, error };
        let (listen, admin) = (config.server.listen, config.server.admin_listen);
        let public = TcpListener::bind(listen).await.map_err(fail(listen))?;
        let listen = public.local_addr().map_err(fail(listen))?;
        let private = TcpListener::bind(admin).await.map_err(fail(admin))?;
        let admin = private.local_addr().map_err(fail(admin))?;
        let metrics = Arc::new(Metrics::default());
        let ending = Arc::new(AtomicBool::new(false));
        let removed = Arc::new(Notify::new());
        let health = Health {
            store: store.clone(),
            db: db.clone(),
            min_free: config.store.min_free,
            ending: ending.clone(),
            since: Stopwatch::start(),
        };
        let (end, ended) = watch::channel(false);
        let (end_admin, admin_ended) = watch::channel(false);
        let router = Arc::new(router(config, &store, &db, &metrics, &removed, health.clone()));
        let desk = Desk::new(
            config.server.admin_token.clone(),
            health.clone(),
            metrics.clone(),
            removed.clone(),
            config.server.files_url.clone(),
        );
        let janitor = Janitor { store: store.clone(), db: db.clone(), metrics: metrics.clone(), wake: removed };
        let admin_answers = Arc::new(Admin { health, metrics: metrics.clone(), desk });
        Ok(Self {
            listen,
            admin,
            store,
            db,
            metrics,
            ending,
            end,
            end_admin,
            public: tokio::spawn(serve::serve(public, router, config.server.max_connections, ended.clone())),
            janitor: tokio::spawn(janitor.run(ended)),
            private: tokio::spawn(serve::serve(private, admin_answers, ADMIN_CONNECTIONS, admin_ended)),
        })
    }

    /// Where it listens for everybody.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where it listens for whoever runs it.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The bytes.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The rows.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Ends it: no new connections, a while for what is under way, then the database is closed.
    pub async fn stop(self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = self.end.send(true);
        // Who panicked has ended, too.
        let _ = self.public.await;
        let _ = self.janitor.await;
        let _ = self.end_admin.send(true);
        let _ = self.private.await;
        let db = self.db.clone();
        let _ = tokio::task::spawn_blocking(move || db.close()).await;
    }
}

fn router(
    config: &Config,
    store: &Arc<Store>,
    db: &Db,
    metrics: &Arc<Metrics>,
    removed: &Arc<Notify>,
    health: Health,
) -> Router {
    let pages = Pages::new(config);
    let limits = Arc::new(config.upload.clone());
    let names = NameMaker::new(config.upload.name_length as usize, reserved(config));
    Router {
        uploads: Uploads {
            receiver: Receiver { limits: limits.clone(), store: store.clone() },
            publisher: Publisher {
                store: store.clone(),
                db: db.clone(),
                limits,
                dedupe: config.store.dedupe,
                names: Arc::new(names),
                metrics: metrics.clone(),
            },
            files_url: config.server.files_url.clone(),
            keep_addresses: config.upload.keep_addresses,
            metrics: metrics.clone(),
        },
        files: Files {
            store: store.clone(),
            db: db.clone(),
            rules: config.serve,
            metrics: metrics.clone(),
            removed: removed.clone(),
        },
        pages,
        health,
        compat: config.compat.clone(),
        trusted_proxies: config.server.trusted_proxies.clone(),
    }
}

/// Paths that mean something else than a file.
#[must_use]
pub fn reserved(config: &Config) -> Vec<String> {
    let pages = Pages::new(config);
    let uploads = config.compat.paths.iter().map(|(path, _)| path.clone());
    let others = ["/delete", "/favicon.ico"].into_iter().chain(pages.paths()).map(str::to_owned);
    uploads.chain(others).collect()
}

/// What the configuration asks for and this version does not do yet.
#[must_use]
pub fn not_yet(config: &Config) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut note = |is_asked: bool, what| {
        if is_asked {
            found.push(what);
        }
    };
    note(config.upload.strip_exif, "upload.strip_exif");
    note(config.upload.per_address.is_some(), "upload.per_address");
    note(true, "backup");
    note(config.tier.is_some(), "tier");
    note(!config.legacy.is_empty(), "legacy");
    found
}
