//! The paths of our own, `/.witness/…`: health, shedding, purges, a look at an object, what most goes out for, metrics.
//!
//! On the health listener, which has a thread of its own, everybody may see how the edge is. On the public listeners
//! everybody sees one word, and who has the token sees all. Whoever changes something needs the token everywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
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
use crate::fill::{Engine, Want};
use crate::load::{Kind, Load};
use crate::source::Ask;

/// What a request to change something may hold.
const LARGEST: usize = 4096;
const LONGEST_SHED: u64 = 3600;

/// Answers on the paths of our own.
#[derive(Debug)]
pub struct Control {
    /// Of this edge.
    pub node: String,
    /// Of the fleet.
    pub fleet: String,
    /// Without one, nobody may change anything.
    pub token: Option<Secret>,
    /// What is counted.
    pub load: Arc<Load>,
    /// What can be purged.
    pub engine: Arc<Engine>,
    /// Purges that were asked for.
    pub purges: AtomicU64,
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
    url: Option<String>,
    /// A surrogate key.
    key: Option<String>,
    /// At the siblings as well.
    #[serde(default)]
    fleet: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inspect {
    url: String,
    /// Of the request, for what has variants.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    #[serde(default = "ten")]
    count: usize,
}

fn ten() -> usize {
    10
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
            "/.witness/purge" | "/.witness/inspect" | "/.witness/top" => Method::POST,
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
        match path {
            "/.witness/shed" => self.shed(&body),
            "/.witness/purge" => self.purge(&body).await,
            "/.witness/inspect" => self.inspect(&body).await,
            _ => self.top(&body),
        }
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
        self.load.shed(shed.step, Duration::from_secs(shed.for_s), &self.fleet);
        if before != shed.step {
            tracing::warn!(step = shed.step, seconds = shed.for_s, "shedding");
        }
        json_answer(&json!({ "step": self.load.shed_step(), "for_s": shed.for_s }))
    }

    async fn purge(&self, body: &Bytes) -> Response<Outgoing> {
        let purge: Purge = match serde_json::from_slice(body) {
            Ok(purge) => purge,
            Err(error) => {
                let remedy = "write {\"url\":\"https://…\"} or {\"key\":\"…\"}";
                return text(StatusCode::BAD_REQUEST, &format!("{error}; {remedy}"));
            }
        };
        let mut told = match (&purge.url, &purge.key) {
            (Some(url), None) => {
                let Some(name) = name_of(url) else { return text(StatusCode::BAD_REQUEST, "this is no whole URL") };
                json!({ "purged": self.engine.purge(&name).await })
            }
            (None, Some(key)) if !key.trim().is_empty() => {
                if let Err(error) = self.engine.purge_tag(key.trim()).await {
                    let problem = format!("it is purged until the next start: failed to write it down: {error}");
                    return text(StatusCode::INTERNAL_SERVER_ERROR, &problem);
                }
                json!({ "purged": true })
            }
            _ => return text(StatusCode::BAD_REQUEST, "write either url or key"),
        };
        self.purges.fetch_add(1, Ordering::Relaxed);
        tracing::info!(url = purge.url, key = purge.key, fleet = purge.fleet, "purged");
        if purge.fleet
            && let Some(token) = &self.token
        {
            let body = json!({ "url": purge.url, "key": purge.key }).to_string();
            let answers = self.engine.sources.tell_siblings("/.witness/purge", token.reveal(), &body).await;
            let states =
                answers.into_iter().map(|(member, told)| (member, told.err().map_or(json!(true), |e| json!(e))));
            told["siblings"] = Value::Object(states.collect());
        }
        json_answer(&told)
    }

    async fn inspect(&self, body: &Bytes) -> Response<Outgoing> {
        let inspect: Inspect = match serde_json::from_slice(body) {
            Ok(inspect) => inspect,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}; write {{\"url\":\"https://…\"}}")),
        };
        let Some((host, target)) = parts_of(&inspect.url) else {
            return text(StatusCode::BAD_REQUEST, "this is no whole URL");
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &inspect.headers {
            match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
                (Ok(name), Ok(value)) => headers.append(name, value),
                _ => return text(StatusCode::BAD_REQUEST, &format!("{name} is no header field")),
            };
        }
        let ask = Ask { method: Method::GET, target, host, headers, stick: None };
        let want = Want { name: ask.name(), ask, start: 0, last: None, near: false };
        let engine = self.engine.clone();
        // It opens a file.
        match tokio::task::spawn_blocking(move || engine.inspect(&want)).await {
            Ok(told) => json_answer(&told),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    fn top(&self, body: &Bytes) -> Response<Outgoing> {
        let body: &[u8] = if body.is_empty() { b"{}" } else { body };
        let count: Count = match serde_json::from_slice(body) {
            Ok(count) => count,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}; write {{\"count\":10}}")),
        };
        let count = count.count.min(1000);
        json_answer(&json!({
            "egress_bps": self.load.figures().egress,
            "objects": self.load.top.heaviest(Kind::Object, count),
            "referers": self.load.top.heaviest(Kind::Referer, count),
            "refused_referers": self.load.refused().0,
        }))
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
        let (siblings, siblings_well, sibling_fetches, sibling_failures) = self.engine.sources.sibling_counts();
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
            ("purges_total", "Purges that were asked for.", self.purges.load(Ordering::Relaxed)),
            ("refused_referers_total", "Requests refused for the page they came from.", self.load.refused().1),
            ("sibling_fetches_total", "Requests to siblings.", sibling_fetches),
            ("sibling_fetches_unanswered_total", "Requests that a sibling did not answer.", sibling_failures),
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
            ("cache_paused", "Whether nothing is stored at the moment.", u64::from(self.engine.store.is_full())),
            ("siblings", "Other edges of the fleet.", siblings),
            ("siblings_well", "Those of them that can be asked.", siblings_well),
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

/// Site and target of a URL.
fn parts_of(url: &str) -> Option<(String, String)> {
    let url: http::Uri = url.parse().ok()?;
    Some((url.host()?.to_ascii_lowercase(), url.path_and_query()?.as_str().to_owned()))
}

fn name_of(url: &str) -> Option<String> {
    parts_of(url).map(|(host, target)| handler::name(&host, &target))
}

fn json_answer(value: &Value) -> Response<Outgoing> {
    let mut response = plain(StatusCode::OK, HeaderMap::new(), Outgoing::bytes(format!("{value}\n")));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
