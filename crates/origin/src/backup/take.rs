//! Making a backup: a copy of the database, or the lines of its journal since the last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::chain::{FORMAT, Id, Manifest, named};
use super::due::{Due, Source, can_go_on, due, newest};
use super::vault::Vault;
use super::{BackupError, journal};
use crate::clock;
use crate::config::Backup;
use crate::model::{Sha256, Time};
use crate::tier::bucket::{Scratch, digest};

/// Lines read at once.
const SOME: usize = 1000;
/// How hard zstd tries.
const LEVEL: i32 = 6;
/// Lines of the journal stay for so long after a full backup, for those who follow.
const JOURNAL: Duration = Duration::from_secs(7 * 86_400);

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What the policy says.
    ByPolicy,
    /// A full one, whatever it says.
    Full,
    /// A segment, whatever it says.
    Incremental,
}

/// What was, or would be, made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing is due.
    Nothing,
    /// It would be this.
    Would(Due),
    /// This.
    Made(Id, Box<Manifest>),
}

/// Takes one of the database at `database` and puts it into `vault`. `scratch` is where there is room meanwhile. Only
/// one process does it at a time: another one waits for nothing and is told.
///
/// # Errors
///
/// When it was not made whole.
pub async fn take(
    database: &Path,
    scratch: &Path,
    vault: &Vault,
    policy: &Backup,
    wanted: Wanted,
    dry: bool,
    now: Time,
) -> Result<Taken, BackupError> {
    let _alone = Alone::in_folder(scratch)?;
    let chains = vault.chains().await?;
    let source = blocking(database.to_owned(), |db| Ok(source(db)?)).await?;
    let last = newest(&chains, &source).filter(|(chain, _)| can_go_on(chain, &source)).map(|(_, last)| last.clone());
    let next = match (wanted, &last) {
        (Wanted::ByPolicy, _) => due(&chains, &source, policy.full_every, policy.incremental_every, now),
        (Wanted::Full, _) => Due::Full("it was asked for"),
        (Wanted::Incremental, Some(_)) => Due::Incremental,
        (Wanted::Incremental, None) => Due::Full("there is no chain that a segment could be built upon"),
    };
    if dry {
        return Ok(Taken::Would(next));
    }
    if next == Due::Nothing {
        return Ok(Taken::Nothing);
    }
    let scratch = Scratch::inside(scratch)?;
    // Before a full one, a last segment of the same moment ends the chain before it: then there is no moment between
    // the two that cannot be gone back to.
    let upon = match last {
        Some((last_id, last)) => Some((last_id.next(), last, vault.digest_of_manifest(&last_id).await?)),
        None => None,
    };
    // Names grow, also when the clock stands still or was put back.
    let newest = chains.last().and_then(|chain| named(&chain.full)).map_or(now, |newest| Time(newest.0 + 1));
    let whole = matches!(next, Due::Full(_)).then(|| Id::full(now.max(newest)));
    let (lines, copied, packed) = (scratch.file("lines"), scratch.file("copy.db"), scratch.file("packed"));
    let (segment_at, full_at) = (lines.clone(), packed.clone());
    let made = blocking(database.to_owned(), move |db| {
        let mut made = Vec::new();
        if let Some((id, last, previous)) = upon {
            let manifest = segment(db, &lines, &id.to_string(), &last, previous)?;
            made.push((id, manifest, segment_at));
        }
        if let Some(id) = whole {
            let manifest = full(db, &copied, &packed, &id.to_string())?;
            made.push((id, manifest, full_at));
        }
        Ok(made)
    });
    let mut newest = None;
    for (id, manifest, content) in made.await? {
        vault.add(&id, &manifest, &content).await?;
        tracing::info!(id = %id, bytes = manifest.size, lines = manifest.to - manifest.from, "a backup was made");
        newest = Some((id, manifest));
    }
    let (id, manifest) = newest.ok_or_else(|| BackupError::Other("nothing was made".to_owned()))?;
    if id.segment == 0 {
        forget(database.to_owned(), manifest.to, now).await;
    }
    Ok(Taken::Made(id, Box::new(manifest)))
}

/// That the journal keeps a little more than it must is no reason to fail.
async fn forget(database: PathBuf, through: i64, now: Time) {
    let before = Time(now.0.saturating_sub(i64::try_from(JOURNAL.as_millis()).unwrap_or(i64::MAX)));
    let forgotten = tokio::task::spawn_blocking(move || {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(Duration::from_secs(10))?;
        journal::forget(&db, through, before)
    });
    match forgotten.await {
        Ok(Ok(lines)) => tracing::debug!(lines, "the journal forgot what is old"),
        Ok(Err(error)) => tracing::warn!(%error, "failed to shorten the journal"),
        Err(error) => tracing::warn!(%error, "failed to shorten the journal"),
    }
}

/// Removes what somebody who died has left in `folder`. Who is at work there is let alone.
///
/// # Errors
///
/// When it is still there.
pub fn tidy(folder: &Path) -> Result<(), BackupError> {
    let _alone = match Alone::in_folder(folder) {
        Err(BackupError::Busy) => return Ok(()),
        alone => alone?,
    };
    let local = |error| BackupError::Local(format!("failed to tidy up {}", folder.display()), error);
    for entry in std::fs::read_dir(folder).map_err(local)? {
        let path = entry.map_err(local)?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(&path).map_err(local)?;
        }
    }
    Ok(())
}

/// Two that make backups at once would build upon the same one.
#[derive(Debug)]
pub(super) struct Alone {
    _lock: File,
}

impl Alone {
    pub(super) fn in_folder(folder: &Path) -> Result<Self, BackupError> {
        let local = |error| BackupError::Local(format!("failed to lock {}", folder.display()), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(local)?;
        let lock = File::create(folder.join("backup.lock")).map_err(local)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |error| match error {
                rustix::io::Errno::WOULDBLOCK => BackupError::Busy,
                other => local(other.into()),
            },
        )?;
        Ok(Self { _lock: lock })
    }
}

/// What is to be backed up.
///
/// # Errors
///
/// When the database cannot be read.
pub fn source(db: &Connection) -> rusqlite::Result<Source> {
    Ok(Source {
        lineage: db.query_row("SELECT lineage FROM standing", [], |row| row.get(0))?,
        schema: db.pragma_query_value(None, "user_version", |row| row.get(0))?,
        forgotten: journal::forgotten(db)?,
        last: journal::last(db)?,
    })
}

/// Reads `database` in one transaction, on a thread that may block: whatever is written meanwhile, it sees one moment.
pub(super) async fn blocking<T: Send + 'static>(
    database: PathBuf,
    work: impl FnOnce(&Connection) -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(move || {
        let db =
            Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.execute_batch("BEGIN")?;
        work(&db)
    });
    done.await.map_err(|error| BackupError::Other(error.to_string()))?
}

/// Copies `db`, which is within a transaction, to a new file at `copy`, without what is of this machine alone but
/// needs room.
pub(crate) fn copy(db: &Connection, copy: &Path) -> Result<Connection, BackupError> {
    // Reading anything fixes the moment.
    source(db)?;
    let mut to = Connection::open(copy)?;
    {
        let backup = rusqlite::backup::Backup::new(db, &mut to)?;
        // All at once: in WAL mode that keeps nobody from writing.
        backup.step(-1)?;
    }
    to.pragma_update(None, "journal_mode", "DELETE")?;
    to.pragma_update(None, "synchronous", "OFF")?;
    to.execute_batch("DELETE FROM journal; DELETE FROM accesses; UPDATE standing SET applying = 0; VACUUM;")?;
    let verdict: String = to.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(BackupError::Other(format!("the copy of the database is damaged: {verdict}")));
    }
    Ok(to)
}

fn full(db: &Connection, copied: &Path, content: &Path, name: &str) -> Result<Manifest, BackupError> {
    let (facts, now) = (source(db)?, clock::now());
    let to = copy(db, copied)?;
    let mut manifest = manifest(&to, name, &facts, now)?;
    drop(to);
    let mut packed = Packed::create(content)?;
    let mut file =
        File::open(copied).map_err(|error| BackupError::Local("failed to read the copy".to_owned(), error))?;
    std::io::copy(&mut file, &mut packed.out)
        .map_err(|error| BackupError::Local("failed to pack".to_owned(), error))?;
    (manifest.sha256, manifest.size) = packed.finish()?;
    (manifest.from, manifest.to) = (0, facts.last);
    Ok(manifest)
}

fn segment(
    db: &Connection,
    content: &Path,
    name: &str,
    last: &Manifest,
    previous: Sha256,
) -> Result<Manifest, BackupError> {
    let (facts, now) = (source(db)?, clock::now());
    let mut manifest = manifest(db, name, &facts, now)?;
    let mut packed = Packed::create(content)?;
    let mut after = last.to;
    loop {
        let lines = journal::lines(db, after, SOME)?;
        let Some(newest) = lines.last() else { break };
        after = newest.seq;
        for line in &lines {
            let text = json!({"seq": line.seq, "at": line.at.0, "line": line.text});
            writeln!(packed.out, "{text}").map_err(|error| BackupError::Local("failed to pack".to_owned(), error))?;
        }
    }
    (manifest.sha256, manifest.size) = packed.finish()?;
    (manifest.from, manifest.to) = (last.to, facts.last);
    manifest.previous = Some(previous.to_string());
    Ok(manifest)
}

fn manifest(db: &Connection, name: &str, facts: &Source, now: Time) -> Result<Manifest, BackupError> {
    Ok(Manifest {
        format: FORMAT,
        id: name.to_owned(),
        origin: db.query_row("SELECT origin FROM standing", [], |row| row.get(0))?,
        lineage: facts.lineage.clone(),
        taken: now.0,
        from: 0,
        to: 0,
        previous: None,
        sha256: String::new(),
        size: 0,
        schema: facts.schema,
        rows: rows(db)?,
        content: content(db)?,
    })
}

/// How many rows each journaled table has.
pub(super) fn rows(db: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let count = |table: String| {
        let count = db.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0))?;
        Ok((table, count))
    };
    journal::tables(db)?.into_iter().map(count).collect()
}

/// Bytes of all content.
pub(super) fn content(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT coalesce(sum(size), 0) FROM objects", [], |row| row.get(0))
}

/// A file that is packed and hashed while it is written.
struct Packed {
    out: zstd::Encoder<'static, Hashed>,
}

struct Hashed {
    file: BufWriter<File>,
    context: Context,
    size: u64,
}

impl std::io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.context.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Packed {
    fn create(path: &Path) -> Result<Self, BackupError> {
        let local = |error| BackupError::Local(format!("failed to create {}", path.display()), error);
        let file = BufWriter::new(File::create_new(path).map_err(local)?);
        let mut out =
            zstd::Encoder::new(Hashed { file, context: Context::new(&SHA256), size: 0 }, LEVEL).map_err(local)?;
        out.include_checksum(true).map_err(local)?;
        Ok(Self { out })
    }

    /// SHA-256 and length of what was written.
    fn finish(self) -> Result<(String, u64), BackupError> {
        let local = |error| BackupError::Local("failed to write what was packed".to_owned(), error);
        let hashed = self.out.finish().map_err(local)?;
        let file = hashed.file.into_inner().map_err(|error| local(error.into_error()))?;
        file.sync_all().map_err(local)?;
        Ok((digest(hashed.context).to_string(), hashed.size))
    }
}
