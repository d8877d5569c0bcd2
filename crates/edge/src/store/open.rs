//! Open files of objects that were used lately, so that a hit need not open one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use super::Stored;
use super::key::Key;

/// How many files stay open without anybody using them.
const KEPT: usize = 2048;

/// There is at most one open [`Stored`] a generation, as it has the checksums.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<Key, Weak<Stored>>,
    kept: VecDeque<Arc<Stored>>,
}

impl OpenFiles {
    pub(super) fn find(&self, key: Key) -> Option<Arc<Stored>> {
        let inner = self.inner.lock().expect("no thread panics while it holds this");
        let stored = inner.known.get(&key)?.upgrade()?;
        stored.used.store(true, Ordering::Relaxed);
        Some(stored)
    }

    /// Adds what was opened, or gives what somebody else opened meanwhile. `None`: there is another generation now.
    pub(super) fn insert(&self, stored: Stored) -> Option<Arc<Stored>> {
        let mut inner = self.inner.lock().expect("no thread panics while it holds this");
        if let Some(other) = inner.known.get(&stored.key).and_then(Weak::upgrade)
            && !other.is_replaced()
        {
            return (other.generation() == stored.generation()).then_some(other);
        }
        let stored = Arc::new(stored);
        inner.add(&stored);
        Some(stored)
    }

    /// Adds a new generation, and marks the one before.
    pub(super) fn replace(&self, stored: &Arc<Stored>) {
        self.remove(stored.key);
        self.inner.lock().expect("no thread panics while it holds this").add(stored);
    }

    /// Whether somebody is sending this slice.
    pub(super) fn is_pinned(&self, key: Key, slice: u32) -> bool {
        let inner = self.inner.lock().expect("no thread panics while it holds this");
        inner.known.get(&key).and_then(Weak::upgrade).is_some_and(|stored| stored.pins.hold(slice))
    }

    pub(super) fn remove(&self, key: Key) {
        let mut inner = self.inner.lock().expect("no thread panics while it holds this");
        if let Some(stored) = inner.known.remove(&key).and_then(|known| known.upgrade()) {
            stored.replaced.store(true, Ordering::Release);
            inner.kept.retain(|kept| kept.key != key);
        }
    }
}

impl Inner {
    fn add(&mut self, stored: &Arc<Stored>) {
        self.known.insert(stored.key, Arc::downgrade(stored));
        self.kept.push_back(stored.clone());
        while self.kept.len() > KEPT {
            let oldest = self.kept.pop_front().expect("it is longer than something");
            if oldest.used.swap(false, Ordering::Relaxed) {
                self.kept.push_back(oldest);
                continue;
            }
            let key = oldest.key;
            drop(oldest);
            if self.known.get(&key).is_some_and(|known| known.strong_count() == 0) {
                self.known.remove(&key);
            }
        }
        // Of those that were still in use when they left.
        if self.known.len() > 4 * KEPT {
            self.known.retain(|_, known| known.strong_count() > 0);
        }
    }
}
