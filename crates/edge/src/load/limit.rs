//! How fast one client may be, whatever number of connections it opens.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::Stopwatch;

const SHARDS: usize = 16;
/// Clients a shard remembers before it looks for those who left.
const MANY: usize = 2048;

/// A bucket for each client address, refilled at the rate, as large as the burst. What is sent may take more than
/// there is; the client then waits until the bucket is no longer in debt.
#[derive(Debug)]
pub struct Limiter {
    /// Bytes a second at each shed step; none: no limit.
    rates: Vec<Option<u64>>,
    burst: u64,
    shards: Vec<Mutex<BTreeMap<IpAddr, Bucket>>>,
}

#[derive(Debug)]
struct Bucket {
    /// In bytes; below zero: in debt.
    level: f64,
    at: Stopwatch,
}

impl Limiter {
    /// `rate` in bit/s, and `shed` at steps 1, 2, 3; `burst` in bytes.
    #[must_use]
    pub fn new(rate: Option<u64>, shed: &[u64], burst: u64) -> Self {
        let steps = shed.iter().map(|shed| Some(rate.map_or(*shed, |rate| rate.min(*shed)) / 8));
        Self {
            rates: std::iter::once(rate.map(|rate| rate / 8)).chain(steps).collect(),
            burst,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// `bytes` were sent to `client`. Gives how long it has to wait for more.
    #[must_use]
    pub fn take(&self, client: IpAddr, bytes: u64, shed_step: u8) -> Duration {
        let Some(Some(rate)) = self.rates.get(usize::from(shed_step).min(self.rates.len() - 1)) else {
            return Duration::ZERO;
        };
        let (rate, burst) = (*rate as f64, self.burst as f64);
        let client = group(client);
        let mut shard = self.shards[shard_of(client)].lock().expect("no thread panics while it holds this");
        if shard.len() > MANY {
            shard.retain(|_, bucket| bucket.level + bucket.at.elapsed().as_secs_f64() * rate < burst);
        }
        let bucket = shard.entry(client).or_insert_with(|| Bucket { level: burst, at: Stopwatch::start() });
        bucket.level = (bucket.level + bucket.at.elapsed().as_secs_f64() * rate).min(burst) - bytes as f64;
        bucket.at = Stopwatch::start();
        if bucket.level >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-bucket.level / rate) }
    }
}

/// A network of IPv6 is one client: it has as many addresses as it likes.
#[must_use]
pub fn group(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        },
        IpAddr::V4(_) => client,
    }
}

fn shard_of(client: IpAddr) -> usize {
    let sum = match client {
        IpAddr::V4(v4) => v4.octets().iter().map(|byte| usize::from(*byte)).sum::<usize>(),
        IpAddr::V6(v6) => v6.octets().iter().map(|byte| usize::from(*byte)).sum(),
    };
    sum % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn beyond_the_burst_a_client_waits_as_its_rate_tells() {
        let limiter = Limiter::new(Some(8_000_000), &[4_000_000, 2_000_000, 1_000_000], 1 << 20);
        let one = client("192.0.2.1");
        assert_eq!(limiter.take(one, 1 << 20, 0), Duration::ZERO);
        let wait = limiter.take(one, 1_000_000, 0).as_secs_f64();
        assert!(wait > 0.5 && wait <= 1.0, "{wait}");
        // Another connection of the same client shares the debt; another client has none.
        assert!(limiter.take(one, 1_000_000, 0).as_secs_f64() > wait);
        assert_eq!(limiter.take(client("192.0.2.2"), 1000, 0), Duration::ZERO);
        // At a quarter of the rate it takes longer.
        assert!(limiter.take(one, 1, 2).as_secs_f64() > 2.0 * wait);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let limiter = Limiter::new(Some(8), &[8, 8, 8], 100);
        assert_eq!(limiter.take(client("2001:db8::1"), 100, 0), Duration::ZERO);
        assert!(limiter.take(client("2001:db8::2"), 100, 0) > Duration::ZERO);
        assert_eq!(limiter.take(client("2001:db8:0:1::2"), 100, 0), Duration::ZERO);
    }

    #[test]
    fn without_a_rate_only_shedding_limits() {
        let limiter = Limiter::new(None, &[8, 8, 8], 100);
        assert_eq!(limiter.take(client("192.0.2.1"), 1 << 30, 0), Duration::ZERO);
        assert!(limiter.take(client("192.0.2.1"), 1 << 30, 1) > Duration::ZERO);
    }
}
