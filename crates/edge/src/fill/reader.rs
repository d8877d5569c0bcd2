//! Reading an object from one offset to another, wherever its bytes are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::object::{Object, ReadError, Step};
use super::segment;
use crate::store::{Read, Span};

/// How long a reader waits for the disk before it asks a source.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a reader gives out.
#[derive(Debug)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in a file.
    Span(Span),
}

/// Gives out the bytes of a range in their order. Where they are not here they are fetched, for all who wait.
#[derive(Debug)]
pub struct Reader {
    engine: Arc<Engine>,
    object: Arc<Object>,
    number: u64,
    offset: u64,
    end: Option<u64>,
    /// It reads for a sibling.
    near: bool,
    /// The slice that was last noted as wanted.
    touched: Option<u64>,
    /// Whether it may give out spans.
    spans: bool,
}

impl Reader {
    /// From `offset` to `end`, or to the end of the object. With `spans` it gives out places in files as well.
    #[must_use]
    pub fn new(engine: Arc<Engine>, object: Arc<Object>, offset: u64, end: Option<u64>, spans: bool) -> Self {
        let number = object.add_reader(offset);
        Self { engine, object, number, offset, end, near: false, touched: None, spans }
    }

    /// The same for a sibling, if `near` is set: what is missing is then asked of no sibling.
    #[must_use]
    pub fn near(mut self, near: bool) -> Self {
        self.near = near;
        self
    }

    /// What it reads.
    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// What is at hand, without waiting. `None`: [`Reader::next`] has to be asked.
    pub fn try_next(&mut self) -> Option<Result<Option<Part>, ReadError>> {
        match self.object.step(&self.engine.store, self.number, self.near, self.offset, self.end, self.spans) {
            Ok(Step::Bytes(bytes)) => Some(Ok(Some(self.give(bytes)))),
            Ok(Step::Span(span)) => Some(Ok(Some(self.give_span(span)))),
            Ok(Step::End) => Some(Ok(None)),
            Ok(Step::Disk | Step::Wait | Step::Begin(_)) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the rest cannot be had.
    pub async fn next(&mut self) -> Result<Option<Part>, ReadError> {
        let object = self.object.clone();
        loop {
            let woken = object.wake.notified();
            tokio::pin!(woken);
            // Before looking, so that nothing which comes in between is missed.
            woken.as_mut().enable();
            match object.step(&self.engine.store, self.number, self.near, self.offset, self.end, self.spans)? {
                Step::Bytes(bytes) => return Ok(Some(self.give(bytes))),
                Step::Span(span) => return Ok(Some(self.give_span(span))),
                Step::End => return Ok(None),
                Step::Disk => {
                    if let Some(bytes) = self.read_patiently().await? {
                        return Ok(Some(self.give(bytes)));
                    }
                }
                Step::Begin(position) => segment::begin(&self.engine, &object, position, self.near),
                Step::Wait => {
                    // Longer each time: it may be slow rather than dead.
                    let silent = self.engine.options.stall * 2_u32.pow(object.failures.load(Ordering::Relaxed).min(4));
                    if tokio::time::timeout(silent, woken).await.is_err() {
                        object.replace_silent(self.offset, silent);
                    }
                }
            }
        }
    }

    /// What the disk does not give in time, or not at all, is asked of a source.
    async fn read_patiently(&self) -> Result<Option<Bytes>, ReadError> {
        let Some(stored) = self.object.stored().cloned() else { return Ok(None) };
        let store = self.engine.store.clone();
        let (offset, limit) = (self.offset, self.end.map_or(u64::MAX, |end| end - self.offset).min(256 << 10));
        let reading = {
            let (stored, readers) = (stored.clone(), self.engine.readers.clone());
            async move {
                let permit = readers.acquire_owned().await.ok()?;
                let read = tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    store.read(&stored, offset, limit, true)
                });
                read.await.ok()
            }
        };
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Some(Ok(Some(Read::Bytes(bytes))))) => return Ok(Some(bytes)),
            Ok(Some(Ok(_))) => return Ok(None),
            Ok(Some(Err(error))) => tracing::warn!(%error, "failed to read from the cache"),
            Ok(None) => return Err(ReadError::Disk("it was not read".to_owned())),
            Err(_) => tracing::warn!("the cache's disk does not answer"),
        }
        self.engine.store.give_up(&stored, u32::try_from(offset >> self.object.slice_log2).unwrap_or(u32::MAX));
        Ok(None)
    }

    fn give(&mut self, bytes: Bytes) -> Part {
        self.advance(bytes.len());
        Part::Bytes(bytes)
    }

    fn give_span(&mut self, span: Span) -> Part {
        self.advance(span.left());
        Part::Span(span)
    }

    fn advance(&mut self, bytes: usize) {
        let slice = self.offset >> self.object.slice_log2;
        if self.touched != Some(slice) {
            self.touched = Some(slice);
            if let Some(stored) = self.object.stored() {
                self.engine.store.touch(stored, u32::try_from(slice).unwrap_or(u32::MAX));
            }
        }
        self.offset += bytes as u64;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.object.remove_reader(self.number);
    }
}
