//! Fields that are for one connection, and those that count the way.

use http::header::{self, HeaderMap, HeaderName};

use super::directives::split_list;

/// Where a request has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hops {
    /// Edges of this fleet that it came through.
    pub fleet: usize,
    /// It has been here.
    pub here: bool,
}

/// Reads `CDN-Loop` (RFC 8586), as edges write it: `FLEET; node=NAME`.
#[must_use]
pub fn hops(headers: &HeaderMap, fleet: &str, node: &str) -> Hops {
    let mut hops = Hops::default();
    for value in headers.get_all("cdn-loop") {
        for item in split_list(&String::from_utf8_lossy(value.as_bytes())) {
            let mut parts = item.split(';').map(str::trim);
            if !parts.next().is_some_and(|id| id.eq_ignore_ascii_case(fleet)) {
                continue;
            }
            hops.fleet += 1;
            hops.here |= parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
                name.trim().eq_ignore_ascii_case("node") && value.trim().trim_matches('"') == node
            });
        }
    }
    hops
}

/// Removes what concerns only the connection a message came on (RFC 9110, 7.6.1).
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_of_our_fleet_are_counted_and_ourselves_are_found() {
        let mut headers = HeaderMap::new();
        headers.append("cdn-loop", "other.example; node=a, files.example.com; node=b".parse().unwrap());
        headers.append("cdn-loop", "Files.example.com;node=\"c\"".parse().unwrap());
        assert_eq!(hops(&headers, "files.example.com", "a"), Hops { fleet: 2, here: false });
        assert_eq!(hops(&headers, "files.example.com", "c"), Hops { fleet: 2, here: true });
        assert_eq!(hops(&headers, "elsewhere.example", "c"), Hops::default());
    }

    #[test]
    fn what_the_connection_field_names_goes_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, x-secret"), ("x-secret", "1"), ("te", "trailers"), ("etag", "\"a\"")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["etag"]);
    }
}
