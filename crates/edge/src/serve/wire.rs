//! A client's connection that can send parts of files without their being read first.
//!
//! HTTP is hyper's, which knows bodies of bytes alone. So a body that is in a file gives bytes that only stand in for
//! it: as many as they should be, in memory that nobody looks at. hyper passes them on in its order without touching
//! them, down to here, where they are known by their address, and what they stand for is sent in their place: with
//! `sendfile` on a plain connection, and otherwise encrypted piece by piece, through a buffer that all connections of a
//! thread share. A client that reads slowly thus costs no memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

use crate::store::{Cold, Span};

/// What waits, encrypted, for a client that reads slowly.
const TLS_BUFFER: usize = 32 << 10;
/// What is read of a file and encrypted at once: as much as the nearer caches of a CPU hold. For a client whose
/// connection is full it is one record.
const PIECE: usize = 64 << 10;
const RECORD: usize = 16 << 10;
/// It is handed to the encryption in parts of this size: longer ones the C library copies with an instruction that
/// takes many times as long on some processors when source and destination are not aligned alike, as in a record.
const PART: usize = 2 << 10;
/// So many of them at once: a piece, and the heads between.
const MOST: usize = PIECE / PART + 8;
/// Where stand-ins may begin, which tells one from the next, and how long they may be.
const BEGINS: usize = 64 << 10;
const LONGEST: usize = 1 << 20;

/// Never written and never read, so that the kernel gives no memory for it.
static STAND_IN: LazyLock<&'static [u8]> = LazyLock::new(|| Box::leak(vec![0; BEGINS + LONGEST].into_boxed_slice()));

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// What stand-ins of one connection stand for, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Where the next stand-in begins.
    next: usize,
}

#[derive(Debug)]
struct Entry {
    /// Where the stand-in for what is left is.
    at: usize,
    span: Span,
}

impl Lane {
    /// Bytes in place of the span's. They must be the connection's next but for those that were made before.
    pub(super) fn stand_in(&self, span: Span) -> Bytes {
        let mut waiting = self.waiting();
        let (at, length) = (waiting.next, span.left());
        waiting.next = (at + 1) % BEGINS;
        waiting.entries.push_back(Entry { at, span });
        Bytes::from_static(&STAND_IN[at..at + length])
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().expect("no thread panics while it holds this")
    }
}

impl Waiting {
    /// What these bytes, which are in place of the entry of that number, stand for.
    fn behind(&mut self, number: usize, bytes: &[u8]) -> io::Result<&mut Span> {
        let entry = self.entries.get_mut(number);
        let entry = entry.filter(|entry| place(bytes) == Some(entry.at) && bytes.len() == entry.span.left());
        // Rather no answer than a wrong one.
        entry.map(|entry| &mut entry.span).ok_or_else(|| io::Error::other("a body is not where it was expected"))
    }

    /// So many bytes of the first one have gone out.
    fn advance(&mut self, bytes: usize) {
        if let Some(entry) = self.entries.front_mut() {
            entry.span.advance(bytes);
            entry.at += bytes;
            if entry.span.left() == 0 {
                self.entries.pop_front();
            }
        }
    }
}

/// Where in the stand-in these bytes are.
fn place(bytes: &[u8]) -> Option<usize> {
    let at = bytes.as_ptr().addr().checked_sub(STAND_IN.as_ptr().addr())?;
    (at < STAND_IN.len()).then_some(at)
}

fn stands_in(bytes: &[u8]) -> bool {
    place(bytes).is_some()
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    lane: Lane,
    /// How much is read and encrypted at once.
    piece: usize,
    /// What comes from the disk.
    warming: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Wire {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self::new(Stream::Plain(stream))
    }

    pub(super) fn secure(stream: TlsStream<TcpStream>) -> Self {
        Self::new(Stream::Secure(Box::new(stream)))
    }

    fn new(stream: Stream) -> Self {
        Self { stream, lane: Lane::default(), piece: RECORD, warming: None }
    }

    /// For the bodies of its answers.
    pub(super) fn lane(&self) -> Lane {
        self.lane.clone()
    }

    /// Waits for what comes from the disk, if anything does.
    fn poll_warm(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(warming) = &mut self.warming {
            let warmed = ready!(Pin::new(warming).poll(context));
            self.warming = None;
            return Poll::Ready(warmed.map_err(io::Error::other).flatten());
        }
        Poll::Ready(Ok(()))
    }

    fn warm(&mut self, cold: Cold) {
        self.warming = Some(tokio::task::spawn_blocking(move || cold.warm()));
    }

    /// On a plain connection: bytes as they are, and files by the kernel.
    fn poll_plain(&mut self, context: &mut Context<'_>, mut buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut done = 0;
        while let Some(first) = buffers.first() {
            let run = buffers.iter().take_while(|buffer| !stands_in(buffer)).count();
            let (sent, wanted, rest) = if run == 0 {
                (self.poll_send(context, first), first.len(), &buffers[1..])
            } else {
                let (run, rest) = buffers.split_at(run);
                let wanted = run.iter().map(|buffer| buffer.len()).sum();
                (self.poll_bytes(context, run, !rest.is_empty()), wanted, rest)
            };
            match sent {
                Poll::Ready(Ok(sent)) => {
                    done += sent;
                    if sent < wanted {
                        break;
                    }
                    buffers = rest;
                }
                // What has gone out counts; the rest is told when it is asked for.
                _ if done > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(done))
    }

    /// Sends bytes; with `more` in one packet with what follows.
    fn poll_bytes(&mut self, context: &mut Context<'_>, run: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>> {
        let Stream::Plain(stream) = &mut self.stream else { unreachable!("only plain connections send so") };
        if !more {
            return Pin::new(stream).poll_write_vectored(context, run);
        }
        loop {
            ready!(stream.poll_write_ready(context))?;
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let send = || Ok(sendmsg(&*stream, run, &mut SendAncillaryBuffer::default(), flags)?);
            match stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Sends a part of a file.
    fn poll_send(&mut self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_warm(context))?;
            let Stream::Plain(stream) = &self.stream else { unreachable!("only plain connections send so") };
            ready!(stream.poll_write_ready(context))?;
            let mut waiting = self.lane.waiting();
            let span = waiting.behind(0, buffer)?;
            match stream.try_io(Interest::WRITABLE, || span.send(stream, buffer.len())) {
                Ok(Some(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(Some(sent)) => {
                    waiting.advance(sent);
                    return Poll::Ready(Ok(sent));
                }
                Ok(None) => {
                    let cold = span.cold();
                    drop(waiting);
                    self.warm(cold);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// On a connection with TLS: piece by piece through this thread's buffer.
    fn poll_secure(&mut self, context: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_warm(context))?;
            let Stream::Secure(stream) = &mut self.stream else { unreachable!("only TLS sends so") };
            // What is encrypted already goes first, so that no more than a piece ever waits.
            if stream.get_ref().1.wants_write() {
                let flushed = Pin::new(&mut **stream).poll_flush(context);
                if flushed.is_pending() {
                    self.piece = RECORD;
                }
                ready!(flushed)?;
            }
            stream.get_mut().1.set_buffer_limit(Some(2 * PIECE));
            let piece = self.piece;
            let sent = SCRATCH.with_borrow_mut(|scratch| -> Poll<io::Result<Result<usize, Cold>>> {
                let mut parts = Parts::default();
                if let Some(cold) = gather(&mut self.lane.waiting(), buffers, &mut scratch[..piece], &mut parts)? {
                    return Poll::Ready(Ok(Err(cold)));
                }
                let whole = parts.bytes;
                Pin::new(&mut **stream).poll_write_vectored(context, parts.list()).map_ok(|sent| {
                    self.piece = if sent == whole { PIECE.min(2 * piece) } else { RECORD };
                    Ok(sent)
                })
            });
            match ready!(sent)? {
                Ok(sent) => {
                    let mut left = sent;
                    for buffer in buffers {
                        let part = left.min(buffer.len());
                        if part > 0 && stands_in(buffer) {
                            self.lane.waiting().advance(part);
                        }
                        left -= part;
                    }
                    return Poll::Ready(Ok(sent));
                }
                Err(cold) => self.warm(cold),
            }
        }
    }
}

/// What is encrypted at once, in its order.
struct Parts<'b> {
    parts: [IoSlice<'b>; MOST],
    count: usize,
    bytes: usize,
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Self { parts: [IoSlice::new(&[]); MOST], count: 0, bytes: 0 }
    }
}

impl<'b> Parts<'b> {
    /// Adds as much as there is room for. Returns whether that is all of it.
    fn add(&mut self, bytes: &'b [u8]) -> bool {
        for part in bytes.chunks(PART) {
            let Some(place) = self.parts.get_mut(self.count) else { return false };
            *place = IoSlice::new(part);
            self.count += 1;
            self.bytes += part.len();
        }
        true
    }

    fn list(&self) -> &[IoSlice<'b>] {
        &self.parts[..self.count]
    }
}

/// Collects what goes out next: bytes where they are, and parts of files in `scratch`. Gives what has to come from the
/// disk before.
fn gather<'b>(
    waiting: &mut Waiting,
    buffers: &'b [IoSlice<'_>],
    mut scratch: &'b mut [u8],
    parts: &mut Parts<'b>,
) -> io::Result<Option<Cold>> {
    let mut number = 0;
    for buffer in buffers {
        if !stands_in(buffer) {
            if !parts.add(buffer) {
                break;
            }
            continue;
        }
        let span = waiting.behind(number, buffer)?;
        number += 1;
        let wanted = buffer.len().min(scratch.len());
        let (room, rest) = scratch.split_at_mut(wanted);
        scratch = rest;
        if !span.read(room)? {
            return Ok((parts.bytes == 0).then(|| span.cold()));
        }
        if !parts.add(room) || wanted < buffer.len() {
            break;
        }
    }
    Ok(None)
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Secure(stream) => Pin::new(&mut **stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let any = buffers.iter().any(|buffer| stands_in(buffer));
        match &mut this.stream {
            Stream::Plain(_) if any => this.poll_plain(context, buffers),
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Stream::Secure(_) if any => this.poll_secure(context, buffers),
            Stream::Secure(stream) => {
                stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
                Pin::new(&mut **stream).poll_write_vectored(context, buffers)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Secure(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Secure(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
