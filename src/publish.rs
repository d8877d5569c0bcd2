//! Whether a change has come through: the pool's authoritative servers, each asked directly.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock;
use crate::dns;
use crate::ledger::{LedgerError, LedgerHandle};
use crate::model::{Plan, Pool, PublishedSets, RecordSet};

/// Between two questions to one server.
const EVERY: Duration = Duration::from_millis(500);

/// What one server had to say.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which.
    pub server: SocketAddr,
    /// How long after the change it showed the new sets; none if it did not within the deadline.
    pub after: Option<Duration>,
    /// What it showed last, or why it did not answer.
    pub last: String,
}

/// What the servers must show after `plan`.
#[must_use]
pub fn wanted(plan: &Plan) -> PublishedSets {
    let set = |change: &crate::model::Change| RecordSet { ttl: change.ttl, addresses: change.after() };
    plan.changes.iter().map(|change| (change.set.clone(), set(change))).collect()
}

/// Asks every authoritative server of `pool` until each shows what `plan` left, or `within` is over, and writes down when
/// each did.
///
/// # Errors
/// [`LedgerError`] when that cannot be written down. Servers that do not answer are in the result.
pub async fn prove(
    ledger: &LedgerHandle,
    intent: i64,
    pool: &Pool,
    plan: &Plan,
    within: Duration,
) -> Result<Vec<Seen>, LedgerError> {
    let servers = match servers(pool).await {
        Ok(servers) => servers,
        Err(why) => {
            let note = format!("the name servers of {} are not known: {why}; name them in `nameservers`", pool.zone);
            tracing::warn!(zone = %pool.zone, %why, "name servers not known, the change is not proved");
            ledger.call(move |ledger| ledger.publication(intent, "-", clock::now(), None, &note)).await?;
            return Ok(Vec::new());
        }
    };
    let started = clock::now();
    let reports = dns::publication::watch(&wanted(plan), &pool.zone, &servers, within, EVERY, |_| {}).await;
    let mut seen = Vec::new();
    for report in reports {
        let (server, at, last) = (report.server, report.seen_at, report.last.clone());
        ledger.call(move |ledger| ledger.publication(intent, &server.to_string(), clock::now(), at, &last)).await?;
        if at.is_none() {
            tracing::error!(%server, zone = %pool.zone, last = %report.last, "the change is not published in time");
        }
        seen.push(Seen { server, after: at.map(|at| at.since(started)), last: report.last });
    }
    Ok(seen)
}

/// The servers to ask: those that are configured, else those that the zone's NS records name.
pub(crate) async fn servers(pool: &Pool) -> Result<Vec<SocketAddr>, String> {
    if !pool.nameservers.is_empty() {
        return Ok(pool.nameservers.clone());
    }
    let found = dns::find_nameservers(&pool.zone).await.map_err(|error| error.to_string())?;
    let servers: Vec<SocketAddr> = found.into_iter().flat_map(|(_, addresses)| addresses).collect();
    if servers.is_empty() { Err("it has none".to_owned()) } else { Ok(servers) }
}
