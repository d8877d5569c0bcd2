//! What a machine counts, and what two looks at it say.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{LoadFigure, LoadSource, NodeId, Time};

/// What a machine told at one moment. What it did not tell is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counters {
    /// Bytes sent since boot, by physical device.
    pub(super) sent_bytes: BTreeMap<String, u64>,
    pub(super) load1_milli: Option<u32>,
    pub(super) ncpu: Option<u32>,
    /// Something waited for a processor.
    pub(super) cpu: Option<Pressure>,
    /// Everything waited for input and output.
    pub(super) io: Option<Pressure>,
    pub(super) listen_overflows: Option<u64>,
}

/// How much of the time something waited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pressure {
    /// Seconds since boot in which it did.
    Seconds(f64),
    /// The share of the last 10 s, in percent.
    Percent(f64),
}

impl Counters {
    /// What they say of `node` at `at`; with rates where there was an earlier look, that long before.
    pub(super) fn figure(
        &self,
        node: &NodeId,
        at: Time,
        source: LoadSource,
        before: Option<(&Self, Duration)>,
    ) -> LoadFigure {
        // In too short a time, whatever is counted in steps seems to race.
        let before = before.filter(|(_, passed)| *passed >= SHORTEST);
        let rate = |of: fn(&Self, &Self, f64) -> Option<u64>| {
            let (before, passed) = before?;
            of(before, self, passed.as_secs_f64())
        };
        let share = |of: fn(&Self) -> Option<Pressure>| {
            let now = match of(self)? {
                Pressure::Percent(percent) => return Some((percent * 1000.0).round() as u32),
                Pressure::Seconds(now) => now,
            };
            let (before, passed) = before?;
            match of(before)? {
                // Else it went back: the machine was started anew.
                Pressure::Seconds(then) if now >= then => {
                    Some(((now - then) / passed.as_secs_f64() * 100_000.0).min(100_000.0).round() as u32)
                }
                Pressure::Seconds(_) | Pressure::Percent(_) => None,
            }
        };
        LoadFigure {
            tx_bps: rate(sent_bps),
            load1_milli: self.load1_milli,
            ncpu: self.ncpu,
            psi_cpu10_milli: share(|of| of.cpu),
            psi_io10_milli: share(|of| of.io),
            listen_overflows: self.listen_overflows,
            ..LoadFigure::new(node.clone(), at, source)
        }
    }
}

/// Bits per second between two looks, by the devices that both know; none when a counter went back, since then the
/// machine was started anew in between, and how much it sent nobody knows.
fn sent_bps(before: &Counters, now: &Counters, seconds: f64) -> Option<u64> {
    let mut bytes: Option<u64> = None;
    for (device, sent) in &now.sent_bytes {
        if let Some(then) = before.sent_bytes.get(device) {
            bytes = Some(bytes.unwrap_or(0).saturating_add(sent.checked_sub(*then)?));
        }
    }
    let rate = bytes? as f64 * 8.0 / seconds;
    whole(rate)
}

/// Whether bytes that leave through `device` leave the machine: not by a tunnel, bridge, bond or VLAN, whose bytes are
/// counted once more at the device below, nor to a container.
pub(super) fn is_physical(device: &str) -> bool {
    let numbered = |kind: &str| {
        device.strip_prefix(kind).is_some_and(|rest| rest.bytes().next().is_none_or(|next| next.is_ascii_digit()))
    };
    device != "lo"
        && !device.contains(['.', '@'])
        && !BEGINNINGS.iter().any(|beginning| device.starts_with(beginning))
        && !NUMBERED.iter().any(|kind| numbered(kind))
}

/// A counter or rate as a whole number; none where it cannot be one.
pub(super) fn whole(value: f64) -> Option<u64> {
    // Above 2^53 numbers are no longer exact, and it is no count of anything.
    (0.0..9e15).contains(&value).then_some(value as u64)
}

/// A value in thousandths.
pub(super) fn milli(value: f64) -> Option<u32> {
    (0.0..=4_000_000.0).contains(&value).then(|| (value * 1000.0).round() as u32)
}

/// The shortest time that a rate is taken over.
const SHORTEST: Duration = Duration::from_millis(100);
const BEGINNINGS: [&str; 14] = [
    "veth", "docker", "br-", "virbr", "tun", "tap", "wg", "cali", "cni", "flannel", "vxlan", "dummy", "podman", "vnet",
];
const NUMBERED: [&str; 8] = ["br", "bond", "team", "vlan", "ifb", "sit", "gre", "lxcbr"];

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(devices: &[(&str, u64)]) -> Counters {
        let sent_bytes = devices.iter().map(|(device, bytes)| ((*device).to_owned(), *bytes)).collect();
        Counters { sent_bytes, ..Counters::default() }
    }

    fn told(now: &Counters, before: Option<(&Counters, Duration)>) -> LoadFigure {
        now.figure(&NodeId::new("slice1").unwrap(), Time(7), LoadSource::Metrics, before)
    }

    fn rate(before: &[(&str, u64)], now: &[(&str, u64)], seconds: f64) -> Option<u64> {
        told(&sent(now), Some((&sent(before), Duration::from_secs_f64(seconds)))).tx_bps
    }

    #[test]
    fn rates_are_between_two_looks() {
        assert_eq!(told(&sent(&[("eth0", 5)]), None).tx_bps, None, "the first tells none");
        assert_eq!(rate(&[("eth0", 5)], &[("eth0", 1005)], 10.0), Some(800));
        assert_eq!(rate(&[("eth0", 5)], &[("eth0", 5)], 10.0), Some(0), "nothing was sent");
        assert_eq!(rate(&[("eth0", 0), ("eth1", 0)], &[("eth0", 100), ("eth1", 25)], 2.0), Some(500));
        assert_eq!(rate(&[("eth0", 5)], &[("eth0", 1005)], 0.0), None);
    }

    #[test]
    fn a_counter_that_went_back_tells_none() {
        assert_eq!(rate(&[("eth0", 1000)], &[("eth0", 999)], 10.0), None);
        assert_eq!(rate(&[("eth0", 1000), ("eth1", 0)], &[("eth0", 0), ("eth1", 5000)], 10.0), None);
    }

    #[test]
    fn devices_that_come_and_go_are_left_out() {
        assert_eq!(rate(&[("eth0", 0)], &[("eth0", 100), ("eth1", 1 << 50)], 8.0), Some(100));
        assert_eq!(rate(&[("eth0", 0), ("eth1", 7)], &[("eth0", 100)], 8.0), Some(100));
        assert_eq!(rate(&[("eth0", 0)], &[("eth1", 100)], 8.0), None);
        assert_eq!(rate(&[], &[], 8.0), None, "no device is not nothing sent");
    }

    #[test]
    fn pressure_is_the_share_of_the_time_between() {
        let waited = |cpu: f64| Counters { cpu: Some(Pressure::Seconds(cpu)), ..Counters::default() };
        let share = |then, now| told(&waited(now), Some((&waited(then), Duration::from_secs(10)))).psi_cpu10_milli;
        assert_eq!(share(3.0, 5.5), Some(25_000), "a quarter");
        assert_eq!(share(3.0, 3.0), Some(0));
        assert_eq!(share(3.0, 99.0), Some(100_000), "no more than all of it");
        assert_eq!(share(3.0, 2.0), None, "started anew");
        assert_eq!(told(&waited(3.0), None).psi_cpu10_milli, None);
        let told_so = Counters { cpu: Some(Pressure::Percent(12.345)), ..Counters::default() };
        assert_eq!(told(&told_so, None).psi_cpu10_milli, Some(12_345), "where the machine itself says it");
        assert_eq!(told(&waited(3.0), Some((&Counters::default(), Duration::from_secs(10)))).psi_cpu10_milli, None);
    }

    #[test]
    fn only_what_leaves_the_machine_counts() {
        for device in ["eth0", "enp3s0f1", "eno1", "ens18", "wlan0", "venet0", "bridge-uplink", "ib0"] {
            assert!(is_physical(device), "{device}");
        }
        for device in [
            "lo", "veth1a2b", "docker0", "br-1a2b", "br0", "virbr0", "tun0", "tap3", "wg0", "bond0", "eth0.100",
            "vlan7", "cali123", "if7@eth0",
        ] {
            assert!(!is_physical(device), "{device}");
        }
    }
}
