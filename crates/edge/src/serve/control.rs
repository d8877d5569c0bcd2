//! The paths of our own, `/.witness/…`: health, shedding, purges, metrics.
//!
//! On the health listener, which has a thread of its own, everybody may see how the edge is. On the public listeners
//! everybody sees one word, and who has the token sees all. Whoever changes something needs the token everywhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{plain, text};
use super::body::Outgoing;
use super::connections::Connections;
use super::handler;
use crate::access_log::AccessLog;
use crate::config::Secret;
use crate::fill::Engine;
use crate::load::Load;

/// What a request to change something may hold.
const LARGEST: usize = 4096;
const LONGEST_SHED: u64 = 3600;

/// Answers on the paths of our own.
#[derive(Debug)]
pub struct Control {
    /// Of this edge.
    pub node: String,
    /// Without one, nobody may change anything.
    pub token: Option<Secret>,
    /// What is counted.
    pub load: Arc<Load>,
    /// What can be purged.
    pub engine: Arc<Engine>,
    /// What became of connections.
    pub connections: Arc<Connections>,
    /// What could not be written down.
    pub access_log: Option<AccessLog>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shed {
    step: u8,
    for_s: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    url: String,
}

impl Control {
    /// On the health listener.
    pub async fn private(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let (parts, body) = request.into_parts();
        match (&parts.method, parts.uri.path()) {
            (&Method::GET | &Method::HEAD, "/.witness/health") => json_answer(&self.health()),
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (method, path) => self.change(method, path, &parts.headers, body).await,
        }
    }

    /// On the public listeners.
    pub async fn public(&self, method: &Method, path: &str, headers: &HeaderMap, body: Incoming) -> Response<Outgoing> {
        if (method == Method::GET || method == Method::HEAD) && path == "/.witness/health" {
            let health = self.health();
            if self.is_allowed(headers) {
                return json_answer(&health);
            }
            return json_answer(&json!({ "status": health["status"] }));
        }
        self.change(method, path, headers, body).await
    }

    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
        });
        matches!((&self.token, given), (Some(token), Some(given)) if token.is(given))
    }

    async fn change(&self, method: &Method, path: &str, headers: &HeaderMap, body: Incoming) -> Response<Outgoing> {
        let expected = match path {
            "/.witness/shed" => Method::PUT,
            "/.witness/purge" => Method::POST,
            _ => return text(StatusCode::NOT_FOUND, "there is nothing here"),
        };
        if !self.is_allowed(headers) {
            let mut response = text(StatusCode::UNAUTHORIZED, "the fleet's token is needed");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        if *method != expected {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
            if let Ok(allow) = HeaderValue::from_str(expected.as_str()) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            return response;
        }
        let Ok(body) = Limited::new(body, LARGEST).collect().await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "that is too much");
        };
        let body = body.to_bytes();
        if path == "/.witness/shed" { self.shed(&body) } else { self.purge(&body) }
    }

    fn shed(&self, body: &Bytes) -> Response<Outgoing> {
        let shed: Shed = match serde_json::from_slice(body) {
            Ok(shed) => shed,
            Err(error) => {
                return text(StatusCode::BAD_REQUEST, &format!("{error}; write {{\"step\":2,\"for_s\":300}}"));
            }
        };
        if shed.step > 3 || shed.for_s > LONGEST_SHED {
            return text(StatusCode::BAD_REQUEST, "step is 0 to 3, for_s at most 3600");
        }
        let before = self.load.shed_step();
        self.load.shed(shed.step, Duration::from_secs(shed.for_s));
        if before != shed.step {
            tracing::warn!(step = shed.step, seconds = shed.for_s, "shedding");
        }
        json_answer(&json!({ "step": self.load.shed_step(), "for_s": shed.for_s }))
    }

    fn purge(&self, body: &Bytes) -> Response<Outgoing> {
        let purge: Purge = match serde_json::from_slice(body) {
            Ok(purge) => purge,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}; write {{\"url\":\"https://…\"}}")),
        };
        let parsed: Option<http::Uri> = purge.url.parse().ok();
        let Some((host, target)) = parsed.as_ref().and_then(|url| Some((url.host()?, url.path_and_query()?.as_str())))
        else {
            return text(StatusCode::BAD_REQUEST, "this is no whole URL");
        };
        let purged = self.engine.purge(&handler::name(&host.to_ascii_lowercase(), target));
        json_answer(&json!({ "purged": purged }))
    }

    /// The health document.
    fn health(&self) -> Value {
        let figures = self.load.figures();
        let states = self.engine.sources.states();
        let any = states.is_empty() || states.iter().any(|(_, up)| *up);
        let sources: Map<String, Value> =
            states.iter().map(|(name, up)| ((*name).to_owned(), json!(if *up { "up" } else { "down" }))).collect();
        let mut cache = json!({ "fill_errors_1m": figures.failures });
        if let Some(ratio) = figures.hit_ratio {
            cache["hit_ratio_1m"] = json!((ratio * 1000.0).round() / 1000.0);
        }
        json!({
            "status": self.load.status(&figures, any),
            "node": self.node,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.load.uptime().as_secs(),
            "egress_bps": figures.egress,
            "capacity_bps": self.load.capacity(),
            "active_connections": self.load.connections(),
            "shed_step": self.load.shed_step(),
            "sources": sources,
            "cache": cache,
        })
    }

    fn metrics(&self) -> Response<Outgoing> {
        let (sent, hits, misses) = self.load.totals();
        let (fetches, unanswered) = self.engine.sources.counts();
        let store = self.engine.store.numbers();
        let connections = self.connections.counts();
        let dropped = self.access_log.as_ref().map_or(0, AccessLog::dropped);
        let counters = [
            ("sent_bytes_total", "Bytes of bodies sent to clients.", sent),
            ("hits_total", "Requests answered from the cache.", hits),
            ("misses_total", "Requests that a source had to be asked for.", misses),
            ("fetches_total", "Requests to sources.", fetches),
            ("fetches_unanswered_total", "Requests that no source answered.", unanswered),
            ("fill_errors_total", "Fills that failed or broke off.", self.engine.failures()),
            ("evicted_slices_total", "Slices given up for others.", store.evictions),
            ("damaged_slices_total", "Slices that were not what had been written.", store.damaged),
            ("failed_writes_total", "Slices that could not be stored.", store.failed_writes),
            ("failed_accepts_total", "Connections that could not be accepted.", connections.failed_accepts),
            ("refused_connections_total", "Connections refused before a request.", connections.refused),
            ("idle_connections_left_total", "Connections left because nothing more was asked.", connections.idle),
            ("slow_heads_left_total", "Connections left because a head did not come.", connections.slow_heads),
            ("slow_bodies_left_total", "Connections left because a body went too slowly.", connections.slow_bodies),
            ("access_log_dropped_total", "Lines of the access log that were not written.", dropped),
        ];
        let gauges = [
            ("egress_bps", "Bit/s sent in the last seconds.", self.load.figures().egress),
            ("capacity_bps", "Bit/s that the line carries.", self.load.capacity()),
            ("connections", "Clients that are connected.", self.load.connections() as u64),
            ("connections_limit", "Clients that may be connected.", self.connections.most() as u64),
            ("shed_step", "The brownout step.", u64::from(self.load.shed_step())),
            ("cache_bytes", "Bytes on the disk.", store.bytes),
            ("cache_objects", "Objects in the cache.", store.objects),
            ("cache_slices", "Slices in the cache.", store.slices),
        ];
        let mut lines = String::new();
        for (kind, list) in [("counter", &counters[..]), ("gauge", &gauges[..])] {
            for (name, says, value) in list {
                let name = format!("witness_edge_{name}");
                lines.push_str(&format!("# HELP {name} {says}\n# TYPE {name} {kind}\n{name} {value}\n"));
            }
        }
        let mut response = plain(StatusCode::OK, HeaderMap::new(), Outgoing::bytes(lines));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

fn json_answer(value: &Value) -> Response<Outgoing> {
    let mut response = plain(StatusCode::OK, HeaderMap::new(), Outgoing::bytes(format!("{value}\n")));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
