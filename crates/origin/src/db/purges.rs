//! What edges are to forget: what happened since they were last told.
//!
//! There is no queue of its own that could disagree with what happened: `changes` has it, in the transaction that did
//! it, and each edge has a place in it.

use rusqlite::{Connection, OptionalExtension, params};

use super::DbError;
use crate::model::Sha256;

/// Changes that are looked through at once.
const SOME: u32 = 500;

/// What an edge is to be told next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Of content that it is to forget, in the order in which that happened.
    pub keys: Vec<Sha256>,
    /// Its place after that; nothing where nothing has happened.
    pub told: Option<i64>,
}

/// The edge's place; a new one begins with what happens from now on.
///
/// # Errors
///
/// When it cannot be written.
pub fn begin(db: &Connection, url: &str) -> Result<(), DbError> {
    db.execute(
        "INSERT INTO edges (url, told) SELECT ?, coalesce(max(seq), 0) FROM changes WHERE true ON CONFLICT DO NOTHING",
        [url],
    )?;
    Ok(())
}

/// What it is to be told next.
///
/// # Errors
///
/// When it cannot be read.
pub fn due(db: &Connection, url: &str) -> Result<Due, DbError> {
    let told: Option<i64> =
        db.prepare_cached("SELECT told FROM edges WHERE url = ?")?.query_row([url], |row| row.get(0)).optional()?;
    let Some(told) = told else { return Ok(Due::default()) };
    let mut due = Due::default();
    let mut query = db.prepare_cached(
        "SELECT seq, hash, what = 'banned' OR what = 'removed' AND detail IN ('deleted', 'operator') \
         FROM changes WHERE seq > ? ORDER BY seq LIMIT ?",
    )?;
    let mut rows = query.query(params![told, SOME])?;
    while let Some(row) = rows.next()? {
        due.told = Some(row.get(0)?);
        let (hash, concerns): (Option<Vec<u8>>, Option<bool>) = (row.get(1)?, row.get(2)?);
        if let (Some(hash), Some(true)) = (hash, concerns) {
            for key in contents(db, &hash)? {
                if !due.keys.contains(&key) {
                    due.keys.push(key);
                }
            }
        }
    }
    Ok(due)
}

/// The content that has this hash, whichever it is. What was removed since has been told of by itself.
fn contents(db: &Connection, hash: &[u8]) -> Result<Vec<Sha256>, DbError> {
    if let Ok(sha256) = hash.try_into() {
        return Ok(vec![Sha256(sha256)]);
    }
    let column = if hash.len() == 20 { "sha1" } else { "md5" };
    let mut query = db.prepare_cached(&format!("SELECT sha256 FROM objects WHERE {column} = ?"))?;
    let rows = query.query_map([hash], |row| Ok(Sha256(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// It was told everything up to there.
///
/// # Errors
///
/// When it cannot be written.
pub fn told(db: &Connection, url: &str, seq: i64) -> Result<(), DbError> {
    db.prepare_cached("UPDATE edges SET told = max(told, ?) WHERE url = ?")?.execute(params![seq, url])?;
    Ok(())
}

/// For each edge, how many changes it was not told of.
///
/// # Errors
///
/// When it cannot be read.
pub fn waiting(db: &Connection) -> Result<Vec<(String, u64)>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT url, (SELECT count(*) FROM changes WHERE seq > told AND (what = 'banned' OR what = 'removed' AND \
         detail IN ('deleted', 'operator'))) FROM edges ORDER BY url",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
