//! Connections whose clients must take what they are sent.
//!
//! Only the time counts in which there is something to send and the client does not take it: whoever asks for nothing is
//! none of this module's business.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::clock::Stopwatch;
use crate::config::Allowance;
use crate::metrics::Metrics;

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// At least so much ...
    pub least: Allowance,
    /// ... looked at after so long.
    pub after: Duration,
}

#[derive(Debug)]
pub(super) struct Paced {
    stream: TcpStream,
    pace: Option<Pace>,
    metrics: Arc<Metrics>,
    /// Since there was something that the client did not take.
    waiting: Option<Stopwatch>,
    /// Such times before, since it was last looked.
    waited: Duration,
    /// What it took since it was last looked.
    taken: u64,
    alarm: Pin<Box<Sleep>>,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, pace: Option<Pace>, metrics: Arc<Metrics>) -> Self {
        let alarm = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { stream, pace, metrics, waiting: None, waited: Duration::ZERO, taken: 0, alarm }
    }

    /// What became of an attempt to send.
    fn judge(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Some(pace) = self.pace else { return sent };
        match sent {
            Poll::Ready(result) => {
                self.waited += self.waiting.take().map(|since| since.elapsed()).unwrap_or_default();
                self.taken += result.as_ref().map_or(0, |bytes| *bytes as u64);
                Poll::Ready(result)
            }
            Poll::Pending => {
                if self.waiting.is_none() {
                    self.waiting = Some(Stopwatch::start());
                    self.alarm = Box::pin(tokio::time::sleep(pace.after.saturating_sub(self.waited)));
                }
                while self.alarm.as_mut().poll(context).is_ready() {
                    let waited = self.waited + self.waiting.take().map(|since| since.elapsed()).unwrap_or_default();
                    let wanted = waited.as_nanos() * u128::from(pace.least.bytes) / pace.least.per.as_nanos();
                    if waited >= pace.after && u128::from(self.taken) < wanted {
                        self.metrics.slow_downloads.add(1);
                        return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client takes it too slowly")));
                    }
                    if waited >= pace.after {
                        (self.waited, self.taken) = (Duration::ZERO, 0);
                    } else {
                        self.waited = waited;
                    }
                    self.waiting = Some(Stopwatch::start());
                    self.alarm = Box::pin(tokio::time::sleep(pace.after.saturating_sub(self.waited)));
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(context, sent)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.judge(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
