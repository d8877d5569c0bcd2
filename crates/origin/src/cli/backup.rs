//! `witness-origin backup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::restore::{self as back, Restore};
use super::{Failure, failed, say};
use crate::backup::chain::{Chain, Id, Manifest};
use crate::backup::due::Due;
use crate::backup::restore;
use crate::backup::retention::Retention;
use crate::backup::survey::{self, survey};
use crate::backup::take::{Taken, Wanted, take};
use crate::backup::vault::Vault;
use crate::backup::violators;
use crate::backup::{BackupError, verify};
use crate::clock::{self, Stopwatch};
use crate::config::Config;
use crate::copies::scratch;
use crate::db::Db;
use crate::model::Time;
use crate::tier::bucket::{Bucket, Scratch};
use crate::tier::marker;

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
            Command::Restore(wanted) => back::put_back(config, &vault, wanted).await,
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
    if let (Some(tier), None, false) = (&config.tier, &config.backup.directory, dry) {
        let db = Db::open(&path)?;
        let checked = match Bucket::open(&tier.place) {
            Ok(bucket) => marker::check(&bucket, &db).await,
            Err(error) => Err(error),
        };
        let _ = tokio::task::spawn_blocking(move || db.close()).await;
        checked.map_err(|error| failed(&error))?;
    }
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
