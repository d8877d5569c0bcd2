//! What kind of evidence there is against a node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a node's evidence, hardest first. docs/decision-rule.md has the table of tests.
///
/// *Hard* evidence is what overload does not produce: silence towards everybody, a refused port, a service that neither
/// answers nor sends. *Soft* evidence is what overload does produce: some checks fail, others pass, all is slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// No sign of life to anybody. Hard.
    Silent,
    /// The kernel refuses the service's port. Hard.
    Down,
    /// It lives, and its service answers nothing. Hard when its load figure says that it sends nothing either.
    Hung,
    /// It answers, wrongly. Soft, and asked whether others fail in the same way.
    Broken,
    /// Some checks fail, others pass. Soft.
    Degraded,
    /// Everything passes, late or with losses. Soft, and counts for the fleet only.
    Stressed,
    /// It says itself that it has too much to do. Soft, and counts for the fleet only.
    Shedding,
    /// Something failed just now; too little to say more.
    Suspect,
    /// Nothing against it.
    Fine,
    /// Too little fresh data to say anything: neither sick nor well.
    #[default]
    NoData,
}

impl Evidence {
    /// Every class, in order.
    pub const ALL: [Self; 10] = [
        Self::Silent,
        Self::Down,
        Self::Hung,
        Self::Broken,
        Self::Degraded,
        Self::Stressed,
        Self::Shedding,
        Self::Suspect,
        Self::Fine,
        Self::NoData,
    ];

    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Down => "down",
            Self::Hung => "hung",
            Self::Broken => "broken",
            Self::Degraded => "degraded",
            Self::Stressed => "stressed",
            Self::Shedding => "shedding",
            Self::Suspect => "suspect",
            Self::Fine => "fine",
            Self::NoData => "nodata",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
