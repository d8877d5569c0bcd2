//! What goes into a tick and what comes out of it.

use std::collections::BTreeSet;

use crate::ledger::LedgerError;
use crate::model::{AnchorRound, Ask, Hold, IntentState, Judgement, LoadFigure, Plan, Request, Round};

/// What was observed since the last tick.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Finished rounds.
    pub rounds: Vec<Round>,
    /// Load figures.
    pub loads: Vec<LoadFigure>,
    /// What other vantage points said.
    pub asks: Vec<Ask>,
    /// The newest look at the anchors.
    pub anchors: Option<AnchorRound>,
    /// Whether this process has only just begun to observe.
    pub just_started: bool,
    /// What a person asks for, at most one for each node.
    pub requests: Vec<Request>,
}

/// What came of a tick.
#[derive(Debug)]
pub struct Report {
    /// Its number in the ledger; none for a dry run.
    pub id: Option<i64>,
    /// What was concluded.
    pub judgement: Judgement,
    /// What was held before it.
    pub held_before: Vec<Hold>,
    /// What earlier ticks had left open and this one found done.
    pub settled: Vec<Outcome>,
    /// What would be or was changed.
    pub changes: Vec<Outcome>,
    /// What could not be done, for people.
    pub failures: Vec<String>,
    /// Nodes that could not be told what was wanted of them after it, for people.
    pub untold: Vec<String>,
}

/// What became of one plan.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was to be done.
    pub plan: Plan,
    /// How it stands; none for a dry run.
    pub state: Option<IntentState>,
    /// The registrar's words, or an error's.
    pub note: String,
    /// The intent in the ledger.
    pub intent: Option<i64>,
}

impl Report {
    /// This report as the last of several that belong together, `earlier` being those before it. What failed earlier was
    /// tried again since, so only what failed now did; nodes are told again much later.
    #[must_use]
    pub fn after(mut self, earlier: Self) -> Self {
        fn before<T>(list: &mut Vec<T>, mut earlier: Vec<T>) {
            earlier.append(list);
            *list = earlier;
        }
        before(&mut self.judgement.actions, earlier.judgement.actions);
        before(&mut self.judgement.strikes, earlier.judgement.strikes);
        before(&mut self.settled, earlier.settled);
        before(&mut self.changes, earlier.changes);
        before(&mut self.untold, earlier.untold);
        Self { held_before: earlier.held_before, ..self }
    }
}

impl Outcome {
    /// Whether the registrar said yes, so that the name servers are to show it.
    #[must_use]
    pub fn is_written(&self) -> bool {
        matches!(self.state, Some(IntentState::Applied | IntentState::Confirmed))
    }
}

impl Report {
    /// Everything that could not be done, for people.
    pub fn shortcomings(&self) -> impl Iterator<Item = &String> {
        self.failures.iter().chain(&self.untold)
    }

    /// Changes that the registrar holds by now and the name servers are to show: the intent and the plan.
    pub fn to_prove(&self) -> impl Iterator<Item = (i64, &Plan)> {
        let written = |outcome: &&Outcome| outcome.is_written();
        let with_intent = |outcome: &'_ Outcome| outcome.intent;
        self.settled
            .iter()
            .chain(&self.changes)
            .filter(written)
            .filter_map(move |outcome| Some((with_intent(outcome)?, &outcome.plan)))
    }

    /// What is held and was not in the last tick.
    pub fn new_holds(&self) -> impl Iterator<Item = &Hold> {
        let key = |hold: &Hold| (hold.guard, hold.kind, hold.node.clone(), hold.pool.clone());
        let before: BTreeSet<_> = self.held_before.iter().map(key).collect();
        self.judgement.holds.iter().filter(move |hold| !before.contains(&key(hold)))
    }
}

/// Why there was no tick.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another process is at work.
    #[error("{0} is at work")]
    Busy(String),
}
