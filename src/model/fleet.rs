//! Nodes, and the pools they share.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::address::Fingerprint;

/// A short name that people type: of a node, a pool or a registrar. Cheap to clone.
///
/// 1 to 63 characters from `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The name of a node.
pub type NodeId = Name;
/// The name of a pool.
pub type PoolId = Name;

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 63 characters from A-Z a-z 0-9 . _ - and begins with a letter or digit, unlike {0:?}")]
pub struct NameError(String);

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// [`NameError`] when `text` is empty, longer than 63 bytes or has another character.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let fits = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if fits { Ok(Self(text.into())) } else { Err(NameError(text.chars().take(80).collect())) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A machine that could serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// Its public addresses, at least one, each of one node only.
    pub addresses: Vec<IpAddr>,
    /// Where it stands, for shared fates.
    pub site: Option<String>,
    /// Usable egress, bit/s.
    pub capacity_bps: Option<u64>,
    /// The host key it must show to the ssh probe.
    pub ssh_host_key: Option<Fingerprint>,
}

/// Nodes that share DNS names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub id: PoolId,
    /// The zone, without a final dot: `example.com`.
    pub zone: String,
    /// Names in the zone that carry the nodes' addresses, relative, lower case: `@`, `files`.
    pub records: Vec<String>,
    /// What TTL the records should have.
    pub ttl: Duration,
    /// Which registrar edits the zone.
    pub registrar: Name,
    /// The nodes, sorted.
    pub nodes: Vec<NodeId>,
    /// The zone's authoritative servers to ask after a change; empty: those its NS records name.
    pub nameservers: Vec<SocketAddr>,
    /// Within how long after a change every authoritative server must show it.
    pub publish_within: Duration,
}

/// Every node and every pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// By name.
    pub nodes: BTreeMap<NodeId, Node>,
    /// By name.
    pub pools: BTreeMap<PoolId, Pool>,
}

impl Fleet {
    /// The pools that `node` belongs to.
    pub fn pools_of<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Pool> {
        self.pools.values().filter(move |pool| pool.nodes.binary_search(node).is_ok())
    }

    /// The nodes of `pool`, in order.
    pub fn nodes_of<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = &'a Node> {
        pool.nodes.iter().filter_map(|id| self.nodes.get(id))
    }
}
