//! Where things are fetched from: sources in their order, each of one or more servers.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

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

struct Siblings {
    source: Source,
    own: Option<usize>,
}

impl Siblings {
    /// Who of those that answer owns this object; none: this edge does. When one fails, only its objects move.
    fn owner(&self, name: &str) -> Option<usize> {
        let now = clock::unix_seconds();
        let weight = |url: &Uri| {
            let digest = digest(&SHA256, format!("{url} {name}").as_bytes());
            u64::from_le_bytes(digest.as_ref()[..8].try_into().expect("eight of many bytes"))
        };
        let answers = |at: &usize| Some(*at) == self.own || self.source.resting[*at].load(Ordering::Relaxed) <= now;
        let all = 0..self.source.options.urls.len();
        let owner = all.filter(answers).max_by_key(|at| weight(&self.source.options.urls[*at]));
        owner.filter(|owner| Some(*owner) != self.own)
    }
}

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
        }
    }

    /// The same, with siblings. `own` is which of the URLs is this edge's, if it is among them.
    #[must_use]
    pub fn with_siblings(mut self, options: SourceOptions, own: Option<usize>) -> Self {
        self.siblings = Some(Siblings { source: Source::new(options), own });
        self
    }

    /// Asks the sibling that owns the object, unless that is this edge or the request came from a sibling, and then the
    /// sources in their order: one that does not answer, or has no such thing, is followed by the next. With
    /// `only`, asks that one.
    ///
    /// # Errors
    ///
    /// When none answers.
    pub async fn fetch(&self, ask: &Ask, only: Option<usize>) -> Result<Fetched, FetchError> {
        if only.is_none_or(|only| only == SIBLING)
            && let Some(fetched) = self.ask_owner(ask).await
        {
            return Ok(fetched);
        }
        let only = only.filter(|only| *only != SIBLING);
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let mut worst = FetchError::NoSource;
        let (mut missing, mut poor) = (None, None);
        let mut failed = false;
        for (at, source) in self.list.iter().enumerate().filter(|(at, _)| only.is_none_or(|only| only == *at)) {
            match source.fetch(ask, &self.signs).await {
                Ok((response, server)) => {
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
            _ => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                poor.ok_or(worst)
            }
        }
    }

    /// What the owner among the siblings says; nothing where there is none, or it cannot tell.
    async fn ask_owner(&self, ask: &Ask) -> Option<Fetched> {
        let siblings = self.siblings.as_ref()?;
        // Whatever others believe about who owns what, a request goes from edge to edge once.
        if hops(&ask.headers, &self.fleet, &self.node).fleet > 0 {
            return None;
        }
        let owner = siblings.owner(&format!("{}{}", ask.host, ask.target))?;
        let source = &siblings.source;
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        match source.send(ask, owner, body, &self.signs, None).await {
            // It found no source, or is this edge by another name.
            Ok(response) if is_no_answer(response.status()) || response.status() == StatusCode::LOOP_DETECTED => None,
            Ok(response) => {
                Some(Fetched { response, source: SIBLING, server: owner, read_timeout: source.options.read_timeout })
            }
            Err(error) => {
                tracing::debug!(error, "a sibling does not answer");
                None
            }
        }
    }

    /// Sends on what cannot be cached, with its body, to the first source. It is sent once: it may have had an effect.
    /// With `progress`, it may take as long as it goes on.
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
        let source = self.list.first().ok_or(FetchError::NoSource)?;
        let server = source.order(ask)[0];
        let response = source.send(ask, server, body, &self.signs, progress).await.map_err(FetchError::Unreachable)?;
        Ok(Fetched { response, source: 0, server, read_timeout: source.options.read_timeout })
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
    ) -> Result<(Response<Incoming>, usize), String> {
        let mut worst = String::new();
        let mut poor = None;
        for at in self.order(ask) {
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            match self.send(ask, at, body, signs, None).await {
                Ok(response) if is_no_answer(response.status()) => {
                    poor = Some((response, at));
                }
                Ok(response) => return Ok((response, at)),
                Err(error) => worst = error,
            }
        }
        poor.ok_or(worst)
    }

    async fn send(
        &self,
        ask: &Ask,
        at: usize,
        body: Upload,
        signs: &[(HeaderName, HeaderValue)],
        progress: Option<Arc<Progress>>,
    ) -> Result<Response<Incoming>, String> {
        let url = &self.options.urls[at];
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
        for (name, value) in signs {
            headers.append(name.clone(), value.clone());
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
        let client = self.clients.get(at).unwrap_or(&self.clients[0]);
        let bound = self.options.connect_timeout + self.options.read_timeout;
        let mut request = std::pin::pin!(client.request(request));
        let mut given = 0;
        let answer = loop {
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
        answer
    }
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
