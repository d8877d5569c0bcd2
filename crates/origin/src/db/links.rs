//! Names, objects and claims.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{DbError, bans};
use crate::model::{Hashes, Link, Md5, Name, NameMaker, Object, Place, Sha1, Sha256, Time, Token, Why};

/// One upload, to be given a name. Its content is in its place already.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Of the content.
    pub sha256: Sha256,
    /// Of the content.
    pub sha1: Sha1,
    /// Of the content.
    pub md5: Md5,
    /// Of the content, in bytes.
    pub size: u64,
    /// What it is, by its bytes.
    pub kind: String,
    /// What the uploader calls it.
    pub original: String,
    /// Who it is, as far as that is kept.
    pub address: Option<String>,
    /// From then on it is gone.
    pub expires: Option<Time>,
    /// Gone after so many downloads.
    pub max_views: Option<u32>,
    /// Whether an equal upload's URL will do.
    pub shared: bool,
    /// What allows to delete it, if the uploader is told.
    pub token: Option<Token>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// It has this name.
    Named {
        /// The link.
        link: Link,
        /// Whether somebody had uploaded it before, and this is that name.
        again: bool,
    },
    /// Nobody may upload it.
    Banned {
        /// What was written beside the ban.
        reason: String,
    },
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File(Link, Object),
    /// A file that nobody may see.
    Banned,
    /// Nothing any more.
    Gone(Why),
}

/// What a token did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The name stands for nothing any more.
    Removed,
    /// This upload does not count any more; others of the same content still do.
    Released,
    /// There is no such upload, or no more.
    Unknown,
}

const COLUMNS: &str = "l.name, l.original, l.created, l.expires, l.max_views, l.views, l.shared";

fn link(row: &Row<'_>) -> rusqlite::Result<Link> {
    let name: String = row.get(0)?;
    Ok(Link {
        name: Name::new(&name).ok_or(rusqlite::Error::InvalidColumnName(name))?,
        original: row.get(1)?,
        created: Time(row.get(2)?),
        expires: row.get::<_, Option<i64>>(3)?.map(Time),
        max_views: row.get(4)?,
        views: row.get(5)?,
        shared: row.get(6)?,
    })
}

/// Writes that something happened.
///
/// # Errors
///
/// When it cannot be written.
pub fn note(
    db: &Connection,
    now: Time,
    what: &str,
    name: Option<&Name>,
    hash: Option<&[u8]>,
    detail: Option<&str>,
) -> Result<(), DbError> {
    db.prepare_cached("INSERT INTO changes (at, what, name, hash, detail) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![now.0, what, name.map(Name::as_str), hash, detail])?;
    Ok(())
}

/// Gives an upload a name: that of an equal one, if either may share, or a new one.
///
/// # Errors
///
/// When it cannot be written.
pub fn publish(db: &Connection, upload: &Publication, names: &NameMaker, now: Time) -> Result<Published, DbError> {
    let hashes = Hashes { sha256: upload.sha256, sha1: upload.sha1, md5: upload.md5 };
    if let Some(reason) = bans::reason(db, &hashes, now)? {
        return Ok(Published::Banned { reason });
    }
    let object = store(db, upload, now)?;
    let earlier = if upload.shared { shared(db, object, now)? } else { None };
    let again = earlier.is_some();
    let link = match earlier {
        Some(mut link) => {
            if link.expires < upload.expires {
                db.prepare_cached("UPDATE links SET expires = ? WHERE name = ?")?
                    .execute(params![upload.expires.map(|time| time.0), link.name.as_str()])?;
                link.expires = upload.expires;
            }
            link
        }
        None => insert(db, upload, object, names, now)?,
    };
    // Those who are told no token cannot remove it: one claim stands for all of them.
    let is_claimed = upload.token.is_none()
        && db
            .prepare_cached("SELECT 1 FROM claims WHERE name = ? AND token IS NULL LIMIT 1")?
            .exists([link.name.as_str()])?;
    if !is_claimed {
        let token = upload.token.as_ref().map(|token| token.hash().0);
        db.prepare_cached("INSERT INTO claims (name, token, original, address, created) VALUES (?, ?, ?, ?, ?)")?
            .execute(params![link.name.as_str(), token, upload.original, upload.address, now.0])?;
    }
    if again {
        note(db, now, "claimed", Some(&link.name), Some(&upload.sha256.0), None)?;
    }
    Ok(Published::Named { link, again })
}

/// Gives content the name it had elsewhere, unless somebody has that name, or had it. Whether it did.
///
/// # Errors
///
/// When it cannot be written.
pub fn adopt(db: &Connection, name: &Name, upload: &Publication, now: Time) -> Result<bool, DbError> {
    let hashes = Hashes { sha256: upload.sha256, sha1: upload.sha1, md5: upload.md5 };
    if db.prepare_cached("SELECT 1 FROM links WHERE name = ?")?.exists([name.as_str()])?
        || bans::reason(db, &hashes, now)?.is_some()
    {
        return Ok(false);
    }
    let object = store(db, upload, now)?;
    db.prepare_cached(
        "INSERT INTO links (name, object, original, created, expires, max_views, shared) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        name.as_str(),
        object,
        upload.original,
        now.0,
        upload.expires.map(|time| time.0),
        upload.max_views,
        upload.shared
    ])?;
    db.prepare_cached("INSERT INTO claims (name, token, original, address, created) VALUES (?, NULL, ?, NULL, ?)")?
        .execute(params![name.as_str(), upload.original, now.0])?;
    note(db, now, "linked", Some(name), Some(&upload.sha256.0), Some("legacy"))?;
    Ok(true)
}

/// The object's row, there or new.
pub(super) fn store(db: &Connection, upload: &Publication, now: Time) -> Result<i64, DbError> {
    let known: Option<(i64, String)> = db
        .prepare_cached("SELECT id, place FROM objects WHERE sha256 = ?")?
        .query_row([upload.sha256.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((id, place)) = known {
        // Its file has just been put in its place.
        if place == "remote" {
            db.prepare_cached("UPDATE objects SET place = 'both' WHERE id = ?")?.execute([id])?;
        }
        return Ok(id);
    }
    let id = db
        .prepare_cached("INSERT INTO objects (sha256, sha1, md5, size, kind, created) VALUES (?, ?, ?, ?, ?, ?)")?
        .insert(params![upload.sha256.0, upload.sha1.0, upload.md5.0, upload.size, upload.kind, now.0])?;
    db.prepare_cached("DELETE FROM doomed WHERE sha256 = ?")?.execute([upload.sha256.0])?;
    note(db, now, "stored", None, Some(&upload.sha256.0), None)?;
    Ok(id)
}

/// The oldest name that an equal upload gets, too.
fn shared(db: &Connection, object: i64, now: Time) -> Result<Option<Link>, DbError> {
    let query = format!(
        "SELECT {COLUMNS} FROM links l WHERE l.object = ? AND l.shared AND l.removed IS NULL \
         AND (l.expires IS NULL OR l.expires > ?) ORDER BY l.created, l.name LIMIT 1"
    );
    Ok(db.prepare_cached(&query)?.query_row(params![object, now.0], link).optional()?)
}

fn insert(db: &Connection, upload: &Publication, object: i64, names: &NameMaker, now: Time) -> Result<Link, DbError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO links (name, object, original, created, expires, max_views, shared) VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO NOTHING",
    )?;
    loop {
        let name = names.make(&upload.original);
        let expires = upload.expires.map(|time| time.0);
        let row = params![name.as_str(), object, upload.original, now.0, expires, upload.max_views, upload.shared];
        if insert.execute(row)? == 1 {
            note(db, now, "linked", Some(&name), Some(&upload.sha256.0), None)?;
            return Ok(Link {
                name,
                original: upload.original.clone(),
                created: now,
                expires: upload.expires,
                max_views: upload.max_views,
                views: 0,
                shared: upload.shared,
            });
        }
    }
}

/// What a name stands for; `None` if it never stood for anything, or that is long ago.
///
/// # Errors
///
/// When it cannot be read.
pub fn lookup(db: &Connection, name: &Name, now: Time) -> Result<Option<Found>, DbError> {
    let query = format!(
        "SELECT {COLUMNS}, l.why, o.id, o.sha256, o.sha1, o.size, o.kind, o.created, o.place, \
         EXISTS (SELECT 1 FROM bans WHERE hash IN (o.sha256, o.sha1, o.md5) AND (until IS NULL OR until > ?)) \
         FROM links l LEFT JOIN objects o ON o.id = l.object WHERE l.name = ?"
    );
    let found = db.prepare_cached(&query)?.query_row(params![now.0, name.as_str()], |row| {
        let why: Option<String> = row.get(7)?;
        if let Some(why) = why {
            return Ok(Found::Gone(match why.as_str() {
                "deleted" => Why::Deleted,
                "expired" => Why::Expired,
                "seen" => Why::Seen,
                _ => Why::Operator,
            }));
        }
        let link = link(row)?;
        if row.get(15)? {
            return Ok(Found::Banned);
        }
        if link.expires.is_some_and(|expires| expires <= now) {
            return Ok(Found::Gone(Why::Expired));
        }
        let place: String = row.get(14)?;
        let object = Object {
            id: row.get(8)?,
            sha256: Sha256(row.get(9)?),
            sha1: Sha1(row.get(10)?),
            size: row.get(11)?,
            kind: row.get(12)?,
            created: Time(row.get(13)?),
            place: placed(&place),
        };
        Ok(Found::File(link, object))
    });
    Ok(found.optional()?)
}

/// Counts a download of a name that is gone after some; the last one removes it. Whether there was one left.
///
/// # Errors
///
/// When it cannot be written.
pub fn view(db: &Connection, name: &Name, now: Time) -> Result<bool, DbError> {
    let left: Option<bool> = db
        .prepare_cached(
            "UPDATE links SET views = views + 1 WHERE name = ? AND removed IS NULL AND views < max_views \
             AND (expires IS NULL OR expires > ?) RETURNING views < max_views",
        )?
        .query_row(params![name.as_str(), now.0], |row| row.get(0))
        .optional()?;
    if left == Some(false) {
        remove(db, name, Why::Seen, now)?;
    }
    Ok(left.is_some())
}

/// Takes back the upload that was given this token.
///
/// # Errors
///
/// When it cannot be written.
pub fn release(db: &Connection, name: &Name, token: &Token, now: Time) -> Result<Removal, DbError> {
    let released = db
        .prepare_cached(
            "DELETE FROM claims WHERE token = ? AND name = ? \
             AND EXISTS (SELECT 1 FROM links l WHERE l.name = claims.name AND l.removed IS NULL)",
        )?
        .execute(params![token.hash().0, name.as_str()])?;
    if released == 0 {
        return Ok(Removal::Unknown);
    }
    if db.prepare_cached("SELECT 1 FROM claims WHERE name = ? LIMIT 1")?.exists([name.as_str()])? {
        return Ok(Removal::Released);
    }
    remove(db, name, Why::Deleted, now)?;
    Ok(Removal::Removed)
}

/// Removes a name, and dooms its content if no other name needs it. Whether there was such a name.
///
/// # Errors
///
/// When it cannot be written.
pub fn remove(db: &Connection, name: &Name, why: Why, now: Time) -> Result<bool, DbError> {
    let object: Option<i64> = db
        .prepare_cached("SELECT object FROM links WHERE name = ? AND removed IS NULL")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    let Some(object) = object else { return Ok(false) };
    let sha256: [u8; 32] =
        db.prepare_cached("SELECT sha256 FROM objects WHERE id = ?")?.query_row([object], |row| row.get(0))?;
    db.prepare_cached("DELETE FROM claims WHERE name = ?")?.execute([name.as_str()])?;
    db.prepare_cached("UPDATE links SET removed = ?, why = ?, object = NULL WHERE name = ?")?.execute(params![
        now.0,
        why.word(),
        name.as_str()
    ])?;
    note(db, now, "removed", Some(name), Some(&sha256), Some(why.word()))?;
    if !db.prepare_cached("SELECT 1 FROM links WHERE object = ? LIMIT 1")?.exists([object])? {
        db.prepare_cached("DELETE FROM objects WHERE id = ?")?.execute([object])?;
        db.prepare_cached("INSERT OR IGNORE INTO doomed (sha256) VALUES (?)")?.execute([sha256])?;
        note(db, now, "dropped", None, Some(&sha256), None)?;
    }
    Ok(true)
}

/// Whether there are names whose time is over.
///
/// # Errors
///
/// When it cannot be read.
pub fn is_any_over(db: &Connection, now: Time) -> Result<bool, DbError> {
    let mut query = db.prepare_cached("SELECT 1 FROM links WHERE expires <= ? AND removed IS NULL LIMIT 1")?;
    Ok(query.exists([now.0])?)
}

/// Removes names whose time is over, some at once. How many there were.
///
/// # Errors
///
/// When it cannot be written.
pub fn expire(db: &Connection, now: Time, most: u32) -> Result<usize, DbError> {
    let names = {
        let mut query = db
            .prepare_cached("SELECT name FROM links WHERE expires <= ? AND removed IS NULL ORDER BY expires LIMIT ?")?;
        let rows = query.query_map(params![now.0, most], |row| row.get::<_, String>(0))?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    for name in names.iter().filter_map(|name| Name::new(name)) {
        remove(db, &name, Why::Expired, now)?;
    }
    Ok(names.len())
}

/// Forgets names that were removed before `before`, some at once.
///
/// # Errors
///
/// When it cannot be written.
pub fn forget(db: &Connection, before: Time, most: u32) -> Result<usize, DbError> {
    let forgotten = db
        .prepare_cached(
            "DELETE FROM links WHERE name IN (SELECT name FROM links WHERE removed < ? ORDER BY removed LIMIT ?)",
        )?
        .execute(params![before.0, most])?;
    Ok(forgotten)
}

/// Whether there are names that were removed before `before`.
///
/// # Errors
///
/// When it cannot be read.
pub fn forgettable(db: &Connection, before: Time) -> Result<bool, DbError> {
    Ok(db.prepare_cached("SELECT 1 FROM links WHERE removed < ? LIMIT 1")?.exists([before.0])?)
}

/// An object.
///
/// # Errors
///
/// When it cannot be read.
pub fn object(db: &Connection, sha256: &Sha256) -> Result<Option<Object>, DbError> {
    let row = db
        .prepare_cached("SELECT id, sha1, size, kind, created, place FROM objects WHERE sha256 = ?")?
        .query_row([sha256.0], |row| {
            let place: String = row.get(5)?;
            Ok(Object {
                id: row.get(0)?,
                sha256: *sha256,
                sha1: Sha1(row.get(1)?),
                size: row.get(2)?,
                kind: row.get(3)?,
                created: Time(row.get(4)?),
                place: placed(&place),
            })
        });
    Ok(row.optional()?)
}

fn placed(word: &str) -> Place {
    match word {
        "both" => Place::Both,
        "remote" => Place::Remote,
        _ => Place::Local,
    }
}

/// Content whose file is about to go.
///
/// # Errors
///
/// When it cannot be read.
pub fn doomed(db: &Connection, most: u32) -> Result<Vec<Sha256>, DbError> {
    let mut query = db.prepare_cached("SELECT sha256 FROM doomed LIMIT ?")?;
    let rows = query.query_map([most], |row| Ok(Sha256(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Its file is gone.
///
/// # Errors
///
/// When it cannot be written.
pub fn undoom(db: &Connection, sha256: &Sha256) -> Result<(), DbError> {
    db.prepare_cached("DELETE FROM doomed WHERE sha256 = ?")?.execute([sha256.0])?;
    Ok(())
}

/// Whether a row needs this content.
///
/// # Errors
///
/// When it cannot be read.
pub fn is_known(db: &Connection, sha256: &Sha256) -> Result<bool, DbError> {
    Ok(db.prepare_cached("SELECT 1 FROM objects WHERE sha256 = ?")?.exists([sha256.0])?)
}

/// Those of these contents that no row needs.
///
/// # Errors
///
/// When it cannot be read.
pub fn unknown(db: &Connection, hashes: Vec<Sha256>) -> Result<Vec<Sha256>, DbError> {
    let mut found = Vec::new();
    for sha256 in hashes {
        if !is_known(db, &sha256)? {
            found.push(sha256);
        }
    }
    Ok(found)
}

/// How many objects there are, and how many bytes in them; how many names.
///
/// # Errors
///
/// When it cannot be read.
pub fn totals(db: &Connection) -> Result<(u64, u64, u64), DbError> {
    let totals = super::listing::totals(db)?;
    Ok((totals.objects, totals.bytes, totals.names))
}

/// When something happened last.
///
/// # Errors
///
/// When it cannot be read.
pub fn last_change(db: &Connection) -> Result<Option<Time>, DbError> {
    let at = db.query_row("SELECT at FROM changes ORDER BY seq DESC LIMIT 1", [], |row| row.get(0)).optional()?;
    Ok(at.map(Time))
}
