//! Who may do how much: allowances, connections, tokens, bans of addresses and of pages.
//!
//! All that is counted here is forgotten with the process; bans are in the database and in the configuration.

mod allowance;
mod bans;
mod counts;
mod tokens;

use std::net::{IpAddr, Ipv6Addr};

pub use allowance::{Allowances, Meter};
pub use bans::{AddressBans, is_referer_banned};
pub use counts::{Counted, Counts};
pub use tokens::is_allowed;

/// Those who share a limit: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(IpAddr);

impl Group {
    /// The one of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// Sixteen bytes that are the same for the same group and `salt`, and tell nothing without it.
    #[must_use]
    pub fn mark(self, salt: &str) -> [u8; 16] {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{salt} {}", self.0).as_bytes());
        *digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_an_address_or_a_network() {
        let group = |text: &str| Group::of(text.parse().unwrap());
        assert_eq!(group("2001:db8:1:2:3::4"), group("2001:db8:1:2:ffff::1"));
        assert_ne!(group("2001:db8:1:2::"), group("2001:db8:1:3::"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
        assert_eq!(group("192.0.2.1").mark("a"), group("192.0.2.1").mark("a"));
        assert_ne!(group("192.0.2.1").mark("a"), group("192.0.2.1").mark("b"));
    }
}
