//! When a request's connection stood, and when it was secure.
//!
//! reqwest tells neither, so the two moments are caught where they happen, inside the task that polls the request: the
//! first by the TLS key exchange as it begins, the second by a layer around reqwest's connector as it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::clock::Stopwatch;
use crate::model::{Measured, Stage};

/// The moments of one request, microseconds since it began.
#[derive(Debug)]
pub(super) struct Phases {
    clock: Stopwatch,
    connected: OnceLock<u32>,
    secured: OnceLock<u32>,
    answered: OnceLock<u32>,
}

impl Phases {
    /// Begins now.
    pub(super) fn begin() -> Self {
        Self {
            clock: Stopwatch::start(),
            connected: OnceLock::new(),
            secured: OnceLock::new(),
            answered: OnceLock::new(),
        }
    }

    /// The response head is there.
    pub(super) fn answered(&self) {
        self.answered.get_or_init(|| self.clock.micros());
    }

    /// How far the request has come.
    pub(super) fn stage(&self) -> Stage {
        match (self.connected.get(), self.secured.get(), self.answered.get()) {
            (_, _, Some(_)) => Stage::Body,
            (_, Some(_), None) => Stage::Request,
            (Some(_), None, None) => Stage::Tls,
            (None, None, None) => Stage::Connect,
        }
    }

    /// The moments so far, and now as the end.
    pub(super) fn measured(&self) -> Measured {
        Measured {
            connect_us: self.connected.get().copied(),
            secure_us: self.secured.get().copied(),
            first_byte_us: self.answered.get().copied(),
            total_us: self.clock.micros(),
            ..Measured::default()
        }
    }
}

/// Runs `request` so that [`connected`] and [`MarkSecured`] find `phases`.
pub(super) async fn watch<F: Future>(phases: std::sync::Arc<Phases>, request: F) -> F::Output {
    CURRENT.scope(phases, request).await
}

/// Notes that the TCP connection stands. Does nothing outside [`watch`].
pub(super) fn connected() {
    let _ = CURRENT.try_with(|phases| phases.connected.get_or_init(|| phases.clock.micros()).to_owned());
}

fn secured() {
    let _ = CURRENT.try_with(|phases| phases.secured.get_or_init(|| phases.clock.micros()).to_owned());
}

tokio::task_local! {
    static CURRENT: std::sync::Arc<Phases>;
}

/// Notes when the connector it is laid around has finished.
#[derive(Clone, Debug)]
pub(super) struct MarkSecured;

impl<S> Layer<S> for MarkSecured {
    type Service = Marked<S>;

    fn layer(&self, inner: S) -> Marked<S> {
        Marked(inner)
    }
}

/// A connector under [`MarkSecured`].
#[derive(Clone, Debug)]
pub(super) struct Marked<S>(S);

impl<S, R> Service<R> for Marked<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connection = connecting.await?;
            secured();
            Ok(connection)
        })
    }
}
