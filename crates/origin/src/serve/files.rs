//! Files out: what they are said to be, for how long they may be kept, and which part of them is wanted.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer;
use super::body::{Content, Outgoing, Piece};
use super::range::{Wanted, wanted};
use crate::clock;
use crate::config::{Serve, Shown};
use crate::db::links::{self, Found};
use crate::db::{Db, DbError};
use crate::follow::gate::Gate;
use crate::metrics::Metrics;
use crate::model::{Link, Name, Object, Place, Time, random};
use crate::rules;
use crate::store::Store;
use crate::tier::Tier;
use crate::tier::legacy::{self, Legacy};

/// In seconds: a year, which is how long something that never changes may be kept.
const FOREVER: u64 = 31_536_000;
/// In seconds: what is not there may be there soon; what is gone stays gone, but a ban may be taken back.
const MISSING: &str = "public, max-age=10";
const GONE: &str = "public, max-age=60";

/// Nothing in it runs, whatever it is.
const SANDBOX: &str = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; sandbox";
/// For PDFs that are shown: browsers' viewers do not stand the sandbox.
const NO_SANDBOX: &str = "default-src 'none'; img-src 'self' data:; object-src 'self'; style-src 'unsafe-inline'";

/// Serves files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The bytes.
    pub store: Arc<Store>,
    /// The rows.
    pub db: Db,
    /// How they are served.
    pub rules: Serve,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Told when something was removed.
    pub removed: Arc<tokio::sync::Notify>,
    /// Where content is that this disk does not have.
    pub tier: Option<Arc<Tier>>,
    /// Who is asked for names that are not known here.
    pub legacy: Option<Arc<Legacy>>,
    /// Whether this origin writes.
    pub gate: Gate,
}

impl Files {
    /// Answers `GET` and `HEAD`.
    pub async fn get(&self, method: &Method, name: &Name, headers: &HeaderMap) -> Response<Outgoing> {
        match self.find(method, name, headers).await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(%error, "failed to look for a file");
                self.metrics.failed_downloads.add(1);
                bare(StatusCode::INTERNAL_SERVER_ERROR, "this cannot be read now", "no-store")
            }
        }
    }

    async fn find(&self, method: &Method, name: &Name, headers: &HeaderMap) -> Result<Response<Outgoing>, DbError> {
        let (now, wanted_name) = (clock::now(), name.clone());
        let mut found = self.db.read(move |db| links::lookup(db, &wanted_name, now)).await?;
        // One that was asked by another does not ask on: two that name each other would never end.
        if found.is_none()
            && !headers.contains_key(legacy::ASKED)
            && let Some(legacy) = &self.legacy
            && self.gate.is_open()
            && legacy.import(name).await?
        {
            let wanted_name = name.clone();
            found = self.db.read(move |db| links::lookup(db, &wanted_name, now)).await?;
        }
        let (link, object) = match found {
            Some(Found::File(link, object)) => (link, object),
            missing => {
                self.metrics.missed_downloads.add(1);
                return Ok(match missing {
                    Some(Found::Banned) => {
                        bare(StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS, "this is not to be seen", GONE)
                    }
                    Some(Found::Gone(_)) => bare(StatusCode::GONE, "this is gone", GONE),
                    _ => missing_file(),
                });
            }
        };
        let file = self.open(&object).await?;
        if link.max_views.is_some() {
            return self.counted(method, link, object, file, headers).await;
        }
        Ok(self.send(method, &link, &object, file, headers, now))
    }

    /// The content: on this disk, if it is, or else in the tier.
    async fn open(&self, object: &Object) -> Result<Content, DbError> {
        let (store, sha256, size) = (self.store.clone(), object.sha256, object.size);
        let opened = tokio::task::spawn_blocking(move || store.open_object(&sha256, size)).await;
        if let Some(tier) = &self.tier {
            tier.touch(sha256);
        }
        match (opened.map_err(|error| DbError::Other(error.to_string()))?, &self.tier) {
            (Ok(file), _) => Ok(Content::File(Arc::new(file))),
            (Err(error), None) => Err(DbError::Other(error.to_string())),
            (Err(error), Some(tier)) => {
                // Its row may say that it is here: then this is the way back from a disk that has lost it.
                if object.place != Place::Remote {
                    tracing::debug!(%error, "content is not on this disk");
                }
                let pull = tier.pull(object).map(Arc::new);
                pull.map(Content::Tier)
                    .ok_or_else(|| DbError::Other(format!("{sha256} is neither here nor in the tier")))
            }
        }
    }

    /// A file that is gone after some downloads: each gets all of it, or nothing. It is open already, so that it can be
    /// sent when it is gone from the disk.
    async fn counted(
        &self,
        method: &Method,
        link: Link,
        object: Object,
        file: Content,
        headers: &HeaderMap,
    ) -> Result<Response<Outgoing>, DbError> {
        let looks_ahead = ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|field| {
            let value = headers.get(*field).map(|value| value.as_bytes().to_ascii_lowercase());
            value.is_some_and(|value| memchr::memmem::find(&value, b"pre").is_some())
        });
        if looks_ahead {
            return Ok(bare(StatusCode::FORBIDDEN, "this can be seen a few times only", "no-store"));
        }
        let whole = HeaderMap::new();
        if *method == Method::HEAD {
            return Ok(self.send(method, &link, &object, file, &whole, clock::now()));
        }
        // What counts must come.
        if let Content::Tier(pull) = &file {
            pull.settled().await.map_err(|error| DbError::Other(error.to_string()))?;
        }
        let (now, name) = (clock::now(), link.name.clone());
        let viewed = match self.gate.is_open() {
            true => self.db.write(move |db| links::view(db, &name, now)).await,
            false => Err(DbError::Elsewhere),
        };
        if let Err(DbError::Elsewhere) = viewed {
            // Two that count apart would show it too often.
            return Ok(bare(StatusCode::SERVICE_UNAVAILABLE, "this cannot be seen here now", "no-store"));
        }
        if !viewed? {
            self.metrics.missed_downloads.add(1);
            return Ok(bare(StatusCode::GONE, "this is gone", GONE));
        }
        self.removed.notify_one();
        Ok(self.send(method, &link, &object, file, &whole, now))
    }

    fn send(
        &self,
        method: &Method,
        link: &Link,
        object: &Object,
        file: Content,
        request: &HeaderMap,
        now: Time,
    ) -> Response<Outgoing> {
        let tag = format!("\"{}\"", object.sha256);
        let modified = u64::try_from(link.created.0 / 1000).unwrap_or(0);
        let mut headers = self.fields(link, object, &tag, now);
        let whole = || vec![Piece::File(0..object.size)];
        let (status, pieces) = match wanted(request, object.size, &tag, modified) {
            Wanted::NotModified => (StatusCode::NOT_MODIFIED, Vec::new()),
            Wanted::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Vec::new()),
            // To HEAD a range means nothing (RFC 9110, 14.2).
            Wanted::Whole => (StatusCode::OK, whole()),
            _ if *method == Method::HEAD => (StatusCode::OK, whole()),
            Wanted::Unsatisfiable => {
                put(&mut headers, header::CONTENT_RANGE, &format!("bytes */{}", object.size));
                (StatusCode::RANGE_NOT_SATISFIABLE, Vec::new())
            }
            Wanted::Ranges(ranges) => {
                let content_range =
                    |range: &std::ops::Range<u64>| format!("bytes {}-{}/{}", range.start, range.end - 1, object.size);
                if let [range] = ranges.as_slice() {
                    put(&mut headers, header::CONTENT_RANGE, &content_range(range));
                    (StatusCode::PARTIAL_CONTENT, vec![Piece::File(range.clone())])
                } else {
                    let boundary = random(24);
                    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                    let kind = kind.unwrap_or("application/octet-stream").to_owned();
                    let mut pieces = Vec::new();
                    for range in ranges {
                        let head = format!(
                            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {}\r\n\r\n",
                            content_range(&range)
                        );
                        pieces.extend([Piece::Bytes(Bytes::from(head)), Piece::File(range)]);
                    }
                    pieces.push(Piece::Bytes(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
                    put(&mut headers, header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
                    (StatusCode::PARTIAL_CONTENT, pieces)
                }
            }
        };
        if !status.is_success() {
            for name in [header::CONTENT_TYPE, header::CONTENT_DISPOSITION] {
                headers.remove(name);
            }
        }
        self.metrics.downloads.add(1);
        let promised = pieces.iter().map(Piece::length).sum();
        self.metrics.popular.add(link.name.as_str(), if *method == Method::HEAD { 0 } else { promised });
        let mut response = Response::new(Outgoing::file(file, pieces, self.metrics.clone()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn fields(&self, link: &Link, object: &Object, tag: &str, now: Time) -> HeaderMap {
        let (kind, shown) = self.presented(&object.kind);
        let mut headers = HeaderMap::new();
        harmless(&mut headers);
        if object.kind == "application/pdf" && shown == Shown::Inline {
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(NO_SANDBOX));
        }
        put(&mut headers, header::CONTENT_TYPE, kind);
        let name = if self.rules.original_names { link.original.as_str() } else { link.name.as_str() };
        put(&mut headers, header::CONTENT_DISPOSITION, &disposition(shown, name));
        put(&mut headers, header::ETAG, tag);
        put(&mut headers, header::LAST_MODIFIED, &link.created.http_date());
        put(&mut headers, header::CACHE_CONTROL, &lifetime(link, now));
        put(&mut headers, HeaderName::from_static("surrogate-key"), &object.sha256.to_string());
        let ranges = if link.max_views.is_some() { "none" } else { "bytes" };
        put(&mut headers, header::ACCEPT_RANGES, ranges);
        headers
    }

    /// What it is said to be, and what a browser does with it. Only what runs nothing is what it is.
    fn presented<'k>(&self, kind: &'k str) -> (&'k str, Shown) {
        match kind {
            "application/pdf" => (kind, self.rules.pdf),
            "image/svg+xml" => (kind, self.rules.svg),
            _ if rules::is_media(kind) => (kind, Shown::Inline),
            // Pages, too: as text they are what somebody wrote.
            "application/xhtml+xml" => ("text/plain; charset=utf-8", Shown::Inline),
            _ if kind.starts_with("text/") => ("text/plain; charset=utf-8", Shown::Inline),
            _ => ("application/octet-stream", Shown::Attachment),
        }
    }
}

/// For how long caches may keep it.
fn lifetime(link: &Link, now: Time) -> String {
    if link.max_views.is_some() {
        return "no-store".to_owned();
    }
    match link.expires {
        None => format!("public, max-age={FOREVER}, immutable"),
        Some(expires) => format!("public, max-age={}", (expires.since(now).as_secs()).min(FOREVER)),
    }
}

/// What keeps whatever is sent from doing anything.
pub(super) fn harmless(headers: &mut HeaderMap) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", SANDBOX),
        ("cross-origin-resource-policy", "cross-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// With a name in ASCII for the old, and in full for the others.
fn disposition(shown: Shown, name: &str) -> String {
    let what = match shown {
        Shown::Inline => "inline",
        Shown::Attachment => "attachment",
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,+=()[]{}!@#$^~ ".contains(c);
    let ascii: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut field = format!("{what}; filename=\"{ascii}\"");
    if ascii != name {
        field.push_str(&format!("; filename*=UTF-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
    }
    field
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // What is put together here is ASCII without controls.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// There is nothing of that name.
pub(super) fn missing_file() -> Response<Outgoing> {
    bare(StatusCode::NOT_FOUND, "there is no such file", MISSING)
}

fn bare(status: StatusCode, says: &'static str, cache: &'static str) -> Response<Outgoing> {
    let mut response = answer(status, format!("{says}\n"));
    harmless(response.headers_mut());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_no_field() {
        assert_eq!(disposition(Shown::Inline, "a b.txt"), "inline; filename=\"a b.txt\"");
        assert_eq!(
            disposition(Shown::Attachment, "a\"\r\n;\\b\u{e9}.zip"),
            "attachment; filename=\"a_____b_.zip\"; filename*=UTF-8''a%22%0D%0A%3B%5Cb%C3%A9%2Ezip"
        );
    }

    #[test]
    fn caches_keep_nothing_longer_than_it_is_there() {
        let link = |expires: Option<i64>, max_views| Link {
            name: Name::new("a.txt").unwrap(),
            original: "a.txt".to_owned(),
            created: Time(0),
            expires: expires.map(Time),
            max_views,
            views: 0,
            shared: false,
        };
        assert_eq!(lifetime(&link(None, None), Time(0)), "public, max-age=31536000, immutable");
        assert_eq!(lifetime(&link(Some(90_500), None), Time(1000)), "public, max-age=89");
        assert_eq!(lifetime(&link(Some(500), None), Time(1000)), "public, max-age=0");
        assert_eq!(lifetime(&link(Some(90_500), Some(3)), Time(1000)), "no-store");
    }
}
