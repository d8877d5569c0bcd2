//! Surrogate keys: names that an origin gives to what it sends, so that all of it can be purged at once.

use http::header::{HeaderMap, HeaderName};

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The keys in `Surrogate-Key`, parted by spaces, and in `Cache-Tag`, parted by commas.
#[must_use]
pub fn tags(headers: &HeaderMap) -> Vec<&str> {
    let texts = |name: HeaderName| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let keys = texts(SURROGATE_KEY).flat_map(str::split_ascii_whitespace);
    let tags = texts(CACHE_TAG).flat_map(|text| text.split(',').map(str::trim));
    keys.chain(tags).filter(|tag| !tag.is_empty()).collect()
}

/// Removes them: they are for caches, and tell clients how a site is made.
pub fn strip_tags(headers: &mut HeaderMap) {
    headers.remove(SURROGATE_KEY);
    headers.remove(CACHE_TAG);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fields_are_read_as_their_inventors_write_them() {
        let mut headers = HeaderMap::new();
        headers.append("surrogate-key", "site/1  album-7".parse().unwrap());
        headers.append("surrogate-key", "user,3".parse().unwrap());
        headers.append("cache-tag", "a tag, b ,,c".parse().unwrap());
        assert_eq!(tags(&headers), ["site/1", "album-7", "user,3", "a tag", "b", "c"]);
        strip_tags(&mut headers);
        assert!(headers.is_empty());
    }
}
