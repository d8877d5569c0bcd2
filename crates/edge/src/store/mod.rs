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
mod purges;
mod queue;
mod replay;
mod room;
mod scan;
mod span;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use file::ObjectFile;
pub use file::{BLOCK, Layout, Read};
use index::{Evicted, Index, generation_of};
use journal::{Change, Journal};
pub use key::Key;
pub use meta::Meta;
use open::OpenFiles;
pub use purges::Purges;
pub use replay::Replay;
use room::{Later, Waiting};
use span::Pins;
pub use span::{Cold, Span};

use crate::{clock, crash};

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
    /// Slices and objects that could not be written.
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
    /// Never held while the disk is at work. Whoever takes both takes the journal first.
    inner: Mutex<Inner>,
    /// Who has it makes and removes files, too.
    journal: Mutex<Journal>,
    waiting: Waiting,
    open: OpenFiles,
    purges: Purges,
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
    /// In the order in which it happened.
    later: VecDeque<Later>,
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
        // The folder itself, which can be opened on a file system that takes nothing any more.
        let lock = std::fs::File::open(folder)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other(format!("another process uses {}", folder.display())))?;
        for first in 0..=255_u8 {
            match std::fs::create_dir(folder.join(format!("{first:02x}"))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !is_full(&error) => return Err(error),
                _ => {}
            }
        }
        let (journal, index) = Journal::open(folder, short_time(clock::unix_seconds()))?;
        let clean = std::fs::remove_file(folder.join("clean")).is_ok();
        Ok(Self {
            inner: Mutex::new(Inner { index, later: VecDeque::new(), pending: 0, leaving: BTreeSet::new() }),
            journal: Mutex::new(journal),
            waiting: Waiting::default(),
            open: OpenFiles::default(),
            purges: Purges::open(folder),
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

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("no thread panics while it holds this")
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
            None if self.scanning.load(Ordering::Relaxed) => self.adopt_now(key)?,
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

    /// The same without it being a use, and when it was last asked for, in seconds since 1970.
    #[must_use]
    pub fn peek(&self, key: Key) -> Option<(Arc<Stored>, u32)> {
        let (generation, seen) = {
            let inner = self.inner();
            let entry = inner.index.entry(inner.index.find(key)?);
            (entry.generation(), entry.seen)
        };
        let (file, meta) = ObjectFile::open(&self.path(key), key).ok()?;
        (generation_of(file.seed()) == generation).then(|| (Arc::new(Stored::new(key, file, meta)), seen))
    }

    /// Which slices of it are here.
    #[must_use]
    pub fn present(&self, stored: &Stored) -> Vec<Range<u32>> {
        let inner = self.inner();
        let Some(slot) = self.slot_of(&inner, stored) else { return Vec::new() };
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for slice in (0..stored.layout().slices()).filter(|slice| inner.index.is_present(slot, *slice)) {
            match ranges.last_mut() {
                Some(last) if last.end == slice => last.end += 1,
                _ => ranges.push(slice..slice + 1),
            }
        }
        ranges
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
        if self.is_full() {
            return false;
        }
        self.inner().index.admits(key, self.options.max_size, self.options.min_uses)
    }

    /// Whether this object was asked for lately, without being stored. Asking is a use.
    #[must_use]
    pub fn asked_before(&self, key: Key) -> bool {
        !self.is_full() && self.inner().index.asked_before(key)
    }

    /// Makes a new object, in place of what its key had. It blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// When there is no room, or the file cannot be made. The object is then served without being stored.
    pub fn create(&self, key: Key, meta: Meta, length: u64) -> io::Result<Arc<Stored>> {
        self.create_unless(key, meta, length, &AtomicBool::new(false))
    }

    /// The same, unless nobody waits for it any more when the disk is ready.
    ///
    /// # Errors
    ///
    /// As [`Store::create`].
    pub fn create_unless(&self, key: Key, meta: Meta, length: u64, abandoned: &AtomicBool) -> io::Result<Arc<Stored>> {
        let _waiting = self.waiting.begin();
        let result = self.try_create(key, meta, length, abandoned);
        if let Err(error) = &result {
            self.failed_writes.fetch_add(u64::from(is_full(error)), Ordering::Relaxed);
            self.note_failure(error);
        }
        result
    }

    fn try_create(&self, key: Key, meta: Meta, length: u64, abandoned: &AtomicBool) -> io::Result<Arc<Stored>> {
        let seed = random();
        let slice_log2 = u8::try_from(self.options.slice_size.trailing_zeros()).expect("at most 63");
        let written = self.path(key).with_extension(format!("{:016x}-{seed:016x}", self.token));
        let remove_on = |error: io::Error| {
            let _ = std::fs::remove_file(&written);
            error
        };
        let file = ObjectFile::create(&written, key, &meta, length, slice_log2, seed).map_err(remove_on)?;
        crash::point("created");
        let stored = Arc::new(Stored::new(key, file, meta));
        let cost = stored.layout().data();
        self.reserve(cost).map_err(remove_on)?;
        let mut journal = self.journal();
        // What the key had before is gone when this begins.
        self.flush_into(&mut journal);
        let renamed = if self.is_closed() {
            Err(io::Error::other("the store is closed"))
        } else if abandoned.load(Ordering::Relaxed) {
            Err(io::Error::other("nobody waits for it any more"))
        } else {
            std::fs::rename(&written, self.path(key))
        };
        crash::point("renamed");
        let mut inner = self.inner();
        inner.pending -= cost;
        if let Err(error) = renamed {
            drop(inner);
            return Err(remove_on(error));
        }
        let now = short_time(clock::unix_seconds());
        let slot = inner.index.put(key, stored.layout(), stored.generation(), now);
        let flags = inner.index.entry(slot).flags();
        inner.note(Change::Put { key, length, flags });
        self.open.replace(&stored);
        drop(inner);
        self.flush_into(&mut journal);
        Ok(stored)
    }

    /// Stores a whole slice. It blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// When it was not stored: no room, or the object has been replaced.
    pub fn write_slice(&self, stored: &Stored, slice: u32, bytes: &[u8]) -> io::Result<()> {
        if self.is_full() {
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
        let _waiting = self.waiting.begin();
        let cost = stored.layout().slice_cost(slice);
        let reserved = self.reserve(cost);
        let held = reserved.is_ok();
        if let Err(error) = reserved.and_then(|()| stored.file.write_slice(slice, bytes)) {
            if held {
                self.inner().pending -= cost;
            }
            self.failed_writes.fetch_add(1, Ordering::Relaxed);
            self.note_failure(&error);
            return Err(error);
        }
        crash::point("summed");
        {
            let mut inner = self.inner();
            inner.pending -= cost;
            if self.is_closed() {
                return Err(io::Error::other("the store is closed"));
            }
            let Some(slot) = self.slot_of(&inner, stored) else {
                return Err(io::Error::other("the object has been replaced"));
            };
            inner.index.fill(slot, slice);
            inner.note(Change::Fill { key: stored.key, slice });
        }
        self.flush();
        crash::point("filled");
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A slice that the disk does not give: it counts as gone, so that a source is asked for it, and its room is given
    /// back when the disk answers again.
    pub fn give_up(&self, stored: &Stored, slice: u32) {
        let mut inner = self.inner();
        if let Some(slot) = self.slot_of(&inner, stored)
            && inner.index.is_present(slot, slice)
            && inner.leaving.insert((stored.key, slice))
        {
            inner.index.clear(slot, slice);
            inner.note(Change::Clear { key: stored.key, slice });
            let (key, generation) = (stored.key, stored.generation());
            inner.later.push_back(Later::Punch(Evicted { key, generation, slice, last: false }));
        }
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
                    inner.note(Change::Clear { key: stored.key, slice });
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

    /// Replaces the head, as after the origin said that the object is still good. It counts at once;
    /// [`Store::write_head`] writes it down.
    pub fn update(&self, stored: &Stored, meta: Meta) {
        *stored.meta.write().expect("no thread panics while it holds this") = Arc::new(meta);
    }

    /// Drops an object. Returns whether anything of it was stored. On the disk it is gone after [`Store::flush`].
    pub fn remove(&self, key: Key) -> bool {
        let removed = self.remove_if(key, |_| true);
        self.open.remove(key);
        removed
    }

    fn remove_if(&self, key: Key, is_meant: impl Fn(u32) -> bool) -> bool {
        let mut inner = self.inner();
        let meant = inner.index.find(key).is_some_and(|slot| is_meant(inner.index.entry(slot).generation()));
        if !meant || self.is_closed() {
            return false;
        }
        inner.index.remove(key);
        inner.note(Change::Remove { key });
        inner.later.push_back(Later::Unlink(key));
        true
    }

    /// Whether this object is the one that its key stands for.
    fn slot_of(&self, inner: &Inner, stored: &Stored) -> Option<u32> {
        if stored.is_replaced() {
            return None;
        }
        let slot = inner.index.find(stored.key)?;
        (inner.index.entry(slot).generation() == stored.generation()).then_some(slot)
    }

    /// What was purged by key.
    #[must_use]
    pub fn purges(&self) -> &Purges {
        &self.purges
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
