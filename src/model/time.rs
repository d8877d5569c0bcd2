//! Points in time, as the ledger stores them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
///
/// In a replayed trace the origin is the trace's own; only differences matter to the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// This time, later by `span`.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This time, earlier by `span`.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long this is after `earlier`; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This time moved by `step_ms`, which may be negative.
    #[must_use]
    pub fn shifted(self, step_ms: i64) -> Self {
        Self(self.0.saturating_add(step_ms))
    }

    /// RFC 3339 in UTC with milliseconds, as JSON output shows it.
    #[must_use]
    pub fn rfc3339(self) -> String {
        chrono::DateTime::from_timestamp_millis(self.0)
            .map_or_else(|| format!("@{}", self.0), |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// What the clocks said at one moment: the wall for people, the boot clock for truth.
///
/// Two readings with the same `boot_id` tell a step of the wall clock from time that really passed, across processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// The wall clock, UTC.
    pub wall: Time,
    /// Milliseconds since the machine booted, suspension included (`CLOCK_BOOTTIME`).
    pub boot_ms: i64,
    /// Names the boot that `boot_ms` counts from; empty where the system does not tell.
    pub boot_id: String,
}

impl ClockReading {
    /// By how many milliseconds the wall clock was stepped between `earlier` and this reading.
    ///
    /// Within one boot it is exact. Across boots only a step that ends before `earlier` can be told, and is.
    #[must_use]
    pub fn step_since(&self, earlier: &Self) -> i64 {
        let wall = self.wall.0.saturating_sub(earlier.wall.0);
        if !self.boot_id.is_empty() && self.boot_id == earlier.boot_id {
            return wall.saturating_sub(self.boot_ms.saturating_sub(earlier.boot_ms));
        }
        wall.min(0)
    }
}
