//! `Cache-Control`, read the way caches agreed on.

use http::header::{AsHeaderName, HeaderMap};

/// What was said. Unknown directives are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Whether there was any field at all.
    pub present: bool,
    /// Seconds.
    pub max_age: Option<u64>,
    /// Seconds, for caches that many share.
    pub s_maxage: Option<u64>,
    /// Not to be kept.
    pub no_store: bool,
    /// Not to be served without asking.
    pub no_cache: bool,
    /// For one person.
    pub private: bool,
    /// For everybody.
    pub public: bool,
    /// Never served stale.
    pub must_revalidate: bool,
    /// As `must_revalidate`, for caches that many share.
    pub proxy_revalidate: bool,
    /// A cache that knows the status may keep it in spite of `no_store`.
    pub must_understand: bool,
    /// Served stale for so many seconds while it is looked at.
    pub stale_while_revalidate: Option<u64>,
    /// Served stale for so many seconds when the source fails.
    pub stale_if_error: Option<u64>,
    /// In requests: not from the source.
    pub only_if_cached: bool,
    /// In requests: fresh for so many seconds more.
    pub min_fresh: Option<u64>,
    /// In requests: stale by so many seconds is fine; without a number, by any.
    pub max_stale: Option<u64>,
}

impl Directives {
    /// Of all fields with this name.
    #[must_use]
    pub fn of(headers: &HeaderMap, name: impl AsHeaderName) -> Self {
        let mut all = Self::default();
        for value in headers.get_all(name) {
            all.present = true;
            for item in split_list(&String::from_utf8_lossy(value.as_bytes())) {
                all.add(item);
            }
        }
        all
    }

    /// The same of a structured field (RFC 9213): one that is not well formed is not there at all.
    #[must_use]
    pub fn of_structured(headers: &HeaderMap, name: impl AsHeaderName) -> Self {
        let mut all = Self::default();
        for value in headers.get_all(name) {
            let Ok(text) = value.to_str() else { return Self::default() };
            for item in split_list(text) {
                if !is_member(item) {
                    return Self::default();
                }
                all.present = true;
                all.add(item.split(';').next().unwrap_or(item).trim());
            }
        }
        all
    }

    fn add(&mut self, item: &str) {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (item, None),
        };
        // A number that cannot be read means that nothing is known to be fresh.
        let seconds = || value.map_or(0, |value| seconds(value).unwrap_or(0));
        // The first of two counts, unless the second is shorter: better asked too often than too rarely.
        let shorter = |old: Option<u64>| Some(old.map_or_else(seconds, |old| old.min(seconds())));
        match name.to_ascii_lowercase().as_str() {
            "max-age" => self.max_age = shorter(self.max_age),
            "s-maxage" => self.s_maxage = shorter(self.s_maxage),
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "stale-while-revalidate" => self.stale_while_revalidate = Some(seconds()),
            "stale-if-error" => self.stale_if_error = Some(seconds()),
            "only-if-cached" => self.only_if_cached = true,
            "min-fresh" => self.min_fresh = Some(seconds()),
            "max-stale" => self.max_stale = Some(value.map_or(u64::MAX, seconds_or_zero)),
            _ => {}
        }
    }
}

/// Whether this is a member of a dictionary (RFC 8941), with a number where seconds belong.
fn is_member(item: &str) -> bool {
    let mut parts = item.split(';').map(str::trim);
    let member = parts.next().unwrap_or("");
    let (key, value) = member.split_once('=').map_or((member, None), |(key, value)| (key, Some(value)));
    let is_key = |key: &str| {
        key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*')
            && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c))
    };
    let digits =
        |value: &str| !value.is_empty() && value.len() <= 15 && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_value = |value: &str| {
        digits(value.strip_prefix('-').unwrap_or(value))
            || ["?0", "?1"].contains(&value)
            || value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
                && value.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c))
            || value.len() >= 2 && value.starts_with('"') && value.ends_with('"')
            || value.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part))
    };
    let of_seconds = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"].contains(&key);
    let fits = match value {
        Some(value) if of_seconds => digits(value),
        Some(value) => is_value(value),
        None => !of_seconds,
    };
    is_key(key)
        && fits
        && parts.all(|part| part.split_once('=').map_or(is_key(part), |(key, value)| is_key(key) && is_value(value)))
}

fn seconds_or_zero(value: &str) -> u64 {
    seconds(value).unwrap_or(0)
}

/// A number of seconds, perhaps in quotes. Very large ones are large enough.
fn seconds(value: &str) -> Option<u64> {
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(value.parse().unwrap_or(u64::MAX).min(1 << 31))
}

/// The items of a list; commas inside quotes do not part them.
pub(super) fn split_list(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                items.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(text[start..].trim());
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Directives {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", text.parse().unwrap());
        Directives::of(&headers, "cache-control")
    }

    #[test]
    fn values_are_read_with_care() {
        let cases = [
            ("max-age=3600", Some(3600)),
            ("MAX-AGE=3600", Some(3600)),
            ("a=\"b, max-age=1\", max-age=\"60\"", Some(60)),
            ("max-age=99999999999999999999", Some(1 << 31)),
            ("max-age=-1", Some(0)),
            ("max-age=1.5", Some(0)),
            ("max-age", Some(0)),
            ("max-age=100, max-age=10", Some(10)),
            ("x-max-age=5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text).max_age, expected, "{text}");
        }
        let structured = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("cdn-cache-control", text.parse().unwrap());
            Directives::of_structured(&headers, "cdn-cache-control")
        };
        assert_eq!(structured("max-age=60;x=1, foo=\"a\", must-revalidate").max_age, Some(60));
        for bad in ["max-age=60, &&&", "max-age=\"60\"", "MAX-AGE=60", "max-age", "max-age=1.5"] {
            assert_eq!(structured(bad), Directives::default(), "{bad}");
        }
        assert!(of("no-store, max-age=5").no_store && !of("\"no-store\"").no_store);
        assert_eq!(of("max-stale").max_stale, Some(u64::MAX));
    }
}
