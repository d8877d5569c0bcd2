//! Loopback addresses and ports that nobody else is using.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that Linux gives to outgoing connections (32768 and up by default), so that no connection of
/// somebody else's takes a port between our finding it and our server's binding it.
const LOWEST: u32 = 12_000;
const HIGHEST: u32 = 32_000;

/// A port of 127.0.0.1 that is free for TCP and for UDP.
///
/// # Panics
///
/// When all of them are taken.
#[must_use]
pub fn free() -> u16 {
    free_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// A port of `address` that is free for TCP and for UDP. Processes start looking at different places, so that tests
/// which run side by side do not find the same one.
///
/// # Panics
///
/// When all of them are taken, or `address` is not this machine's.
#[must_use]
pub fn free_on(address: IpAddr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = HIGHEST - LOWEST;
    // A multiplier without a common factor with the span spreads neighbouring process ids far apart.
    let first = std::process::id().wrapping_mul(7919) % span;
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(LOWEST + first.wrapping_add(step) % span).expect("HIGHEST is below 65536");
        let at = SocketAddr::new(address, port);
        if is_free(at) {
            return port;
        }
    }
    panic!("no port of {address} between {LOWEST} and {HIGHEST} is free for TCP and UDP");
}

/// Whether nobody uses this address and port, for TCP or for UDP.
#[must_use]
pub fn is_free(at: SocketAddr) -> bool {
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}

/// A loopback address of this process's own, the `n`th of four (`n` counts modulo four): servers that must share one
/// port number, as the nodes of a fleet do, get an address each. Linux only, where all of 127.0.0.0/8 is loopback.
#[must_use]
pub fn own_address(n: u32) -> Ipv4Addr {
    // Process ids have at most 22 bits on Linux, which leaves two of the 24.
    let bits = (std::process::id() << 2 | n & 3) & 0x00ff_ffff;
    // 127.0.0.x belongs to everybody.
    let bits = if bits >> 8 == 0 { bits | 0x00ff_0000 } else { bits };
    Ipv4Addr::from(0x7f00_0000 | bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_ports_that_can_be_bound_and_differ() {
        let ports: Vec<u16> = (0..20).map(|_| free()).collect();
        let held: Vec<_> = ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).unwrap()).collect();
        assert_eq!(held.len(), 20, "two of {ports:?} are equal");
    }

    #[test]
    fn own_addresses_are_loopback_and_differ() {
        let all: std::collections::BTreeSet<_> = (0..4).map(own_address).collect();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|address| address.is_loopback() && address.octets()[1..3] != [0, 0]));
        TcpListener::bind((own_address(0), 0)).unwrap();
    }
}
