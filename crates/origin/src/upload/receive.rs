//! From a request's body to files that are on the disk, though nobody knows them yet.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::multipart::{Event, Parser};
use super::refusal::Refusal;
use super::wish::Wish;
use crate::clock::Stopwatch;
use crate::config::Upload;
use crate::limits::Meter;
use crate::model::Hashes;
use crate::rules::{self, Kinds};
use crate::screen::Screen;
use crate::store::{Reservation, Staged, Staging, Store};

/// What is written to the disk at once.
const BATCH: usize = 256 << 10;
/// Of a field that is no file, in bytes.
const FIELD: usize = 256;
/// Who is slower than this after [`PATIENCE`] is given up, in bytes a second.
const SLOWEST: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that was received.
#[derive(Debug)]
pub struct Received {
    /// Its content.
    pub staged: Staged,
    /// What the uploader calls it.
    pub original: String,
    /// What it is, by its bytes.
    pub kind: String,
    /// Of what came, where that is not what is kept.
    pub came: Option<Hashes>,
}

/// A request's body, and what is known of it.
#[derive(Debug)]
pub struct Source<'b> {
    body: &'b mut Incoming,
    idle: Duration,
    since: Stopwatch,
    received: u64,
    most: u64,
    meter: Option<Meter>,
    /// Whether anything was asked of the client: before, one that waits for a sign to go on sends nothing.
    pub begun: bool,
}

impl<'b> Source<'b> {
    /// Reads `body`: `most` bytes at most, as long as the other `limits` and the `meter` allow.
    pub fn new(body: &'b mut Incoming, limits: &Upload, most: u64, meter: Option<Meter>) -> Self {
        let idle = limits.idle_timeout;
        Self { body, idle, since: Stopwatch::start(), received: 0, most, meter, begun: false }
    }

    /// The next bytes; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        self.begun = true;
        loop {
            let Ok(frame) = tokio::time::timeout(self.idle, self.body.frame()).await else {
                return Err(Refusal::Slow);
            };
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(Refusal::Partial),
                Some(Ok(frame)) => {
                    // Trailers mean nothing here.
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.received += bytes.len() as u64;
                    if self.received > self.most {
                        return Err(Refusal::TooLarge);
                    }
                    if let Some(Meter { allowances, group }) = &self.meter {
                        allowances.take(*group, bytes.len() as u64).map_err(Refusal::TooMuch)?;
                    }
                    let passed = self.since.elapsed();
                    if passed > PATIENCE && self.received < SLOWEST * passed.as_secs() {
                        return Err(Refusal::Slow);
                    }
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// Where received files go.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// What holds for them.
    pub limits: std::sync::Arc<Upload>,
    /// Where they are kept.
    pub store: std::sync::Arc<Store>,
    /// Who looks at them.
    pub screen: Screen,
}

impl Receiver {
    /// Receives a form: its files, and its wishes on top of `wish`.
    ///
    /// # Errors
    ///
    /// When it is not taken; then nothing of it is left.
    pub async fn form(
        &self,
        source: &mut Source<'_>,
        boundary: &[u8],
        length: Option<u64>,
        mut wish: Wish,
    ) -> Result<(Vec<Received>, Wish), Refusal> {
        let mut parser = Parser::new(boundary)?;
        let mut room = self.reserve(length)?;
        let mut files: Vec<Received> = Vec::new();
        let mut part = Part::Ignored;
        let mut empty = false;
        loop {
            let Some(event) = parser.next()? else {
                match source.next().await? {
                    Some(bytes) => parser.feed(&bytes),
                    None => parser.end()?,
                }
                continue;
            };
            match event {
                Event::Part(found) => {
                    part = match &found.filename {
                        Some(name) if found.is_for_files() && name.is_empty() => {
                            // A field of a form in which nothing was chosen.
                            empty = true;
                            Part::Ignored
                        }
                        Some(name) if found.is_for_files() => {
                            if files.len() >= self.limits.max_files as usize {
                                return Err(Refusal::TooManyFiles);
                            }
                            Part::File(Box::new(self.begin(name)?))
                        }
                        None if Wish::has(&found.name) => Part::Field(found.name, Vec::new()),
                        _ => Part::Ignored,
                    };
                }
                Event::Data(bytes) => match &mut part {
                    Part::File(file) => file.take(bytes, &mut room).await?,
                    Part::Field(_, value) if value.len() + bytes.len() <= FIELD => value.extend_from_slice(&bytes),
                    Part::Field(..) => return Err(Refusal::Wish("a field of the form is too long")),
                    Part::Ignored => {}
                },
                Event::PartEnd => match std::mem::replace(&mut part, Part::Ignored) {
                    Part::File(file) => files.push(file.finish(&mut room).await?),
                    Part::Field(name, value) => wish.set(&name, &String::from_utf8_lossy(&value))?,
                    Part::Ignored => {}
                },
                Event::End => break,
            }
        }
        // What follows the form is read, so that the connection can be used again.
        while source.next().await?.is_some() {}
        match (files.is_empty(), empty) {
            (true, true) => Err(Refusal::EmptyField),
            (true, false) => Err(Refusal::NoFile),
            _ => Ok((files, wish)),
        }
    }

    /// Receives one file, which is all of the body.
    ///
    /// # Errors
    ///
    /// When it is not taken; then nothing of it is left.
    pub async fn file(&self, source: &mut Source<'_>, name: &[u8], length: Option<u64>) -> Result<Received, Refusal> {
        let mut room = self.reserve(length)?;
        let mut file = self.begin(name)?;
        while let Some(bytes) = source.next().await? {
            file.take(bytes, &mut room).await?;
        }
        file.finish(&mut room).await
    }

    fn reserve(&self, length: Option<u64>) -> Result<Reservation, Refusal> {
        Ok(self.store.reserve(length.unwrap_or(0))?)
    }

    fn begin(&self, raw_name: &[u8]) -> Result<File, Refusal> {
        let original = self.name(raw_name)?;
        let staging = self.store.stage();
        Ok(File { original, receiver: self.clone(), staging: Some(staging), waiting: Vec::new(), bytes: 0 })
    }

    /// What a file is called.
    ///
    /// # Errors
    ///
    /// When that alone keeps it from being taken: then it needs not be sent.
    pub fn name(&self, raw_name: &[u8]) -> Result<String, Refusal> {
        let original = rules::clean(raw_name);
        let benefit = Kinds { kind: "image/png".to_owned(), all: Vec::new() };
        match rules::blocked(&original, &benefit, &self.limits.block_extensions, &[]) {
            Some(why) => Err(Refusal::Blocked(why)),
            None => Ok(original),
        }
    }

    /// Judges what is on the disk. Blocks.
    ///
    /// # Errors
    ///
    /// When it is not taken.
    pub fn judge(&self, staged: Staged, original: String) -> Result<Received, Refusal> {
        let kind = {
            let read_at = |buffer: &mut [u8], at: u64| staged.read_at(buffer, at);
            let kinds = rules::kinds(&original, &staged.head, staged.size, &read_at);
            let blocked = rules::blocked(&original, &kinds, &self.limits.block_extensions, &self.limits.block_mime);
            if let Some(why) = blocked {
                return Err(Refusal::Blocked(why));
            }
            kinds.kind
        };
        let (staged, came) = self.screen.look(staged, &kind, &self.store)?;
        Ok(Received { staged, original, kind, came })
    }
}

enum Part {
    File(Box<File>),
    Field(String, Vec<u8>),
    Ignored,
}

/// A file that is being received.
#[derive(Debug)]
struct File {
    original: String,
    receiver: Receiver,
    /// Away while it is being written.
    staging: Option<Staging>,
    waiting: Vec<Bytes>,
    bytes: usize,
}

impl File {
    async fn take(&mut self, bytes: Bytes, room: &mut Reservation) -> Result<(), Refusal> {
        self.bytes += bytes.len();
        self.waiting.push(bytes);
        let so_far = self.staging.as_ref().map_or(0, Staging::size) + self.bytes as u64;
        if so_far > self.receiver.limits.max_size {
            return Err(Refusal::TooLarge);
        }
        if self.bytes >= BATCH { self.flush(room).await } else { Ok(()) }
    }

    async fn flush(&mut self, room: &mut Reservation) -> Result<(), Refusal> {
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = std::mem::take(&mut self.bytes);
        room.written(bytes as u64)?;
        let mut staging = self.staging.take().expect("it comes back from each write");
        let written = blocking(move || staging.write(&waiting).map(|()| staging)).await??;
        self.staging = Some(written);
        Ok(())
    }

    async fn finish(mut self, room: &mut Reservation) -> Result<Received, Refusal> {
        room.written(self.bytes as u64)?;
        let mut staging = self.staging.take().expect("it comes back from each write");
        let (original, receiver, waiting) = (self.original, self.receiver, self.waiting);
        blocking(move || {
            staging.write(&waiting)?;
            receiver.judge(staging.finish()?, original)
        })
        .await?
    }
}

/// Runs what blocks beside the others.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::Failed(error.to_string()))
}
