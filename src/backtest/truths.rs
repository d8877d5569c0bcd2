//! What was true, beside what was decided: deaths and how long they went unnoticed, and the living that were taken out.

use std::collections::BTreeMap;

use crate::model::RuleId;
use crate::replay::TrueState;

use super::report::{Death, Living, Report};

#[derive(Debug, Default)]
pub(super) struct Truths {
    /// Whether the trace tells the truth at all.
    told: bool,
    deaths: Vec<Death>,
    /// The death that lasts, of nodes that are dead.
    dead: BTreeMap<usize, usize>,
    living: Vec<Living>,
}

impl Truths {
    pub(super) fn told(&mut self, t: i64, node: usize, state: TrueState, in_dns: bool) {
        self.told = true;
        match state {
            TrueState::Up => {
                if let Some(death) = self.dead.remove(&node) {
                    self.deaths[death].ended = Some(t);
                }
            }
            TrueState::Silent | TrueState::Refused | TrueState::Hung => {
                // A dead node that fails in another way is the same death.
                self.dead.entry(node).or_insert_with(|| {
                    self.deaths.push(Death { node, t, state, in_dns, decided: None, forestalled: None, ended: None });
                    self.deaths.len() - 1
                });
            }
        }
    }

    /// The recorded record sets lost the node.
    pub(super) fn left(&mut self, t: i64, node: usize) {
        if let Some(death) = self.dead.get(&node).map(|death| &mut self.deaths[*death])
            && death.decided.is_none()
        {
            death.forestalled.get_or_insert(t);
        }
    }

    /// A withdrawal is wanted, for the first time or again.
    pub(super) fn withdrawn(&mut self, t: i64, node: usize) {
        if let Some(death) = self.dead.get(&node) {
            self.deaths[*death].decided.get_or_insert(t);
        }
    }

    /// A withdrawal is wanted that was not wanted before.
    pub(super) fn decided(&mut self, t: i64, node: usize, rule: &RuleId) {
        // What a person asks for is no judgement of the node.
        if !self.dead.contains_key(&node) && !rule.0.starts_with("H1.") && !rule.0.starts_with("H2.") {
            self.living.push(Living { node, t });
        }
    }

    pub(super) fn end(self, report: &mut Report) {
        report.has_truth = self.told;
        report.deaths = self.deaths;
        report.living = if self.told { self.living } else { Vec::new() };
    }
}
