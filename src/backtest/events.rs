//! What expectations ask about beside decisions: holds and strikes, each from when to when.

use std::collections::BTreeMap;

use crate::model::Guard;
use crate::replay::{Expectation, What};

use super::report::{Checked, Report};

#[derive(Debug, Default)]
pub(super) struct Events {
    spans: Vec<Span>,
    /// The span that lasts.
    open: BTreeMap<(usize, Option<Guard>), usize>,
    last: Option<i64>,
}

/// Something that every judgement between two times had. Without a guard it is a strike.
#[derive(Debug)]
struct Span {
    node: usize,
    guard: Option<Guard>,
    from: i64,
    to: i64,
}

impl Events {
    pub(super) fn held(&mut self, t: i64, node: usize, guard: Guard) {
        self.has(t, node, Some(guard));
    }

    pub(super) fn struck(&mut self, t: i64, node: usize) {
        self.has(t, node, None);
    }

    fn has(&mut self, t: i64, node: usize, guard: Option<Guard>) {
        let lasting = self.open.get(&(node, guard)).map(|span| &mut self.spans[*span]);
        match lasting.filter(|span| Some(span.to) == self.last || span.to == t) {
            Some(span) => span.to = t,
            None => {
                self.open.insert((node, guard), self.spans.len());
                self.spans.push(Span { node, guard, from: t, to: t });
            }
        }
    }

    /// A judgement has been looked at.
    pub(super) fn judged(&mut self, t: i64) {
        self.last = Some(t);
    }

    /// Holds an expectation against everything that happened, node by node.
    pub(super) fn check(&self, expected: &Expectation, beyond: i64, report: &mut Report) {
        let nodes: Vec<Option<usize>> = match expected.nodes.as_slice() {
            [] => vec![None],
            nodes => nodes.iter().copied().map(Some).collect(),
        };
        let start = report.first_ms.unwrap_or(0);
        let from = expected.from_ms.unwrap_or(i64::MIN);
        let to = match expected.within_ms {
            Some(within) => expected.from_ms.unwrap_or(start).saturating_add(within),
            None => i64::MAX,
        };
        for node in nodes {
            let at = self.first(expected, node, from, to, report);
            // What did not happen might have, had the ways not parted before the time was over.
            let rests_on = at.unwrap_or(if expected.must { to.min(report.last_ms) } else { from });
            report.expectations.push(Checked {
                must: expected.must,
                what: expected.what,
                guard: expected.guard,
                node,
                from_ms: expected.from_ms,
                within_ms: expected.within_ms,
                held: at.is_some() == expected.must,
                beyond: rests_on > beyond,
                at,
            });
        }
    }

    /// When it first happened between two times, both included.
    fn first(&self, expected: &Expectation, node: Option<usize>, from: i64, to: i64, report: &Report) -> Option<i64> {
        let ours = |of: Option<usize>| node.is_none() || of == node;
        let within = |at: i64| (from..=to).contains(&at);
        match expected.what {
            What::Action(kind) => {
                report.decisions.iter().find(|one| one.kind == kind && ours(one.node) && within(one.t)).map(|one| one.t)
            }
            What::Hold | What::Strike => self
                .spans
                .iter()
                .filter(|span| span.guard.is_some() == (expected.what == What::Hold) && ours(Some(span.node)))
                .filter(|span| expected.guard.is_none() || span.guard == expected.guard)
                .filter(|span| span.from <= to && span.to >= from)
                .map(|span| span.from.max(from))
                .min(),
        }
    }
}
