//! `witness zone`: what the registrar holds, and the way back.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::ZoneCommand;
use super::format::{Column, local};
use super::{block_on, once, open, print};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::ledger::SnapshotEntry;
use crate::model::{Name, Node, Pool, PublishedSets, Request, RequestKind};
use crate::tick::Shell;

pub(super) fn zone(path: Option<PathBuf>, command: &ZoneCommand) -> Result<Exit, Failure> {
    match command {
        ZoneCommand::Show { pool, json } => show(path, pool.as_ref(), *json),
        ZoneCommand::Snapshots { pool, limit, json } => snapshots(path, pool.as_ref(), *limit, *json),
        ZoneCommand::Restore { snapshot, dry_run, force, json } => restore(path, *snapshot, *dry_run, *force, *json),
    }
}

fn pools<'a>(config: &'a Config, only: Option<&Name>) -> Result<Vec<&'a Pool>, Failure> {
    let Some(only) = only else { return Ok(config.fleet.pools.values().collect()) };
    let pool = config.fleet.pools.get(only);
    pool.map(|pool| vec![pool])
        .ok_or_else(|| Failure::usage(open::unknown("pool", only, config.fleet.pools.keys(), config)))
}

fn show(path: Option<PathBuf>, only: Option<&Name>, as_json: bool) -> Result<Exit, Failure> {
    let config = Arc::new(open::config(path)?);
    let wanted: Vec<Pool> = pools(&config, only)?.into_iter().cloned().collect();
    block_on(async move {
        let shell = open::shell(&config, open::memory_only(&config)?, "zone show")?;
        let mut all = Vec::new();
        for pool in wanted {
            let sets = shell.read_now(&pool.id).await.map_err(|error| {
                Failure::failed(format!("failed to read zone {} from registrar {}: {error}", pool.zone, pool.registrar))
            })?;
            all.push((pool, sets));
        }
        if as_json {
            print::json(&all.iter().map(|(pool, sets)| pool_as_json(pool, sets)).collect::<Vec<_>>())?;
            return Ok(Exit::Done);
        }
        for (pool, sets) in &all {
            print::say(&[&format!("pool {}, zone {}, registrar {}", pool.id, pool.zone, pool.registrar)])?;
            let rows = sets_as_rows(&config, pool, sets);
            let head = vec![
                Column::new("NAME"),
                Column::new("TYPE"),
                Column::new("TTL"),
                Column::new("ADDRESS"),
                Column::new("NODE"),
            ];
            print::table(head, rows)?;
        }
        Ok(Exit::Done)
    })
}

fn sets_as_rows(config: &Config, pool: &Pool, sets: &PublishedSets) -> Vec<Vec<super::format::Cell>> {
    let mut rows = Vec::new();
    for (key, set) in sets {
        for address in &set.addresses {
            let owner = config.fleet.nodes_of(pool).find(|node| node.addresses.contains(address));
            let owner = owner.map_or_else(|| "(not ours)".to_owned(), |node| node.id.to_string());
            rows.push(vec![
                key.full_name(&pool.zone).into(),
                key.rtype.to_string().into(),
                set.ttl.into(),
                address.to_string().into(),
                owner.into(),
            ]);
        }
    }
    rows
}

fn pool_as_json(pool: &Pool, sets: &PublishedSets) -> Value {
    json!({
        "pool": pool.id,
        "zone": pool.zone,
        "registrar": pool.registrar,
        "sets": sets_as_json(sets),
    })
}

fn sets_as_json(sets: &PublishedSets) -> Vec<Value> {
    sets.iter()
        .map(|(key, set)| json!({"owner": key.owner, "type": key.rtype, "ttl": set.ttl, "addresses": set.addresses}))
        .collect()
}

fn snapshots(path: Option<PathBuf>, only: Option<&Name>, limit: usize, as_json: bool) -> Result<Exit, Failure> {
    let config = open::config_to_read(path)?;
    pools(&config, only)?;
    let reader = open::reader(&config)?;
    let failed = |error| open::ledger_failure(&error);
    let mut entries: Vec<SnapshotEntry> = reader.view().snapshots(only).map_err(failed)?;
    entries.sort_by_key(|entry| entry.id);
    let entries = entries.split_off(entries.len().saturating_sub(limit));
    if as_json {
        let mut all = Vec::new();
        for entry in &entries {
            let whole = reader.view().snapshot(entry.id).map_err(failed)?;
            all.push(json!({
                "snapshot": entry.id,
                "at": entry.at.rfc3339(),
                "pool": entry.pool,
                "zone": entry.zone,
                "registrar": entry.registrar,
                "change": entry.intent,
                "sets": whole.as_ref().map(|whole| sets_as_json(&whole.sets)),
                "whole": whole.map(|whole| whole.preimage),
            }));
        }
        print::json(&all)?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        print::note("there is no copy yet; one is kept before each change");
        return Ok(Exit::Done);
    }
    let rows = entries.iter().map(|entry| {
        vec![
            entry.id.to_string().into(),
            local(entry.at).into(),
            entry.pool.to_string().into(),
            entry.zone.clone().into(),
            entry.intent.map_or_else(|| "-".to_owned(), |intent| intent.to_string()).into(),
        ]
    });
    let head = ["SNAPSHOT", "TAKEN", "POOL", "ZONE", "CHANGE"].map(Column::new);
    print::table(head.into(), rows.collect())?;
    Ok(Exit::Done)
}

fn restore(path: Option<PathBuf>, snapshot: i64, dry_run: bool, force: bool, as_json: bool) -> Result<Exit, Failure> {
    let config = Arc::new(open::config(path)?);
    let reader = open::reader(&config)?;
    let copy = reader.view().snapshot(snapshot).map_err(|error| open::ledger_failure(&error))?.ok_or_else(|| {
        Failure::usage(format!("there is no snapshot {snapshot}; `witness zone snapshots` lists them"))
    })?;
    let Some(pool) = config.fleet.pools.get(&copy.entry.pool).cloned() else {
        return Err(Failure::usage(format!(
            "snapshot {snapshot} is of pool {}, which is not configured",
            copy.entry.pool
        )));
    };
    block_on(async move {
        let ledger = if dry_run { open::memory_only(&config)? } else { open::writer(&config)? };
        let mut shell: Shell = open::shell(&config, ledger, "zone restore")?;
        let standing = shell.read_now(&pool.id).await.map_err(|error| {
            Failure::failed(format!("failed to read zone {} from registrar {}: {error}", pool.zone, pool.registrar))
        })?;
        let requests = differences(&config, &pool, &standing, &copy.sets, snapshot, force);
        if requests.is_empty() {
            let said = format!("the nodes of pool {} stand as in snapshot {snapshot}: nothing to do", pool.id);
            if as_json {
                print::json(&Value::Null)?;
                print::note(&said);
            } else {
                print::say(&[&said])?;
            }
            return Ok(Exit::Done);
        }
        let wanted = requests.len();
        let mut gathered = once::observe(&config, config.fleet.nodes_of(&pool)).await?;
        gathered.requests = requests;
        let report = if dry_run {
            shell.dry_run(&gathered).await.map_err(open::tick_failure)?
        } else {
            once::act(&mut shell, open::shedder(&config)?.as_ref(), &gathered).await?
        };
        once::print(&report, &config, as_json)?;
        once::remark(&report);
        once::prove(&shell, &report, config.witness.once_deadline).await?;
        let by_hand = |action: &&crate::model::Action| {
            gathered.requests.iter().any(|one| Some(&one.node) == action.node.as_ref())
        };
        let done = report.judgement.actions.iter().filter(by_hand).count();
        if !report.failures.is_empty() {
            return Ok(Exit::Failed);
        }
        Ok(if done < wanted { Exit::Refused } else { Exit::Done })
    })
}

/// Which nodes are to go and which to come, so that each is in DNS exactly where the copy has it.
fn differences(
    config: &Config,
    pool: &Pool,
    standing: &PublishedSets,
    copy: &PublishedSets,
    snapshot: i64,
    force: bool,
) -> Vec<Request> {
    let is_in = |sets: &PublishedSets, node: &Node| {
        sets.values().any(|set| node.addresses.iter().any(|address| set.addresses.contains(address)))
    };
    let request = |node: &Node, kind| Request {
        node: node.id.clone(),
        kind,
        force,
        reason: format!("restored from snapshot {snapshot}"),
    };
    config
        .fleet
        .nodes_of(pool)
        .filter_map(|node| match (is_in(standing, node), is_in(copy, node)) {
            (true, false) => Some(request(node, RequestKind::Withdraw)),
            (false, true) => Some(request(node, RequestKind::Reinstate)),
            (true, true) | (false, false) => None,
        })
        .collect()
}
