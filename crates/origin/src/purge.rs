//! Telling edges what to forget: content that was banned or taken back, by its surrogate key, which is its SHA-256.
//!
//! Each edge has a place in the list of all that happened, and is told what is behind it, in order and until it says that
//! it has done so. An edge that is away is told when it is back; one that was told twice forgets twice.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Edge;
use crate::crash;
use crate::db::{Db, DbError, purges};
use crate::metrics::Metrics;

/// Between looks at what has happened: a command beside the server may have done it.
const PAUSE: Duration = Duration::from_millis(500);
/// After a failure; twice as long after each further one ...
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// ... up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// For an edge to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why an edge was not told.
#[derive(Debug, thiserror::Error)]
enum PurgeError {
    #[error("{0}")]
    Database(#[from] DbError),
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("it answered with status {0}")]
    Status(u16),
}

/// Tells all edges, until it is told to end.
pub async fn run(edges: Vec<Edge>, db: Db, metrics: Arc<Metrics>, end: watch::Receiver<bool>) {
    let mut all = JoinSet::new();
    for edge in edges {
        all.spawn(tell_one(edge, db.clone(), metrics.clone(), end.clone()));
    }
    all.join_all().await;
}

async fn tell_one(edge: Edge, db: Db, metrics: Arc<Metrics>, mut end: watch::Receiver<bool>) {
    // A second time it changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, url = edge.url, "failed to prepare to tell an edge"),
    };
    let (mut begun, mut failures) = (false, 0_u32);
    loop {
        let told = tokio::select! {
            told = tell(&client, &edge, &db, &metrics, &mut begun) => told,
            _ = end.wait_for(|end| *end) => return,
        };
        let pause = match told {
            Ok(more) => {
                if failures > 0 {
                    tracing::info!(url = edge.url, "an edge takes purges again");
                }
                failures = 0;
                if more { Duration::ZERO } else { PAUSE }
            }
            Err(error) => {
                metrics.failed_purges.add(1);
                if failures == 0 {
                    tracing::warn!(%error, url = edge.url, "failed to tell an edge what to forget; it is tried again");
                }
                failures = failures.saturating_add(1);
                FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST_WAIT)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = end.wait_for(|end| *end) => return,
        }
    }
}

/// Tells some of what is behind the edge's place. Whether there may be more.
async fn tell(
    client: &reqwest::Client,
    edge: &Edge,
    db: &Db,
    metrics: &Metrics,
    begun: &mut bool,
) -> Result<bool, PurgeError> {
    if !*begun {
        let url = edge.url.clone();
        db.write(move |db| purges::begin(db, &url)).await?;
        *begun = true;
    }
    let url = edge.url.clone();
    let due = db.read(move |db| purges::due(db, &url)).await?;
    let Some(told) = due.told else { return Ok(false) };
    for key in due.keys {
        let request = client
            .post(format!("{}/.witness/purge", edge.url))
            .bearer_auth(edge.token.reveal())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(json!({ "key": key.to_string() }).to_string());
        let status = request.send().await?.status();
        if !status.is_success() {
            return Err(PurgeError::Status(status.as_u16()));
        }
        metrics.sent_purges.add(1);
    }
    crash::point("purged");
    let url = edge.url.clone();
    db.write(move |db| purges::told(db, &url, told)).await?;
    Ok(true)
}
