//! The only file that reads a clock.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::model::Time;

/// The wall clock.
#[must_use]
pub fn now() -> Time {
    let now = clock_gettime(ClockId::Realtime);
    Time(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
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
}
