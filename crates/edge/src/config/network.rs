//! Networks of addresses, as in `192.0.2.0/24`.

use std::net::{IpAddr, Ipv6Addr};

/// An address and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// All bits that do not count are zero.
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let wrong = || {
            let remedy = "write it like \"192.0.2.0/24\", \"2001:db8::/32\" or \"192.0.2.1\"".to_owned();
            (format!("{text:?} is neither a network nor an address"), remedy)
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        let network = Self { address: masked(address, bits), bits };
        if network.address != address {
            let message = format!("{text:?} has bits behind its first {bits}");
            return Err((message, format!("write \"{}/{bits}\"", network.address)));
        }
        Ok(network)
    }

    /// Whether `address` is in it. One of IPv4 in the clothes of IPv6 is what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_what_begins_as_it_does() {
        let has = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        assert!(has("192.0.2.0/24", "192.0.2.255") && !has("192.0.2.0/24", "192.0.3.0"));
        assert!(has("192.0.2.7", "192.0.2.7") && !has("192.0.2.7", "192.0.2.8"));
        assert!(has("192.0.2.0/24", "::ffff:192.0.2.1") && !has("0.0.0.0/0", "2001:db8::1"));
        assert!(has("2001:db8::/32", "2001:db8:ffff::1") && !has("2001:db8::/32", "2001:db9::"));
        assert!(has("::/0", "2001:db8::1") && !has("::/0", "192.0.2.1"));
    }

    #[test]
    fn what_is_no_network_is_told() {
        for wrong in ["", "192.0.2.0/33", "192.0.2/24", "2001:db8::/129", "files.example.com", "192.0.2.0/-1"] {
            assert!(Network::parse(wrong).unwrap_err().0.contains("neither"), "{wrong}");
        }
        assert_eq!(Network::parse("192.0.2.1/24").unwrap_err().1, "write \"192.0.2.0/24\"");
    }
}
