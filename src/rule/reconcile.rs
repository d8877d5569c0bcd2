//! What is remembered of a pool against what is published: the published sets are the truth about who is in.

use std::collections::BTreeSet;

use crate::model::{Action, ActionKind, Node, NodeId, NodeMemory, PoolMemory, PublishedSets, Withdrawal};

use super::decide::Desk;
use super::plan::Shown;
use super::{plan, words};

/// Who was seen to have gone or to have come back.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Withdrawn by us, and out since this reading.
    pub(super) gone: Vec<NodeId>,
    /// In again.
    pub(super) back: Vec<NodeId>,
    /// Told to a person: what somebody else did.
    pub(super) alerts: Vec<Action>,
}

/// What a reading says of a withdrawal.
enum Sight {
    /// Nothing new.
    Same,
    /// The node is out now.
    Gone,
    /// It is in again, as it was to be.
    Back,
    /// It is in again, and that was somebody else.
    PutBack,
    /// It never went, and nobody asks any more.
    Given,
}

impl Desk<'_> {
    /// Brings `of_pool` up to `published`.
    pub(super) fn reconcile(&self, published: &PublishedSets, of_pool: &mut PoolMemory) -> Moves {
        let now = self.sight.now;
        let mut moves = Moves::default();
        let mut members: Vec<&NodeId> = Vec::with_capacity(self.pool.nodes.len());
        of_pool.out.retain(|id, _| self.pool.nodes.binary_search(id).is_ok());
        for seat in self.index.seats_of(self.pool) {
            let node = seat.node;
            let id = &node.id;
            let is_in = seat.shown.is_some_and(Shown::is_in);
            match of_pool.out.get_mut(id) {
                Some(out) => match self.look(node, published, out) {
                    Sight::Same => {}
                    Sight::Gone => moves.gone.push(id.clone()),
                    seen => {
                        of_pool.out.remove(id);
                        if !matches!(seen, Sight::Given) {
                            moves.back.push(id.clone());
                        }
                        if matches!(seen, Sight::PutBack) {
                            let pool = &self.pool.id;
                            let why =
                                format!("{id} is in the records of pool {pool} again, and witness did not put it back");
                            moves.alerts.push(self.action(ActionKind::Alert, id, words::OUTSIDE, why));
                        }
                    }
                },
                None if !is_in => {
                    let why = format!(
                        "{id} is not in the records of pool {}, and witness did not take it out; `witness reinstate {id}` puts it in",
                        self.pool.id
                    );
                    moves.alerts.push(self.action(ActionKind::Alert, id, words::OUTSIDE, why));
                    of_pool.out.insert(
                        id.clone(),
                        Withdrawal {
                            at: now,
                            asked_at: now,
                            rule: words::OUTSIDE,
                            why: "taken out by somebody else".to_owned(),
                            seen_out: true,
                            returning_since: None,
                            by_hand: true,
                            soft: false,
                            quarantine_until: None,
                            places: BTreeSet::new(),
                            left: BTreeSet::new(),
                        },
                    );
                }
                None => {}
            }
            // One that left all it could is out, though the last address of a set may be its own.
            if is_in && !of_pool.out.get(id).is_some_and(|out| out.seen_out) {
                members.push(id);
            }
        }
        // They are nearly always the same, and that is told without a new set.
        if !of_pool.members.as_ref().is_some_and(|before| before.iter().eq(members.iter().copied())) {
            let members = members.into_iter().cloned().collect();
            if of_pool.members.is_some() {
                of_pool.changed_at = Some(now);
            }
            of_pool.members = Some(members);
        }
        moves
    }

    fn look(&self, node: &Node, published: &PublishedSets, out: &mut Withdrawal) -> Sight {
        let places = plan::places(node, published);
        if !out.seen_out {
            let left_some = places.len() < out.places.len();
            // Of one that went in part and is well the rest stays when nothing asks for it any more, and what has gone
            // comes back by probation as the whole of another does.
            let is_well = || self.nodes.get(&node.id).is_none_or(|memory| memory.failed_rounds == 0);
            let stays = || !plan::is_removable(node, published) || (is_ours(out) && self.is_stale(out) && is_well());
            if places.is_empty() || (left_some && stays()) {
                out.seen_out = true;
                out.left = places;
                return Sight::Gone;
            }
            // Not followed. A wish that nothing renews is dropped: an old decision is never carried out later.
            return if out.by_hand && self.is_stale(out) { Sight::Given } else { Sight::Same };
        }
        let more = !places.is_subset(&out.left);
        if more && out.returning_since.is_none() {
            return Sight::PutBack;
        }
        let wanted = plan::returns_to(node, self.pool, published, Some(out), false);
        if !places.is_empty() && wanted.is_subset(&places) {
            return Sight::Back;
        }
        if more {
            // A part of it is back. Should it fail again now, it goes again.
            if self.nodes.get(&node.id).is_some_and(|memory| memory.failed_rounds > 0) {
                out.seen_out = false;
                out.returning_since = None;
                out.places.extend(places);
            }
            return Sight::Same;
        }
        out.left = places;
        if self.is_stale(out) {
            out.returning_since = None;
        }
        Sight::Same
    }

    /// Whether a change that was asked for is not to be expected any more.
    pub(super) fn is_stale(&self, out: &Withdrawal) -> bool {
        let patience = self
            .pool
            .ttl
            .saturating_mul(self.policy.settle_ttls)
            .max(self.policy.interval.saturating_mul(self.policy.stale_after));
        self.sight.now.since(out.asked_at) >= patience
    }
}

/// Whether a withdrawal was the rule's own, and not a person's.
pub(super) fn is_ours(out: &Withdrawal) -> bool {
    !out.by_hand && out.rule != words::PIN
}

impl NodeMemory {
    /// It is in DNS again: old failures must not convict it again, for it has proved itself since.
    pub(super) fn forgive(&mut self) {
        self.strikes.clear();
        self.pending.clear();
        self.recent.forgive();
    }
}
