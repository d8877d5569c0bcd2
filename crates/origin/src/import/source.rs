//! The other server's database: SQLite, with the table `files` that pomf had from the beginning and Uguu has still.
//!
//! | written by | `hash` | `date` | `expire` |
//! |---|---|---|---|
//! | pomf to 2.3 | SHA-1 | a day, as in 2015-09-01 | a day, or nothing |
//! | pomf since 2.4, Uguu to 1.6 | SHA-1 | seconds since 1970 | no such column |
//! | Uguu since 1.7 | XXH3 | seconds since 1970 | no such column |
//!
//! Which hash it is, its length tells.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, params};

use super::ImportError;
use crate::model::{Sha1, Time};

/// Rows that are read at once.
const PAGE: i64 = 1000;

/// What the other server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// pomf, 1 or 2.
    Pomf,
    /// Uguu.
    Uguu,
}

/// What a row tells of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Sha1(Sha1),
    Xxh3(u64),
    Nothing,
}

impl Told {
    fn read(text: &str) -> Self {
        if let Ok(sha1) = text.parse() {
            return Self::Sha1(sha1);
        }
        let is_hex = text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let hash = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        hash.map_or(Self::Nothing, Self::Xxh3)
    }

    pub(super) fn is_sha1(&self, other: &Sha1) -> bool {
        matches!(self, Self::Sha1(sha1) if sha1 == other)
    }
}

/// A name of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) original: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) hash: Told,
    pub(super) created: Option<Time>,
    pub(super) expires: Option<Time>,
    pub(super) address: Option<String>,
}

/// Their database.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    db: Connection,
    columns: BTreeSet<String>,
}

impl Source {
    /// Opens it, to be read.
    ///
    /// # Errors
    ///
    /// When it is none of theirs.
    pub fn open(path: &Path, kind: Kind) -> Result<Self, ImportError> {
        let fail = |why: String| ImportError::Source { path: path.display().to_string(), why };
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
        read.map_err(|error| fail(error.to_string()))?;
        if head != b"SQLite format 3\0" {
            return Err(fail(
                "this is no SQLite database; docs/origin/from-pomf.md says how to make one of a MySQL".to_owned(),
            ));
        }
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        let db = db.map_err(|error| fail(error.to_string()))?;
        let columns = columns(&db, "files").map_err(|error| fail(error.to_string()))?;
        let missing =
            ["id", "hash", "originalname", "filename", "size", "date"].iter().find(|it| !columns.contains(**it));
        if let Some(missing) = missing {
            let name = match kind {
                Kind::Pomf => "pomf",
                Kind::Uguu => "Uguu",
            };
            return Err(fail(format!("there is no column {missing} in a table files: {name} has not written this")));
        }
        Ok(Self { path: path.to_owned(), db, columns })
    }

    fn fail(&self) -> impl Fn(rusqlite::Error) -> ImportError {
        let path = self.path.display().to_string();
        move |error| ImportError::Source { path: path.clone(), why: error.to_string() }
    }

    /// Rows whose name an earlier row has: pomf 2.8 writes one for each equal upload.
    pub(super) fn repeated(&self) -> Result<u64, ImportError> {
        let text = "SELECT count(filename) - count(DISTINCT filename) FROM files";
        self.db.query_row(text, [], |row| row.get(0)).map_err(self.fail())
    }

    /// All names, in the order in which they came.
    pub(super) fn rows(&self) -> Result<Rows<'_>, ImportError> {
        // So that each name's other rows are found quickly: theirs may have no index.
        let text = "CREATE TEMP TABLE firsts AS SELECT min(id) AS id FROM files WHERE filename <> '' GROUP BY filename";
        self.db
            .execute_batch(&format!(
                "DROP TABLE IF EXISTS firsts; {text}; CREATE INDEX temp.firsts_by_id ON firsts (id)"
            ))
            .map_err(self.fail())?;
        Ok(Rows { source: self, after: i64::MIN, page: Vec::new() })
    }

    fn page(&self, after: i64) -> rusqlite::Result<Vec<(i64, Row)>> {
        let or_null = |column| if self.columns.contains(column) { column } else { "NULL" };
        let text = format!(
            "SELECT id, filename, originalname, size, hash, date, {}, {} FROM files \
             WHERE id IN (SELECT id FROM firsts WHERE id > ?1 ORDER BY id LIMIT ?2) ORDER BY id",
            or_null("expire"),
            or_null("ip")
        );
        let mut query = self.db.prepare_cached(&text)?;
        let rows = query.query_map(params![after, PAGE], |row| {
            let text = |at| row.get_ref(at).map(as_text);
            let address = text(7)?.and_then(|text| text.trim().parse::<IpAddr>().ok());
            Ok((
                row.get(0)?,
                Row {
                    name: text(1)?.unwrap_or_default(),
                    original: text(2)?,
                    size: text(3)?.and_then(|text| text.parse().ok()),
                    hash: text(4)?.map_or(Told::Nothing, |text| Told::read(text.trim())),
                    created: text(5)?.and_then(|text| date(&text)),
                    expires: text(6)?.and_then(|text| date(&text)),
                    address: address.map(|address| address.to_string()),
                },
            ))
        })?;
        rows.collect()
    }

    /// Files beside those that have a row.
    pub(super) fn unlisted(&self, folder: &Path) -> Result<Vec<(String, Metadata)>, ImportError> {
        let fail =
            |error: std::io::Error| ImportError::Source { path: folder.display().to_string(), why: error.to_string() };
        let text = "CREATE TEMP TABLE IF NOT EXISTS names (filename TEXT PRIMARY KEY) WITHOUT ROWID; \
                    INSERT OR IGNORE INTO names SELECT filename FROM files WHERE filename <> ''";
        self.db.execute_batch(text).map_err(self.fail())?;
        let mut query = self.db.prepare("SELECT 1 FROM names WHERE filename = ?").map_err(self.fail())?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata().map_err(fail)?;
            // What is hidden, such as .gitignore, was never anybody's upload.
            if metadata.is_file() && !name.starts_with('.') && !query.exists([&name]).map_err(self.fail())? {
                found.push((name, metadata));
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// What is banned there: its hash, and what it was called.
    pub(super) fn bans(&self) -> Result<Vec<(Told, String)>, ImportError> {
        if columns(&self.db, "blacklist").map_err(self.fail())?.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = self.db.prepare("SELECT hash, originalname FROM blacklist ORDER BY id").map_err(self.fail())?;
        let rows = query.query_map([], |row| {
            let text = |at| row.get_ref(at).map(as_text);
            let hash = text(0)?.map_or(Told::Nothing, |text| Told::read(text.trim()));
            Ok((hash, text(1)?.unwrap_or_default()))
        });
        rows.and_then(Iterator::collect).map_err(self.fail())
    }
}

/// Names of theirs, a page at a time.
pub(super) struct Rows<'s> {
    source: &'s Source,
    after: i64,
    page: Vec<Row>,
}

impl Rows<'_> {
    /// The next one.
    pub(super) fn next(&mut self) -> Result<Option<Row>, ImportError> {
        if self.page.is_empty() {
            let page = self.source.page(self.after).map_err(self.source.fail())?;
            self.after = page.last().map_or(self.after, |(id, _)| *id);
            self.page = page.into_iter().rev().map(|(_, row)| row).collect();
        }
        Ok(self.page.pop())
    }
}

fn columns(db: &Connection, table: &str) -> rusqlite::Result<BTreeSet<String>> {
    let mut query = db.prepare("SELECT lower(name) FROM pragma_table_info(?)")?;
    query.query_map([table], |row| row.get(0))?.collect()
}

/// Whatever it is, as text: their columns have had several types.
fn as_text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// A day, or seconds since 1970. Zeros stand for nothing.
fn date(text: &str) -> Option<Time> {
    match text.trim().parse::<i64>() {
        Ok(seconds) => (seconds > 0).then(|| Time(seconds.saturating_mul(1000))),
        Err(_) => Time::read(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_hashes_are_known_by_their_looks() {
        assert_eq!(date("2015-09-01"), Time::read("2015-09-01"));
        assert_eq!(date("1700000000"), Some(Time(1_700_000_000_000)));
        for nothing in ["0", "", "0000-00-00", "soon"] {
            assert_eq!(date(nothing), None, "{nothing}");
        }
        assert!(matches!(Told::read("da39a3ee5e6b4b0d3255bfef95601890afd80709"), Told::Sha1(_)));
        assert_eq!(Told::read("00000000000000ff"), Told::Xxh3(255));
        for nothing in ["", "ff", "+0000000000000ff", "not a hash"] {
            assert_eq!(Told::read(nothing), Told::Nothing, "{nothing}");
        }
    }
}
