//! Bodies of answers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::tier::Pull;

/// What is read from the disk at once.
const PIECE: u64 = 128 << 10;

/// What an answer has.
#[derive(Debug)]
pub struct Outgoing {
    pieces: VecDeque<Piece>,
    left: u64,
    file: Option<(Content, Arc<Metrics>)>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// On this disk.
    File(Arc<File>),
    /// In the tier.
    Tier(Arc<Pull>),
}

/// A part of a body.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// As it is.
    Bytes(Bytes),
    /// From the file.
    File(Range<u64>),
}

impl Piece {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(range) => range.end - range.start,
        }
    }
}

impl Outgoing {
    /// These bytes.
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let piece = Piece::Bytes(bytes.into());
        Self { left: piece.length(), pieces: VecDeque::from([piece]), file: None, reading: None }
    }

    /// These pieces of a file.
    pub(super) fn file(content: Content, pieces: Vec<Piece>, metrics: Arc<Metrics>) -> Self {
        let left = pieces.iter().map(Piece::length).sum();
        Self { left, pieces: pieces.into(), file: Some((content, metrics)), reading: None }
    }

    /// All of a file.
    #[must_use]
    pub fn whole_file(file: File, size: u64, metrics: Arc<Metrics>) -> Self {
        Self::file(Content::File(Arc::new(file)), vec![Piece::File(0..size)], metrics)
    }

    /// All of some content that is in the tier.
    #[must_use]
    pub fn whole_pull(pull: Pull, size: u64, metrics: Arc<Metrics>) -> Self {
        Self::file(Content::Tier(Arc::new(pull)), vec![Piece::File(0..size)], metrics)
    }

    /// The next bytes that are there already, or begins to read them.
    fn advance(&mut self) -> Option<Bytes> {
        while let Some(piece) = self.pieces.pop_front() {
            match piece {
                Piece::Bytes(bytes) if bytes.is_empty() => {}
                Piece::Bytes(bytes) => return Some(bytes),
                Piece::File(range) if range.is_empty() => {}
                Piece::File(range) => {
                    let (content, _) = self.file.as_ref().expect("pieces of a file come with one");
                    let end = range.end.min(range.start + PIECE);
                    self.pieces.push_front(Piece::File(end..range.end));
                    self.reading = Some(match content.clone() {
                        Content::File(file) => tokio::task::spawn_blocking(move || read(&file, range.start..end)),
                        Content::Tier(pull) => {
                            tokio::spawn(async move { pull.read(range.start..end, range.end).await })
                        }
                    });
                    return None;
                }
            }
        }
        None
    }
}

fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).expect("a piece is small");
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, range.start)?;
    Ok(buffer.into())
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.reading.is_none()
            && let Some(bytes) = this.advance()
        {
            this.left -= bytes.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(reading) = &mut this.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context));
        this.reading = None;
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(bytes) => {
                this.left -= bytes.len() as u64;
                if let Some((_, metrics)) = &this.file {
                    metrics.sent_bytes.add(bytes.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(error) => {
                tracing::error!(%error, "failed to read content");
                if let Some((_, metrics)) = &this.file {
                    metrics.failed_downloads.add(1);
                }
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
