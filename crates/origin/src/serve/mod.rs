//! Listeners, connections, and which path means what.

mod address;
mod body;
mod files;
mod paced;
mod range;
mod removal;
mod router;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use body::Outgoing;
pub use files::Files;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
pub use paced::Pace;
use paced::Paced;
pub use router::Router;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::config::Network;
use crate::limits::{Counts, Group};
use crate::metrics::Metrics;

/// To send a request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is under way when the end is near may take so long.
const DRAIN: Duration = Duration::from_secs(30);
/// Of a request's head.
const LARGEST_HEAD: usize = 64 << 10;

/// Answers requests.
pub trait Answer: Send + Sync + 'static {
    /// The answer to one.
    fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response<Outgoing>> + Send;
}

/// How many may be connected, and how slow they may be.
#[derive(Clone, Debug)]
pub struct Manners {
    /// All together; the others wait.
    pub most: u32,
    /// Of one address; the others are sent away.
    pub most_each: u32,
    /// But for these.
    pub exempt: Vec<Network>,
    /// How slow they may be.
    pub pace: Option<Pace>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// What those are told who have too many connections.
const SENT_AWAY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 43\r\n\r\n\
    too many connections come from this address";

/// Serves on `listener` until `end` is true, and then what is under way for a while.
pub async fn serve<A: Answer>(
    listener: TcpListener,
    answers: Arc<A>,
    manners: Manners,
    mut end: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(manners.most as usize));
    let counts = Arc::new(Counts::default());
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD);
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let permit = room.clone().acquire_owned().await;
                (listener.accept().await, permit)
            } => accepted,
            _ = end.wait_for(|end| *end) => break,
        };
        let (stream, peer, permit) = match accepted {
            (Ok((stream, peer)), Ok(permit)) => (stream, peer, permit),
            (accepted, _) => {
                // Out of descriptors, mostly: some come back when clients leave.
                tracing::debug!(error = ?accepted.err(), "failed to accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let is_exempt = manners.exempt.iter().any(|network| network.has(peer.ip()));
        let counted = counts.enter(Group::of(peer.ip()), if is_exempt { u32::MAX } else { manners.most_each });
        let Some(counted) = counted else {
            manners.metrics.refused_connections.add(1);
            // As far as it can be told without waiting.
            let _ = stream.try_write(SENT_AWAY);
            continue;
        };
        let _ = stream.set_nodelay(true);
        let stream = Paced::new(stream, manners.pace, manners.metrics.clone());
        let answers = answers.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answers = answers.clone();
            async move { Ok::<_, Infallible>(answers.answer(request, peer).await) }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // How a client's connection ends is the client's matter.
            let _ = connection.await;
            drop((permit, counted));
        });
    }
    drop(listener);
    // Clients that never read would keep it for ever.
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

/// A text.
#[must_use]
pub fn answer(status: StatusCode, body: String) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::bytes(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
