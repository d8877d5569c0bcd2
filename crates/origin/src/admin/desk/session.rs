//! Who may: whoever has the token, in a field of the request or once to begin a session.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header;

use crate::clock::Stopwatch;
use crate::config::Secret;
use crate::model::{Sha256, Token, random};

/// A session ends after so long.
pub(super) const LASTS: Duration = Duration::from_secs(12 * 3600);
/// At once; the oldest ends for a new one.
const MOST: usize = 32;
const COOKIE: &str = "witness_origin";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A program that sends the token with each request. No browser does that by itself.
    Program,
    /// Somebody in a browser, with what their forms must repeat.
    Person(String),
    /// Anybody.
    Nobody,
}

/// Who may, and who does.
#[derive(Debug)]
pub(super) struct Sessions {
    token: Secret,
    open: Mutex<Vec<Session>>,
    /// Held while a wrong token is answered: one guess a second, from all together.
    pub(super) guessing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Session {
    /// Of what its cookie has.
    hash: Sha256,
    form: String,
    since: Stopwatch,
}

impl Sessions {
    pub(super) fn new(token: Secret) -> Self {
        Self { token, open: Mutex::default(), guessing: tokio::sync::Mutex::default() }
    }

    pub(super) fn who(&self, headers: &HeaderMap) -> Who {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if let Some(given) = bearer {
            return if self.token.is(given) { Who::Program } else { Who::Nobody };
        }
        let Some(hash) = cookie(headers) else { return Who::Nobody };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| session.since.elapsed() < LASTS);
        let session = open.iter().find(|session| session.hash == hash);
        session.map_or(Who::Nobody, |session| Who::Person(session.form.clone()))
    }

    /// Begins a session for who has the token. Gives the field for the answer.
    pub(super) fn begin(&self, given: &str) -> Option<String> {
        if !self.token.is(given.trim().as_bytes()) {
            return None;
        }
        let secret = Token::random();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MOST {
            open.remove(0);
        }
        open.push(Session { hash: secret.hash(), form: random(32), since: Stopwatch::start() });
        Some(field(secret.reveal(), LASTS.as_secs()))
    }

    /// Ends it. Gives the field for the answer.
    pub(super) fn end(&self, headers: &HeaderMap) -> String {
        if let Some(hash) = cookie(headers) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|session| session.hash != hash);
        }
        field("", 0)
    }
}

/// Other sites' requests do not carry it, and scripts do not see it.
fn field(value: &str, seconds: u64) -> String {
    format!("{COOKIE}={value}; Path=/admin; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}

/// The hash of what the cookie has: who searches for a hash learns nothing from how long it takes.
fn cookie(headers: &HeaderMap) -> Option<Sha256> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    Some(Token::given(value).hash())
}

/// Whether a request that changes something may come from one of our own pages. Browsers say where it does come from.
pub(super) fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = text("origin").is_none_or(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text("host")
    });
    site && origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_session_is_its_cookie_s_and_ends() {
        let sessions = Sessions::new(Secret::new("a-token-of-a-test"));
        assert_eq!(sessions.begin("another"), None);
        let field = sessions.begin("a-token-of-a-test\n").unwrap();
        assert!(field.ends_with("; HttpOnly; SameSite=Strict") && field.contains("; Path=/admin;"), "{field}");
        let pair = field.split(';').next().unwrap().to_owned();
        let of = |cookie: &str| sessions.who(&headers(&[("cookie", cookie)]));
        let Who::Person(form) = of(&format!("a=b; {pair}")) else { panic!("it is nobody's") };
        assert_eq!(form.len(), 32);
        assert_eq!(of(&format!("{pair}x")), Who::Nobody);
        assert_eq!(of(COOKIE), Who::Nobody);
        sessions.end(&headers(&[("cookie", &pair)]));
        assert_eq!(of(&pair), Who::Nobody);
        let first = sessions.begin("a-token-of-a-test").unwrap();
        for _ in 0..MOST {
            sessions.begin("a-token-of-a-test").unwrap();
        }
        assert_eq!(of(first.split(';').next().unwrap()), Who::Nobody, "the oldest has ended");
        assert_eq!(sessions.who(&headers(&[("authorization", "Bearer a-token-of-a-test")])), Who::Program);
        assert_eq!(sessions.who(&headers(&[("authorization", "Bearer a-token")])), Who::Nobody);
    }

    #[test]
    fn other_sites_requests_are_known() {
        for (fields, expected) in [
            (vec![("host", "127.0.0.1:9055")], true),
            (vec![("host", "127.0.0.1:9055"), ("origin", "http://127.0.0.1:9055")], true),
            (vec![("host", "127.0.0.1:9055"), ("origin", "http://127.0.0.1:8080")], false),
            (vec![("host", "127.0.0.1:9055"), ("origin", "null")], false),
            (vec![("origin", "http://127.0.0.1:9055")], false),
            (vec![("host", "a"), ("sec-fetch-site", "same-origin")], true),
            (vec![("host", "a"), ("sec-fetch-site", "cross-site")], false),
            (vec![("host", "a"), ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(is_from_here(&headers(&fields)), expected, "{fields:?}");
        }
    }
}
