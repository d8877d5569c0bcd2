//! What nodes carry, by their own word: read beside the probes, kept until a tick takes it.
//!
//! No probe passes or fails by any of this. What is missing, old or makes no sense is no figure: a node that tells
//! nothing is judged without, and nothing is ever taken for zero.

mod counters;
mod exposition;
mod health;
mod metrics;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use health::{PATH, figure as of_health};
pub(super) use metrics::Metrics;

use crate::clock::Stopwatch;
use crate::model::{LoadFigure, LoadSource, NodeId};

/// For how many intervals a source that told what leaves the node keeps those after it from being listened to: as many
/// as data may be old.
const INTERVALS: u32 = 3;

/// The figures that no tick has seen yet: of each node and source the newest, so that there is an end to them.
///
/// Where a node gives several, the first of [`LoadSource::ALL`] speaks for it. The health document alone knows about
/// connections and the brownout step, and a figure without them must not take its place.
#[derive(Debug)]
pub(super) struct Loads {
    /// How often figures come.
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fresh: BTreeMap<(NodeId, LoadSource), LoadFigure>,
    /// When each source last told what leaves the node.
    told: BTreeMap<(NodeId, LoadSource), Stopwatch>,
}

impl Loads {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, state: Mutex::default() }
    }

    /// Keeps a figure for the next tick, unless it tells nothing or a better source spoke a moment ago.
    pub(super) fn hear(&self, figure: LoadFigure) {
        if figure.is_empty() || self.is_told_better(&figure.node, figure.source) {
            return;
        }
        let key = (figure.node.clone(), figure.source);
        let mut state = self.state();
        if figure.tx_bps.is_some() {
            state.told.insert(key.clone(), Stopwatch::start());
        }
        if state.fresh.get(&key).is_none_or(|before| before.at <= figure.at) {
            state.fresh.insert(key, figure);
        }
    }

    /// Whether a source that goes before `source` has told of late what leaves the node.
    pub(super) fn is_told_better(&self, node: &NodeId, source: LoadSource) -> bool {
        let state = self.state();
        LoadSource::ALL
            .into_iter()
            .take_while(|better| *better < source)
            .filter_map(|better| state.told.get(&(node.clone(), better)))
            .any(|told| told.elapsed() <= INTERVALS * self.every)
    }

    /// Takes what came in, by node and source.
    pub(super) fn take(&self) -> Vec<LoadFigure> {
        std::mem::take(&mut self.state().fresh).into_values().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Time;

    const LONG: Duration = Duration::from_secs(3600);

    fn figure(node: &str, source: LoadSource, at: i64, tx_bps: Option<u64>) -> LoadFigure {
        LoadFigure { tx_bps, ncpu: Some(4), ..LoadFigure::new(NodeId::new(node).unwrap(), Time(at), source) }
    }

    fn taken(loads: &Loads) -> Vec<(String, LoadSource, i64)> {
        loads.take().into_iter().map(|figure| (figure.node.to_string(), figure.source, figure.at.0)).collect()
    }

    #[test]
    fn the_newest_of_each_is_kept_until_it_is_taken() {
        let loads = Loads::new(LONG);
        for at in [1, 3, 2] {
            loads.hear(figure("b", LoadSource::Metrics, at, Some(7)));
        }
        loads.hear(figure("a", LoadSource::Metrics, 1, Some(7)));
        let expected = [("a".to_owned(), LoadSource::Metrics, 1), ("b".to_owned(), LoadSource::Metrics, 3)];
        assert_eq!(taken(&loads), expected);
        assert_eq!(taken(&loads), []);
    }

    #[test]
    fn the_best_source_that_tells_what_leaves_the_node_speaks_for_it() {
        let loads = Loads::new(LONG);
        loads.hear(figure("a", LoadSource::Health, 1, None));
        loads.hear(figure("a", LoadSource::Metrics, 1, Some(7)));
        assert_eq!(taken(&loads).len(), 2, "a document without egress does not silence the others");
        loads.hear(figure("a", LoadSource::Health, 2, Some(7)));
        loads.hear(figure("a", LoadSource::Ssh, 2, Some(7)));
        loads.hear(figure("b", LoadSource::Ssh, 2, Some(7)));
        let expected = [("a".to_owned(), LoadSource::Health, 2), ("b".to_owned(), LoadSource::Ssh, 2)];
        assert_eq!(taken(&loads), expected);
    }

    #[test]
    fn a_source_that_fell_silent_gives_way() {
        let loads = Loads::new(Duration::ZERO);
        loads.hear(figure("a", LoadSource::Health, 1, Some(7)));
        std::thread::sleep(Duration::from_millis(2));
        loads.hear(figure("a", LoadSource::Metrics, 2, Some(7)));
        assert_eq!(taken(&loads).len(), 2);
    }

    #[test]
    fn what_tells_nothing_is_none() {
        let loads = Loads::new(LONG);
        loads.hear(LoadFigure::new(NodeId::new("a").unwrap(), Time(1), LoadSource::Health));
        assert_eq!(taken(&loads), []);
    }
}
