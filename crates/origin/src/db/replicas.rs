//! What is in the tier and what is on the way there; when content was last asked for.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::DbError;
use crate::model::{Sha256, Time};

/// Content that is to be in the tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Of the content.
    pub sha256: Sha256,
    /// In bytes.
    pub size: u64,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// Whether something else than it is there, or nothing.
    pub is_bad: bool,
}

/// How far the tier is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// What is not there yet.
    pub waiting: u64,
    /// Bytes of that.
    pub bytes: u64,
    /// Since when the oldest of it waits.
    pub oldest: Option<Time>,
    /// Why the last that failed did.
    pub error: Option<String>,
}

/// What is to be sent or compared now, the oldest first.
///
/// # Errors
///
/// When it cannot be read.
pub fn due(db: &Connection, now: Time, most: u32) -> Result<Vec<Replica>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT sha256, size, attempts, state = 'bad' FROM replicas \
         WHERE state <> 'verified' AND dropped IS NULL AND due <= ? ORDER BY due, since LIMIT ?",
    )?;
    let rows = query.query_map(params![now.0, most], |row| {
        Ok(Replica { sha256: Sha256(row.get(0)?), size: row.get(1)?, attempts: row.get(2)?, is_bad: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// It was sent; whether that went well is not known yet.
///
/// # Errors
///
/// When it cannot be written.
pub fn sent(db: &Connection, sha256: &Sha256) -> Result<(), DbError> {
    db.prepare_cached("UPDATE replicas SET state = 'sent' WHERE sha256 = ? AND state <> 'verified'")?
        .execute([sha256.0])?;
    Ok(())
}

/// It was read back, and is what it should be. `here` says whether this disk has it, too.
///
/// # Errors
///
/// When it cannot be written.
pub fn verified(db: &Connection, sha256: &Sha256, here: bool, now: Time) -> Result<(), DbError> {
    db.prepare_cached(
        "UPDATE replicas SET state = 'verified', verified = ?2, attempts = 0, error = NULL WHERE sha256 = ?1",
    )?
    .execute(params![sha256.0, now.0])?;
    let place = if here { "both" } else { "remote" };
    db.prepare_cached("UPDATE objects SET place = ?2 WHERE sha256 = ?1")?.execute(params![sha256.0, place])?;
    Ok(())
}

/// It did not go well, and is tried again at `due`. `bad`: what is there is not what it should be, or there is nothing.
///
/// # Errors
///
/// When it cannot be written.
pub fn failed(db: &Connection, sha256: &Sha256, bad: bool, why: &str, due: Time) -> Result<(), DbError> {
    let state = if bad { "bad" } else { "waiting" };
    db.prepare_cached(
        "UPDATE replicas SET state = ?2, error = ?3, due = ?4, attempts = attempts + 1, verified = NULL WHERE sha256 = ?1",
    )?
    .execute(params![sha256.0, state, why, due.0])?;
    // What is not safe there must not make room here.
    db.prepare_cached("UPDATE objects SET place = 'local' WHERE sha256 = ? AND place = 'both'")?.execute([sha256.0])?;
    Ok(())
}

/// How far the tier is behind.
///
/// # Errors
///
/// When it cannot be read.
pub fn lag(db: &Connection) -> Result<Lag, DbError> {
    let mut lag = db.query_row(
        "SELECT count(*), coalesce(sum(size), 0), min(since) FROM replicas WHERE state <> 'verified' AND dropped IS NULL",
        [],
        |row| {
            let oldest: Option<i64> = row.get(2)?;
            Ok(Lag { waiting: row.get(0)?, bytes: row.get(1)?, oldest: oldest.map(Time), error: None })
        },
    )?;
    lag.error = db
        .query_row(
            "SELECT error FROM replicas WHERE error IS NOT NULL AND state <> 'verified' AND dropped IS NULL \
             ORDER BY due DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(lag)
}

/// What is not there as it should be, and whether anybody needs it still.
///
/// # Errors
///
/// When it cannot be read.
pub fn bad(db: &Connection) -> Result<Vec<(Sha256, String, bool)>, DbError> {
    let mut query = db.prepare(
        "SELECT sha256, coalesce(error, ''), dropped IS NULL FROM replicas WHERE state = 'bad' ORDER BY sha256",
    )?;
    let rows = query.query_map([], |row| Ok((Sha256(row.get(0)?), row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What nobody has needed since `before`.
///
/// # Errors
///
/// When it cannot be read.
pub fn dropped(db: &Connection, before: Time, most: u32) -> Result<Vec<Sha256>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT sha256 FROM replicas WHERE dropped IS NOT NULL AND dropped < ? ORDER BY dropped LIMIT ?",
    )?;
    let rows = query.query_map(params![before.0, most], |row| row.get(0).map(Sha256))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// It is about to go from the tier: whether it may, still.
///
/// # Errors
///
/// When it cannot be written.
pub fn begin_to_purge(db: &Connection, sha256: &Sha256) -> Result<bool, DbError> {
    let changed = db
        .prepare_cached(
            "UPDATE replicas SET state = 'waiting', verified = NULL WHERE sha256 = ? AND dropped IS NOT NULL",
        )?
        .execute([sha256.0])?;
    Ok(changed == 1)
}

/// It has gone from the tier.
///
/// # Errors
///
/// When it cannot be written.
pub fn purged(db: &Connection, sha256: &Sha256) -> Result<(), DbError> {
    db.prepare_cached("DELETE FROM replicas WHERE sha256 = ? AND dropped IS NOT NULL")?.execute([sha256.0])?;
    Ok(())
}

/// What this disk and the tier both have, and was asked for longest ago.
///
/// # Errors
///
/// When it cannot be read.
pub fn evictable(db: &Connection, most: u32) -> Result<Vec<(Sha256, u64)>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT o.sha256, o.size FROM objects o JOIN replicas r ON r.sha256 = o.sha256 \
         LEFT JOIN accesses a ON a.sha256 = o.sha256 \
         WHERE o.place = 'both' AND r.state = 'verified' AND r.dropped IS NULL \
         ORDER BY max(coalesce(a.at, 0), o.created), o.id LIMIT ?",
    )?;
    let rows = query.query_map([most], |row| Ok((Sha256(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says that it is in the tier alone, if it is safe there: then its file may go.
///
/// # Errors
///
/// When it cannot be written.
pub fn evict(db: &Connection, sha256: &Sha256) -> Result<bool, DbError> {
    let changed = db
        .prepare_cached(
            "UPDATE objects SET place = 'remote' WHERE sha256 = ?1 AND place = 'both' AND EXISTS \
             (SELECT 1 FROM replicas WHERE sha256 = ?1 AND state = 'verified' AND dropped IS NULL)",
        )?
        .execute([sha256.0])?;
    Ok(changed == 1)
}

/// Says that this disk has it, too, if a row knows it still. Its file is in its place already.
///
/// # Errors
///
/// When it cannot be written.
pub fn came_back(db: &Connection, sha256: &Sha256) -> Result<bool, DbError> {
    let changed = db
        .prepare_cached("UPDATE objects SET place = 'both' WHERE sha256 = ? AND place = 'remote'")?
        .execute([sha256.0])?;
    Ok(changed == 1)
}

/// Whether a row says that this content is in the tier alone.
///
/// # Errors
///
/// When it cannot be read.
pub fn is_remote(db: &Connection, sha256: &Sha256) -> Result<bool, DbError> {
    Ok(db.prepare_cached("SELECT 1 FROM objects WHERE sha256 = ? AND place = 'remote'")?.exists([sha256.0])?)
}

/// Some objects after `id`: number, hash, whether this disk should have it, whether the tier is known to.
///
/// # Errors
///
/// When it cannot be read.
pub fn walk(db: &Connection, id: i64, most: u32) -> Result<Vec<(i64, Sha256, bool, bool)>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT o.id, o.sha256, o.place <> 'remote', coalesce(r.state = 'verified', 0) FROM objects o \
         LEFT JOIN replicas r ON r.sha256 = o.sha256 WHERE o.id > ? ORDER BY o.id LIMIT ?",
    )?;
    let rows =
        query.query_map(params![id, most], |row| Ok((row.get(0)?, Sha256(row.get(1)?), row.get(2)?, row.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Corrects where it is.
///
/// # Errors
///
/// When it cannot be written.
pub fn place(db: &Connection, sha256: &Sha256, here: bool, there: bool) -> Result<(), DbError> {
    let place = match (here, there) {
        (true, true) => "both",
        (false, true) => "remote",
        (_, false) => "local",
    };
    db.prepare_cached("UPDATE objects SET place = ?2 WHERE sha256 = ?1")?.execute(params![sha256.0, place])?;
    Ok(())
}

/// Remembers when content was asked for.
///
/// # Errors
///
/// When it cannot be written.
pub fn touch(db: &Connection, accesses: &[(Sha256, Time)]) -> Result<(), DbError> {
    let mut upsert = db.prepare_cached(
        "INSERT INTO accesses (sha256, at) VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE SET at = max(at, excluded.at)",
    )?;
    for (sha256, at) in accesses {
        upsert.execute(params![sha256.0, at.0])?;
    }
    Ok(())
}

/// Forgets when content that is gone was asked for.
///
/// # Errors
///
/// When it cannot be written.
pub fn forget_accesses(db: &Connection) -> Result<(), DbError> {
    db.execute("DELETE FROM accesses WHERE sha256 NOT IN (SELECT sha256 FROM objects)", [])?;
    Ok(())
}
