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
use crate::config::Dialect;
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
    /// What is counted.
    pub metrics: Arc<Metrics>,
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
        let taken = self.take(parts, body, None, self.uploader(client, dialect.extras)).await;
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
        let taken = self.take(parts, body, Some(&name), self.uploader(client, true)).await;
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

    fn uploader(&self, client: IpAddr, gets_token: bool) -> Uploader {
        Uploader { address: self.keep_addresses.then(|| client.to_string()), gets_token }
    }

    /// Receives and publishes. A refusal comes with whether the connection has to end.
    async fn take(
        &self,
        parts: &Parts,
        mut body: Incoming,
        name: Option<&[u8]>,
        uploader: Uploader,
    ) -> Result<Vec<Receipt>, (Refusal, bool)> {
        let since = Stopwatch::start();
        let mut source = Source::new(&mut body, &self.receiver.limits);
        let received = self.receive(parts, &mut source, name).await;
        let begun = source.begun;
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
        self.count(&refusal);
        // Who waits to be told to go on is told not to.
        let waits = !begun && parts.headers.contains_key(header::EXPECT);
        let is_over = body.is_end_stream();
        if !is_over && !waits && !matches!(refusal, Refusal::Partial | Refusal::Slow) {
            tokio::spawn(drain(body));
        }
        Err((refusal, !is_over))
    }

    async fn receive(
        &self,
        parts: &Parts,
        source: &mut Source<'_>,
        name: Option<&[u8]>,
    ) -> Result<(Vec<super::Received>, Wish), Refusal> {
        let wish = Wish::of(parts.uri.query(), &parts.headers)?;
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let limits = &self.receiver.limits;
        let most = if name.is_some() { limits.max_size } else { limits.max_request };
        if length.is_some_and(|length: u64| length > most) {
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

    fn count(&self, refusal: &Refusal) {
        self.metrics.refusals.add(refusal.reason());
        match refusal {
            Refusal::Full | Refusal::Failed(_) => {
                self.metrics.failed_uploads.add(1);
                let why = match refusal {
                    Refusal::Failed(why) => why.as_str(),
                    _ => "no room",
                };
                tracing::error!(why, "failed to store an upload");
            }
            Refusal::Partial | Refusal::Slow => self.metrics.broken_uploads.add(1),
            _ => self.metrics.refused_uploads.add(1),
        }
    }
}

fn closing(mut response: Response<Outgoing>, closes: bool) -> Response<Outgoing> {
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
