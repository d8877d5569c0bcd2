//! What nodes carry, by their own word: read beside the probes, kept until a tick takes it.
//!
//! No probe passes or fails by any of this. What is missing, old or makes no sense is no figure: a node that tells
//! nothing is judged without, and nothing is ever taken for zero.

mod counters;
mod exposition;
mod health;
mod metrics;
mod proc;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use health::{PATH, figure as of_health};
pub(super) use metrics::Metrics;
pub(super) use proc::COMMAND;

use self::counters::Counters;
use crate::clock::{self, Stopwatch};
use crate::model::{LoadFigure, LoadSource, NodeId};

/// For how many intervals a source that told what leaves the node keeps those after it from being listened to: as many
/// as data may be old.
const INTERVALS: u32 = 3;
/// What a look may take longer than its interval without being an old one.
const SLACK: Duration = Duration::from_secs(4);

/// Whether what was counted `passed` ago does for a rate: what was long ago is no measure of what is.
fn is_recent(passed: Duration, every: Duration) -> bool {
    passed <= INTERVALS * every + SLACK
}

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

/// Nodes that are asked over SSH what they carry, each about once an interval and only where nothing better tells it.
#[derive(Debug)]
pub(super) struct Asked {
    loads: Arc<Loads>,
    nodes: Mutex<BTreeMap<NodeId, Looks>>,
}

#[derive(Debug)]
struct Looks {
    /// When it was asked last.
    asked: Stopwatch,
    last: Option<(Counters, Stopwatch)>,
}

impl Asked {
    pub(super) fn new(loads: Arc<Loads>) -> Self {
        Self { loads, nodes: Mutex::default() }
    }

    /// Whether to ask `node` in this round; who asks is the only one for this interval.
    pub(super) fn is_due(&self, node: &NodeId) -> bool {
        if self.loads.is_told_better(node, LoadSource::Ssh) {
            return false;
        }
        // A regular round may come a little early, and fast ones come much earlier.
        let least = self.loads.every / 4 * 3;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        match nodes.get_mut(node) {
            Some(looks) if looks.asked.elapsed() < least => false,
            Some(looks) => {
                looks.asked = Stopwatch::start();
                true
            }
            None => {
                nodes.insert(node.clone(), Looks { asked: Stopwatch::start(), last: None });
                true
            }
        }
    }

    /// What `printed`, which [`COMMAND`] printed just now, says that `node` carries.
    pub(super) fn figure(&self, node: &NodeId, printed: &[u8]) -> Option<LoadFigure> {
        let counters = proc::read(&String::from_utf8_lossy(printed))?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = nodes.get_mut(node)?;
        let last = looks.last.replace((counters, Stopwatch::start()));
        let (counters, _) = looks.last.as_ref()?;
        let before = last.as_ref().map(|(before, at)| (before, at.elapsed()));
        let before = before.filter(|(_, passed)| is_recent(*passed, self.loads.every));
        Some(counters.figure(node, clock::now(), LoadSource::Ssh, before))
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
    fn a_node_is_asked_once_an_interval_and_where_nothing_better_is_known() {
        let node = |name: &str| NodeId::new(name).unwrap();
        let loads = Arc::new(Loads::new(LONG));
        let asked = Asked::new(Arc::clone(&loads));
        let due = ["a", "b", "a"].map(|name| asked.is_due(&node(name)));
        assert_eq!(due, [true, true, false]);
        loads.hear(figure("c", LoadSource::Metrics, 1, Some(7)));
        loads.hear(figure("d", LoadSource::Ssh, 1, Some(7)));
        assert_eq!(["c", "d"].map(|name| asked.is_due(&node(name))), [false, true]);
        let often = Asked::new(Arc::new(Loads::new(Duration::ZERO)));
        assert_eq!(["a", "a"].map(|name| often.is_due(&node(name))), [true, true]);
    }

    #[test]
    fn what_tells_nothing_is_none() {
        let loads = Loads::new(LONG);
        loads.hear(LoadFigure::new(NodeId::new("a").unwrap(), Time(1), LoadSource::Health));
        assert_eq!(taken(&loads), []);
    }
}
