//! May this change be made? Integers, judged on the state after the change, per pool.
//!
//! [`admit`] asks it of one node, so that a plan can be put together from what is allowed; [`approve`] asks it of the
//! whole plan once more, record by record, and is the only maker of what a registrar accepts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::{ActionKind, Fleet, Guard, NodeId, Plan, Policy, Pool, RecordType, RuleSet, Time, Vantage};

/// A plan that passed every guard. Only [`approve`] makes one, and a registrar takes nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedPlan {
    plan: Plan,
}

impl ApprovedPlan {
    /// What was approved.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Why a change may not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{guard}: {why}")]
pub struct Refusal {
    /// Who refuses.
    pub guard: Guard,
    /// Words and numbers.
    pub why: String,
}

/// Whether a person stands behind the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authority {
    /// The rule alone: every guard applies.
    Rule,
    /// A person asked: only what protects the pool and the zone applies (`keep`, empty sets, foreign addresses).
    Hand,
    /// A person asked and insists: only what protects the zone applies (empty sets, foreign addresses).
    Forced,
}

/// What the guards of one pool go by. Nodes that are pinned, unknown or withdrawn count as gone, so they are in neither set
/// of those that stay.
#[derive(Clone, Debug)]
pub struct Grounds<'a> {
    /// Who there is.
    pub fleet: &'a Fleet,
    /// The thresholds.
    pub policy: &'a Policy,
    /// The pool that is to be changed.
    pub pool: &'a Pool,
    /// Who asks.
    pub authority: Authority,
    /// Now.
    pub now: Time,
    /// Whether we see well enough.
    pub vantage: Vantage,
    /// By how many milliseconds the clock went backwards since the last tick; 0 if it did not.
    pub clock_back_ms: i64,
    /// Ticks still to wait until the first rounds after a start, a gap or a step are over.
    pub warmup_left: u32,
    /// Nodes in DNS that count: known, not pinned.
    pub staying: BTreeSet<NodeId>,
    /// Nodes that we withdrew and that are out.
    pub withdrawn: BTreeSet<NodeId>,
    /// When the pool was last changed by us.
    pub changed_at: Option<Time>,
    /// When a change was first asked for that the published sets do not show yet; none where it is this very change.
    pub in_flight: Option<Time>,
    /// The longest TTL that caches may hold an older answer for, seconds.
    pub ttl: u32,
    /// Whether it does not wait for the last change to settle: a death, or capacity that is needed.
    pub urgent: bool,
}

/// Asks whether `kind` may be done to `node`; the grounds say how things stand with what was already admitted this tick.
///
/// # Errors
/// A [`Refusal`] names the guard that refuses and the numbers it goes by.
pub fn admit(kind: ActionKind, node: &NodeId, grounds: &Grounds<'_>) -> Result<(), Refusal> {
    let policy = grounds.policy;
    if grounds.authority == Authority::Rule && policy.rule == RuleSet::Witness {
        sight(grounds)?;
        if !grounds.urgent {
            settled(grounds)?;
        }
    }
    if kind != ActionKind::Withdraw {
        return Ok(());
    }
    let gone = usize::from(!grounds.withdrawn.contains(node));
    if grounds.authority == Authority::Rule && grounds.withdrawn.len() + gone > policy.max_withdrawn as usize {
        return refuse(
            Guard::MaxWithdrawn,
            format!(
                "{} of pool {} are withdrawn, and at most {} may be",
                grounds.withdrawn.len(),
                grounds.pool.id,
                policy.max_withdrawn
            ),
        );
    }
    let stay = grounds.staying.len() - usize::from(grounds.staying.contains(node));
    if grounds.authority != Authority::Forced && policy.rule == RuleSet::Witness && stay < policy.keep as usize {
        return refuse(
            Guard::Keep,
            format!(
                "{stay} of pool {} would stay, not counting pinned, withdrawn and unknown nodes, and {} must",
                grounds.pool.id, policy.keep
            ),
        );
    }
    Ok(())
}

/// Asks once more of the whole plan, record by record.
///
/// # Errors
/// A [`Refusal`] names the guard that refuses and what it refuses.
pub fn approve(plan: Plan, grounds: &Grounds<'_>) -> Result<ApprovedPlan, Refusal> {
    let pool = grounds.pool;
    if plan.pool != pool.id || plan.zone != pool.zone || plan.registrar != pool.registrar {
        return refuse(Guard::Foreign, format!("a plan for zone {} is not one of pool {}", plan.zone, pool.id));
    }
    let mut then = grounds.clone();
    for action in &plan.because {
        let Some(node) = &action.node else { continue };
        admit(action.kind, node, &then)?;
        if action.kind == ActionKind::Withdraw {
            then.staying.remove(node);
            then.withdrawn.insert(node.clone());
        }
    }
    let ours: BTreeSet<IpAddr> = grounds.fleet.nodes_of(pool).flat_map(|node| node.addresses.iter().copied()).collect();
    let named: BTreeSet<IpAddr> = plan
        .because
        .iter()
        .filter_map(|action| action.node.as_ref())
        .filter_map(|id| grounds.fleet.nodes.get(id))
        .flat_map(|node| node.addresses.iter().copied())
        .collect();
    for change in &plan.changes {
        let set = &change.set;
        if !pool.records.contains(&set.owner) {
            return refuse(Guard::Foreign, format!("{set} is not a record set of pool {}", pool.id));
        }
        for address in change.remove.iter().chain(&change.add) {
            if !ours.contains(address) || !named.contains(address) || RecordType::of(*address) != set.rtype {
                return refuse(
                    Guard::Foreign,
                    format!("{address} in {set} is no address of the nodes that are to be changed"),
                );
            }
        }
        if !change.remove.is_subset(&change.before) || !change.add.is_disjoint(&change.before) {
            return refuse(Guard::ChangedByHand, format!("{set} does not hold what the plan says it holds"));
        }
        if change.after().is_empty() {
            return refuse(Guard::EmptySet, format!("{set} would be left without an address"));
        }
    }
    Ok(ApprovedPlan { plan })
}

fn sight(grounds: &Grounds<'_>) -> Result<(), Refusal> {
    if grounds.clock_back_ms > 0 {
        return refuse(Guard::Clock, format!("the clock went back by {} ms", grounds.clock_back_ms));
    }
    if grounds.vantage == Vantage::Isolated {
        return refuse(Guard::Vantage, "the anchors do not answer: it is our own network".to_owned());
    }
    if grounds.vantage == Vantage::Blind && grounds.warmup_left == 0 {
        return refuse(Guard::Warmup, "too few ticks since a start, a gap or a clock step".to_owned());
    }
    if grounds.warmup_left > 0 {
        return refuse(
            Guard::Warmup,
            format!("{} more rounds of it, after a start, a gap or a clock step", grounds.warmup_left),
        );
    }
    Ok(())
}

fn settled(grounds: &Grounds<'_>) -> Result<(), Refusal> {
    let Some(changed_at) = grounds.changed_at.max(grounds.in_flight) else { return Ok(()) };
    let settle_s =
        u64::from(grounds.ttl).max(grounds.pool.ttl.as_secs()).saturating_mul(u64::from(grounds.policy.settle_ttls));
    let ago = grounds.now.since(changed_at).as_secs();
    if ago < settle_s {
        return refuse(
            Guard::Settle,
            format!(
                "pool {} was changed {ago} s ago, and a change settles in {settle_s} s ({} times the TTL)",
                grounds.pool.id, grounds.policy.settle_ttls
            ),
        );
    }
    Ok(())
}

fn refuse<T>(guard: Guard, why: String) -> Result<T, Refusal> {
    Err(Refusal { guard, why })
}
