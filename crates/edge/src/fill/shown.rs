//! A response's head, with what is made of it for every answer, made once.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderValue};

use crate::http::{Freshness, Head, Rules, freshness};

/// See the module.
#[derive(Debug)]
pub struct Shown {
    head: Arc<Head>,
    /// As it was when it came.
    fresh: OnceLock<Freshness>,
    fields: OnceLock<HeaderMap>,
}

impl Shown {
    pub(super) fn new(head: Head) -> Self {
        Self { head: Arc::new(head), fresh: OnceLock::new(), fields: OnceLock::new() }
    }

    /// What it is made of.
    #[must_use]
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// How fresh it is at `now`. The rules are the same each time.
    #[must_use]
    pub fn freshness(&self, rules: &Rules, now: u64) -> Freshness {
        let received = self.head.received;
        let fresh = *self.fresh.get_or_init(|| freshness(&self.head, rules, received));
        Freshness { age: fresh.age.saturating_add(now.saturating_sub(received)), ..fresh }
    }

    /// Its fields for an answer, which tells its length and age itself.
    #[must_use]
    pub fn fields(&self) -> HeaderMap {
        let make = || {
            let mut headers = self.head.headers.clone();
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::AGE);
            if !headers.contains_key(header::DATE) {
                let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.head.received));
                headers.insert(header::DATE, HeaderValue::from_str(&date).expect("dates are plain"));
            }
            headers
        };
        self.fields.get_or_init(make).clone()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn it_grows_old_as_the_head_does() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("cache-control", "max-age=60"), ("age", "7"), ("content-length", "5")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let head =
            Head { status: StatusCode::OK, headers, requested: 1000, received: 1002, varies: Vec::new(), purges: 0 };
        let shown = Shown::new(head.clone());
        for now in [1002, 1010, 5000, 900] {
            assert_eq!(shown.freshness(&Rules::default(), now), freshness(&head, &Rules::default(), now), "at {now}");
        }
        let fields = shown.fields();
        assert_eq!(fields.get(header::DATE).unwrap(), "Thu, 01 Jan 1970 00:16:42 GMT");
        assert!(!fields.contains_key(header::AGE) && !fields.contains_key(header::CONTENT_LENGTH));
    }
}
