//! Opening the file: what it must be, how SQLite is set, and how an older schema is brought up to date.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior};

use super::error::{LedgerError, Trouble, directory_of, not_writable};

/// How long a writer waits for another process. A slice of pruning or a tick takes milliseconds.
pub(crate) const BUSY: Duration = Duration::from_secs(5);

/// The numbered migrations. Never edited once released; each runs in one transaction and is counted by `user_version`.
const MIGRATIONS: &[&str] =
    &[include_str!("../../migrations/0001_ledger.sql"), include_str!("../../migrations/0002_load.sql")];

/// The schema that this version writes.
pub(crate) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// `application_id` of a ledger: "with" of `witness`, so that another program's database is not taken for ours.
const APPLICATION: i64 = 0x7769_746e;

/// Pages of 4 KiB that the write-ahead log may have before it is copied into the file (4 MB).
const AUTOCHECKPOINT: i64 = 1000;

/// What the write-ahead log is cut to once it was copied, bytes. It outgrows this only while a reader stays in one query.
const WAL_KEEP: i64 = 16 * 1024 * 1024;

/// Opens `path` for writing; creates and upgrades it.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    create(path)?;
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // SQLite quietly opens a write-protected file for reading.
    if db.is_readonly(MAIN_DB).map_err(|e| Trouble::from(e).at(path))? {
        return Err(not_writable(path.to_owned(), "opened read-only"));
    }
    prepare(db, path, Place::File)
}

/// A ledger that ends with its connection.
pub(crate) fn open_memory() -> Connection {
    Connection::open_in_memory()
        .map_err(|e| Trouble::from(e).at(Path::new(":memory:")))
        .and_then(|db| prepare(db, Path::new(":memory:"), Place::Memory))
        .expect("an empty database in memory takes the schema")
}

/// Opens `path` for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, LedgerError> {
    if path.is_dir() {
        return Err(LedgerError::Directory { path: path.to_owned() });
    }
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(LedgerError::Missing { path: path.to_owned() }),
        Err(_) => return Err(LedgerError::Permission { path: path.to_owned(), on: path.to_owned() }),
    }
    let shared = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|db| Ok((version(&db, path)?, db)));
    let (found, db) = match shared {
        // Beside a log, SQLite wants to write even to read. Who may not do that can still read a ledger at rest.
        Err(error) if is_at_rest(path) => match alone(path).and_then(|db| Ok((version(&db, path)?, db))) {
            Ok(found) => found,
            Err(_) => return Err(error),
        },
        shared => shared?,
    };
    if found < KNOWN {
        return Err(match found {
            0 => LedgerError::Missing { path: path.to_owned() },
            _ => LedgerError::Older { path: path.to_owned(), found, known: KNOWN },
        });
    }
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Whether all of the ledger is in its one file: no log, or an empty one, as the last writer leaves it.
fn is_at_rest(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).map_or_else(|error| error.kind() == ErrorKind::NotFound, |log| log.len() == 0)
}

/// Opens `path` as a file that nobody changes: without locks, log and shared memory. Should a writer come meanwhile, an
/// answer may fail.
fn alone(path: &Path) -> Result<Connection, LedgerError> {
    let escaped: String = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    let name = format!("file:{escaped}?immutable=1");
    connect(Path::new(&name), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    File,
    Memory,
}

/// Makes an empty file that only its owner may read, where there is none.
fn create(path: &Path) -> Result<(), LedgerError> {
    if path.is_dir() {
        return Err(LedgerError::Directory { path: path.to_owned() });
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == ErrorKind::StorageFull => Err(LedgerError::Full { path: path.to_owned() }),
        Err(e) if e.kind() == ErrorKind::NotADirectory => {
            Err(LedgerError::NoParent { path: path.to_owned(), parent: directory_of(path) })
        }
        Err(e) => Err(not_writable(path.to_owned(), &e.to_string())),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, LedgerError> {
    let open = || -> Result<Connection, rusqlite::Error> {
        let db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY)?;
        // Notices a page whose cells lead outside of it when it is read, rather than later.
        db.pragma_update(None, "cell_size_check", true)?;
        Ok(db)
    };
    open().map_err(|e| Trouble::from(e).at(path))
}

fn prepare(mut db: Connection, path: &Path, place: Place) -> Result<Connection, LedgerError> {
    let found = version(&db, path)?;
    let set = |db: &Connection| -> Result<(), rusqlite::Error> {
        if found == 0 {
            db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        // FULL syncs the log at each commit: a tick commits once and an intent once, so it costs a sync or two per tick,
        // and whatever was reported as written stays written when the power goes.
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT)?;
        db.pragma_update(None, "journal_size_limit", WAL_KEEP)?;
        db.set_prepared_statement_cache_capacity(96);
        Ok(())
    };
    set(&db).map_err(|e| Trouble::from(e).at(path))?;
    if place == Place::File {
        write_ahead(&db, path)?;
    }
    migrate(&mut db, path, KNOWN)?;
    Ok(db)
}

/// Switches to a write-ahead log, so that readers and the writer do not wait for each other.
///
/// The switch needs the file alone for a moment, and SQLite does not wait for that by itself.
fn write_ahead(db: &Connection, path: &Path) -> Result<(), LedgerError> {
    let mut left = BUSY;
    let step = Duration::from_millis(20);
    loop {
        match db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(LedgerError::NoWal { path: path.to_owned(), mode }),
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && left > step => {
                std::thread::sleep(step);
                left -= step;
            }
            Err(e) => return Err(Trouble::from(e).at(path)),
        }
    }
}

/// The schema's number, after making sure that the file is a ledger, or nothing yet.
fn version(db: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let read = || -> Result<(i64, i64, i64), rusqlite::Error> {
        let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let application = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((tables, application, version))
    };
    let (tables, application, found) = read().map_err(|e| Trouble::from(e).at(path))?;
    if application != APPLICATION && (tables > 0 || found > 0) {
        return Err(LedgerError::Foreign { path: path.to_owned() });
    }
    if found > KNOWN {
        return Err(LedgerError::Newer { path: path.to_owned(), found, known: KNOWN });
    }
    Ok(found)
}

/// Runs what is missing up to migration `to`, each in one transaction. Several processes may try at once.
fn migrate(db: &mut Connection, path: &Path, to: i64) -> Result<(), LedgerError> {
    for (number, sql) in (1i64..=to).zip(MIGRATIONS) {
        if version(db, path)? >= number {
            continue;
        }
        let mut run = || -> Result<(), rusqlite::Error> {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found < number {
                tx.execute_batch(sql)?;
                tx.pragma_update(None, "user_version", number)?;
            }
            tx.commit()
        };
        run().map_err(|e| Trouble::from(e).at(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_as_written_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let db = open_writer(&dir.path().join("witness.db")).unwrap();
        let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("synchronous"), 2, "FULL");
        assert_eq!(number("foreign_keys"), 1);
        assert_eq!(number("auto_vacuum"), 2, "incremental");
        assert_eq!(number("user_version"), KNOWN);
        assert_eq!(db.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)).unwrap(), "wal");
    }
}
