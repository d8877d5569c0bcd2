//! Uploads in parts, which go on after a lost connection and after a restart: tus 1.0 with creation (also with the first
//! part, also without a length), termination, expiration and checksums.
//!
//! ```text
//!   POST ──▶ row            PATCH ──▶ bytes, synced ──▶ row says how many        all there ──▶ judged, published
//! ```
//!
//! What stands in an upload's URL is secret: whoever has it may go on, see what became of it, and take it back. The
//! database has its hash only. A row never says more than what is synced; what is beyond is cut off. The last part is
//! answered once the file is published, and its row says so in the transaction that did it, so that nothing is published
//! twice or lost in between.

mod body;
pub mod protocol;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use protocol::{BadField, Length};
use turns::Turns;

use super::handler::{Admission, Admitted, closing, count, let_go, told_length};
use super::publisher::{Publisher, Receipt, Resumed, Uploader};
use super::receive::{Receiver, Source, blocking};
use super::refusal::Refusal;
use super::reply::{Format, Teller, explain};
use super::wish::Wish;
use crate::clock;
use crate::config::{Dialect, Resumable};
use crate::crash;
use crate::db::Db;
use crate::db::links::{self, Found};
use crate::db::resumable::{self, Begun, Upload};
use crate::limits::Group;
use crate::metrics::Metrics;
use crate::model::{Sha256, Token, random};
use crate::serve::{Outgoing, answer};
use crate::store::Store;

/// Of what stands in a URL, in characters: 160 bit.
const SECRET: usize = 27;

/// Takes uploads in parts.
#[derive(Debug)]
pub struct Tus {
    /// Judges files.
    pub receiver: Receiver,
    /// Gives them names.
    pub publisher: Publisher,
    /// The bytes.
    pub store: Arc<Store>,
    /// The rows.
    pub db: Db,
    /// Where they begin, and how long they may take.
    pub settings: Resumable,
    /// Who may upload how much.
    pub admission: Admission,
    /// What stands before names.
    pub files_url: String,
    /// How those who ask what became of one are answered.
    pub dialect: Dialect,
    /// Whether it is kept who uploads.
    pub keep_addresses: bool,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    turns: Turns,
    /// Of this run.
    salt: String,
}

/// Why a request is not done.
#[derive(Debug)]
enum Fault {
    /// The upload is not taken.
    Refused(Refusal),
    /// The request is not one that can be done, or not now.
    Is(StatusCode, &'static str),
    /// The body is not what its checksum says.
    Mismatch,
}

impl Fault {
    const UNKNOWN: Self = Self::Is(StatusCode::NOT_FOUND, "there is no such upload, or no more");
}

impl<R: Into<Refusal>> From<R> for Fault {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<BadField> for Fault {
    fn from(error: BadField) -> Self {
        Self::Is(StatusCode::BAD_REQUEST, error.0)
    }
}

/// All that an upload in parts needs beside what other uploads do.
#[derive(Debug)]
pub struct Parties {
    /// Judges files.
    pub receiver: Receiver,
    /// Gives them names.
    pub publisher: Publisher,
    /// Who may upload how much.
    pub admission: Admission,
}

impl Tus {
    /// Begins to take them.
    #[must_use]
    pub fn new(parties: Parties, settings: Resumable, files_url: String, dialect: Dialect, keep: bool) -> Self {
        let Parties { receiver, publisher, admission } = parties;
        Self {
            store: publisher.store.clone(),
            db: publisher.db.clone(),
            metrics: publisher.metrics.clone(),
            receiver,
            publisher,
            settings,
            admission,
            files_url,
            dialect,
            keep_addresses: keep,
            turns: Turns::default(),
            salt: random(SECRET),
        }
    }

    /// What stands behind the path where uploads begin, if this is about them.
    #[must_use]
    pub fn secret<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.settings.path.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/').filter(|rest| !rest.contains('/')) }
    }

    /// Answers a request about the upload with this secret, or for a new one where it is empty.
    pub async fn answer(&self, parts: &Parts, mut body: Incoming, client: IpAddr, secret: &str) -> Response<Outgoing> {
        let method = parts.headers.get("x-http-method-override").and_then(|name| name.as_bytes().try_into().ok());
        let method: Method = method.unwrap_or_else(|| parts.method.clone());
        if method == Method::OPTIONS {
            return self.offer();
        }
        let mut begun = false;
        let done = self.act(&method, parts, &mut body, &mut begun, client, secret).await;
        let (mut response, closes) = match done {
            // What was sent and not asked for.
            Ok(response) => (response, !body.is_end_stream()),
            Err(Fault::Refused(refusal)) => {
                count(&self.metrics, &refusal);
                let mut response = text(refusal.status(), &refusal.description());
                explain(&mut response, &refusal);
                (response, let_go(parts, body, begun, &refusal))
            }
            Err(Fault::Mismatch) => {
                let status = StatusCode::from_u16(460).expect("460 is a status");
                (text(status, "the checksum does not match"), let_go(parts, body, begun, &Refusal::Method))
            }
            Err(Fault::Is(status, says)) => {
                let mut response = text(status, says);
                if status == StatusCode::PRECONDITION_FAILED {
                    put(&mut response, "tus-version", protocol::VERSION);
                }
                (response, let_go(parts, body, begun, &Refusal::Method))
            }
        };
        put(&mut response, "tus-resumable", protocol::VERSION);
        closing(response, closes)
    }

    fn offer(&self) -> Response<Outgoing> {
        let mut response = text(StatusCode::NO_CONTENT, "");
        put(&mut response, "tus-resumable", protocol::VERSION);
        put(&mut response, "tus-version", protocol::VERSION);
        put(&mut response, "tus-extension", protocol::EXTENSIONS);
        put(&mut response, "tus-checksum-algorithm", protocol::CHECKSUMS);
        put(&mut response, "tus-max-size", &self.receiver.limits.max_size.to_string());
        put(&mut response, "allow", "OPTIONS, POST, HEAD, PATCH, DELETE, GET");
        response
    }

    async fn act(
        &self,
        method: &Method,
        parts: &Parts,
        body: &mut Incoming,
        begun: &mut bool,
        client: IpAddr,
        secret: &str,
    ) -> Result<Response<Outgoing>, Fault> {
        // Whoever looks with a browser says no version.
        let is_look = *method == Method::GET && !secret.is_empty();
        let version = parts.headers.get("tus-resumable").map(HeaderValue::as_bytes);
        if version != Some(protocol::VERSION.as_bytes()) && !(is_look && version.is_none()) {
            return Err(Fault::Is(StatusCode::PRECONDITION_FAILED, "Tus-Resumable must be 1.0.0"));
        }
        match (method.as_str(), secret.is_empty()) {
            ("POST", true) => self.create(parts, body, begun, client).await,
            ("HEAD", false) => self.tell(secret).await,
            ("PATCH", false) => self.go_on(parts, body, begun, client, secret).await,
            ("DELETE", false) => self.take_back(secret).await,
            ("GET", false) => self.look(secret).await,
            _ => Err(Fault::Is(StatusCode::METHOD_NOT_ALLOWED, "another method is needed")),
        }
    }

    async fn create(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        begun: &mut bool,
        client: IpAddr,
    ) -> Result<Response<Outgoing>, Fault> {
        if !self.publisher.gate.is_open() {
            return Err(Refusal::Elsewhere.into());
        }
        let length = protocol::length(&parts.headers)?;
        let (metadata, pairs) = protocol::metadata(&parts.headers)?;
        let checksum = protocol::checksum(&parts.headers)?;
        let known = match length {
            Length::Known(length) => Some(length),
            Length::Deferred => None,
        };
        let admitted = self.admission.admit(parts, client, known)?;
        if known.is_some_and(|length| length > self.receiver.limits.max_size) {
            return Err(Refusal::TooLarge.into());
        }
        // What there is no room for need not begin.
        drop(self.store.reserve(known.unwrap_or(0))?);
        let mut wish = Wish::of(parts.uri.query(), &parts.headers)?;
        let mut name: &[u8] = b"";
        for (key, value) in &pairs {
            match key.as_str() {
                "filename" => name = value,
                "name" if name.is_empty() => name = value,
                _ => wish.set(key, &String::from_utf8_lossy(value))?,
            }
        }
        let secret = random(SECRET);
        let upload = Upload {
            hash: Token::given(&secret).hash(),
            length: known,
            received: 0,
            metadata,
            original: self.receiver.name(name)?,
            lasts: wish.expires,
            max_views: wish.max_views,
            owner: Group::of(client).mark(&self.salt),
            address: self.keep_addresses.then(|| client.to_string()),
            expires: clock::now().after(self.settings.expire),
            name: None,
        };
        let (row, most) = (upload.clone(), (self.settings.max_unfinished, self.settings.max_unfinished_of_all));
        if self.db.write(move |db| resumable::begin(db, &row, most.0, most.1)).await? == Begun::TooMany {
            return Err(Refusal::TooManyAtOnce.into());
        }
        self.metrics.begun_uploads.add(1);
        let mut upload = upload;
        if has_kind(parts) {
            let turn = self.turns.take(upload.hash).await.ok_or(LOCKED)?;
            let most = self.room_in_body(parts, &upload)?;
            let mut source = Source::new(body, &self.receiver.limits, most, admitted.meter.clone());
            let received = self.receive(&turn, &mut upload, &mut source, checksum).await;
            *begun = source.begun;
            match received {
                // What came of it counts: the client learns how much that is.
                Ok(()) | Err(Fault::Refused(Refusal::Partial | Refusal::Slow)) => {}
                Err(fault) => return Err(self.forget(upload.hash, fault).await),
            }
        }
        if upload.is_complete()
            && let Err(fault) = self.finish(&secret, &mut upload).await
        {
            return Err(self.forget(upload.hash, fault).await);
        }
        let mut response = text(StatusCode::CREATED, "");
        put(&mut response, "location", &format!("{}/{secret}", self.settings.path));
        self.describe(&mut response, &secret, &upload);
        Ok(response)
    }

    /// Nobody learns where an upload is whose beginning failed, so nobody can go on with it.
    async fn forget(&self, hash: Sha256, fault: Fault) -> Fault {
        if let Err(error) = self.db.write(move |db| resumable::forget(db, &hash)).await {
            tracing::warn!(%error, "failed to forget an upload");
        }
        self.remove(hash).await;
        fault
    }

    async fn go_on(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        begun: &mut bool,
        client: IpAddr,
        secret: &str,
    ) -> Result<Response<Outgoing>, Fault> {
        if !has_kind(parts) {
            return Err(Fault::Is(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the kind of the body must be that of tus"));
        }
        let offset = protocol::offset(&parts.headers)?;
        let checksum = protocol::checksum(&parts.headers)?;
        let later = protocol::told_length(&parts.headers)?;
        let admitted: Admitted = self.admission.count(client, told_length(parts))?;
        let hash = Token::given(secret).hash();
        let turn = self.turns.take(hash).await.ok_or(LOCKED)?;
        let mut upload = self.find(&hash).await?;
        if offset != upload.received {
            return Err(Fault::Is(StatusCode::CONFLICT, "Upload-Offset is not where this upload is"));
        }
        if let Some(length) = later.filter(|length| Some(*length) != upload.length) {
            self.set_length(&mut upload, length).await?;
        }
        let most = self.room_in_body(parts, &upload)?;
        let mut source = Source::new(body, &self.receiver.limits, most, admitted.meter.clone());
        let received = self.receive(&turn, &mut upload, &mut source, checksum).await;
        *begun = source.begun;
        received?;
        if upload.is_complete() && upload.name.is_none() {
            self.finish(secret, &mut upload).await?;
        }
        let mut response = text(StatusCode::NO_CONTENT, "");
        self.describe(&mut response, secret, &upload);
        Ok(response)
    }

    /// How much a body may have.
    fn room_in_body(&self, parts: &Parts, upload: &Upload) -> Result<u64, Fault> {
        let all = upload.length.unwrap_or(self.receiver.limits.max_size);
        let most = all.saturating_sub(upload.received);
        if told_length(parts).is_some_and(|length| length > most) {
            return Err(Refusal::TooLarge.into());
        }
        Ok(most)
    }

    async fn set_length(&self, upload: &mut Upload, length: u64) -> Result<(), Fault> {
        if upload.length.is_some() || length < upload.received {
            return Err(Fault::Is(StatusCode::BAD_REQUEST, "Upload-Length does not fit what was told before"));
        }
        if length > self.receiver.limits.max_size {
            return Err(Refusal::TooLarge.into());
        }
        let hash = upload.hash;
        if !self.db.write(move |db| resumable::set_length(db, &hash, length)).await? {
            return Err(Fault::UNKNOWN);
        }
        upload.length = Some(length);
        Ok(())
    }

    async fn tell(&self, secret: &str) -> Result<Response<Outgoing>, Fault> {
        let hash = Token::given(secret).hash();
        let _turn = self.turns.take(hash).await.ok_or(LOCKED)?;
        let mut upload = self.find(&hash).await?;
        // The end of it may have been lost with a crash, or with a full disk.
        if upload.is_complete() && upload.name.is_none() {
            self.finish(secret, &mut upload).await?;
        }
        let mut response = text(StatusCode::OK, "");
        self.describe(&mut response, secret, &upload);
        match upload.length {
            Some(length) => put(&mut response, "upload-length", &length.to_string()),
            None => put(&mut response, "upload-defer-length", "1"),
        }
        if !upload.metadata.is_empty() {
            put(&mut response, "upload-metadata", &upload.metadata);
        }
        Ok(response)
    }

    /// What became of it, for those who did not get the answer, as an upload by a form would have told.
    async fn look(&self, secret: &str) -> Result<Response<Outgoing>, Fault> {
        let hash = Token::given(secret).hash();
        let upload = self.find(&hash).await?;
        let Some(name) = upload.name else {
            return Err(Fault::Is(StatusCode::CONFLICT, "this upload is not finished"));
        };
        let now = clock::now();
        let Some(Found::File(link, object)) = self.db.read(move |db| links::lookup(db, &name, now)).await? else {
            return Err(Fault::Is(StatusCode::GONE, "this is gone"));
        };
        let receipt = Receipt {
            link,
            sha256: object.sha256,
            sha1: object.sha1,
            size: object.size,
            original: upload.original,
            token: Some(Token::derived(secret)),
            again: false,
        };
        let teller = Teller { format: Format::Json, dialect: self.dialect, files_url: &self.files_url };
        Ok(teller.success(&[receipt]))
    }

    async fn take_back(&self, secret: &str) -> Result<Response<Outgoing>, Fault> {
        let hash = Token::given(secret).hash();
        let _turn = self.turns.take(hash).await.ok_or(LOCKED)?;
        let upload = self.find(&hash).await?;
        let (now, token, name) = (clock::now(), Token::derived(secret), upload.name);
        self.db
            .write(move |db| {
                if let Some(name) = name {
                    links::release(db, &name, &token, now)?;
                }
                resumable::forget(db, &hash)
            })
            .await?;
        self.remove(hash).await;
        Ok(text(StatusCode::NO_CONTENT, ""))
    }

    async fn find(&self, hash: &Sha256) -> Result<Upload, Fault> {
        let hash = *hash;
        let upload = self.db.read(move |db| resumable::get(db, &hash)).await?.ok_or(Fault::UNKNOWN)?;
        if upload.expires <= clock::now() {
            return Err(Fault::Is(StatusCode::GONE, "this upload has expired"));
        }
        Ok(upload)
    }

    /// Publishes what is complete. What cannot be taken is forgotten; what could not be done stays to be tried again.
    async fn finish(&self, secret: &str, upload: &mut Upload) -> Result<(), Fault> {
        let (hash, length) = (upload.hash, upload.received);
        let (store, receiver, original) = (self.store.clone(), self.receiver.clone(), upload.original.clone());
        crash::point("finishing");
        let judged = blocking(move || receiver.judge(store.stage_resumable(&hash, length)?, original)).await?;
        let wish = Wish { expires: upload.lasts, max_views: upload.max_views };
        let resumed = Resumed { hash, token: Token::derived(secret) };
        let uploader = Uploader { address: upload.address.clone(), gets_token: true, resumed: Some(resumed) };
        let published = match judged {
            Ok(received) => self.publisher.publish(vec![received], wish, uploader).await,
            Err(refusal) => Err(refusal),
        };
        let receipts = match published {
            Ok(receipts) => receipts,
            Err(refusal) => {
                if refusal.is_for_good() {
                    self.db.write(move |db| resumable::forget(db, &hash)).await?;
                    self.remove(hash).await;
                }
                return Err(refusal.into());
            }
        };
        crash::point("finished");
        self.metrics.uploads.add(1);
        upload.name = receipts.into_iter().next().map(|receipt| receipt.link.name);
        self.remove(hash).await;
        Ok(())
    }

    /// Removes the bytes; what is left is removed at the next start.
    async fn remove(&self, hash: Sha256) {
        let store = self.store.clone();
        match blocking(move || store.remove_resumable(&hash)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to remove a part of an upload"),
            Err(refusal) => tracing::warn!(?refusal, "failed to remove a part of an upload"),
        }
    }

    fn describe(&self, response: &mut Response<Outgoing>, secret: &str, upload: &Upload) {
        put(response, "upload-offset", &upload.received.to_string());
        match &upload.name {
            None => put(response, "upload-expires", &upload.expires.http_date()),
            Some(name) => {
                let url = name.in_url();
                put(response, "x-url", &format!("{}/{url}", self.files_url));
                let token = Token::derived(secret);
                put(response, "x-url-delete", &format!("{}/delete/{url}/{}", self.files_url, token.reveal()));
            }
        }
    }
}

const LOCKED: Fault = Fault::Is(StatusCode::LOCKED, "another request is busy with this upload");

fn has_kind(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(protocol::KIND.as_bytes())
}

/// An answer that nobody keeps.
fn text(status: StatusCode, says: &str) -> Response<Outgoing> {
    let says = if says.is_empty() { String::new() } else { format!("{says}\n") };
    let mut response = answer(status, says);
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    put(&mut response, "cache-control", "no-store");
    put(&mut response, "x-content-type-options", "nosniff");
    response
}

fn put(response: &mut Response<Outgoing>, name: &'static str, value: &str) {
    // What is put together here is ASCII without controls.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
