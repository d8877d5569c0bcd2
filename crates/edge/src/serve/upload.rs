//! A body on its way from a client to a source.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// How far an upload is, for the one who waits for the answer to it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// There where the client waits until its body is wanted.
    wanted: Mutex<Option<oneshot::Sender<()>>>,
    given: AtomicU64,
    waits_for_client: AtomicBool,
}

impl Progress {
    /// Whether the client waits until the source wants the body.
    pub(crate) fn is_asking(&self) -> bool {
        self.wanted.lock().expect("no thread panics while it holds this").is_some()
    }

    /// The source wants it.
    pub(crate) fn want(&self) {
        if let Some(wanted) = self.wanted.lock().expect("no thread panics while it holds this").take() {
            // One that has given up waits no more.
            let _ = wanted.send(());
        }
    }

    /// The source has answered.
    pub(crate) fn answered(&self) {
        drop(self.wanted.lock().expect("no thread panics while it holds this").take());
    }

    /// Bytes that the source was given so far.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Whether it is the client that does not go on.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }
}

/// What a client sends, as it comes.
pub(super) struct Uploading {
    body: Incoming,
    waits: Waits,
    gate: Option<Gate>,
    progress: Arc<Progress>,
}

type Gate = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Uploading {
    pub(super) fn new(body: Incoming, waits: Waits) -> Self {
        Self { body, waits, gate: None, progress: Arc::default() }
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// The same, which waits until the source says that it wants it: the client waits for that, too, and need not send
    /// what is refused anyway.
    pub(super) fn when_wanted(self) -> Self {
        let (sender, receiver) = oneshot::channel();
        *self.progress.wanted.lock().expect("no thread panics while it holds this") = Some(sender);
        let gate: Gate = Box::pin(async move {
            match tokio::time::timeout(UNDECIDED, receiver).await {
                Ok(Ok(())) | Err(_) => true,
                // It has answered without.
                Ok(Err(_)) => false,
            }
        });
        Self { gate: Some(gate), ..self }
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
        let moved = match &polled {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(frame))) => Some(frame.data_ref().map_or(0, |data| data.len() as u64)),
            Poll::Ready(_) => Some(0),
        };
        this.progress.waits_for_client.store(moved.is_none(), Ordering::Relaxed);
        match moved {
            None => this.waits.wait(),
            Some(bytes) => {
                this.waits.moved(bytes);
                this.progress.given.fetch_add(bytes, Ordering::Relaxed);
            }
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
