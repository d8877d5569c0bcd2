//! The slice store: what has been fetched, on disk, in slices.
//!
//! It answers for three things: that what it gives out is what was put in, that it never takes more room than it was
//! given, and that whatever the disk does, it gets in nobody's way. It knows no HTTP beyond carrying a response's head.

mod file;
mod index;
mod journal;
mod key;
mod meta;
mod open;
mod queue;
mod replay;
mod scan;
mod span;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock, statvfs};

use file::ObjectFile;
pub use file::{BLOCK, Layout, Read};
use index::{Evicted, Index, generation_of};
use journal::{Change, Journal};
pub use key::Key;
pub use meta::Meta;
use open::OpenFiles;
pub use replay::Replay;
use span::Pins;
pub use span::{Cold, Span};

use crate::clock;

/// After the disk was found full, nothing is stored for this long.
const FULL_PAUSE: u64 = 5;

/// How the store is to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the files are.
    pub directory: PathBuf,
    /// All that it may take, in bytes.
    pub max_size: u64,
    /// What must stay free on the disk.
    pub min_free: u64,
    /// Objects that nobody asked for in so long are dropped.
    pub inactive: Duration,
    /// How often an object must be asked for before it is stored, while the cache is fuller than 70 %.
    pub min_uses: u32,
    /// Of new objects; a power of two.
    pub slice_size: u64,
}

/// What is in the store, and what happened to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Objects of which anything is stored.
    pub objects: u64,
    /// Slices of all of them.
    pub slices: u64,
    /// Slices that were given up for others.
    pub evictions: u64,
    /// Slices that were not what had been written.
    pub damaged: u64,
    /// Slices that could not be written.
    pub failed_writes: u64,
}

/// A stored object, open.
#[derive(Debug)]
pub struct Stored {
    key: Key,
    file: ObjectFile,
    meta: RwLock<Arc<Meta>>,
    /// Another generation took its place, or it was removed.
    replaced: AtomicBool,
    /// Since the table of open files looked last.
    used: AtomicBool,
    pins: Pins,
}

impl Stored {
    fn new(key: Key, file: ObjectFile, meta: Meta) -> Self {
        Self {
            key,
            file,
            meta: RwLock::new(Arc::new(meta)),
            replaced: AtomicBool::new(false),
            used: AtomicBool::new(true),
            pins: Pins::default(),
        }
    }

    /// What it is found by.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Where its slices are.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.file.layout()
    }

    /// The response's head.
    #[must_use]
    pub fn meta(&self) -> Arc<Meta> {
        self.meta.read().expect("no thread panics while it holds this").clone()
    }

    /// Whether something else is stored under its key now, or nothing.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    fn generation(&self) -> u32 {
        generation_of(self.file.seed())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    options: Options,
    inner: Mutex<Inner>,
    open: OpenFiles,
    /// Names this process's unfinished files.
    token: u64,
    full_until: AtomicU64,
    scanning: AtomicBool,
    evictions: AtomicU64,
    damaged: AtomicU64,
    failed_writes: AtomicU64,
    /// Nothing is written any more.
    closed: AtomicBool,
    /// Held as long as the store is open.
    lock: std::fs::File,
}

#[derive(Debug)]
struct Inner {
    index: Index,
    journal: Journal,
    /// Room that is being written into.
    pending: u64,
    /// Slices whose room is being given back: until that is done, nothing is written there.
    leaving: BTreeSet<(Key, u32)>,
}

impl Store {
    /// Opens the folder, making it where it is not there.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used, or another process does.
    pub fn open(options: Options) -> io::Result<Self> {
        let folder = &options.directory;
        std::fs::create_dir_all(folder)?;
        let lock = std::fs::File::create(folder.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other(format!("another process uses {}", folder.display())))?;
        for first in 0..=255_u8 {
            match std::fs::create_dir(folder.join(format!("{first:02x}"))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let (journal, index) = Journal::open(folder, short_time(clock::unix_seconds()))?;
        let clean = std::fs::remove_file(folder.join("clean")).is_ok();
        Ok(Self {
            inner: Mutex::new(Inner { index, journal, pending: 0, leaving: BTreeSet::new() }),
            open: OpenFiles::default(),
            token: random(),
            full_until: AtomicU64::new(0),
            scanning: AtomicBool::new(!clean),
            evictions: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            lock,
            options,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread panics while it holds this")
    }

    fn path(&self, key: Key) -> PathBuf {
        let hex = key.hex();
        self.options.directory.join(&hex[..2]).join(hex)
    }

    /// The object with this key, if anything of it is stored.
    #[must_use]
    pub fn lookup(&self, key: Key) -> Option<Arc<Stored>> {
        // Again where it was replaced this moment.
        (0..3).find_map(|_| self.look_up_once(key))
    }

    fn look_up_once(&self, key: Key) -> Option<Arc<Stored>> {
        let now = short_time(clock::unix_seconds());
        let generation = {
            let mut inner = self.inner();
            match inner.index.find(key) {
                Some(slot) => {
                    inner.index.see(slot, now);
                    Some(inner.index.entry(slot).generation())
                }
                None => None,
            }
        };
        let generation = match generation {
            Some(generation) => generation,
            // Not known, and perhaps not yet: after a crash the folder knows more than the index.
            None if self.scanning.load(Ordering::Relaxed) => self.adopt(key)?,
            None => return None,
        };
        if let Some(stored) = self.open.find(key)
            && stored.generation() == generation
            && !stored.is_replaced()
        {
            return Some(stored);
        }
        match ObjectFile::open(&self.path(key), key) {
            Ok((file, meta)) if generation_of(file.seed()) == generation => {
                self.open.insert(Stored::new(key, file, meta))
            }
            Ok(_) => None,
            // Out of descriptors and the like: the object is none the worse for it.
            Err(error) if is_ours(&error) => None,
            Err(_) => {
                self.forget(key, generation);
                None
            }
        }
    }

    /// Whether this is still what is stored under its key. Asking counts as asking for the object.
    #[must_use]
    pub fn is_current(&self, stored: &Stored) -> bool {
        let now = short_time(clock::unix_seconds());
        let mut inner = self.inner();
        let slot = self.slot_of(&inner, stored);
        if let Some(slot) = slot {
            inner.index.see(slot, now);
        }
        slot.is_some()
    }

    /// Whether an object that is not stored should be, when it is fetched now. Asking is a use.
    #[must_use]
    pub fn admits(&self, key: Key) -> bool {
        if clock::unix_seconds() < self.full_until.load(Ordering::Relaxed) {
            return false;
        }
        self.inner().index.admits(key, self.options.max_size, self.options.min_uses)
    }

    /// Whether this object was asked for lately, without being stored. Asking is a use.
    #[must_use]
    pub fn asked_before(&self, key: Key) -> bool {
        clock::unix_seconds() >= self.full_until.load(Ordering::Relaxed) && self.inner().index.asked_before(key)
    }

    /// Makes a new object, in place of what its key had.
    ///
    /// # Errors
    ///
    /// When there is no room, or the file cannot be made. The object is then served without being stored.
    pub fn create(&self, key: Key, meta: Meta, length: u64) -> io::Result<Arc<Stored>> {
        let result = self.try_create(key, meta, length);
        if result.as_ref().is_err_and(is_full) {
            self.pause();
        }
        result
    }

    fn try_create(&self, key: Key, meta: Meta, length: u64) -> io::Result<Arc<Stored>> {
        let seed = random();
        let slice_log2 = u8::try_from(self.options.slice_size.trailing_zeros()).expect("at most 63");
        let written = self.path(key).with_extension(format!("{:016x}-{seed:016x}", self.token));
        let file = ObjectFile::create(&written, key, &meta, length, slice_log2, seed)?;
        let stored = Arc::new(Stored::new(key, file, meta));
        let remove_on = |error: io::Error| {
            let _ = std::fs::remove_file(&written);
            error
        };
        let cost = stored.layout().data();
        self.reserve(cost).map_err(remove_on)?;
        let mut inner = self.inner();
        inner.pending -= cost;
        if self.closed.load(Ordering::Relaxed) {
            return Err(remove_on(io::Error::other("the store is closed")));
        }
        // All under the lock, so that nobody sees the one without the other.
        std::fs::rename(&written, self.path(key)).map_err(remove_on)?;
        let now = short_time(clock::unix_seconds());
        let slot = inner.index.put(key, stored.layout(), stored.generation(), now);
        let flags = inner.index.entry(slot).flags();
        inner.journal.write(Change::Put { key, length, flags });
        self.open.replace(&stored);
        Ok(stored)
    }

    /// Stores a whole slice. It blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// When it was not stored: no room, or the object has been replaced.
    pub fn write_slice(&self, stored: &Stored, slice: u32, bytes: &[u8]) -> io::Result<()> {
        if clock::unix_seconds() < self.full_until.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk was full a moment ago"));
        }
        {
            let inner = self.inner();
            if self.slot_of(&inner, stored).is_none() {
                return Err(io::Error::other("the object has been replaced"));
            }
            if inner.leaving.contains(&(stored.key, slice)) {
                return Err(io::Error::other("the slice is being given up"));
            }
        }
        let cost = stored.layout().slice_cost(slice);
        let reserved = self.reserve(cost);
        let held = reserved.is_ok();
        if let Err(error) = reserved.and_then(|()| stored.file.write_slice(slice, bytes)) {
            if held {
                self.inner().pending -= cost;
            }
            self.failed_writes.fetch_add(1, Ordering::Relaxed);
            if is_full(&error) {
                self.pause();
            }
            return Err(error);
        }
        let mut inner = self.inner();
        inner.pending -= cost;
        if self.closed.load(Ordering::Relaxed) {
            return Err(io::Error::other("the store is closed"));
        }
        let Some(slot) = self.slot_of(&inner, stored) else {
            return Err(io::Error::other("the object has been replaced"));
        };
        inner.index.fill(slot, slice);
        inner.journal.write(Change::Fill { key: stored.key, slice });
        Ok(())
    }

    /// Whether this slice can be read. For an object that has been replaced: perhaps.
    #[must_use]
    pub fn has(&self, stored: &Stored, slice: u32) -> bool {
        let inner = self.inner();
        match self.slot_of(&inner, stored) {
            Some(slot) => inner.index.is_present(slot, slice),
            None => stored.file.has_sums(slice),
        }
    }

    /// Reads from `offset`, at most `limit` bytes and never beyond a slice. `None`: it is not here (any more). With
    /// `patient` unset, it gives [`Read::WouldBlock`] rather than to wait for the disk.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn read(&self, stored: &Stored, offset: u64, limit: u64, patient: bool) -> io::Result<Option<Read>> {
        let slice = slice_of(stored.layout(), offset);
        if !self.has(stored, slice) {
            return Ok(None);
        }
        match stored.file.read(offset, limit, patient)? {
            Read::Damaged => {
                let mut inner = self.inner();
                if let Some(slot) = self.slot_of(&inner, stored)
                    // Unset: it was evicted while it was read, which is nobody's fault.
                    && inner.index.is_present(slot, slice)
                {
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                    inner.index.clear(slot, slice);
                    inner.journal.write(Change::Clear { key: stored.key, slice });
                }
                Ok(None)
            }
            read => Ok(Some(read)),
        }
    }

    /// The whole body, where it is small and in memory. It counts as wanted.
    #[must_use]
    pub fn at_hand(&self, stored: &Stored) -> Option<Bytes> {
        let body = stored.file.small()?;
        let mut inner = self.inner();
        let slot = self.slot_of(&inner, stored).filter(|slot| inner.index.is_present(*slot, 0))?;
        inner.index.touch(slot, 0);
        Some(body)
    }

    /// Notes that somebody wanted this slice, once a request.
    pub fn touch(&self, stored: &Stored, slice: u32) {
        let mut inner = self.inner();
        if let Some(slot) = self.slot_of(&inner, stored) {
            inner.index.touch(slot, slice);
        }
    }

    /// Replaces the head, as after the origin said that the object is still good.
    ///
    /// # Errors
    ///
    /// When it cannot be written. It counts until the next start all the same.
    pub fn update(&self, stored: &Stored, meta: Meta) -> io::Result<()> {
        let written = stored.file.rewrite(&meta);
        *stored.meta.write().expect("no thread panics while it holds this") = Arc::new(meta);
        written
    }

    /// Drops an object. Returns whether anything of it was stored.
    pub fn remove(&self, key: Key) -> bool {
        let mut inner = self.inner();
        let removed = !self.closed.load(Ordering::Relaxed) && inner.index.remove(key);
        if removed {
            inner.journal.write(Change::Remove { key });
            let _ = std::fs::remove_file(self.path(key));
        }
        self.open.remove(key);
        removed
    }

    /// Whether this object is the one that its key stands for.
    fn slot_of(&self, inner: &Inner, stored: &Stored) -> Option<u32> {
        if stored.is_replaced() {
            return None;
        }
        let slot = inner.index.find(stored.key)?;
        (inner.index.entry(slot).generation() == stored.generation()).then_some(slot)
    }

    fn forget(&self, key: Key, generation: u32) {
        let mut inner = self.inner();
        let current = inner.index.find(key).map(|slot| inner.index.entry(slot).generation());
        if current == Some(generation) && !self.closed.load(Ordering::Relaxed) {
            inner.index.remove(key);
            inner.journal.write(Change::Remove { key });
            let _ = std::fs::remove_file(self.path(key));
        }
    }

    /// Makes room, and holds it until `pending` is lowered again.
    fn reserve(&self, cost: u64) -> io::Result<()> {
        let floor = self.options.min_free.saturating_add(cost);
        let missing = floor.saturating_sub(self.free());
        // Where others fill the disk, a little room is given back each time; to give all of it would help little.
        let mut to_free = missing.min(8 * cost);
        let mut evicted = Vec::new();
        let fits = {
            let mut inner = self.inner();
            // Looked at with the index in hand: once it has been closed, nothing changes it.
            if self.closed.load(Ordering::Relaxed) {
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
                self.note_eviction(&mut inner, victim);
                evicted.push(victim);
            }
        };
        for victim in evicted.iter().filter(|victim| !victim.last) {
            self.punch(victim);
            self.inner().leaving.remove(&(victim.key, victim.slice));
        }
        self.evictions.fetch_add(evicted.len() as u64, Ordering::Relaxed);
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

    fn free(&self) -> u64 {
        statvfs(&self.options.directory).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize)
    }

    fn note_eviction(&self, inner: &mut Inner, victim: Evicted) {
        if victim.last {
            inner.journal.write(Change::Remove { key: victim.key });
            // Under the lock: a moment later the path may be another generation's.
            let _ = std::fs::remove_file(self.path(victim.key));
        } else {
            inner.journal.write(Change::Clear { key: victim.key, slice: victim.slice });
            inner.leaving.insert((victim.key, victim.slice));
        }
    }

    fn punch(&self, victim: &Evicted) {
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
    }

    fn pause(&self) {
        self.full_until.store(clock::unix_seconds() + FULL_PAUSE, Ordering::Relaxed);
    }

    /// What is in it, and what happened.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let inner = self.inner();
        Numbers {
            bytes: inner.index.bytes(),
            objects: inner.index.objects() as u64,
            slices: inner.index.slices(),
            evictions: self.evictions.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            failed_writes: self.failed_writes.load(Ordering::Relaxed),
        }
    }
}

/// In which slice this offset is.
#[must_use]
pub fn slice_of(layout: Layout, offset: u64) -> u32 {
    u32::try_from(offset >> layout.slice_log2).expect("offsets are inside the object")
}

/// Errors that say nothing about the file.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::ACCESS | Errno::IO | Errno::ROFS)
    )
}

fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::IO))
}

fn short_time(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel has random numbers");
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
