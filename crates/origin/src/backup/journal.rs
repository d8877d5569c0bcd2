//! Every row that is written, in order, as JSON: what segments and followers are made of.
//!
//! Triggers in the database write it, in the transaction that writes the row, so nothing that changes a row can forget
//! it, whatever program does. They are made from the schema each time the database is opened. A line is one row as it is
//! afterwards, or the key of one that is gone:
//!
//! ```json
//! {"t":"links","put":{"name":"abcd1234.png","object":7,"original":"a.png", ...}}
//! {"t":"links","del":{"name":"abcd1234.png"}}
//! ```
//!
//! BLOBs are in hexadecimal digits, and REALs are texts with all their digits, of which JSON in SQLite keeps fifteen;
//! which columns those are, the schema says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use crate::model::Time;

/// Tables of this machine alone, which are neither backed up line by line nor followed.
const LOCAL: &[&str] =
    &["accesses", "checks", "doomed", "edges", "journal", "marks", "replicas", "resumable", "standing", "totals"];
/// The same of columns: where content is differs between machines.
const LOCAL_COLUMNS: &[(&str, &str)] = &[("objects", "place")];

/// A line, with its number and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place: they only grow.
    pub seq: i64,
    /// When, by the writer's clock.
    pub at: Time,
    /// What.
    pub text: String,
}

/// Why lines could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// One of them says nothing that can be done.
    #[error("line {seq} cannot be replayed: {why}")]
    Line {
        /// Which.
        seq: i64,
        /// Why.
        why: String,
    },
    /// The database does not take it.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
}

struct Column {
    name: String,
    holds: Holds,
    is_key: bool,
}

/// What a column holds, as far as JSON does not tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Blob,
    Real,
    Other,
}

/// The tables that are journaled, in the order of their names.
///
/// # Errors
///
/// When the database cannot be read.
pub fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names: rusqlite::Result<Vec<String>> = statement.query_map([], |row| row.get(0))?.collect();
    Ok(names?.into_iter().filter(|name| !LOCAL.contains(&name.as_str())).collect())
}

/// Makes the triggers, and replaces those that do not fit the schema any more.
///
/// # Errors
///
/// When the database cannot be written.
pub fn install(db: &Connection) -> rusqlite::Result<()> {
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    for table in tables(db)? {
        triggers(&table, &columns(db, &table)?, &mut wanted);
    }
    let mut statement =
        db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'journal_*'")?;
    let there: rusqlite::Result<BTreeMap<String, String>> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect();
    let there = there?;
    for name in there.keys().filter(|name| wanted.get(*name) != there.get(*name)) {
        db.execute_batch(&format!("DROP TRIGGER \"{name}\""))?;
    }
    for (name, sql) in wanted.iter().filter(|(name, sql)| there.get(*name) != Some(*sql)) {
        tracing::debug!(trigger = name, "the journal follows the schema");
        db.execute_batch(sql)?;
    }
    Ok(())
}

fn columns(db: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut statement = db.prepare("SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY cid")?;
    let columns = statement.query_map([table], |row| {
        let holds = match row.get::<_, String>(1)?.to_ascii_uppercase().as_str() {
            "BLOB" => Holds::Blob,
            "REAL" => Holds::Real,
            _ => Holds::Other,
        };
        Ok(Column { name: row.get(0)?, holds, is_key: row.get::<_, i64>(2)? > 0 })
    })?;
    let columns: rusqlite::Result<Vec<Column>> = columns.collect();
    Ok(columns?.into_iter().filter(|column| !LOCAL_COLUMNS.contains(&(table, column.name.as_str()))).collect())
}

fn triggers(table: &str, columns: &[Column], wanted: &mut BTreeMap<String, String>) {
    let object = |row: &str, keys_only: bool| {
        let shown = columns.iter().filter(|column| column.is_key || !keys_only);
        let parts: Vec<String> = shown
            .map(|column| {
                let name = &column.name;
                let value = format!("{row}.\"{name}\"");
                let value = match column.holds {
                    // hex(NULL) is an empty text, which is another BLOB.
                    Holds::Blob => format!("iif({value} IS NULL, NULL, hex({value}))"),
                    Holds::Real => format!("iif({value} IS NULL, NULL, format('%!.17g', {value}))"),
                    Holds::Other => value,
                };
                format!("'{name}', {value}")
            })
            .collect();
        format!("json_object({})", parts.join(", "))
    };
    let insert = |word: &str, object: &str| {
        format!(
            "INSERT INTO journal (at, line) VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER), json_object('t', '{table}', '{word}', {object}));"
        )
    };
    let (put, del) = (insert("put", &object("NEW", false)), insert("del", &object("OLD", true)));
    let keys: Vec<&str> = columns.iter().filter(|column| column.is_key).map(|column| column.name.as_str()).collect();
    let differ = |names: &[&str]| {
        names.iter().map(|name| format!("OLD.\"{name}\" IS NOT NEW.\"{name}\"")).collect::<Vec<_>>().join(" OR ")
    };
    let all: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let mut add = |kind: &str, text: String| {
        let name = format!("journal_{kind}_{table}");
        wanted.insert(name.clone(), format!("CREATE TRIGGER \"{name}\" {text}"));
    };
    add("insert", format!("AFTER INSERT ON \"{table}\" BEGIN {put} END"));
    // BEFORE: a key that is left is gone before its new row is there.
    add("move", format!("BEFORE UPDATE ON \"{table}\" WHEN {} BEGIN {del} END", differ(&keys)));
    add("update", format!("AFTER UPDATE ON \"{table}\" WHEN {} BEGIN {put} END", differ(&all)));
    add("delete", format!("AFTER DELETE ON \"{table}\" BEGIN {del} END"));
}

/// The lines after `after`, at most so many.
///
/// # Errors
///
/// When the database cannot be read.
pub fn lines(db: &Connection, after: i64, most: usize) -> rusqlite::Result<Vec<Line>> {
    let mut statement = db.prepare_cached("SELECT seq, at, line FROM journal WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let lines = statement
        .query_map((after, most), |row| Ok(Line { seq: row.get(0)?, at: Time(row.get(1)?), text: row.get(2)? }))?;
    lines.collect()
}

/// The number of the last line there ever was; 0 for none.
///
/// # Errors
///
/// When the database cannot be read.
pub fn last(db: &Connection) -> rusqlite::Result<i64> {
    let found =
        db.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'journal'", [], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}

/// Lines up to this one are gone.
///
/// # Errors
///
/// When the database cannot be read.
pub fn forgotten(db: &Connection) -> rusqlite::Result<i64> {
    let first: Option<i64> = db.query_row("SELECT min(seq) FROM journal", [], |row| row.get(0))?;
    first.map_or_else(|| last(db), |first| Ok(first - 1))
}

/// Forgets the lines up to `through` that are older than `before`.
///
/// # Errors
///
/// When the database cannot be written.
pub fn forget(db: &Connection, through: i64, before: Time) -> rusqlite::Result<usize> {
    db.execute("DELETE FROM journal WHERE seq <= ?1 AND at < ?2", (through, before.0))
}

/// Makes the journal go on after `seq`.
///
/// # Errors
///
/// When the database cannot be written.
pub fn go_on_after(db: &Connection, seq: i64) -> rusqlite::Result<()> {
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'journal'", [])?;
    db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('journal', ?1)", [seq])?;
    Ok(())
}

/// Makes all journaled rows of `to` those of `from`, which has the same schema.
///
/// # Errors
///
/// When one of them cannot be read or written.
pub fn replace_all(to: &Connection, from: &Connection) -> Result<(), ReplayError> {
    let known = Replay::on(to)?.tables;
    for table in known.keys() {
        to.execute(&format!("DELETE FROM \"{table}\""), [])?;
    }
    for (table, columns) in &known {
        let names: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let mut insert = to.prepare(&upsert(table, columns))?;
        let mut select = from.prepare(&format!("SELECT {} FROM \"{table}\"", names.join(", ")))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let values: rusqlite::Result<Vec<Value>> = (0..columns.len()).map(|at| row.get(at)).collect();
            insert.execute(params_from_iter(values?))?;
        }
    }
    Ok(())
}

/// Does again what lines say.
pub struct Replay<'db> {
    db: &'db Connection,
    tables: BTreeMap<String, Vec<Column>>,
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("tables", &self.tables.keys()).finish_non_exhaustive()
    }
}

impl<'db> Replay<'db> {
    /// On `db`, whose schema is that of the one that wrote them.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn on(db: &'db Connection) -> Result<Self, ReplayError> {
        let mut known = BTreeMap::new();
        for table in tables(db)? {
            let columns = columns(db, &table)?;
            known.insert(table, columns);
        }
        Ok(Self { db, tables: known })
    }

    /// Does one.
    ///
    /// # Errors
    ///
    /// When it says nothing that can be done.
    pub fn line(&self, seq: i64, text: &str) -> Result<(), ReplayError> {
        let wrong = |why: &str| ReplayError::Line { seq, why: why.to_owned() };
        let line: serde_json::Value =
            serde_json::from_str(text).map_err(|error| wrong(&format!("it is no JSON: {error}")))?;
        let name = line["t"].as_str().ok_or_else(|| wrong("it names no table"))?;
        let columns = self.tables.get(name).ok_or_else(|| wrong(&format!("there is no table {name:?}")))?;
        let (row, is_put) = match (line["put"].as_object(), line["del"].as_object()) {
            (Some(row), None) => (row, true),
            (None, Some(row)) => (row, false),
            _ => return Err(wrong("it neither puts nor deletes")),
        };
        let mut values = Vec::new();
        for column in columns.iter().filter(|column| is_put || column.is_key) {
            let value = row.get(&column.name).ok_or_else(|| wrong(&format!("it has no {:?}", column.name)))?;
            values.push(value_of(value, column.holds).ok_or_else(|| wrong(&format!("{:?} is no value", column.name)))?);
        }
        let sql = if is_put { upsert(name, columns) } else { delete(name, columns) };
        self.db.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        Ok(())
    }
}

fn upsert(table: &str, columns: &[Column]) -> String {
    let names: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let marks: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
    let mut sql =
        format!("INSERT INTO \"{table}\" ({}) VALUES ({}) ON CONFLICT DO ", names.join(", "), marks.join(", "));
    let sets: Vec<String> = columns
        .iter()
        .filter(|column| !column.is_key)
        .map(|column| format!("\"{0}\" = excluded.\"{0}\"", column.name))
        .collect();
    let keys: Vec<String> =
        columns.iter().filter(|column| column.is_key).map(|column| format!("\"{}\"", column.name)).collect();
    if sets.is_empty() {
        sql.push_str("NOTHING");
    } else {
        sql = sql.replace("ON CONFLICT DO ", &format!("ON CONFLICT ({}) DO ", keys.join(", ")));
        let _ = write!(sql, "UPDATE SET {}", sets.join(", "));
    }
    sql
}

fn delete(table: &str, columns: &[Column]) -> String {
    let keys: Vec<String> = (1..)
        .zip(columns.iter().filter(|column| column.is_key))
        .map(|(at, column)| format!("\"{}\" = ?{at}", column.name))
        .collect();
    format!("DELETE FROM \"{table}\" WHERE {}", keys.join(" AND "))
}

fn value_of(value: &serde_json::Value, holds: Holds) -> Option<Value> {
    match (value, holds) {
        (serde_json::Value::Null, _) => Some(Value::Null),
        (serde_json::Value::String(text), Holds::Blob) => unhex(text).map(Value::Blob),
        (serde_json::Value::String(text), Holds::Real) => text.parse().ok().map(Value::Real),
        (serde_json::Value::String(text), Holds::Other) => Some(Value::Text(text.clone())),
        (serde_json::Value::Number(number), Holds::Other) => number.as_i64().map(Value::Integer),
        _ => None,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const TABLES: &str = "
        CREATE TABLE journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, line TEXT NOT NULL) STRICT;
        CREATE TABLE one (id INTEGER PRIMARY KEY, hash BLOB UNIQUE, word TEXT, size REAL) STRICT;
        CREATE TABLE two (name TEXT, half INTEGER, PRIMARY KEY (name, half)) STRICT, WITHOUT ROWID;";

    fn database(sql: &str) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        install(&db).unwrap();
        db
    }

    fn dump(db: &Connection) -> Vec<String> {
        [
            "SELECT quote(id) || quote(hash) || quote(word) || quote(size) FROM one ORDER BY id",
            "SELECT quote(name) || half FROM two ORDER BY 1",
        ]
        .iter()
        .flat_map(|sql| {
            let mut statement = db.prepare(sql).unwrap();
            let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            rows
        })
        .collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(i64, Option<Vec<u8>>, Option<String>, Option<f64>),
        Move(i64, i64),
        Delete(i64),
        Pair(String, i64),
        Unpair(String),
    }

    fn step() -> impl Strategy<Value = Step> {
        let blob = proptest::option::of(vec(any::<u8>(), 0..4));
        let word = proptest::option::of("[\\PC\n\t\"\\\\']{0,8}");
        prop_oneof![
            (prop_oneof![-3_i64..9, Just(i64::MAX), Just(i64::MIN)], blob, word, proptest::option::of(-1e9..1e9))
                .prop_map(|(id, blob, word, size)| Step::Put(id, blob, word, size)),
            (0_i64..9, 0_i64..9).prop_map(|(from, to)| Step::Move(from, to)),
            (0_i64..9).prop_map(Step::Delete),
            ("[ab\u{e9}]", 0_i64..3).prop_map(|(name, half)| Step::Pair(name, half)),
            "[ab\u{e9}]".prop_map(Step::Unpair),
        ]
    }

    fn take(db: &Connection, step: &Step) {
        // Some contradict each other, and then nothing is done.
        let _ = match step {
            Step::Put(id, blob, word, size) => db.execute(
                "INSERT INTO one VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET hash = ?2, word = ?3, size = ?4",
                (id, blob, word, size),
            ),
            Step::Move(from, to) => db.execute("UPDATE one SET id = ?2 WHERE id = ?1", (from, to)),
            Step::Delete(id) => db.execute("DELETE FROM one WHERE id = ?1", [id]),
            Step::Pair(name, half) => db.execute("INSERT OR IGNORE INTO two VALUES (?1, ?2)", (name, half)),
            Step::Unpair(name) => db.execute("DELETE FROM two WHERE name = ?1", [name]),
        };
    }

    proptest! {
        #[test]
        fn what_was_written_is_written_again(steps in vec(step(), 0..40), from in any::<prop::sample::Index>()) {
            let (source, copy) = (database(TABLES), database(TABLES));
            for step in &steps { take(&source, step); }
            let lines = lines(&source, 0, usize::MAX).unwrap();
            let replay = Replay::on(&copy).unwrap();
            for line in &lines { replay.line(line.seq, &line.text).unwrap(); }
            prop_assert_eq!(dump(&source), dump(&copy));
            // Who hears the end of it twice has the same.
            let again = from.index(lines.len() + 1);
            let before = dump(&copy);
            if lines[again..].iter().all(|line| !line.text.contains("\"put\"") || !line.text.contains("\"one\"")) {
                for line in &lines[again..] { replay.line(line.seq, &line.text).unwrap(); }
                prop_assert_eq!(before, dump(&copy));
            }
        }
    }

    #[test]
    fn triggers_follow_the_schema() {
        let db = database(TABLES);
        db.execute_batch("ALTER TABLE two ADD COLUMN more BLOB; CREATE TABLE three (id INTEGER PRIMARY KEY) STRICT;")
            .unwrap();
        install(&db).unwrap();
        db.execute_batch("INSERT INTO two VALUES ('a', 1, x'00ff'); INSERT INTO three VALUES (1); DELETE FROM three;")
            .unwrap();
        let texts: Vec<String> = lines(&db, 0, 9).unwrap().into_iter().map(|line| line.text).collect();
        assert_eq!(
            texts,
            [
                r#"{"t":"two","put":{"name":"a","half":1,"more":"00FF"}}"#,
                r#"{"t":"three","put":{"id":1}}"#,
                r#"{"t":"three","del":{"id":1}}"#,
            ]
        );
        db.execute_batch("DROP TABLE three").unwrap();
        install(&db).unwrap();
    }

    #[test]
    fn numbers_go_on_when_lines_are_forgotten() {
        let db = database(TABLES);
        assert_eq!((last(&db).unwrap(), forgotten(&db).unwrap()), (0, 0));
        db.execute_batch("INSERT INTO two VALUES ('a', 1); INSERT INTO two VALUES ('b', 1);").unwrap();
        assert_eq!((last(&db).unwrap(), forgotten(&db).unwrap()), (2, 0));
        assert_eq!(forget(&db, 1, Time(0)).unwrap(), 0, "it is too young");
        assert_eq!(forget(&db, 1, Time(i64::MAX)).unwrap(), 1);
        assert_eq!((last(&db).unwrap(), forgotten(&db).unwrap()), (2, 1));
        assert_eq!(forget(&db, 2, Time(i64::MAX)).unwrap(), 1);
        assert_eq!((last(&db).unwrap(), forgotten(&db).unwrap()), (2, 2));
        go_on_after(&db, 40).unwrap();
        db.execute_batch("DELETE FROM two WHERE name = 'a'").unwrap();
        assert_eq!(lines(&db, 0, 9).unwrap()[0].seq, 41);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let db = database(TABLES);
        let replay = Replay::on(&db).unwrap();
        for bad in [
            "",
            "{}",
            r#"{"t":"journal","put":{"seq":1,"at":1,"line":"x"}}"#,
            r#"{"t":"one"}"#,
            r#"{"t":"two","put":{"name":"a"}}"#,
            r#"{"t":"two","put":{"name":"a","half":[]}}"#,
            r#"{"t":"one","put":{"id":1,"hash":"0","word":null,"size":null}}"#,
            r#"{"t":"two","put":{"name":"a","half":"x"}}"#,
        ] {
            assert!(replay.line(1, bad).is_err(), "{bad}");
        }
        assert!(dump(&db).is_empty());
    }
}
