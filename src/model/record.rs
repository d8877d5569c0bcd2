//! DNS record sets of addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The record types that carry addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordType {
    /// IPv4.
    A,
    /// IPv6.
    #[serde(rename = "AAAA")]
    Aaaa,
}

impl RecordType {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::Aaaa];

    /// The type that carries `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::A } else { Self::Aaaa }
    }

    /// As zone files write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which record set of a zone: a name relative to the zone (`@` for the zone itself, lower case) and a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SetKey {
    /// Relative to the zone, lower case; `@` is the zone itself.
    pub owner: String,
    /// A or AAAA.
    #[serde(rename = "type")]
    pub rtype: RecordType,
}

impl SetKey {
    /// The owner's full name in `zone`, without a final dot.
    #[must_use]
    pub fn full_name(&self, zone: &str) -> String {
        if self.owner == "@" { zone.to_owned() } else { format!("{}.{zone}", self.owner) }
    }
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.owner, self.rtype)
    }
}

/// The addresses at one name. Empty: the registrar answered, and there is no such set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// Seconds; 0 where the set is absent.
    pub ttl: u32,
    /// The addresses, ours and others'.
    pub addresses: BTreeSet<IpAddr>,
}

/// The record sets of a pool as they stand at the registrar. A key that was asked for is always there.
pub type PublishedSets = BTreeMap<SetKey, RecordSet>;

/// Reads and writes [`PublishedSets`] as a list, since JSON has no keys but texts; for `#[serde(with = ...)]`.
///
/// One set: `{"owner":"@","type":"A","ttl":60,"addresses":["192.0.2.11"]}`.
pub mod sets_as_list {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::IpAddr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{PublishedSets, RecordSet, RecordType, SetKey};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        owner: String,
        #[serde(rename = "type")]
        rtype: RecordType,
        ttl: u32,
        addresses: BTreeSet<IpAddr>,
    }

    /// Writes the list, sorted by set.
    ///
    /// # Errors
    /// Those of `serializer`.
    pub fn serialize<S: Serializer>(sets: &PublishedSets, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(sets.iter().map(|(key, set)| Row {
            owner: key.owner.clone(),
            rtype: key.rtype,
            ttl: set.ttl,
            addresses: set.addresses.clone(),
        }))
    }

    /// Reads the list.
    ///
    /// # Errors
    /// A set that is named twice, an address of the other type, and those of `deserializer`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublishedSets, D::Error> {
        let mut sets = BTreeMap::new();
        for row in Vec::<Row>::deserialize(deserializer)? {
            let key = SetKey { owner: row.owner, rtype: row.rtype };
            if let Some(address) = row.addresses.iter().find(|address| RecordType::of(**address) != key.rtype) {
                return Err(serde::de::Error::custom(format!("{address} does not belong in {key}")));
            }
            if sets.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("{key} is there twice")));
            }
            sets.insert(key, RecordSet { ttl: row.ttl, addresses: row.addresses });
        }
        Ok(sets)
    }
}
