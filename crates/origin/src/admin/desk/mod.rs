//! The admin page: what was uploaded, and what to do about it. It is made of forms, without a script.
//!
//! Nothing of it is shown, and nothing done, without the token in `server.admin_token_file`; what a form does must come
//! from one of our own pages, and repeat what the session has.

mod html;
mod session;

use std::sync::Arc;
use std::time::Duration;

use http::header;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;
use session::{Sessions, Who, is_from_here};
use tokio::sync::Notify;

use super::Health;
use crate::clock;
use crate::config::Secret;
use crate::db::listing::{self, Filter};
use crate::db::{Db, DbError, bans, links};
use crate::metrics::Metrics;
use crate::model::{Md5, Name, Sha1, Sha256, Time, Why};
use crate::serve::{Outgoing, answer};

/// On one page.
const SHOWN: u32 = 50;
/// Of a form, in bytes.
const LARGEST_FORM: usize = 64 << 10;
/// A wrong token is answered after so long.
const PENALTY: Duration = Duration::from_secs(1);
/// For what came from where.
const RECENT: Duration = Duration::from_secs(7 * 86_400);

/// The admin page.
#[derive(Debug)]
pub struct Desk {
    sessions: Option<Sessions>,
    db: Db,
    health: Health,
    metrics: Arc<Metrics>,
    removed: Arc<Notify>,
    files_url: String,
}

/// Fields of a query or a form.
type Fields = Vec<(String, String)>;

fn fields(text: &[u8]) -> Fields {
    form_urlencoded::parse(text).into_owned().collect()
}

fn field<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
}

impl Desk {
    /// One that opens for `token`, and for nobody without one. `removed` is told when something was removed.
    #[must_use]
    pub fn new(
        token: Option<Secret>,
        health: Health,
        metrics: Arc<Metrics>,
        removed: Arc<Notify>,
        files_url: String,
    ) -> Self {
        Self { sessions: token.map(Sessions::new), db: health.db.clone(), health, metrics, removed, files_url }
    }

    /// Whether this path is for it.
    #[must_use]
    pub fn has(path: &str) -> bool {
        path == "/admin" || path.starts_with("/admin/")
    }

    /// Answers.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let (parts, body) = request.into_parts();
        let Some(sessions) = &self.sessions else {
            let says = "there is no admin page without a token: name a file with one as server.admin_token_file\n";
            return answer(StatusCode::NOT_FOUND, says.to_owned());
        };
        let who = sessions.who(&parts.headers);
        let done = match parts.method {
            Method::GET | Method::HEAD => self.look(&parts, &who).await,
            Method::POST => match Limited::new(body, LARGEST_FORM).collect().await {
                Ok(form) => self.act(sessions, &parts, &who, &fields(&form.to_bytes())).await,
                Err(_) => Ok(html::refused(StatusCode::PAYLOAD_TOO_LARGE, "this form is too large, or broke off")),
            },
            _ => Ok(html::refused(StatusCode::METHOD_NOT_ALLOWED, "another method is needed")),
        };
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "failed to answer on the admin page");
            html::refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("the database says: {error}"))
        })
    }

    async fn look(&self, parts: &Parts, who: &Who) -> Result<Response<Outgoing>, DbError> {
        let form = match who {
            Who::Nobody if parts.headers.contains_key(header::AUTHORIZATION) => {
                return Ok(html::refused(StatusCode::UNAUTHORIZED, "this is not the token"));
            }
            Who::Nobody => return Ok(html::login(StatusCode::UNAUTHORIZED, None)),
            Who::Person(form) => form.as_str(),
            Who::Program => "",
        };
        let query = fields(parts.uri.query().unwrap_or_default().as_bytes());
        let now = clock::now();
        match parts.uri.path() {
            "/admin" => {
                let filter = Filter { most: SHOWN, after: place(&query), ..Filter::default() };
                let text = field(&query, "q").to_owned();
                let wanted = text.clone();
                let found = self.db.read(move |db| listing::search(db, &wanted, &filter)).await?;
                let stats = self.db.read(move |db| listing::stats(db, now)).await?;
                let room = self.health.store.room();
                Ok(html::uploads(&self.files_url, form, &text, &found, &stats, room, said(&query)))
            }
            "/admin/show" => {
                let Some(name) = Name::new(field(&query, "name")) else {
                    return Ok(html::refused(StatusCode::NOT_FOUND, "this is no name"));
                };
                let wanted = name.clone();
                match self.db.read(move |db| listing::detail(db, &wanted)).await? {
                    Some(detail) => Ok(html::detail(&self.files_url, form, &name, &detail, said(&query))),
                    None => Ok(html::refused(StatusCode::NOT_FOUND, "there is no such name")),
                }
            }
            "/admin/bans" => Ok(html::bans(form, &self.db.read(bans::all).await?, said(&query))),
            "/admin/top" => {
                let since = Time(now.0.saturating_sub(i64::try_from(RECENT.as_millis()).unwrap_or(0)));
                let (largest, addresses, repeated) = self
                    .db
                    .read(move |db| {
                        let filter = Filter { begin: listing::Begin::Largest, most: 20, ..Filter::default() };
                        Ok((
                            listing::list(db, &filter)?,
                            listing::addresses(db, since, 20)?,
                            listing::repeated(db, since, 20)?,
                        ))
                    })
                    .await?;
                Ok(html::top(form, &self.metrics.popular.most(20), &largest, &addresses, &repeated))
            }
            "/admin/top.json" => {
                let most = field(&query, "limit").parse().unwrap_or(20);
                let names = self.metrics.popular.most(most).into_iter();
                let names: Vec<_> = names
                    .map(|(name, downloads, bytes)| json!({ "name": name, "downloads": downloads, "bytes": bytes }))
                    .collect();
                let since = self.health.since.elapsed().as_secs();
                Ok(html::json(&json!({ "since_s": since, "names": names })))
            }
            _ => Ok(html::refused(StatusCode::NOT_FOUND, "there is nothing here")),
        }
    }

    async fn act(
        &self,
        sessions: &Sessions,
        parts: &Parts,
        who: &Who,
        form: &Fields,
    ) -> Result<Response<Outgoing>, DbError> {
        if !is_from_here(&parts.headers) {
            return Ok(html::refused(StatusCode::FORBIDDEN, "this came from another site"));
        }
        if parts.uri.path() == "/admin/login" {
            return Ok(login(sessions, form).await);
        }
        match who {
            Who::Nobody => return Ok(html::login(StatusCode::UNAUTHORIZED, None)),
            Who::Person(expected) if !Secret::new(expected).is(field(form, "form").as_bytes()) => {
                return Ok(html::refused(
                    StatusCode::FORBIDDEN,
                    "this form is from another session: load its page again",
                ));
            }
            Who::Person(_) | Who::Program => {}
        }
        let back = |what: &str, count: usize| {
            let place = match field(form, "back") {
                "bans" => "/admin/bans?",
                _ => "/admin?",
            };
            html::see(&format!("{place}done={what}&count={count}"), None)
        };
        match parts.uri.path() {
            "/admin/logout" => Ok(html::see("/admin", Some(&sessions.end(&parts.headers)))),
            "/admin/remove" => Ok(back("removed", self.remove(names(form)).await?)),
            "/admin/ban" => {
                let reason = field(form, "reason").to_owned();
                if reason.is_empty() {
                    return Ok(html::refused(StatusCode::BAD_REQUEST, "a ban needs a reason"));
                }
                match self.ban(names(form), field(form, "hash"), reason).await? {
                    Some(count) => Ok(back("banned", count)),
                    None => Ok(html::refused(StatusCode::BAD_REQUEST, "this is no SHA-256, SHA-1 or MD5")),
                }
            }
            "/admin/unban" => match hash(field(form, "hash")) {
                Some(hash) => {
                    let now = clock::now();
                    let removed = self.db.write(move |db| bans::remove(db, &hash, now)).await?;
                    tracing::info!(hash = field(form, "hash"), removed, "a ban was taken back on the admin page");
                    Ok(back("unbanned", usize::from(removed)))
                }
                None => Ok(html::refused(StatusCode::BAD_REQUEST, "this is no SHA-256, SHA-1 or MD5")),
            },
            _ => Ok(html::refused(StatusCode::NOT_FOUND, "there is nothing here")),
        }
    }

    async fn remove(&self, names: Vec<Name>) -> Result<usize, DbError> {
        let now = clock::now();
        let removed = self.db.write(move |db| {
            let mut removed = Vec::new();
            for name in names {
                if links::remove(db, &name, Why::Operator, now)? {
                    removed.push(name);
                }
            }
            Ok(removed)
        });
        let removed = removed.await?;
        for name in &removed {
            tracing::info!(%name, "removed on the admin page");
        }
        self.removed.notify_one();
        Ok(removed.len())
    }

    /// Bans a hash, or what names stand for. Nothing if it is neither.
    async fn ban(&self, names: Vec<Name>, text: &str, reason: String) -> Result<Option<usize>, DbError> {
        let given = hash(text);
        if given.is_none() && (names.is_empty() || !text.is_empty()) {
            return Ok(None);
        }
        let now = clock::now();
        let banned = self.db.write(move |db| {
            let mut hashes: Vec<Vec<u8>> = given.into_iter().collect();
            for name in &names {
                if let Some(listing::Detail::There { entry, .. }) = listing::detail(db, name)? {
                    hashes.push(entry.sha256.0.to_vec());
                }
            }
            hashes.sort();
            hashes.dedup();
            for hash in &hashes {
                bans::add(db, hash, &reason, None, now)?;
            }
            Ok(hashes)
        });
        let banned = banned.await?;
        for hash in &banned {
            tracing::info!(hash = html::hex(hash), "banned on the admin page");
        }
        Ok(Some(banned.len()))
    }
}

async fn login(sessions: &Sessions, form: &Fields) -> Response<Outgoing> {
    // One after another, so that guesses from everywhere together are as slow as one's.
    let _turn = sessions.guessing.lock().await;
    if let Some(cookie) = sessions.begin(field(form, "token")) {
        return html::see("/admin", Some(&cookie));
    }
    tracing::warn!("a wrong token was given on the admin page");
    tokio::time::sleep(PENALTY).await;
    html::login(StatusCode::FORBIDDEN, Some("This is not the token."))
}

fn names(form: &Fields) -> Vec<Name> {
    form.iter().filter(|(key, _)| key == "name").filter_map(|(_, name)| Name::new(name)).collect()
}

fn hash(text: &str) -> Option<Vec<u8>> {
    let sha256 = text.parse::<Sha256>().map(|hash| hash.0.to_vec());
    let sha1 = || text.parse::<Sha1>().map(|hash| hash.0.to_vec());
    sha256.or_else(|()| sha1()).or_else(|()| text.parse::<Md5>().map(|hash| hash.0.to_vec())).ok()
}

/// Where the page before ended.
fn place(query: &Fields) -> Option<(Time, Name)> {
    Some((Time(field(query, "before").parse().ok()?), Name::new(field(query, "name"))?))
}

/// What was just done: a word of ours and a number, whatever the query says.
fn said(query: &Fields) -> Option<(&'static str, u32)> {
    let words = ["removed", "banned", "unbanned"];
    let word = words.into_iter().find(|word| *word == field(query, "done"))?;
    Some((word, field(query, "count").parse().ok()?))
}
