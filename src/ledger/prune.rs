//! Forgetting: a slice at a time, old rows first, never what is still in force.
//!
//! A row's age is told by its own time, and raw observations go in the order they were written: one from the future, which
//! a clock that was wrong has left behind, is as old as what was written after it. `now` itself is not believed at once:
//! nothing is pruned by a time that fewer than [`CONFIRMING`] judgements have been made at, so that a clock that jumps ahead
//! for a moment does not cost the history.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::Time;

use super::error::{LedgerError, Trouble};
use super::names::day_of;
use super::{Ledger, remembered};

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Raw observations, load figures, and what others were asked.
    pub observations: Duration,
    /// Strikes, judgements, actions, holds, intents, snapshots, readings and pins.
    pub history: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { observations: 7 * day, history: 365 * day }
    }
}

/// Judgements that must have been made after a moment before pruning goes by it.
const CONFIRMING: i64 = 100;

/// Rows that one transaction deletes at the most: some milliseconds, which is what a tick may have to wait.
const SLICE: usize = 5000;

/// Free pages beyond which the file is made smaller, together with being a quarter of it.
const SPARE_PAGES: i64 = 2048;

/// Pages that one call gives back to the file system at the most (4 MB).
const VACUUM_PAGES: i64 = 1024;

impl Ledger {
    /// Deletes rows that are older than `keep` says, about `budget_rows` at the most, in transactions of some milliseconds
    /// each. Returns how many; fewer than the budget means that there is no more to do for now. Calls with small budgets let
    /// ticks in between; to keep pace, they must add up to more rows than are written.
    ///
    /// What is in force is kept whatever its age: the last state of each node, standing holds and alerts, open intents,
    /// pins, the last reading of each pool, and the rounds that the memory refers to.
    ///
    /// # Errors
    /// What is wrong with the file; what was deleted until then stays deleted.
    pub fn prune(&mut self, now: Time, keep: &Retention, budget_rows: usize) -> Result<usize, LedgerError> {
        let Some(confirmed) = self.confirmed().map_err(|trouble| trouble.at(&self.path))? else { return Ok(0) };
        let now = now.min(confirmed);
        let raw = Bounds { now, before: now.minus(keep.observations) };
        let rest = Bounds { now, before: now.minus(keep.history) };
        let (mut done, mut rescued) = (0, 0);
        for (step, bounds) in STEPS.into_iter().map(|(step, age)| (step, if age == Age::Raw { raw } else { rest })) {
            while done < budget_rows {
                let slice = SLICE.min(budget_rows - done);
                let deleted = self.write(|tx| step(tx, bounds, slice, &mut rescued))?;
                done += deleted;
                if deleted == 0 {
                    break;
                }
            }
        }
        self.cache.names.forget_notes();
        if rescued > 0 {
            self.cache.fresh = false;
        }
        if done == 0 {
            self.shrink().map_err(|trouble| trouble.at(&self.path))?;
        }
        Ok(done)
    }

    fn confirmed(&self) -> Result<Option<Time>, Trouble> {
        let at: Option<i64> = self
            .db
            .prepare_cached("SELECT at FROM judgement ORDER BY id DESC LIMIT 1 OFFSET ?1")?
            .query_row([CONFIRMING - 1], |row| row.get(0))
            .optional()?;
        Ok(at.map(Time))
    }

    /// Gives some free pages back when there are many. In the steady state there are not: new rows take them.
    fn shrink(&mut self) -> Result<(), Trouble> {
        let pragma = |name| self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (free, all) = (pragma("freelist_count")?, pragma("page_count")?);
        if free > SPARE_PAGES && free > all / 4 {
            let mut vacuum = self.db.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            let mut steps = vacuum.query([])?;
            while steps.next()?.is_some() {}
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    now: Time,
    before: Time,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Raw,
    History,
}

/// Deletes up to so many rows, 0 when there is nothing more to delete, and counts the remembered rounds that it moved.
type Step = fn(&Connection, Bounds, usize, &mut usize) -> Result<usize, Trouble>;

/// Children before their parents.
const STEPS: [(Step, Age); 11] = [
    (observations, Age::Raw),
    (loads, Age::Raw),
    (asks, Age::Raw),
    (notes, Age::Raw),
    (|db, bounds, limit, _| delete(db, bounds, limit, "strike", "at < ?1"), Age::History),
    (node_states, Age::History),
    (standpoints, Age::History),
    (intents, Age::History),
    (snapshots_and_readings, Age::History),
    (|db, bounds, limit, _| delete(db, bounds, limit, "pin", "coalesce(ended_at, until) < ?1"), Age::History),
    (judgements, Age::History),
];

/// Judgement by judgement, in the order they were written, so that whole pages become free.
fn observations(db: &Connection, bounds: Bounds, limit: usize, rescued: &mut usize) -> Result<usize, Trouble> {
    let limit = rows(limit);
    let mut next =
        db.prepare_cached("SELECT judgement FROM observation WHERE judgement > ?1 ORDER BY judgement LIMIT 1")?;
    let mut age = db.prepare_cached("SELECT at FROM judgement WHERE id = ?1")?;
    let mut outlived = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM judgement WHERE at < ?1 AND id > ?2)")?;
    let (mut judgement, mut deleted) = (i64::MIN, 0);
    while deleted < limit {
        let found: Option<i64> = next.query_row([judgement], |row| row.get(0)).optional()?;
        let Some(found) = found else { break };
        judgement = found;
        let at: Option<i64> = age.query_row([judgement], |row| row.get(0)).optional()?;
        let old = match at {
            None => true,
            Some(at) if at < bounds.before.0 => true,
            Some(at) if at > bounds.now.0 => outlived.query_row([bounds.before.0, judgement], |row| row.get(0))?,
            // The oldest of those still young; only rows of a clock that was wrong could be out of order behind it.
            Some(_) => break,
        };
        if old {
            *rescued += remembered::rescue(db, judgement)?;
            deleted += observations_of(db, judgement, limit - deleted)?;
        }
    }
    Ok(usize::try_from(deleted).unwrap_or(0))
}

/// A judgement's observations, or the first `limit` of them up to a node's border.
fn observations_of(db: &Connection, judgement: i64, limit: i64) -> Result<i64, Trouble> {
    let border: Option<i64> = db
        .prepare_cached("SELECT node FROM observation WHERE judgement = ?1 ORDER BY node LIMIT 1 OFFSET ?2")?
        .query_row([judgement, limit - 1], |row| row.get(0))
        .optional()?;
    let deleted = db
        .prepare_cached("DELETE FROM observation WHERE judgement = ?1 AND node <= ?2")?
        .execute([judgement, border.unwrap_or(i64::MAX)])?;
    Ok(rows(deleted))
}

fn loads(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    beside_observations(db, bounds, limit, "load", "judgement, node, source, at")
}

fn asks(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    beside_observations(db, bounds, limit, "ask", "judgement, node, via, at, how")
}

/// Rows of judgements whose observations are gone; by their own age where there are no observations at all.
fn beside_observations(
    db: &Connection,
    bounds: Bounds,
    limit: usize,
    table: &str,
    key: &str,
) -> Result<usize, Trouble> {
    Ok(db
        .prepare_cached(&format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} \
             WHERE judgement < coalesce((SELECT judgement FROM observation ORDER BY judgement LIMIT 1), \
             (SELECT max(id) + 1 FROM judgement WHERE at < ?1)) ORDER BY judgement LIMIT ?2)"
        ))?
        .execute([bounds.before.0, rows(limit)])?)
}

/// The texts of a day go with the last observations of that day.
fn notes(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    let oldest: Option<i64> = db
        .prepare_cached(
            "SELECT at FROM judgement WHERE id = (SELECT judgement FROM observation ORDER BY judgement LIMIT 1)",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    let before = oldest.map_or(bounds.before, |at| bounds.before.min(Time(at)));
    Ok(db
        .prepare_cached("DELETE FROM note WHERE id IN (SELECT id FROM note WHERE day < ?1 LIMIT ?2)")?
        .execute([day_of(before), rows(limit)])?)
}

/// Those whose next one is old, too: the last of the old ones says what held when the kept history begins.
fn node_states(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    Ok(db
        .prepare_cached(
            "DELETE FROM node_state WHERE (node, judgement) IN (SELECT s.node, s.judgement FROM judgement j \
             CROSS JOIN node_state s ON s.judgement = j.id WHERE j.at < ?1 AND (SELECT k.at FROM node_state next \
             JOIN judgement k ON k.id = next.judgement WHERE next.node = s.node AND next.judgement > s.judgement \
             ORDER BY next.judgement LIMIT 1) < ?1 LIMIT ?2)",
        )?
        .execute([bounds.before.0, rows(limit)])?)
}

/// Holds and actions that have ended.
fn standpoints(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    let mut deleted = 0;
    for table in ["hold", "action"] {
        // A judgement that is gone was old.
        deleted += delete(
            db,
            bounds,
            limit,
            table,
            "until IS NOT NULL AND judgement IN (SELECT id FROM judgement WHERE at < ?1) \
             AND coalesce((SELECT at FROM judgement WHERE id = until), 0) < ?1",
        )?;
    }
    Ok(deleted)
}

/// With their states and publications.
fn intents(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    delete(db, bounds, limit, "intent", "at < ?1 AND state_at < ?1 AND state NOT IN ('intended', 'applied', 'unknown')")
}

fn snapshots_and_readings(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    let newest = "id <> (SELECT max(id) FROM reading newer WHERE newer.pool = reading.pool)";
    Ok(delete(db, bounds, limit, "snapshot", "at < ?1")?
        + delete(db, bounds, limit, "reading", &format!("last_at < ?1 AND {newest}"))?)
}

/// Those that nothing refers to any more.
fn judgements(db: &Connection, bounds: Bounds, limit: usize, _: &mut usize) -> Result<usize, Trouble> {
    let free = ["node_state", "strike", "action", "hold", "intent", "observation", "load", "ask"]
        .map(|child| format!("AND NOT EXISTS (SELECT 1 FROM {child} c WHERE c.judgement = judgement.id)"))
        .join(" ");
    delete(db, bounds, limit, "judgement", &format!("at < ?1 {free}"))
}

fn delete(db: &Connection, bounds: Bounds, limit: usize, table: &str, old: &str) -> Result<usize, Trouble> {
    Ok(db
        .prepare_cached(&format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {old} LIMIT ?2)"))?
        .execute(params![bounds.before.0, rows(limit)])?)
}

fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
