//! One connection, watched: how long a client may take for what it has to do.
//!
//! Time in which we or a source are at work is no client's fault. What counts is the time in which something waits for
//! the client: bytes that it does not take, an upload that it does not go on with, a head that it does not finish.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Stopwatch;

/// Fewer bytes than these are not worth to be called an answer.
const SOME: usize = 1024;

/// How patient it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the first head since the connection, and for every further one from its first byte on.
    pub(super) head: Duration,
    /// Without a request.
    pub(super) idle: Duration,
    /// In bytes a second; none: any pace is fine.
    pub(super) pace: Option<u64>,
    /// Over so long a time of waiting for the client.
    pub(super) window: Duration,
}

/// Why a client was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It asked for nothing more.
    Idle,
    /// It did not finish a head.
    SlowHead,
    /// It took too little of an answer, or sent too little of an upload.
    SlowBody,
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Watch {
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests under way.
    active: u32,
    /// Any request so far.
    began: bool,
    /// Streams of its own; what comes while there is no request is not always the beginning of one.
    is_http2: bool,
    /// Since there has been no request.
    idle: Stopwatch,
    /// Since the first byte of a head came.
    head: Option<Stopwatch>,
    /// Bodies that wait for the client.
    waiting: u32,
    /// Since one does.
    since: Stopwatch,
    /// How long some did, until `since`.
    waited: Duration,
    /// Bytes of bodies that the client took or sent meanwhile.
    moved: u64,
}

impl Watch {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        let now = Stopwatch::start();
        let state = State {
            active: 0,
            began: false,
            is_http2: false,
            idle: now,
            head: None,
            waiting: 0,
            since: now,
            waited: Duration::ZERO,
            moved: 0,
        };
        Arc::new(Self { patience, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds this")
    }

    /// A request is under way until the value is dropped.
    pub(super) fn request(self: &Arc<Self>, is_http2: bool) -> Active {
        let mut state = self.state();
        state.active += 1;
        state.began = true;
        state.is_http2 = is_http2;
        state.head = None;
        Active(self.clone())
    }

    /// A body that may come to wait for the client.
    pub(super) fn body(self: &Arc<Self>) -> Waits {
        Waits { watch: self.clone(), waiting: false }
    }

    fn came(&self) {
        let mut state = self.state();
        if state.active == 0 && state.head.is_none() {
            state.head = Some(Stopwatch::start());
        }
    }

    /// Bytes were written. What is left of an answer may go out when nothing is under way any more.
    fn wrote(&self, bytes: usize) {
        // Answers to pings are no sign that the client wants anything.
        if bytes >= SOME {
            let mut state = self.state();
            if state.active == 0 {
                state.idle = Stopwatch::start();
            }
        }
    }

    /// Ends when the client is to be left.
    pub(super) async fn until_gone(&self) -> Gone {
        loop {
            match self.look() {
                Ok(left) => {
                    // What the client has to do may be something else before then.
                    let left = left.min(self.patience.head).min(self.patience.idle).min(self.patience.window);
                    tokio::time::sleep(left.max(Duration::from_millis(20))).await;
                }
                Err(gone) => return gone,
            }
        }
    }

    /// How long it can go on before anything is worth another look.
    fn look(&self) -> Result<Duration, Gone> {
        let Patience { head, idle, pace, window } = self.patience;
        let mut state = self.state();
        if state.active == 0 {
            let since_head = state.head.filter(|_| !state.is_http2).map(Stopwatch::elapsed);
            let (passed, most, gone) = match since_head {
                _ if !state.began => (state.idle.elapsed(), head, Gone::SlowHead),
                Some(since) => (since, head, Gone::SlowHead),
                None => (state.idle.elapsed(), idle, Gone::Idle),
            };
            return most.checked_sub(passed).filter(|left| !left.is_zero()).ok_or(gone);
        }
        let Some(pace) = pace else { return Ok(window) };
        let mut waited = state.waited;
        if state.waiting > 0 {
            waited += state.since.elapsed();
        }
        if waited < window {
            return Ok(window - waited);
        }
        if (state.moved as f64) < pace as f64 * waited.as_secs_f64() {
            return Err(Gone::SlowBody);
        }
        (state.since, state.waited, state.moved) = (Stopwatch::start(), Duration::ZERO, 0);
        Ok(window)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Active(Arc<Watch>);

impl Drop for Active {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.active -= 1;
        if state.active == 0 {
            state.idle = Stopwatch::start();
            state.head = None;
            (state.waited, state.moved) = (Duration::ZERO, 0);
        }
    }
}

/// A body that waits for the client now and then.
#[derive(Debug)]
pub(super) struct Waits {
    watch: Arc<Watch>,
    waiting: bool,
}

impl Waits {
    /// From now on it waits for the client.
    pub(super) fn wait(&mut self) {
        if !std::mem::replace(&mut self.waiting, true) {
            let mut state = self.watch.state();
            if state.waiting == 0 {
                state.since = Stopwatch::start();
            }
            state.waiting += 1;
        }
    }

    /// It waits no longer, and the client moved so many bytes.
    pub(super) fn moved(&mut self, bytes: u64) {
        if std::mem::replace(&mut self.waiting, false) {
            let mut state = self.watch.state();
            state.waiting -= 1;
            state.moved = state.moved.saturating_add(bytes);
            if state.waiting == 0 {
                let waited = state.since.elapsed();
                state.waited += waited;
            }
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.moved(0);
    }
}

/// A connection whose first bytes after a pause are noticed.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) watch: Arc<Watch>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.watch.wrote(written);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.watch.wrote(written);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(head: u64, idle: u64, pace: Option<u64>, window: u64) -> Arc<Watch> {
        let of = Duration::from_millis;
        Watch::new(Patience { head: of(head), idle: of(idle), pace, window: of(window) })
    }

    const LONG: u64 = 3_600_000;

    #[tokio::test]
    async fn a_client_is_left_for_what_it_does_not_do() {
        // It never asks.
        assert_eq!(watch(1, LONG, None, LONG).until_gone().await, Gone::SlowHead);
        // It asks once, and then nothing comes.
        let one = watch(LONG, 1, None, LONG);
        drop(one.request(false));
        assert_eq!(one.until_gone().await, Gone::Idle);
        // It begins to ask again, and does not go on.
        let one = watch(1, LONG, None, LONG);
        drop(one.request(false));
        one.came();
        assert_eq!(one.until_gone().await, Gone::SlowHead);
        // It takes nothing.
        let one = watch(LONG, LONG, Some(1), 1);
        let (_active, mut body) = (one.request(false), one.body());
        body.wait();
        assert_eq!(one.until_gone().await, Gone::SlowBody);
    }

    #[tokio::test]
    async fn a_client_is_not_left_for_what_others_do() {
        let soon = Duration::from_millis(50);
        let stays = async |watch: &Arc<Watch>| tokio::time::timeout(soon, watch.until_gone()).await.is_err();
        // A request that a source works on, for longer than anything may take.
        let one = watch(1, 1, Some(1_000_000), 1);
        let active = one.request(false);
        assert!(stays(&one).await);
        // A client that takes what there is, however little that is.
        let mut body = one.body();
        body.wait();
        body.moved(u64::MAX);
        assert!(stays(&one).await);
        drop(active);
        // What comes between requests of HTTP/2 need not be the beginning of one.
        let one = watch(1, LONG, None, LONG);
        drop(one.request(true));
        one.came();
        assert!(stays(&one).await);
    }
}
