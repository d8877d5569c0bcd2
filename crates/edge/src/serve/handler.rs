//! One request: who may ask what, where the answer comes from, and what is told about that.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};

use super::answer::{Asked, answer, insert, plain, splash, text, wants_page};
use super::body::{Meter, Outgoing, referer_host};
use super::control::Control;
use super::relayed::Relayed;
use super::upload::Uploading;
use super::watch::Watch;
use super::wire::Lane;
use crate::access_log::CacheWord;
use crate::clock;
use crate::fill::{Engine, Got, How, Object, Want};
use crate::http::{Directives, Freshness, Rules, hops, ranges, strip_hop_by_hop, strip_tags};
use crate::load::{Limiter, Load};
use crate::source::{Ask, FetchError, Part, Upload};

/// What `Cache-Status` calls an answer that is for one client alone.
const BYPASS: &str = "bypass";

/// How long a source may be silent of which nothing else is known: the default of `read_timeout`.
const USUAL_SILENCE: Duration = Duration::from_secs(90);

/// Edges of one fleet that a request may come through.
const MOST_HOPS: usize = 4;

/// Answers requests on the public listeners.
#[derive(Debug)]
pub struct Handler {
    /// Of this edge.
    pub node: String,
    /// Of the fleet.
    pub fleet: String,
    /// Where objects come from.
    pub engine: Arc<Engine>,
    /// What is counted.
    pub load: Arc<Load>,
    /// How fast clients may be.
    pub limiter: Arc<Limiter>,
    /// Host patterns of referers that get nothing.
    pub block_referers: Vec<String>,
    /// Addresses of other edges of the fleet, whom no rate holds back.
    pub siblings: BTreeSet<IpAddr>,
    /// The paths of our own.
    pub control: Arc<Control>,
}

/// A request's head, looked through.
struct Visit {
    method: Method,
    host: String,
    target: String,
    headers: HeaderMap,
    client: IpAddr,
    secure: bool,
    /// It came from another edge of the fleet.
    near: bool,
    lane: Option<Lane>,
}

/// What `Cache-Status` tells (RFC 9211).
#[derive(Clone, Copy, Debug)]
enum Told {
    Hit,
    Stale,
    Miss,
    Stored,
    Joined,
    Revalidated,
    Passed(&'static str),
}

impl Handler {
    /// Answers `request` of `client`; `secure` if it came over TLS. With a lane, bodies may go over it.
    pub(super) async fn handle(
        &self,
        request: Request<Incoming>,
        client: IpAddr,
        secure: bool,
        watch: &Arc<Watch>,
        lane: Option<Lane>,
    ) -> Response<Outgoing> {
        let (parts, body) = request.into_parts();
        let Some(host) = site(&parts.uri, &parts.headers) else {
            return closing(text(StatusCode::BAD_REQUEST, "one valid Host is needed"));
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        if parts.uri.path().starts_with("/.witness/") {
            return Box::pin(self.control.public(&parts.method, parts.uri.path(), &parts.headers, body)).await;
        }
        let seen = hops(&parts.headers, &self.fleet, &self.node);
        if seen.here || seen.fleet >= MOST_HOPS {
            tracing::warn!(host, target, "a request came back: two sources point at each other");
            return closing(text(StatusCode::LOOP_DETECTED, "this request has been here before"));
        }
        if let Some(referer) = parts.headers.get(header::REFERER).and_then(referer_host) {
            if self.block_referers.iter().any(|pattern| matches_host(pattern, &referer)) {
                return closing(text(StatusCode::FORBIDDEN, "not from there"));
            }
            if referer != host && self.load.refuses(&referer) {
                let mut response = text(StatusCode::TOO_MANY_REQUESTS, "too many come from there at the moment");
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
                return closing(response);
            }
        }
        let near = seen.fleet > 0;
        let visit = Visit { method: parts.method, host, target, headers: parts.headers, client, secure, near, lane };
        if let Some(response) = self.hit_at_once(&visit, &body) {
            return response;
        }
        // Apart, so that a hit does not carry the room that everything else needs.
        Box::pin(self.other(visit, body, watch)).await
    }

    /// Most of the time there is nothing to ask anybody.
    fn hit_at_once(&self, visit: &Visit, body: &Incoming) -> Option<Response<Outgoing>> {
        if !matches!(visit.method, Method::GET | Method::HEAD) || !body.is_end_stream() {
            return None;
        }
        let object = self.engine.find_open(&name(&visit.host, &visit.target))?;
        let fresh = self.freshness(&object);
        let whole = fresh.is_fresh() && !self.engine.is_beginning(&object);
        whole.then(|| self.hit(visit, &object, &fresh, Told::Hit))
    }

    async fn other(&self, visit: Visit, body: Incoming, watch: &Arc<Watch>) -> Response<Outgoing> {
        match visit.method {
            Method::GET | Method::HEAD if !body.is_end_stream() => {
                // A body here means nothing, and whoever counts it differently can hide a request in it.
                closing(text(StatusCode::BAD_REQUEST, "a body does not belong here"))
            }
            Method::GET | Method::HEAD => self.read(&visit).await,
            Method::CONNECT | Method::TRACE => closing(text(StatusCode::METHOD_NOT_ALLOWED, "not here")),
            _ => self.change(&visit, body, watch).await,
        }
    }

    fn rules(&self) -> &Rules {
        &self.engine.options.rules
    }

    fn meter(&self, visit: &Visit) -> Meter {
        let limiter = (!self.siblings.contains(&visit.client)).then(|| self.limiter.clone());
        Meter {
            load: self.load.clone(),
            limiter,
            client: visit.client,
            lane: visit.lane.clone(),
            near: visit.near,
            referer: visit.headers.get(header::REFERER).cloned(),
            of: None,
        }
    }

    /// GET and HEAD.
    async fn read(&self, visit: &Visit) -> Response<Outgoing> {
        let want = want(visit);
        let Some(object) = self.engine.find(&want) else {
            if Directives::of(&visit.headers, header::CACHE_CONTROL).only_if_cached {
                self.load.add_request(false);
                return text(StatusCode::GATEWAY_TIMEOUT, "it is not here");
            }
            self.load.add_request(false);
            // A head alone is not worth the whole body.
            if visit.method == Method::HEAD {
                return self.pass(visit, "uri-miss").await;
            }
            return self.fetch(visit, self.engine.get(&want).await, None).await;
        };
        let fresh = self.freshness(&object);
        let usable_on_error = fresh.is_usable_on_error();
        if fresh.is_fresh() {
            // Of what is not all here, some may have to be promised by its source first.
            return match self.engine.complete(&want, &object).await {
                None | Some(Err(_)) => self.hit(visit, &object, &fresh, Told::Hit),
                Some(got) => {
                    self.load.add_request(false);
                    self.fetch(visit, got, None).await
                }
            };
        }
        if usable_on_error && self.engine.is_failing(&object) {
            return self.hit(visit, &object, &fresh, Told::Stale);
        }
        if fresh.is_usable_meanwhile() {
            self.engine.look_again_meanwhile(&want, &object);
            return self.hit(visit, &object, &fresh, Told::Stale);
        }
        if Directives::of(&visit.headers, header::CACHE_CONTROL).only_if_cached {
            self.load.add_request(false);
            return text(StatusCode::GATEWAY_TIMEOUT, "it is not here");
        }
        match self.engine.look_again(&want, &object).await {
            Err(_) if usable_on_error => self.hit(visit, &object, &fresh, Told::Stale),
            got => {
                self.load.add_request(false);
                self.fetch(visit, got, Some(&object)).await
            }
        }
    }

    fn freshness(&self, object: &Object) -> Freshness {
        object.shown().freshness(self.rules(), clock::unix_seconds())
    }

    fn hit(&self, visit: &Visit, object: &Arc<Object>, fresh: &Freshness, told: Told) -> Response<Outgoing> {
        self.load.add_request(true);
        self.serve(visit, object, fresh, told)
    }

    async fn fetch(
        &self,
        visit: &Visit,
        got: Result<Got, FetchError>,
        old: Option<&Arc<Object>>,
    ) -> Response<Outgoing> {
        match got {
            Ok(Got::Object(object, how)) => {
                let told = match how {
                    _ if old.is_some_and(|old| Arc::ptr_eq(old, &object)) => Told::Revalidated,
                    How::Here => Told::Hit,
                    How::Joined => Told::Joined,
                    How::Fetched | How::Given(..) if object.is_stored() => Told::Stored,
                    How::Fetched | How::Given(..) => Told::Miss,
                };
                let fresh = self.freshness(&object);
                let given = if let How::Given(start, end) = how { Some(start..end) } else { None };
                let asked = Asked { method: &visit.method, headers: &visit.headers, near: visit.near, given };
                let response = answer(&self.engine, &object, &asked, &fresh, self.meter(visit));
                self.signed(response, told, Some(&fresh))
            }
            // It is of the whole, and without conditions; a sibling that wants a beginning can cut it off itself.
            Ok(Got::Pass(response))
                if visit.method == Method::GET && (!has_conditions(&visit.headers) || is_beginning(visit))
                    // It need not be from where this client belongs.
                    && !self.engine.sources.is_sticky() =>
            {
                self.relay(visit, *response, None, Told::Passed("uri-miss"))
            }
            Ok(Got::Pass(_) | Got::Uncacheable) => self.pass(visit, BYPASS).await,
            Err(error) => unreachable(visit, &error),
        }
    }

    fn serve(&self, visit: &Visit, object: &Arc<Object>, fresh: &Freshness, told: Told) -> Response<Outgoing> {
        let asked = Asked { method: &visit.method, headers: &visit.headers, near: visit.near, given: None };
        let response = answer(&self.engine, object, &asked, fresh, self.meter(visit));
        self.signed(response, told, Some(fresh))
    }

    /// Sends a request on as it is, and its answer back.
    async fn pass(&self, visit: &Visit, why: &'static str) -> Response<Outgoing> {
        let mut ask = ask(visit);
        ask.stick = (why == BYPASS).then_some(visit.client);
        match self.engine.sources.fetch(&ask, Part::AsAsked, None).await {
            Ok(fetched) => {
                let cookie = self.engine.sources.cookie_for(&ask, &fetched, visit.secure);
                stick(self.relay(visit, fetched.response, Some(fetched.read_timeout), Told::Passed(why)), cookie)
            }
            Err(error) => unreachable(visit, &error),
        }
    }

    /// Any other method.
    async fn change(&self, visit: &Visit, body: Incoming, watch: &Arc<Watch>) -> Response<Outgoing> {
        let mut ask = ask(visit);
        ask.stick = Some(visit.client);
        let mut progress = None;
        let upload: Upload = if body.is_end_stream() {
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            let mut upload = Uploading::new(body, watch.body());
            if expects_continue(&visit.headers) {
                upload = upload.when_wanted();
            }
            progress = Some(upload.progress());
            upload.boxed_unsync()
        };
        let fetched = match self.engine.sources.pass(&ask, upload, progress).await {
            Ok(fetched) => fetched,
            Err(FetchError::Impossible) => return text(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here"),
            Err(error) => return unreachable(visit, &error),
        };
        let cookie = self.engine.sources.cookie_for(&ask, &fetched, visit.secure);
        let safe = matches!(visit.method, Method::OPTIONS);
        let status = fetched.response.status();
        if !safe && (status.is_success() || status.is_redirection()) {
            self.engine.purge(&name(&visit.host, &visit.target)).await;
            // What the answer says has changed as well, if it is of the same site.
            for field in [header::LOCATION, header::CONTENT_LOCATION] {
                if let Some(target) = fetched.response.headers().get(field).and_then(|to| same_site(to, &visit.host)) {
                    self.engine.purge(&name(&visit.host, &target)).await;
                }
            }
        }
        stick(self.relay(visit, fetched.response, Some(fetched.read_timeout), Told::Passed("method")), cookie)
    }

    fn relay(
        &self,
        visit: &Visit,
        response: Response<Incoming>,
        patience: Option<Duration>,
        told: Told,
    ) -> Response<Outgoing> {
        // A source tells by this that what is behind it is down. Who does not look at pages hears it in its own words.
        let is_down = [502, 503, 504].contains(&response.status().as_u16());
        if is_down && !visit.near && visit.method == Method::GET && wants_page(&visit.headers) {
            let mut page = splash(&visit.method, &visit.headers);
            *page.status_mut() = response.status();
            return self.signed(page, told, None);
        }
        let (parts, body) = response.into_parts();
        let mut headers = parts.headers;
        strip_hop_by_hop(&mut headers);
        if !visit.near {
            strip_tags(&mut headers);
        }
        let body = if visit.method == Method::HEAD {
            Outgoing::empty()
        } else {
            Outgoing::incoming(Relayed::new(body, patience.unwrap_or(USUAL_SILENCE)), self.meter(visit))
        };
        self.signed(plain(parts.status, headers, body), told, None)
    }

    fn signed(&self, mut response: Response<Outgoing>, told: Told, fresh: Option<&Freshness>) -> Response<Outgoing> {
        let headers = response.headers_mut();
        let node = &self.node;
        let ttl = fresh.map_or(0, |fresh| {
            let seconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            seconds(fresh.lifetime).saturating_sub(seconds(fresh.age))
        });
        let status = match told {
            Told::Hit => format!("{node}; hit; ttl={ttl}"),
            Told::Stale => format!("{node}; hit; ttl={ttl}; detail=stale"),
            Told::Miss => format!("{node}; fwd=uri-miss"),
            Told::Stored => format!("{node}; fwd=uri-miss; stored"),
            Told::Joined => format!("{node}; fwd=uri-miss; collapsed"),
            Told::Revalidated => format!("{node}; fwd=stale; fwd-status=304"),
            Told::Passed(why) => format!("{node}; fwd={why}"),
        };
        if let Ok(value) = HeaderValue::from_str(&status) {
            headers.append("cache-status", value);
        }
        let word = match told {
            Told::Hit => "hit",
            Told::Stale => "stale",
            Told::Miss | Told::Stored => "miss",
            Told::Joined => "joined",
            Told::Revalidated => "revalidated",
            Told::Passed(_) => "pass",
        };
        if let Ok(value) = HeaderValue::from_str(&format!("1.1 {node}")) {
            headers.append(header::VIA, value);
        }
        response.extensions_mut().insert(CacheWord(word));
        response
    }
}

/// Sets the cookie that leads back to where an answer came from.
fn stick(mut response: Response<Outgoing>, cookie: Option<HeaderValue>) -> Response<Outgoing> {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Whether a client wants to know whether its body is wanted before it sends it.
fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// `*.example.com` is every name below and not the name itself; everything else is meant as it is written.
fn matches_host(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match pattern.strip_prefix('*') {
        Some(end) => host.len() > end.len() && host.ends_with(end),
        None => host == pattern,
    }
}

/// The one site that is meant, without a port, in small letters.
fn site(uri: &http::Uri, headers: &HeaderMap) -> Option<String> {
    let mut fields = headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return None;
    }
    let field: Option<Authority> = match field {
        Some(field) => Some(field.to_str().ok()?.parse().ok()?),
        None => None,
    };
    let authority = match (uri.authority(), &field) {
        // Two names for one request: caches and sources could each believe another.
        (Some(uri), Some(field)) if !uri.host().eq_ignore_ascii_case(field.host()) => return None,
        (Some(uri), _) => uri,
        (None, field) => field.as_ref()?,
    };
    let host = authority.host().to_ascii_lowercase();
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    (plain && !host.is_empty() && !authority.as_str().contains('@')).then_some(host)
}

pub(super) fn name(host: &str, target: &str) -> String {
    format!("{host}{target}")
}

/// The path of a field that names a place on the same site.
fn same_site(field: &HeaderValue, host: &str) -> Option<String> {
    let uri: http::Uri = field.to_str().ok()?.parse().ok()?;
    let same = uri.host().is_none_or(|other| other.eq_ignore_ascii_case(host));
    same.then(|| uri.path_and_query().map(|target| target.as_str().to_owned()))?
}

/// How to ask a source for what a client asks for.
fn ask(visit: &Visit) -> Ask {
    let mut headers = visit.headers.clone();
    strip_hop_by_hop(&mut headers);
    headers.remove(header::HOST);
    headers.remove(header::EXPECT);
    let client = match headers.get("x-forwarded-for").and_then(|before| before.to_str().ok()) {
        Some(before) => format!("{before}, {}", visit.client),
        None => visit.client.to_string(),
    };
    insert(&mut headers, HeaderName::from_static("x-forwarded-for"), &client);
    let scheme = if visit.secure { "https" } else { "http" };
    insert(&mut headers, HeaderName::from_static("x-forwarded-proto"), scheme);
    let (method, target, host) = (visit.method.clone(), visit.target.clone(), visit.host.clone());
    Ask { method, target, host, headers, stick: None }
}

const CONDITIONS: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

fn has_conditions(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

/// Whether another edge wants the beginning, and nothing else.
fn is_beginning(visit: &Visit) -> bool {
    let range = visit.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let others = CONDITIONS.iter().filter(|name| **name != header::RANGE);
    visit.near
        && range.is_some_and(|range| range.starts_with("bytes=0-") && !range.contains(','))
        && !others.into_iter().any(|name| visit.headers.contains_key(name))
}

/// The same for the whole of it: what is kept is for all.
fn want(visit: &Visit) -> Want {
    let mut ask = ask(visit);
    ask.method = Method::GET;
    for name in CONDITIONS {
        ask.headers.remove(name);
    }
    // Where the first range begins, if it tells without the length being known.
    let field = visit.headers.get(header::RANGE).and_then(|field| field.to_str().ok());
    let start = match ranges(field, u64::MAX) {
        crate::http::Ranges::Some(list) if !field.is_some_and(|field| field.contains("=-")) => list[0].start,
        _ => 0,
    };
    // Where its end alone is wanted, and nothing else depends on what it is.
    let last = field.and_then(|field| field.strip_prefix("bytes=-")?.parse().ok());
    let last = last.filter(|count| *count > 0 && !visit.headers.contains_key(header::IF_RANGE));
    Want { name: name(&visit.host, &visit.target), ask, start, last, near: visit.near }
}

/// What there is to say where no source answers and nothing stale is left.
fn unreachable(visit: &Visit, error: &FetchError) -> Response<Outgoing> {
    if matches!(error, FetchError::Impossible) {
        return text(StatusCode::NOT_FOUND, "there is nothing here");
    }
    tracing::warn!(%error, "nothing to answer with");
    if ![Method::GET, Method::HEAD].contains(&visit.method) {
        return text(StatusCode::BAD_GATEWAY, "the source does not answer");
    }
    splash(&visit.method, &visit.headers)
}

/// What follows on this connection is not to be trusted.
fn closing(mut response: Response<Outgoing>) -> Response<Outgoing> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_request_is_for_one_site() {
        type Fields = &'static [(&'static str, &'static str)];
        let cases: &[(&str, Fields, Option<&str>)] = &[
            ("/a", &[("host", "Files.Example.com:8080")], Some("files.example.com")),
            ("http://files.example.com/a", &[("host", "files.example.com")], Some("files.example.com")),
            ("http://files.example.com/a", &[], Some("files.example.com")),
            ("http://files.example.com/a", &[("host", "other.example")], None),
            ("/a", &[("host", "a.example"), ("host", "b.example")], None),
            ("/a", &[("host", "a.example/b")], None),
            ("/a", &[("host", "user@a.example")], None),
            ("/a", &[], None),
        ];
        for (uri, fields, expected) in cases {
            assert_eq!(site(&uri.parse().unwrap(), &headers(fields)).as_deref(), *expected, "{uri} {fields:?}");
        }
    }

    #[test]
    fn patterns_are_for_hosts() {
        assert!(matches_host("*.example.com", "a.Example.com") && !matches_host("*.example.com", "example.com"));
        assert!(matches_host("example.com", "example.com") && !matches_host("example.com", "an-example.com"));
    }
}
