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
use crate::config::{Config, Dialect, Json, Size, Status, Url};
use crate::copies::{Copies, CopiesError};
use crate::db::{Db, DbError};
use crate::janitor::Janitor;
use crate::limits::{AddressBans, Allowances, Counts};
use crate::metrics::Metrics;
use crate::model::NameMaker;
use crate::pages::Pages;
use crate::purge;
use crate::screen::Screen;
use crate::serve::{self, Files, Manners, Pace, Router};
use crate::store::{Store, StoreError};
use crate::upload::tus::{Parties, Tus};
use crate::upload::{Admission, Publisher, Receiver, Uploads};

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
    /// What is elsewhere cannot be used.
    #[error("{0}")]
    Copies(#[from] CopiesError),
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
    purger: JoinHandle<()>,
    private: JoinHandle<()>,
    copies: Copies,
    copying: Vec<JoinHandle<()>>,
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
        let (copies, copying) = Copies::start(config, &store, &db, &metrics, &ended).await?;
        let router = Arc::new(router(config, &store, &db, &metrics, &removed, health.clone(), &copies));
        let janitor = Janitor {
            store: store.clone(),
            db: db.clone(),
            metrics: metrics.clone(),
            wake: removed.clone(),
            gate: copies.gate.clone(),
            forgets: config.legacy.is_empty(),
        };
        janitor.remove_leftovers().await?;
        purge::begin(&config.edges, &db).await?;
        let manners = Manners {
            most: config.server.max_connections,
            most_each: config.server.max_connections_per_address,
            exempt: config.server.trusted_proxies.clone(),
            pace: config.serve.min_rate.map(|least| Pace { least, after: config.serve.slow_after }),
            metrics: metrics.clone(),
        };
        let private_manners = Manners { most: ADMIN_CONNECTIONS, most_each: ADMIN_CONNECTIONS, ..manners.clone() };
        let purger = purge::run(config.edges.clone(), db.clone(), metrics.clone(), ended.clone());
        let desk = Desk::new(
            config.server.admin_token.clone(),
            health.clone(),
            metrics.clone(),
            removed.clone(),
            config.server.files_url.clone(),
        );
        let admin_answers = Arc::new(Admin { health, metrics: metrics.clone(), desk, copies: copies.clone() });
        Ok(Self {
            listen,
            admin,
            store,
            db,
            metrics,
            ending,
            end,
            end_admin,
            public: tokio::spawn(serve::serve(public, router, manners, ended.clone())),
            janitor: tokio::spawn(janitor.run(ended)),
            purger: tokio::spawn(purger),
            private: tokio::spawn(serve::serve(private, admin_answers, private_manners, admin_ended)),
            copies,
            copying,
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

    /// What is elsewhere.
    #[must_use]
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Ends it: no new connections, a while for what is under way, then the database is closed.
    pub async fn stop(self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = self.end.send(true);
        // Who panicked has ended, too.
        let _ = self.public.await;
        let _ = self.janitor.await;
        for copying in self.copying {
            let _ = copying.await;
        }
        let _ = self.purger.await;
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
    copies: &Copies,
) -> Router {
    let pages = Pages::new(config);
    let limits = Arc::new(config.upload.clone());
    let names = NameMaker::new(config.upload.name_length as usize, reserved(config));
    let screen = Screen {
        strip: config.upload.strip_exif.then_some(config.upload.strip_failure),
        scan: config.scan.clone(),
        metrics: metrics.clone(),
    };
    let receiver = Receiver { limits: limits.clone(), store: store.clone(), screen };
    let publisher = Publisher {
        store: store.clone(),
        db: db.clone(),
        limits,
        dedupe: config.store.dedupe,
        names: Arc::new(names),
        metrics: metrics.clone(),
        gate: copies.gate.clone(),
        tier: copies.tier.clone(),
    };
    let admission = Admission {
        tokens: config.upload.tokens.clone().map(Into::into),
        allowances: config.upload.per_address.map(|allowance| Arc::new(Allowances::new(allowance))),
        counts: Arc::new(Counts::default()),
        most_at_once: config.upload.at_once_per_address,
    };
    let (files_url, keep_addresses) = (config.server.files_url.clone(), config.upload.keep_addresses);
    let usual =
        Dialect { json: Json::Pretty, url: Url::Absolute, size: Size::Number, status: Status::Real, extras: true };
    let dialect = config.compat.paths.first().map_or(usual, |(_, dialect)| *dialect);
    let parties = Parties { receiver: receiver.clone(), publisher: publisher.clone(), admission: admission.clone() };
    Router {
        uploads: Uploads {
            receiver,
            publisher,
            files_url: files_url.clone(),
            keep_addresses,
            admission,
            metrics: metrics.clone(),
        },
        tus: Tus::new(parties, config.resumable.clone(), files_url, dialect, keep_addresses),
        banned: AddressBans::new(db.clone(), config.bans.addresses.clone()),
        banned_referers: config.bans.referers.clone(),
        metrics: metrics.clone(),
        files: Files {
            store: store.clone(),
            db: db.clone(),
            rules: config.serve,
            metrics: metrics.clone(),
            removed: removed.clone(),
            tier: copies.tier.clone(),
            legacy: copies.legacy.clone(),
            gate: copies.gate.clone(),
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
    uploads.chain(others).chain([config.resumable.path.clone()]).collect()
}
