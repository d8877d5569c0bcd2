//! What is about to be written to a registrar, what became of it, and what the zone was before.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use crate::model::{Intent, IntentState, Name, Plan, PoolId, PublishedSets, RecordSet, SetKey, Time};

use super::error::{LedgerError, Trouble};
use super::names::to_name;
use super::states::{from_json, to_json};
use super::{Ledger, code, lease};

/// A copy of a zone from before a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What a list shows of it.
    pub entry: SnapshotEntry,
    /// The pool's sets.
    pub sets: PublishedSets,
    /// Everything that the registrar's adapter saw.
    pub preimage: Value,
}

/// A snapshot without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Its number.
    pub id: i64,
    /// When it was taken.
    pub at: Time,
    /// For which pool.
    pub pool: PoolId,
    /// Of which zone.
    pub zone: String,
    /// From which registrar.
    pub registrar: Name,
    /// Before which write; none: by hand.
    pub intent: Option<i64>,
}

/// Whether an authoritative server was seen to show what an intent wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Which intent.
    pub intent: i64,
    /// The server, as it was asked.
    pub server: String,
    /// When this was written down.
    pub at: Time,
    /// When it was first seen to show it; none: not within its deadline, which is an alarm.
    pub seen: Option<Time>,
    /// Words.
    pub note: String,
}

impl Ledger {
    /// Writes down what is about to be asked of a registrar. It is on disk when this returns; only then may it be asked.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`] when there is no such judgement, [`LedgerError::LeaseLost`] when another process ticks
    /// now; else what is wrong with the file. The registrar must not be called then.
    pub fn intend(&mut self, judgement: i64, at: Time, plan: &Plan) -> Result<i64, LedgerError> {
        let held = self.held.clone();
        self.write(|tx| {
            lease::check(tx, &held)?;
            exists(tx, "SELECT 1 FROM judgement WHERE id = ?1", judgement, "judgement")?;
            let state = IntentState::Intended.name();
            let id = tx
                .prepare_cached(
                    "INSERT INTO intent (judgement, at, pool, plan, state, state_at, note) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?2, '') RETURNING id",
                )?
                .query_row(params![judgement, at.0, plan.pool.as_str(), to_json(plan), state], |row| row.get(0))?;
            add_state(tx, id, at, IntentState::Intended, "")?;
            Ok(id)
        })
    }

    /// Writes down what became of an intent, or how it stands now. It is on disk when this returns.
    ///
    /// It needs no lease: what a registrar has done is a fact, whoever ticks now.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`] when there is no such intent, [`LedgerError::Closed`] when it has come to another end;
    /// else what is wrong with the file: then the intent stays open, and the next tick looks at the zone first.
    pub fn conclude(&mut self, intent: i64, state: IntentState, at: Time, note: &str) -> Result<(), LedgerError> {
        self.write(|tx| {
            let is: Option<String> = tx
                .prepare_cached("SELECT state FROM intent WHERE id = ?1")?
                .query_row([intent], |row| row.get(0))
                .optional()?;
            let is = code::to_intent(&is.ok_or_else(|| Trouble::Unknown(format!("intent {intent}")))?)?;
            if is.is_final() && is == state {
                return Ok(());
            }
            if is.is_final() || (state == IntentState::Intended && is != state) {
                return Err(Trouble::Done(LedgerError::Closed { intent, is, to: state }));
            }
            tx.prepare_cached("UPDATE intent SET state = ?2, state_at = ?3, note = ?4 WHERE id = ?1")?
                .execute(params![intent, state.name(), at.0, note])?;
            add_state(tx, intent, at, state, note)
        })
    }

    /// Intents of which more is to be learnt, oldest first: what a start looks at before anything else.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn open_intents(&self) -> Result<Vec<Intent>, LedgerError> {
        select(&self.db, "state IN ('intended', 'applied', 'unknown') ORDER BY id", &[]).map_err(|t| t.at(&self.path))
    }

    /// Keeps a copy of the zone from before a write; returns its number.
    ///
    /// # Errors
    /// [`LedgerError::Sql`] when there is no such intent; else what is wrong with the file.
    #[expect(clippy::too_many_arguments, reason = "each is one column")]
    pub fn snapshot(
        &mut self,
        at: Time,
        pool: &PoolId,
        zone: &str,
        registrar: &Name,
        sets: &PublishedSets,
        preimage: &Value,
        intent: Option<i64>,
    ) -> Result<i64, LedgerError> {
        self.write(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO snapshot (at, pool, zone, registrar, sets, preimage, intent) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id",
            )?;
            let row = params![
                at.0,
                pool.as_str(),
                zone,
                registrar.as_str(),
                sets_to_json(sets),
                preimage.to_string(),
                intent
            ];
            Ok(insert.query_row(row, |row| row.get(0))?)
        })
    }

    /// Writes down, at `at`, when an authoritative server was first `seen` to show what `intent` wanted; `None` is the
    /// alarm that it was not within its deadline. Said again, it replaces what was said before.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`] when there is no such intent; else what is wrong with the file.
    pub fn publication(
        &mut self,
        intent: i64,
        server: &str,
        at: Time,
        seen: Option<Time>,
        note: &str,
    ) -> Result<(), LedgerError> {
        self.write(|tx| {
            exists(tx, "SELECT 1 FROM intent WHERE id = ?1", intent, "intent")?;
            tx.prepare_cached("INSERT OR REPLACE INTO publication VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                intent,
                server,
                at.0,
                seen.map(|seen| seen.0),
                note
            ])?;
            Ok(())
        })
    }

    /// What a pool's registrar held when it was last read, and when that was.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn last_reading(&self, pool: &PoolId) -> Result<Option<(Time, PublishedSets)>, LedgerError> {
        last_reading(&self.db, pool).map_err(|trouble| trouble.at(&self.path))
    }

    /// Keeps a reading, so that not every tick has to ask. A row is added only when the sets differ from the last.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn save_reading(&mut self, pool: &PoolId, at: Time, sets: &PublishedSets) -> Result<(), LedgerError> {
        let json = sets_to_json(sets);
        self.write(|tx| {
            let last: Option<(i64, String)> = tx
                .prepare_cached("SELECT id, sets FROM reading WHERE pool = ?1 ORDER BY id DESC LIMIT 1")?
                .query_row([pool.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            match last {
                Some((id, same)) if same == json => {
                    tx.prepare_cached("UPDATE reading SET last_at = ?2 WHERE id = ?1")?.execute([id, at.0])?
                }
                _ => tx
                    .prepare_cached("INSERT INTO reading (pool, first_at, last_at, sets) VALUES (?1, ?2, ?2, ?3)")?
                    .execute(params![pool.as_str(), at.0, json])?,
            };
            Ok(())
        })
    }
}

fn exists(db: &Connection, sql: &str, id: i64, what: &str) -> Result<(), Trouble> {
    let found = db.prepare_cached(sql)?.exists([id])?;
    if found { Ok(()) } else { Err(Trouble::Unknown(format!("{what} {id}"))) }
}

fn add_state(db: &Connection, intent: i64, at: Time, state: IntentState, note: &str) -> Result<(), Trouble> {
    db.prepare_cached("INSERT INTO intent_state (intent, at, state, note) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![intent, at.0, state.name(), note])?;
    Ok(())
}

/// Intents for which `condition` holds.
pub(crate) fn select(db: &Connection, condition: &str, numbers: &[i64]) -> Result<Vec<Intent>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "SELECT id, at, judgement, plan, state, state_at, note FROM intent WHERE {condition}"
    ))?;
    let mut rows = find.query(rusqlite::params_from_iter(numbers))?;
    let mut intents = Vec::new();
    while let Some(row) = rows.next()? {
        let plan: String = row.get(3)?;
        let state: String = row.get(4)?;
        intents.push(Intent {
            id: row.get(0)?,
            at: Time(row.get(1)?),
            judgement: row.get(2)?,
            plan: from_json("intent.plan", &plan)?,
            state: code::to_intent(&state)?,
            state_at: Time(row.get(5)?),
            note: row.get(6)?,
        });
    }
    Ok(intents)
}

/// What is known of an intent's publication, by server.
pub(crate) fn publications(db: &Connection, intent: i64) -> Result<Vec<Publication>, Trouble> {
    let mut find =
        db.prepare_cached("SELECT intent, server, at, seen, note FROM publication WHERE intent = ?1 ORDER BY server")?;
    let found = find.query_map([intent], to_publication)?.collect::<Result<_, _>>()?;
    Ok(found)
}

/// A row of intent, server, at, seen, note.
pub(crate) fn to_publication(row: &Row<'_>) -> Result<Publication, rusqlite::Error> {
    let seen: Option<i64> = row.get(3)?;
    Ok(Publication {
        intent: row.get(0)?,
        server: row.get(1)?,
        at: Time(row.get(2)?),
        seen: seen.map(Time),
        note: row.get(4)?,
    })
}

/// Every snapshot without its contents, oldest first.
pub(crate) fn snapshots(db: &Connection, pool: Option<&PoolId>) -> Result<Vec<SnapshotEntry>, Trouble> {
    let mut find = db.prepare_cached(
        "SELECT id, at, pool, zone, registrar, intent FROM snapshot WHERE ?1 IS NULL OR pool = ?1 ORDER BY id",
    )?;
    let mut rows = find.query([pool.map(|pool| pool.as_str())])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(to_entry(row)?);
    }
    Ok(entries)
}

/// One snapshot with its contents.
pub(crate) fn snapshot(db: &Connection, id: i64) -> Result<Option<Snapshot>, Trouble> {
    let mut find =
        db.prepare_cached("SELECT id, at, pool, zone, registrar, intent, sets, preimage FROM snapshot WHERE id = ?1")?;
    let mut rows = find.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let sets: String = row.get(6)?;
    let preimage: String = row.get(7)?;
    Ok(Some(Snapshot {
        entry: to_entry(row)?,
        sets: sets_from_json("snapshot.sets", &sets)?,
        preimage: from_json("snapshot.preimage", &preimage)?,
    }))
}

fn to_entry(row: &Row<'_>) -> Result<SnapshotEntry, Trouble> {
    Ok(SnapshotEntry {
        id: row.get(0)?,
        at: Time(row.get(1)?),
        pool: to_name(row.get_ref(2)?.as_str().unwrap_or_default())?,
        zone: row.get(3)?,
        registrar: to_name(row.get_ref(4)?.as_str().unwrap_or_default())?,
        intent: row.get(5)?,
    })
}

/// See [`Ledger::last_reading`].
pub(crate) fn last_reading(db: &Connection, pool: &PoolId) -> Result<Option<(Time, PublishedSets)>, Trouble> {
    let found: Option<(i64, String)> = db
        .prepare_cached("SELECT last_at, sets FROM reading WHERE pool = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([pool.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map(|(at, json)| Ok((Time(at), sets_from_json("reading.sets", &json)?))).transpose()
}

/// Readings of a pool that held at some time between two times, oldest first: from when, and what.
pub(crate) fn readings(
    db: &Connection,
    pool: &PoolId,
    from: Time,
    to: Time,
) -> Result<Vec<(Time, PublishedSets)>, Trouble> {
    let mut find = db.prepare_cached(
        "SELECT first_at, sets FROM reading WHERE pool = ?1 AND last_at >= ?2 AND first_at <= ?3 ORDER BY id",
    )?;
    let mut rows = find.query(params![pool.as_str(), from.0, to.0])?;
    let mut readings = Vec::new();
    while let Some(row) = rows.next()? {
        let json: String = row.get(1)?;
        readings.push((Time(row.get(0)?), sets_from_json("reading.sets", &json)?));
    }
    Ok(readings)
}

/// JSON objects have strings for keys and sets do not, so they are a list of pairs.
fn sets_to_json(sets: &PublishedSets) -> String {
    to_json(&sets.iter().collect::<Vec<(&SetKey, &RecordSet)>>())
}

fn sets_from_json(what: &str, json: &str) -> Result<PublishedSets, Trouble> {
    Ok(from_json::<Vec<(SetKey, RecordSet)>>(what, json)?.into_iter().collect())
}
