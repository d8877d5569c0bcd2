//! What is to be changed in a zone: desired minus current, old and new side by side.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::fleet::{Name, PoolId};
use super::record::SetKey;
use super::verdict::Action;

/// What happens to one record set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which set.
    pub set: SetKey,
    /// The set's TTL in seconds, kept as it is.
    pub ttl: u32,
    /// Every address in the set when the plan was made, ours and others'.
    pub before: BTreeSet<IpAddr>,
    /// Addresses to take out, all of them in `before`.
    pub remove: BTreeSet<IpAddr>,
    /// Addresses to put in, none of them in `before`.
    pub add: BTreeSet<IpAddr>,
}

impl Change {
    /// What the set holds afterwards.
    #[must_use]
    pub fn after(&self) -> BTreeSet<IpAddr> {
        self.before.difference(&self.remove).chain(&self.add).copied().collect()
    }
}

impl fmt::Display for Change {
    /// One line: `files A: -192.0.2.13 +192.0.2.12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.set)?;
        for address in &self.remove {
            write!(f, " -{address}")?;
        }
        for address in &self.add {
            write!(f, " +{address}")?;
        }
        Ok(())
    }
}

/// Every change wanted of one pool's record sets. Not yet allowed: see `rule::guard`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose.
    pub pool: PoolId,
    /// The zone, without a final dot.
    pub zone: String,
    /// Which registrar is to do it.
    pub registrar: Name,
    /// Sorted by set; none is empty.
    pub changes: Vec<Change>,
    /// What led to it.
    pub because: Vec<Action>,
}
