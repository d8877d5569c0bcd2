//! Variants of one object, as `Vary` tells them apart.

use http::header::{self, HeaderMap};

use crate::http::Head;
use crate::store::Key;

/// The key of the variant that these request fields choose.
pub(super) fn variant(name: &str, marker: &Head, request: &HeaderMap) -> Key {
    let mut text =
        format!("{name}\n{}", marker.headers.get(header::ETAG).map_or("", |salt| salt.to_str().unwrap_or("")));
    for field in &marker.varies {
        text.push('\n');
        text.push_str(field);
        for value in request.get_all(field.as_str()) {
            text.push('\u{0}');
            let value = String::from_utf8_lossy(value.as_bytes());
            let parts: Vec<&str> = value.split(',').map(str::trim).collect();
            text.push_str(&parts.join(","));
        }
    }
    Key::of(&text)
}
