//! Whose turn it is with an upload: one request at a time, and the newest is the one that counts. A client that has lost
//! its connection comes back before we know of the loss.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};

use crate::model::Sha256;

/// Whoever is asked to make way has so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Those who have a turn, or wait for one.
#[derive(Debug, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<Sha256, Arc<Place>>>>);

#[derive(Debug, Default)]
struct Place {
    turn: Arc<tokio::sync::Mutex<()>>,
    waiting: AtomicU32,
    wanted: Notify,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    place: Option<Arc<Place>>,
    guard: Option<OwnedMutexGuard<()>>,
    places: Arc<Mutex<BTreeMap<Sha256, Arc<Place>>>>,
    hash: Sha256,
}

impl Turns {
    /// Waits for a turn, and asks whoever has it to make way. Nothing, when they do not.
    pub(super) async fn take(&self, hash: Sha256) -> Option<Turn> {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(hash).or_default().clone();
        let mut turn = Turn { place: Some(place.clone()), guard: None, places: self.0.clone(), hash };
        if let Ok(guard) = place.turn.clone().try_lock_owned() {
            turn.guard = Some(guard);
            return Some(turn);
        }
        let waiting = Waiting::new(&place);
        turn.guard = tokio::time::timeout(PATIENCE, place.turn.clone().lock_owned()).await.ok();
        drop(waiting);
        turn.guard.is_some().then_some(turn)
    }
}

impl Turn {
    /// Somebody else wants it.
    pub(super) async fn wanted(&self) {
        let Some(place) = &self.place else { return };
        // What was told to the one before is no matter of this one.
        while place.waiting.load(Ordering::SeqCst) == 0 {
            place.wanted.notified().await;
        }
    }
}

/// Somebody who waits, also when they stop waiting.
struct Waiting<'p>(&'p Place);

impl<'p> Waiting<'p> {
    fn new(place: &'p Place) -> Self {
        place.waiting.fetch_add(1, Ordering::SeqCst);
        place.wanted.notify_one();
        Self(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        self.place = None;
        // Nobody else has it, and nobody can get it while it is looked at.
        if places.get(&self.hash).is_some_and(|place| Arc::strong_count(place) == 1) {
            places.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_gets_the_turn_and_nothing_is_left() {
        let turns = Arc::new(Turns::default());
        let hash = Sha256([1; 32]);
        let first = turns.take(hash).await.unwrap();
        let other = turns.clone();
        let second = tokio::spawn(async move { other.take(hash).await.is_some() });
        first.wanted().await;
        drop(first);
        assert!(second.await.unwrap());
        assert!(turns.0.lock().unwrap().is_empty());
        let _another = turns.take(Sha256([2; 32])).await.unwrap();
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}
