//! `[witness]`, `[serve]` and `[notify]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::raw::{Found, Secrets, Spot, Table};
use super::registrars::in_folder;
use super::secret;
use super::units::duration_text;
use crate::model::{Name, Secret};

/// `[witness]`, without what other types hold: the anchors are in [`crate::model::ProbeSettings`].
#[derive(Clone, Debug)]
pub struct Witness {
    /// This vantage point.
    pub name: Name,
    /// The ledger; its folder was there.
    pub database: PathBuf,
    /// One regular round per node and this long; the same as [`crate::model::Policy::interval`].
    pub interval: Duration,
    /// While a node is in doubt; at most `interval`.
    pub fast_interval: Duration,
    /// How long `witness once` may take in all; longer than any probe.
    pub once_deadline: Duration,
    /// How long strikes, judgements, changes and holds are kept.
    pub retention: Duration,
    /// How long single observations are kept; at most `retention`.
    pub retention_observations: Duration,
}

/// `[serve]`.
#[derive(Clone, Debug)]
pub struct Serve {
    /// Where the status page is; none: off.
    pub listen: Option<SocketAddr>,
}

/// `[notify]`.
#[derive(Clone, Debug)]
pub struct Notify {
    /// A URL, `http` or `https`, that whoever knows it can post to; none: nobody is told.
    pub webhook_url: Option<Secret>,
    /// For each call.
    pub timeout: Duration,
}

/// `[witness]`, and where its parts stand.
pub(super) struct WitnessRead {
    pub(super) witness: Option<Witness>,
    pub(super) interval: Option<Found<Duration>>,
    pub(super) fast_interval: Option<Duration>,
    pub(super) once_deadline: Option<Found<Duration>>,
    pub(super) anchors: Option<Vec<Found<SocketAddr>>>,
    pub(super) anchors_spot: Spot,
}

pub(super) fn witness(table: &Table<'_>) -> WitnessRead {
    let name = table.get("name").and_then(|value| value.name());
    let database = table.path("database");
    let has_folder = database.as_ref().and_then(|database| in_folder(table.reading, database));
    let interval = table.duration("interval");
    let fast_interval = at_most(table, table.duration("fast_interval"), interval.as_ref(), "interval");
    let once_deadline = table.duration("once_deadline");
    let retention = table.duration("retention");
    let observations = at_most(table, table.duration("retention_observations"), retention.as_ref(), "retention");
    let (anchors, anchors_spot) = anchors(table);
    let witness = || {
        has_folder?;
        Some(Witness {
            name: name?.value,
            database: database?.value,
            interval: interval.as_ref()?.value,
            fast_interval: fast_interval?,
            once_deadline: once_deadline.as_ref()?.value,
            retention: retention?.value,
            retention_observations: observations?,
        })
    };
    WitnessRead { witness: witness(), interval, fast_interval, once_deadline, anchors, anchors_spot }
}

/// A shorter time within a longer one; a default gives way.
fn at_most(
    table: &Table<'_>,
    short: Option<Found<Duration>>,
    long: Option<&Found<Duration>>,
    long_name: &str,
) -> Option<Duration> {
    let (short, Some(long)) = (short?, long) else { return None };
    if short.value > long.value && short.spot.written {
        table.reading.error(
            &short.spot,
            format!("it is longer than {long_name}, {}", duration_text(long.value)),
            format!("write at most {:?}, or a longer {long_name}", duration_text(long.value)),
        );
        return None;
    }
    Some(short.value.min(long.value))
}

fn anchors(table: &Table<'_>) -> (Option<Vec<Found<SocketAddr>>>, Spot) {
    let list = table.get("anchors").expect("it has a default");
    let Some(items) = list.items() else { return (None, list.spot) };
    let before = table.reading.errors();
    let mut anchors: Vec<Found<SocketAddr>> = Vec::new();
    for item in items {
        let Some(anchor) = item.socket(443) else { continue };
        let ip = anchor.value.ip();
        if anchor.value.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            table.reading.error(
                &item.spot,
                "nothing can be reached there",
                "write somebody else's reliable host, address and TCP port",
            );
        } else if anchors.iter().any(|other| other.value == anchor.value) {
            table.reading.error(&item.spot, "this anchor is there twice", "keep one of them");
        } else {
            anchors.push(anchor);
        }
    }
    ((table.reading.errors() == before).then_some(anchors), list.spot)
}

pub(super) fn serve(table: &Table<'_>) -> Option<Serve> {
    let value = table.get("listen").expect("it has a default");
    if value.as_str() == Some("") {
        return Some(Serve { listen: None });
    }
    let listen = value.socket(9053)?;
    if value.spot.written {
        table.reading.warn(
            &listen.spot,
            "this version has no status page yet; nothing listens there",
            "use `witness status --json` and `witness status --check` until then",
        );
    }
    if !listen.value.ip().is_loopback() {
        table.reading.warn(
            &listen.spot,
            "whoever can reach this address can read the fleet's state",
            "write \"127.0.0.1:9053\", or let only those through whom it concerns",
        );
    }
    Some(Serve { listen: Some(listen.value) })
}

pub(super) fn notify(table: &Table<'_>) -> Option<Notify> {
    let before = table.reading.errors();
    let webhook_url = secret::secret(table, "webhook_url");
    let timeout = table.duration("timeout");
    if let Some(url) = webhook_url.as_ref().filter(|_| table.reading.secrets == Secrets::Read) {
        let is_url =
            Url::parse(url.value.expose()).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        if !is_url {
            table.reading.error(&url.spot, "what is there is no URL", "put there a URL that begins with https://");
        }
    }
    if table.reading.errors() > before {
        return None;
    }
    if let Some(url) = &webhook_url {
        table.reading.warn(
            &url.spot,
            "this version calls no webhook yet; nobody is told",
            "have what reads the log, or `witness status --check`, tell somebody until then",
        );
    }
    Some(Notify { webhook_url: webhook_url.map(|url| url.value), timeout: timeout?.value })
}
