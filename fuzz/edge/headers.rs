//! Whatever fields a client or a source sends: no panic, and what is stored comes back as it was.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use witness_edge::http::{
    Answer, Directives, Head, Rules, answer_to, freshness, hops, if_range_holds, lifetime_reason, may_store,
    same_generation, strip_hop_by_hop, tags,
};

const NAMES: [&str; 22] = [
    "cache-control",
    "cdn-cache-control",
    "expires",
    "date",
    "age",
    "last-modified",
    "etag",
    "vary",
    "pragma",
    "set-cookie",
    "if-none-match",
    "if-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
    "cdn-loop",
    "connection",
    "surrogate-key",
    "cache-tag",
    "content-length",
    "authorization",
];

pub fn run(bytes: &[u8]) {
    let (numbers, rest) = bytes.split_at(bytes.len().min(4));
    let number = numbers.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut headers = HeaderMap::new();
    // A line a field: its first byte chooses the name, or it is written out.
    for line in rest.split(|byte| *byte == b'\n').take(64) {
        let Some((first, value)) = line.split_first() else { continue };
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (HeaderName::from_bytes(&line[..at]).ok(), &line[at + 1..]),
            None => (HeaderName::from_bytes(NAMES[usize::from(*first) % NAMES.len()].as_bytes()).ok(), value),
        };
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let status = StatusCode::from_u16(200 + u16::try_from(number % 400).unwrap_or(0)).unwrap_or(StatusCode::OK);
    let head = Head {
        status,
        headers: headers.clone(),
        requested: number,
        received: number.saturating_add(number % 7),
        varies: Vec::new(),
        purges: 0,
    };
    let rules = Rules::default();
    for now in [0, number, u64::MAX] {
        let fresh = freshness(&head, &rules, now);
        assert!(!fresh.is_fresh() || fresh.is_usable_meanwhile());
        assert!(!fresh.is_fresh() || fresh.age < fresh.lifetime);
    }
    let _ = lifetime_reason(&head, &rules);
    let said = Directives::of(&headers, "cache-control");
    if said.private && !headers.contains_key("cdn-cache-control") {
        assert!(!may_store(&Method::GET, &HeaderMap::new(), &head, &rules));
    }
    let _ = may_store(&Method::GET, &headers, &head, &rules);
    assert!(!may_store(&Method::POST, &headers, &head, &rules));
    let _ = Directives::of_structured(&headers, "cdn-cache-control");
    let _ = (answer_to(&headers, &headers), if_range_holds(&headers, &headers));
    assert_eq!(answer_to(&HeaderMap::new(), &headers), Answer::Full);
    assert!(same_generation(&headers, &headers));
    let seen = hops(&headers, "fleet.example", "e1");
    assert!(!seen.here || seen.fleet > 0);
    assert!(tags(&headers).iter().all(|tag| !tag.is_empty()));
    let stored = Head::stored(&head.to_meta("files.example.com/a"));
    assert_eq!(stored.headers, head.headers);
    assert_eq!(stored.headers, Head::stored(&stored.to_meta("a")).headers);
    let _ = head.refreshed(&stored);
    strip_hop_by_hop(&mut headers);
    assert!(!headers.contains_key("connection"));
}
