//! What to remember for a while: keys of what may not be kept, or of what its source failed to give; and objects that
//! were read lately, so that the next reader finds them open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::object::Object;
use crate::clock;
use crate::store::Key;

const MOST: usize = 10_000;
/// Objects that stay open without a reader.
const RECENT: usize = 2048;

#[derive(Debug)]
pub(super) struct Remembered {
    seconds: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    until: BTreeMap<Key, u64>,
    order: VecDeque<Key>,
}

impl Remembered {
    pub(super) fn for_seconds(seconds: u64) -> Self {
        Self { seconds, inner: Mutex::default() }
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        let inner = self.inner.lock().expect("no thread panics while it holds this");
        inner.until.get(&key).is_some_and(|until| *until > clock::unix_seconds())
    }

    pub(super) fn insert(&self, key: Key) {
        let mut inner = self.inner.lock().expect("no thread panics while it holds this");
        if inner.until.insert(key, clock::unix_seconds() + self.seconds).is_none() {
            inner.order.push_back(key);
        }
        if inner.order.len() > MOST
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.until.remove(&oldest);
        }
    }

    pub(super) fn remove(&self, key: Key) {
        let mut inner = self.inner.lock().expect("no thread panics while it holds this");
        // Its place in the order stays, and is passed over when it is its turn.
        if let Some(until) = inner.until.get_mut(&key) {
            *until = 0;
        }
    }
}

/// Keeps objects for a while, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<Arc<Object>>>);

impl Recent {
    pub(super) fn push(&self, object: &Arc<Object>) {
        let mut kept = self.0.lock().expect("no thread panics while it holds this");
        kept.push_back(object.clone());
        if kept.len() > RECENT {
            let oldest = kept.pop_front();
            // It may be the last one to hold it, and closing a file takes its time.
            drop(kept);
            drop(oldest);
        }
    }
}
