//! Syncs folders, for all who wait for the same one at once.
//!
//! A name in a folder is durable once the folder is synced. Who comes while a sync is under way cannot know whether it
//! has their name yet: they wait for the next one, which serves all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The folders that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Folders {
    waiting: Mutex<BTreeMap<PathBuf, Arc<Folder>>>,
    syncs: AtomicU64,
    asked: AtomicU64,
}

#[derive(Debug, Default)]
struct Folder {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Syncs that have begun and ended.
    begun: u64,
    ended: u64,
    /// Why the last one failed: nobody knows what of it is durable.
    failed: Option<(u64, i32)>,
}

impl Folders {
    /// Syncs a folder: what was done in it before this was called is durable when it returns. Blocks.
    pub(super) fn sync(&self, path: &Path) -> io::Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let folder = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.entry(path.to_owned()).or_default().clone()
        };
        let mut state = folder.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The one under way may have looked already.
        let needed = state.begun + 1;
        while state.ended < needed {
            if state.begun > state.ended {
                state = folder.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.begun += 1;
            let number = state.begun;
            drop(state);
            let done = File::open(path).and_then(|folder| folder.sync_all());
            self.syncs.fetch_add(1, Ordering::Relaxed);
            state = folder.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended = number;
            if let Err(error) = &done {
                state.failed = Some((number, error.raw_os_error().unwrap_or(0)));
            }
            folder.changed.notify_all();
            if number >= needed {
                return done;
            }
        }
        match state.failed {
            Some((number, code)) if number >= needed => Err(io::Error::from_raw_os_error(code)),
            _ => Ok(()),
        }
    }

    /// How often it was asked to, and how often it did.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.asked.load(Ordering::Relaxed), self.syncs.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_share_a_sync_and_none_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::default();
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (folders, path) = (&folders, folder.path());
                scope.spawn(move || {
                    for number in 0..20 {
                        File::create_new(path.join(format!("{thread}-{number}"))).unwrap();
                        folders.sync(path).unwrap();
                    }
                });
            }
        });
        let (asked, syncs) = folders.counts();
        assert_eq!(asked, 320);
        assert!(syncs <= asked && syncs >= 20, "{syncs}");
        assert!(folders.sync(&folder.path().join("missing")).is_err());
        folders.sync(folder.path()).unwrap();
    }

    #[test]
    fn who_comes_during_a_sync_waits_for_the_next() {
        let folder = Folder::default();
        let mut state = folder.state.lock().unwrap();
        (state.begun, state.ended) = (5, 4);
        drop(state);
        let folders = Folders::default();
        let place = tempfile::tempdir().unwrap();
        let shared = Arc::new(folder);
        folders.waiting.lock().unwrap().insert(place.path().to_owned(), shared.clone());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| folders.sync(place.path()));
            while folders.counts().0 == 0 {
                std::thread::yield_now();
            }
            assert_eq!(folders.counts().1, 0);
            shared.state.lock().unwrap().ended = 5;
            shared.changed.notify_all();
            waits.join().unwrap().unwrap();
        });
        assert_eq!(folders.counts().1, 1, "the one that was under way did not count");
    }
}
