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
/// The anchors do not answer.
pub(super) const ISOLATED: RuleId = RuleId::of("V2.isolated");
