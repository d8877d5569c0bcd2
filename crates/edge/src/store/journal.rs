//! The index on disk: a snapshot now and then, and a journal of what happened since.
//!
//! Every change is written to the journal as it happens, so that a killed process finds its index as it was. A snapshot
//! begins a new journal. What a lost journal did not tell (the machine lost power) is found by looking through the
//! folder, which the store does beside its service.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::index::Index;
use super::key::Key;
use crate::crash;

const RECORD: usize = 40;
const MAGIC: [u8; 8] = *b"WINDEX\x00\x01";
/// A journal longer than this, and than four times what a snapshot would be, is worth a snapshot.
const LONG: u64 = 16 << 20;

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put { key: Key, length: u64, flags: u32 },
    Fill { key: Key, slice: u32 },
    Clear { key: Key, slice: u32 },
    Remove { key: Key },
}

#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    number: u64,
    /// None: it could not be made.
    file: Option<File>,
    written: u64,
    /// Something could not be written: only a snapshot tells the whole again.
    broken: bool,
}

impl Journal {
    /// Reads what is in `folder`. `now` is when objects count as last asked for whose time is not known.
    pub(super) fn open(folder: &Path, now: u32) -> io::Result<(Self, Index)> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("journal-")).and_then(|n| n.parse().ok());
            numbers.extend(number.map(|number: u64| number));
        }
        numbers.sort_unstable();
        let mut index = Index::default();
        let mut from = 0;
        for number in numbers.iter().rev() {
            if let Ok(bytes) = std::fs::read(folder.join(format!("index-{number}")))
                && let Some(read) = read_snapshot(&bytes)
            {
                (index, from) = (read, *number);
                break;
            }
        }
        for number in numbers.iter().filter(|number| **number >= from) {
            let mut bytes = Vec::new();
            File::open(folder.join(format!("journal-{number}")))?.read_to_end(&mut bytes)?;
            for record in bytes.chunks_exact(RECORD) {
                // A record that is not whole is the last one written.
                let Some(change) = decode(record) else { break };
                apply(&mut index, change, now);
            }
        }
        let number = numbers.last().map_or(1, |last| last + 1);
        // A disk that takes nothing can be read from all the same.
        let mut journal = match Self::begin(folder, number) {
            Ok(journal) => journal,
            Err(error) => {
                tracing::warn!(%error, "failed to begin a journal of the cache; what changes is found by the next start");
                Self { folder: folder.to_owned(), number, file: None, written: 0, broken: true }
            }
        };
        if let Err(error) = journal.write_snapshot(&snapshot(&index)) {
            tracing::warn!(%error, "failed to write the cache's index");
        }
        Ok((journal, index))
    }

    fn begin(folder: &Path, number: u64) -> io::Result<Self> {
        let path = folder.join(format!("journal-{number}"));
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { folder: folder.to_owned(), number, file: Some(file), written: 0, broken: false })
    }

    pub(super) fn write(&mut self, change: Change) {
        if self.broken {
            return;
        }
        match self.file.as_mut().map(|file| file.write_all(&encode(change))) {
            Some(Ok(())) => self.written += RECORD as u64,
            // A disk that is full: what is missing is found by looking through the folder after the next start.
            Some(Err(_)) | None => self.broken = true,
        }
        crash::point("journaled");
    }

    /// Whether a snapshot would be worth its while.
    pub(super) fn is_long(&self, index: &Index) -> bool {
        self.broken || self.written > LONG.max(4 * RECORD as u64 * (index.objects() as u64 + index.slices()))
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Begins a new journal. Until [`Self::write_snapshot`] has been called with what `index` was now, the old ones
    /// count as well.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        *self = Self::begin(&self.folder, self.number + 1)?;
        Ok(())
    }

    pub(super) fn place(&self) -> (PathBuf, u64) {
        (self.folder.clone(), self.number)
    }

    fn write_snapshot(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_snapshot(&self.folder, self.number, bytes)
    }
}

/// Writes what [`snapshot`] made, and removes what is older.
pub(super) fn write_snapshot(folder: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
    let written = folder.join(format!("index-{number}.new"));
    if let Err(error) = std::fs::write(&written, bytes) {
        // Half of it only takes room.
        let _ = std::fs::remove_file(&written);
        return Err(error);
    }
    crash::point("snapshot");
    std::fs::rename(&written, folder.join(format!("index-{number}")))?;
    crash::point("snapshot-named");
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let older = name.to_str().and_then(|name| {
            let number_of = name.strip_prefix("journal-").or_else(|| name.strip_prefix("index-"))?;
            number_of.split('.').next()?.parse::<u64>().ok()
        });
        if older.is_some_and(|older| older < number) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The index as bytes: the objects, then both queues, then a checksum of all.
pub(super) fn snapshot(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40 + index.objects() * 48);
    bytes.extend(MAGIC);
    bytes.extend((index.objects() as u64).to_le_bytes());
    let mut places = Vec::new();
    for (place, slot) in (0_u32..).zip(index.live()) {
        let entry = index.entry(slot);
        bytes.extend(entry.key.0);
        bytes.extend(entry.layout().length.to_le_bytes());
        bytes.extend(entry.flags().to_le_bytes());
        bytes.extend(entry.seen.to_le_bytes());
        let slot = slot as usize;
        places.resize(places.len().max(slot + 1), 0);
        places[slot] = place;
    }
    for queue in index.queued() {
        let count = bytes.len();
        bytes.extend([0; 8]);
        let mut items = 0_u64;
        for item in queue {
            bytes.extend(places[item.slot as usize].to_le_bytes());
            // The top bits have how often it was wanted; there are never that many slices.
            let wanted = u32::from(index.wanted(item.slot, item.slice)) << 28;
            bytes.extend((item.slice | wanted).to_le_bytes());
            items += 1;
        }
        bytes[count..count + 8].copy_from_slice(&items.to_le_bytes());
    }
    let sum = XxHash3_64::oneshot(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn read_snapshot(bytes: &[u8]) -> Option<Index> {
    let (bytes, sum) = bytes.split_last_chunk::<8>()?;
    if XxHash3_64::oneshot(bytes) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    let objects = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
    let mut index = Index::with_capacity(objects);
    for _ in 0..objects {
        let key = Key(take(&mut rest)?);
        let length = u64::from_le_bytes(take(&mut rest)?);
        let flags = u32::from_le_bytes(take(&mut rest)?);
        let seen = u32::from_le_bytes(take(&mut rest)?);
        index.put_raw(key, length, flags, seen);
    }
    for main in [false, true] {
        let items = u64::from_le_bytes(take(&mut rest)?);
        for _ in 0..items {
            let place = u32::from_le_bytes(take(&mut rest)?);
            let slice = u32::from_le_bytes(take(&mut rest)?);
            if place as usize >= objects {
                return None;
            }
            let wanted = u8::try_from(slice >> 28).expect("four bits");
            index.restore(place, slice & (u32::MAX >> 4), main, wanted);
        }
    }
    Some(index)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn apply(index: &mut Index, change: Change, now: u32) {
    match change {
        Change::Put { key, length, flags } => {
            index.put_raw(key, length, flags, now);
        }
        Change::Fill { key, slice } => {
            if let Some(slot) = index.find(key) {
                index.restore(slot, slice, false, 0);
            }
        }
        Change::Clear { key, slice } => {
            if let Some(slot) = index.find(key) {
                index.clear(slot, slice);
            }
        }
        Change::Remove { key } => {
            index.remove(key);
        }
    }
}

fn encode(change: Change) -> [u8; RECORD] {
    let (operation, key, slice, length, flags) = match change {
        Change::Put { key, length, flags } => (1, key, 0, length, flags),
        Change::Fill { key, slice } => (2, key, slice, 0, 0),
        Change::Clear { key, slice } => (3, key, slice, 0, 0),
        Change::Remove { key } => (4, key, 0, 0, 0),
    };
    let mut record = [0; RECORD];
    record[0] = operation;
    record[4..8].copy_from_slice(&slice.to_le_bytes());
    record[8..24].copy_from_slice(&key.0);
    record[24..32].copy_from_slice(&length.to_le_bytes());
    record[32..36].copy_from_slice(&flags.to_le_bytes());
    let sum = XxHash3_64::oneshot(&record[..36]).to_le_bytes();
    record[36..].copy_from_slice(&sum[..4]);
    record
}

fn decode(record: &[u8]) -> Option<Change> {
    let four = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("four"));
    if XxHash3_64::oneshot(&record[..36]).to_le_bytes()[..4] != record[36..] {
        return None;
    }
    let key = Key(record[8..24].try_into().ok()?);
    let length = u64::from_le_bytes(record[24..32].try_into().ok()?);
    match record[0] {
        1 => Some(Change::Put { key, length, flags: four(32) }),
        2 => Some(Change::Fill { key, slice: four(4) }),
        3 => Some(Change::Clear { key, slice: four(4) }),
        4 => Some(Change::Remove { key }),
        _ => None,
    }
}
