//! Whose fault an I/O error is: the node's, the network's or our own.
//!
//! The kernel uses the same few numbers for what a router said and for what it found in its own tables, so the number
//! alone does not tell. Where it is ambiguous, [`own_route`] asks the routing table again without sending anything:
//! if it has no way either, the trouble is ours; if it has one, a router or the host's firewall has spoken.
//!
//! `EHOSTUNREACH` after a failed neighbour look-up (ARP, NDP) counts as the node's: on its own network that is how a dead
//! host shows. When the neighbour is our gateway every node shows it at once, and so do the anchors.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use rustix::io::Errno;

use crate::model::{Fault, Outcome, OwnFault, Stage};

/// What `error` says about the node at `address`, or about us; none where it is not about the network at all.
pub(crate) fn of_io(error: &io::Error, address: IpAddr, stage: Stage) -> Option<Outcome> {
    let Some(errno) = Errno::from_io_error(error) else {
        return (error.kind() == io::ErrorKind::UnexpectedEof).then_some(Outcome::Failed(Fault::Reset));
    };
    Some(of_errno(errno, address.is_ipv6(), stage, || own_route(address)))
}

fn of_errno(errno: Errno, ipv6: bool, stage: Stage, own_route: impl FnOnce() -> Option<OwnFault>) -> Outcome {
    let from_outside = Outcome::Failed(Fault::Unreachable);
    match errno {
        Errno::CONNREFUSED => Outcome::Failed(Fault::Refused),
        Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE | Errno::NOTCONN => Outcome::Failed(Fault::Reset),
        Errno::TIMEDOUT => Outcome::Failed(Fault::Timeout(stage)),
        // Only ICMP brings these: host unknown, host isolated, protocol unreachable, parameter problem.
        Errno::HOSTDOWN | Errno::NONET | Errno::NOPROTOOPT | Errno::PROTO => from_outside,
        Errno::NETUNREACH | Errno::HOSTUNREACH => own_route().map_or(from_outside, Outcome::Inconclusive),
        // ICMPv6 "administratively prohibited" arrives as this too; in IPv4 only our own machine says it.
        Errno::ACCESS => match own_route() {
            Some(own) => Outcome::Inconclusive(own),
            None if ipv6 => from_outside,
            None => Outcome::Inconclusive(OwnFault::Firewall),
        },
        Errno::PERM => Outcome::Inconclusive(OwnFault::Firewall),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => Outcome::Inconclusive(OwnFault::Resources),
        // Either no source address for this destination, or no free port towards it.
        Errno::ADDRNOTAVAIL => Outcome::Inconclusive(own_route().unwrap_or(OwnFault::Resources)),
        Errno::NETDOWN | Errno::AFNOSUPPORT => Outcome::Inconclusive(OwnFault::NoRoute),
        // Whatever else there is, no packet of the node's has caused it.
        _ => Outcome::Inconclusive(own_route().unwrap_or(OwnFault::Unavailable)),
    }
}

/// Why this machine has no way to `address`, by its own tables; none when it has one. Sends nothing.
fn own_route(address: IpAddr) -> Option<OwnFault> {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // Connecting a datagram socket looks up the route and the source address, and that is all it does.
    let error = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address, DISCARD))).err()?;
    Some(match Errno::from_io_error(&error) {
        Some(Errno::ACCESS | Errno::PERM) => OwnFault::Firewall,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => OwnFault::Resources,
        _ => OwnFault::NoRoute,
    })
}

const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_the_nodes_or_ours() {
        let check = |errno: Errno, ipv6: bool, own: Option<OwnFault>, expected: &str| {
            let outcome = of_errno(errno, ipv6, Stage::Connect, || own);
            assert_eq!(outcome.to_string(), expected, "{errno:?}, IPv6: {ipv6}, own route: {own:?}");
        };
        let no_route = Some(OwnFault::NoRoute);
        check(Errno::CONNREFUSED, false, no_route, "refused");
        check(Errno::CONNRESET, false, None, "reset");
        check(Errno::PIPE, false, None, "reset");
        check(Errno::TIMEDOUT, false, None, "timeout:connect");
        check(Errno::NETUNREACH, false, no_route, "inconclusive:no-route");
        check(Errno::NETUNREACH, false, None, "unreachable");
        check(Errno::HOSTUNREACH, false, no_route, "inconclusive:no-route");
        check(Errno::HOSTUNREACH, true, None, "unreachable");
        check(Errno::ACCESS, false, None, "inconclusive:firewall");
        check(Errno::ACCESS, false, Some(OwnFault::Firewall), "inconclusive:firewall");
        check(Errno::ACCESS, true, None, "unreachable");
        check(Errno::ACCESS, true, Some(OwnFault::Firewall), "inconclusive:firewall");
        check(Errno::PERM, true, None, "inconclusive:firewall");
        for out_of in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            check(out_of, false, None, "inconclusive:resources");
        }
        check(Errno::ADDRNOTAVAIL, false, None, "inconclusive:resources");
        check(Errno::ADDRNOTAVAIL, false, no_route, "inconclusive:no-route");
        check(Errno::NETDOWN, false, None, "inconclusive:no-route");
        check(Errno::AFNOSUPPORT, true, None, "inconclusive:no-route");
        check(Errno::INVAL, false, no_route, "inconclusive:no-route");
        check(Errno::NOSYS, false, None, "inconclusive:unavailable");
    }

    #[test]
    fn the_route_to_ourselves_is_there() {
        assert_eq!(own_route(Ipv4Addr::LOCALHOST.into()), None);
    }

    #[test]
    fn an_end_without_a_number_is_a_reset_and_anything_else_is_not_for_us() {
        let address = Ipv4Addr::LOCALHOST.into();
        let of = |kind| of_io(&io::Error::new(kind, "made up"), address, Stage::Tls);
        assert_eq!(of(io::ErrorKind::UnexpectedEof), Some(Outcome::Failed(Fault::Reset)));
        assert_eq!(of(io::ErrorKind::InvalidData), None);
    }
}
