//! What people ask: which uploads there are, what is known of one, how many, and the most of something.
//!
//! Each question is answered along an index, as far as the answer is long; where it has to walk, its comment says so.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::DbError;
use crate::model::{Link, Name, Sha1, Sha256, Time};

/// One name that stands for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, and what goes with it.
    pub link: Link,
    /// Of its content.
    pub sha256: Sha256,
    /// Of its content.
    pub sha1: Sha1,
    /// In bytes.
    pub size: u64,
    /// What it is, by its bytes.
    pub kind: String,
    /// Whether its content is banned.
    pub banned: bool,
    /// How many uploads have that name.
    pub uploads: u64,
    /// From where the first of them came, as far as that is kept.
    pub address: Option<String>,
}

/// Where a question begins: each has an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// With the newest.
    #[default]
    Newest,
    /// With names that begin so.
    Name(String),
    /// With what uploaders call something that begins so, in large letters or small.
    Original(String),
    /// With content by its SHA-256, SHA-1 or MD5, or the first digits of one of them.
    Hash(String),
    /// With what came from an address.
    Address(String),
    /// With the largest.
    Largest,
}

/// Which of them; the rest is looked through until there are enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Where it begins.
    pub begin: Begin,
    /// Somewhere in what its uploader calls it.
    pub contains: Option<String>,
    /// What it is begins so.
    pub kind: Option<String>,
    /// Not before.
    pub since: Option<Time>,
    /// Before.
    pub until: Option<Time>,
    /// In bytes, at least.
    pub larger: Option<u64>,
    /// Whether its content is banned.
    pub banned: Option<bool>,
    /// Behind this one, in the order of [`Begin::Newest`].
    pub after: Option<(Time, Name)>,
    /// At most so many.
    pub most: u32,
}

const COLUMNS: &str = "l.name, l.original, l.created, l.expires, l.max_views, l.views, l.shared, \
    o.sha256, o.sha1, o.size, o.kind, EXISTS (SELECT 1 FROM bans b WHERE b.hash IN (o.sha256, o.sha1, o.md5) \
    AND (b.until IS NULL OR b.until > CAST(unixepoch('subsec') * 1000 AS INTEGER))), \
    (SELECT count(*) FROM claims k WHERE k.name = l.name), \
    (SELECT k.address FROM claims k WHERE k.name = l.name ORDER BY k.id LIMIT 1)";

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let name: String = row.get(0)?;
    Ok(Entry {
        link: Link {
            name: Name::new(&name).ok_or(rusqlite::Error::InvalidColumnName(name))?,
            original: row.get(1)?,
            created: Time(row.get(2)?),
            expires: row.get::<_, Option<i64>>(3)?.map(Time),
            max_views: row.get(4)?,
            views: row.get(5)?,
            shared: row.get(6)?,
        },
        sha256: Sha256(row.get(7)?),
        sha1: Sha1(row.get(8)?),
        size: row.get(9)?,
        kind: row.get(10)?,
        banned: row.get(11)?,
        uploads: row.get(12)?,
        address: row.get(13)?,
    })
}

/// A query that is put together.
#[derive(Default)]
struct Query {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Query {
    fn add(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }
}

/// Those that pass a filter.
///
/// # Errors
///
/// When they cannot be read.
pub fn list(db: &Connection, filter: &Filter) -> Result<Vec<Entry>, DbError> {
    let mut query = Query::default();
    query.add("l.removed IS NULL", []);
    // CROSS JOIN keeps the order: what begins is what has the index.
    let (from, order) = begin(&mut query, &filter.begin);
    if let Some(text) = &filter.contains {
        query.add("instr(lower(l.original), lower(?)) > 0", [text.clone().into()]);
    }
    if let Some(kind) = &filter.kind {
        query.add("substr(o.kind, 1, length(?)) = ?", [kind.clone().into(), kind.clone().into()]);
    }
    if let Some(since) = filter.since {
        query.add("l.created >= ?", [since.0.into()]);
    }
    if let Some(until) = filter.until {
        query.add("l.created < ?", [until.0.into()]);
    }
    if let Some(larger) = filter.larger {
        query.add("o.size >= ?", [i64::try_from(larger).unwrap_or(i64::MAX).into()]);
    }
    if let Some(banned) = filter.banned {
        let not = if banned { "" } else { "NOT " };
        let text = "EXISTS (SELECT 1 FROM bans b WHERE b.hash IN (o.sha256, o.sha1, o.md5) \
                    AND (b.until IS NULL OR b.until > CAST(unixepoch('subsec') * 1000 AS INTEGER)))";
        query.add(&format!("{not}{text}"), []);
    }
    if let Some((created, name)) = &filter.after {
        query.add("(l.created, l.name) < (?, ?)", [created.0.into(), name.as_str().to_owned().into()]);
    }
    let text = format!("SELECT {COLUMNS} FROM {from} WHERE {} ORDER BY {order}", query.conditions.join(" AND "));
    let mut statement = db.prepare_cached(&text)?;
    let mut rows = statement.query(params_from_iter(query.values))?;
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while found.len() < filter.most as usize
        && let Some(row) = rows.next()?
    {
        let entry = entry(row)?;
        // One address may have uploaded the same several times.
        if seen.insert(entry.link.name.clone()) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// What people search for: an address, a hash or its first digits, a name or its beginning, the beginning of what an
/// uploader calls it, or a URL of ours. The first of these that finds something.
///
/// # Errors
///
/// When it cannot be read.
pub fn search(db: &Connection, text: &str, filter: &Filter) -> Result<Vec<Entry>, DbError> {
    let text = text.trim();
    if text.is_empty() {
        return list(db, filter);
    }
    let with = |begin| list(db, &Filter { begin, after: None, ..filter.clone() });
    if let Ok(address) = text.parse::<IpAddr>() {
        return with(Begin::Address(address.to_string()));
    }
    let name = if text.contains("://") { text.rsplit('/').next().unwrap_or_default() } else { text };
    let name = Name::from_path(name).map_or_else(|| name.to_owned(), |name| name.to_string());
    let mut ways = vec![Begin::Name(name), Begin::Original(text.to_owned())];
    if is_hash(text) {
        ways.insert(0, Begin::Hash(text.to_owned()));
    }
    for begin in ways {
        let found = with(begin)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Whether this may be a hash, or enough of its first digits.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit())
}

fn begin(query: &mut Query, begin: &Begin) -> (&'static str, &'static str) {
    let from_links = "links l CROSS JOIN objects o ON o.id = l.object";
    match begin {
        Begin::Newest => {
            ("links l INDEXED BY links_by_time CROSS JOIN objects o ON o.id = l.object", "l.created DESC, l.name DESC")
        }
        Begin::Name(text) => {
            query.add("l.name >= ? AND l.name < ?", [text.clone().into(), after(text).into()]);
            (from_links, "l.name")
        }
        Begin::Original(text) => {
            let bounds = [text.clone().into(), after(text).into()];
            query.add("l.original >= ? COLLATE NOCASE AND l.original < ? COLLATE NOCASE", bounds);
            let from = "links l INDEXED BY links_by_original CROSS JOIN objects o ON o.id = l.object";
            (from, "l.original COLLATE NOCASE, l.name")
        }
        Begin::Hash(digits) => {
            let low = |length| hash_bound(digits, length, b'0').into();
            let high = |length| hash_bound(digits, length, b'f').into();
            query.add(
                "o.id IN (SELECT id FROM objects WHERE sha256 BETWEEN ? AND ? \
                 UNION SELECT id FROM objects WHERE sha1 BETWEEN ? AND ? \
                 UNION SELECT id FROM objects WHERE md5 BETWEEN ? AND ?)",
                [low(64), high(64), low(40), high(40), low(32), high(32)],
            );
            ("objects o CROSS JOIN links l ON l.object = o.id", "l.created DESC, l.name")
        }
        Begin::Address(address) => {
            query.add("c.address = ?", [address.clone().into()]);
            let from = "claims c CROSS JOIN links l ON l.name = c.name CROSS JOIN objects o ON o.id = l.object";
            (from, "c.created DESC, c.id DESC")
        }
        Begin::Largest => {
            ("objects o INDEXED BY objects_by_size CROSS JOIN links l ON l.object = o.id", "o.size DESC, l.name")
        }
    }
}

/// What comes behind everything that begins so.
fn after(text: &str) -> String {
    format!("{text}\u{10ffff}")
}

/// The first or last hash of so many digits that begins so; nothing is between them when that is too long.
fn hash_bound(digits: &str, length: usize, fill: u8) -> Vec<u8> {
    let mut text = digits.to_lowercase().into_bytes();
    if text.len() > length {
        return if fill == b'0' { vec![0xff; 65] } else { Vec::new() };
    }
    text.resize(length, fill);
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    text.chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
}

/// One upload's share in a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What its uploader calls it.
    pub original: String,
    /// From where it came, as far as that is kept.
    pub address: Option<String>,
    /// When.
    pub created: Time,
    /// Whether its uploader can take it back.
    pub can_delete: bool,
}

/// All that is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// It stands for a file.
    There {
        /// Which.
        entry: Box<Entry>,
        /// Why its content is banned, if it is.
        ban: Option<String>,
        /// Where its content is: `local`, `both`, `remote`.
        place: String,
        /// Who uploaded it, the first ones.
        claims: Vec<Claim>,
        /// Other names of the same content, the first ones.
        names: Vec<String>,
    },
    /// It did.
    Gone {
        /// What its first uploader called it.
        original: String,
        /// When it came.
        created: Time,
        /// When it went.
        removed: Time,
        /// One word.
        why: String,
    },
}

/// What is listed of one name at most.
const FIRST: u32 = 100;

/// All that is known of a name.
///
/// # Errors
///
/// When it cannot be read.
pub fn detail(db: &Connection, name: &Name) -> Result<Option<Detail>, DbError> {
    let gone = db
        .prepare_cached("SELECT original, created, removed, why FROM links WHERE name = ? AND removed IS NOT NULL")?
        .query_row([name.as_str()], |row| {
            Ok(Detail::Gone {
                original: row.get(0)?,
                created: Time(row.get(1)?),
                removed: Time(row.get(2)?),
                why: row.get(3)?,
            })
        })
        .optional()?;
    if gone.is_some() {
        return Ok(gone);
    }
    let text = format!(
        "SELECT {COLUMNS}, o.place, (SELECT reason FROM bans b WHERE b.hash IN (o.sha256, o.sha1, o.md5) LIMIT 1), o.id \
         FROM links l JOIN objects o ON o.id = l.object WHERE l.name = ?"
    );
    let found = db
        .prepare_cached(&text)?
        .query_row([name.as_str()], |row| Ok((entry(row)?, row.get(14)?, row.get(15)?, row.get::<_, i64>(16)?)))
        .optional()?;
    let Some((entry, place, ban, object)) = found else { return Ok(None) };
    let mut query = db.prepare_cached(
        "SELECT original, address, created, token IS NOT NULL FROM claims WHERE name = ? ORDER BY id LIMIT ?",
    )?;
    let claims = query.query_map(params![name.as_str(), FIRST], |row| {
        Ok(Claim { original: row.get(0)?, address: row.get(1)?, created: Time(row.get(2)?), can_delete: row.get(3)? })
    })?;
    let claims = claims.collect::<Result<_, _>>()?;
    let mut query = db.prepare_cached("SELECT name FROM links WHERE object = ? AND name <> ? ORDER BY name LIMIT ?")?;
    let names = query.query_map(params![object, name.as_str(), FIRST], |row| row.get(0))?;
    let names = names.collect::<Result<_, _>>()?;
    Ok(Some(Detail::There { entry: Box::new(entry), ban, place, claims, names }))
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Contents.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Names that stand for one.
    pub names: u64,
}

/// How many there are.
///
/// # Errors
///
/// When it cannot be read.
pub fn totals(db: &Connection) -> Result<Totals, DbError> {
    let read = |row: &Row<'_>| Ok(Totals { objects: row.get(0)?, bytes: row.get(1)?, names: row.get(2)? });
    Ok(db.prepare_cached("SELECT objects, bytes, names FROM totals")?.query_row([], read)?)
}

/// Bytes of the database, and how many bans there are.
///
/// # Errors
///
/// When it cannot be read.
pub fn weight(db: &Connection) -> Result<(u64, u64), DbError> {
    let number = |text: &str| db.prepare_cached(text)?.query_row([], |row| row.get::<_, u64>(0));
    Ok((number("PRAGMA page_count")? * number("PRAGMA page_size")?, number("SELECT count(*) FROM bans")?))
}

/// More numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// What is there.
    pub totals: Totals,
    /// Contents that nobody may upload or see.
    pub bans: u64,
    /// Uploads of the last day, seven days, thirty days that still count.
    pub uploads: [u64; 3],
    /// Names that went in the same times.
    pub removals: [u64; 3],
    /// Names that are gone within a day.
    pub expiring: u64,
    /// When the last upload was.
    pub newest: Option<Time>,
    /// Of the database, in bytes.
    pub database: u64,
}

const DAY: i64 = 86_400_000;

/// More numbers. It walks along what was uploaded and removed in thirty days.
///
/// # Errors
///
/// When it cannot be read.
pub fn stats(db: &Connection, now: Time) -> Result<Stats, DbError> {
    let ago = |days: i64| now.0.saturating_sub(days * DAY);
    let count = |text: &str, value: i64| -> Result<u64, DbError> {
        Ok(db.prepare_cached(text)?.query_row([value], |row| row.get(0))?)
    };
    let each = |text: &str| -> Result<[u64; 3], DbError> {
        Ok([count(text, ago(1))?, count(text, ago(7))?, count(text, ago(30))?])
    };
    let (database, bans) = weight(db)?;
    Ok(Stats {
        totals: totals(db)?,
        bans,
        uploads: each("SELECT count(*) FROM claims WHERE created >= ?")?,
        removals: each("SELECT count(*) FROM links WHERE removed >= ?")?,
        expiring: count(
            "SELECT count(*) FROM links WHERE expires <= ? AND removed IS NULL",
            now.0.saturating_add(DAY),
        )?,
        newest: db.query_row("SELECT max(created) FROM claims", [], |row| row.get::<_, Option<i64>>(0))?.map(Time),
        database,
    })
}

/// How many contents of a kind there are, and their bytes.
pub type OfKind = (String, u64, u64);

/// What kinds there are, by their bytes. It walks along all contents.
///
/// # Errors
///
/// When it cannot be read.
pub fn kinds(db: &Connection, most: u32) -> Result<Vec<OfKind>, DbError> {
    let mut query =
        db.prepare("SELECT kind, count(*), sum(size) FROM objects GROUP BY kind ORDER BY 3 DESC, 1 LIMIT ?")?;
    let rows = query.query_map([most], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// An address, how many uploads came from there, and their bytes.
pub type FromAddress = (String, u64, u64);

/// From where the most bytes came since then. It walks along what was uploaded since.
///
/// # Errors
///
/// When it cannot be read.
pub fn addresses(db: &Connection, since: Time, most: u32) -> Result<Vec<FromAddress>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT c.address, count(*), sum(o.size) FROM claims c INDEXED BY claims_by_time \
         CROSS JOIN links l ON l.name = c.name CROSS JOIN objects o ON o.id = l.object \
         WHERE c.created >= ? AND c.address IS NOT NULL GROUP BY c.address ORDER BY 3 DESC, 1 LIMIT ?",
    )?;
    let rows = query.query_map(params![since.0, most], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Which names were uploaded most often since then, and how often. It walks along what was uploaded since.
///
/// # Errors
///
/// When it cannot be read.
pub fn repeated(db: &Connection, since: Time, most: u32) -> Result<Vec<(String, u64)>, DbError> {
    let mut query = db.prepare_cached(
        "SELECT name, count(*) FROM claims INDEXED BY claims_by_time WHERE created >= ? \
         GROUP BY name ORDER BY 2 DESC, 1 LIMIT ?",
    )?;
    let rows = query.query_map(params![since.0, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
