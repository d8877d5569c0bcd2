//! Bodies on their way to clients.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::relayed::Relayed;
use super::watch::{Active, Waits};
use super::wire::Lane;
use crate::access_log::Entry;
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
    /// It is another edge of the fleet.
    pub(super) near: bool,
    /// The host of the page that it is for.
    pub(super) referer: Option<HeaderValue>,
    /// The object whose bytes are at hand.
    pub(super) of: Option<Arc<Object>>,
    /// Where the connection takes places in files for bytes.
    pub(super) lane: Option<Lane>,
}

impl Meter {
    /// So many bytes went out, of this object if it is one.
    fn note(&self, sent: u64, object: Option<&Object>) {
        self.load.add_sent(sent);
        if let Some(due) = self.load.top.due(sent) {
            let object = object.map_or_else(|| PASSED.to_owned(), |object| object.ask.name());
            let referer = self.referer.as_ref().and_then(referer_host);
            self.load.top.add(due, Some(object), referer);
        }
    }
}

/// Stands for all that is no object.
const PASSED: &str = "(passed on)";

/// The host of a page, in small letters.
pub(super) fn referer_host(referer: &HeaderValue) -> Option<String> {
    let (_, rest) = referer.to_str().ok()?.split_once("://")?;
    let host = rest.split(['/', '?', '#', ':']).next()?;
    (!host.is_empty() && host.len() <= 255).then(|| host.to_ascii_lowercase())
}

/// What goes on while an answer is on its way.
#[derive(Debug)]
pub(super) struct Attendance {
    /// That it is under way.
    pub(super) _active: Active,
    /// Whether it waits for the client.
    pub(super) waits: Waits,
    /// Written down when it is over.
    pub(super) entry: Option<Box<Entry>>,
    /// What the client was given last.
    pub(super) given: u64,
}

/// A body.
pub struct Outgoing {
    source: Source,
    meter: Option<Meter>,
    waiting: Option<Pin<Box<Sleep>>>,
    length: Option<u64>,
    attendance: Option<Attendance>,
}

enum Source {
    Bytes(Option<Bytes>),
    Pieces { engine: Arc<Engine>, object: Arc<Object>, near: bool, pieces: VecDeque<Piece>, state: State },
    Relayed(Box<Relayed>),
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
        Self { source, meter: None, waiting: None, length, attendance: None }
    }

    /// Bytes of an object.
    pub(super) fn at_hand(bytes: Bytes, object: Arc<Object>, meter: Meter) -> Self {
        let mut outgoing = Self::bytes(bytes);
        outgoing.meter = Some(Meter { of: Some(object), ..meter });
        outgoing
    }

    pub(super) fn incoming(body: Relayed, meter: Meter) -> Self {
        let length = body.length();
        let source = Source::Relayed(Box::new(body));
        Self { source, meter: Some(meter), waiting: None, length, attendance: None }
    }

    pub(super) fn pieces(
        engine: Arc<Engine>,
        object: Arc<Object>,
        pieces: VecDeque<Piece>,
        length: Option<u64>,
        meter: Meter,
    ) -> Self {
        let source = Source::Pieces { engine, object, near: meter.near, pieces, state: State::Between };
        Self { source, meter: Some(meter), waiting: None, length, attendance: None }
    }
}

impl Outgoing {
    /// The same, attended.
    pub(super) fn attended(self, attendance: Attendance) -> Self {
        let mut outgoing = self;
        outgoing.attendance = Some(attendance);
        outgoing
    }
}

impl Source {
    fn poll(&mut self, context: &mut Context<'_>, lane: Option<&Lane>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Relayed(body) => body.poll(context),
            Self::Pieces { engine, object, near, pieces, state } => loop {
                let result = match std::mem::replace(state, State::Between) {
                    State::Between => match pieces.pop_front() {
                        None => return Poll::Ready(None),
                        Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                        Some(Piece::Range(start, end)) => {
                            let reader =
                                Reader::new(engine.clone(), object.clone(), start, end, lane.is_some()).near(*near);
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

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(entry) = self.attendance.as_mut().and_then(|attendance| attendance.entry.as_mut()) {
            entry.set_whole(self.length == Some(0));
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
        if let Some(attendance) = &mut this.attendance {
            attendance.waits.moved(std::mem::take(&mut attendance.given));
        }
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
                if let Some(attendance) = &mut this.attendance {
                    attendance.given = sent;
                    attendance.waits.wait();
                    if let Some(entry) = &mut attendance.entry {
                        entry.add_sent(sent);
                    }
                }
                if let Some(meter) = &this.meter {
                    let object = match &this.source {
                        Source::Pieces { object, .. } => Some(&**object),
                        Source::Bytes(_) | Source::Relayed(_) => meter.of.as_deref(),
                    };
                    meter.note(sent, object);
                    let take = |limiter: &Arc<Limiter>| limiter.take(meter.client, sent, meter.load.shed_step());
                    if let Some(wait) = meter.limiter.as_ref().map(take).filter(|wait| !wait.is_zero()) {
                        this.waiting = Some(Box::pin(tokio::time::sleep(wait)));
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => {
                // One whose length nobody knew.
                this.length = Some(this.length.unwrap_or(0));
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0) && !matches!(&self.source, Source::Relayed(body) if !body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
