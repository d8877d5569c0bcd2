//! Where things are fetched from: the sibling that owns them, then sources in their order, each of one or more servers.

mod bucket;
mod siblings;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

pub use bucket::Bucket;
pub use siblings::{SEGMENT, segment_of};
use siblings::{Siblings, base};

use crate::clock;
use crate::config::Sticky;
use crate::connect::{self, Client};
use crate::http::{hops, strip_hop_by_hop};
use crate::serve::Progress;
use crate::sticky;

/// A body on its way to a source.
pub type Upload = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// After a server did not answer, it is asked last for so many seconds.
const REST: u64 = 5;

/// Nothing could be fetched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// No server of any source answered; what the last one failed with.
    #[error("no source answers: {0}")]
    Unreachable(String),
    /// There is no source.
    #[error("no source is configured")]
    NoSource,
    /// No source can have it, or change it.
    #[error("no source has such a thing")]
    Impossible,
}

/// Which part of a thing is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the request says itself.
    AsAsked,
    /// From this offset on: the rest, or, with siblings, the rest of its segment at least.
    From(u64),
    /// The last so many bytes.
    Last(u64),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Usually GET.
    pub method: Method,
    /// Path and query, as they came.
    pub target: String,
    /// The name of the site, as it came.
    pub host: String,
    /// Further fields, without those for one connection.
    pub headers: HeaderMap,
    /// For what cannot be cached: the client, who may have to stay at one server.
    pub stick: Option<IpAddr>,
}

impl Ask {
    /// The object's name, as owners are chosen by it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", self.host, self.target)
    }

    /// The same for these bytes, whatever was asked for.
    fn ranged(&self, range: &str) -> Self {
        let mut ask = self.clone();
        ask.headers.insert(header::RANGE, HeaderValue::from_str(range).expect("digits are plain"));
        ask
    }

    /// The same for later, for whoever wants more of it: without the way that this one request came.
    #[must_use]
    pub fn lasting(&self) -> Self {
        let mut ask = self.clone();
        ask.headers.remove("cdn-loop");
        ask.headers.remove(header::VIA);
        ask
    }

    /// The same with these fields, for which values are known to be fine.
    #[must_use]
    pub fn with(&self, fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        let mut ask = self.clone();
        ask.headers.extend(fields);
        ask
    }
}

/// How a source is reached.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// For logs.
    pub name: String,
    /// `http://` or `https://`, without a path; asked in turn.
    pub urls: Vec<Uri>,
    /// Sent as the host's name, in place of what the client asked for.
    pub host: Option<String>,
    /// Of servers that speak S3: which bucket.
    pub bucket: Option<Arc<Bucket>>,
    /// Whom to trust.
    pub tls: Arc<rustls::ClientConfig>,
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// Between one sign of life and the next.
    pub read_timeout: Duration,
    /// Speaks HTTP/2 where the server does.
    pub http2: bool,
    /// Keeps a client at one of the servers.
    pub sticky: Option<Sticky>,
}

/// Stands for the siblings where a source is remembered.
pub const SIBLING: usize = usize::MAX;

struct Source {
    options: SourceOptions,
    /// One, or one for each server.
    clients: Vec<Client>,
    turn: AtomicUsize,
    /// When each server may be asked first again.
    resting: Vec<AtomicU64>,
}

/// All sources.
pub struct Sources {
    list: Vec<Source>,
    /// The other edges of the fleet, which are asked before any source.
    siblings: Option<Siblings>,
    /// How this edge signs: `FLEET; node=NAME`, and the same for `Via`.
    signs: [(HeaderName, HeaderValue); 2],
    fleet: String,
    node: String,
    fetches: AtomicU64,
    failures: AtomicU64,
    sibling_fetches: AtomicU64,
    sibling_failures: AtomicU64,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|source| &source.options.name)).finish()
    }
}

/// What a source said.
#[derive(Debug)]
pub struct Fetched {
    /// Its answer.
    pub response: Response<Incoming>,
    /// Which source it was, to ask it again for the rest.
    pub source: usize,
    /// Which of its servers.
    pub server: usize,
    /// How long it may be silent.
    pub read_timeout: Duration,
}

impl Sources {
    /// Of these, signing as `fleet` and `node`.
    ///
    /// # Panics
    ///
    /// When a name cannot stand in a header field, which the configuration makes sure of.
    #[must_use]
    pub fn new(list: Vec<SourceOptions>, fleet: &str, node: &str) -> Self {
        let sign = |text: String| HeaderValue::from_str(&text).expect("names are plain");
        Self {
            list: list.into_iter().map(Source::new).collect(),
            siblings: None,
            fleet: fleet.to_owned(),
            node: node.to_owned(),
            signs: [
                (HeaderName::from_static("cdn-loop"), sign(format!("{fleet}; node={node}"))),
                (header::VIA, sign(format!("1.1 {node}"))),
            ],
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            sibling_fetches: AtomicU64::new(0),
            sibling_failures: AtomicU64::new(0),
        }
    }

    /// The same, with siblings. `own` is which of the URLs is this edge's, if it is among them.
    #[must_use]
    pub fn with_siblings(mut self, options: SourceOptions, own: Option<usize>) -> Self {
        self.siblings = Some(Siblings::new(options, own));
        self
    }

    /// Looks after the siblings, for as long as it is asked to.
    pub async fn watch(&self) {
        match &self.siblings {
            Some(siblings) => siblings.watch().await,
            None => std::future::pending().await,
        }
    }

    /// Sends this to each of the siblings, and gives what became of it.
    pub async fn tell_siblings(&self, path: &str, token: &str, body: &str) -> Vec<(String, Result<(), String>)> {
        match &self.siblings {
            Some(siblings) => siblings.tell(path, token, body).await,
            None => Vec::new(),
        }
    }

    /// Whether a sibling fetches this part of an object for the fleet.
    #[must_use]
    pub fn is_elsewhere(&self, name: &str, offset: u64) -> bool {
        self.owner(name, offset).is_some()
    }

    /// The URL of that sibling.
    #[must_use]
    pub fn owner_of(&self, name: &str, offset: u64) -> Option<String> {
        let siblings = self.siblings.as_ref()?;
        Some(base(&siblings.source.options.urls[siblings.owner(name, segment_of(offset))?]))
    }

    fn owner(&self, name: &str, offset: u64) -> Option<usize> {
        self.siblings.as_ref()?.owner(name, segment_of(offset))
    }

    /// Whether objects are fetched in segments, as each may have another owner.
    #[must_use]
    pub fn in_segments(&self) -> bool {
        self.siblings.is_some()
    }

    /// Other members of the fleet, those of them that are well, and what they were asked and answered.
    #[must_use]
    pub fn sibling_counts(&self) -> (u64, u64, u64, u64) {
        let (members, well) = self.siblings.as_ref().map_or((0, 0), Siblings::counts);
        (members, well, self.sibling_fetches.load(Ordering::Relaxed), self.sibling_failures.load(Ordering::Relaxed))
    }

    /// Asks the sibling that owns the part, unless that is this edge or the request came from a sibling, and then the
    /// sources in their order: one that does not answer, or has no such thing, is followed by the next. With `only`,
    /// asks that one of them.
    ///
    /// # Errors
    ///
    /// When none answers.
    pub async fn fetch(&self, ask: &Ask, part: Part, only: Option<usize>) -> Result<Fetched, FetchError> {
        if let Some(fetched) = self.ask_owner(ask, part).await {
            return Ok(fetched);
        }
        self.fetch_from_sources(ask, part, only).await
    }

    /// The same without siblings.
    ///
    /// # Errors
    ///
    /// When none answers.
    pub async fn fetch_from_sources(&self, ask: &Ask, part: Part, only: Option<usize>) -> Result<Fetched, FetchError> {
        let only = only.filter(|only| *only != SIBLING);
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let ask = match part {
            // Where it may be short, it is asked for without a range, which everybody knows how to answer.
            Part::AsAsked | Part::From(0) => ask,
            Part::From(start) if self.in_segments() => {
                &ask.ranged(&format!("bytes={start}-{}", last_of_segment(start)))
            }
            Part::From(start) => &ask.ranged(&format!("bytes={start}-")),
            Part::Last(count) => &ask.ranged(&format!("bytes=-{count}")),
        };
        let mut worst = FetchError::NoSource;
        let (mut missing, mut poor) = (None, None);
        let (mut failed, mut impossible) = (false, false);
        for (at, source) in self.list.iter().enumerate().filter(|(at, _)| only.is_none_or(|only| only == *at)) {
            match source.fetch(ask, &self.signs).await {
                Ok(Some((response, server))) => {
                    let fetched = Fetched { response, source: at, server, read_timeout: source.options.read_timeout };
                    match fetched.response.status() {
                        StatusCode::NOT_FOUND => missing = missing.or(Some(fetched)),
                        status if is_no_answer(status) => {
                            failed = true;
                            poor = Some(fetched);
                        }
                        _ => return Ok(fetched),
                    }
                }
                Ok(None) => impossible = true,
                Err(error) => {
                    tracing::debug!(source = source.options.name, error, "a source does not answer");
                    failed = true;
                    worst = FetchError::Unreachable(error);
                }
            }
        }
        // That one has it not says nothing while another, which might, is silent.
        match missing {
            Some(missing) if !failed => Ok(missing),
            None if impossible && !failed => Err(FetchError::Impossible),
            _ => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                poor.ok_or(worst)
            }
        }
    }

    /// What the owner among the siblings says; nothing where there is none, or it cannot tell.
    async fn ask_owner(&self, ask: &Ask, part: Part) -> Option<Fetched> {
        let siblings = self.siblings.as_ref()?;
        // Whatever others believe about who owns what, a request goes from edge to edge once.
        if self.is_from_sibling(&ask.headers) {
            return None;
        }
        let start = if let Part::From(start) = part { start } else { 0 };
        let owner = siblings.owner(&ask.name(), segment_of(start))?;
        let source = &siblings.source;
        let ask = match part {
            Part::AsAsked => ask,
            // No further than to where another is the owner.
            Part::From(start) => &ask.ranged(&format!("bytes={start}-{}", last_of_segment(start))),
            Part::Last(count) => &ask.ranged(&format!("bytes=-{count}")),
        };
        self.sibling_fetches.fetch_add(1, Ordering::Relaxed);
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let answer = match source.send(ask, owner, body, &self.signs, None).await {
            // It found no source, or is this edge by another name.
            Ok(Some(response))
                if !is_no_answer(response.status()) && response.status() != StatusCode::LOOP_DETECTED =>
            {
                Some(Fetched { response, source: SIBLING, server: owner, read_timeout: source.options.read_timeout })
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(error, "a sibling does not answer");
                None
            }
        };
        if answer.is_none() {
            self.sibling_failures.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// Whether a request with these fields has been through an edge of this fleet.
    #[must_use]
    pub fn is_from_sibling(&self, headers: &HeaderMap) -> bool {
        hops(headers, &self.fleet, &self.node).fleet > 0
    }

    /// Sends on what cannot be cached, with its body, to the first source that is no bucket. It is sent once: it may
    /// have had an effect. With `progress`, it may take as long as it goes on.
    ///
    /// # Errors
    ///
    /// When the source does not answer.
    pub(crate) async fn pass(
        &self,
        ask: &Ask,
        body: Upload,
        progress: Option<Arc<Progress>>,
    ) -> Result<Fetched, FetchError> {
        let mut writable = self.list.iter().enumerate().filter(|(_, source)| source.options.bucket.is_none());
        let (at, source) = writable.next().ok_or(FetchError::Impossible)?;
        let server = source.order(ask)[0];
        let response = source.send(ask, server, body, &self.signs, progress).await.map_err(FetchError::Unreachable)?;
        let response = response.ok_or(FetchError::Impossible)?;
        Ok(Fetched { response, source: at, server, read_timeout: source.options.read_timeout })
    }

    /// Whether any source keeps clients at one of its servers.
    #[must_use]
    pub fn is_sticky(&self) -> bool {
        self.list.iter().any(|source| source.options.sticky.is_some())
    }

    /// The cookie by which a client comes back to the server that answered, if it does not have it already.
    #[must_use]
    pub fn cookie_for(&self, ask: &Ask, fetched: &Fetched, secure: bool) -> Option<HeaderValue> {
        let options = &self.list.get(fetched.source)?.options;
        let client = ask.stick.filter(|_| options.sticky == Some(Sticky::Cookie))?;
        let known = sticky::server_of(Sticky::Cookie, &options.name, &options.urls, client, &ask.headers);
        let url = options.urls.get(fetched.server)?;
        (known != Some(fetched.server)).then(|| sticky::cookie(&options.name, url, secure))?
    }

    /// Requests sent, and those that no source answered.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.fetches.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// Each source with whether any of its servers answers, as far as is known.
    #[must_use]
    pub fn states(&self) -> Vec<(&str, bool)> {
        let now = clock::unix_seconds();
        let up = |source: &Source| source.resting.iter().any(|until| until.load(Ordering::Relaxed) <= now);
        self.list.iter().map(|source| (source.options.name.as_str(), up(source))).collect()
    }
}

impl Source {
    fn new(options: SourceOptions) -> Self {
        let clients = if options.http2 {
            options.urls.iter().map(|url| connect::http2(&options.tls, options.connect_timeout, url)).collect()
        } else {
            vec![connect::http1(&options.tls, options.connect_timeout)]
        };
        let resting = options.urls.iter().map(|_| AtomicU64::new(0)).collect();
        Self { clients, turn: AtomicUsize::new(0), resting, options }
    }

    /// What speaks to this server.
    fn client(&self, at: usize) -> &Client {
        self.clients.get(at).unwrap_or(&self.clients[0])
    }

    /// The servers, the one that the client belongs to or whose turn it is first, those that did not answer lately
    /// last.
    fn order(&self, ask: &Ask) -> Vec<usize> {
        let count = self.options.urls.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..count).map(|at| (turn + at) % count).collect();
        let SourceOptions { name, urls, sticky, .. } = &self.options;
        let belongs = ask.stick.zip(*sticky);
        let belongs = belongs.and_then(|(client, sticky)| sticky::server_of(sticky, name, urls, client, &ask.headers));
        if let Some(belongs) = belongs {
            order.sort_by_key(|at| *at != belongs);
        }
        let now = clock::unix_seconds();
        order.sort_by_key(|at| self.resting[*at].load(Ordering::Relaxed) > now);
        order
    }

    async fn fetch(
        &self,
        ask: &Ask,
        signs: &[(HeaderName, HeaderValue)],
    ) -> Result<Option<(Response<Incoming>, usize)>, String> {
        let mut worst = String::new();
        let mut poor = None;
        for at in self.order(ask) {
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            match self.send(ask, at, body, signs, None).await {
                Ok(Some(response)) if is_no_answer(response.status()) => {
                    poor = Some((response, at));
                }
                Ok(response) => return Ok(response.map(|response| (response, at))),
                Err(error) => worst = error,
            }
        }
        poor.map(Some).ok_or(worst)
    }

    /// `None`: this kind of source can have no such thing.
    async fn send(
        &self,
        ask: &Ask,
        at: usize,
        body: Upload,
        signs: &[(HeaderName, HeaderValue)],
        progress: Option<Arc<Progress>>,
    ) -> Result<Option<Response<Incoming>>, String> {
        let url = &self.options.urls[at];
        let mut request = match &self.options.bucket {
            Some(bucket) => match bucket.request(url, ask) {
                Some(request) => request?,
                None => return Ok(None),
            },
            None => self.plain(ask, url, body)?,
        };
        for (name, value) in signs {
            request.headers_mut().append(name.clone(), value.clone());
        }
        if let Some(progress) = progress.as_ref().filter(|progress| progress.is_asking()) {
            if self.options.http2 {
                // The library does not tell there what the source says to it.
                progress.want();
            } else {
                request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
                let progress = progress.clone();
                hyper::ext::on_informational(&mut request, move |answer| {
                    if answer.status() == StatusCode::CONTINUE {
                        progress.want();
                    }
                });
            }
        }
        // Until the head is there: what it takes to connect, and then to answer.
        let client = self.client(at);
        let bound = self.options.connect_timeout + self.options.read_timeout;
        let mut request = std::pin::pin!(client.request(request));
        let mut given = 0;
        let mut answer = loop {
            match tokio::time::timeout(bound, &mut request).await {
                Ok(Ok(response)) => break Ok(response),
                Ok(Err(error)) => break Err(chain(&error)),
                // An upload that goes on, or whose client does not, is no silence of the source's.
                Err(_) => match &progress {
                    Some(progress) if progress.waits_for_client() || progress.given() > given => {
                        given = progress.given();
                    }
                    _ => break Err(format!("it was silent for {} s", bound.as_secs())),
                },
            }
        };
        if let Some(progress) = &progress {
            progress.answered();
        }
        let until = if answer.is_err() { clock::unix_seconds() + REST } else { 0 };
        self.resting[at].store(until, Ordering::Relaxed);
        if self.options.bucket.is_some()
            && let Ok(response) = &mut answer
        {
            bucket::strip(response.headers_mut());
            // It would tell of the key, and is about us and not about the client.
            if [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST].contains(&response.status()) {
                let status = response.status();
                tracing::warn!(source = self.options.name, %status, "{}", bucket::REFUSAL);
                return Err(format!("it answered {status}"));
            }
        }
        answer.map(Some)
    }

    /// The request as it came, to this server.
    fn plain(&self, ask: &Ask, url: &Uri, body: Upload) -> Result<Request<Upload>, String> {
        let host = self.options.host.as_deref().unwrap_or(&ask.host);
        // In HTTP/2 a request's URL names the site; where it goes, its client knows.
        let authority = match url.authority() {
            Some(authority) if !self.options.http2 => authority.as_str(),
            _ => host,
        };
        let target = format!("{}://{authority}{}", url.scheme_str().unwrap_or("http"), ask.target);
        let mut request = Request::builder().method(ask.method.clone()).uri(target).body(body).map_err(text)?;
        let headers = request.headers_mut();
        *headers = ask.headers.clone();
        strip_hop_by_hop(headers);
        if !self.options.http2 {
            headers.insert(header::HOST, HeaderValue::from_str(host).map_err(text)?);
        }
        if self.options.sticky == Some(Sticky::Cookie) {
            sticky::without_cookie(&self.options.name, headers);
        }
        Ok(request)
    }
}

/// The last byte of the segment that this offset is in.
fn last_of_segment(offset: u64) -> u64 {
    (segment_of(offset) + 1).saturating_mul(SEGMENT) - 1
}

/// Statuses by which a server says that it cannot tell: another may, and what is stale is better.
pub(crate) fn is_no_answer(status: StatusCode) -> bool {
    [500, 502, 503, 504, 429].contains(&status.as_u16())
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// The error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
