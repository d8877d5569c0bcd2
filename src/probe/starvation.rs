//! Tells "the node did not answer" from "we did not run".
//!
//! A [`Watchdog`] sleeps for short, equal spans on the same runtime as the probes and notes whenever it wakes late: then
//! everything on that runtime was late, whether a task hogged the thread, the machine was out of CPU or the process was
//! stopped. A time-out that overlaps enough of such stalls says nothing about the node. Answers, good or bad, are never
//! doubted: what came back came back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::model::{Fault, Outcome, OwnFault};

/// How much running time a probe did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// In all.
    pub total: Duration,
    /// At one go.
    pub longest: Duration,
}

impl Lost {
    /// This, and one more stall of `span`; spans too short to matter are dropped.
    #[must_use]
    pub fn and(self, span: Duration) -> Self {
        if span < NOTICED {
            return self;
        }
        Self { total: self.total + span, longest: self.longest.max(span) }
    }

    /// Whether a probe that lost this much may be believed when it says that nothing came within `timeout`.
    ///
    /// It may not after one stall of 250 ms or more, nor when stalls took a tenth of its time or more.
    #[must_use]
    pub fn explains(self, timeout: Duration) -> bool {
        self.longest >= LONG || (!self.total.is_zero() && self.total >= timeout / 10)
    }
}

/// The outcome, unless it is a mere absence of answers that `lost` explains.
#[must_use]
pub fn judged(outcome: Outcome, lost: Lost, timeout: Duration) -> Outcome {
    match outcome {
        Outcome::Failed(Fault::Timeout(_) | Fault::Lost) if lost.explains(timeout) => {
            Outcome::Inconclusive(OwnFault::Starved)
        }
        Outcome::Passed | Outcome::Failed(_) | Outcome::Inconclusive(_) => outcome,
    }
}

/// Remembers when its runtime stood still. Its clock starts with it.
#[derive(Debug)]
pub struct Watchdog {
    epoch: Stopwatch,
    state: Mutex<State>,
    wanted: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Rounds under way; without any, nobody needs to be watched.
    attended: usize,
    /// When the next tick should come.
    due: Duration,
    /// From when to when nothing ran, oldest first.
    stalls: VecDeque<(Duration, Duration)>,
}

impl Watchdog {
    /// A watchdog whose ticks come from the runtime this is called on, until it is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start() -> Arc<Self> {
        let watchdog = Arc::new(Self::unticked());
        tokio::spawn(tick(Arc::downgrade(&watchdog)));
        watchdog
    }

    /// A watchdog that nobody ticks: it knows only the stalls it is told of.
    #[must_use]
    pub fn unticked() -> Self {
        Self { epoch: Stopwatch::start(), state: Mutex::default(), wanted: tokio::sync::Notify::new() }
    }

    /// The time on its clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Keeps it awake for as long as the answer lives.
    #[must_use]
    pub fn attend(self: &Arc<Self>) -> Attention {
        let mut state = self.state();
        if state.attended == 0 {
            state.due = self.now() + PERIOD;
            self.wanted.notify_one();
        }
        state.attended += 1;
        Attention(Arc::clone(self))
    }

    /// Notes that nothing ran from `from` to `to`, both on its clock.
    pub fn stalled(&self, from: Duration, to: Duration) {
        let mut state = self.state();
        if to.saturating_sub(from) < NOTICED {
            return;
        }
        if state.stalls.len() == REMEMBERED {
            state.stalls.pop_front();
        }
        state.stalls.push_back((from, to));
    }

    /// What a probe that ran from `from` until now has lost, a stall that is not over included.
    #[must_use]
    pub fn lost_since(&self, from: Duration) -> Lost {
        let now = self.now();
        let state = self.state();
        let under_way = (state.attended > 0).then_some((state.due, now));
        state
            .stalls
            .iter()
            .copied()
            .chain(under_way)
            .fold(Lost::default(), |lost, (began, ended)| lost.and(ended.min(now).saturating_sub(began.max(from))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> bool {
        self.state().attended == 0
    }

    /// Notes a tick that has come, and says when it was due.
    fn ticked(&self) {
        let now = self.now();
        let due = self.state().due;
        self.stalled(due, now);
        self.state().due = now + PERIOD;
    }
}

/// Keeps a [`Watchdog`] awake.
#[derive(Debug)]
pub struct Attention(Arc<Watchdog>);

impl Drop for Attention {
    fn drop(&mut self) {
        self.0.state().attended -= 1;
    }
}

async fn tick(watchdog: Weak<Watchdog>) {
    while let Some(alive) = watchdog.upgrade() {
        if alive.idle() {
            // Asleep between rounds. Woken now and then to see whether its owner has gone.
            let _ = tokio::time::timeout(NAP, alive.wanted.notified()).await;
            continue;
        }
        drop(alive);
        tokio::time::sleep(PERIOD).await;
        let Some(alive) = watchdog.upgrade() else { return };
        if !alive.idle() {
            alive.ticked();
        }
    }
}

/// Between two ticks.
const PERIOD: Duration = Duration::from_millis(50);
/// Between two looks whether the owner has gone.
const NAP: Duration = Duration::from_secs(5);
/// Waking up later than this is worth a note; less is the scheduler's daily noise.
const NOTICED: Duration = Duration::from_millis(50);
/// One stall of this length is enough to doubt a time-out.
const LONG: Duration = Duration::from_millis(250);
/// More stalls than this fit into no time-out that anyone configures.
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stage;

    const S: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn one_long_stall_or_many_short_ones_explain_a_timeout() {
        let check = |stalls: &[u64], timeout: Duration, expected: bool| {
            let lost = stalls.iter().fold(Lost::default(), |lost, span| lost.and(ms(*span)));
            assert_eq!(lost.explains(timeout), expected, "{stalls:?} in {timeout:?}");
        };
        check(&[], 2 * S, false);
        check(&[], Duration::ZERO, false);
        check(&[49, 49, 49, 49, 49, 49], 2 * S, false);
        check(&[199], 2 * S, false);
        check(&[200], 2 * S, true);
        check(&[100, 99], 2 * S, false);
        check(&[100, 100], 2 * S, true);
        check(&[249], 8 * S, false);
        check(&[250], 8 * S, true);
    }

    #[test]
    fn only_the_absence_of_answers_is_doubted() {
        let lost = Lost::default().and(S);
        let check = |outcome, expected| assert_eq!(judged(outcome, lost, S), expected);
        let starved = Outcome::Inconclusive(OwnFault::Starved);
        check(Outcome::Failed(Fault::Timeout(Stage::Connect)), starved);
        check(Outcome::Failed(Fault::Timeout(Stage::Body)), starved);
        check(Outcome::Failed(Fault::Lost), starved);
        for told in [
            Outcome::Passed,
            Outcome::Failed(Fault::Refused),
            Outcome::Failed(Fault::Unreachable),
            Outcome::Failed(Fault::Reset),
            Outcome::Failed(Fault::Status(500)),
            Outcome::Inconclusive(OwnFault::NoRoute),
        ] {
            check(told, told);
        }
        assert_eq!(
            judged(Outcome::Failed(Fault::Lost), Lost::default(), S),
            Outcome::Failed(Fault::Lost),
            "nothing lost, nothing doubted"
        );
    }

    #[test]
    fn stalls_count_as_far_as_they_overlap() {
        let watchdog = Watchdog::unticked();
        std::thread::sleep(ms(400));
        watchdog.stalled(ms(0), ms(100));
        watchdog.stalled(ms(150), ms(180)); // noise
        watchdog.stalled(ms(200), ms(300));
        assert_eq!(watchdog.lost_since(ms(0)), Lost { total: ms(200), longest: ms(100) });
        assert_eq!(watchdog.lost_since(ms(40)), Lost { total: ms(160), longest: ms(100) });
        assert_eq!(watchdog.lost_since(ms(110)), Lost { total: ms(100), longest: ms(100) });
        assert_eq!(watchdog.lost_since(ms(300)), Lost::default());
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let watchdog = Watchdog::unticked();
        for _ in 0..REMEMBERED + 10 {
            watchdog.stalled(ms(0), ms(60));
        }
        assert_eq!(watchdog.state().stalls.len(), REMEMBERED);
    }

    #[tokio::test]
    async fn a_blocked_runtime_is_noticed() {
        let watchdog = Watchdog::start();
        let attention = watchdog.attend();
        let from = watchdog.now();
        tokio::time::sleep(ms(120)).await;
        std::thread::sleep(ms(400));
        assert!(watchdog.lost_since(from).longest >= ms(250), "while it lasts: {:?}", watchdog.lost_since(from));
        tokio::time::sleep(ms(120)).await;
        assert!(watchdog.lost_since(from).longest >= ms(250), "and after: {:?}", watchdog.lost_since(from));
        drop(attention);
        let later = watchdog.now();
        std::thread::sleep(ms(300));
        assert_eq!(watchdog.lost_since(later), Lost::default(), "nobody is watching between rounds");
    }
}
