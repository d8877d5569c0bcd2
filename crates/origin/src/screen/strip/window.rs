//! A file, of which a piece at a time is in memory.

use super::Malformed;
use crate::rules::ReadAt;

const PIECE: usize = 64 << 10;

pub(super) struct Window<'r> {
    size: u64,
    read_at: ReadAt<'r>,
    start: u64,
    buffer: Vec<u8>,
}

impl<'r> Window<'r> {
    pub(super) fn new(size: u64, read_at: ReadAt<'r>) -> Self {
        Self { size, read_at, start: 0, buffer: Vec::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What is in memory from `at` on: something, unless that is the end.
    pub(super) fn from(&mut self, at: u64) -> Result<&[u8], Malformed> {
        if at >= self.size {
            return Ok(&[]);
        }
        let end = self.start + self.buffer.len() as u64;
        if !(self.start..end).contains(&at) {
            let length = (self.size - at).min(PIECE as u64);
            self.buffer.resize(usize::try_from(length).expect("a piece is small"), 0);
            let read = (self.read_at)(&mut self.buffer, at)?;
            self.buffer.truncate(read);
            self.start = at;
            if read == 0 {
                return Err(Malformed::new("it is shorter than it was"));
            }
        }
        let skipped = usize::try_from(at - self.start).expect("it is in the piece");
        Ok(&self.buffer[skipped..])
    }

    /// So many bytes from `at` on.
    pub(super) fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Malformed> {
        let mut found = [0; N];
        for (place, byte) in (at..).zip(&mut found) {
            *byte = *self.from(place)?.first().ok_or_else(|| Malformed::new("it ends too early"))?;
        }
        Ok(found)
    }

    /// At most so many bytes of the `length` that begin at `at`.
    pub(super) fn bytes(&mut self, at: u64, length: u64, most: usize) -> Result<Vec<u8>, Malformed> {
        let wanted = usize::try_from(length).unwrap_or(most).min(most);
        let mut found = Vec::with_capacity(wanted);
        while found.len() < wanted {
            let more = self.from(at + found.len() as u64)?;
            if more.is_empty() {
                return Err(Malformed::new("it ends too early"));
            }
            let room = wanted - found.len();
            found.extend_from_slice(&more[..more.len().min(room)]);
        }
        Ok(found)
    }
}
