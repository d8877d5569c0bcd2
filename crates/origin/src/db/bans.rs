//! Content that nobody may upload or see.

use rusqlite::{Connection, OptionalExtension, params};

use super::{DbError, links};
use crate::model::{Hashes, Time};

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// SHA-256, SHA-1 or MD5.
    pub hash: Vec<u8>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub created: Time,
    /// From then on it does not count any more.
    pub until: Option<Time>,
}

/// Why this content is banned, if it is.
///
/// # Errors
///
/// When it cannot be read.
pub fn reason(db: &Connection, hashes: &Hashes, now: Time) -> Result<Option<String>, DbError> {
    let mut query =
        db.prepare_cached("SELECT reason FROM bans WHERE hash IN (?, ?, ?) AND (until IS NULL OR until > ?) LIMIT 1")?;
    let hashes = params![hashes.sha256.0, hashes.sha1.0, hashes.md5.0, now.0];
    Ok(query.query_row(hashes, |row| row.get(0)).optional()?)
}

/// Bans content by one of its hashes. Names that stand for it answer that it is banned; it stays on the disk.
///
/// # Errors
///
/// When it cannot be written.
pub fn add(db: &Connection, hash: &[u8], reason: &str, until: Option<Time>, now: Time) -> Result<(), DbError> {
    db.prepare_cached(
        "INSERT INTO bans (hash, reason, created, until) VALUES (?, ?, ?, ?) \
         ON CONFLICT DO UPDATE SET reason = excluded.reason, until = excluded.until",
    )?
    .execute(params![hash, reason, now.0, until.map(|until| until.0)])?;
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
    let mut query = db.prepare_cached("SELECT hash, reason, created, until FROM bans ORDER BY created, hash")?;
    let rows = query.query_map([], |row| {
        Ok(Ban {
            hash: row.get(0)?,
            reason: row.get(1)?,
            created: Time(row.get(2)?),
            until: row.get::<_, Option<i64>>(3)?.map(Time),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
