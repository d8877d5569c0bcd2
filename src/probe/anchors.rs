//! Looks at ourselves: can we reach hosts that are not the fleet's?
//!
//! An anchor that refuses the connection has answered all the same: packets go out and come back. Only silence, an
//! unreachable network and our own trouble count as not reached.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::BoxFuture;
use crate::clock;
use crate::model::AnchorRound;

/// One TCP connection to each of `anchors`, side by side.
pub(super) async fn ask(anchors: &[SocketAddr], timeout: Duration) -> AnchorRound {
    // When they were asked, not when the last one answered: what fails meanwhile waits for the next look.
    let at = clock::now();
    let asked = anchors.iter().map(|anchor| {
        let anchor = *anchor;
        Box::pin(async move { answers(anchor, timeout).await }) as BoxFuture<'_, bool>
    });
    let answers = super::side_by_side(asked.collect()).await;
    let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
    AnchorRound { at, ok: count(answers.iter().filter(|answered| **answered).count()), of: count(anchors.len()) }
}

async fn answers(anchor: SocketAddr, timeout: Duration) -> bool {
    match tokio::time::timeout(timeout, TcpStream::connect(anchor)).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
        }
        Err(_) => false,
    }
}
