//! How nodes are told to shed load.

use std::time::Duration;

use super::registrar::ExecSettings;
use super::secret::Secret;

/// Who tells the nodes.
#[derive(Clone, Debug)]
pub struct ShedSettings {
    /// How.
    pub kind: ShedKind,
    /// For each try to tell a node.
    pub timeout: Duration,
}

/// How a node is told.
#[derive(Clone, Debug)]
pub enum ShedKind {
    /// Over https, as the https probe connects, with this bearer token.
    Edge(Secret),
    /// By a program, run once for each node.
    Exec(ExecSettings),
}
