//! One object's file: a head with what is known of it, checksums, and the body at its place, with holes.
//!
//! ```text
//!   0          cap        2*cap            data             data + length
//!   │ head A   │ head B   │ checksums      │ body, sparse … │
//! ```
//!
//! A head is replaced by writing the other one with a higher number: whichever is whole and newer counts, so that
//! dying in between loses nothing. Checksums are of blocks of 64 KiB, so that a small range need not read a whole
//! slice to be trusted. They are written after the bytes they vouch for, and are seeded with the generation and the
//! block's number: bytes that are torn, rotted, punched out, or left from another generation do not pass.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use bytes::Bytes;
use rustix::fd::AsFd;
use rustix::fs::{FallocateFlags, fallocate, sendfile};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use twox_hash::XxHash3_64;

use super::key::Key;
use super::meta::Meta;
use crate::crash;

/// What a checksum covers.
pub const BLOCK: u64 = 64 << 10;

/// The bodies of open objects that are no longer than this are in memory, too.
const SMALL: u64 = 8 << 10;

const MAGIC: [u8; 8] = *b"WEDGE\x00\x00\x01";
const FIXED: usize = 72;
/// Sizes of a head. The first leaves room for the checksums of one slice in the same page.
const CAPS: [u64; 3] = [1984, 16 << 10, 256 << 10];

/// Where things are in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Which of the sizes of a head.
    pub class: u8,
    /// The length of the body.
    pub length: u64,
    /// Slices are two to this power long.
    pub slice_log2: u8,
}

impl Layout {
    /// The smallest that has room for a head of this many bytes.
    fn fitting(head: usize, length: u64, slice_log2: u8) -> Option<Self> {
        let class = CAPS.iter().position(|cap| head as u64 <= *cap)?;
        Some(Self { class: u8::try_from(class).expect("there are three"), length, slice_log2 })
    }

    fn cap(self) -> u64 {
        CAPS[usize::from(self.class)]
    }

    fn blocks(self) -> u64 {
        self.length.div_ceil(BLOCK)
    }

    /// Where the body begins, which is also what the file takes besides its slices.
    #[must_use]
    pub fn data(self) -> u64 {
        (2 * self.cap() + 8 * self.blocks()).next_multiple_of(4096)
    }

    /// The length of a slice that is not the last.
    #[must_use]
    pub fn slice_size(self) -> u64 {
        1 << self.slice_log2
    }

    /// How many slices there are. An empty body has none.
    #[must_use]
    pub fn slices(self) -> u32 {
        u32::try_from(self.length.div_ceil(self.slice_size())).expect("lengths are checked when objects are made")
    }

    /// The length of this slice.
    #[must_use]
    pub fn slice_length(self, slice: u32) -> u64 {
        self.slice_size().min(self.length.saturating_sub(u64::from(slice) << self.slice_log2))
    }

    /// What this slice takes on the disk.
    #[must_use]
    pub fn slice_cost(self, slice: u32) -> u64 {
        self.slice_length(slice).next_multiple_of(4096)
    }
}

/// An open object file.
#[derive(Debug)]
pub(super) struct ObjectFile {
    file: File,
    key: Key,
    layout: Layout,
    /// Names this generation of the object.
    seed: u64,
    state: Mutex<State>,
    /// Held while something is written, which nobody who reads waits for.
    writing: Mutex<()>,
    /// The whole body, where it is small and has been read.
    small: OnceLock<Bytes>,
}

#[derive(Debug)]
struct State {
    sums: Vec<u64>,
    /// A bit for each block: it was read and found right.
    checked: Vec<u64>,
    /// How often a slice was given up.
    punched: u64,
    sequence: u64,
}

impl State {
    fn new(sums: Vec<u64>, sequence: u64) -> Self {
        Self { checked: vec![0; sums.len().div_ceil(64)], sums, punched: 0, sequence }
    }

    fn is_checked(&self, blocks: std::ops::Range<usize>) -> bool {
        blocks.into_iter().all(|block| self.checked[block / 64] & 1 << (block % 64) != 0)
    }

    fn set_checked(&mut self, blocks: std::ops::Range<usize>, to: bool) {
        for block in blocks {
            let bit = 1 << (block % 64);
            if to {
                self.checked[block / 64] |= bit;
            } else {
                self.checked[block / 64] &= !bit;
            }
        }
    }
}

/// What came of reading.
#[derive(Debug)]
pub enum Read {
    /// The bytes, and they are right.
    Bytes(Bytes),
    /// They would have to come from the disk, which takes a while.
    WouldBlock,
    /// They are not what was written here.
    Damaged,
}

impl ObjectFile {
    /// Makes the file at `path` without any slice.
    pub(super) fn create(
        path: &Path,
        key: Key,
        meta: &Meta,
        length: u64,
        slice_log2: u8,
        seed: u64,
    ) -> io::Result<Self> {
        if length.div_ceil(1 << slice_log2) > u64::from(u32::MAX >> 4) {
            return Err(io::Error::other("the object is too large"));
        }
        let text = encode(meta)?;
        let layout = Layout::fitting(FIXED + text.len(), length, slice_log2)
            .ok_or_else(|| io::Error::other("the response's head is too large to store"))?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all_at(&head(&layout, key, seed, 1, &text), 0)?;
        file.set_len(layout.data() + length)?;
        let blocks = usize::try_from(layout.blocks()).map_err(io::Error::other)?;
        let state = Mutex::new(State::new(vec![0; blocks], 1));
        Ok(Self { file, key, layout, seed, state, writing: Mutex::new(()), small: OnceLock::new() })
    }

    /// Opens what is at `path`, if it is whole and the object `key`.
    pub(super) fn open(path: &Path, key: Key) -> io::Result<(Self, Meta)> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            // What is there can be read all the same.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ROFS) => File::open(path)?,
            opened => opened?,
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the object's head is damaged");
        let mut newest: Option<(u64, Layout, u64, Meta)> = None;
        let mut page = vec![0; 4096];
        let read = read_full(&file, &mut page, 0)?;
        page.truncate(read);
        for cap in CAPS {
            for place in [0, cap] {
                if let Some(found) = parse(&file, &page, place, cap, key)
                    && newest.as_ref().is_none_or(|(sequence, ..)| found.0 > *sequence)
                {
                    newest = Some(found);
                }
            }
        }
        let (sequence, layout, seed, meta) = newest.ok_or_else(damaged)?;
        if file.metadata()?.len() != layout.data() + layout.length {
            return Err(damaged());
        }
        let mut table = vec![0; usize::try_from(layout.blocks() * 8).map_err(io::Error::other)?];
        if read_full(&file, &mut table, 2 * layout.cap())? != table.len() {
            return Err(damaged());
        }
        let sums = table.chunks_exact(8).map(|sum| u64::from_le_bytes(sum.try_into().expect("eight"))).collect();
        let state = Mutex::new(State::new(sums, sequence));
        Ok((Self { file, key, layout, seed, state, writing: Mutex::new(()), small: OnceLock::new() }, meta))
    }

    /// Where things are.
    #[must_use]
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Names this generation.
    #[must_use]
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The whole body, where it is small and has been read.
    pub(super) fn small(&self) -> Option<Bytes> {
        self.small.get().cloned()
    }

    /// Whether all of this slice has checksums.
    pub(super) fn has_sums(&self, slice: u32) -> bool {
        let (first, last) = self.blocks_of(slice);
        let state = self.state.lock().expect("no thread panics while it holds this");
        state.sums[first..last].iter().all(|sum| *sum != 0)
    }

    fn blocks_of(&self, slice: u32) -> (usize, usize) {
        let first = (u64::from(slice) << self.layout.slice_log2) / BLOCK;
        let last = first + self.layout.slice_length(slice).div_ceil(BLOCK);
        let small = |block| usize::try_from(block).expect("the table is in memory");
        (small(first), small(last))
    }

    /// Writes a whole slice: the bytes, then the checksums that make them count.
    pub(super) fn write_slice(&self, slice: u32, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 != self.layout.slice_length(slice) {
            return Err(io::Error::other("this is not the whole slice"));
        }
        let (first, last) = self.blocks_of(slice);
        let sums: Vec<u64> = bytes
            .chunks(usize::try_from(BLOCK).expect("it is small"))
            .zip(first as u64..)
            .map(|(block, number)| self.sum(number, block))
            .collect();
        let _writing = self.writing.lock().expect("no thread panics while it holds this");
        self.file.write_all_at(bytes, self.layout.data() + (u64::from(slice) << self.layout.slice_log2))?;
        crash::point("written");
        let written: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        self.file.write_all_at(&written, 2 * self.layout.cap() + 8 * first as u64)?;
        let mut state = self.state.lock().expect("no thread panics while it holds this");
        state.sums[first..last].copy_from_slice(&sums);
        state.set_checked(first..last, false);
        Ok(())
    }

    /// Gives a slice's place on the disk back.
    pub(super) fn punch(&self, slice: u32) -> io::Result<()> {
        let (first, last) = self.blocks_of(slice);
        let _writing = self.writing.lock().expect("no thread panics while it holds this");
        {
            let mut state = self.state.lock().expect("no thread panics while it holds this");
            state.sums[first..last].fill(0);
            state.set_checked(first..last, false);
            state.punched += 1;
        }
        let zeroes = vec![0; 8 * (last - first)];
        self.file.write_all_at(&zeroes, 2 * self.layout.cap() + 8 * first as u64)?;
        crash::point("unsummed");
        let offset = self.layout.data() + (u64::from(slice) << self.layout.slice_log2);
        let length = self.layout.slice_cost(slice);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, offset, length).map_err(Into::into)
    }

    /// Where a read of at most `limit` bytes from `offset` ends: never beyond the slice.
    fn end_of(&self, offset: u64, limit: u64) -> u64 {
        let slice_end = ((offset >> self.layout.slice_log2) + 1) << self.layout.slice_log2;
        self.layout.length.min(slice_end).min(offset.saturating_add(limit))
    }

    /// Reads from `offset` of the body, at most `limit` bytes and never beyond the slice, once the checksums agree.
    /// With `patient` unset it does not wait for the disk.
    pub(super) fn read(&self, offset: u64, limit: u64, patient: bool) -> io::Result<Read> {
        let end = self.end_of(offset, limit);
        if offset >= end {
            return Ok(Read::Bytes(Bytes::new()));
        }
        let small = |offset: u64| usize::try_from(offset).expect("it is in memory");
        if let Some(body) = self.small.get() {
            return Ok(Read::Bytes(body.slice(small(offset)..small(end))));
        }
        // Only whole blocks have checksums. What was right and is still in the kernel's memory needs none.
        let blocks = small(offset / BLOCK)..small(end.div_ceil(BLOCK));
        let (trusted, punched) = {
            let state = self.state.lock().expect("no thread panics while it holds this");
            (!patient && state.is_checked(blocks.clone()), state.punched)
        };
        let (from, until) = if trusted {
            (offset, end)
        } else {
            (offset / BLOCK * BLOCK, end.next_multiple_of(BLOCK).min(self.layout.length))
        };
        let mut bytes = vec![0; small(until - from)];
        let read = if patient {
            read_full(&self.file, &mut bytes, self.layout.data() + from)?
        } else {
            match self.read_now(from, &mut bytes)? {
                Some(read) => read,
                None => return Ok(Read::WouldBlock),
            }
        };
        if read < bytes.len() {
            return Ok(Read::Damaged);
        }
        let mut state = self.state.lock().expect("no thread panics while it holds this");
        if trusted {
            // It may have been given up while it was read: then it is looked at again, with its checksums.
            if state.punched != punched {
                return Ok(Read::WouldBlock);
            }
        } else {
            for (block, number) in bytes.chunks(small(BLOCK)).zip(from / BLOCK..) {
                let expected = state.sums[small(number)];
                if expected == 0 || expected != self.sum(number, block) {
                    state.set_checked(blocks, false);
                    return Ok(Read::Damaged);
                }
            }
            state.set_checked(blocks, true);
        }
        drop(state);
        let bytes = Bytes::from(bytes);
        if bytes.len() as u64 == self.layout.length && self.layout.length <= SMALL {
            let _ = self.small.set(bytes.clone());
        }
        Ok(Read::Bytes(bytes.slice(small(offset - from)..small(end - from))))
    }

    /// Fills the buffer with what the kernel has in memory. `None`: it does not have all of it.
    pub(super) fn read_now(&self, offset: u64, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        let mut done = 0;
        while done < bytes.len() {
            let at = self.layout.data() + offset + done as u64;
            let mut buffers = [io::IoSliceMut::new(&mut bytes[done..])];
            match preadv2(&self.file, &mut buffers, at, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(Errno::AGAIN) => return Ok(None),
                // A file system that does not know the question.
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    done += self.file.read_at(&mut bytes[done..], at)?
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(done))
    }

    /// Up to where what was found right reaches from `offset`, at most `limit` bytes and never beyond the slice. `None`
    /// where it reaches nowhere.
    pub(super) fn checked_until(&self, offset: u64, limit: u64) -> Option<u64> {
        let end = self.end_of(offset, limit);
        let small = |offset: u64| usize::try_from(offset).expect("the table is in memory");
        let state = self.state.lock().expect("no thread panics while it holds this");
        let blocks = small(offset / BLOCK)..small(end.div_ceil(BLOCK));
        let unchecked = blocks.into_iter().find(|block| !state.is_checked(*block..block + 1));
        let until = unchecked.map_or(end, |block| end.min(block as u64 * BLOCK));
        (until > offset).then_some(until)
    }

    /// Sends from `offset` without copying. `None`: the kernel does not have it in memory.
    pub(super) fn send(&self, to: impl AsFd, offset: u64, length: usize) -> io::Result<Option<usize>> {
        let end = offset + length as u64;
        let starts = (offset / BLOCK + 1..end.div_ceil(BLOCK)).map(|block| block * BLOCK);
        for at in [offset, end - 1].into_iter().chain(starts) {
            if self.read_now(at, &mut [0])?.is_none() {
                return Ok(None);
            }
        }
        let mut at = self.layout.data() + offset;
        Ok(Some(sendfile(to, &self.file, Some(&mut at), length)?))
    }

    /// Replaces what is known of the object.
    pub(super) fn rewrite(&self, meta: &Meta) -> io::Result<()> {
        let text = encode(meta)?;
        if (FIXED + text.len()) as u64 > self.layout.cap() {
            return Err(io::Error::other("the new head does not fit in the place of the old"));
        }
        let _writing = self.writing.lock().expect("no thread panics while it holds this");
        let sequence = self.state.lock().expect("no thread panics while it holds this").sequence + 1;
        let place = if sequence % 2 == 1 { 0 } else { self.layout.cap() };
        self.file.write_all_at(&head(&self.layout, self.key, self.seed, sequence, &text), place)?;
        self.state.lock().expect("no thread panics while it holds this").sequence = sequence;
        Ok(())
    }

    fn sum(&self, block: u64, bytes: &[u8]) -> u64 {
        let sum = XxHash3_64::oneshot_with_seed(self.seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15), bytes);
        // Zero stands for "nothing here".
        if sum == 0 { 1 } else { sum }
    }
}

fn encode(meta: &Meta) -> io::Result<Vec<u8>> {
    serde_json::to_vec(meta).map_err(io::Error::other)
}

fn head(layout: &Layout, key: Key, seed: u64, sequence: u64, text: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(FIXED + text.len());
    head.extend(MAGIC);
    head.extend([layout.class, layout.slice_log2, 0, 0]);
    head.extend(u32::try_from(text.len()).expect("heads are small").to_le_bytes());
    head.extend(key.0);
    head.extend(layout.length.to_le_bytes());
    head.extend(seed.to_le_bytes());
    head.extend(sequence.to_le_bytes());
    head.extend([0; 8]);
    let sum = XxHash3_64::oneshot(&head).wrapping_add(XxHash3_64::oneshot(text));
    head.extend(sum.to_le_bytes());
    head.extend(text);
    head
}

/// The head at `place`, if there is a whole one of this size: its number, layout, seed and text.
fn parse(file: &File, page: &[u8], place: u64, cap: u64, key: Key) -> Option<(u64, Layout, u64, Meta)> {
    let fixed = slice_of(file, page, place, FIXED)?;
    let number = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("eight"));
    if fixed[..8] != MAGIC || fixed[16..32] != key.0 {
        return None;
    }
    let layout = Layout { class: fixed[8], slice_log2: fixed[9], length: number(32) };
    if CAPS.get(usize::from(layout.class)) != Some(&cap)
        || !(16..=30).contains(&layout.slice_log2)
        || layout.length.div_ceil(layout.slice_size()) > u64::from(u32::MAX >> 4)
    {
        return None;
    }
    let length = u32::from_le_bytes(fixed[12..16].try_into().expect("four"));
    if u64::from(length) + FIXED as u64 > cap {
        return None;
    }
    let text = slice_of(file, page, place + FIXED as u64, usize::try_from(length).ok()?)?;
    let sum = XxHash3_64::oneshot(&fixed[..64]).wrapping_add(XxHash3_64::oneshot(&text));
    if sum != number(64) {
        return None;
    }
    Some((number(48), layout, number(40), serde_json::from_slice(&text).ok()?))
}

/// From the page that has been read already, or from the file.
fn slice_of(file: &File, page: &[u8], place: u64, length: usize) -> Option<Vec<u8>> {
    let start = usize::try_from(place).ok()?;
    if let Some(bytes) = page.get(start..start + length) {
        return Some(bytes.to_vec());
    }
    let mut bytes = vec![0; length];
    (read_full(file, &mut bytes, place).ok()? == length).then_some(bytes)
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
