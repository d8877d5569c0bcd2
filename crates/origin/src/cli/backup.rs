//! `witness-origin backup`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, failed, say};
use crate::backup::chain::{Chain, Id, Manifest};
use crate::backup::due::Due;
use crate::backup::restore::{self, Target};
use crate::backup::retention::Retention;
use crate::backup::survey::{self, survey};
use crate::backup::take::{Taken, Wanted, take};
use crate::backup::vault::Vault;
use crate::backup::violators::{self, rough};
use crate::backup::when::moment;
use crate::backup::{BackupError, verify};
use crate::clock::{self, Stopwatch};
use crate::config::Config;
use crate::copies::scratch;
use crate::db::Db;
use crate::model::{Sha256, Time};
use crate::tier::bucket::{Bucket, Scratch, object_key, sha256};

/// For another process to end its backup.
const PATIENCE: Duration = Duration::from_secs(60);
/// For plugins: nobody knows.
const UNKNOWN: u8 = 3;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Makes what is due by the policy: a full backup, a segment upon the last, or nothing.
    Run {
        /// A full one, whatever is due.
        #[arg(long)]
        full: bool,
        /// A segment, whatever is due.
        #[arg(long, conflicts_with = "full")]
        incremental: bool,
        /// Says what would be made.
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Lists what there is.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Reads backups and content back and compares them, and restores the newest for trial.
    Verify {
        /// Of all content and all older backups, so many in a hundred are read.
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
        share: Option<u32>,
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Says what there is to be read.
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Tells what is not as the policy wants it. Exits with 0 when nothing is, 1 for warnings, 2 when it is critical,
    /// 3 when nobody knows.
    Violators {
        /// What was archived, and content that nobody needs any more, counts too.
        #[arg(long)]
        all: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
        /// For Prometheus.
        #[arg(long, conflicts_with = "json")]
        prometheus: bool,
    },
    /// Removes what the rules do not keep. Never the newest, and nothing that something kept is built upon.
    Expunge {
        /// Other rules than those of the configuration.
        #[arg(long, value_name = "RULES")]
        retention: Option<Retention>,
        /// Says what would go.
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Keeps a chain, and the content that it names, whatever the rules say.
    Archive {
        /// Of a full backup, as in the list.
        id: Id,
        /// To be remembered.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Lets the rules have it again.
        #[arg(long)]
        undo: bool,
        /// Says what would be done.
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Puts names, or the files behind them, back as they were.
    Restore(Restore),
}

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

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        failed(&error)
    }
}

/// Does it.
pub(super) fn run(config: &Config, command: &Command) -> Result<(), Failure> {
    let is_judgement = matches!(command, Command::Violators { .. });
    let done = with_vault(config, command);
    match done {
        // A plugin that cannot tell must not look like one that can.
        Err(Failure(1, text)) if is_judgement && !text.is_empty() => Err(Failure(UNKNOWN, text)),
        done => done,
    }
}

fn with_vault(config: &Config, command: &Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    runtime.block_on(async {
        let vault = Vault::open(config).map_err(|error| failed(&error))?;
        match command {
            Command::Run { full, incremental, dry_run } => make(config, &vault, *full, *incremental, *dry_run).await,
            Command::List { json } => list(&vault, *json).await,
            Command::Restore(wanted) => put_back(config, &vault, wanted).await,
            Command::Archive { id, reason, undo, dry_run } => {
                archive(config, &vault, id, reason, *undo, *dry_run).await
            }
            Command::Verify { .. } | Command::Violators { .. } | Command::Expunge { .. } => {
                let path = database(config)?;
                let db = Db::open(&path)?;
                let done = beside_the_server(config, &vault, &db, command).await;
                let _ = tokio::task::spawn_blocking(move || db.close()).await;
                done
            }
        }
    })
}

fn database(config: &Config) -> Result<PathBuf, Failure> {
    let path = config.store.directory.join("meta.db");
    match path.exists() {
        true => Ok(path),
        false => Err(failed(&format!("there is no {}; it is made by the first run", path.display()))),
    }
}

async fn make(config: &Config, vault: &Vault, full: bool, incremental: bool, dry: bool) -> Result<(), Failure> {
    let wanted = match (full, incremental) {
        (true, _) => Wanted::Full,
        (_, true) => Wanted::Incremental,
        _ => Wanted::ByPolicy,
    };
    let path = database(config)?;
    let waiting = Stopwatch::start();
    let taken = loop {
        let scratch = scratch(config);
        match take(&path, &scratch, vault, &config.backup, wanted, dry, clock::now()).await {
            // The server's own.
            Err(BackupError::Busy) if waiting.elapsed() < PATIENCE => tokio::time::sleep(PATIENCE / 200).await,
            done => break done?,
        }
    };
    match taken {
        Taken::Nothing | Taken::Would(Due::Nothing) => say("nothing is due"),
        Taken::Would(Due::Full(why)) => say(&format!("a full backup would be made: {why}")),
        Taken::Would(Due::Incremental) => say("a segment would be made"),
        Taken::Made(id, manifest) => {
            let what = if id.segment == 0 { "full" } else { "segment" };
            say(&format!("{id}  {what}  {} bytes  at {}", manifest.size, vault.name()));
        }
    }
    Ok(())
}

async fn list(vault: &Vault, as_json: bool) -> Result<(), Failure> {
    let chains = vault.chains().await.map_err(|error| failed(&error))?;
    let pinned = vault.pinned().await.map_err(|error| failed(&error))?;
    if as_json {
        let one = |(id, manifest): &(Id, Manifest)| {
            json!({
                "id": id.to_string(),
                "kind": if id.segment == 0 { "full" } else { "incremental" },
                "taken": Time(manifest.taken).rfc3339(),
                "bytes": manifest.size,
                "lines": manifest.to - manifest.from,
                "archived": pinned.contains(&id.full),
            })
        };
        let good: Vec<_> = chains.iter().flat_map(|chain| chain.good.iter().map(one)).collect();
        let broken: Vec<_> = chains
            .iter()
            .flat_map(|chain| chain.broken.iter().map(|(id, why)| json!({"id": id.to_string(), "why": why})))
            .collect();
        say(&json!({"place": vault.name(), "backups": good, "broken": broken}).to_string());
        return Ok(());
    }
    if chains.is_empty() {
        say(&format!("there is none at {}", vault.name()));
    }
    for line in table(&chains, |full| pinned.contains(full)) {
        say(&line);
    }
    Ok(())
}

fn table(chains: &[Chain], is_pinned: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for chain in chains {
        for (id, manifest) in &chain.good {
            let kind = if id.segment == 0 { "full" } else { "segment" };
            let pinned = if is_pinned(&id.full) && id.segment == 0 { "  archived" } else { "" };
            let (taken, size) = (Time(manifest.taken).rfc3339(), manifest.size);
            lines.push(format!("{:<26}  {taken}  {kind:<7}  {size:>12} bytes{pinned}", id.to_string()));
        }
        for (id, why) in &chain.broken {
            lines.push(format!("{:<26}  broken: {why}", id.to_string()));
        }
    }
    lines
}

async fn beside_the_server(config: &Config, vault: &Vault, db: &Db, command: &Command) -> Result<(), Failure> {
    let now = clock::now();
    match command {
        Command::Violators { all, json, prometheus } => {
            let facts = survey(vault, db, config.tier.is_some()).await?;
            let found = violators::violations(&facts, &survey::limits(&config.backup), *all, now);
            let text = match (json, prometheus) {
                (true, _) => format!("{}\n", violators::json(&found, now)),
                (_, true) => violators::prometheus(&found),
                _ => violators::table(&found),
            };
            say(text.trim_end());
            match violators::exit_code(&found) {
                0 => Ok(()),
                code => Err(Failure(code, String::new())),
            }
        }
        Command::Verify { share, json, dry_run } => {
            let share = share.unwrap_or(config.backup.verify_share);
            if *dry_run {
                let chains = vault.chains().await.map_err(|error| failed(&error))?;
                let count: usize = chains.iter().map(|chain| chain.good.len()).sum();
                say(&format!(
                    "there are {count} backups at {}; of the older, and of content, {share} % would be read",
                    vault.name()
                ));
                return Ok(());
            }
            let bucket = config.tier.as_ref().map(|tier| Bucket::open(&tier.place)).transpose();
            let bucket = bucket.map_err(|error| failed(&error))?;
            let report = survey::verify(vault, bucket.as_ref(), db, share, &scratch(config), now).await?;
            show(&report, *json);
            if report.failures.is_empty() { Ok(()) } else { Err(Failure(1, String::new())) }
        }
        Command::Expunge { retention, dry_run } => {
            let rules = retention.as_ref().unwrap_or(&config.backup.retention);
            let (gone, left) = survey::expunge(vault, db, rules, *dry_run, now).await?;
            let word = if *dry_run { "would go" } else { "gone" };
            for id in &gone {
                say(&format!("{word}: {id}"));
            }
            for key in &left {
                say(&format!("{word}: {key}, which belongs to no backup"));
            }
            if gone.is_empty() && left.is_empty() {
                say(&format!("nothing goes by {rules}"));
            }
            Ok(())
        }
        Command::Run { .. } | Command::List { .. } | Command::Archive { .. } | Command::Restore(_) => Ok(()),
    }
}

fn show(report: &verify::Report, as_json: bool) {
    if as_json {
        say(&serde_json::to_string(report).unwrap_or_default());
        return;
    }
    say(&format!("{} backups were read and compared", report.backups_read));
    match &report.drill {
        Some(full) => say(&format!("{full} and all that is built upon it was restored for trial")),
        None => say("nothing was restored for trial"),
    }
    say(&format!(
        "{} contents have the right size in the tier, or are told below; {} were read",
        report.content_sized, report.content_read
    ));
    for (subject, why) in &report.failures {
        say(&format!("WRONG: {subject}: {why}"));
    }
}

async fn archive(config: &Config, vault: &Vault, id: &Id, reason: &str, undo: bool, dry: bool) -> Result<(), Failure> {
    let id = Id { full: id.full.clone(), segment: 0 };
    let chains = vault.chains().await.map_err(|error| failed(&error))?;
    let Some(last) = chains.iter().find(|chain| chain.full == id.full).and_then(Chain::last) else {
        return Err(failed(&format!("there is no backup {id} that could be restored")));
    };
    if undo {
        if !dry {
            vault.unpin(&id).await.map_err(|error| failed(&error))?;
        }
        say(&format!("{id} {} what the rules say", if dry { "would be" } else { "is" }));
        return Ok(());
    }
    // What its rows name, from its first to its last moment: all of that stays.
    let folder = Scratch::inside(&scratch(config)).map_err(|error| failed(&error))?;
    let mut content = std::collections::BTreeSet::new();
    for wanted in [&id, &last.0] {
        let path = folder.file(&format!("names-{}.db", wanted.segment));
        if !path.exists() {
            let target = restore::target_of(&chains, wanted)?;
            restore::database(vault, &target, &path, &scratch(config)).await?;
            content.extend(restore::hashes(&path)?);
        }
    }
    if !dry {
        vault.pin(&id, reason, clock::now(), &content).await.map_err(|error| failed(&error))?;
    }
    let word = if dry { "would stay" } else { "stays" };
    say(&format!("{id} {word}, and the {} contents that it names", content.len()));
    Ok(())
}

async fn put_back(config: &Config, vault: &Vault, wanted: &Restore) -> Result<(), Failure> {
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
    let opened = tokio::task::spawn_blocking(move || crate::store::Store::open(&owned, 0)).await;
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

/// Puts a database aside, with its log.
fn aside(path: &Path, now: Time) -> Result<(), Failure> {
    let mark = Id::full(now).full;
    for end in ["", "-wal", "-shm"] {
        let old = PathBuf::from(format!("{}{end}", path.display()));
        let new = PathBuf::from(format!("{}.before-{mark}{end}", path.display()));
        match std::fs::rename(&old, &new) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&format!("failed to put {} aside: {error}", old.display()))),
            Ok(()) => say(&format!("{} is at {} now", old.display(), new.display())),
        }
    }
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
    async fn settle(&self, store: &crate::store::Store, database: &Path, fetch: bool) -> Result<Vec<Sha256>, Failure> {
        let mut lost = Vec::new();
        let mut places = Vec::new();
        for sha256 in restore::hashes(database)? {
            let here = store.path(&sha256);
            let other = self.path(&sha256);
            let mut is_here = here.is_file();
            if !is_here && other.is_file() && other != here {
                std::fs::copy(&other, &here).map_err(|error| failed(&error))?;
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
        crate::store::object_path(&self.store, sha256)
    }

    /// Content in a new file, compared.
    async fn write(&self, sha256: &Sha256, to: &Path) -> Result<(), Failure> {
        let from = self.path(sha256);
        if from.is_file() {
            let bytes = std::fs::read(&from).map_err(|error| failed(&error))?;
            if sha256_of(&bytes) == *sha256 {
                return std::fs::write(to, bytes).map_err(|error| failed(&error));
            }
        }
        let Some(bucket) = &self.bucket else {
            return Err(failed(&format!("the content {sha256} is not here, and there is no tier")));
        };
        let partial = to.with_extension("part");
        let _ = std::fs::remove_file(&partial);
        let (found, _) = bucket.get_file(&object_key(sha256), &partial).await.map_err(|error| failed(&error))?;
        if found != *sha256 {
            let _ = std::fs::remove_file(&partial);
            return Err(failed(&format!("for the content {sha256}, the tier gives {found}")));
        }
        std::fs::rename(&partial, to).map_err(|error| failed(&error))
    }
}

fn sha256_of(bytes: &[u8]) -> Sha256 {
    sha256(bytes)
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
