//! An object that somebody is reading, with the streams that bring its missing parts.
//!
//! Bytes that arrive are kept in memory, in their slice, until the slice is on the disk; readers take them from there
//! as they come, and from the disk otherwise. Where a reader wants a slice that no stream will bring soon, a further
//! stream begins at that slice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::Notify;

use super::shown::Shown;
use crate::http::Head;
use crate::source::Ask;
use crate::store::{Key, Read, Span, Store, Stored};

/// A stream that is at most so many slices before the one that is wanted is waited for.
const NEAR: u64 = 2;
/// At most this much is given out at once: what the nearer caches of a CPU hold between reading and sending.
const PIECE: u64 = 64 << 10;
/// As much at once where it is not read before it is sent.
const SPAN: u64 = 256 << 10;
/// What is shorter is read: to send it from the file costs more than to copy it.
const SHORT: u64 = 16 << 10;
/// How many streams may fail one after the other, without a byte, before readers are told.
const TRIES: u32 = 3;
/// Streams of one object at a time. Who needs another waits until one has brought what its readers need for now.
pub(super) const STREAMS: usize = 16;

/// The rest cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The source gave something else meanwhile: what was begun cannot be finished.
    #[error("the object changed at its source")]
    Changed,
    /// The source does not give the rest.
    #[error("the source does not give the rest")]
    Broken,
    /// The disk fails.
    #[error("failed to read from the disk: {0}")]
    Disk(String),
}

/// One generation of an object.
#[derive(Debug)]
pub struct Object {
    /// What it is found by.
    pub key: Key,
    /// How to ask for it again.
    pub ask: Ask,
    /// Which source has it; unknown for what was stored before the start.
    pub source: Option<usize>,
    shown: RwLock<Arc<Shown>>,
    /// Where its slices are on the disk. Not set: it is not stored.
    stored: OnceLock<Arc<Stored>>,
    /// Two to this power is a slice.
    pub(super) slice_log2: u8,
    pub(super) state: Mutex<State>,
    /// Rung whenever a reader may find something new.
    pub(super) wake: Notify,
    /// Something else has taken its place.
    pub(super) replaced: AtomicBool,
    /// Somebody is looking whether it is still good.
    pub(super) looking: AtomicBool,
    pub(super) failures: AtomicU32,
    /// Up to which purge it is known that none was of it.
    pub(super) unpurged: AtomicU64,
    /// What its source said about the part that it gave for its end.
    given: OnceLock<HeaderValue>,
    /// Held while a place on the disk is made.
    pub(super) placing: tokio::sync::Mutex<()>,
    next_reader: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Not known where the source does not tell, until the body ends.
    pub(super) length: Option<u64>,
    pub(super) segments: Vec<Segment>,
    /// Where each reader is.
    pub(super) readers: BTreeMap<u64, u64>,
    pub(super) error: Option<ReadError>,
    /// The source gives only the whole.
    pub(super) no_ranges: bool,
    pub(super) next_segment: u64,
    /// Up to where anything of it ever came.
    pub(super) furthest: u64,
    /// Readers for whom there are too many streams already.
    pub(super) starving: BTreeSet<u64>,
}

/// A stream from a source.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Where the next byte will be.
    pub(super) position: u64,
    pub(super) running: bool,
    /// Where it began.
    pub(super) begun: u64,
    /// It comes by way of a sibling.
    pub(super) far: bool,
    /// What it brings is stored.
    pub(super) keeps: bool,
    /// Slices in memory, in their order; the last may be growing.
    pub(super) kept: VecDeque<Kept>,
}

/// What has come of a slice, from its beginning or from further on.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) parts: Vec<Bytes>,
}

impl Kept {
    fn read(&self, offset: u64) -> Option<Bytes> {
        let mut within = offset.checked_sub(self.start).filter(|within| *within < self.length)?;
        for part in &self.parts {
            if within < part.len() as u64 {
                return Some(part.slice(usize::try_from(within).expect("less than a length in memory")..));
            }
            within -= part.len() as u64;
        }
        None
    }
}

/// What a reader does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Give this out.
    Bytes(Bytes),
    /// Give this out, which nobody has read into memory.
    Span(Span),
    /// There is no more.
    End,
    /// Read from the disk, with patience.
    Disk,
    /// Wait until something came.
    Wait,
    /// Begin a stream at this offset, the beginning of a slice.
    Begin(u64),
}

impl Object {
    pub(super) fn new(key: Key, ask: Ask, source: Option<usize>, head: Head, slice_log2: u8) -> Self {
        Self {
            key,
            ask,
            source,
            shown: RwLock::new(Arc::new(Shown::new(head))),
            stored: OnceLock::new(),
            slice_log2,
            state: Mutex::default(),
            wake: Notify::new(),
            replaced: AtomicBool::new(false),
            looking: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            unpurged: AtomicU64::new(0),
            given: OnceLock::new(),
            placing: tokio::sync::Mutex::new(()),
            next_reader: AtomicU64::new(0),
        }
    }

    /// Of what is stored.
    pub(super) fn of(stored: Arc<Stored>, ask: Ask) -> Self {
        let layout = stored.layout();
        let object = Self::new(stored.key(), ask.lasting(), None, Head::stored(&stored.meta()), layout.slice_log2);
        object.state().length = Some(layout.length);
        object.set_stored(stored);
        object
    }

    /// `Content-Range`, as its source wrote it for the part that it gave when it was asked for the end.
    #[must_use]
    pub fn given(&self) -> Option<&HeaderValue> {
        self.given.get()
    }

    pub(super) fn set_given(&self, range: HeaderValue) {
        let _ = self.given.set(range);
    }

    pub(super) fn set_stored(&self, stored: Arc<Stored>) {
        let _ = self.stored.set(stored);
    }

    /// The response's head, as it is now.
    #[must_use]
    pub fn head(&self) -> Arc<Head> {
        self.shown.read().expect("no thread panics while it holds this").head().clone()
    }

    /// The same, with what is made of it for answers.
    #[must_use]
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.read().expect("no thread panics while it holds this").clone()
    }

    pub(super) fn set_head(&self, head: Head) {
        *self.shown.write().expect("no thread panics while it holds this") = Arc::new(Shown::new(head));
    }

    pub(super) fn stored(&self) -> Option<&Arc<Stored>> {
        self.stored.get()
    }

    /// The length of the body, where it is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.state().length
    }

    /// Whether something else has taken its place.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Whether what comes of it is stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored().is_some()
    }

    /// Whether a stream from a source brings parts of it at this moment.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.state().segments.iter().any(|segment| segment.running)
    }

    /// Where to go on, where all that there is of it is a beginning in memory that does not reach as far as is wanted.
    pub(super) fn beginning(&self, store: &Store, wanted: u64) -> Option<u64> {
        let state = self.state();
        let length = state.length?;
        let parts = || state.segments.iter().flat_map(|segment| &segment.kept);
        let end = parts().find(|kept| kept.start == 0)?.length;
        let alone = parts().count() == 1 && !state.segments.iter().any(|segment| segment.running);
        drop(state);
        let slices = 0..u32::try_from(length.div_ceil(1 << self.slice_log2)).ok()?;
        let is_stored = |stored: &Arc<Stored>| slices.clone().any(|slice| store.has(stored, slice));
        (alone && end < wanted.min(length) && !self.stored().is_some_and(is_stored)).then_some(end)
    }

    /// Whether this stream has come further than any before.
    pub(super) fn has_advanced(&self, number: u64) -> bool {
        let mut state = self.state();
        let position = state.segment(number).map_or(0, |segment| segment.position);
        let before = state.furthest;
        state.furthest = before.max(position);
        position > before
    }

    /// Whether its length is not known, and it is longer than this.
    pub(super) fn is_beyond(&self, limit: u64) -> bool {
        let state = self.state();
        state.length.is_none() && state.segments.iter().any(|segment| segment.position > limit)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds this")
    }

    pub(super) fn add_reader(&self, offset: u64) -> u64 {
        let number = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        // What failed for others before may be good again.
        if state.readers.is_empty() && !state.segments.iter().any(|segment| segment.running) {
            self.failures.store(0, Ordering::Relaxed);
        }
        state.readers.insert(number, offset);
        drop(state);
        number
    }

    pub(super) fn remove_reader(&self, number: u64) {
        {
            let mut state = self.state();
            state.readers.remove(&number);
            state.starving.remove(&number);
        }
        // A stream may be running for this reader alone.
        self.wake.notify_waiters();
    }

    /// What the reader at `offset` does next. One that reads for a sibling (`near`) does not wait for what comes by way of
    /// a sibling: two who wait for each other would wait for ever. With `spans` it can take
    /// places in a file for bytes.
    pub(super) fn step(
        &self,
        store: &Store,
        reader: u64,
        near: bool,
        offset: u64,
        end: Option<u64>,
        spans: bool,
    ) -> Result<Step, ReadError> {
        let mut state = self.state();
        let Some(end) = state.length.map(|length| end.map_or(length, |end| end.min(length))).or(end) else {
            return self.step_unknown(&mut state, reader, offset);
        };
        if offset >= end {
            return Ok(Step::End);
        }
        if state.move_reader(reader, offset, self.slice_log2) {
            self.wake.notify_waiters();
        }
        if let Some(bytes) = state.in_memory(offset) {
            return Ok(Step::Bytes(cut(bytes, end - offset)));
        }
        let error = state.error.clone();
        drop(state);
        if let Some(stored) = self.stored() {
            if spans
                && end - offset > SHORT
                && let Some(span) = store.span(stored, offset, SPAN.min(end - offset))
            {
                return Ok(Step::Span(span));
            }
            match store.read(stored, offset, PIECE.min(end - offset), false) {
                Ok(Some(Read::Bytes(bytes))) => return Ok(Step::Bytes(bytes)),
                Ok(Some(Read::WouldBlock)) => return Ok(Step::Disk),
                Ok(Some(Read::Damaged) | None) => {}
                // Of a disk that cannot read, nothing is expected: the source still has it.
                Err(error) => {
                    tracing::warn!(%error, "failed to read from the cache");
                    store.give_up(stored, u32::try_from(offset >> self.slice_log2).unwrap_or(u32::MAX));
                }
            }
        }
        if let Some(error) = error {
            return Err(error);
        }
        let mut state = self.state();
        // It may have come between the two looks.
        if let Some(bytes) = state.in_memory(offset) {
            return Ok(Step::Bytes(cut(bytes, end - offset)));
        }
        let slice = offset >> self.slice_log2;
        let comes = |segment: &Segment| {
            let at = segment.position >> self.slice_log2;
            segment.running
                && segment.position <= offset
                && (at + NEAR >= slice || state.no_ranges)
                && !(near && segment.far)
        };
        if state.segments.iter().any(comes) {
            return Ok(Step::Wait);
        }
        if self.failures.load(Ordering::Relaxed) >= TRIES {
            return Err(ReadError::Broken);
        }
        if state.segments.iter().filter(|segment| segment.running).count() >= STREAMS {
            if state.starving.insert(reader) {
                // Streams look up only then.
                self.wake.notify_waiters();
            }
            return Ok(Step::Wait);
        }
        state.starving.remove(&reader);
        Ok(Step::Begin(slice << self.slice_log2))
    }

    /// While the length is not known there is one stream, from the beginning.
    fn step_unknown(&self, state: &mut State, reader: u64, offset: u64) -> Result<Step, ReadError> {
        if state.move_reader(reader, offset, self.slice_log2) {
            self.wake.notify_waiters();
        }
        if let Some(bytes) = state.in_memory(offset) {
            return Ok(Step::Bytes(cut(bytes, PIECE)));
        }
        match &state.error {
            Some(error) => Err(error.clone()),
            None if state.segments.iter().any(|segment| segment.running && segment.position <= offset) => {
                Ok(Step::Wait)
            }
            None => Err(ReadError::Broken),
        }
    }

    /// A stream has been silent while readers waited for it: it is given up, and another will begin.
    pub(super) fn replace_silent(&self, offset: u64, silent: Duration) {
        let mut state = self.state();
        if state.length.is_none() {
            return;
        }
        let slice = offset >> self.slice_log2;
        for segment in &mut state.segments {
            let at = segment.position >> self.slice_log2;
            if segment.running && segment.position <= offset && at + NEAR >= slice {
                tracing::info!(seconds = silent.as_secs(), "a stream is silent; another takes its place");
                segment.running = false;
                // Once a stream, however many wait for it.
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(state);
        self.wake.notify_waiters();
    }
}

impl State {
    /// Notes where a reader is. Returns whether it reached another slice, which may let a stream go on.
    fn move_reader(&mut self, reader: u64, offset: u64, slice_log2: u8) -> bool {
        let before = self.readers.insert(reader, offset);
        before.is_none_or(|before| before >> slice_log2 != offset >> slice_log2)
    }

    fn in_memory(&self, offset: u64) -> Option<Bytes> {
        self.segments.iter().flat_map(|segment| &segment.kept).find_map(|kept| kept.read(offset))
    }

    pub(super) fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.number == number)
    }
}

fn cut(bytes: Bytes, limit: u64) -> Bytes {
    let limit = usize::try_from(limit.min(PIECE)).expect("a piece fits in memory");
    if bytes.len() > limit { bytes.slice(..limit) } else { bytes }
}
