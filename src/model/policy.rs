//! Every threshold of the rule, already valid.

mod comeback;
mod evidence;
mod overload;
mod shed;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::observation::ProbeKind;
pub use comeback::ComebackPolicy;
pub use evidence::EvidencePolicy;
pub use overload::{OverloadPolicy, Shortage};
pub use shed::ShedPolicy;

/// Which rule judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSet {
    /// Strikes nominate, guards decide.
    #[default]
    Witness,
    /// The original script: every failing round is a strike, `strikes` in `window` withdraw, at most `max_withdrawn`, nothing else.
    Classic,
}

/// How a withdrawn node comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reinstatement {
    /// By probation: enough clean rounds and enough time.
    #[default]
    Auto,
    /// Only by `witness reinstate`.
    Manual,
}

/// The thresholds. Defaults are those of the documented configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which rule judges.
    pub rule: RuleSet,
    /// Failing rounds that nominate a node for withdrawal; at least 1.
    pub strikes: u32,
    /// ... within this long.
    pub window: Duration,
    /// At most one strike per node and this long, so that fast re-probes of one incident are one strike.
    pub strike_spacing: Duration,
    /// How much of `strike_spacing` a strike may come early, percent: a twentieth is what cron and a busy machine are off
    /// by, and ten times less than what would make two strikes of one incident.
    pub strike_early_percent: u32,
    /// Never leave fewer nodes than this in a pool; at least 1.
    pub keep: u32,
    /// Never withdraw more nodes of a pool than this by ourselves.
    pub max_withdrawn: u32,
    /// How a withdrawn node comes back.
    pub reinstate: Reinstatement,
    /// Probes whose failures may cost a node its record; sorted, not empty.
    pub convict: Vec<ProbeKind>,
    /// How many of a node's strikes must come from those, percent: the others corroborate, so most of it must be about
    /// what users get.
    pub convict_percent: u32,
    /// How many of the anchors must answer, percent: one bad anchor of three says nothing about us, two do.
    pub anchors_percent: u32,
    /// One regular round per node and this long.
    pub interval: Duration,
    /// While a node is in doubt.
    pub fast_interval: Duration,
    /// Conclusive rounds of a node that must have passed since a start, a gap, a clock step back or isolation before its
    /// records are changed.
    pub warmup_rounds: u32,
    /// Times our rhythm, the interval or cron's where that is longer, after which data is old, a pause between two ticks is
    /// a gap, and a change that was asked for is not expected any more: one late round and one lost are no gap.
    pub stale_after: u32,
    /// Times the TTL in which a change settles: caches may keep an answer for one TTL, and clients what they hold of it for
    /// about another.
    pub settle_ttls: u32,
    /// A smaller step of the wall clock is none: one that is disciplined drifts by at most 0.5 ms a second.
    pub step_noise: Duration,
    /// How long something must have been gone for a person to be told of it once more: what comes and goes is one trouble.
    pub tell_again: Duration,
    /// For how long a withdrawn node must pass everything before it comes back the first time.
    /// It doubles with every withdrawal that still counts.
    pub probation: Duration,
    /// ... and in at least this many clean rounds.
    pub probation_rounds: u32,
    /// What the doubling ends at.
    pub probation_max: Duration,
    /// What evidence is made of.
    pub evidence: EvidencePolicy,
    /// When the fleet counts as overloaded, and what may still be done then.
    pub overload: OverloadPolicy,
    /// The brownout ladder.
    pub shed: ShedPolicy,
    /// The way back.
    pub comeback: ComebackPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rule: RuleSet::Witness,
            strikes: 4,
            window: Duration::from_secs(60 * 60),
            strike_spacing: Duration::from_secs(60),
            strike_early_percent: 5,
            keep: 2,
            max_withdrawn: 2,
            reinstate: Reinstatement::Auto,
            convict: vec![ProbeKind::Https],
            convict_percent: 50,
            anchors_percent: 50,
            interval: Duration::from_secs(10),
            fast_interval: Duration::from_secs(2),
            warmup_rounds: 3,
            stale_after: 3,
            settle_ttls: 2,
            step_noise: Duration::from_millis(100),
            tell_again: Duration::from_secs(600),
            probation: Duration::from_secs(60),
            probation_rounds: 3,
            probation_max: Duration::from_secs(60 * 60),
            evidence: EvidencePolicy::default(),
            overload: OverloadPolicy::default(),
            shed: ShedPolicy::default(),
            comeback: ComebackPolicy::default(),
        }
    }
}

impl Policy {
    /// The original script's rule with this policy's numbers.
    #[must_use]
    pub fn classic(self) -> Self {
        Self { rule: RuleSet::Classic, ..self }
    }
}
