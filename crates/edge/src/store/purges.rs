//! What was purged by key, and when, counted in purges.
//!
//! Every object knows which number the last purge had when it was asked for. One of whose keys was purged since then is
//! not given out any more, whether it is on the disk, is being fetched, or was unknown: nothing has to be found for a
//! purge to hold. What it takes on the disk is given back beside the service.
//!
//! The file has a record a purge, appended before the purge is acknowledged, so that a restart forgets none.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

use twox_hash::XxHash3_64;

use super::key::Key;
use crate::clock;

const MAGIC: [u8; 8] = *b"WPURGE\x00\x01";
const RECORD: usize = 32;
/// Keys that are remembered; of more, the oldest are forgotten, which by then are long swept from the disk.
const MOST: usize = 65_536;
/// What a sibling has may be as it was before the purge, for so many seconds.
const RECENT: u64 = 60;

/// See the module.
#[derive(Debug)]
pub struct Purges {
    path: PathBuf,
    /// None: it cannot be written.
    file: Mutex<Option<File>>,
    table: RwLock<BTreeMap<Key, Purged>>,
    count: AtomicU64,
    /// Up to which purge the disk has been swept.
    swept: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Purged {
    number: u64,
    /// In seconds since 1970; zero: before the start.
    at: u64,
}

impl Purges {
    /// Of the folder of a cache. What cannot be read is as if it had not been; what cannot be written counts until the
    /// end.
    pub(super) fn open(folder: &Path) -> Self {
        let path = folder.join("purges");
        let bytes = std::fs::read(&path).unwrap_or_default();
        let (table, whole) = read(&bytes);
        // Numbers begin with the time, so that they grow even when the file is lost.
        let count = table.values().map(|purged| purged.number).fold(clock::unix_seconds(), u64::max);
        let written = if whole && bytes.len() <= 8 + 2 * RECORD * table.len() && !bytes.is_empty() {
            OpenOptions::new().append(true).open(&path)
        } else {
            write_anew(&path, &table)
        };
        if let Err(error) = &written {
            tracing::warn!(%error, "purges by key are not written down: they hold until the end");
        }
        Self {
            path,
            file: Mutex::new(written.ok()),
            swept: AtomicU64::new(if table.is_empty() { count } else { 0 }),
            table: RwLock::new(table),
            count: AtomicU64::new(count),
        }
    }

    /// From now on, nothing with this key counts that was asked for before. It holds at once; whoever wants it to hold
    /// after a restart calls [`Purges::write`], too.
    pub fn purge(&self, key: Key) -> u64 {
        let mut table = self.table.write().expect("no thread panics while it holds this");
        let number = self.count.load(Ordering::Relaxed) + 1;
        table.insert(key, Purged { number, at: clock::unix_seconds() });
        if table.len() > MOST {
            let mut numbers: Vec<u64> = table.values().map(|purged| purged.number).collect();
            numbers.sort_unstable();
            let oldest = numbers[MOST / 8];
            table.retain(|_, purged| purged.number > oldest);
        }
        // After the table: who sees the number finds the key.
        self.count.store(number, Ordering::Release);
        number
    }

    /// Writes a purge down. It blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// When it is not on the disk.
    pub fn write(&self, key: Key, number: u64) -> io::Result<()> {
        let mut file = self.file.lock().expect("no thread panics while it holds this");
        if file.is_none() {
            let table = self.table.read().expect("no thread panics while it holds this").clone();
            *file = Some(write_anew(&self.path, &table)?);
            return Ok(());
        }
        let open = file.as_mut().expect("it was looked at");
        let written = open.write_all(&record(key, number)).and_then(|()| open.sync_data());
        if written.is_err() {
            // Half a record may be there: the next one begins a new file.
            *file = None;
        }
        written
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.read().expect("no thread panics while it holds this").is_empty()
    }

    /// The number of the last one.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Whether any of these keys was purged after the purge of this number.
    #[must_use]
    pub fn since(&self, keys: &[Key], number: u64) -> bool {
        let table = self.table.read().expect("no thread panics while it holds this");
        keys.iter().any(|key| table.get(key).is_some_and(|purged| purged.number > number))
    }

    /// Whether any of these keys was purged a moment ago, so that others may not know of it yet.
    #[must_use]
    pub fn lately(&self, keys: &[Key]) -> bool {
        let table = self.table.read().expect("no thread panics while it holds this");
        let oldest = clock::unix_seconds().saturating_sub(RECENT);
        keys.iter().any(|key| table.get(key).is_some_and(|purged| purged.at > oldest))
    }

    /// Whether something may be on the disk that was purged; from now on that is somebody's task.
    pub(super) fn take_unswept(&self) -> bool {
        let count = self.count();
        self.swept.swap(count, Ordering::Relaxed) < count
    }
}

fn record(key: Key, number: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record[8..24].copy_from_slice(&key.0);
    let sum = XxHash3_64::oneshot(&record[..24]);
    record[24..].copy_from_slice(&sum.to_le_bytes());
    record
}

/// What is in a file, up to the first record that is none, and whether that is all of it.
fn read(bytes: &[u8]) -> (BTreeMap<Key, Purged>, bool) {
    let mut table = BTreeMap::new();
    let Some(records) = bytes.strip_prefix(&MAGIC) else { return (table, bytes.is_empty()) };
    for read in records.chunks(RECORD) {
        let Some((fields, sum)) = read.split_last_chunk::<8>().filter(|(fields, _)| fields.len() == 24) else {
            return (table, false);
        };
        if XxHash3_64::oneshot(fields).to_le_bytes() != *sum {
            return (table, false);
        }
        let number = u64::from_le_bytes(fields[..8].try_into().expect("eight"));
        table.insert(Key(fields[8..].try_into().expect("sixteen")), Purged { number, at: 0 });
    }
    (table, true)
}

fn write_anew(path: &Path, table: &BTreeMap<Key, Purged>) -> io::Result<File> {
    let written = path.with_extension("new");
    let mut bytes = MAGIC.to_vec();
    for (key, purged) in table {
        bytes.extend(record(*key, purged.number));
    }
    let mut file = File::create(&written)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    std::fs::rename(&written, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key([number; 16])
    }

    #[test]
    fn a_purge_is_of_what_was_asked_for_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let purges = Purges::open(folder.path());
        let before = purges.count();
        let number = purges.purge(key(1));
        purges.write(key(1), number).unwrap();
        assert!(purges.since(&[key(2), key(1)], before) && !purges.since(&[key(2)], before));
        assert!(!purges.since(&[key(1)], purges.count()));
        assert!(purges.lately(&[key(1)]) && !purges.lately(&[key(2)]));
        assert!(purges.take_unswept() && !purges.take_unswept());
        drop(purges);
        let again = Purges::open(folder.path());
        assert!(again.count() >= number && Purges::open(&folder.path().join("none")).count() > 1_700_000_000);
        assert!(again.since(&[key(1)], before) && !again.lately(&[key(1)]));
        assert!(again.take_unswept());
    }

    #[test]
    fn half_a_record_costs_none_of_those_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let purges = Purges::open(folder.path());
        for name in 1..=5 {
            let number = purges.purge(key(name));
            purges.write(key(name), number).unwrap();
        }
        drop(purges);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let purges = Purges::open(folder.path());
            let whole = cut.saturating_sub(8) / RECORD;
            let known: Vec<u8> = (1..=9).filter(|name| purges.since(&[key(*name)], 0)).collect();
            assert_eq!(known.len(), whole, "{cut}: {known:?}");
            // And what comes after it counts.
            let number = purges.purge(key(9));
            purges.write(key(9), number).unwrap();
            drop(purges);
            assert!(Purges::open(folder.path()).since(&[key(9)], number - 1), "{cut}");
        }
    }

    #[test]
    fn a_table_that_is_full_forgets_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let purges = Purges::open(folder.path());
        for number in 0..MOST as u64 + 10 {
            purges.purge(Key::of("x").derived(number));
        }
        assert!(!purges.since(&[Key::of("x").derived(0)], 0));
        assert!(purges.since(&[Key::of("x").derived(MOST as u64)], 0));
    }
}
