//! Takes over what another server has: pomf, or Uguu.
//!
//! ```text
//! source   rows of its database, one a name        their database is only read
//!   │
//! weigh    is there a file, may it have that name, is it here already?
//!   │
//! bring    several files at once: copied, hashed, synced, put in their place
//!   │
//! commit   their rows in one transaction
//! ```
//!
//! What was brought stays when this ends early, and is passed over the next time. Nothing of the other server is
//! changed or removed. It needs the store for itself: no server may run on it meanwhile.

mod bring;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock;
use crate::db::imports::{self, Imported};
use crate::db::{Db, DbError, bans, links};
use crate::model::{Name, Sha256, Time};
use crate::store::{Store, StoreError};
pub use source::{Kind, Source};
use source::{Row, Told};

/// Files that are brought at once.
const AT_ONCE: usize = 32;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where its files are.
    pub files: PathBuf,
    /// Nothing is written.
    pub dry: bool,
    /// Each is gone so long after it came.
    pub expire: Option<Duration>,
    /// Files that no row knows are taken, too.
    pub unlisted: bool,
    /// Whether addresses are kept.
    pub addresses: bool,
    /// Whether equal uploads get an imported URL.
    pub shared: bool,
    /// Paths that mean something else.
    pub reserved: Vec<String>,
}

/// What became of one that was not simply taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// There is no such file.
    Missing,
    /// It cannot be a name here.
    Name,
    /// That name stands for something else here.
    Conflict,
    /// That name was removed here.
    Gone,
    /// Its content is banned here.
    Banned,
    /// It was taken as it is, and is not what its row says.
    Differs,
    /// It cannot be read.
    Unreadable,
    /// A ban by a hash that nothing here has.
    Ban,
}

impl Trouble {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Name => "name",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Banned => "banned",
            Self::Differs => "differs",
            Self::Unreadable => "unreadable",
            Self::Ban => "ban",
        }
    }

    /// Whether its URL does not work here.
    #[must_use]
    pub fn is_loss(self) -> bool {
        match self {
            Self::Missing | Self::Name | Self::Conflict | Self::Unreadable => true,
            Self::Gone | Self::Banned | Self::Differs | Self::Ban => false,
        }
    }
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Names.
    pub taken: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Names that were here before.
    pub known: u64,
    /// Names whose time is over.
    pub expired: u64,
    /// Rows for a name that another row has already.
    pub repeated: u64,
    /// Files that no row knows and that were left.
    pub unlisted: u64,
    /// Bans.
    pub bans: u64,
    /// How often there was which trouble.
    pub troubles: BTreeMap<&'static str, u64>,
    /// Whether there are URLs that do not work here.
    pub lost: bool,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Their database cannot be read.
    #[error("failed to read {path}: {why}")]
    Source {
        /// Where it is.
        path: String,
        /// Why.
        why: String,
    },
    /// Our folder.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Our database.
    #[error("{0}")]
    Database(#[from] DbError),
}

/// Told about what does not go smoothly: what, of which name, and more words.
pub type Tell<'t> = dyn FnMut(Trouble, &str, &str) + 't;

/// Where it is brought: the store is this process's own.
#[derive(Debug)]
pub struct Target {
    /// The bytes.
    pub store: Store,
    /// The rows.
    pub db: Db,
}

/// Takes over everything.
///
/// # Errors
///
/// When it ends early; what was brought by then stays.
pub async fn import(
    source: &Source,
    wanted: &Wanted,
    target: Option<&Target>,
    tell: &mut Tell<'_>,
    progress: &mut dyn FnMut(&Report),
) -> Result<Report, ImportError> {
    let mut work = Work { wanted, target, tell, report: Report::default(), batch: Vec::new() };
    work.report.repeated = source.repeated()?;
    let mut rows = source.rows()?;
    while let Some(row) = rows.next()? {
        work.take(row).await?;
        progress(&work.report);
    }
    work.flush().await?;
    for (name, file) in source.unlisted(&wanted.files)? {
        if !wanted.unlisted {
            work.report.unlisted += 1;
            continue;
        }
        let modified = file.modified().map_or(clock::now(), Time::from);
        work.take(Row {
            name,
            original: None,
            size: None,
            hash: Told::Nothing,
            created: Some(modified),
            expires: None,
            address: None,
        })
        .await?;
        progress(&work.report);
    }
    work.flush().await?;
    work.bans(source).await?;
    Ok(work.report)
}

struct Work<'w, 't> {
    wanted: &'w Wanted,
    target: Option<&'w Target>,
    tell: &'w mut Tell<'t>,
    report: Report,
    batch: Vec<Wish>,
}

/// A file that is to be brought.
#[derive(Clone, Debug)]
struct Wish {
    name: Name,
    path: PathBuf,
    size: u64,
    row: Row,
    created: Time,
    expires: Option<Time>,
}

impl Work<'_, '_> {
    fn trouble(&mut self, what: Trouble, name: &str, says: &str) {
        *self.report.troubles.entry(what.word()).or_default() += 1;
        self.report.lost |= what.is_loss();
        (self.tell)(what, name, says);
    }

    async fn take(&mut self, row: Row) -> Result<(), ImportError> {
        let Some(wish) = self.weigh(row).await? else { return Ok(()) };
        if self.target.is_none() {
            self.report.taken += 1;
            self.report.bytes += wish.size;
            return Ok(());
        }
        self.batch.push(wish);
        if self.batch.len() >= AT_ONCE { self.flush().await } else { Ok(()) }
    }

    /// Whether it is to be brought.
    async fn weigh(&mut self, row: Row) -> Result<Option<Wish>, ImportError> {
        let text = row.name.clone();
        let is_reserved = self.wanted.reserved.iter().any(|path| path.trim_start_matches('/') == text);
        let Some(name) = Name::new(&text).filter(|_| !is_reserved) else {
            self.trouble(Trouble::Name, &text, "this cannot be a name here");
            return Ok(None);
        };
        let now = clock::now();
        let path = self.wanted.files.join(&text);
        let created = row.created.unwrap_or(now);
        let expires = row.expires.or(self.wanted.expire.map(|expire| created.after(expire)));
        if expires.is_some_and(|expires| expires <= now) {
            self.report.expired += 1;
            return Ok(None);
        }
        let size = match std::fs::metadata(&path) {
            Ok(file) if file.is_file() => file.len(),
            Ok(_) => {
                self.trouble(Trouble::Unreadable, &text, "this is no file");
                return Ok(None);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.trouble(Trouble::Missing, &text, "there is no such file");
                return Ok(None);
            }
            Err(error) => {
                self.trouble(Trouble::Unreadable, &text, &error.to_string());
                return Ok(None);
            }
        };
        if let Some(target) = self.target {
            let wanted = name.clone();
            match target.db.read(move |db| imports::known(db, &wanted)).await? {
                Some(None) => {
                    self.trouble(Trouble::Gone, &text, "it was here, and was removed");
                    return Ok(None);
                }
                // The same row has brought it, or another copy of the same file.
                Some(Some(known))
                    if known.size == size && (known.created == created || row.hash.is_sha1(&known.sha1)) =>
                {
                    self.report.known += 1;
                    return Ok(None);
                }
                Some(Some(known)) if known.size != size => {
                    self.trouble(Trouble::Conflict, &text, "this name stands for something else here");
                    return Ok(None);
                }
                // Only its content tells.
                Some(Some(_)) | None => {}
            }
        }
        Ok(Some(Wish { name, path, size, row, created, expires }))
    }

    /// Brings what was gathered.
    async fn flush(&mut self) -> Result<(), ImportError> {
        let (Some(target), false) = (self.target, self.batch.is_empty()) else { return Ok(()) };
        let batch = std::mem::take(&mut self.batch);
        let store = &target.store;
        let mut brought = Vec::new();
        for (wish, done) in bring::all(store, batch) {
            match done {
                Ok(found) => brought.push((wish, found)),
                Err(bring::BringError::Store(error)) => return Err(error.into()),
                Err(bring::BringError::Read(why)) => self.trouble(Trouble::Unreadable, wish.name.as_str(), &why),
            }
        }
        let hashes: Vec<Sha256> = brought.iter().map(|(_, found)| found.staged.sha256).collect();
        let held = store.share(hashes.iter().copied()).await;
        let mut rows = Vec::new();
        for (wish, found) in brought {
            if let Some(says) = found.differs(&wish) {
                self.trouble(Trouble::Differs, wish.name.as_str(), &says);
            }
            rows.push((wish.name.clone(), found.publication(&wish, self.wanted), wish.created));
            store.place(found.staged, &held)?;
        }
        let now = clock::now();
        let written = rows.clone();
        let done = target.db.write(move |db| {
            written.iter().map(|(name, upload, created)| imports::import(db, name, upload, *created, now)).collect()
        });
        let done: Vec<Imported> = done.await?;
        drop(held);
        for ((name, upload, _), done) in rows.iter().zip(done) {
            match done {
                Imported::Taken => {
                    self.report.taken += 1;
                    self.report.bytes += upload.size;
                }
                Imported::Known => self.report.known += 1,
                Imported::Different => {
                    self.trouble(Trouble::Conflict, name.as_str(), "this name stands for something else here");
                }
                Imported::Gone => self.trouble(Trouble::Gone, name.as_str(), "it was here, and was removed"),
                Imported::Banned => self.trouble(Trouble::Banned, name.as_str(), "its content is banned here"),
            }
        }
        for sha256 in hashes {
            let held = store.exclude(&sha256).await;
            if !target.db.read(move |db| links::is_known(db, &sha256)).await? {
                store.remove(&sha256, &held)?;
            }
        }
        Ok(())
    }

    async fn bans(&mut self, source: &Source) -> Result<(), ImportError> {
        let now = clock::now();
        for (hash, reason) in source.bans()? {
            let Told::Sha1(sha1) = hash else {
                self.trouble(Trouble::Ban, &reason, "it is banned there by a hash that nothing here has");
                continue;
            };
            self.report.bans += 1;
            if let Some(target) = self.target {
                target.db.write(move |db| bans::add(db, &sha1.0, &format!("imported: {reason}"), None, now)).await?;
            }
        }
        Ok(())
    }
}
