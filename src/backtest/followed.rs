//! Whether the recorded record sets go the way of the decisions, and where they part.

use std::cmp::{Ordering, Reverse};

use crate::model::ActionKind;

use super::FOLLOW_MS;
use super::report::{Beyond, Decision, Parting};

/// Decisions that wait for the recorded sets, and the first that waits in vain.
#[derive(Debug)]
pub(super) struct Followed {
    /// Of each node: whether it is published, and how many of its addresses are not.
    published: Vec<(bool, Reverse<usize>)>,
    /// Places among the decisions, with when, what and of which node.
    waiting: Vec<(usize, i64, ActionKind, usize)>,
    beyond: Option<Beyond>,
}

impl Followed {
    /// Everybody is published at first.
    pub(super) fn new(nodes: usize) -> Self {
        Self { published: vec![(true, Reverse(0)); nodes], waiting: Vec::new(), beyond: None }
    }

    pub(super) fn is_in(&self, node: usize) -> bool {
        self.published[node].0
    }

    /// A decision was made that the sets should follow.
    pub(super) fn decided(&mut self, place: usize, t: i64, kind: ActionKind, node: Option<usize>) {
        let (ActionKind::Withdraw | ActionKind::Reinstate, Some(node)) = (kind, node) else { return };
        // Whoever changes their mind before anything happened was not followed.
        if let Some(at) = self.waiting.iter().position(|(_, _, _, waits)| *waits == node) {
            let (_, t, kind, node) = self.waiting.remove(at);
            self.part(t, Parting::NotFollowed { kind, node });
        }
        self.waiting.push((place, t, kind, node));
    }

    /// The recorded sets are these from now on. `begun`: something was judged before. Tells what was done, of which node.
    pub(super) fn published(
        &mut self,
        t: i64,
        set: &[usize],
        without: &[(usize, usize)],
        begun: bool,
        decisions: &mut [Decision],
        done: &mut dyn FnMut(usize, ActionKind),
    ) {
        let mut now = vec![(false, Reverse(0)); self.published.len()];
        for node in set {
            now[*node].0 = true;
        }
        for (node, _) in without {
            now[*node].1.0 += usize::from(now[*node].0);
        }
        for (node, now) in now.into_iter().enumerate() {
            // The last address of a record set stays in it: such a node goes with the others alone.
            let before = std::mem::replace(&mut self.published[node], now);
            let kind = match now.cmp(&before) {
                Ordering::Less => ActionKind::Withdraw,
                Ordering::Greater => ActionKind::Reinstate,
                Ordering::Equal => continue,
            };
            done(node, kind);
            match self.waiting.iter().position(|(_, _, wanted, of)| (*wanted, *of) == (kind, node)) {
                Some(at) => {
                    let (place, ..) = self.waiting.remove(at);
                    decisions[place].followed = Some(t);
                }
                // What the recording begins with is nobody's decision.
                None if begun => self.part(t, Parting::NotDecided { kind, node }),
                None => {}
            }
        }
    }

    /// It is `t`: who waited too long was not followed.
    pub(super) fn wait(&mut self, t: i64, decisions: &[Decision]) {
        while let Some(&(place, at, kind, node)) = self.waiting.first() {
            debug_assert_eq!(decisions[place].t, at, "a decision keeps its place");
            if t.saturating_sub(at) <= FOLLOW_MS {
                return;
            }
            self.waiting.remove(0);
            self.part(at, Parting::NotFollowed { kind, node });
        }
    }

    /// Where the ways part, if they do.
    pub(super) fn beyond(self) -> Option<Beyond> {
        self.beyond
    }

    fn part(&mut self, t: i64, parting: Parting) {
        if self.beyond.as_ref().is_none_or(|beyond| t < beyond.t) {
            self.beyond = Some(Beyond { t, parting });
        }
    }
}
