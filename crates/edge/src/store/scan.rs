//! What is done beside the service: looking through the folder after a crash, dropping what nobody asks for, and
//! writing the index.

use std::io;
use std::sync::atomic::Ordering;

use rustix::fs::{FlockOperation, flock};

use super::file::ObjectFile;
use super::index::generation_of;
use super::journal::{self, Change};
use super::key::Key;
use super::meta::Meta;
use super::room::Later;
use super::{Store, short_time};
use crate::clock;

impl Store {
    /// After a crash: takes in what the index does not know, and drops what is not there. It blocks, for long where
    /// there is much; meanwhile everything can be served.
    pub fn look_through(&self) {
        if !self.scanning.load(Ordering::Relaxed) {
            return;
        }
        let mut adopted = 0_u64;
        for first in 0..=255_u8 {
            let Ok(entries) = std::fs::read_dir(self.options.directory.join(format!("{first:02x}"))) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                match (Key::from_hex(name), name.split_once('.')) {
                    (Some(key), _) => adopted += u64::from(self.reconcile(key)),
                    // Half made when the last process ended.
                    (None, Some((_, of))) if !of.starts_with(&format!("{:016x}", self.token)) => {
                        let _ = std::fs::remove_file(entry.path());
                    }
                    _ => {}
                }
            }
        }
        let known: Vec<(Key, u32)> = {
            let inner = self.inner();
            let entries = inner.index.live().map(|slot| inner.index.entry(slot));
            entries.map(|entry| (entry.key, entry.generation())).collect()
        };
        let mut lost = 0_u64;
        for (key, generation) in known {
            if !self.path(key).exists() {
                let _held = self.journal();
                // Looked at again while nobody makes files.
                if !self.path(key).exists() {
                    self.forget(key, generation);
                    lost += 1;
                }
            }
        }
        self.flush();
        self.scanning.store(false, Ordering::Relaxed);
        if adopted + lost > 0 {
            tracing::info!(adopted, lost, "looked through the cache's folder");
        }
        // What was taken in may be more than fits.
        if self.reserve(0).is_err() {
            tracing::warn!("the cache's disk is full");
        }
    }

    /// Takes in an object that the index does not know, if nobody is at work on the disk. Returns its generation.
    pub(super) fn adopt_now(&self, key: Key) -> Option<u32> {
        let held = self.journal.try_lock().ok()?;
        let taken = self.take_in(key);
        drop(held);
        taken.map(|(generation, _)| generation)
    }

    /// Takes in what a file has and the index does not know. Returns whether there was anything.
    fn reconcile(&self, key: Key) -> bool {
        let mut journal = self.journal();
        let changed = self.take_in(key).is_some_and(|(_, changed)| changed);
        self.flush_into(&mut journal);
        changed
    }

    /// The same for the one who has the journal: the file stays what it is meanwhile. The last moments before a crash may
    /// be missing in the index: a whole object, or slices of which the room would not be counted.
    fn take_in(&self, key: Key) -> Option<(u32, bool)> {
        let path = self.path(key);
        let file = match ObjectFile::open(&path, key) {
            Ok((file, _)) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData && self.inner().index.find(key).is_none() {
                    let _ = std::fs::remove_file(&path);
                }
                return None;
            }
        };
        let (layout, generation) = (file.layout(), generation_of(file.seed()));
        let mut inner = self.inner();
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let known = inner.index.find(key).filter(|slot| inner.index.entry(*slot).generation() == generation);
        let mut changed = known.is_none();
        let slot = known.unwrap_or_else(|| {
            let slot = inner.index.put(key, layout, generation, short_time(clock::unix_seconds()));
            let flags = inner.index.entry(slot).flags();
            inner.note(Change::Put { key, length: layout.length, flags });
            slot
        });
        for slice in (0..layout.slices()).filter(|slice| file.has_sums(*slice)) {
            if !inner.index.is_present(slot, slice) && !inner.leaving.contains(&(key, slice)) {
                inner.index.fill(slot, slice);
                inner.note(Change::Fill { key, slice });
                changed = true;
            }
        }
        Some((generation, changed))
    }

    /// Gives back what purged objects take. `is_purged` knows them by their heads.
    pub fn sweep(&self, is_purged: impl Fn(&Meta) -> bool) {
        if !self.purges.take_unswept() {
            return;
        }
        let known: Vec<Key> = {
            let inner = self.inner();
            inner.index.live().map(|slot| inner.index.entry(slot).key).collect()
        };
        let mut swept = 0_u64;
        for key in known {
            if let Ok((file, meta)) = ObjectFile::open(&self.path(key), key)
                && is_purged(&meta)
            {
                self.forget(key, generation_of(file.seed()));
                swept += 1;
            }
        }
        self.flush();
        if swept > 0 {
            tracing::info!(swept, "removed purged objects from the disk");
        }
    }

    /// What is due every minute or so: inactive objects go, a long journal becomes a snapshot.
    pub fn tend(&self) {
        let now = short_time(clock::unix_seconds());
        let oldest = now.saturating_sub(u32::try_from(self.options.inactive.as_secs()).unwrap_or(u32::MAX));
        let idle: Vec<Key> = {
            let inner = self.inner();
            let entries = inner.index.live().map(|slot| inner.index.entry(slot));
            entries.filter(|entry| entry.seen < oldest).map(|entry| entry.key).collect()
        };
        for key in idle {
            self.remove(key);
        }
        self.flush();
        let due = {
            let journal = self.journal();
            journal.is_long(&self.inner().index)
        };
        if due && let Err(error) = self.save() {
            tracing::warn!(%error, "failed to write the cache's index");
        }
    }

    /// Writes a snapshot of the index.
    ///
    /// # Errors
    ///
    /// When it cannot be written. Nothing is lost then: the journals are still there.
    pub fn save(&self) -> io::Result<()> {
        let _waiting = self.waiting.begin();
        let (bytes, (folder, number)) = {
            let mut journal = self.journal();
            self.flush_into(&mut journal);
            let was_broken = journal.is_broken();
            journal.turn()?;
            let (folder, number) = journal.place();
            let bytes = {
                let mut inner = self.inner();
                // What has changed since is in the snapshot.
                inner.later.retain(|later| !matches!(later, Later::Note(_)));
                journal::snapshot(&inner.index)
            };
            if was_broken {
                // Written while nothing else can be: without it the journals tell less than the truth.
                return journal::write_snapshot(&folder, number, &bytes);
            }
            (bytes, (folder, number))
        };
        journal::write_snapshot(&folder, number, &bytes)
    }

    /// Before the end: the index is written, and the next start need not look through the folder. Nothing is stored
    /// from then on.
    ///
    /// # Errors
    ///
    /// As [`Store::save`].
    pub fn close(&self) -> io::Result<()> {
        {
            let _held = self.inner();
            self.closed.store(true, Ordering::Relaxed);
        }
        self.save()?;
        if !self.scanning.load(Ordering::Relaxed) {
            std::fs::write(self.options.directory.join("clean"), "")?;
        }
        // What still reads may go on; the folder is the next one's.
        flock(&self.lock, FlockOperation::Unlock).map_err(Into::into)
    }
}
