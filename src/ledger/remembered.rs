//! The rule's memory: what changes in every tick as numbers, the rest as JSON, and only where it changed.
//!
//! The remembered round is not written twice: a node points to the rows it was observed in. Only where these cannot hold it
//! exactly, or are about to be pruned, it goes into the JSON.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::model::{
    Alerted, ClockReading, FleetVerdict, Hold, Memory, NodeId, NodeMemory, PoolId, PoolMemory, Recent, Round, Standing,
    Strike, Time,
};

use super::cache::{Cache, Known, Now, digest};
use super::error::Trouble;
use super::names::to_name;
use super::rounds::{self, Written};
use super::states::{from_json, to_json};

/// What belongs to no node. A key that an older version did not write is as it is in the beginning.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Common {
    last: Option<ClockReading>,
    rhythm_ms: VecDeque<i64>,
    ticks_seen: u32,
    isolated_at: Option<Time>,
    anchored_at: Option<Time>,
    clear_since: Option<Time>,
    pools: BTreeMap<PoolId, PoolMemory>,
    told_fleet: Vec<(FleetVerdict, Time)>,
    alerted: Vec<Alerted>,
    holds: Vec<Hold>,
}

#[derive(Debug, Serialize)]
struct CommonRef<'a> {
    last: &'a Option<ClockReading>,
    rhythm_ms: &'a VecDeque<i64>,
    ticks_seen: u32,
    isolated_at: Option<Time>,
    anchored_at: Option<Time>,
    clear_since: Option<Time>,
    pools: &'a BTreeMap<PoolId, PoolMemory>,
    told_fleet: &'a [(FleetVerdict, Time)],
    alerted: &'a [Alerted],
    holds: &'a [Hold],
}

/// What seldom changes of a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Slow {
    standing: Standing,
    standing_since: Option<Time>,
    strikes: Vec<Strike>,
    last_strike_at: Option<Time>,
    pending: Vec<Round>,
    rounds_seen: u32,
    failed_since: Option<Time>,
    withdrawals: VecDeque<Time>,
    soft_withdrawals: VecDeque<Time>,
    /// Only where it is not in the table of observations.
    last_round: Option<Round>,
}

#[derive(Debug, Serialize)]
struct SlowRef<'a> {
    standing: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    standing_since: Option<Time>,
    #[serde(skip_serializing_if = "<[Strike]>::is_empty")]
    strikes: &'a [Strike],
    #[serde(skip_serializing_if = "Option::is_none")]
    last_strike_at: Option<Time>,
    #[serde(skip_serializing_if = "<[Round]>::is_empty")]
    pending: &'a [Round],
    rounds_seen: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_since: Option<Time>,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    withdrawals: &'a VecDeque<Time>,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    soft_withdrawals: &'a VecDeque<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_round: Option<&'a Round>,
}

/// Everything remembered.
pub(crate) fn load(db: &Connection) -> Result<Memory, Trouble> {
    let json: Option<String> = db.query_row("SELECT memory FROM memory", [], |row| row.get(0)).optional()?;
    let Common {
        last,
        rhythm_ms,
        ticks_seen,
        isolated_at,
        anchored_at,
        clear_since,
        pools,
        told_fleet,
        alerted,
        holds,
    } = json.map(|json| from_json("memory.memory", &json)).transpose()?.unwrap_or_default();
    let mut all = db.prepare_cached(
        "SELECT n.id, n.name, m.memory, w.round_judgement, w.round_seq, w.clean_rounds, w.clean_since, w.failed_rounds \
           FROM node_memory m JOIN node n ON n.id = m.node LEFT JOIN node_now w ON w.node = m.node",
    )?;
    let mut rows = all.query([])?;
    let mut nodes = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let node = to_name(row.get_ref(1)?.as_str().unwrap_or_default())?;
        let slow: Slow = from_json("node_memory.memory", row.get_ref(2)?.as_str().unwrap_or_default())?;
        let place: (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
        let last_round = match (slow.last_round, place) {
            (Some(round), _) => Some(round),
            (None, (Some(judgement), Some(seq))) => rounds::one(db, judgement, row.get(0)?, seq, &node)?,
            (None, _) => None,
        };
        let clean_since: Option<i64> = row.get(6)?;
        let memory = NodeMemory {
            standing: slow.standing,
            standing_since: slow.standing_since,
            strikes: slow.strikes,
            last_round,
            clean_rounds: row.get::<_, Option<u32>>(5)?.unwrap_or(0),
            clean_since: clean_since.map(Time),
            failed_rounds: row.get::<_, Option<u32>>(7)?.unwrap_or(0),
            failed_since: slow.failed_since,
            last_strike_at: slow.last_strike_at,
            pending: slow.pending,
            rounds_seen: slow.rounds_seen,
            withdrawals: slow.withdrawals,
            soft_withdrawals: slow.soft_withdrawals,
            recent: Recent::default(),
        };
        nodes.insert(node, memory);
    }
    Ok(Memory {
        last,
        rhythm_ms,
        ticks_seen,
        isolated_at,
        anchored_at,
        clear_since,
        nodes,
        pools,
        told_fleet,
        alerted,
        holds,
    })
}

/// Writes what differs from what the tables hold.
pub(crate) fn save(
    db: &Connection,
    cache: &mut Cache,
    judgement: i64,
    memory: &Memory,
    written: &BTreeMap<&NodeId, Vec<Written<'_>>>,
) -> Result<(), Trouble> {
    let Memory {
        last,
        rhythm_ms,
        ticks_seen,
        isolated_at,
        anchored_at,
        clear_since,
        nodes,
        pools,
        told_fleet,
        alerted,
        holds,
    } = memory;
    let (ticks_seen, isolated_at) = (*ticks_seen, *isolated_at);
    let (anchored_at, clear_since) = (*anchored_at, *clear_since);
    let common = to_json(&CommonRef {
        last,
        rhythm_ms,
        ticks_seen,
        isolated_at,
        anchored_at,
        clear_since,
        pools,
        told_fleet,
        alerted,
        holds,
    });
    if cache.memory != Some(digest(&*common)) {
        db.prepare_cached("INSERT INTO memory VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET memory = ?1")?
            .execute([&common])?;
        cache.memory = Some(digest(&*common));
    }
    for (node, remembered) in nodes {
        save_node(db, cache, judgement, node, remembered, written.get(node).map_or(&[], Vec::as_slice))?;
    }
    // Nodes that were observed and are not remembered still have a newest round.
    for (node, rounds) in written.iter().filter(|(node, _)| !nodes.contains_key(**node)) {
        let number = cache.names.node(db, node)?;
        let known = cache.nodes.entry((*node).clone()).or_default();
        write_now(db, known, number, Now { seen: newest(judgement, rounds), ..known.now.unwrap_or_default() })?;
    }
    let gone = cache.nodes.iter().filter(|(node, known)| known.memory.is_some() && !nodes.contains_key(*node));
    for node in gone.map(|(node, _)| node.clone()).collect::<Vec<_>>() {
        let number = cache.names.node(db, &node)?;
        db.prepare_cached("DELETE FROM node_memory WHERE node = ?1")?.execute([number])?;
        db.prepare_cached(
            "UPDATE node_now SET round_judgement = NULL, round_seq = NULL, clean_rounds = 0, clean_since = NULL, \
             failed_rounds = 0 WHERE node = ?1",
        )?
        .execute([number])?;
        let known = cache.nodes.entry(node).or_default();
        known.memory = None;
        known.round = None;
        known.now = known.now.map(|now| Now { seen: now.seen, ..Now::default() });
    }
    Ok(())
}

fn save_node(
    db: &Connection,
    cache: &mut Cache,
    judgement: i64,
    node: &NodeId,
    memory: &NodeMemory,
    written: &[Written<'_>],
) -> Result<(), Trouble> {
    let NodeMemory {
        standing,
        standing_since,
        strikes,
        last_round,
        clean_rounds,
        clean_since,
        failed_rounds,
        failed_since,
        last_strike_at,
        pending,
        rounds_seen,
        withdrawals,
        soft_withdrawals,
        recent: _,
    } = memory;
    let number = cache.names.node(db, node)?;
    let known = cache.nodes.entry(node.clone()).or_default();
    let before = known.now.unwrap_or_default();
    let (place, inline) = match last_round {
        None => (None, None),
        Some(round) => match written.iter().find(|done| done.exact && done.round == round) {
            Some(done) => {
                known.round = Some(rounds::digest(round));
                (Some((judgement, done.seq)), None)
            }
            None if still_there(db, known, number, node, round)? => (before.round, None),
            None => (None, Some(round)),
        },
    };
    let now = Now {
        seen: newest(judgement, written).or(before.seen),
        round: place,
        clean_rounds: *clean_rounds,
        clean_since: clean_since.map(|time| time.0),
        failed_rounds: *failed_rounds,
    };
    write_now(db, known, number, now)?;
    let slow = to_json(&SlowRef {
        standing: *standing,
        standing_since: *standing_since,
        strikes,
        last_strike_at: *last_strike_at,
        pending,
        rounds_seen: *rounds_seen,
        failed_since: *failed_since,
        withdrawals,
        soft_withdrawals,
        last_round: inline,
    });
    if known.memory != Some(digest(&*slow)) {
        db.prepare_cached("INSERT INTO node_memory VALUES (?1, ?2) ON CONFLICT (node) DO UPDATE SET memory = ?2")?
            .execute(params![number, slow])?;
        known.memory = Some(digest(&*slow));
    }
    Ok(())
}

fn newest(judgement: i64, written: &[Written<'_>]) -> Option<(i64, i64)> {
    written.iter().rev().find(|done| !done.round.observations.is_empty()).map(|done| (judgement, done.seq))
}

/// Whether `round` is the one that the node already points to.
fn still_there(db: &Connection, known: &mut Known, number: i64, node: &NodeId, round: &Round) -> Result<bool, Trouble> {
    let Some((judgement, seq)) = known.now.and_then(|now| now.round) else { return Ok(false) };
    if known.round.is_none() {
        known.round = rounds::one(db, judgement, number, seq, node)?.as_ref().map(rounds::digest);
    }
    Ok(known.round == Some(rounds::digest(round)))
}

fn write_now(db: &Connection, known: &mut Known, number: i64, now: Now) -> Result<(), Trouble> {
    if known.now == Some(now) {
        return Ok(());
    }
    db.prepare_cached("INSERT OR REPLACE INTO node_now VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        number,
        now.seen.map(|(judgement, _)| judgement),
        now.seen.map(|(_, seq)| seq),
        now.round.map(|(judgement, _)| judgement),
        now.round.map(|(_, seq)| seq),
        now.clean_rounds,
        now.clean_since,
        now.failed_rounds,
    ])?;
    known.now = Some(now);
    Ok(())
}

/// Copies remembered rounds out of the observations of `judgement`, which are about to be pruned.
pub(crate) fn rescue(db: &Connection, judgement: i64) -> Result<usize, Trouble> {
    let mut find = db.prepare_cached(
        "SELECT w.node, n.name, w.round_seq, m.memory FROM node_now w JOIN node n ON n.id = w.node \
           JOIN node_memory m ON m.node = w.node WHERE w.round_judgement = ?1",
    )?;
    let mut rows = find.query([judgement])?;
    let mut rescued = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let name = to_name(row.get_ref(1)?.as_str().unwrap_or_default())?;
        let slow: Slow = from_json("node_memory.memory", row.get_ref(3)?.as_str().unwrap_or_default())?;
        rescued.push((number, slow, rounds::one(db, judgement, number, row.get(2)?, &name)?));
    }
    for (number, slow, round) in &rescued {
        let slow = to_json(&SlowRef {
            standing: slow.standing,
            standing_since: slow.standing_since,
            strikes: &slow.strikes,
            last_strike_at: slow.last_strike_at,
            pending: &slow.pending,
            rounds_seen: slow.rounds_seen,
            failed_since: slow.failed_since,
            withdrawals: &slow.withdrawals,
            soft_withdrawals: &slow.soft_withdrawals,
            last_round: round.as_ref(),
        });
        db.prepare_cached("UPDATE node_memory SET memory = ?2 WHERE node = ?1")?.execute(params![number, slow])?;
        db.prepare_cached("UPDATE node_now SET round_judgement = NULL, round_seq = NULL WHERE node = ?1")?
            .execute([number])?;
    }
    Ok(rescued.len())
}
