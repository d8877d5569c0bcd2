//! Bans of addresses, and of pages from which files are shown.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{self, HeaderMap};

use crate::clock::{self, Stopwatch};
use crate::config::Network;
use crate::db::{Db, addresses};
use crate::model::Time;

/// A ban that another process writes counts after so long.
const FRESH: Duration = Duration::from_secs(1);

/// Addresses that may neither upload nor see anything.
#[derive(Debug)]
pub struct AddressBans {
    db: Db,
    configured: Vec<Network>,
    known: Mutex<Known>,
}

type List = Arc<Vec<(Network, Option<Time>)>>;

#[derive(Debug, Default)]
struct Known {
    read: Option<Stopwatch>,
    list: List,
}

impl AddressBans {
    /// Those of the configuration, and those in the database.
    #[must_use]
    pub fn new(db: Db, configured: Vec<Network>) -> Self {
        Self { db, configured, known: Mutex::default() }
    }

    /// Whether this address is banned.
    pub async fn has(&self, address: IpAddr) -> bool {
        if self.configured.iter().any(|network| network.has(address)) {
            return true;
        }
        let now = clock::now();
        let is_over = |until: Option<Time>| until.is_some_and(|until| until <= now);
        self.list().await.iter().any(|(network, until)| network.has(address) && !is_over(*until))
    }

    async fn list(&self) -> List {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.read.is_some_and(|read| read.elapsed() < FRESH) {
                return known.list.clone();
            }
            // Others need not read it, too.
            known.read = Some(Stopwatch::start());
        }
        let read = self.db.read(addresses::all).await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(bans) => known.list = Arc::new(bans.into_iter().map(|ban| (ban.network, ban.until)).collect()),
            // Those that are known still count.
            Err(error) => tracing::warn!(%error, "failed to read which addresses are banned"),
        }
        known.list.clone()
    }
}

/// Whether a page from which this is asked for is one of these hosts, or below one.
#[must_use]
pub fn is_referer_banned(headers: &HeaderMap, banned: &[String]) -> bool {
    if banned.is_empty() {
        return false;
    }
    let referer = headers.get(header::REFERER).and_then(|referer| referer.to_str().ok()?.parse::<http::Uri>().ok());
    let Some(host) = referer.as_ref().and_then(http::Uri::host) else { return false };
    let host = host.trim_end_matches('.').to_lowercase();
    banned.iter().any(|banned| {
        host.strip_suffix(banned.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_what_is_below_it_is_meant() {
        let banned = ["example.net".to_owned()];
        for (referer, expected) in [
            ("https://example.net/page", true),
            ("http://WWW.Example.Net:8080/", true),
            ("https://example.net./", true),
            ("https://notexample.net/", false),
            ("https://example.net.example.com/", false),
            ("https://example.com/?https://example.net/", false),
            ("example.net", true),
            ("", false),
        ] {
            let headers = [(header::REFERER, referer.parse().unwrap())].into_iter().collect();
            assert_eq!(is_referer_banned(&headers, &banned), expected, "{referer}");
        }
        assert!(!is_referer_banned(&HeaderMap::new(), &banned));
    }
}
