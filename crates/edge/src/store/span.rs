//! Parts of slices on their way to clients, as places in a file rather than as bytes in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use rustix::fd::AsFd;

use super::{Read, Store, Stored, slice_of};

/// A part of one slice that is on the disk and was found right. As long as it lives, the slice is not evicted.
#[derive(Debug)]
pub struct Span {
    stored: Arc<Stored>,
    slice: u32,
    /// In the body.
    offset: u64,
    end: u64,
}

impl Span {
    /// Bytes that are left of it.
    #[must_use]
    pub fn left(&self) -> usize {
        usize::try_from(self.end - self.offset).expect("it is a part of a slice")
    }

    /// So many bytes are done with.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.left(), "no more can be done than there is");
        self.offset += bytes as u64;
    }

    /// Sends from its beginning, at most `limit` bytes, without copying them. `None`: they would have to come from the
    /// disk first.
    ///
    /// # Errors
    ///
    /// When nothing could be sent, such as when `to` takes no more at the moment.
    pub fn send(&self, to: impl AsFd, limit: usize) -> io::Result<Option<usize>> {
        self.stored.file.send(to, self.offset, limit.min(self.left()))
    }

    /// Reads from its beginning as much as the buffer has room for, which must not be more than there is. `false`: it
    /// would have to come from the disk first.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<bool> {
        match self.stored.file.read_now(self.offset, buffer)? {
            Some(read) if read == buffer.len() => Ok(true),
            Some(_) => Err(damaged()),
            None => Ok(false),
        }
    }

    /// What is left of it, for [`Cold::warm`].
    #[must_use]
    pub fn cold(&self) -> Cold {
        Cold { stored: self.stored.clone(), offset: self.offset, end: self.end }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.stored.pins.release(self.slice);
    }
}

/// A part of a file that the kernel does not have in memory any more.
#[derive(Debug)]
pub struct Cold {
    stored: Arc<Stored>,
    offset: u64,
    end: u64,
}

impl Cold {
    /// Brings it from the disk, and checks it. It blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// When the disk fails, or what it gives is not what was written.
    pub fn warm(self) -> io::Result<()> {
        let mut offset = self.offset;
        while offset < self.end {
            match self.stored.file.read(offset, super::BLOCK - offset % super::BLOCK, true)? {
                Read::Bytes(bytes) if !bytes.is_empty() => offset += bytes.len() as u64,
                Read::Bytes(_) | Read::WouldBlock | Read::Damaged => return Err(damaged()),
            }
        }
        Ok(())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the disk gives something else than was written")
}

/// How many spans there are of each slice of an object.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<BTreeMap<u32, u32>>);

impl Pins {
    fn add(&self, slice: u32) {
        *self.0.lock().expect("no thread panics while it holds this").entry(slice).or_insert(0) += 1;
    }

    fn release(&self, slice: u32) {
        let mut pins = self.0.lock().expect("no thread panics while it holds this");
        if let Some(count) = pins.get_mut(&slice) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&slice);
            }
        }
    }

    pub(super) fn hold(&self, slice: u32) -> bool {
        self.0.lock().expect("no thread panics while it holds this").contains_key(&slice)
    }
}

impl Store {
    /// What can be sent from `offset` without another look at it: at most `limit` bytes, of one slice. `None`: it has to
    /// be read first, or is not here.
    #[must_use]
    pub fn span(&self, stored: &Arc<Stored>, offset: u64, limit: u64) -> Option<Span> {
        let slice = slice_of(stored.layout(), offset);
        let inner = self.inner();
        // Under the lock, so that nothing is evicted between the look and the pin.
        if let Some(slot) = self.slot_of(&inner, stored)
            && !inner.index.is_present(slot, slice)
        {
            return None;
        }
        let end = stored.file.checked_until(offset, limit)?;
        stored.pins.add(slice);
        Some(Span { stored: stored.clone(), slice, offset, end })
    }
}
