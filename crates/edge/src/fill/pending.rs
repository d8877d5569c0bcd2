//! The mark that somebody is asking the sources, and how it goes away.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::object::Object;
use super::{Engine, Live, Outcome};
use crate::store::Key;

/// Takes the pending mark away, also when the task that asks dies.
pub(super) struct PendingGuard {
    pub(super) engine: Arc<Engine>,
    pub(super) key: Key,
    pub(super) old: Option<Arc<Object>>,
}

impl PendingGuard {
    pub(super) fn settle(&self, outcome: &Outcome) {
        let mut live = self.engine.live();
        match outcome {
            // What was looked at and is still good takes its place again.
            Outcome::Here(object) if object.key == self.key && !object.is_replaced() => {
                live.insert(self.key, Live::Object(Arc::downgrade(object)));
            }
            Outcome::Here(_) | Outcome::Again | Outcome::Uncacheable | Outcome::Failed(_) => {
                if matches!(live.get(&self.key), Some(Live::Pending { .. })) {
                    live.remove(&self.key);
                    if let Some(old) = self.old.as_ref().filter(|old| !old.is_replaced() && old.key == self.key) {
                        live.insert(self.key, Live::Object(Arc::downgrade(old)));
                    }
                }
            }
        }
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.settle(&Outcome::Again);
        }
    }
}

impl Engine {
    /// Streams that broke off, and objects that no source gave.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Requests to sources, and those that none answered.
    #[must_use]
    pub fn source_counts(&self) -> (u64, u64) {
        self.sources.counts()
    }

    /// The sibling that owns this part of an object, if it is not this edge.
    #[must_use]
    pub fn owner_of(&self, name: &str, offset: u64) -> Option<String> {
        self.sources.owner_of(name, offset)
    }

    /// See [`crate::source::Sources::sibling_counts`].
    #[must_use]
    pub fn sibling_counts(&self) -> (u64, u64, u64, u64) {
        self.sources.sibling_counts()
    }

    pub(crate) fn note_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}
