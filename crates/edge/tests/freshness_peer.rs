//! Our judgement of what may be served without asking, beside that of http-cache-semantics, whose answers to generated
//! cases are kept in `fixtures/freshness`. Where they differ, it is said why, and how often.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use std::collections::BTreeMap;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use witness_edge::http::{Head, Rules, freshness, may_store};

const RECEIVED: u64 = 1_700_000_000;

#[derive(Debug, Deserialize)]
struct Case {
    status: u16,
    request: BTreeMap<String, String>,
    response: BTreeMap<String, String>,
    elapsed: u64,
    stores: bool,
    serves: bool,
    age: f64,
}

/// Its source's clock says that it was made before it came.
fn is_dated_back(case: &Case) -> bool {
    case.response.get("date").is_some_and(|date| date != "Tue, 14 Nov 2023 22:13:20 GMT")
}

fn headers(fields: &BTreeMap<String, String>) -> HeaderMap {
    let field = |(name, value): (&String, &String)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
    };
    fields.iter().map(field).collect()
}

/// Why we differ, where we mean to.
fn reason(case: &Case, ours: bool) -> Option<&'static str> {
    let said = case.response.get("cache-control").map_or("", String::as_str).to_ascii_lowercase();
    let has = |name: &str| case.response.contains_key(name);
    let explicit = said.contains("max-age") || said.contains("s-maxage") || has("expires");
    match ours {
        // What they serve and we do not: to ask once more is never wrong.
        false if is_dated_back(case) => Some("what was made long ago is as old, whoever kept it (RFC 9111, 4.2.3)"),
        false if case.response.get("age").is_some_and(|age| age.starts_with('-')) => Some("no age is below zero"),
        false if case.response.get("cache-control").is_some_and(|said| said.contains("MAX-AGE")) => {
            Some("names of directives are the same in small letters and large ones")
        }
        false if has("set-cookie") => Some("a cookie stays with whom it was for, unless everybody is named"),
        false if has("vary") => Some("what depends on everything is for one request"),
        false if has("last-modified") && !explicit => Some("a tenth of the time, in whole seconds"),
        false if case.request.contains_key("authorization") => Some("what was asked for with a password"),
        // What we serve and they do not.
        true if said.contains("max-age") && case.response["cache-control"].contains("MAX-AGE") => {
            Some("names of directives are the same in small letters and large ones")
        }
        true if explicit
            && ![200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 501].contains(&case.status) =>
        {
            Some("any status may be kept when its source says so (RFC 9111, 3)")
        }
        true if has("set-cookie") && said.contains("s-maxage") => {
            Some("a cookie beside a time for shared caches is for everybody")
        }
        _ => None,
    }
}

#[test]
fn we_serve_what_the_peer_serves_or_say_why_not() {
    let rules = Rules::default();
    let mut differences: BTreeMap<&str, u32> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let (mut cases, mut served, mut ages) = (0, 0, 0);
    for line in include_str!("fixtures/freshness/cases.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let head = Head {
            status: StatusCode::from_u16(case.status).unwrap(),
            headers: headers(&case.response),
            requested: RECEIVED,
            received: RECEIVED,
            varies: Vec::new(),
            purges: 0,
        };
        let fresh = freshness(&head, &rules, RECEIVED + case.elapsed);
        let stores = may_store(&Method::GET, &headers(&case.request), &head, &rules);
        let serves = stores && fresh.is_fresh();
        cases += 1;
        served += u32::from(serves && case.serves);
        if serves != case.serves {
            match reason(&case, serves) {
                Some(why) => *differences.entry(why).or_default() += 1,
                None => unexplained.push(format!("we serve: {serves}; stored by us: {stores}; {fresh:?}\n{case:?}")),
            }
        }
        // An age below zero is none.
        let age_is_good = case.response.get("age").is_none_or(|age| !age.starts_with('-'));
        if case.stores && stores && age_is_good && !is_dated_back(&case) {
            ages += 1;
            assert!((fresh.age as f64 - case.age).abs() < 1.0, "age {}\n{case:#?}", fresh.age);
        }
    }
    assert!(unexplained.is_empty(), "{} are unexplained\n{}", unexplained.len(), unexplained.join("\n\n"));
    println!("{cases} cases, {served} served by both, {ages} ages compared; differences: {differences:#?}");
    assert!(cases >= 1000 && served > 100 && ages > 300);
    assert!(differences.values().sum::<u32>() < cases / 10, "{differences:#?}");
}
