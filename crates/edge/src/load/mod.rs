//! What this edge carries, what it may carry, and what it does when that is too much.

mod limit;
mod top;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

pub use limit::{Limiter, group};
use serde::Serialize;
pub use top::{Heavy, Kind, Top};

use crate::clock::Stopwatch;

/// Over how many seconds egress is averaged: long enough for a burst to pass, short enough to be news.
const WINDOW: usize = 5;
const MINUTE: usize = 60;
/// Shares of the capacity from which on the edge is busy, and overloaded.
const BUSY_PERCENT: u64 = 80;
const OVERLOAD_PERCENT: u64 = 95;
/// From this brownout step on, the pages that most goes out for are refused: so many of them, if each is worth it.
const REFUSING: u8 = 2;
const REFUSED: usize = 3;
const WORTH_PERCENT: u64 = 5;

/// Counters that everything adds to; read once a second.
#[derive(Debug)]
pub struct Load {
    capacity: u64,
    /// Connections that there may be; none: any number.
    room: Option<usize>,
    started: Stopwatch,
    sent: AtomicU64,
    connections: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
    draining: AtomicBool,
    shed: Mutex<Shed>,
    /// For what and for whom it is sent.
    pub top: Top,
    /// Hosts of pages that get nothing until the brownout is over.
    refused: Mutex<BTreeSet<String>>,
    refusals: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shed {
    step: u8,
    /// Since when, and for how long.
    set: Option<(Stopwatch, Duration)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: Duration,
    sent: u64,
    hits: u64,
    misses: u64,
    failures: u64,
}

/// The health document's word for how the edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Near its capacity.
    Busy,
    /// At its capacity.
    Overload,
    /// About to end.
    Draining,
    /// No source answers, and somebody wanted something.
    Failing,
}

/// What the last minute was like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Bit/s sent to clients.
    pub egress: u64,
    /// Of all requests that could be, how many were answered from the cache; none: there were none.
    pub hit_ratio: Option<f64>,
    /// Fills that failed.
    pub failures: u64,
}

impl Load {
    /// For a line of `capacity` bit/s.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            room: None,
            started: Stopwatch::start(),
            sent: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            shed: Mutex::default(),
            top: Top::default(),
            refused: Mutex::default(),
            refusals: AtomicU64::new(0),
            samples: Mutex::new(VecDeque::from([Sample::default()])),
        }
    }

    /// The same, for at most so many connections.
    #[must_use]
    pub fn with_room(self, room: usize) -> Self {
        Self { room: Some(room), ..self }
    }

    /// Bytes of a body went to a client.
    pub fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A request was answered from the cache, or not.
    pub fn add_request(&self, hit: bool) {
        if hit { &self.hits } else { &self.misses }.fetch_add(1, Ordering::Relaxed);
    }

    /// A client connected. It counts until the guard is dropped.
    #[must_use]
    pub fn connection(self: &std::sync::Arc<Self>) -> ConnectionGuard {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(self.clone())
    }

    /// From now on the edge is about to end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Sets the brownout step, for so long. Whose pages are refused is decided when it rises, and holds until it has
    /// ended: nothing goes out any more for who is refused, by which it could be chosen again. Pages of the sites that
    /// are served, and of `own`, are never refused.
    pub fn shed(&self, step: u8, duration: Duration, own: &str) {
        let before = self.shed_step();
        let mut refused = self.refused.lock().expect("no thread panics while it holds this");
        if step < REFUSING || before < REFUSING {
            refused.clear();
        }
        if step >= REFUSING && before < REFUSING {
            let objects = self.top.heaviest(Kind::Object, usize::MAX);
            let all: u64 = objects.iter().map(|heavy| heavy.bps).sum();
            let sites: BTreeSet<&str> = objects.iter().filter_map(|heavy| heavy.name.split('/').next()).collect();
            let heaviest = self.top.heaviest(Kind::Referer, usize::MAX).into_iter();
            let worth = |heavy: &Heavy| {
                let is_own = heavy.name == own || sites.contains(heavy.name.as_str());
                !is_own && heavy.bps.saturating_mul(100) >= all * WORTH_PERCENT
            };
            refused.extend(heaviest.filter(worth).take(REFUSED).map(|heavy| heavy.name));
            if !refused.is_empty() {
                tracing::warn!(referers = ?refused, "refusing the pages that most is sent for");
            }
        }
        drop(refused);
        let set = (step > 0).then(|| (Stopwatch::start(), duration));
        *self.shed.lock().expect("no thread panics while it holds this") = Shed { step, set };
    }

    /// The brownout step that holds now.
    #[must_use]
    pub fn shed_step(&self) -> u8 {
        let shed = *self.shed.lock().expect("no thread panics while it holds this");
        match shed.set {
            Some((since, duration)) if since.elapsed() < duration => shed.step,
            _ => 0,
        }
    }

    /// Whether the page of this host is refused at the moment. One that is counts as such.
    pub fn refuses(&self, referer: &str) -> bool {
        if self.shed_step() < REFUSING {
            return false;
        }
        let refused = self.refused.lock().expect("no thread panics while it holds this").contains(referer);
        self.refusals.fetch_add(u64::from(refused), Ordering::Relaxed);
        refused
    }

    /// Whose pages are refused at the moment, and how many requests were.
    #[must_use]
    pub fn refused(&self) -> (Vec<String>, u64) {
        let refusals = self.refusals.load(Ordering::Relaxed);
        if self.shed_step() < REFUSING {
            return (Vec::new(), refusals);
        }
        let refused = self.refused.lock().expect("no thread panics while it holds this");
        (refused.iter().cloned().collect(), refusals)
    }

    /// Notes how far the counters are; called once a second.
    pub fn sample(&self, failures: u64) {
        self.top.fade();
        self.sample_at(self.started.elapsed(), failures);
    }

    fn sample_at(&self, at: Duration, failures: u64) {
        let sample = Sample {
            at,
            sent: self.sent.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            failures,
        };
        let mut samples = self.samples.lock().expect("no thread panics while it holds this");
        samples.push_back(sample);
        while samples.len() > MINUTE + 1 {
            samples.pop_front();
        }
    }

    /// What the last seconds were like.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let samples = self.samples.lock().expect("no thread panics while it holds this");
        let newest = samples.back().copied().unwrap_or_default();
        let oldest = samples.front().copied().unwrap_or_default();
        let recent = samples.iter().rev().nth(WINDOW).copied().unwrap_or(oldest);
        let milliseconds = u64::try_from((newest.at - recent.at).as_millis()).unwrap_or(u64::MAX).max(1);
        let (hits, misses) = (newest.hits - oldest.hits, newest.misses - oldest.misses);
        Figures {
            egress: (newest.sent - recent.sent).saturating_mul(8000) / milliseconds,
            hit_ratio: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
            failures: newest.failures.saturating_sub(oldest.failures),
        }
    }

    /// How it is, given whether any source answers.
    #[must_use]
    pub fn status(&self, figures: &Figures, any_source: bool) -> Status {
        if self.draining.load(Ordering::Relaxed) {
            return Status::Draining;
        }
        // A silent source alone is no fault of this edge's: what it has it serves.
        if !any_source && figures.failures > 0 {
            return Status::Failing;
        }
        let carried = figures.egress.saturating_mul(100) / self.capacity.max(1);
        let taken = self.room.map_or(0, |room| self.connections() as u64 * 100 / (room as u64).max(1));
        match carried.max(taken) {
            percent if percent >= OVERLOAD_PERCENT => Status::Overload,
            percent if percent >= BUSY_PERCENT => Status::Busy,
            _ => Status::Ok,
        }
    }

    /// What the line carries, in bit/s.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Clients that are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Since it was started.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Bytes sent, hits and misses, all since the start.
    #[must_use]
    pub fn totals(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.sent), read(&self.hits), read(&self.misses))
    }
}

/// A connection that counts.
#[derive(Debug)]
pub struct ConnectionGuard(std::sync::Arc<Load>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn egress_is_what_was_sent_in_the_last_seconds() {
        let load = Load::new(1_000_000);
        for second in 1..=20 {
            load.add_sent(if second > 15 { 120_000 } else { 1 });
            load.sample_at(seconds(second), 0);
        }
        let figures = load.figures();
        assert_eq!(figures.egress, 960_000);
        assert_eq!(load.status(&figures, true), Status::Overload);
        for second in 21..=26 {
            load.sample_at(seconds(second), 0);
        }
        assert_eq!(load.status(&load.figures(), true), Status::Ok);
    }

    #[test]
    fn one_without_room_for_more_connections_is_overloaded() {
        let load = std::sync::Arc::new(Load::new(1_000_000).with_room(20));
        let mut taken: Vec<_> = (0..15).map(|_| load.connection()).collect();
        assert_eq!(load.status(&load.figures(), true), Status::Ok);
        taken.push(load.connection());
        assert_eq!(load.status(&load.figures(), true), Status::Busy);
        taken.extend((0..3).map(|_| load.connection()));
        assert_eq!(load.status(&load.figures(), true), Status::Overload);
    }

    #[test]
    fn a_silent_source_is_a_failure_once_something_was_wanted_of_it() {
        let load = Load::new(1_000_000);
        load.sample_at(seconds(1), 0);
        assert_eq!(load.status(&load.figures(), false), Status::Ok);
        load.sample_at(seconds(2), 3);
        assert_eq!(load.status(&load.figures(), false), Status::Failing);
        assert_eq!(load.status(&load.figures(), true), Status::Ok);
        load.drain();
        assert_eq!(load.status(&load.figures(), false), Status::Draining);
    }

    #[test]
    fn a_step_ends_by_itself() {
        let load = Load::new(1);
        load.shed(2, seconds(3600), "");
        assert_eq!(load.shed_step(), 2);
        load.shed(2, Duration::ZERO, "");
        assert_eq!(load.shed_step(), 0);
    }

    #[test]
    fn the_heaviest_pages_are_refused_until_the_step_is_over() {
        let load = Load::new(1);
        for (referer, bytes) in [
            ("leech.example", 50_000_000),
            ("files.example.com", 40_000_000),
            ("other.example", 30_000_000),
            ("third.example", 20_000_000),
            ("fourth.example", 19_000_000),
            ("small.example", 1_000_000),
        ] {
            load.top.add(bytes, Some("files.example.com/a".into()), Some(referer.into()));
        }
        let refused = |load: &Load| load.refused().0;
        load.shed(1, seconds(60), "files.example.com");
        assert!(!load.refuses("leech.example") && refused(&load).is_empty());
        load.shed(2, seconds(60), "files.example.com");
        assert_eq!(refused(&load), ["leech.example", "other.example", "third.example"]);
        assert!(load.refuses("leech.example") && !load.refuses("files.example.com") && !load.refuses("small.example"));
        // Renewed while others are heavier meanwhile: the same.
        load.top.add(1_000_000_000, None, Some("small.example".into()));
        load.shed(3, seconds(60), "files.example.com");
        assert_eq!(refused(&load), ["leech.example", "other.example", "third.example"]);
        load.shed(0, seconds(60), "files.example.com");
        assert!(!load.refuses("leech.example"));
        assert_eq!(load.refused().1, 1);
        load.shed(2, seconds(60), "files.example.com");
        assert_eq!(refused(&load)[1], "other.example");
        assert!(refused(&load).contains(&"small.example".to_owned()));
    }

    #[test]
    fn pages_that_little_is_sent_for_are_left_alone() {
        let load = Load::new(1);
        load.top.add(1_000_000_000, Some("files.example.com/a".into()), None);
        load.top.add(40_000_000, Some("files.example.com/b".into()), Some("page.example".into()));
        load.shed(2, seconds(60), "files.example.com");
        assert!(!load.refuses("page.example"));
    }
}
