//! How many connections there are, and how many of them are one client's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::watch::Gone;
use crate::load::group;

const SHARDS: usize = 16;

/// Counts them, for all listeners together.
#[derive(Debug)]
pub struct Connections {
    room: Arc<Semaphore>,
    most: usize,
    per_client: Option<u32>,
    shards: Vec<Mutex<BTreeMap<IpAddr, u32>>>,
    failed_accepts: AtomicU64,
    is_failing: AtomicBool,
    refused: AtomicU64,
    left: [AtomicU64; 3],
}

/// What became of connections, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That could not be accepted: there were no descriptors, mostly.
    pub failed_accepts: u64,
    /// That were one too many of their client's, or had no header of the PROXY protocol where one belongs.
    pub refused: u64,
    /// That asked for nothing more.
    pub idle: u64,
    /// Whose head did not come to its end.
    pub slow_heads: u64,
    /// That took an answer, or sent an upload, too slowly.
    pub slow_bodies: u64,
}

impl Connections {
    /// At most `most` in all, and `per_client` of one address, or of one /64 of IPv6.
    #[must_use]
    pub fn new(most: usize, per_client: Option<u32>) -> Arc<Self> {
        let most = most.min(Semaphore::MAX_PERMITS);
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            room: Arc::new(Semaphore::new(most)),
            most,
            per_client,
            shards,
            failed_accepts: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            left: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// What became of them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [idle, slow_heads, slow_bodies] = self.left.each_ref().map(read);
        let (failed_accepts, refused) = (read(&self.failed_accepts), read(&self.refused));
        Counts { failed_accepts, refused, idle, slow_heads, slow_bodies }
    }

    /// At most so many in all.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// One could not be accepted. It is told once, until one can be again.
    pub(super) fn not_accepted(&self, error: &std::io::Error) {
        self.failed_accepts.fetch_add(1, Ordering::Relaxed);
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "failed to accept a connection; waiting until it goes again");
        }
    }

    /// One was accepted.
    pub(super) fn accepted(&self) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("connections are accepted again");
        }
    }

    /// One was refused before it could ask for anything.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A client was left.
    pub(super) fn leave(&self, gone: Gone) {
        let counter = match gone {
            Gone::Idle => &self.left[0],
            Gone::SlowHead => &self.left[1],
            Gone::SlowBody => &self.left[2],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until there is room for another.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("it is never closed")
    }

    /// Whether nine of ten places are taken: then those who come should not stay when they are done.
    pub(super) fn is_tight(&self) -> bool {
        self.room.available_permits() * 10 <= self.most
    }

    /// Another of this client; none when it has as many as it may.
    pub(super) fn of(self: &Arc<Self>, client: IpAddr) -> Option<ClientGuard> {
        let client = group(client);
        let Some(per_client) = self.per_client else { return Some(ClientGuard { connections: None, client }) };
        let mut shard = self.shard(client).lock().expect("no thread panics while it holds this");
        let count = shard.entry(client).or_default();
        if *count >= per_client {
            return None;
        }
        *count += 1;
        Some(ClientGuard { connections: Some(self.clone()), client })
    }

    fn shard(&self, client: IpAddr) -> &Mutex<BTreeMap<IpAddr, u32>> {
        let sum = match client {
            IpAddr::V4(v4) => v4.octets().iter().map(|byte| usize::from(*byte)).sum::<usize>(),
            IpAddr::V6(v6) => v6.octets().iter().map(|byte| usize::from(*byte)).sum(),
        };
        &self.shards[sum % SHARDS]
    }
}

/// A connection that counts as its client's until it is dropped.
#[derive(Debug)]
pub(super) struct ClientGuard {
    connections: Option<Arc<Connections>>,
    client: IpAddr,
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        let Some(connections) = &self.connections else { return };
        let mut shard = connections.shard(self.client).lock().expect("no thread panics while it holds this");
        if let Some(count) = shard.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.client);
            }
        }
    }
}

/// Tells a client over plain HTTP that there is no room, without reading what it asks for.
pub(super) async fn turn_away(mut stream: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // Whether it arrives is the client's matter.
    let _ = stream.write_all(ANSWER).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_as_many_as_it_may_and_no_trace_is_left() {
        let connections = Connections::new(10, Some(2));
        let of = |client: &str| connections.of(client.parse().unwrap());
        let (one, two) = (of("2001:db8::1"), of("2001:db8::2"));
        assert!(one.is_some() && two.is_some());
        assert!(of("2001:db8::3").is_none(), "a /64 is one client");
        assert!(of("2001:db8:0:1::1").is_some() && of("192.0.2.1").is_some());
        drop(one);
        assert!(of("2001:db8::3").is_some());
        drop(two);
        assert!(connections.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[tokio::test]
    async fn when_nine_of_ten_places_are_taken_it_is_tight() {
        let connections = Connections::new(10, None);
        let mut taken = Vec::new();
        for _ in 0..8 {
            taken.push(connections.room().await);
        }
        assert!(!connections.is_tight());
        taken.push(connections.room().await);
        assert!(connections.is_tight());
        taken.clear();
        assert!(!connections.is_tight());
    }
}
