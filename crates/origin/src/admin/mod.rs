//! The other listener: how it is, what was counted, and the page for whoever runs it.

mod desk;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use desk::Desk;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::clock::Stopwatch;
use crate::copies::Copies;
use crate::db::{Db, links, listing, purges};
use crate::metrics::{Metrics, write_metric, write_words};
use crate::serve::{Answer, Outgoing, answer};
use crate::store::Store;

/// How it is.
#[derive(Clone, Debug)]
pub struct Health {
    /// The bytes.
    pub store: Arc<Store>,
    /// The rows.
    pub db: Db,
    /// What is to be left free of the disk.
    pub min_free: u64,
    /// Whether it is about to end.
    pub ending: Arc<AtomicBool>,
    /// Since it was started.
    pub since: Stopwatch,
}

impl Health {
    /// One word.
    async fn status(&self) -> &'static str {
        if self.ending.load(Ordering::Relaxed) {
            return "draining";
        }
        if self.db.read(links::last_change).await.is_err() {
            return "failing";
        }
        let (free, reserved) = self.store.room();
        // It serves, and takes nothing.
        if free.saturating_sub(reserved) <= self.min_free { "busy" } else { "ok" }
    }

    /// For everybody.
    pub async fn public(&self) -> Response<Outgoing> {
        let status = self.status().await;
        document(status, &json!({ "status": status }))
    }

    async fn private(&self) -> Response<Outgoing> {
        let status = self.status().await;
        let (free, reserved) = self.store.room();
        let document_of = json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.since.elapsed().as_secs(),
            "disk": { "free_bytes": free, "reserved_bytes": reserved, "min_free_bytes": self.min_free },
        });
        document(status, &document_of)
    }
}

fn document(status: &str, value: &Value) -> Response<Outgoing> {
    let code = if matches!(status, "ok" | "busy") { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = answer(code, format!("{value}\n"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The listener for whoever runs this.
#[derive(Debug)]
pub struct Admin {
    /// How it is.
    pub health: Health,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The admin page.
    pub desk: Desk,
    /// What is elsewhere.
    pub copies: Copies,
}

impl Answer for Admin {
    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Outgoing> {
        if Desk::has(request.uri().path()) {
            return self.desk.answer(request).await;
        }
        if request.uri().path().starts_with("/replicate/")
            && let Some(source) = &self.copies.source
        {
            let (parts, body) = request.into_parts();
            return source.answer(&parts, body).await;
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/.witness/health") => self.health.private().await,
            (&Method::GET | &Method::HEAD, "/metrics") => self.figures().await,
            _ => answer(StatusCode::NOT_FOUND, "there is nothing here\n".to_owned()),
        }
    }
}

impl Admin {
    async fn figures(&self) -> Response<Outgoing> {
        let Ok((objects, bytes, names)) = self.health.db.read(links::totals).await else {
            return answer(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be read\n".to_owned());
        };
        let mut lines = String::new();
        for (name, says, value) in self.metrics.all() {
            write_metric(&mut lines, "counter", name, says, value);
        }
        let refusals = self.metrics.refusals.all();
        write_words(&mut lines, "refusals", "Uploads that were not taken, by the reason.", "reason", &refusals);
        let says = "How long uploads took that were stored, from the head of the request to the answer.";
        self.metrics.upload_seconds.write(&mut lines, "upload_seconds", says);
        let counts = self.health.db.counts();
        let (placed, syncs) = self.health.store.folder_syncs();
        for (name, says, value) in [
            ("commits", "Commits of the database.", counts.commits.get()),
            ("committed_writes", "Pieces of work in these commits.", counts.writes.get()),
            ("failed_commits", "Commits that failed.", counts.failures.get()),
            ("placed_files", "Times that a folder was to be synced after a file was put into it.", placed),
            ("folder_syncs", "Syncs of folders that this took: those who wait at once share one.", syncs),
        ] {
            write_metric(&mut lines, "counter", name, says, value);
        }
        counts.seconds.write(&mut lines, "commit_seconds", "How long commits took until they were durable.");
        let version = env!("CARGO_PKG_VERSION");
        lines.push_str(&format!(
            "# HELP witness_origin_build_info What runs.\n# TYPE witness_origin_build_info gauge\n\
             witness_origin_build_info{{version=\"{version}\"}} 1\n"
        ));
        let (free, reserved) = self.health.store.room();
        let waiting = self.health.db.read(purges::waiting).await.unwrap_or_default();
        let waiting = waiting.into_iter().map(|(_, waiting)| waiting).sum();
        let (database, bans) = self.health.db.read(listing::weight).await.unwrap_or_default();
        for (name, says, value) in [
            ("objects", "Contents that are kept.", objects),
            ("object_bytes", "Bytes of these contents.", bytes),
            ("names", "Names that stand for one.", names),
            ("waiting_purges", "Bans and deletions that edges were not told of yet, for all edges together.", waiting),
            ("bans", "Contents that nobody may upload or see.", bans),
            ("database_bytes", "Bytes of the database, without its log.", database),
            ("uptime_seconds", "Since the start.", self.health.since.elapsed().as_secs()),
            ("free_bytes", "Bytes that are free on the disk.", free),
            ("reserved_bytes", "Bytes that are set aside for what is being received.", reserved),
            ("min_free_bytes", "Bytes that are to be left free.", self.health.min_free),
        ] {
            write_metric(&mut lines, "gauge", name, says, value);
        }
        self.copies.figures(&mut lines).await;
        let mut response = answer(StatusCode::OK, lines);
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
