//! Taking out of a picture what a camera or a program wrote beside it: where it was taken, when, with what, by whom, and
//! small copies of what it was before it was cut.
//!
//! The container is taken apart, never the picture: what is kept is kept byte for byte. Of what is known to change how a
//! picture looks (its turn, colours, size, animation) all stays, and nothing of the rest. What cannot be taken apart
//! whole is [`Malformed`]: nothing is guessed.

mod jpeg;
mod png;
mod tiff;
mod webp;
mod window;

use std::io;
use std::ops::Range;

use crate::rules::ReadAt;

/// A picture that is not what it seems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// For this reason.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl From<io::Error> for Malformed {
    fn from(error: io::Error) -> Self {
        Self(format!("it cannot be read: {error}"))
    }
}

/// A part of what is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is in the file.
    Old(Range<u64>),
    /// Instead of something that is not kept.
    New(Vec<u8>),
}

/// What is to be kept, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(Vec<Piece>);

impl Plan {
    /// Its pieces.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Whether it is all of a file of `size` bytes, as it is.
    #[must_use]
    pub fn is_whole(&self, size: u64) -> bool {
        matches!(self.0.as_slice(), [Piece::Old(range)] if *range == (0..size))
    }

    fn keep(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            Some(Piece::Old(last)) if last.end == range.start => last.end = range.end,
            _ => self.0.push(Piece::Old(range)),
        }
    }

    fn add(&mut self, bytes: Vec<u8>) {
        self.0.push(Piece::New(bytes));
    }

    /// With these bytes before what stands at `place` of the file.
    fn with(self, place: u64, bytes: Vec<u8>) -> Self {
        let mut plan = Self::default();
        let mut waiting = Some(bytes);
        for piece in self.0 {
            match piece {
                Piece::Old(range) if waiting.is_some() && range.end > place => {
                    if range.start < place {
                        plan.keep(range.start..place);
                    }
                    plan.0.extend(waiting.take().map(Piece::New));
                    plan.0.push(Piece::Old(range.start.max(place)..range.end));
                }
                Piece::Old(range) => plan.keep(range),
                Piece::New(bytes) => plan.add(bytes),
            }
        }
        plan.0.extend(waiting.map(Piece::New));
        plan
    }
}

/// What is to be kept of a picture of this kind and size; nothing for kinds that are not taken apart.
#[must_use]
pub fn plan(kind: &str, size: u64, read_at: ReadAt<'_>) -> Option<Result<Plan, Malformed>> {
    let mut window = window::Window::new(size, read_at);
    match kind {
        "image/jpeg" => Some(jpeg::plan(&mut window)),
        "image/png" | "image/apng" => Some(png::plan(&mut window)),
        "image/webp" => Some(webp::plan(&mut window)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
