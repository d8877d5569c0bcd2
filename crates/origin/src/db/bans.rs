//! Content that nobody may upload or see.

use rusqlite::{Connection, OptionalExtension, params};

use super::{DbError, links};
use crate::model::{Sha1, Sha256, Time};

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// SHA-256 or SHA-1.
    pub hash: Vec<u8>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub created: Time,
}

/// Why this content is banned, if it is.
///
/// # Errors
///
/// When it cannot be read.
pub fn reason(db: &Connection, sha256: &Sha256, sha1: &Sha1) -> Result<Option<String>, DbError> {
    let mut query = db.prepare_cached("SELECT reason FROM bans WHERE hash IN (?, ?)")?;
    Ok(query.query_row(params![sha256.0, sha1.0], |row| row.get(0)).optional()?)
}

/// Bans content by one of its hashes. Names that stand for it answer that it is banned; it stays on the disk.
///
/// # Errors
///
/// When it cannot be written.
pub fn add(db: &Connection, hash: &[u8], reason: &str, now: Time) -> Result<(), DbError> {
    db.prepare_cached(
        "INSERT INTO bans (hash, reason, created) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET reason = excluded.reason",
    )?
    .execute(params![hash, reason, now.0])?;
    links::note(db, now, "banned", None, Some(hash), Some(reason))
}

/// Takes a ban back. Whether there was one.
///
/// # Errors
///
/// When it cannot be written.
pub fn remove(db: &Connection, hash: &[u8], now: Time) -> Result<bool, DbError> {
    let removed = db.prepare_cached("DELETE FROM bans WHERE hash = ?")?.execute([hash])? > 0;
    if removed {
        links::note(db, now, "unbanned", None, Some(hash), None)?;
    }
    Ok(removed)
}

/// All of them, newest last.
///
/// # Errors
///
/// When it cannot be read.
pub fn all(db: &Connection) -> Result<Vec<Ban>, DbError> {
    let mut query = db.prepare_cached("SELECT hash, reason, created FROM bans ORDER BY created, hash")?;
    let rows =
        query.query_map([], |row| Ok(Ban { hash: row.get(0)?, reason: row.get(1)?, created: Time(row.get(2)?) }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
