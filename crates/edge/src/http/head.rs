//! A response's head, as the cache keeps it.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, header};

use super::hops::strip_hop_by_hop;
use crate::store::Meta;

/// Status and fields, and when they came.
#[derive(Clone, Debug)]
pub struct Head {
    /// As the origin gave it; 200 for what came in parts.
    pub status: StatusCode,
    /// Without those that were for one connection.
    pub headers: HeaderMap,
    /// When it was asked for, in seconds since 1970.
    pub requested: u64,
    /// When it came.
    pub received: u64,
    /// For a marker: the request fields that choose among variants.
    pub varies: Vec<String>,
    /// How many purges by key there had been when it was asked for.
    pub purges: u64,
}

impl Head {
    /// Of what came from a source.
    #[must_use]
    pub fn received(parts: &http::response::Parts, requested: u64, received: u64) -> Self {
        let mut headers = parts.headers.clone();
        strip_hop_by_hop(&mut headers);
        let mut status = parts.status;
        if status == StatusCode::PARTIAL_CONTENT {
            status = StatusCode::OK;
            headers.remove(header::CONTENT_RANGE);
            headers.remove(header::CONTENT_LENGTH);
        }
        Self { status, headers, requested, received, varies: Vec::new(), purges: 0 }
    }

    /// As it was stored.
    #[must_use]
    pub fn stored(meta: &Meta) -> Self {
        let headers = meta.headers.iter().filter_map(|(name, value)| {
            // Each character stands for the byte of its number.
            let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&bytes?).ok()?))
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        Self {
            status: StatusCode::from_u16(meta.status).unwrap_or(StatusCode::OK),
            headers: map,
            requested: meta.requested,
            received: meta.received,
            varies: meta.varies.clone(),
            purges: meta.purges,
        }
    }

    /// To be stored.
    #[must_use]
    pub fn to_meta(&self, name: &str) -> Meta {
        let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        Meta {
            name: name.to_owned(),
            status: self.status.as_u16(),
            headers: self.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            requested: self.requested,
            received: self.received,
            varies: self.varies.clone(),
            purges: self.purges,
        }
    }

    /// As it is after the origin said, with `fresh`, that it is still good (RFC 9111, 3.2).
    #[must_use]
    pub fn refreshed(&self, fresh: &Self) -> Self {
        let mut headers = self.headers.clone();
        for name in fresh.headers.keys() {
            // These tell of the body, which has not changed.
            if [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE, header::CONTENT_RANGE]
                .contains(name)
            {
                continue;
            }
            headers.remove(name);
            for value in fresh.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        // An age that the first answer had says nothing about the second.
        if !fresh.headers.contains_key(header::AGE) {
            headers.remove(header::AGE);
        }
        Self { headers, requested: fresh.requested, received: fresh.received, purges: fresh.purges, ..self.clone() }
    }
}
