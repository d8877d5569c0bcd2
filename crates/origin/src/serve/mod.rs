//! Listeners, connections, and which path means what.

mod address;
mod body;
mod files;
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
pub use router::Router;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

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

/// Serves on `listener` until `end` is true, and then what is under way for a while. At most `most` connections at once:
/// the others wait.
pub async fn serve<A: Answer>(listener: TcpListener, answers: Arc<A>, most: u32, mut end: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(most as usize));
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
        let _ = stream.set_nodelay(true);
        let answers = answers.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answers = answers.clone();
            async move { Ok::<_, Infallible>(answers.answer(request, peer).await) }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // How a client's connection ends is the client's matter.
            let _ = connection.await;
            drop(permit);
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
