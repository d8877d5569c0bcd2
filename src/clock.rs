//! The only file that reads a clock.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::model::{ClockReading, Time};

/// The wall clock, UTC.
#[must_use]
pub fn now() -> Time {
    let at = clock_gettime(ClockId::Realtime);
    Time(at.tv_sec.saturating_mul(1000) + at.tv_nsec / 1_000_000)
}

/// How often [`read`] tries to read both clocks in the same few milliseconds.
const TRIES: u32 = 10;

/// All clocks at once. Where this thread had to wait between reading the one and the other, it reads them again: a busy
/// machine must not look like a stepped clock.
#[must_use]
pub fn read() -> ClockReading {
    let mut reading = read_once();
    for _ in 1..TRIES {
        if boot_ms() - reading.boot_ms <= 5 {
            break;
        }
        reading = read_once();
    }
    reading
}

fn read_once() -> ClockReading {
    let boot_ms = boot_ms();
    ClockReading { wall: now(), boot_ms, boot_id: boot_id().to_owned() }
}

fn boot_ms() -> i64 {
    let boot = clock_gettime(ClockId::Boottime);
    boot.tv_sec.saturating_mul(1000) + boot.tv_nsec / 1_000_000
}

/// Names this boot of this machine; empty where the system does not tell.
#[must_use]
pub fn boot_id() -> &'static str {
    static BOOT_ID: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT_ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}

/// CPU time this process has used so far.
#[must_use]
pub fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Measures how long something takes, by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was started.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The same in microseconds, for [`crate::model::Measured`].
    #[must_use]
    pub fn micros(self) -> u32 {
        u32::try_from(self.elapsed().as_micros()).unwrap_or(u32::MAX)
    }
}
