//! Whether this machine can do what the configuration asks of it.
//!
//! Looks and touches nothing: no packet is sent, no file is made. Who asks registrars, nodes and anchors as well tells
//! it in [`Finding`]s too.

mod files;
mod live;
mod machine;
mod relays;

pub use live::check_live;

use serde::Serialize;

use crate::clock;
use crate::config::{Config, Severity};

/// One thing found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is; a note is good news.
    pub severity: Severity,
    /// Of what: `ledger`, `ping`, `node slice1`.
    pub subject: String,
    /// What is so: a fragment without a final stop.
    pub what: String,
    /// What to do; none for notes.
    pub remedy: Option<String>,
}

impl Finding {
    /// It will not work like this.
    #[must_use]
    pub fn error(subject: impl Into<String>, what: String, remedy: String) -> Self {
        Self { severity: Severity::Error, subject: subject.into(), what, remedy: Some(remedy) }
    }

    /// It works, and somebody should know.
    #[must_use]
    pub fn warning(subject: impl Into<String>, what: String, remedy: String) -> Self {
        Self { severity: Severity::Warning, subject: subject.into(), what, remedy: Some(remedy) }
    }

    /// It is as it should be.
    #[must_use]
    pub fn note(subject: impl Into<String>, what: String) -> Self {
        Self { severity: Severity::Note, subject: subject.into(), what, remedy: None }
    }
}

/// Looks at this machine: files, ledger, clock, permission to ping, descriptors, routes, roots, resolver. In an order
/// that does not change. `newest_schema` is the newest ledger version that this program knows (`user_version`), where
/// the caller can tell.
#[must_use]
pub fn check_machine(config: &Config, newest_schema: Option<u32>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(files::configuration(config));
    findings.extend(files::ledger(&config.witness.database, newest_schema));
    findings.extend(machine::clock(clock::now(), &[&config.path, &config.witness.database]));
    findings.extend(machine::ping(config));
    findings.extend(machine::descriptors(config));
    findings.extend(machine::routes(config));
    findings.extend(machine::roots(config));
    findings.extend(machine::resolver(config));
    findings.extend(machine::agent(config));
    findings
}
