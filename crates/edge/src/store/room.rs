//! Making room, and everything else that waits for the disk.
//!
//! What is known is in memory, under a lock that nobody holds while the disk is at work; what has to be written down or
//! given back on the disk is queued there, and done in its order by whoever may wait. A disk that is full, read-only or
//! silent therefore keeps nobody from reading what is in memory, nor from getting the rest from a source.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::statvfs;

use super::file::ObjectFile;
use super::index::{Evicted, generation_of};
use super::journal::{Change, Journal};
use super::{Inner, Store, Stored, is_full};
use crate::clock::{self, Stopwatch};
use crate::store::Key;

/// After the disk was found full, nothing is stored for this long.
const FULL_PAUSE: u64 = 5;
/// While something has been waiting for the disk for so long, nothing further is stored.
const SLOW: Duration = Duration::from_secs(2);

/// What is still to be done on the disk.
#[derive(Debug)]
pub(super) enum Later {
    /// To write down.
    Note(Change),
    /// To remove the file of a key that stands for nothing any more.
    Unlink(Key),
    /// To give a slice's room back.
    Punch(Evicted),
}

/// Who is waiting for the disk, and since when.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    since: Mutex<BTreeMap<u64, Stopwatch>>,
    next: AtomicU64,
}

impl Waiting {
    /// Somebody waits, until the guard is dropped.
    pub(super) fn begin(&self) -> WaitingGuard<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.since.lock().expect("no thread panics while it holds this").insert(number, Stopwatch::start());
        WaitingGuard { waiting: self, number }
    }

    fn is_long(&self) -> bool {
        let since = self.since.lock().expect("no thread panics while it holds this");
        since.first_key_value().is_some_and(|(_, since)| since.elapsed() > SLOW)
    }
}

#[derive(Debug)]
pub(super) struct WaitingGuard<'w> {
    waiting: &'w Waiting,
    number: u64,
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.waiting.since.lock().expect("no thread panics while it holds this").remove(&self.number);
    }
}

impl Inner {
    /// To be written down.
    pub(super) fn note(&mut self, change: Change) {
        self.later.push_back(Later::Note(change));
    }
}

impl Store {
    /// Does on the disk what is still to be done there. It blocks for as long as the disk does.
    pub fn flush(&self) {
        if self.inner().later.is_empty() {
            return;
        }
        let _waiting = self.waiting.begin();
        let mut journal = self.journal();
        self.flush_into(&mut journal);
    }

    /// The same for the one who has the journal. Nobody else makes or removes files meanwhile.
    pub(super) fn flush_into(&self, journal: &mut Journal) {
        loop {
            let later = std::mem::take(&mut self.inner().later);
            if later.is_empty() {
                return;
            }
            self.carry_out(journal, later);
        }
    }

    fn carry_out(&self, journal: &mut Journal, later: VecDeque<Later>) {
        for later in later {
            match later {
                Later::Note(change) => journal.write(change),
                // Another generation may have taken its place.
                Later::Unlink(key) if self.inner().index.find(key).is_none() => {
                    let _ = std::fs::remove_file(self.path(key));
                }
                Later::Unlink(_) => {}
                Later::Punch(victim) => self.give_back(&victim),
            }
        }
    }

    /// Writes the head down as it is now. It blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// When it cannot be written. It counts until the next start all the same.
    pub fn write_head(&self, stored: &Stored) -> io::Result<()> {
        let _waiting = self.waiting.begin();
        stored.file.rewrite(&stored.meta())
    }

    /// Whether nothing is stored at the moment, as the disk was full or failed, or does not answer.
    #[must_use]
    pub fn is_full(&self) -> bool {
        clock::unix_seconds() < self.full_until.load(Ordering::Relaxed) || self.waiting.is_long()
    }

    pub(super) fn pause(&self) {
        self.full_until.store(clock::unix_seconds() + FULL_PAUSE, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self, error: &io::Error) {
        if is_full(error) {
            self.pause();
        }
    }

    /// Makes room, and holds it until `pending` is lowered again.
    pub(super) fn reserve(&self, cost: u64) -> io::Result<()> {
        let floor = self.options.min_free.saturating_add(cost);
        let missing = floor.saturating_sub(self.free());
        // Where others fill the disk, a little room is given back each time; to give all of it would help little.
        let mut to_free = missing.min(8 * cost);
        let mut evicted = 0;
        let fits = {
            let mut inner = self.inner();
            // Looked at with the index in hand: once it has been closed, nothing changes it.
            if self.is_closed() {
                return Err(io::Error::other("the store is closed"));
            }
            loop {
                let fits = inner.index.bytes() + inner.pending + cost <= self.options.max_size;
                if fits && to_free == 0 {
                    break true;
                }
                let before = inner.index.bytes();
                let Some(victim) = inner.index.evict(|key, slice| self.open.is_pinned(key, slice)) else { break fits };
                to_free = to_free.saturating_sub(before - inner.index.bytes());
                evicted += 1;
                if victim.last {
                    inner.note(Change::Remove { key: victim.key });
                    inner.later.push_back(Later::Unlink(victim.key));
                } else {
                    inner.note(Change::Clear { key: victim.key, slice: victim.slice });
                    inner.leaving.insert((victim.key, victim.slice));
                    inner.later.push_back(Later::Punch(victim));
                }
            }
        };
        self.evictions.fetch_add(evicted, Ordering::Relaxed);
        // Before the room counts as free, it is.
        self.flush();
        if !fits || (missing > 0 && self.free() < floor) {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        // Somebody else may have taken the room while it was given back.
        let mut inner = self.inner();
        if inner.index.bytes() + inner.pending + cost > self.options.max_size {
            return Err(io::Error::other("others were faster to take the room"));
        }
        inner.pending += cost;
        Ok(())
    }

    pub(super) fn forget(&self, key: Key, generation: u32) {
        self.remove_if(key, |current| current == generation);
    }

    fn free(&self) -> u64 {
        statvfs(&self.options.directory).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize)
    }

    fn give_back(&self, victim: &Evicted) {
        let open = self.open.find(victim.key).filter(|stored| stored.generation() == victim.generation);
        let done = match &open {
            Some(stored) => stored.file.punch(victim.slice),
            None => match ObjectFile::open(&self.path(victim.key), victim.key) {
                Ok((file, _)) if generation_of(file.seed()) == victim.generation => file.punch(victim.slice),
                // Replaced or gone meanwhile, and its room with it.
                _ => Ok(()),
            },
        };
        if let Err(error) = done {
            tracing::warn!(key = ?victim.key, %error, "failed to give a slice's room back");
        }
        self.inner().leaving.remove(&(victim.key, victim.slice));
    }
}
