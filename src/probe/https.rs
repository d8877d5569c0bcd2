//! The https probe: what a user's browser would do, towards one address.
//!
//! Every probe is a new TCP connection with a full TLS handshake; the name in the url is what is asked for and verified,
//! the address is the node's own. Neither DNS nor a proxy from the environment has a say. There are no retries: a
//! failure that a retry hides is a failure not seen.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AGE, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::tls::TlsInfo;
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect, retry};
use rustls::ClientConfig;

use super::phases::{self, MarkSecured, Phases};
use super::setup::ProbeSetupError;
use super::{Sight, brief, load, tls, trouble};
use crate::clock;
use crate::model::{Fault, HttpsProbe, Measured, Node, Outcome, Stage};

/// Probes https.
#[derive(Debug)]
pub(super) struct HttpsProber {
    settings: HttpsProbe,
    url: Url,
    method: Method,
    headers: HeaderMap,
    tls: Arc<ClientConfig>,
    /// Built when first needed: 2 µs and about 2 KB each, because they share `tls` and nothing else is in them.
    clients: Mutex<BTreeMap<IpAddr, Client>>,
}

impl HttpsProber {
    pub(super) fn new(settings: HttpsProbe) -> Result<Self, ProbeSetupError> {
        let url = target(&settings.url)?;
        let method = Method::from_bytes(settings.method.as_bytes())
            .map_err(|_| ProbeSetupError::Method(settings.method.clone()))?;
        let headers = headers(&settings)?;
        let tls = tls::config(&settings)?;
        let prober = Self { url, method, headers, tls, clients: Mutex::default(), settings };
        // Whatever reqwest may dislike about the settings, it dislikes now.
        prober
            .build(IpAddr::from([127, 0, 0, 1]))
            .map_err(|error| ProbeSetupError::Client(innermost(&error).to_string()))?;
        Ok(prober)
    }

    /// For everything.
    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Another request to `address`, with the probe's headers.
    ///
    /// # Errors
    /// When there can be no client.
    pub(super) fn request(&self, address: IpAddr, method: Method, path: &str) -> reqwest::Result<RequestBuilder> {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        Ok(self.client(address)?.request(method, url).headers(self.headers.clone()))
    }

    /// One request to `address` of `node`.
    pub(super) async fn probe(&self, node: &Node, address: IpAddr) -> Sight {
        let phases = Arc::new(Phases::begin());
        let client = match self.client(address) {
            Ok(client) => client,
            Err(error) => return self.failed(&error, address, &phases),
        };
        let asked = phases::watch(Arc::clone(&phases), self.ask(&client, node, address, &phases));
        tokio::select! {
            sight = asked => sight,
            stage = self.too_late(&phases) => {
                Sight::of(Outcome::Failed(Fault::Timeout(stage)), phases.measured())
            }
        }
    }

    async fn ask(&self, client: &Client, node: &Node, address: IpAddr, phases: &Phases) -> Sight {
        let request = client.request(self.method.clone(), self.url.clone()).headers(self.headers.clone());
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return self.failed(&error, address, phases),
        };
        phases.answered();

        let status = response.status().as_u16();
        let certificate_days = response
            .extensions()
            .get::<TlsInfo>()
            .and_then(TlsInfo::peer_certificate)
            .and_then(|der| tls::certificate_days(der, clock::now()));
        let age = age(response.headers());
        let measured = |note| Measured { status: Some(status), certificate_days, note, ..phases.measured() };

        if let Some(fault) = self.dislike(status) {
            return Sight::of(Outcome::Failed(fault), measured(None));
        }
        let body = match read(&mut response, self.settings.body_limit).await {
            Ok(body) => body,
            Err(error) => {
                let Sight { outcome, measured: Measured { note, .. }, .. } = self.failed(&error, address, phases);
                return Sight::of(outcome, measured(note));
            }
        };
        if let Some(wanted) = &self.settings.expect_body
            && !wanted.is_match(&body)
        {
            let note = format!("no match in the body's first {} bytes", body.len());
            return Sight::of(Outcome::Failed(Fault::Body), measured(Some(note)));
        }
        let note = certificate_days
            .filter(|days| *days <= self.settings.warn_certificate_days)
            .map(|days| format!("the certificate ends in {days} days"));
        let load = self.asks_for_health().then(|| load::of_health(&node.id, clock::now(), age, &body)).flatten();
        Sight { load, ..Sight::of(Outcome::Passed, measured(note)) }
    }

    /// Whether what it asks for is an edge's health document.
    fn asks_for_health(&self) -> bool {
        self.url.path() == load::PATH
    }

    /// Ends when the probe has taken too long, with the stage it was then in.
    async fn too_late(&self, phases: &Phases) -> Stage {
        tokio::time::sleep(self.settings.connect_timeout.min(self.settings.timeout)).await;
        if phases.stage() != Stage::Connect {
            tokio::time::sleep(self.settings.timeout.saturating_sub(self.settings.connect_timeout)).await;
        }
        phases.stage()
    }

    /// What is wrong with `status`, if anything.
    fn dislike(&self, status: u16) -> Option<Fault> {
        if self.settings.expect_status.iter().any(|range| (range.from..=range.to).contains(&status)) {
            return None;
        }
        Some(if matches!(status, 429 | 503) { Fault::Shedding(status) } else { Fault::Status(status) })
    }

    fn failed(&self, error: &reqwest::Error, address: IpAddr, phases: &Phases) -> Sight {
        let (outcome, certificate_days) = judge(error, address, phases.stage());
        let note = Some(brief(&innermost(error).to_string()));
        Sight::of(outcome, Measured { certificate_days, note, ..phases.measured() })
    }

    fn client(&self, address: IpAddr) -> reqwest::Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&address) {
            return Ok(client.clone());
        }
        let client = self.build(address)?;
        clients.insert(address, client.clone());
        Ok(client)
    }

    fn build(&self, address: IpAddr) -> reqwest::Result<Client> {
        let host = self.url.host_str().expect("checked when the url was read");
        let port = self.url.port_or_known_default().expect("https has one");
        Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
            .tls_info(true)
            .resolve(host, SocketAddr::new(address, port))
            .connector_layer(MarkSecured)
            .pool_max_idle_per_host(0)
            // For connections that live longer than a probe; each is a system call.
            .tcp_keepalive(None)
            .tcp_user_timeout(None)
            .no_proxy()
            .https_only(true)
            .referer(false)
            .retry(retry::never())
            .redirect(self.redirects())
            .user_agent(concat!("witness/", env!("CARGO_PKG_VERSION")))
            .build()
    }

    /// Follows as many redirects as allowed while they stay with this host and port, and so with this address. Any other
    /// is not followed, and its own status is judged.
    fn redirects(&self) -> redirect::Policy {
        let most = usize::try_from(self.settings.redirects).unwrap_or(usize::MAX);
        if most == 0 {
            return redirect::Policy::none();
        }
        let home = self.url.origin();
        redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() <= most && attempt.url().origin() == home {
                attempt.follow()
            } else {
                attempt.stop()
            }
        })
    }
}

/// How long an answer has lain in a cache by its own word.
fn age(headers: &HeaderMap) -> Duration {
    let seconds =
        headers.get(AGE).and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse::<u32>().ok());
    Duration::from_secs(seconds.unwrap_or(0).into())
}

/// The body's beginning, at most `limit` bytes of it.
async fn read(response: &mut Response, limit: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < limit {
        let Some(chunk) = response.chunk().await? else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
    }
    Ok(body)
}

/// Whose fault `error` is, and the certificate's remaining days where it tells them.
fn judge(error: &reqwest::Error, address: IpAddr, stage: Stage) -> (Outcome, Option<i32>) {
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return tls::fault(error, clock::now());
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>()
            && let Some(outcome) = trouble::of_io(error, address, stage)
        {
            return (outcome, None);
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && error.is_parse()
        {
            return (Outcome::Failed(Fault::Protocol), None);
        }
    }
    // What is left is a connection that ended before the answer did.
    (Outcome::Failed(Fault::Reset), None)
}

/// `error` and all below it. I/O errors show what they wrap only when asked.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |cause| {
        let cause: &(dyn StdError + 'static) = *cause;
        match cause.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => cause.source(),
        }
    })
}

pub(super) fn innermost(error: &reqwest::Error) -> &(dyn StdError + 'static) {
    causes(error).last().expect("begins with the error itself")
}

fn target(text: &str) -> Result<Url, ProbeSetupError> {
    let fault = |why: &str| ProbeSetupError::Url { url: redacted(text), why: why.to_owned() };
    let url = Url::parse(text).map_err(|error| fault(&format!("{error}; give https://NAME/PATH")))?;
    if url.scheme() != "https" {
        return Err(fault("it must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("it must not hold a user or password; give a token_file"));
    }
    match url.domain() {
        Some(_) => Ok(url),
        None => Err(fault("its host must be a name: the connection goes to each node's own address")),
    }
}

/// `text` without what stands before an `@`: it may be a password.
fn redacted(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => text.to_owned(),
    }
}

fn headers(settings: &HttpsProbe) -> Result<HeaderMap, ProbeSetupError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let fault = || ProbeSetupError::Header(name.clone());
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| fault())?);
    }
    if let Some(token) = &settings.token {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| ProbeSetupError::Token)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_service_and_nothing_else() {
        for good in ["https://files.example.com/", "https://files.example.com:8443/health?deep=1"] {
            assert!(target(good).is_ok(), "{good}");
        }
        let check = |url: &str, expected: &str| {
            let error = target(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        };
        check("http://files.example.com/", "https://");
        check("https://192.0.2.1/", "must be a name");
        check("https://[2001:db8::1]/", "must be a name");
        check("files.example.com", "https://NAME/PATH");
        check("https://user:hunter2@example.com/", "token_file");
        let error = target("https://user:hunter2@example.com/").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
