//! What came of a backtest. Times are ms of the trace; nodes are places in [`Report::nodes`].

use std::collections::BTreeMap;

use crate::model::{ActionKind, Guard, NodeId, RuleId};
use crate::replay::{TrueState, What};

use super::FOLLOW_MS;

/// Everything that came of one trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What the trace calls itself.
    pub name: Option<String>,
    /// Where it is from, in its own words.
    pub origin: Option<String>,
    /// Who there is.
    pub nodes: Vec<NodeId>,
    /// How many lines it has.
    pub lines: u64,
    /// Whole rounds that were judged.
    pub rounds: u64,
    /// How often the rule was asked.
    pub ticks: u64,
    /// The first time that is told; none where no line has one.
    pub first_ms: Option<i64>,
    /// The last.
    pub last_ms: i64,
    /// What would have been decided, in order; what is asked for again is one decision.
    pub decisions: Vec<Decision>,
    /// What was done, by the trace's `act` lines.
    pub recorded: Vec<Recorded>,
    /// Where decisions and recording part, if they do.
    pub beyond: Option<Beyond>,
    /// Whether the trace tells what was true.
    pub has_truth: bool,
    /// Every death.
    pub deaths: Vec<Death>,
    /// Withdrawals of nodes that lived; what a person asked for is not among them.
    pub living: Vec<Living>,
    /// What was expected, node by node, and whether it held.
    pub expectations: Vec<Checked>,
    /// Lines of kinds that are not known, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Keys that are not known, in lines whose kind is.
    pub ignored_keys: BTreeMap<String, usize>,
}

/// What would have been decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub t: i64,
    /// What.
    pub kind: ActionKind,
    /// Of which node; none for the fleet.
    pub node: Option<usize>,
    /// The brownout step.
    pub step: Option<u8>,
    /// By which rule.
    pub rule: RuleId,
    /// In words and numbers.
    pub why: String,
    /// When the recorded record sets followed.
    pub followed: Option<i64>,
    /// When the same was done in the recording, give or take [`FOLLOW_MS`].
    pub recorded: Option<i64>,
    /// Whether it rests on what was seen after the ways parted.
    pub beyond: bool,
}

/// What was done when the trace was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When.
    pub t: i64,
    /// What.
    pub kind: ActionKind,
    /// To which node; none for the fleet.
    pub node: Option<usize>,
    /// The brownout step.
    pub step: Option<u8>,
    /// By which rule, in the recorder's words.
    pub rule: RuleId,
    /// When the same would have been decided, give or take [`FOLLOW_MS`].
    pub decided: Option<i64>,
}

/// Where decisions and recording part: what was seen later is of another world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// Everything after this is beyond the recording.
    pub t: i64,
    /// How they part.
    pub parting: Parting,
}

/// How decisions and recording part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// This was decided, and the recorded record sets did not follow.
    NotFollowed {
        /// What.
        kind: ActionKind,
        /// Of which node.
        node: usize,
    },
    /// The recorded record sets changed so, and it was not decided.
    NotDecided {
        /// What.
        kind: ActionKind,
        /// Of which node.
        node: usize,
    },
}

/// A time in which a node did not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Whose.
    pub node: usize,
    /// From when on.
    pub t: i64,
    /// In which way at first.
    pub state: TrueState,
    /// Whether it was in the DNS: otherwise there was nothing to take out.
    pub in_dns: bool,
    /// When its withdrawal was wanted.
    pub decided: Option<i64>,
    /// When the recorded record sets lost it before its withdrawal was wanted: then it cannot be told when that would have
    /// been.
    pub forestalled: Option<i64>,
    /// When it served again.
    pub ended: Option<i64>,
}

impl Death {
    /// Whether it was there to be noticed, and was not.
    #[must_use]
    pub fn is_unnoticed(&self) -> bool {
        self.in_dns && self.decided.is_none() && self.forestalled.is_none()
    }
}

/// The withdrawal of a node that lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// Which.
    pub node: usize,
    /// When.
    pub t: i64,
}

/// An expectation of one node, held against what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether it must happen; otherwise it never may.
    pub must: bool,
    /// What.
    pub what: What,
    /// By which guard only.
    pub guard: Option<Guard>,
    /// Of which node; none: of any.
    pub node: Option<usize>,
    /// Not before.
    pub from_ms: Option<i64>,
    /// No later than so long after.
    pub within_ms: Option<i64>,
    /// Whether it was so.
    pub held: bool,
    /// When it first happened within that time.
    pub at: Option<i64>,
    /// Whether that rests on what is beyond the recording: what happened there, or did not.
    pub beyond: bool,
}

impl Report {
    /// How long the trace is, ms.
    #[must_use]
    pub fn span_ms(&self) -> i64 {
        self.last_ms.saturating_sub(self.first_ms.unwrap_or(self.last_ms))
    }

    /// How long deaths went on before the withdrawal was wanted, ms, shortest first.
    #[must_use]
    pub fn to_decision_ms(&self) -> Vec<i64> {
        let times = self.deaths.iter().filter_map(|death| Some(death.decided?.saturating_sub(death.t)));
        let mut times: Vec<i64> = times.collect();
        times.sort_unstable();
        times
    }

    /// Deaths of nodes in the DNS that were over, or the recording was, before a withdrawal was wanted.
    pub fn unnoticed(&self) -> impl Iterator<Item = &Death> {
        self.deaths.iter().filter(|death| death.is_unnoticed())
    }

    /// How many deaths were noticed.
    #[must_use]
    pub fn noticed(&self) -> usize {
        self.deaths.iter().filter(|death| death.decided.is_some()).count()
    }

    /// Expectations that did not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Checked> {
        self.expectations.iter().filter(|one| !one.held)
    }
}

/// Finds for each decision the record of the same, near it in time, and the other way round.
pub(super) fn pair(decisions: &mut [Decision], recorded: &mut [Recorded]) {
    let mut by_what: BTreeMap<(ActionKind, Option<usize>, Option<u8>), Vec<usize>> = BTreeMap::new();
    for (place, act) in recorded.iter().enumerate() {
        by_what.entry((act.kind, act.node, act.step)).or_default().push(place);
    }
    let mut begun: BTreeMap<(ActionKind, Option<usize>, Option<u8>), usize> = BTreeMap::new();
    for decision in decisions {
        let what = (decision.kind, decision.node, decision.step);
        let Some(places) = by_what.get(&what) else { continue };
        let next = begun.entry(what).or_default();
        while let Some(act) = places.get(*next).map(|place| &mut recorded[*place]) {
            if act.t > decision.t.saturating_add(FOLLOW_MS) {
                break;
            }
            *next += 1;
            if act.t >= decision.t.saturating_sub(FOLLOW_MS) {
                (decision.recorded, act.decided) = (Some(act.t), Some(decision.t));
                break;
            }
        }
    }
}
