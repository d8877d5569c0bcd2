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
                    (Some(key), _) => {
                        let known = self.inner().index.find(key).is_some();
                        adopted += u64::from(!known && self.adopt(key).is_some());
                    }
                    // Half made when the last process ended.
                    (None, Some((_, of))) if !of.starts_with(&format!("{:016x}", self.token)) => {
                        let _ = std::fs::remove_file(entry.path());
                    }
                    _ => {}
                }
            }
        }
        let known: Vec<Key> = {
            let inner = self.inner();
            inner.index.live().map(|slot| inner.index.entry(slot).key).collect()
        };
        let mut lost = 0_u64;
        for key in known {
            if !self.path(key).exists() {
                let mut inner = self.inner();
                // Looked at again with the index held still.
                if !self.path(key).exists() && inner.index.remove(key) {
                    inner.journal.write(Change::Remove { key });
                    lost += 1;
                }
            }
        }
        self.scanning.store(false, Ordering::Relaxed);
        if adopted + lost > 0 {
            tracing::info!(adopted, lost, "looked through the cache's folder");
        }
        // What was taken in may be more than fits.
        if self.reserve(0).is_err() {
            tracing::warn!("the cache's disk is full");
        }
    }

    /// Takes in an object that the index does not know. Returns its generation.
    pub(super) fn adopt(&self, key: Key) -> Option<u32> {
        let mut inner = self.inner();
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(slot) = inner.index.find(key) {
            return Some(inner.index.entry(slot).generation());
        }
        let path = self.path(key);
        let file = match ObjectFile::open(&path, key) {
            Ok((file, _)) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    let _ = std::fs::remove_file(&path);
                }
                return None;
            }
        };
        let (layout, generation) = (file.layout(), generation_of(file.seed()));
        let slot = inner.index.put(key, layout, generation, short_time(clock::unix_seconds()));
        let flags = inner.index.entry(slot).flags();
        inner.journal.write(Change::Put { key, length: layout.length, flags });
        for slice in (0..layout.slices()).filter(|slice| file.has_sums(*slice)) {
            inner.index.fill(slot, slice);
            inner.journal.write(Change::Fill { key, slice });
        }
        Some(generation)
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
        let due = {
            let inner = self.inner();
            inner.journal.is_long(&inner.index)
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
        let (bytes, (folder, number)) = {
            let mut inner = self.inner();
            let was_broken = inner.journal.is_broken();
            inner.journal.turn()?;
            if was_broken {
                // Written while nothing else can be: without it the journals tell less than the truth.
                let (folder, number) = inner.journal.place();
                return journal::write_snapshot(&folder, number, &journal::snapshot(&inner.index));
            }
            (journal::snapshot(&inner.index), inner.journal.place())
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
