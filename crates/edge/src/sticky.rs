//! Which of several servers a client stays at, for what cannot be cached.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use http::Uri;
use http::header::{self, HeaderMap, HeaderValue};

use crate::config::Sticky;
use crate::load::group;

/// The server that this client belongs to, if there is one already.
#[must_use]
pub fn server_of(sticky: Sticky, name: &str, urls: &[Uri], client: IpAddr, headers: &HeaderMap) -> Option<usize> {
    match sticky {
        Sticky::Address => {
            let client = group(client);
            // When a server comes or goes, only its own clients move.
            (0..urls.len()).max_by_key(|at| hash(&format!("{} {client}", urls[*at])))
        }
        Sticky::Cookie => {
            let given = cookies(headers).find_map(|cookie| cookie.strip_prefix(&cookie_name(name)))?;
            urls.iter().position(|url| token(url) == given)
        }
    }
}

/// The field that makes a client stay at `url`.
#[must_use]
pub fn cookie(name: &str, url: &Uri, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{}{}; Path=/; HttpOnly; SameSite=Lax{secure}", cookie_name(name), token(url));
    HeaderValue::from_str(&cookie).ok()
}

/// Takes our cookie out of what goes to a source, which has no use for it.
pub fn without_cookie(name: &str, headers: &mut HeaderMap) {
    let ours = cookie_name(name);
    if !cookies(headers).any(|cookie| cookie.starts_with(&ours)) {
        return;
    }
    let others: Vec<&str> = cookies(headers).filter(|cookie| !cookie.starts_with(&ours)).collect();
    let others = HeaderValue::from_str(&others.join("; ")).ok().filter(|value| !value.is_empty());
    headers.remove(header::COOKIE);
    if let Some(others) = others {
        headers.insert(header::COOKIE, others);
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(';')).map(str::trim).filter(|cookie| !cookie.is_empty())
}

fn cookie_name(name: &str) -> String {
    format!("edge-{name}=")
}

/// Tells servers apart, and nothing about where they are.
fn token(url: &Uri) -> String {
    format!("{:016x}", hash(&format!("{url} cookie")))
}

fn hash(text: &str) -> u64 {
    let digest = digest(&SHA256, text.as_bytes());
    u64::from_le_bytes(digest.as_ref()[..8].try_into().expect("eight of many bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(count: usize) -> Vec<Uri> {
        (0..count).map(|at| format!("https://origin{at}.example.net").parse().unwrap()).collect()
    }

    fn with_cookie(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, text.parse().unwrap())])
    }

    #[test]
    fn an_address_stays_where_it_is_when_others_go() {
        let all = urls(4);
        let client = |at: u8| IpAddr::from([192, 0, 2, at]);
        let of = |urls: &[Uri], at| {
            let server = server_of(Sticky::Address, "home", urls, client(at), &HeaderMap::new()).unwrap();
            urls[server].clone()
        };
        let mut seen = std::collections::BTreeSet::new();
        for at in 0..=255 {
            let before = of(&all, at);
            seen.insert(before.to_string());
            if before != all[3] {
                assert_eq!(of(&all[..3], at), before);
            }
        }
        assert_eq!(seen.len(), 4);
        let of = |client: &str| server_of(Sticky::Address, "home", &all, client.parse().unwrap(), &HeaderMap::new());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"), "a /64 is one client");
    }

    #[test]
    fn a_cookie_leads_back_to_the_server_that_set_it() {
        let all = urls(3);
        let client = IpAddr::from([192, 0, 2, 1]);
        for (at, url) in all.iter().enumerate() {
            let set = cookie("home", url, true).unwrap();
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let headers = with_cookie(&format!("a=b; {pair}; c=d"));
            assert_eq!(server_of(Sticky::Cookie, "home", &all, client, &headers), Some(at));
            assert_eq!(server_of(Sticky::Cookie, "other", &all, client, &headers), None);
            let mut headers = headers;
            without_cookie("home", &mut headers);
            assert_eq!(headers.get(header::COOKIE).unwrap(), "a=b; c=d");
            let mut headers = with_cookie(&pair);
            without_cookie("home", &mut headers);
            assert!(headers.is_empty());
        }
        for unknown in ["edge-home=0123456789abcdef", "edge-home=", "a=b"] {
            assert_eq!(server_of(Sticky::Cookie, "home", &all, client, &with_cookie(unknown)), None);
        }
    }
}
