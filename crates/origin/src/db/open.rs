//! Opening the file: how SQLite is set, and how an older schema is brought up to date.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::DbError;

/// The numbered migrations. Never edited once released; each runs in one transaction and is counted by `user_version`.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_origin.sql"),
    include_str!("../../migrations/0002_tier.sql"),
    include_str!("../../migrations/0003_rules.sql"),
    include_str!("../../migrations/0004_people.sql"),
];

/// The schema that this version writes.
#[expect(clippy::cast_possible_wrap, reason = "there are few migrations")]
pub const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// `application_id`: "wori", so that another program's database is not taken for ours.
const APPLICATION: i64 = 0x776f_7269;

/// How long a writer waits for another process, which may be a command beside the server.
const BUSY: Duration = Duration::from_secs(10);

/// What the write-ahead log is cut to once it was copied, in bytes.
const LOG: i64 = 16 << 20;

pub(super) fn writer(path: &Path) -> Result<Connection, DbError> {
    let created = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(DbError::Other(format!("failed to create {}: {error}", path.display()))),
    };
    let mut db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let number = |db: &Connection, name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = number(&db, "user_version")?;
    let application = number(&db, "application_id")?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && tables > 0 {
        return Err(DbError::Foreign(path.to_owned()));
    }
    if found > SCHEMA {
        return Err(DbError::Newer { path: path.to_owned(), found });
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    // An upload is answered when it is durable: the log is synced at each commit.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "journal_size_limit", LOG)?;
    db.set_prepared_statement_cache_capacity(64);
    for (at, migration) in (1_i64..).zip(MIGRATIONS) {
        if at > found {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute_batch(migration)?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
            tx.pragma_update(None, "user_version", at)?;
            tx.commit()?;
        }
    }
    // What REPLACE removes is journaled, too.
    db.pragma_update(None, "recursive_triggers", true)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    crate::backup::journal::install(&tx)?;
    tx.commit()?;
    if created && let Some(folder) = path.parent() {
        // The file's name, and its log's.
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| DbError::Other(format!("failed to sync {}: {error}", folder.display())))?;
    }
    Ok(db)
}

pub(super) fn reader(path: &Path) -> Result<Connection, DbError> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Opens the one at `path` to read it and no more, beside whoever writes.
///
/// # Errors
///
/// When it is not there, is not ours, or has another schema.
pub fn look(path: &Path) -> Result<Connection, DbError> {
    let db = reader(path)?;
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION {
        return Err(DbError::Foreign(path.to_owned()));
    }
    match number("user_version")? {
        SCHEMA => Ok(db),
        found if found > SCHEMA => Err(DbError::Newer { path: path.to_owned(), found }),
        found => Err(DbError::Older { path: path.to_owned(), found }),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, DbError> {
    let db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "cell_size_check", true)?;
    Ok(db)
}
