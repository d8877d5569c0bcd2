//! A body on its way from a client to a source.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::body::BodyError;
use super::watch::Waits;

/// A source that says nothing about whether it wants a body gets it after so long a time (RFC 9110, 10.1.1).
const UNDECIDED: Duration = Duration::from_secs(1);

/// Told by a source that it wants the body.
pub(crate) type Wanted = Arc<Mutex<Option<oneshot::Sender<()>>>>;

/// What a client sends, as it comes.
pub(super) struct Uploading {
    body: Incoming,
    waits: Waits,
    gate: Option<Gate>,
}

type Gate = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Uploading {
    pub(super) fn new(body: Incoming, waits: Waits) -> Self {
        Self { body, waits, gate: None }
    }

    /// The same, which waits until the source says that it wants it: the client waits for that, too, and need not send
    /// what is refused anyway.
    pub(super) fn when_wanted(self) -> (Self, Wanted) {
        let (sender, receiver) = oneshot::channel();
        let gate: Gate = Box::pin(async move {
            match tokio::time::timeout(UNDECIDED, receiver).await {
                Ok(Ok(())) | Err(_) => true,
                // It has answered without.
                Ok(Err(_)) => false,
            }
        });
        (Self { gate: Some(gate), ..self }, Arc::new(Mutex::new(Some(sender))))
    }
}

impl Body for Uploading {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(gate) = &mut this.gate {
            match gate.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(true) => this.gate = None,
                Poll::Ready(false) => return Poll::Ready(Some(Err("the source does not want it".into()))),
            }
        }
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Pending => this.waits.wait(),
            Poll::Ready(Some(Ok(frame))) => this.waits.moved(frame.data_ref().map_or(0, |data| data.len() as u64)),
            Poll::Ready(_) => this.waits.moved(0),
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
