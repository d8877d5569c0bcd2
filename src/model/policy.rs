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
    /// Never leave fewer nodes than this in a pool; at least 1.
    pub keep: u32,
    /// Never withdraw more nodes of a pool than this by ourselves.
    pub max_withdrawn: u32,
    /// How a withdrawn node comes back.
    pub reinstate: Reinstatement,
    /// Probes whose failures may cost a node its record; sorted, not empty.
    pub convict: Vec<ProbeKind>,
    /// One regular round per node and this long. Data older than three of these is old.
    pub interval: Duration,
    /// While a node is in doubt.
    pub fast_interval: Duration,
    /// Conclusive rounds of a node that must have passed since a start, a gap, a clock step back or isolation before its
    /// records are changed.
    pub warmup_rounds: u32,
    /// For how long a withdrawn node must pass everything before it comes back the first time.
    /// It doubles with every withdrawal of the last 24 h.
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
            keep: 2,
            max_withdrawn: 2,
            reinstate: Reinstatement::Auto,
            convict: vec![ProbeKind::Https],
            interval: Duration::from_secs(10),
            fast_interval: Duration::from_secs(2),
            warmup_rounds: 3,
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
