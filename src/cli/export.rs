//! `witness export`: the ledger as a trace.

use std::io::{BufWriter, ErrorKind};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::args::ExportArgs;
use super::{open, print};
use crate::clock;
use crate::config::{self, Config, policy_of_keys};
use crate::exit::{Exit, Failure};
use crate::export::{Export, ExportError};
use crate::model::{Name, Pool};

pub(super) fn export(path: Option<PathBuf>, args: &ExportArgs) -> Result<Exit, Failure> {
    let config = open::config_to_read(path)?;
    let since = config::duration(&args.since)
        .map_err(|error| Failure::usage(format!("--since: {error}; write it as 30m, 24h or 7d")))?;
    let pool = pool(&config, args.pool.as_ref())?;
    let reader = open::reader(&config)?;
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let export = Export {
        fleet: &config.fleet,
        pool,
        policy: policy(&config),
        interval_ms: millis(config.policy.interval),
        fast_interval_ms: millis(config.policy.fast_interval),
        anchors: config.probes.anchors.len(),
        can: config.abilities(),
    };
    let now = clock::now();
    let mut out = BufWriter::new(std::io::stdout().lock());
    match export.write(reader.view(), now.minus(since), now, &mut out) {
        Ok(0) => print::note(&format!("nothing was judged in the last {}", args.since)),
        Ok(_) => {}
        // The reader has what it wanted.
        Err(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(ExportError::Ledger(error)) => return Err(open::ledger_failure(&error)),
        Err(error @ ExportError::Write(_)) => {
            return Err(Failure::failed(format!("failed to {}", print::chain(&error))));
        }
    }
    Ok(Exit::Done)
}

/// The pool that was meant: the only one, where none is named.
fn pool<'a>(config: &'a Config, name: Option<&Name>) -> Result<&'a Pool, Failure> {
    let pools = &config.fleet.pools;
    match (name, pools.len()) {
        (Some(name), _) => {
            pools.get(name).ok_or_else(|| Failure::usage(open::unknown("pool", name, pools.keys(), config)))
        }
        (None, 1) => Ok(pools.values().next().expect("there is one")),
        (None, _) => {
            let names: Vec<&str> = pools.keys().map(Name::as_str).collect();
            Err(Failure::usage(format!("a trace is of one pool; name it with --pool: {}", names.join(", "))))
        }
    }
}

/// `[policy]` as it is written, where that is all there is to the policy.
fn policy(config: &Config) -> Map<String, Value> {
    let written = || -> Option<Map<String, Value>> {
        let text = std::fs::read_to_string(&config.path).ok()?;
        let mut whole: Map<String, Value> = toml::from_str(&text).ok()?;
        match whole.remove("policy") {
            Some(Value::Object(keys)) => Some(keys),
            _ => Some(Map::new()),
        }
    };
    let keys = written().unwrap_or_default();
    let read = policy_of_keys(&keys, config.policy.interval, config.policy.fast_interval);
    if read.is_ok_and(|policy| policy == config.policy) {
        return keys;
    }
    print::note("the policy cannot be told in the trace's header; give it to backtest with --policy");
    Map::new()
}
