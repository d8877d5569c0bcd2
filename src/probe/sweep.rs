//! A round of each of many nodes, as many at once as this process has descriptors for.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use super::Observe;
use crate::model::{AnchorRound, Node, Round};

/// Rounds under way at once at the most: beyond it, more of them only wait for each other's turn on the processor.
const MOST: usize = 2048;
/// Descriptors that are not for probes: ledger, registrar, logs.
const SPARE: u64 = 64;
/// Descriptors that one round may need: one for each probe of each of two addresses, and one to spare.
const PER_ROUND: u64 = 7;

/// Probes `nodes` side by side and asks the anchors: again after the rounds if any failed, since only then do they tell
/// whose fault it was. The rounds are sorted by node.
pub async fn sweep<P: Observe + 'static>(
    prober: &Arc<P>,
    nodes: impl IntoIterator<Item = Node>,
) -> (Vec<Round>, Option<AnchorRound>) {
    let most = at_once();
    let mut work: JoinSet<Round> = JoinSet::new();
    let mut rounds = Vec::new();
    let asked = prober.clone();
    let anchors = tokio::spawn(async move { asked.anchors().await });
    for node in nodes {
        if work.len() >= most {
            rounds.extend(work.join_next().await.and_then(Result::ok));
        }
        let prober = prober.clone();
        work.spawn(async move { prober.round(&node).await });
    }
    while let Some(round) = work.join_next().await {
        rounds.extend(round.ok());
    }
    let mut anchors = anchors.await.ok().flatten();
    if anchors.is_some() && rounds.iter().any(Round::failed) {
        anchors = prober.anchors().await.or(anchors);
    }
    rounds.sort_by(|a, b| a.node.cmp(&b.node));
    (rounds, anchors)
}

/// Raises this process's limit of open descriptors as far as it may go. Where that is not permitted, it stays what it
/// was, and fewer rounds run at once.
pub(super) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open descriptors stays what it is");
    }
}

/// How many rounds may be under way at once.
fn at_once() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors.saturating_sub(SPARE) / PER_ROUND).unwrap_or(MOST).clamp(1, MOST)
}
