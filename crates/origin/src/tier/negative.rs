//! What is known not to be there, for a while.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// Remembered at once; the oldest goes first.
const MOST: usize = 10_000;

#[derive(Debug)]
pub(super) struct Negative<K> {
    lifetime: Duration,
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    since: BTreeMap<K, Stopwatch>,
    order: VecDeque<K>,
}

impl<K: Ord + Clone> Negative<K> {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, known: Mutex::new(Known { since: BTreeMap::new(), order: VecDeque::new() }) }
    }

    pub(super) fn has(&self, key: &K) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.since.get(key).is_some_and(|since| since.elapsed() < self.lifetime)
    }

    pub(super) fn add(&self, key: K) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.since.insert(key.clone(), Stopwatch::start()).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.since.remove(&oldest);
            }
        }
    }

    pub(super) fn remove(&self, key: &K) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.since.remove(key).is_some() {
            known.order.retain(|other| other != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_and_does_not_grow() {
        let negative = Negative::new(Duration::from_secs(3600));
        for number in 0..MOST + 5 {
            negative.add(number);
            negative.add(number);
        }
        assert!(!negative.has(&0) && !negative.has(&4) && negative.has(&5) && negative.has(&(MOST + 4)));
        negative.remove(&5);
        assert!(!negative.has(&5));
        let known = negative.known.lock().unwrap();
        assert_eq!((known.since.len(), known.order.len()), (MOST - 1, MOST - 1));
        let brief = Negative::new(Duration::ZERO);
        brief.add(1);
        assert!(!brief.has(&1));
    }
}
