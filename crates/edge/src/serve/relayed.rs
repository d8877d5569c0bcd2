//! A body on its way from a source to one client, that nobody else reads.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::body::BodyError;

/// What a source sends, which may be silent for so long.
pub(super) struct Relayed {
    body: Incoming,
    patience: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Relayed {
    pub(super) fn new(body: Incoming, patience: Duration) -> Self {
        Self { body, patience, silence: None }
    }

    /// Its length, if it told.
    pub(super) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// The next bytes. Trailers end here.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let polled = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
            if polled.is_ready() {
                self.silence = None;
                return polled;
            }
            let patience = self.patience;
            let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            return silence.as_mut().poll(context).map(|()| Some(Err("the source is silent".into())));
        }
    }
}
