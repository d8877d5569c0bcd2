//! Whether the world can see a change: each authoritative server is asked directly, without recursion.
//!
//! This does not look at caches between those servers and users; a record's TTL says how long those may lag.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::ask_addresses;
use crate::clock::{self, Stopwatch};
use crate::model::{PublishedSets, Time, sets_as_list};

/// The longest that one server is waited for in one look.
const PATIENCE: Duration = Duration::from_secs(3);

/// What one server shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Which.
    pub server: SocketAddr,
    /// When it was first seen to show everything that is wanted.
    pub seen_at: Option<Time>,
    /// What it showed last, or why it could not be asked; empty before the first look.
    pub last: String,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// This server shows the change now.
    Seen(&'a ServerReport),
    /// This server shows something else than at the last look, and not yet what is wanted; or it cannot be asked.
    Changed(&'a ServerReport),
    /// The deadline is over, and this server does not show it: a person must know.
    Late(&'a ServerReport),
}

/// A change on its way to the servers. It can be written down and taken up by another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The zone, without a final dot.
    pub zone: String,
    /// What every server should show.
    #[serde(with = "sets_as_list")]
    pub wanted: PublishedSets,
    /// When the change was made.
    pub since: Time,
    /// How it stands, in the order in which the servers were given.
    pub servers: Vec<ServerReport>,
    /// Whether those that are late have been told of.
    pub late_told: bool,
}

impl Publication {
    /// Nobody has been asked yet. Servers given twice are asked once.
    #[must_use]
    pub fn new(zone: &str, wanted: PublishedSets, servers: &[SocketAddr], since: Time) -> Self {
        let mut given = BTreeSet::new();
        let servers = servers
            .iter()
            .filter(|server| given.insert(**server))
            .map(|server| ServerReport { server: *server, seen_at: None, last: String::new() })
            .collect();
        Self { zone: zone.to_owned(), wanted, since, servers, late_told: false }
    }

    /// Whether every server shows it.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.servers.iter().all(|report| report.seen_at.is_some())
    }

    /// Asks, all at once, those that have not shown it so far, and tells what is new. Takes at most three seconds.
    ///
    /// Servers that are not through `within` after the change are told of once.
    pub async fn look(&mut self, within: Duration, mut on_event: impl FnMut(&Event<'_>)) {
        let mut asked = JoinSet::new();
        for (index, report) in self.servers.iter().enumerate().filter(|(_, report)| report.seen_at.is_none()) {
            let (server, zone, wanted) = (report.server, self.zone.clone(), self.wanted.clone());
            asked.spawn(async move { (index, look_at(server, &zone, &wanted).await) });
        }
        let mut shown = Vec::new();
        while let Some(joined) = asked.join_next().await {
            shown.extend(joined.ok());
        }
        // In the order of the servers, whoever answered first.
        shown.sort_by_key(|(index, _)| *index);
        let now = clock::now();
        for (index, (seen, last)) in shown {
            let report = &mut self.servers[index];
            let changed = report.last != last;
            report.last = last;
            if seen {
                report.seen_at = Some(now);
                on_event(&Event::Seen(report));
            } else if changed {
                on_event(&Event::Changed(report));
            }
        }
        if !self.late_told && now.since(self.since) >= within && !self.is_everywhere() {
            self.late_told = true;
            self.servers.iter().filter(|report| report.seen_at.is_none()).for_each(|report| {
                on_event(&Event::Late(report));
            });
        }
    }
}

/// One look at every server: for a process that does not stay.
pub async fn check_once(wanted: &PublishedSets, zone: &str, servers: &[SocketAddr]) -> Vec<ServerReport> {
    let mut publication = Publication::new(zone, wanted.clone(), servers, clock::now());
    publication.look(Duration::MAX, |_| {}).await;
    publication.servers
}

/// Looks every `every` until all servers show what is wanted or the deadline is over; those that did not are told of
/// with [`Event::Late`]. A server that is down is reported, and the others are asked on.
pub async fn watch(
    wanted: &PublishedSets,
    zone: &str,
    servers: &[SocketAddr],
    deadline: Duration,
    every: Duration,
    mut on_event: impl FnMut(&Event<'_>),
) -> Vec<ServerReport> {
    let began = Stopwatch::start();
    let mut publication = Publication::new(zone, wanted.clone(), servers, clock::now());
    loop {
        // The monotonic clock says when it is over; a step of the wall clock must not.
        let over = began.elapsed() >= deadline;
        publication.look(if over { Duration::ZERO } else { Duration::MAX }, &mut on_event).await;
        if over || publication.is_everywhere() {
            return publication.servers;
        }
        sleep(every.min(deadline.saturating_sub(began.elapsed()))).await;
    }
}

/// Whether `server` shows everything wanted, and what it shows.
async fn look_at(server: SocketAddr, zone: &str, wanted: &PublishedSets) -> (bool, String) {
    let began = Stopwatch::start();
    let mut said = Vec::new();
    let mut all = true;
    for (key, set) in wanted {
        let left = PATIENCE.saturating_sub(began.elapsed());
        let name = key.full_name(zone);
        match ask_addresses(server, &name, key.rtype, left).await {
            Ok(answer) if !answer.aa => return (false, format!("not authoritative for {zone}")),
            Ok(answer) => {
                all &= answer.addresses == set.addresses;
                said.push(format!("{key}: {}", list(&answer.addresses)));
            }
            Err(error) => return (false, error.to_string()),
        }
    }
    (all, said.join("; "))
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
}
