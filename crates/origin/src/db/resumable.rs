//! Uploads that come in parts.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::DbError;
use crate::model::{Name, Sha256, Time};

/// An upload that comes in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Of what stands in its URL.
    pub hash: Sha256,
    /// In bytes, once that is told.
    pub length: Option<u64>,
    /// So much of it is on the disk.
    pub received: u64,
    /// As it was sent.
    pub metadata: String,
    /// What the uploader calls it.
    pub original: String,
    /// How long it is to be there, once it is published.
    pub lasts: Option<Duration>,
    /// How often it may be downloaded.
    pub max_views: Option<u32>,
    /// The same for uploads of one address.
    pub owner: [u8; 16],
    /// As far as that is kept.
    pub address: Option<String>,
    /// From then on it is forgotten.
    pub expires: Time,
    /// Once it is published.
    pub name: Option<Name>,
}

impl Upload {
    /// All of it is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.length == Some(self.received)
    }
}

/// Whether one more may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It has.
    Yes,
    /// Its owner has too many that are not finished, or all together have.
    TooMany,
}

/// Begins one, unless its owner has `most` unfinished ones, or all together have `most_of_all`.
///
/// # Errors
///
/// When it cannot be written.
pub fn begin(db: &Connection, upload: &Upload, most: u32, most_of_all: u32) -> Result<Begun, DbError> {
    let count = |query: &str, owner: Option<&[u8]>| -> Result<u32, DbError> {
        let mut query = db.prepare_cached(query)?;
        Ok(match owner {
            Some(owner) => query.query_row([owner], |row| row.get(0))?,
            None => query.query_row([], |row| row.get(0))?,
        })
    };
    let own = count("SELECT count(*) FROM resumable WHERE name IS NULL AND owner = ?", Some(&upload.owner))?;
    let all = count("SELECT count(*) FROM resumable WHERE name IS NULL", None)?;
    if own >= most || all >= most_of_all {
        return Ok(Begun::TooMany);
    }
    db.prepare_cached(
        "INSERT INTO resumable (hash, length, metadata, original, lasts, max_views, owner, address, expires) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        upload.hash.0,
        upload.length,
        upload.metadata,
        upload.original,
        upload.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)),
        upload.max_views,
        upload.owner,
        upload.address,
        upload.expires.0
    ])?;
    Ok(Begun::Yes)
}

/// One of them.
///
/// # Errors
///
/// When it cannot be read.
pub fn get(db: &Connection, hash: &Sha256) -> Result<Option<Upload>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT hash, length, received, metadata, original, lasts, max_views, owner, address, expires, name \
         FROM resumable WHERE hash = ?",
    )?;
    Ok(query.query_row([hash.0], upload).optional()?)
}

fn upload(row: &Row<'_>) -> rusqlite::Result<Upload> {
    let name: Option<String> = row.get(10)?;
    Ok(Upload {
        hash: Sha256(row.get(0)?),
        length: row.get(1)?,
        received: row.get(2)?,
        metadata: row.get(3)?,
        original: row.get(4)?,
        lasts: row.get::<_, Option<u64>>(5)?.map(Duration::from_millis),
        max_views: row.get(6)?,
        owner: row.get(7)?,
        address: row.get(8)?,
        expires: Time(row.get(9)?),
        name: name.and_then(|name| Name::new(&name)),
    })
}

/// So much of it is on the disk. Whether it is still wanted.
///
/// # Errors
///
/// When it cannot be written.
pub fn received(db: &Connection, hash: &Sha256, received: u64, expires: Time) -> Result<bool, DbError> {
    let changed = db
        .prepare_cached("UPDATE resumable SET received = ?, expires = ? WHERE hash = ? AND name IS NULL")?
        .execute(params![received, expires.0, hash.0])?;
    Ok(changed > 0)
}

/// It will have so many bytes. Whether that was not told before.
///
/// # Errors
///
/// When it cannot be written.
pub fn set_length(db: &Connection, hash: &Sha256, length: u64) -> Result<bool, DbError> {
    let changed = db
        .prepare_cached("UPDATE resumable SET length = ? WHERE hash = ? AND length IS NULL")?
        .execute(params![length, hash.0])?;
    Ok(changed > 0)
}

/// It is published. Whether it was not before.
///
/// # Errors
///
/// When it cannot be written.
pub fn finish(db: &Connection, hash: &Sha256, name: &Name) -> Result<bool, DbError> {
    let changed = db
        .prepare_cached("UPDATE resumable SET name = ?, address = NULL WHERE hash = ? AND name IS NULL")?
        .execute(params![name.as_str(), hash.0])?;
    Ok(changed > 0)
}

/// Forgets it. Whether it was there.
///
/// # Errors
///
/// When it cannot be written.
pub fn forget(db: &Connection, hash: &Sha256) -> Result<bool, DbError> {
    Ok(db.prepare_cached("DELETE FROM resumable WHERE hash = ?")?.execute([hash.0])? > 0)
}

/// Those whose time is over, some at once.
///
/// # Errors
///
/// When it cannot be read.
pub fn over(db: &Connection, now: Time, most: u32) -> Result<Vec<Sha256>, DbError> {
    let mut query = db.prepare_cached("SELECT hash FROM resumable WHERE expires <= ? ORDER BY expires LIMIT ?")?;
    let rows = query.query_map(params![now.0, most], |row| Ok(Sha256(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether something is to come of this one, or has to be kept of it.
///
/// # Errors
///
/// When it cannot be read.
pub fn is_unfinished(db: &Connection, hash: &Sha256) -> Result<bool, DbError> {
    Ok(db.prepare_cached("SELECT 1 FROM resumable WHERE hash = ? AND name IS NULL")?.exists([hash.0])?)
}
