//! Requests that upload.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::Receipt;
use super::multipart;
use super::publisher::{Publisher, Uploader};
use super::receive::{Receiver, Source};
use super::refusal::Refusal;
use super::reply::{Format, Teller};
use super::wish::Wish;
use crate::clock::Stopwatch;
use crate::config::{Dialect, UploadToken};
use crate::limits::{Allowances, Counted, Counts, Group, Meter, is_allowed};
use crate::metrics::Metrics;
use crate::serve::Outgoing;

/// What is sent after a refusal is read for so long, so that those who do not listen while they send get the answer.
const LINGER: Duration = Duration::from_secs(30);
/// Who is silent for so long meanwhile has stopped.
const SILENCE: Duration = Duration::from_secs(5);

/// Takes uploads.
#[derive(Debug)]
pub struct Uploads {
    /// Gets them onto the disk.
    pub receiver: Receiver,
    /// Gives them names.
    pub publisher: Publisher,
    /// What stands before names.
    pub files_url: String,
    /// Whether it is kept who uploads.
    pub keep_addresses: bool,
    /// Who may upload how much.
    pub admission: Admission,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Who may upload how much.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Those who may; everybody where nothing is said.
    pub tokens: Option<Arc<[UploadToken]>>,
    /// How many bytes.
    pub allowances: Option<Arc<Allowances>>,
    /// How many requests are under way.
    pub counts: Arc<Counts>,
    /// Of one address.
    pub most_at_once: u32,
}

/// Somebody who may upload, as long as this is there.
#[derive(Debug)]
pub struct Admitted {
    /// What is taken from.
    pub meter: Option<Meter>,
    _counted: Counted,
}

impl Admission {
    /// Lets somebody in who wants to send so much.
    ///
    /// # Errors
    ///
    /// When they may not.
    pub fn admit(&self, parts: &Parts, client: IpAddr, length: Option<u64>) -> Result<Admitted, Refusal> {
        if let Some(tokens) = &self.tokens
            && is_allowed(&parts.headers, tokens).is_none()
        {
            return Err(Refusal::NoToken);
        }
        self.count(client, length)
    }

    /// The same, for somebody who was let in before.
    ///
    /// # Errors
    ///
    /// When it is too much.
    pub fn count(&self, client: IpAddr, length: Option<u64>) -> Result<Admitted, Refusal> {
        let group = Group::of(client);
        let Some(counted) = self.counts.enter(group, self.most_at_once) else { return Err(Refusal::TooManyAtOnce) };
        let meter = self.allowances.clone().map(|allowances| Meter { allowances, group });
        if let Some(meter) = &meter {
            meter.allowances.has(group, length.unwrap_or(1)).map_err(Refusal::TooMuch)?;
        }
        Ok(Admitted { meter, _counted: counted })
    }
}

/// What a request says about the length of its body.
pub(super) fn told_length(parts: &Parts) -> Option<u64> {
    parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

impl Uploads {
    /// A form, as Pomf takes it.
    pub async fn form(
        &self,
        parts: &Parts,
        body: Incoming,
        client: IpAddr,
        dialect: Dialect,
        usual: Format,
    ) -> Response<Outgoing> {
        let format = Format::of(parts.uri.query(), usual);
        let teller = Teller { format, dialect, files_url: &self.files_url };
        let taken = self.take(parts, body, None, client, dialect.extras).await;
        match taken {
            Ok(receipts) => teller.success(&receipts),
            Err((refusal, closes)) => closing(teller.failure(&refusal), closes),
        }
    }

    /// A file by its name, as `curl -T` sends it. The answer is its URL.
    pub async fn put(&self, parts: &Parts, body: Incoming, client: IpAddr, dialect: Dialect) -> Response<Outgoing> {
        let teller =
            Teller { format: Format::of(parts.uri.query(), Format::Text), dialect, files_url: &self.files_url };
        let last = parts.uri.path().rsplit('/').next().unwrap_or_default();
        let name: Vec<u8> = percent_encoding::percent_decode_str(last).collect();
        let taken = self.take(parts, body, Some(&name), client, true).await;
        let receipts = match taken {
            Ok(receipts) => receipts,
            Err((refusal, closes)) => return closing(teller.failure(&refusal), closes),
        };
        let mut response = teller.success(&receipts);
        *response.status_mut() = StatusCode::CREATED;
        if let Some(receipt) = receipts.first() {
            let url = format!("{}/{}", self.files_url, receipt.link.name.in_url());
            let headers = response.headers_mut();
            headers.extend(HeaderValue::from_str(&url).map(|url| (header::LOCATION, url)));
            let delete_url = teller.delete_url(receipt).and_then(|url| HeaderValue::from_str(&url).ok());
            headers.extend(delete_url.map(|url| (http::HeaderName::from_static("x-url-delete"), url)));
        }
        response
    }

    /// Receives and publishes. A refusal comes with whether the connection has to end.
    async fn take(
        &self,
        parts: &Parts,
        mut body: Incoming,
        name: Option<&[u8]>,
        client: IpAddr,
        gets_token: bool,
    ) -> Result<Vec<Receipt>, (Refusal, bool)> {
        let since = Stopwatch::start();
        let address = self.keep_addresses.then(|| client.to_string());
        let uploader = Uploader { address, gets_token, resumed: None };
        // What is too large will not be sent.
        let length = told_length(parts).filter(|length| *length <= self.receiver.limits.max_request);
        let admitted = self.admission.admit(parts, client, length);
        let mut begun = false;
        let received = match &admitted {
            Ok(admitted) => {
                let limits = &self.receiver.limits;
                let mut source = Source::new(&mut body, limits, limits.max_request, admitted.meter.clone());
                let received = self.receive(parts, &mut source, name).await;
                begun = source.begun;
                received
            }
            Err(refusal) => Err(refusal.clone()),
        };
        let published = match received {
            Ok((files, wish)) => self.publisher.publish(files, wish, uploader).await,
            Err(refusal) => Err(refusal),
        };
        let refusal = match published {
            Ok(receipts) => {
                self.metrics.uploads.add(1);
                self.metrics.upload_seconds.add(since.elapsed());
                return Ok(receipts);
            }
            Err(refusal) => refusal,
        };
        count(&self.metrics, &refusal);
        let closes = let_go(parts, body, begun, &refusal);
        Err((refusal, closes))
    }

    async fn receive(
        &self,
        parts: &Parts,
        source: &mut Source<'_>,
        name: Option<&[u8]>,
    ) -> Result<(Vec<super::Received>, Wish), Refusal> {
        let wish = Wish::of(parts.uri.query(), &parts.headers)?;
        let length = told_length(parts);
        let limits = &self.receiver.limits;
        let most = if name.is_some() { limits.max_size } else { limits.max_request };
        if length.is_some_and(|length| length > most) {
            return Err(Refusal::TooLarge);
        }
        if let Some(name) = name {
            return Ok((vec![self.receiver.file(source, name, length).await?], wish));
        }
        if parts.method != Method::POST {
            return Err(Refusal::NoFile);
        }
        let content_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let boundary = multipart::boundary(content_type)?;
        self.receiver.form(source, &boundary, length, wish).await
    }
}

/// Counts a refusal, and tells of those that are our own fault.
pub(super) fn count(metrics: &Metrics, refusal: &Refusal) {
    metrics.refusals.add(refusal.reason());
    match refusal {
        Refusal::Full | Refusal::Failed(_) | Refusal::Unscanned(_) => {
            metrics.failed_uploads.add(1);
            let why = match refusal {
                Refusal::Failed(why) | Refusal::Unscanned(why) => why.as_str(),
                _ => "no room",
            };
            tracing::error!(why, "failed to store an upload");
        }
        Refusal::Partial | Refusal::Slow => metrics.broken_uploads.add(1),
        Refusal::TooMuch(_) | Refusal::TooManyAtOnce => metrics.limited_uploads.add(1),
        _ => metrics.refused_uploads.add(1),
    }
}

/// What is left of a body after a refusal is read for a while, unless nobody will send it. Whether the connection has to
/// end. `begun`: whether some of it was read.
pub(super) fn let_go(parts: &Parts, body: Incoming, begun: bool, refusal: &Refusal) -> bool {
    // Who waits to be told to go on is told not to.
    let waits = !begun && parts.headers.contains_key(header::EXPECT);
    let is_over = body.is_end_stream();
    if !is_over && !waits && !matches!(refusal, Refusal::Partial | Refusal::Slow) {
        tokio::spawn(drain(body));
    }
    !is_over
}

pub(super) fn closing(mut response: Response<Outgoing>, closes: bool) -> Response<Outgoing> {
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn drain(mut body: Incoming) {
    let since = Stopwatch::start();
    while since.elapsed() < LINGER {
        match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(Some(Ok(_))) => {}
            _ => return,
        }
    }
}
