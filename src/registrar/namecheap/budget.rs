//! How many calls may be made: the provider counts them per key, over three spans, and forgets slowly.
//!
//! Every zone of an account shares one budget in this process. The newest calls are remembered one by one, so that no
//! window of time ever holds more than its limit; a bucket that refills would let twice as many through around its edge.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// Calls and the span they are counted over: the provider's support gave these figures in 2017, its own client goes by
/// the first of them.
pub(super) const LIMITS: [(usize, Duration); 3] =
    [(20, Duration::from_secs(60)), (700, Duration::from_secs(60 * 60)), (8000, Duration::from_secs(24 * 60 * 60))];

/// What a change takes: read, write, read back, and read back once more where the first reading is stale.
pub(super) const CHANGE: usize = 4;

/// The first pause after a refusal for too many calls; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// One key's calls.
#[derive(Debug, Default)]
pub(super) struct Budget {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each call of the last day was made, oldest first.
    made: VecDeque<Stopwatch>,
    /// Calls promised and not yet made.
    promised: usize,
    /// Since when and for how long the provider wants to hear nothing.
    pause: Option<(Stopwatch, Duration)>,
    /// Refusals in a row.
    refusals: u32,
}

/// Some calls that may be made. What is left of them when it is dropped goes back.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    budget: &'a Budget,
    left: usize,
}

impl Budget {
    /// The budget that every user of `account` at `endpoint` shares in this process.
    #[must_use]
    pub(super) fn shared(endpoint: &str, account: &str) -> Arc<Self> {
        static ALL: Mutex<BTreeMap<(String, String), Arc<Budget>>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((endpoint.to_owned(), account.to_owned())).or_default())
    }

    /// Asks for one reading. Enough is always kept back for a change.
    ///
    /// # Errors
    /// How long to wait, and why.
    pub(super) fn for_reading(&self) -> Result<Permit<'_>, (Duration, String)> {
        self.ask(1, CHANGE)
    }

    /// Asks for a whole change.
    ///
    /// # Errors
    /// How long to wait, and why.
    pub(super) fn for_change(&self) -> Result<Permit<'_>, (Duration, String)> {
        self.ask(CHANGE, 0)
    }

    /// Says that the provider refused for too many calls; `asked` is the pause it named. Returns the pause to make.
    pub(super) fn refused(&self, asked: Option<Duration>) -> Duration {
        let mut state = self.lock();
        let backoff = FIRST_PAUSE.saturating_mul(1 << state.refusals.min(6));
        state.refusals = state.refusals.saturating_add(1);
        let pause = asked.unwrap_or_default().max(backoff).min(LONGEST_PAUSE);
        state.pause = Some((Stopwatch::start(), pause));
        pause
    }

    /// Says that the provider answered a call.
    pub(super) fn answered(&self) {
        let mut state = self.lock();
        state.refusals = 0;
        state.pause = None;
    }

    fn ask(&self, calls: usize, keep: usize) -> Result<Permit<'_>, (Duration, String)> {
        let mut state = self.lock();
        if let Some((since, pause)) = state.pause {
            let left = pause.saturating_sub(since.elapsed());
            if !left.is_zero() {
                return Err((left, "the provider refused a call of this key for too many calls".to_owned()));
            }
            state.pause = None;
        }
        let ages: Vec<Duration> = state.made.iter().map(|call| call.elapsed()).collect();
        if let Some((wait, limit, span)) = wait(&ages, state.promised + calls + keep) {
            return Err((wait, format!("{limit} calls in {} s are allowed for this key", span.as_secs())));
        }
        state.promised += calls;
        Ok(Permit { budget: self, left: calls })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Says that a call is made now. False when no call is left.
    #[must_use]
    pub(super) fn spend(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let mut state = self.budget.lock();
        state.promised = state.promised.saturating_sub(1);
        let longest = LIMITS[LIMITS.len() - 1].1;
        while state.made.front().is_some_and(|call| call.elapsed() >= longest) {
            state.made.pop_front();
        }
        state.made.push_back(Stopwatch::start());
        true
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.promised = state.promised.saturating_sub(self.left);
    }
}

/// How long until `more` calls fit beside those made `ages` ago (oldest first) under every limit, and the limit that
/// takes longest; none when they fit now.
fn wait(ages: &[Duration], more: usize) -> Option<(Duration, usize, Duration)> {
    LIMITS
        .into_iter()
        .filter_map(|(limit, span)| {
            let counted: Vec<Duration> = ages.iter().copied().filter(|age| *age < span).collect();
            let excess = (counted.len() + more).checked_sub(limit).filter(|excess| *excess > 0)?;
            // The oldest leave first. Where even an empty window would not do, promises must be kept or dropped first.
            let oldest = counted.get(excess - 1).copied().unwrap_or(Duration::ZERO);
            Some((span.saturating_sub(oldest), limit, span))
        })
        .max_by_key(|(wait, ..)| *wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(all: &[u64]) -> Vec<Duration> {
        all.iter().map(|s| Duration::from_secs(*s)).collect()
    }

    #[test]
    fn what_fits_does_not_wait() {
        assert_eq!(wait(&[], 20), None);
        assert_eq!(wait(&seconds(&[59; 19]), 1), None);
        assert_eq!(wait(&seconds(&[60; 20]), 20), None);
    }

    #[test]
    fn the_wait_ends_when_enough_old_calls_leave_the_window() {
        let mut ages = vec![50, 40, 30];
        ages.extend([10; 17]);
        let minute = Duration::from_secs(60);
        assert_eq!(wait(&seconds(&ages), 1), Some((Duration::from_secs(10), 20, minute)));
        assert_eq!(wait(&seconds(&ages), 3), Some((Duration::from_secs(30), 20, minute)));
        assert_eq!(wait(&seconds(&ages), 4), Some((Duration::from_secs(50), 20, minute)));
        assert_eq!(wait(&seconds(&[3000; 700]), 1), Some((Duration::from_secs(600), 700, Duration::from_secs(3600))));
        let day = Duration::from_secs(86_400);
        assert_eq!(wait(&seconds(&[80_000; 8000]), 1), Some((Duration::from_secs(6_400), 8000, day)));
    }

    #[test]
    fn readings_leave_room_for_a_change() {
        let budget = Budget::default();
        for _ in 0..16 {
            assert!(budget.for_reading().unwrap().spend());
        }
        let (wait, why) = budget.for_reading().unwrap_err();
        assert!(wait <= Duration::from_secs(60) && wait > Duration::from_secs(1), "{wait:?}");
        assert!(why.contains("20 calls in 60 s"), "{why}");
        let mut change = budget.for_change().unwrap();
        assert!(budget.for_change().is_err());
        assert!((0..CHANGE).all(|_| change.spend()));
        assert!(!change.spend());
    }

    #[test]
    fn what_a_change_did_not_use_goes_back() {
        let budget = Budget::default();
        for _ in 0..100 {
            drop(budget.for_change().unwrap());
        }
        let mut change = budget.for_change().unwrap();
        assert!(change.spend());
        drop(change);
        assert_eq!(budget.lock().promised, 0);
        assert_eq!(budget.lock().made.len(), 1);
    }

    #[test]
    fn a_refusal_pauses_everybody_and_longer_each_time() {
        let budget = Budget::default();
        assert_eq!(budget.refused(None), Duration::from_secs(60));
        assert!(budget.for_reading().is_err());
        assert!(budget.for_change().is_err());
        assert_eq!(budget.refused(None), Duration::from_secs(120));
        assert_eq!(budget.refused(Some(Duration::from_secs(900))), Duration::from_secs(900));
        assert_eq!(budget.refused(Some(Duration::from_secs(90_000))), LONGEST_PAUSE);
        for _ in 0..100 {
            assert!(budget.refused(None) <= LONGEST_PAUSE);
        }
        budget.answered();
        assert!(budget.for_reading().is_ok());
        assert_eq!(budget.refused(None), Duration::from_secs(60));
    }

    #[test]
    fn accounts_are_counted_apart_and_zones_of_one_together() {
        let one = Budget::shared("http://192.0.2.1/", "one");
        assert!(Arc::ptr_eq(&one, &Budget::shared("http://192.0.2.1/", "one")));
        assert!(!Arc::ptr_eq(&one, &Budget::shared("http://192.0.2.1/", "two")));
    }
}
