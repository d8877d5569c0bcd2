//! What may be stored, and for how long it is fresh (RFC 9111, 5861, 9213).

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};

use super::directives::Directives;
use super::head::Head;

/// What the operator decided where the origin says nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// How long a status is fresh when the origin does not say.
    pub valid: BTreeMap<u16, Duration>,
    /// How long something stale may be served when the source fails.
    pub stale_on_error: Duration,
    /// How long something stale may be served while it is looked at.
    pub stale_while_revalidate: Duration,
}

/// How old, how long fresh, and what is allowed beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Seconds since the origin made it, as well as can be known.
    pub age: u64,
    /// Seconds for which it is fresh.
    pub lifetime: u64,
    /// It may be served for so many seconds beyond while it is looked at.
    pub while_revalidate: u64,
    /// It may be served for so many seconds beyond when the source fails.
    pub on_error: u64,
    /// It has to be looked at each time.
    pub always_ask: bool,
}

impl Freshness {
    /// Whether it can be served as it is.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.always_ask && self.age < self.lifetime
    }

    /// Whether it can be served while it is looked at.
    #[must_use]
    pub fn is_usable_meanwhile(&self) -> bool {
        !self.always_ask && self.age < self.lifetime.saturating_add(self.while_revalidate)
    }

    /// Whether it can be served because the source failed.
    #[must_use]
    pub fn is_usable_on_error(&self) -> bool {
        self.age < self.lifetime.saturating_add(self.on_error)
    }
}

/// The statuses that are cached without the origin saying so.
const HEURISTIC: [u16; 10] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414];

/// The directives that count for us: those for caches like us before those for all.
fn directives(headers: &HeaderMap) -> (Directives, bool) {
    let targeted = Directives::of_structured(headers, "cdn-cache-control");
    if targeted.present { (targeted, true) } else { (Directives::of(headers, header::CACHE_CONTROL), false) }
}

/// Whether a response may be kept, for others, too.
#[must_use]
pub fn may_store(method: &Method, request: &HeaderMap, response: &Head, rules: &Rules) -> bool {
    let (said, targeted) = directives(&response.headers);
    let asked = Directives::of(request, header::CACHE_CONTROL);
    let status = response.status;
    if method != Method::GET || asked.no_store || status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return false;
    }
    if said.private || said.no_store && !(said.must_understand && HEURISTIC.contains(&status.as_u16())) {
        return false;
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE || status == StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    let explicit = said.s_maxage.is_some()
        || said.max_age.is_some()
        || !targeted && response.headers.contains_key(header::EXPIRES);
    // A cookie belongs to one visitor, unless the origin says that everybody may have it.
    if response.headers.contains_key(header::SET_COOKIE) && !(said.public || said.s_maxage.is_some()) {
        return false;
    }
    if request.contains_key(header::AUTHORIZATION) && !(said.public || said.s_maxage.is_some() || said.must_revalidate)
    {
        return false;
    }
    if response.headers.get_all(header::VARY).iter().any(|value| value.as_bytes().contains(&b'*')) {
        return false;
    }
    if explicit || said.public {
        return true;
    }
    // Something to ask with, or some time to be fresh.
    rules.valid.contains_key(&status.as_u16())
        || HEURISTIC.contains(&status.as_u16()) && response.headers.contains_key(header::LAST_MODIFIED)
        || said.no_cache && status == StatusCode::OK
}

/// How fresh `response` is at `now`.
#[must_use]
pub fn freshness(response: &Head, rules: &Rules, now: u64) -> Freshness {
    let headers = &response.headers;
    let (said, targeted) = directives(headers);
    let date = date(headers, header::DATE).unwrap_or(response.received);
    let lifetime = if let Some(seconds) = said.s_maxage.or(said.max_age) {
        seconds
    } else if !targeted && headers.contains_key(header::EXPIRES) {
        // One that cannot be read is in the past.
        single_date(headers, header::EXPIRES).map_or(0, |expires| expires.saturating_sub(date))
    } else if let Some(valid) = rules.valid.get(&response.status.as_u16()) {
        valid.as_secs()
    } else if HEURISTIC.contains(&response.status.as_u16()) || said.public {
        // A tenth of how long it has been as it is, and a week at most.
        self::date(headers, header::LAST_MODIFIED)
            .map_or(0, |modified| (date.saturating_sub(modified) / 10).min(7 * 86_400))
    } else {
        0
    };
    let strict = said.must_revalidate || said.proxy_revalidate || said.s_maxage.is_some();
    let beyond = |stated: Option<u64>, usual: Duration| if strict { 0 } else { stated.unwrap_or(usual.as_secs()) };
    Freshness {
        age: age(response, date, now),
        lifetime,
        while_revalidate: beyond(said.stale_while_revalidate, rules.stale_while_revalidate),
        on_error: if said.no_cache { 0 } else { beyond(said.stale_if_error, rules.stale_on_error) },
        always_ask: said.no_cache
            || !said.present
                && headers
                    .get_all(header::PRAGMA)
                    .iter()
                    .any(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache")),
    }
}

/// Why it is fresh for as long as it is, for people.
#[must_use]
pub fn lifetime_reason(response: &Head, rules: &Rules) -> String {
    let headers = &response.headers;
    let (said, targeted) = directives(headers);
    let field = if targeted { "CDN-Cache-Control" } else { "Cache-Control" };
    let status = response.status.as_u16();
    if said.no_cache {
        format!("{field} has no-cache: it is looked at each time")
    } else if let Some(seconds) = said.s_maxage {
        format!("{field} has s-maxage={seconds}")
    } else if let Some(seconds) = said.max_age {
        format!("{field} has max-age={seconds}")
    } else if !targeted && headers.contains_key(header::EXPIRES) {
        "Expires tells until when".to_owned()
    } else if let Some(valid) = rules.valid.get(&status) {
        format!("its source does not say, and [cache.valid] has {} s for {status}", valid.as_secs())
    } else if headers.contains_key(header::LAST_MODIFIED) {
        "its source does not say: a tenth of the time since Last-Modified, and a week at most".to_owned()
    } else {
        "its source does not say, and nothing else tells".to_owned()
    }
}

/// RFC 9111, 4.2.3.
fn age(response: &Head, date: u64, now: u64) -> u64 {
    let apparent = response.received.saturating_sub(date);
    let stated = response.headers.get(header::AGE).map_or(0, |value| {
        let text = value.to_str().unwrap_or("").split(',').next().unwrap_or("").trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().unwrap_or(u64::MAX).min(1 << 31) } else { 0 }
    });
    let corrected = stated.saturating_add(response.received.saturating_sub(response.requested));
    apparent.max(corrected).saturating_add(now.saturating_sub(response.received))
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Several of them contradict each other.
fn single_date(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    if headers.get_all(&name).iter().count() == 1 { date(headers, name) } else { None }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
