//! The way back: a database as it was at a moment, and content by name.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;

use super::chain::{Chain, Id, Manifest};
use super::vault::Vault;
use super::{BackupError, journal, take};
use crate::model::{Sha256, Time};
use crate::tier::bucket::{Scratch, sha256};

/// What to go back to: some backups of one chain, and where to stop in the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The full one and the segments upon it.
    pub parts: Vec<(Id, Manifest)>,
    /// Lines that were written later do not count; none: all count.
    pub until: Option<Time>,
}

/// Which backups lead to the state at `at`.
///
/// # Errors
///
/// When none does.
pub fn target(chains: &[Chain], at: Time) -> Result<Target, BackupError> {
    let before = |chain: &&Chain| chain.good.first().is_some_and(|(_, full)| full.taken <= at.0);
    let chain = chains.iter().filter(before).max_by_key(|chain| chain.good[0].1.taken);
    let Some(chain) = chain else {
        let first = chains.iter().filter_map(|chain| chain.good.first()).map(|(_, full)| full.taken).min();
        let there = first
            .map_or_else(|| "there is none".to_owned(), |first| format!("the first is of {}", Time(first).rfc3339()));
        return Err(BackupError::Other(format!("there is no backup as old as {}; {there}", at.rfc3339())));
    };
    // The first segment that reaches beyond the moment is needed, too: it has what was written just before.
    let reaches = chain.good.iter().position(|(_, manifest)| manifest.taken >= at.0);
    let parts = chain.good[..reaches.map_or(chain.good.len(), |at| at + 1)].to_vec();
    let until = reaches.is_some().then_some(at);
    Ok(Target { parts, until })
}

/// The state that `id` has.
///
/// # Errors
///
/// When it is not there, or broken.
pub fn target_of(chains: &[Chain], id: &Id) -> Result<Target, BackupError> {
    let chain = chains.iter().find(|chain| chain.full == id.full);
    if let Some((_, why)) = chain.and_then(|chain| chain.broken.iter().find(|(broken, _)| broken == id)) {
        return Err(BackupError::Other(format!("{id} cannot be restored: {why}")));
    }
    let at = chain.and_then(|chain| chain.good.iter().position(|(good, _)| good == id));
    match (chain, at) {
        (Some(chain), Some(at)) => Ok(Target { parts: chain.good[..=at].to_vec(), until: None }),
        _ => Err(BackupError::Other(format!("there is no backup {id}"))),
    }
}

impl Target {
    /// The last of them.
    #[must_use]
    pub fn last(&self) -> &(Id, Manifest) {
        self.parts.last().expect("it has a full one at least")
    }
}

/// Makes the database at `path`, which must not be there yet. It is complete and consistent when this returns, or it is
/// not there.
///
/// # Errors
///
/// When anything is not as the manifests say.
pub async fn database(vault: &Vault, target: &Target, path: &Path, scratch: &Path) -> Result<(), BackupError> {
    let scratch = Scratch::inside(scratch)?;
    let mut fetched = Vec::new();
    for (id, manifest) in &target.parts {
        let file = scratch.file(&format!("part-{:06}", id.segment));
        vault.fetch(id, manifest, &file).await?;
        fetched.push((file, manifest.clone()));
    }
    let (until, made, path) = (target.until, scratch.file("restored.db"), path.to_owned());
    let work = tokio::task::spawn_blocking(move || {
        let _scratch = scratch;
        let local = |what: &str| {
            let what = what.to_owned();
            move |error| BackupError::Local(what, error)
        };
        let (full, _) = &fetched[0];
        let packed = File::open(full).map_err(local("failed to read a backup"))?;
        // It has what deletes files, and perhaps whose they are.
        let created = File::options().write(true).create_new(true).mode(0o600).open(&made);
        let mut unpacked = created.map_err(local("failed to create the database"))?;
        zstd::stream::copy_decode(BufReader::new(packed), &mut unpacked).map_err(local("failed to unpack a backup"))?;
        drop(unpacked);
        let db = Connection::open(&made)?;
        db.pragma_update(None, "synchronous", "OFF")?;
        db.pragma_update(None, "foreign_keys", false)?;
        let mut last = fetched[0].1.to;
        db.execute_batch("BEGIN; UPDATE standing SET applying = 1")?;
        for (file, manifest) in &fetched[1..] {
            last = replay(&db, file, manifest, until)?;
        }
        db.execute_batch("UPDATE standing SET applying = 0; DELETE FROM journal; COMMIT")?;
        journal::go_on_after(&db, last)?;
        check(&db, until.is_none().then(|| &fetched.last().expect("there is a full one").1))?;
        db.execute_batch("VACUUM")?;
        drop(db);
        let file = File::open(&made).map_err(local("failed to open the database"))?;
        file.sync_all().map_err(local("failed to sync the database"))?;
        if path.exists() {
            return Err(BackupError::Other(format!("{} is there already", path.display())));
        }
        // Across disks a rename does not go.
        if std::fs::rename(&made, &path).is_err() {
            let partial = path.with_extension("part");
            // With its mode.
            std::fs::copy(&made, &partial).map_err(local("failed to copy the database"))?;
            File::open(&partial).and_then(|file| file.sync_all()).map_err(local("failed to sync the database"))?;
            std::fs::rename(&partial, &path).map_err(local("failed to put the database in its place"))?;
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(local("failed to sync the folder"))
    });
    work.await.map_err(|error| BackupError::Other(error.to_string()))?
}

#[derive(Deserialize)]
struct Packed {
    seq: i64,
    at: i64,
    line: String,
}

/// Replays one segment, and gives the number of the last line that counted.
fn replay(db: &Connection, file: &Path, manifest: &Manifest, until: Option<Time>) -> Result<i64, BackupError> {
    let local = |error| BackupError::Local(format!("failed to unpack {}", manifest.id), error);
    let wrong = |why: String| BackupError::Other(format!("{} is damaged: {why}", manifest.id));
    let decoder = zstd::Decoder::new(File::open(file).map_err(local)?).map_err(local)?;
    let replay = journal::Replay::on(db).map_err(|error| wrong(error.to_string()))?;
    let (mut last, mut seen) = (manifest.from, manifest.from);
    for text in BufReader::new(decoder).lines() {
        let text = text.map_err(local)?;
        let line: Packed = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if line.seq <= seen || line.seq > manifest.to {
            return Err(wrong(format!("line {} is out of order", line.seq)));
        }
        seen = line.seq;
        // The clock may have gone back meanwhile: what stands behind a line that does not count, does not either.
        if until.is_some_and(|until| line.at > until.0) {
            return Ok(last);
        }
        replay.line(line.seq, &line.line).map_err(|error| wrong(error.to_string()))?;
        last = line.seq;
    }
    if seen != manifest.to {
        return Err(wrong(format!("it ends with line {seen}, and should end with {}", manifest.to)));
    }
    Ok(last)
}

/// Whether it is whole: by SQLite, by its references, and by the counts of the manifest.
fn check(db: &Connection, manifest: Option<&Manifest>) -> Result<(), BackupError> {
    let damaged = |why: String| Err(BackupError::Other(format!("the restored database is damaged: {why}")));
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        return damaged(verdict);
    }
    // Half of a transaction would be a name without its content.
    let dangling: Option<String> = db.query_row("PRAGMA foreign_key_check", [], |row| row.get(0)).optional()?;
    if let Some(table) = dangling {
        return damaged(format!("a row of {table} refers to one that is not there"));
    }
    let Some(manifest) = manifest else { return Ok(()) };
    for (table, wanted) in &manifest.rows {
        let there: u64 = db.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0))?;
        if there != *wanted {
            return damaged(format!("{table} has {there} rows, and should have {wanted}"));
        }
    }
    let bytes = take::content(db)?;
    if bytes != manifest.content {
        return damaged(format!("its content would be {bytes} bytes, and should be {}", manifest.content));
    }
    Ok(())
}

/// Makes a restored database one to go on with: another history begins, in which nothing is known of the tier.
///
/// # Errors
///
/// When it cannot be written.
pub fn begin_anew(path: &Path, now: Time) -> Result<(), BackupError> {
    let db = Connection::open(path)?;
    db.execute_batch("BEGIN")?;
    let lineage = sha256(crate::model::random(32).as_bytes()).to_string();
    db.execute("UPDATE standing SET lineage = ?1, began = ?2", (&lineage[..16], now.0))?;
    db.execute_batch(
        "DELETE FROM checks; DELETE FROM accesses; DELETE FROM replicas;
         UPDATE objects SET place = 'local';
         INSERT INTO replicas (sha256, size, state, since) SELECT sha256, size, 'waiting', created FROM objects;
         COMMIT",
    )?;
    Ok(())
}

/// One that does not write does not for being restored: what the database at `old` knows of others that write, the one
/// at `new` knows, too. One that cannot be read says nothing.
///
/// # Errors
///
/// When that cannot be written.
pub fn keep_fence(old: &Path, new: &Path) -> Result<(), BackupError> {
    let known = Connection::open(old).and_then(|db| {
        db.query_row("SELECT epoch, role, fenced_by FROM standing", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
        })
    });
    if let Ok((epoch, role, by)) = known {
        let db = Connection::open(new)?;
        db.execute("UPDATE standing SET epoch = ?1, role = ?2, fenced_by = ?3 WHERE epoch <= ?1", (epoch, role, by))?;
    }
    Ok(())
}

/// Content that a database's names stand for: with `prefix`, of names that begin so.
///
/// # Errors
///
/// When it cannot be read.
pub fn names(path: &Path, prefix: &str) -> Result<Vec<(String, Sha256, u64)>, BackupError> {
    let db = Connection::open(path)?;
    let mut statement = db.prepare(
        "SELECT l.name, o.sha256, o.size FROM links l JOIN objects o ON o.id = l.object
         WHERE l.removed IS NULL AND substr(l.name, 1, length(?1)) = ?1 ORDER BY l.name",
    )?;
    let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, Sha256(row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// All content that a database's rows name.
///
/// # Errors
///
/// When it cannot be read.
pub fn hashes(path: &Path) -> Result<BTreeSet<Sha256>, BackupError> {
    let db = Connection::open(path)?;
    let mut statement = db.prepare("SELECT sha256 FROM objects")?;
    let rows = statement.query_map([], |row| row.get(0).map(Sha256))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::chain::chains;
    use super::super::chain::tests::made;
    use super::*;

    #[test]
    fn one_that_was_fenced_is_not_restored_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str, epoch: i64, role: &str| {
            let path = folder.path().join(name);
            let db = Connection::open(&path).unwrap();
            db.execute_batch(include_str!("../../migrations/0001_origin.sql")).unwrap();
            db.execute_batch(include_str!("../../migrations/0002_tier.sql")).unwrap();
            db.execute("UPDATE standing SET epoch = ?1, role = ?2", (epoch, role)).unwrap();
            path
        };
        let role = |path: &Path| -> (i64, String) {
            let db = Connection::open(path).unwrap();
            db.query_row("SELECT epoch, role FROM standing", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        let (fenced, writes) = (made("fenced", 2, "fenced"), made("writes", 3, "writes"));
        let copy = made("copy", 1, "writes");
        keep_fence(&fenced, &copy).unwrap();
        assert_eq!(role(&copy), (2, "fenced".to_owned()));
        let copy = made("other", 1, "writes");
        keep_fence(&writes, &copy).unwrap();
        assert_eq!(role(&copy), (3, "writes".to_owned()));
        // A damaged one knows nothing.
        std::fs::write(folder.path().join("damaged"), "no database").unwrap();
        keep_fence(&folder.path().join("damaged"), &copy).unwrap();
        assert_eq!(role(&copy), (3, "writes".to_owned()));
    }

    #[test]
    fn a_moment_needs_the_segment_that_reaches_beyond_it() {
        let mut entries = made(Time(1000), 3, 100);
        entries.extend(made(Time(2000), 1, 100));
        let chains = chains(&entries);
        let at = |time: i64| {
            target(&chains, Time(time)).map(|target| (target.parts.len(), target.last().0.to_string(), target.until))
        };
        let first = Id::full(Time(1000)).full;
        let second = Id::full(Time(2000)).full;
        assert_eq!(at(1150).unwrap(), (3, format!("{first}/000002"), Some(Time(1150))));
        assert_eq!(at(1100).unwrap(), (2, format!("{first}/000001"), Some(Time(1100))));
        assert_eq!(at(1000).unwrap(), (1, first.clone(), Some(Time(1000))));
        // Between the chains: as far as the first goes.
        assert_eq!(at(1900).unwrap(), (4, format!("{first}/000003"), None));
        assert_eq!(at(9999).unwrap(), (2, format!("{second}/000001"), None));
        assert!(at(999).unwrap_err().to_string().contains("the first is of 1970-01-01T00:00:01Z"));
        let id = Id { full: first, segment: 2 };
        assert_eq!(target_of(&chains, &id).unwrap().parts.len(), 3);
        assert!(target_of(&chains, &Id { segment: 7, ..id }).is_err());
    }
}
