//! Bodies on their way to clients.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::wire::Lane;
use crate::fill::{Engine, Object, Part, ReadError, Reader};
use crate::load::{Limiter, Load};

/// What a body may fail with.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

type Reading = Pin<Box<dyn Future<Output = (Box<Reader>, Result<Option<Part>, ReadError>)> + Send>>;

/// A piece of a body that consists of several.
#[derive(Debug)]
pub(super) enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// This part of the object, or all from there on.
    Range(u64, Option<u64>),
}

/// Whom it goes to, for counting and pacing.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) load: Arc<Load>,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) client: IpAddr,
    /// Where the connection takes places in files for bytes.
    pub(super) lane: Option<Lane>,
}

/// A body.
pub struct Outgoing {
    source: Source,
    meter: Option<Meter>,
    waiting: Option<Pin<Box<Sleep>>>,
    length: Option<u64>,
}

enum Source {
    Bytes(Option<Bytes>),
    Pieces { engine: Arc<Engine>, object: Arc<Object>, pieces: VecDeque<Piece>, state: State },
    Incoming(Incoming),
}

enum State {
    Between,
    Reading(Box<Reader>),
    Waiting(Reading),
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Outgoing {
    pub(super) fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = Some(bytes.len() as u64);
        let source = Source::Bytes(Some(bytes).filter(|bytes| !bytes.is_empty()));
        Self { source, meter: None, waiting: None, length }
    }

    /// Bytes of an object.
    pub(super) fn at_hand(bytes: Bytes, meter: Meter) -> Self {
        Self { meter: Some(meter), ..Self::bytes(bytes) }
    }

    pub(super) fn incoming(body: Incoming, meter: Meter) -> Self {
        let length = body.size_hint().exact();
        Self { source: Source::Incoming(body), meter: Some(meter), waiting: None, length }
    }

    pub(super) fn pieces(
        engine: Arc<Engine>,
        object: Arc<Object>,
        pieces: VecDeque<Piece>,
        length: Option<u64>,
        meter: Meter,
    ) -> Self {
        let source = Source::Pieces { engine, object, pieces, state: State::Between };
        Self { source, meter: Some(meter), waiting: None, length }
    }
}

impl Source {
    fn poll(&mut self, context: &mut Context<'_>, lane: Option<&Lane>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Incoming(body) => loop {
                return match Pin::new(&mut *body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => Poll::Ready(Some(Ok(data))),
                        // Trailers end here.
                        Err(_) => continue,
                    },
                    Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
                    Poll::Ready(None) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                };
            },
            Self::Pieces { engine, object, pieces, state } => loop {
                let result = match std::mem::replace(state, State::Between) {
                    State::Between => match pieces.pop_front() {
                        None => return Poll::Ready(None),
                        Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                        Some(Piece::Range(start, end)) => {
                            let reader = Reader::new(engine.clone(), object.clone(), start, end, lane.is_some());
                            *state = State::Reading(Box::new(reader));
                            continue;
                        }
                    },
                    // Most of the time the next bytes are at hand, and no future is needed for them.
                    State::Reading(mut reader) => match reader.try_next() {
                        Some(result) => (reader, result),
                        None => {
                            *state = State::Waiting(Box::pin(async move {
                                let result = reader.next().await;
                                (reader, result)
                            }));
                            continue;
                        }
                    },
                    State::Waiting(mut reading) => match reading.as_mut().poll(context) {
                        Poll::Ready(done) => done,
                        Poll::Pending => {
                            *state = State::Waiting(reading);
                            return Poll::Pending;
                        }
                    },
                };
                match result {
                    (reader, Ok(Some(part))) => {
                        *state = State::Reading(reader);
                        let bytes = match (part, lane) {
                            (Part::Bytes(bytes), _) => bytes,
                            (Part::Span(span), Some(lane)) => lane.stand_in(span),
                            (Part::Span(_), None) => unreachable!("no reader without a lane gives spans"),
                        };
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    (_, Ok(None)) => {}
                    (_, Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                }
            },
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(waiting) = &mut this.waiting {
            if waiting.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.waiting = None;
        }
        let lane = this.meter.as_ref().and_then(|meter| meter.lane.as_ref());
        match this.source.poll(context, lane) {
            Poll::Ready(Some(Ok(bytes))) => {
                let sent = bytes.len() as u64;
                this.length = this.length.map(|length| length.saturating_sub(sent));
                if let Some(meter) = &this.meter {
                    meter.load.add_sent(sent);
                    let take = |limiter: &Arc<Limiter>| limiter.take(meter.client, sent, meter.load.shed_step());
                    if let Some(wait) = meter.limiter.as_ref().map(take).filter(|wait| !wait.is_zero()) {
                        this.waiting = Some(Box::pin(tokio::time::sleep(wait)));
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0) && !matches!(&self.source, Source::Incoming(body) if !body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
