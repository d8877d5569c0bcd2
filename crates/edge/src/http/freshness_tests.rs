use super::*;

const NOW: u64 = 1_700_000_000;

fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn head(status: u16, fields: &[(&str, String)]) -> Head {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Head { status, headers, requested: NOW, received: NOW, varies: Vec::new(), purges: 0 }
}

fn rules() -> Rules {
    Rules {
        valid: BTreeMap::from([(404, Duration::from_secs(10))]),
        stale_on_error: Duration::from_secs(1000),
        stale_while_revalidate: Duration::from_secs(30),
    }
}

#[test]
fn lifetimes_come_from_whoever_speaks_to_us_most_directly() {
    let expires = || ("expires", http_date(NOW + 77));
    let cases: &[(&[(&str, String)], u64)] = &[
        (&[("cache-control", "max-age=5".into()), expires()], 5),
        (&[("cache-control", "max-age=5, s-maxage=6".into())], 6),
        (&[("cache-control", "max-age=5, s-maxage=6".into()), ("cdn-cache-control", "max-age=7".into())], 7),
        (&[expires()], 77),
        (&[expires(), ("date", http_date(NOW - 3))], 80),
        (&[("expires", "0".into())], 0),
        (&[expires(), expires()], 0),
        (&[("last-modified", http_date(NOW - 1000))], 100),
        (&[("last-modified", http_date(0))], 7 * 86_400),
        (&[], 0),
    ];
    for (fields, expected) in cases {
        assert_eq!(freshness(&head(200, fields), &rules(), NOW).lifetime, *expected, "{fields:?}");
    }
    assert_eq!(freshness(&head(404, &[]), &rules(), NOW).lifetime, 10);
}

#[test]
fn age_adds_up_what_others_and_we_have_kept_it_for() {
    let one = head(200, &[("age", "100".into()), ("date", http_date(NOW - 40))]);
    assert_eq!(freshness(&one, &rules(), NOW + 5).age, 105);
    let two = head(200, &[("date", http_date(NOW - 200))]);
    assert_eq!(freshness(&two, &rules(), NOW + 5).age, 205);
    for bad in ["-1", "1.5", "x", ""] {
        assert_eq!(freshness(&head(200, &[("age", bad.into())]), &rules(), NOW).age, 0, "{bad:?}");
    }
}

#[test]
fn stale_is_served_only_where_nobody_forbids_it() {
    let at = |control: &str, now| freshness(&head(200, &[("cache-control", control.into())]), &rules(), now);
    assert!(at("max-age=10", NOW + 9).is_fresh() && !at("max-age=10", NOW + 10).is_fresh());
    assert!(at("max-age=10", NOW + 39).is_usable_meanwhile() && !at("max-age=10", NOW + 40).is_usable_meanwhile());
    assert!(at("max-age=10", NOW + 1009).is_usable_on_error() && !at("max-age=10", NOW + 1010).is_usable_on_error());
    assert!(!at("max-age=10, must-revalidate", NOW + 11).is_usable_on_error());
    assert!(!at("max-age=10, stale-if-error=0", NOW + 11).is_usable_on_error());
    assert!(at("max-age=10, stale-while-revalidate=60", NOW + 69).is_usable_meanwhile());
    assert!(!at("max-age=10, no-cache", NOW).is_fresh());
}

#[test]
fn what_is_for_one_person_or_nobody_is_not_stored() {
    let none = HeaderMap::new();
    let store = |fields: &[(&str, String)]| may_store(&Method::GET, &none, &head(200, fields), &rules());
    let control = |text: &str| ("cache-control", text.to_owned());
    assert!(store(&[control("max-age=5")]));
    assert!(!store(&[control("max-age=5, private")]));
    assert!(!store(&[control("max-age=5, no-store")]));
    assert!(store(&[control("max-age=5, no-store, must-understand")]));
    assert!(!store(&[control("max-age=5"), ("set-cookie", "a=b".into())]));
    assert!(!store(&[control("max-age=5"), ("vary", "*".into())]));
    assert!(!store(&[]));
    let mut secret = HeaderMap::new();
    secret.insert("authorization", "x".parse().unwrap());
    assert!(!may_store(&Method::GET, &secret, &head(200, &[control("max-age=5")]), &rules()));
    assert!(may_store(&Method::GET, &secret, &head(200, &[control("public, max-age=5")]), &rules()));
    assert!(!may_store(&Method::POST, &none, &head(200, &[control("max-age=5")]), &rules()));
    assert!(may_store(&Method::GET, &none, &head(404, &[]), &rules()));
    assert!(!may_store(&Method::GET, &none, &head(500, &[]), &rules()));
}
