//! What a person asks for, and what we are about to do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fleet::NodeId;
use super::plan::Plan;
use super::time::Time;

/// What a person asks for by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which node.
    pub node: NodeId,
    /// What.
    pub kind: RequestKind,
    /// Whether the guards may be overridden.
    pub force: bool,
    /// Why.
    pub reason: String,
}

/// The changes a person can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestKind {
    /// Out of DNS.
    Withdraw,
    /// Back into it.
    Reinstate,
}

/// How a write to a registrar stands, as the ledger keeps it.
///
/// ```text
/// intended ──apply──▶ applied ──read back──▶ confirmed
///     │                  └──not as wanted──▶ diverged
///     ├──▶ unneeded   it was so already
///     ├──▶ refused    the registrar or its adapter would not; nothing was written
///     ├──▶ failed     proved not executed
///     └──▶ unknown    sent, no answer; or we died: the next tick reads before it does anything
/// unknown ──read──▶ confirmed | absent
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntentState {
    /// Written down, not yet begun or not known to have ended.
    Intended,
    /// The registrar said yes.
    Applied,
    /// A reading afterwards shows it.
    Confirmed,
    /// It was so already; nothing was written.
    Unneeded,
    /// Somebody else changed the set in between; nothing was written, or what was written is not what stands.
    Conflict,
    /// Not allowed; nothing was written.
    Refused,
    /// Proved not executed.
    Failed,
    /// Sent, and no answer came.
    Unknown,
    /// The registrar said yes and a reading afterwards shows something else.
    Diverged,
    /// A reading after `unknown` shows that it did not happen.
    Absent,
}

impl IntentState {
    /// Whether nothing more will be learnt of it.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Intended | Self::Unknown | Self::Applied)
    }

    /// The name used in the ledger and in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Applied => "applied",
            Self::Confirmed => "confirmed",
            Self::Unneeded => "unneeded",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Diverged => "diverged",
            Self::Absent => "absent",
        }
    }

    /// Every state, in life-cycle order.
    pub const ALL: [Self; 10] = [
        Self::Intended,
        Self::Applied,
        Self::Confirmed,
        Self::Unneeded,
        Self::Conflict,
        Self::Refused,
        Self::Failed,
        Self::Unknown,
        Self::Diverged,
        Self::Absent,
    ];
}

impl fmt::Display for IntentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A write to a registrar, written down before it is begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number in the ledger.
    pub id: i64,
    /// When it was written down.
    pub at: Time,
    /// The judgement that led to it.
    pub judgement: i64,
    /// What was to be done.
    pub plan: Plan,
    /// How it stands.
    pub state: IntentState,
    /// When that was learnt.
    pub state_at: Time,
    /// The registrar's words, or an error's.
    pub note: String,
}
