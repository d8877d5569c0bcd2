//! Purging: by URL, and by the keys that an origin gives to what it sends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::HeaderMap;

use super::object::Object;
use super::{Engine, Live};
use crate::http::{Head, tags};
use crate::store::{Key, Store};

/// Names and keys are purged alike, and never mistaken for each other.
const NAME: u64 = 1;
const TAG: u64 = 2;

/// All that an object can be purged by.
pub(super) fn purge_keys(name: &str, headers: &HeaderMap) -> Vec<Key> {
    let mut keys = vec![Key::of(name).derived(NAME)];
    keys.extend(tags(headers).into_iter().map(|tag| Key::of(tag).derived(TAG)));
    keys
}

impl Engine {
    /// Forgets an object and its variants, also what is being fetched at this moment. Returns whether anything was
    /// known of it.
    pub async fn purge(self: &Arc<Self>, name: &str) -> bool {
        let key = Key::of(name);
        self.store.purges().purge(key.derived(NAME));
        let live = match self.live().get(&key) {
            Some(Live::Object(object)) => object.upgrade(),
            Some(Live::Pending { .. }) | None => None,
        };
        let was_live = live.is_some_and(|object| {
            self.drop_generation(&object);
            true
        });
        let removed = self.store.remove(key) || was_live;
        // It is not acknowledged before it would survive a crash, unless the disk does not answer.
        let _ = tokio::time::timeout(PATIENCE, self.on_disk(Store::flush)).await;
        removed
    }

    /// Forgets all objects with this surrogate key. It holds at once.
    ///
    /// # Errors
    ///
    /// When it could not be written down, so that it would not hold after a restart.
    pub async fn purge_tag(self: &Arc<Self>, tag: &str) -> io::Result<()> {
        let key = Key::of(tag).derived(TAG);
        let number = self.store.purges().purge(key);
        let store = self.store.clone();
        let written = tokio::task::spawn_blocking(move || store.purges().write(key, number));
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(written)) => written,
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::other("the disk does not answer")),
        }
    }

    /// Gives back what purged objects take on the disk. It blocks, for long where there is much.
    pub fn sweep(&self) {
        let purges = self.store.purges();
        self.store.sweep(|meta| {
            let head = Head::stored(meta);
            purges.since(&purge_keys(&meta.name, &head.headers), head.purges)
        });
    }

    /// Whether something of it was purged since it was asked for.
    pub(super) fn is_purged(&self, object: &Object) -> bool {
        let purges = self.store.purges();
        let count = purges.count();
        if object.unpurged.load(Ordering::Relaxed) == count || purges.is_empty() {
            return false;
        }
        let head = object.head();
        let purged = purges.since(&purge_keys(&object.ask.name(), &head.headers), head.purges);
        if !purged {
            object.unpurged.store(count, Ordering::Relaxed);
        }
        purged
    }
}

/// How long a purge waits for the disk.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
