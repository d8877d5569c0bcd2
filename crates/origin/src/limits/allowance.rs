//! So many bytes in so long. What was used comes back bit by bit, not all at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Group;
use crate::clock::Stopwatch;
use crate::config::Allowance;

/// When there are more, those who have all of it back are forgotten.
const MANY: usize = 10_000;

/// What everybody has used.
#[derive(Debug)]
pub struct Allowances {
    allowance: Allowance,
    since: Stopwatch,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    groups: BTreeMap<Group, Bucket>,
    /// Beyond that, it is looked who can be forgotten.
    many: usize,
}

/// Bytes that were used, as of a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    bytes: u64,
    at: Duration,
}

impl Bucket {
    /// What has come back since is not used any more. What is less than a byte is left for the next time.
    fn drain(&mut self, now: Duration, allowance: Allowance) {
        let passed = now.saturating_sub(self.at).as_nanos();
        let back = passed * u128::from(allowance.bytes) / allowance.per.as_nanos();
        let took = back * allowance.per.as_nanos() / u128::from(allowance.bytes);
        self.bytes = self.bytes.saturating_sub(u64::try_from(back).unwrap_or(u64::MAX));
        self.at += Duration::from_nanos(u64::try_from(took).unwrap_or(u64::MAX));
    }
}

impl Allowances {
    /// Everybody has all of it.
    #[must_use]
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance, since: Stopwatch::start(), used: Mutex::default() }
    }

    /// Takes `bytes` of what `group` has.
    ///
    /// # Errors
    ///
    /// When that is more than it has: after so long it would be enough.
    pub fn take(&self, group: Group, bytes: u64) -> Result<(), Duration> {
        self.at(self.since.elapsed(), group, bytes, true)
    }

    /// Whether `bytes` are there to be taken.
    ///
    /// # Errors
    ///
    /// As [`Allowances::take`].
    pub fn has(&self, group: Group, bytes: u64) -> Result<(), Duration> {
        self.at(self.since.elapsed(), group, bytes, false)
    }

    fn at(&self, now: Duration, group: Group, bytes: u64, takes: bool) -> Result<(), Duration> {
        let allowance = self.allowance;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.groups.len() > used.many.max(MANY) {
            used.groups.retain(|_, bucket| {
                bucket.drain(now, allowance);
                bucket.bytes > 0
            });
            used.many = used.groups.len() * 2;
        }
        let fresh = Bucket { bytes: 0, at: now };
        let mut bucket = used.groups.get(&group).copied().unwrap_or(fresh);
        bucket.drain(now, allowance);
        let wanted = bucket.bytes.saturating_add(bytes);
        if wanted > allowance.bytes {
            let missing = u128::from((wanted - allowance.bytes).min(allowance.bytes));
            let wait = missing * allowance.per.as_nanos() / u128::from(allowance.bytes);
            return Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)));
        }
        if takes {
            used.groups.insert(group, Bucket { bytes: wanted, at: bucket.at });
        }
        Ok(())
    }
}

/// One's share in them.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Of everybody.
    pub allowances: Arc<Allowances>,
    /// Whose.
    pub group: Group,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn group(text: &str) -> Group {
        Group::of(text.parse().unwrap())
    }

    #[test]
    fn what_was_used_comes_back_bit_by_bit() {
        let allowances = Allowances::new(Allowance { bytes: 3600 * KIB, per: Duration::from_secs(3600) });
        let (one, other) = (group("192.0.2.1"), group("192.0.2.2"));
        let seconds = Duration::from_secs;
        let take = |at: u64, group, kib: u64| allowances.at(seconds(at), group, kib * KIB, true);
        assert_eq!(take(0, one, 3000), Ok(()));
        assert_eq!(take(0, one, 700), Err(seconds(100)));
        assert_eq!(take(0, other, 700), Ok(()));
        assert_eq!(take(99, one, 700), Err(seconds(1)));
        assert_eq!(take(100, one, 700), Ok(()));
        assert_eq!(take(100, one, 1), Err(seconds(1)));
        // Never more than all of it.
        assert_eq!(take(1_000_000, one, 3600), Ok(()));
        assert_eq!(take(1_000_000, one, 1), Err(seconds(1)));
        // More than all of it is never there; to wait longer than for all of it does not help.
        assert_eq!(take(2_000_000, one, 9000), Err(seconds(3600)));
    }

    #[test]
    fn those_who_ask_often_get_no_less() {
        let allowances = Allowances::new(Allowance { bytes: 10, per: Duration::from_secs(10) });
        let one = group("192.0.2.1");
        assert_eq!(allowances.at(Duration::ZERO, one, 10, true), Ok(()));
        let mut taken = 0;
        for tenth in 1..=100 {
            taken += u64::from(allowances.at(Duration::from_millis(tenth * 100), one, 1, true).is_ok());
        }
        assert_eq!(taken, 10);
    }

    #[test]
    fn those_who_have_everything_back_are_forgotten() {
        let allowances = Allowances::new(Allowance { bytes: 10, per: Duration::from_secs(10) });
        for number in 0..50_000_u32 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(number));
            allowances.at(Duration::from_millis(number.into()), Group::of(address), 1, true).unwrap();
        }
        assert!(allowances.used.lock().unwrap().groups.len() < 25_000);
    }

    use std::net::IpAddr;
}
