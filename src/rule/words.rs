//! The names of the rules, as docs/decision-rule.md explains them. Once released, a name keeps its meaning.

use crate::model::RuleId;

/// Nothing against the node.
pub(super) const CLEAN: RuleId = RuleId::of("S0.clean");
/// Strikes in the window, too few to nominate.
pub(super) const STRUCK: RuleId = RuleId::of("S1.struck");
/// Enough strikes in the window: nominated for withdrawal.
pub(super) const STRIKES: RuleId = RuleId::of("S2.strikes");
/// Out of DNS, and not long enough without a fault.
pub(super) const OUT: RuleId = RuleId::of("S3.out");
/// Out of DNS, and long enough without a fault.
pub(super) const PROBATION: RuleId = RuleId::of("S4.probation");
/// The original script's rule.
pub(super) const CLASSIC: RuleId = RuleId::of("C1.classic");
/// A person asked.
pub(super) const HAND: RuleId = RuleId::of("H1.by-hand");
/// A pin says so.
pub(super) const PIN: RuleId = RuleId::of("H2.pin");
/// Somebody else changed the record sets.
pub(super) const OUTSIDE: RuleId = RuleId::of("H3.outside");
/// No fresh data of the node.
pub(super) const NO_DATA: RuleId = RuleId::of("V0.no-data");
/// Nodes are in trouble, each for itself.
pub(super) const FAULTS: RuleId = RuleId::of("V1.faults");
/// The anchors do not answer.
pub(super) const ISOLATED: RuleId = RuleId::of("V2.isolated");
/// Silent to us, and others reach it.
pub(super) const PARTITIONED: RuleId = RuleId::of("R2.partitioned");
/// Several nodes are broken in the same way.
pub(super) const COMMON: RuleId = RuleId::of("R4.common-fault");
/// All fail a little, and none carries much: it is the way to them.
pub(super) const PATH: RuleId = RuleId::of("R4.path-trouble");
/// More to carry than they can.
pub(super) const OVERLOAD: RuleId = RuleId::of("R5.overload");
/// Late answers, lost packets: counts for the fleet.
pub(super) const STRESSED: RuleId = RuleId::of("R5.stressed");
/// It says that it has too much to do: counts for the fleet.
pub(super) const SHEDDING: RuleId = RuleId::of("R5.shedding");
/// A soft withdrawal hurt the others, and is undone.
pub(super) const REGRET: RuleId = RuleId::of("R5b.regret");
/// No sign of life to anybody.
pub(super) const SILENT: RuleId = RuleId::of("R6.silent");
/// The kernel refuses the service's port.
pub(super) const DOWN: RuleId = RuleId::of("R6.down");
/// The service neither answers nor sends.
pub(super) const IDLE: RuleId = RuleId::of("R6.hung");
/// No node that answers is left.
pub(super) const DARK: RuleId = RuleId::of("R6b.dark");
/// The service does not answer, and the host lives.
pub(super) const HUNG: RuleId = RuleId::of("R7.hung");
/// The service answers wrongly.
pub(super) const BROKEN: RuleId = RuleId::of("R7.broken");
/// Some checks fail, others pass.
pub(super) const DEGRADED: RuleId = RuleId::of("R7.degraded");
/// Something failed just now.
pub(super) const SUSPECT: RuleId = RuleId::of("R9.suspect");
/// The brownout ladder goes up, down, or is told again.
pub(super) const SHED_UP: RuleId = RuleId::of("L1.up");
pub(super) const SHED_DOWN: RuleId = RuleId::of("L2.down");
pub(super) const SHED_RENEW: RuleId = RuleId::of("L3.renew");
