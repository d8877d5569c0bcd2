//! Who a client is.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::config::Network;

/// The client's address. What `X-Forwarded-For` says counts as far as those who say it are trusted: from the right, up
/// to the first that is not.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.has(address));
    let mut client = peer.to_canonical();
    let fields: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().map(|field| field.to_str().unwrap_or("?")).collect();
    for text in fields.iter().flat_map(|field| field.split(',')).rev() {
        if !is_trusted(client) {
            break;
        }
        let text = text.trim();
        let address = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
        match address {
            Ok(address) => client = address.to_canonical(),
            // Who trusts what cannot be read trusts anybody.
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_trusted_are_believed() {
        let trusted = ["192.0.2.0/24".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let cases: [(&str, &[&str], &str); 9] = [
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("192.0.2.1", &[], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:192.0.2.1", &["198.51.100.1"], "198.51.100.1"),
            ("192.0.2.1", &["10.0.0.1, 198.51.100.1"], "198.51.100.1"),
            ("192.0.2.1", &["198.51.100.1, 192.0.2.7"], "198.51.100.1"),
            ("192.0.2.1", &["198.51.100.1", "2001:db8::1"], "198.51.100.1"),
            ("192.0.2.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("192.0.2.1", &["198.51.100.1, unknown"], "192.0.2.1"),
        ];
        for (peer, fields, expected) in cases {
            let headers =
                fields.iter().map(|field| ("x-forwarded-for".parse().unwrap(), field.parse().unwrap())).collect();
            assert_eq!(client(peer.parse().unwrap(), &headers, &trusted).to_string(), expected, "{peer} {fields:?}");
        }
    }
}
