//! Who this origin is, and whether it writes.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::backup::journal;
use crate::db::DbError;

/// Whether it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It takes uploads.
    Writes,
    /// It copies another one.
    Follows,
    /// It was told that another one writes.
    Fenced,
}

/// Who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// This one.
    pub origin: String,
    /// Which history its rows have.
    pub lineage: String,
    /// How often another one has begun to write.
    pub epoch: i64,
    /// Whether it writes.
    pub role: Role,
    /// Who began to write last, as far as this one was told.
    pub fenced_by: Option<String>,
    /// The journal has lines after this one.
    pub forgotten: i64,
    /// The journal's last line.
    pub last: i64,
}

/// As it is now.
///
/// # Errors
///
/// When it cannot be read.
pub fn read(db: &Connection) -> Result<Standing, DbError> {
    let (forgotten, last) = (journal::forgotten(db)?, journal::last(db)?);
    let standing = db.query_row("SELECT origin, lineage, epoch, role, fenced_by FROM standing", [], |row| {
        let role: String = row.get(3)?;
        let role = match role.as_str() {
            "writes" => Role::Writes,
            "follows" => Role::Follows,
            _ => Role::Fenced,
        };
        Ok(Standing {
            origin: row.get(0)?,
            lineage: row.get(1)?,
            epoch: row.get(2)?,
            role,
            fenced_by: row.get(4)?,
            forgotten,
            last,
        })
    });
    Ok(standing?)
}

/// `by` writes as `epoch`: from now on this one does not, unless its own epoch is at least as high. Whether it did until
/// now. The first who says so has this one's word, and nobody after it: that it does not write says nothing about who
/// does.
///
/// # Errors
///
/// When it cannot be written: then it may write still.
pub fn fence(db: &Connection, epoch: i64, by: &str) -> Result<bool, DbError> {
    let fenced = db.execute(
        "UPDATE standing SET role = 'fenced', epoch = ?1, fenced_by = ?2 WHERE epoch < ?1 AND role = 'writes'",
        (epoch, by),
    )?;
    Ok(fenced == 1)
}

/// This one writes as `epoch`, which nobody else has: that was made certain.
///
/// # Errors
///
/// When it cannot be written, or a higher epoch has begun.
pub fn promote(db: &Connection, epoch: i64) -> Result<(), DbError> {
    let promoted = db.execute(
        "UPDATE standing SET role = 'writes', epoch = ?1, fenced_by = NULL WHERE epoch <= ?1 AND role <> 'writes'",
        [epoch],
    );
    match promoted? {
        1 => Ok(()),
        _ => Err(DbError::Other(format!("epoch {epoch} is over already"))),
    }
}

/// It copies another one from now on, from the beginning.
///
/// # Errors
///
/// When it cannot be written.
pub fn begin_to_follow(db: &Connection) -> Result<(), DbError> {
    db.execute("UPDATE standing SET role = 'follows', lineage = ''", [])?;
    db.execute("DELETE FROM marks WHERE name = 'follow'", [])?;
    Ok(())
}

/// Whether nothing was ever written: such a one may begin to follow without being told twice.
///
/// # Errors
///
/// When it cannot be read.
pub fn is_fresh(db: &Connection) -> Result<bool, DbError> {
    Ok(db.query_row(
        "SELECT role = 'writes' AND epoch = 1 AND NOT EXISTS (SELECT 1 FROM links) AND NOT EXISTS (SELECT 1 FROM objects)
         AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'journal' AND seq > 0) FROM standing",
        [],
        |row| row.get(0),
    )?)
}

/// Up to which line of the other one's journal this one has come.
///
/// # Errors
///
/// When it cannot be read.
pub fn mark(db: &Connection) -> Result<Option<i64>, DbError> {
    use rusqlite::OptionalExtension as _;
    Ok(db.query_row("SELECT value FROM marks WHERE name = 'follow'", [], |row| row.get(0)).optional()?)
}

/// Notes that.
///
/// # Errors
///
/// When it cannot be written.
pub fn set_mark(db: &Connection, seq: i64) -> Result<(), DbError> {
    db.prepare_cached(
        "INSERT INTO marks (name, value) VALUES ('follow', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute([seq])?;
    Ok(())
}
