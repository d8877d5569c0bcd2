//! The brownout ladder: up while there is more to carry than the nodes can, down slowly.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{Action, ActionKind, NodeId, PoolMemory, RuleId, ShedMemory, Vantage};

use super::classify::percent;
use super::crowd::State;
use super::decide::Desk;
use super::words;

impl Desk<'_> {
    /// Decides the pool's step, `gone` being those that leave in this very tick, and says what the nodes are to be told.
    pub(super) fn climb(&self, of_pool: &mut PoolMemory, gone: &BTreeSet<NodeId>) -> Option<Action> {
        if !self.situation.can.shed || self.sight.vantage != Vantage::Clear || self.crowd.serving.is_empty() {
            return None;
        }
        let now = self.sight.now;
        let limits = &self.policy.shed;
        let since = |at: Option<crate::model::Time>| at.map_or(Duration::MAX, |at| now.since(at));
        let (step, rule, why) = if let Some(why) = self.up(&of_pool.shed, gone) {
            if since(of_pool.shed.changed_at) < limits.up_every && of_pool.shed.step > 0 {
                return self.renew(of_pool);
            }
            let back = of_pool.shed.lowered_at.is_some_and(|at| now.since(at) <= limits.relapse);
            of_pool.shed.relapses = if back { of_pool.shed.relapses.saturating_add(1) } else { 0 };
            (of_pool.shed.step + 1, words::SHED_UP, why)
        } else if let Some(why) = self.down(of_pool, gone) {
            of_pool.shed.lowered_at = Some(now);
            (of_pool.shed.step - 1, words::SHED_DOWN, why)
        } else {
            return self.renew(of_pool);
        };
        of_pool.shed.step = step;
        of_pool.shed.changed_at = Some(now);
        Some(self.tell(of_pool, rule, why))
    }

    fn renew(&self, of_pool: &mut PoolMemory) -> Option<Action> {
        let step = of_pool.shed.step;
        let told = of_pool.shed.told_at.map_or(Duration::MAX, |at| self.sight.now.since(at));
        if step == 0 || told < self.policy.shed.renew {
            return None;
        }
        let since = of_pool.shed.changed_at.map_or(0, |at| self.sight.now.since(at).as_secs());
        Some(self.tell(of_pool, words::SHED_RENEW, format!("step {step} since {since} s goes on")))
    }

    fn tell(&self, of_pool: &mut PoolMemory, rule: RuleId, why: String) -> Action {
        of_pool.shed.told_at = Some(self.sight.now);
        Action {
            kind: ActionKind::Shed,
            node: None,
            pool: Some(self.pool.id.clone()),
            step: Some(of_pool.shed.step),
            rule,
            why,
        }
    }

    fn highest(&self) -> u8 {
        u8::try_from(self.policy.shed.steps.len().saturating_sub(1)).unwrap_or(u8::MAX)
    }

    fn share(&self, step: u8) -> u32 {
        self.policy.shed.steps.get(usize::from(step)).copied().unwrap_or(100).max(1)
    }

    /// Why the next step up is needed.
    fn up(&self, shed: &ShedMemory, gone: &BTreeSet<NodeId>) -> Option<String> {
        let (crowd, limits) = (self.crowd, &self.policy.shed);
        if shed.step >= self.highest() || matches!(crowd.state, State::PathTrouble(_) | State::Dark(_)) {
            return None;
        }
        let dead = self.dead(gone);
        if !dead.is_empty() {
            let room = u64::from(self.policy.overload.room_percent) * 10;
            if let Some(milli) = crowd.room.after(&dead, self.share(shed.step)).filter(|milli| *milli > room) {
                let names: Vec<&NodeId> = dead.iter().collect();
                return Some(format!("without {} the rest would carry {}", super::crowd::list(&names), percent(milli)));
            }
        }
        let full = |milli: u64, limit: u32| milli >= u64::from(limit) * 10;
        if let Some(mean) = crowd.mean_milli.filter(|mean| full(*mean, limits.up_percent)) {
            return Some(format!("all together carry {} (up from {} %)", percent(mean), limits.up_percent));
        }
        if let Some(most) = crowd.most_milli.filter(|most| full(*most, limits.up_node_percent)) {
            return Some(format!("the fullest carries {} (up from {} %)", percent(most), limits.up_node_percent));
        }
        // Figures that are missing, or lowered by congestion, are no reason to wait.
        let path = u64::from(self.policy.overload.path_percent) * 10;
        let blind = crowd.mean_milli.is_none_or(|mean| mean >= path);
        (crowd.soft.len() >= crowd.quota(&self.policy.overload)
            && crowd.serving.len() > 1
            && blind
            && shed.step < limits.blind_step)
            .then(|| {
                format!(
                    "{} of {} nodes are soft: {}",
                    crowd.soft.len(),
                    crowd.serving.len(),
                    super::crowd::list(&crowd.soft)
                )
            })
    }

    /// Why the step can be lowered.
    fn down(&self, of_pool: &PoolMemory, gone: &BTreeSet<NodeId>) -> Option<String> {
        let (crowd, limits, shed) = (self.crowd, &self.policy.shed, &of_pool.shed);
        // Sixteen doublings are longer than any hold, and fit.
        let hold = limits.hold.saturating_mul(1 << shed.relapses.min(16)).min(limits.hold_max.max(limits.hold));
        let held = shed.changed_at.map_or(Duration::MAX, |at| self.sight.now.since(at));
        if shed.step == 0 || held < hold || !crowd.soft.is_empty() {
            return None;
        }
        let (now, then) = (self.share(shed.step), self.share(shed.step - 1));
        let limit = u64::from(limits.down_percent) * 10;
        let dead = self.dead(gone);
        let room = u64::from(self.policy.overload.room_percent) * 10;
        if !dead.is_empty() && crowd.room.after(&dead, then).is_some_and(|milli| milli > room) {
            return None;
        }
        match crowd.mean_milli {
            Some(mean) => {
                let would = mean.saturating_mul(u64::from(then)) / u64::from(now);
                (would <= limit).then(|| format!("all together would carry {} then", percent(would)))
            }
            // Without figures, the signs of overload must have been gone for as long as they count.
            None => (!crowd.is_overloaded()).then(|| format!("no sign of overload for {} s", held.as_secs())),
        }
    }

    /// Those in service whose share the others will have to carry.
    fn dead(&self, gone: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let hard = |id: &&NodeId| self.findings.of(id).is_some_and(|finding| finding.hard && finding.confirmed);
        self.crowd.serving.iter().copied().filter(|id| hard(id) || gone.contains(*id)).cloned().collect()
    }
}
