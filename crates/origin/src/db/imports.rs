//! Names that come from another server, with their dates.

use rusqlite::{Connection, OptionalExtension, params};

use super::links::{self, Publication};
use super::{DbError, bans};
use crate::model::{Hashes, Name, Sha1, Sha256, Time};

/// What became of a name that was to be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It stands for the file now.
    Taken,
    /// It did before.
    Known,
    /// It stands for something else.
    Different,
    /// It stood for something, and was removed.
    Gone,
    /// Nobody may see the file.
    Banned,
}

/// What a name stands for already: its content, and since when; nothing inside if it was removed.
pub type Standing = Option<Known>;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Of its content.
    pub sha256: Sha256,
    /// Of its content.
    pub sha1: Sha1,
    /// In bytes.
    pub size: u64,
    /// Since when.
    pub created: Time,
}

/// What is known of a name; `None` if nothing.
///
/// # Errors
///
/// When it cannot be read.
pub fn known(db: &Connection, name: &Name) -> Result<Option<Standing>, DbError> {
    let found = db
        .prepare_cached(
            "SELECT o.sha256, o.sha1, o.size, l.created FROM links l LEFT JOIN objects o ON o.id = l.object WHERE l.name = ?",
        )?
        .query_row([name.as_str()], |row| {
            let Some(sha256) = row.get(0)? else { return Ok(None) };
            let (sha1, size, created) = (Sha1(row.get(1)?), row.get(2)?, Time(row.get(3)?));
            Ok(Some(Known { sha256: Sha256(sha256), sha1, size, created }))
        });
    Ok(found.optional()?)
}

/// Has a name stand for content that is in its place, as since `created`.
///
/// # Errors
///
/// When it cannot be written.
pub fn import(
    db: &Connection,
    name: &Name,
    upload: &Publication,
    created: Time,
    now: Time,
) -> Result<Imported, DbError> {
    match known(db, name)? {
        Some(Some(known)) if known.sha256 == upload.sha256 => return Ok(Imported::Known),
        Some(Some(_)) => return Ok(Imported::Different),
        Some(None) => return Ok(Imported::Gone),
        None => {}
    }
    let hashes = Hashes { sha256: upload.sha256, sha1: upload.sha1, md5: upload.md5 };
    if bans::reason(db, &hashes, now)?.is_some() {
        return Ok(Imported::Banned);
    }
    let object = links::store(db, upload, now)?;
    db.prepare_cached("UPDATE objects SET created = ? WHERE id = ? AND created > ?")?
        .execute(params![created.0, object, created.0])?;
    db.prepare_cached(
        "INSERT INTO links (name, object, original, created, expires, shared) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        name.as_str(),
        object,
        upload.original,
        created.0,
        upload.expires.map(|time| time.0),
        upload.shared
    ])?;
    db.prepare_cached("INSERT INTO claims (name, original, address, created) VALUES (?, ?, ?, ?)")?
        .execute(params![name.as_str(), upload.original, upload.address, created.0])?;
    links::note(db, now, "linked", Some(name), Some(&upload.sha256.0), Some("import"))?;
    Ok(Imported::Taken)
}
