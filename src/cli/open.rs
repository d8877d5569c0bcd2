//! What every command begins with: configuration, ledger, shell.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::print;
use crate::config::{Config, ConfigError, Problem, Severity, nearest};
use crate::exit::Failure;
use crate::ledger::{Ledger, LedgerError, LedgerHandle, Reader, Retention};
use crate::model::{Name, Node};
use crate::relay::Relays;
use crate::shed::Shedder;
use crate::tick::{Shell, TickError};

/// The configuration with its secrets; mistakes go to stderr, warnings to the log.
pub(super) fn config(path: Option<PathBuf>) -> Result<Config, Failure> {
    let config = Config::find(path).and_then(|path| Config::load(&path)).map_err(|error| config_failure(&error))?;
    for warning in &config.warnings {
        tracing::info!("{warning}");
    }
    Ok(config)
}

/// The same, louder about what somebody relies on and this version does not do.
pub(super) fn config_of_daemon(path: Option<PathBuf>) -> Result<Config, Failure> {
    let config = Config::find(path).and_then(|path| Config::load(&path)).map_err(|error| config_failure(&error))?;
    for warning in &config.warnings {
        if ["serve.", "notify."].iter().any(|section| warning.key.starts_with(section)) {
            tracing::warn!("{warning}");
        } else {
            tracing::info!("{warning}");
        }
    }
    Ok(config)
}

/// The configuration for commands that only read the ledger: whoever may read that need not have the secrets.
pub(super) fn config_to_read(path: Option<PathBuf>) -> Result<Config, Failure> {
    Config::find(path).and_then(|path| Config::load_without_secrets(&path)).map_err(|error| config_failure(&error))
}

/// Every mistake on a line of its own, then how many there are.
pub(super) fn config_failure(error: &ConfigError) -> Failure {
    if let ConfigError::Problems(problems) = error {
        // Whoever closed stderr does not want to read it.
        let _ = std::io::stderr().write_all(problem_lines(problems).as_bytes());
    }
    Failure::usage(print::chain(error))
}

fn problem_lines(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| format!("{problem}\n")).collect()
}

/// The ledger to write.
pub(super) fn writer(config: &Config) -> Result<LedgerHandle, Failure> {
    LedgerHandle::open(&config.witness.database).map_err(|error| ledger_failure(&error))
}

/// The ledger to read.
pub(super) fn reader(config: &Config) -> Result<Reader, Failure> {
    Reader::open(&config.witness.database).map_err(|error| ledger_failure(&error))
}

/// A ledger in memory that remembers what the one on disk does, for a run that must leave no trace.
pub(super) fn memory_only(config: &Config) -> Result<LedgerHandle, Failure> {
    if !config.witness.database.exists() {
        return Ok(LedgerHandle::new(Ledger::in_memory()));
    }
    Reader::open(&config.witness.database)
        .and_then(|reader| reader.to_memory())
        .map(LedgerHandle::new)
        .map_err(|error| ledger_failure(&error))
}

/// Everything that a tick needs.
pub(super) fn shell(config: &Arc<Config>, ledger: LedgerHandle, command: &str) -> Result<Shell, Failure> {
    Shell::new(config.clone(), ledger, command)
        .map_err(|error| Failure::usage(format!("failed to set up the registrars: {error}")))
}

/// Who tells the nodes to shed load, where that is configured.
pub(super) fn shedder(config: &Config) -> Result<Option<Arc<Shedder>>, Failure> {
    let Some(settings) = &config.shed else { return Ok(None) };
    let shedder = Shedder::new(settings, &config.policy.shed, &config.fleet, config.probes.https.as_ref());
    let shedder = shedder.map_err(|error| Failure::usage(format!("failed to set up [shed]: {error}")))?;
    Ok(Some(Arc::new(shedder)))
}

/// Those that can be asked about others, where that is configured.
pub(super) fn relays(config: &Config) -> Result<Option<Relays>, Failure> {
    let relays = config.relays.as_ref().map(|relays| Relays::new(relays, &config.fleet, config.service_port()));
    relays.transpose().map_err(|error| Failure::usage(format!("failed to set up the relays: {error}")))
}

pub(super) fn retention(config: &Config) -> Retention {
    Retention { observations: config.witness.retention_observations, history: config.witness.retention }
}

pub(super) fn ledger_failure(error: &LedgerError) -> Failure {
    Failure::failed(format!("failed to {}", print::chain(error)))
}

pub(super) fn tick_failure(error: TickError) -> Failure {
    Failure::failed(format!("failed to complete a tick: {}", print::chain(&error)))
}

/// A node that there is.
pub(super) fn known_node(config: &Config, node: &Name) -> Result<(), Failure> {
    if config.fleet.nodes.contains_key(node) {
        return Ok(());
    }
    Err(Failure::usage(unknown("node", node, config.fleet.nodes.keys(), config)))
}

/// A node and those of its pools: who would stay is a question about them.
pub(super) fn neighbours<'a>(config: &'a Config, node: &'a Name) -> impl Iterator<Item = &'a Node> {
    let ids: BTreeSet<&Name> = config.fleet.pools_of(node).flat_map(|pool| pool.nodes.iter()).chain([node]).collect();
    ids.into_iter().filter_map(|id| config.fleet.nodes.get(id))
}

/// That there is no such node or pool, and which was meant.
pub(super) fn unknown<'a>(what: &str, name: &Name, all: impl Iterator<Item = &'a Name>, config: &Config) -> String {
    let meant = nearest(name.as_str(), all.map(Name::as_str)).map(|name| format!("; did you mean {name}?"));
    format!("there is no {what} {name} in {}{}", config.path.display(), meant.unwrap_or_default())
}
