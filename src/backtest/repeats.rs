//! What is asked for again while nothing comes of it, as the rule does until the record sets follow.

use std::collections::BTreeMap;

use crate::model::{ActionKind, RuleId};

/// What was asked for within this time, ms, and is asked for again, is the same wish.
const AGAIN_MS: i64 = 600_000;

#[derive(Debug, Default)]
pub(super) struct Repeats {
    last: BTreeMap<(Wish, Option<usize>), (i64, Option<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Withdraw,
    Reinstate,
    Shed,
    /// Alerts are told apart by their rule.
    Alert(RuleId),
}

impl Repeats {
    /// Whether this was asked for already; it is remembered either way.
    pub(super) fn is_again(
        &mut self,
        t: i64,
        kind: ActionKind,
        node: Option<usize>,
        step: Option<u8>,
        rule: &RuleId,
    ) -> bool {
        let wish = match kind {
            ActionKind::Withdraw => Wish::Withdraw,
            ActionKind::Reinstate => Wish::Reinstate,
            ActionKind::Shed => Wish::Shed,
            ActionKind::Alert => Wish::Alert(rule.clone()),
        };
        match wish {
            Wish::Withdraw => self.done(ActionKind::Reinstate, node),
            Wish::Reinstate => self.done(ActionKind::Withdraw, node),
            Wish::Shed | Wish::Alert(_) => {}
        }
        let before = self.last.insert((wish, node), (t, step));
        before.is_some_and(|(at, before)| before == step && t.saturating_sub(at) <= AGAIN_MS)
    }

    /// It was done: who asks for it now asks anew.
    pub(super) fn done(&mut self, kind: ActionKind, node: Option<usize>) {
        match kind {
            ActionKind::Withdraw => self.last.remove(&(Wish::Withdraw, node)),
            ActionKind::Reinstate => self.last.remove(&(Wish::Reinstate, node)),
            ActionKind::Shed | ActionKind::Alert => None,
        };
    }
}
