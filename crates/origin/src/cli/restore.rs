//! `witness-origin backup restore`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, failed, say};
use crate::backup::chain::{Chain, Id, Manifest};
use crate::backup::restore::{self, Target};
use crate::backup::vault::Vault;
use crate::backup::violators::rough;
use crate::backup::when::moment;
use crate::clock;
use crate::config::Config;
use crate::copies::scratch;
use crate::model::{Name, Sha256, Time};
use crate::store::{Store, object_path};
use crate::tier::bucket::{Bucket, Scratch, digest_of, object_key};

#[derive(Args, Clone, Debug)]
pub(super) struct Restore {
    /// As it was then: 2026-11-21T10:15:58Z, 2026-11-21, or 3h for so long ago.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["backup", "latest"])]
    at: Option<String>,
    /// As this backup has it.
    #[arg(long, value_name = "ID", conflicts_with = "latest")]
    backup: Option<Id>,
    /// As the last backup has it.
    #[arg(long)]
    latest: bool,
    /// The file of this name, alone.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["prefix", "in_place", "content"])]
    name: Option<String>,
    /// The files whose names begin so; an empty one for all.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["in_place", "content"])]
    prefix: Option<String>,
    /// Where to: a folder for files, or one that becomes a store.
    #[arg(long, value_name = "FOLDER", required_unless_present = "in_place")]
    into: Option<PathBuf>,
    /// The configured store, whose database is put aside. No server may run on it.
    #[arg(long, conflicts_with = "into")]
    in_place: bool,
    /// All content, too; without it, it stays in the tier until somebody asks for it.
    #[arg(long)]
    content: bool,
    /// Says what would be done.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Does it.
pub(super) async fn put_back(config: &Config, vault: &Vault, wanted: &Restore) -> Result<(), Failure> {
    let chains = vault.chains().await.map_err(|error| failed(&error))?;
    let target = choose(vault, &chains, wanted)?;
    let (last, manifest) = target.last();
    let then = target.until.unwrap_or(Time(manifest.taken)).rfc3339();
    if wanted.dry_run {
        for (id, manifest) in &target.parts {
            say(&format!("{id} would be read, {} bytes", manifest.size));
        }
        let names = match (&wanted.name, &wanted.prefix) {
            (Some(name), _) => format!("the file {name}"),
            (_, Some(prefix)) => format!("files whose names begin with {prefix:?}"),
            _ => format!("{} names", manifest.rows.get("links").copied().unwrap_or_default()),
        };
        let place = wanted.into.as_deref().unwrap_or(&config.store.directory);
        say(&format!("{names} would be put into {} as of {then}", place.display()));
        return Ok(());
    }
    let bucket = match &config.tier {
        Some(tier) => Some(Bucket::open(&tier.place).map_err(|error| failed(&error))?),
        None => None,
    };
    let content = Content { bucket, store: config.store.directory.clone() };
    if wanted.name.is_some() || wanted.prefix.is_some() {
        let into = wanted.into.as_deref().unwrap_or(Path::new("."));
        return files(config, vault, &target, wanted, &content, into).await;
    }
    let directory = wanted.into.as_deref().unwrap_or(&config.store.directory);
    // Nobody may write meanwhile; and a folder that is none yet becomes a store.
    let owned = directory.to_owned();
    let opened = tokio::task::spawn_blocking(move || Store::open(&owned, 0)).await;
    let store = opened.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let path = store.database();
    let folder = Scratch::inside(&directory.join("scratch")).map_err(|error| failed(&error))?;
    let made = folder.file("meta.db");
    restore::database(vault, &target, &made, &directory.join("scratch")).await?;
    restore::begin_anew(&made, clock::now())?;
    let lost = content.settle(&store, &made, wanted.content).await?;
    if path.exists() {
        if !wanted.in_place {
            return Err(failed(&format!("{} is there already", path.display())));
        }
        restore::keep_fence(&path, &made)?;
        aside(&path, clock::now())?;
    }
    std::fs::rename(&made, &path).map_err(|error| failed(&error))?;
    std::fs::File::open(directory).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))?;
    say(&format!("{} is as it was at {then}, by {last}", directory.display()));
    for sha256 in &lost {
        say(&format!("LOST: the content {sha256} is neither here nor in the tier"));
    }
    if lost.is_empty() { Ok(()) } else { Err(Failure(1, format!("witness-origin: {} contents are lost", lost.len()))) }
}

/// Gives a database a second name, so that it stays when another one takes its place, and takes its log away, which
/// would be taken for the other one's. Whoever dies in between leaves a database where one belongs.
fn aside(path: &Path, now: Time) -> Result<(), Failure> {
    let mark = Id::full(now).full;
    let beside = |end: &str| {
        (
            PathBuf::from(format!("{}{end}", path.display())),
            PathBuf::from(format!("{}.before-{mark}{end}", path.display())),
        )
    };
    // What is in the log goes into the file; one that is damaged keeps its log beside it.
    if let Ok(db) = rusqlite::Connection::open(path) {
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    for end in ["-wal", "-shm"] {
        let (old, new) = beside(end);
        match std::fs::rename(&old, &new) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&format!("failed to put {} aside: {error}", old.display()))),
            Ok(()) => {}
        }
    }
    let (old, new) = beside("");
    std::fs::hard_link(&old, &new).map_err(|error| failed(&format!("failed to keep {}: {error}", old.display())))?;
    say(&format!("what was there is at {} now", new.display()));
    Ok(())
}

fn choose(vault: &Vault, chains: &[Chain], wanted: &Restore) -> Result<Target, Failure> {
    if let Some(text) = &wanted.at {
        let at = moment(text, clock::now()).map_err(|why| Failure(2, format!("witness-origin: {why}")))?;
        return Ok(restore::target(chains, at)?);
    }
    if let Some(id) = &wanted.backup {
        return Ok(restore::target_of(chains, id)?);
    }
    let points: Vec<&(Id, Manifest)> = chains.iter().flat_map(|chain| &chain.good).collect();
    let newest = points.iter().max_by_key(|(_, manifest)| manifest.taken);
    let Some(newest) = newest else { return Err(failed(&format!("there is no backup at {}", vault.name()))) };
    if wanted.latest {
        return Ok(restore::target_of(chains, &newest.0)?);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure(2, "witness-origin: which? say --at TIME, --backup ID or --latest".to_owned()));
    }
    let now = clock::now();
    for (number, (id, manifest)) in (1..).zip(points.iter().rev()) {
        let age = rough(now.since(Time(manifest.taken)));
        say(&format!("{number:>4}  {}  {age:>8} ago  {id}", Time(manifest.taken).rfc3339()));
    }
    let mut out = std::io::stdout();
    let _ = write!(out, "which? [1, or a time] ");
    let _ = out.flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| failed(&error))?;
    match line.trim() {
        "" => Ok(restore::target_of(chains, &newest.0)?),
        text => match text.parse::<usize>() {
            Ok(number) => match number.checked_sub(1).and_then(|at| points.iter().rev().nth(at)) {
                Some((id, _)) => Ok(restore::target_of(chains, id)?),
                None => Err(Failure(2, format!("witness-origin: there is no number {number}"))),
            },
            Err(_) => {
                let at = moment(text, now).map_err(|why| Failure(2, format!("witness-origin: {why}")))?;
                Ok(restore::target(chains, at)?)
            }
        },
    }
}

/// Where content can be had.
struct Content {
    bucket: Option<Bucket>,
    /// The configured store's folder.
    store: PathBuf,
}

impl Content {
    /// Says in a restored database where its content is, and fetches it if that is wanted. Gives what is nowhere.
    async fn settle(&self, store: &Store, database: &Path, fetch: bool) -> Result<Vec<Sha256>, Failure> {
        let mut lost = Vec::new();
        let mut places = Vec::new();
        for sha256 in restore::hashes(database)? {
            let here = store.path(&sha256);
            let other = self.path(&sha256);
            let mut is_here = here.is_file();
            if !is_here && other.is_file() && other != here {
                self.write(&sha256, &here).await?;
                is_here = true;
            }
            let there = match &self.bucket {
                Some(bucket) => bucket.size(&object_key(&sha256)).await.is_ok(),
                None => false,
            };
            if !is_here && there && fetch {
                self.write(&sha256, &here).await?;
                is_here = true;
            }
            if !is_here && !there {
                lost.push(sha256);
            }
            places.push((sha256, if is_here || !there { "local" } else { "remote" }));
        }
        let db = rusqlite::Connection::open(database).map_err(|error| failed(&error))?;
        let tx = db.unchecked_transaction().map_err(|error| failed(&error))?;
        for (sha256, place) in places {
            tx.execute("UPDATE objects SET place = ?2 WHERE sha256 = ?1", (sha256.0, place))
                .map_err(|error| failed(&error))?;
        }
        tx.commit().map_err(|error| failed(&error))?;
        Ok(lost)
    }

    fn path(&self, sha256: &Sha256) -> PathBuf {
        object_path(&self.store, sha256)
    }

    /// Content in a new file, compared.
    async fn write(&self, sha256: &Sha256, to: &Path) -> Result<(), Failure> {
        let from = self.path(sha256);
        let partial = to.with_extension("part");
        let _ = std::fs::remove_file(&partial);
        let done = |partial: &Path| {
            let synced = std::fs::File::open(partial).and_then(|file| file.sync_all());
            synced.and_then(|()| std::fs::rename(partial, to)).map_err(|error| failed(&error))
        };
        if from.is_file() {
            std::fs::copy(&from, &partial).map_err(|error| failed(&error))?;
            if digest_of(&partial).map_err(|error| failed(&error))? == *sha256 {
                return done(&partial);
            }
            let _ = std::fs::remove_file(&partial);
        }
        let Some(bucket) = &self.bucket else {
            return Err(failed(&format!("the content {sha256} is not here, and there is no tier")));
        };
        let (found, _) = bucket.get_file(&object_key(sha256), &partial).await.map_err(|error| failed(&error))?;
        if found != *sha256 {
            let _ = std::fs::remove_file(&partial);
            return Err(failed(&format!("for the content {sha256}, the tier gives {found}")));
        }
        done(&partial)
    }
}

/// Files by name.
async fn files(
    config: &Config,
    vault: &Vault,
    target: &Target,
    wanted: &Restore,
    content: &Content,
    into: &Path,
) -> Result<(), Failure> {
    let folder = Scratch::inside(&scratch(config)).map_err(|error| failed(&error))?;
    let path = folder.file("names.db");
    restore::database(vault, target, &path, &scratch(config)).await?;
    let mut names = restore::names(&path, wanted.name.as_deref().or(wanted.prefix.as_deref()).unwrap_or_default())?;
    if let Some(name) = &wanted.name {
        names.retain(|(known, ..)| known == name);
    }
    // Somebody else may have written what is in the bucket.
    names.retain(|(name, ..)| Name::new(name).is_some());
    if names.is_empty() {
        return Err(failed(&"no such name was known then"));
    }
    std::fs::create_dir_all(into).map_err(|error| failed(&error))?;
    let mut missing = 0;
    for (name, sha256, size) in names {
        let to = into.join(&name);
        if to.exists() {
            say(&format!("{} is there already, and stays", to.display()));
            continue;
        }
        match content.write(&sha256, &to).await {
            Ok(()) => say(&format!("{}  {size} bytes", to.display())),
            Err(Failure(_, why)) => {
                missing += 1;
                say(&format!("LOST: {name}: {why}"));
            }
        }
    }
    if missing == 0 {
        Ok(())
    } else {
        Err(Failure(1, format!("witness-origin: {missing} files could not be restored")))
    }
}
