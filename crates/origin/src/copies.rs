//! What is elsewhere, put together: the tier, legacy sources, backups by the clock, those who copy this origin, and the
//! one that it copies.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::backup::survey::{self, survey};
use crate::backup::take::{Taken, Wanted, take, tidy};
use crate::backup::vault::Vault;
use crate::backup::{BackupError, verify, violators};
use crate::clock::{self, Stopwatch};
use crate::config::{Config, Tier as TierSettings, TierPlace};
use crate::db::{Db, DbError};
use crate::follow::follower::{FollowError, Follower, Progress};
use crate::follow::gate::Gate;
use crate::follow::source::Source;
use crate::follow::standing::{self, Role};
use crate::follow::{self, TokenError};
use crate::metrics::{Metrics, write_metric};
use crate::store::Store;
use crate::tier::bucket::{Bucket, BucketError};
use crate::tier::legacy::Legacy;
use crate::tier::{Tier, marker};

/// Between looks at whether a backup is due.
const PAUSE: Duration = Duration::from_secs(60);
/// Between looks at what violates the policy.
const JUDGED: Duration = Duration::from_secs(300);

/// Why it cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum CopiesError {
    /// The tier, a legacy source, or where backups are.
    #[error("failed to open what is elsewhere: {0}")]
    Bucket(#[from] BucketError),
    /// A token.
    #[error("failed to read a token: {0}")]
    Token(#[from] TokenError),
    /// The one to follow.
    #[error("failed to follow: {0}")]
    Follow(#[from] FollowError),
    /// The database.
    #[error("failed to use the database: {0}")]
    Db(#[from] DbError),
    /// Where backups are made.
    #[error("{0}")]
    Backup(#[from] BackupError),
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Copies {
    /// The tier.
    pub tier: Option<Arc<Tier>>,
    /// Who is asked for names that are not known here.
    pub legacy: Option<Arc<Legacy>>,
    /// Whether this origin writes.
    pub gate: Gate,
    /// Who copies this one.
    pub source: Option<Source>,
    follows: Option<Arc<Progress>>,
    vault: Vault,
    config: Arc<Config>,
    db: Db,
    /// What violates the policy, for Prometheus, and when that was looked at: it takes many requests.
    judged: Arc<Mutex<Option<(Stopwatch, String)>>>,
}

impl Copies {
    /// Puts it together, and starts what works by itself until `end` is true.
    ///
    /// # Errors
    ///
    /// When something of it cannot be used.
    pub async fn start(
        config: &Config,
        store: &Arc<Store>,
        db: &Db,
        metrics: &Arc<Metrics>,
        end: &watch::Receiver<bool>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), CopiesError> {
        let scratch = scratch(config);
        tidy(&scratch)?;
        if let Some(settings) = &config.tier {
            prepare(&settings.place, db).await?;
        }
        let vault = Vault::open(config)?;
        let open = |settings: &TierSettings| Tier::open(settings, Some(vault.clone()), store, db, metrics);
        let tier = config.tier.as_ref().map(open).transpose()?;
        let source = match &config.replicate {
            Some(replicate) => Some(Source {
                token: follow::token(&replicate.token_file)?,
                db: db.clone(),
                store: store.clone(),
                tier: tier.clone(),
                scratch: scratch.clone(),
                metrics: metrics.clone(),
            }),
            None => None,
        };
        let mut tasks = Vec::new();
        let mut follows = None;
        if let Some(settings) = &config.follow {
            if db.read(standing::is_fresh).await? {
                db.write(standing::begin_to_follow).await?;
            }
            let follower = Follower::new(settings, store, db, scratch)?;
            follows = Some(follower.progress.clone());
            tasks.push(tokio::spawn(follower.run(end.clone())));
        }
        // Two share a tier only where one copies the other.
        let mut gate = Gate::open();
        if let Some(tier) = &tier {
            if config.replicate.is_some() || config.follow.is_some() {
                gate = Gate::shut();
                tasks.push(tokio::spawn(gate.clone().watch(tier.bucket().clone(), db.clone(), end.clone())));
            }
            tasks.push(tokio::spawn(tier.clone().run(end.clone())));
        }
        let copies = Self {
            legacy: Legacy::open(&config.legacy, store, db, metrics)?,
            tier,
            gate,
            source,
            follows,
            vault,
            config: Arc::new(config.clone()),
            db: db.clone(),
            judged: Arc::default(),
        };
        tasks.push(tokio::spawn(copies.clone().back_up(end.clone())));
        Ok((copies, tasks))
    }

    /// Makes backups and verifies them when they are due, until `end` is true.
    async fn back_up(self, mut end: watch::Receiver<bool>) {
        loop {
            let work = async {
                let done = self.back_up_if_due().await;
                self.judge().await?;
                done
            };
            tokio::select! {
                done = work => match done {
                    // By hand, at this moment.
                    Ok(()) | Err(BackupError::Busy) => {}
                    Err(error) => tracing::error!(%error, "failed to make a backup"),
                },
                _ = end.wait_for(|end| *end) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = end.wait_for(|end| *end) => return,
            }
        }
    }

    async fn back_up_if_due(&self) -> Result<(), BackupError> {
        if self.db.read(standing::read).await?.role != Role::Writes {
            return Ok(());
        }
        if let (Some(tier), None) = (&self.tier, &self.config.backup.directory) {
            marker::check(tier.bucket(), &self.db).await?;
        }
        let (config, now) = (&self.config, clock::now());
        let (database, scratch) = (config.store.directory.join("meta.db"), scratch(config));
        let taken = take(&database, &scratch, &self.vault, &config.backup, Wanted::ByPolicy, false, now).await?;
        if matches!(taken, Taken::Made(..)) {
            survey::expunge(&self.vault, &self.db, &config.backup.retention, false, now).await?;
        }
        let last = self.db.read(|db| {
            let began: i64 = db.query_row("SELECT began FROM standing", [], |row| row.get(0))?;
            Ok(verify::reports(db)?.last().map_or(crate::model::Time(began), |(at, _)| *at))
        });
        let last = last.await?;
        if now.since(last) >= config.backup.verify_every || last > now {
            let bucket = self.tier.as_ref().map(|tier| tier.bucket());
            let share = config.backup.verify_share;
            let report = survey::verify(&self.vault, bucket, &self.db, share, &scratch, now).await?;
            for (subject, why) in &report.failures {
                tracing::error!(subject, why, "a backup is not as it should be");
            }
        }
        Ok(())
    }

    /// For Prometheus.
    pub async fn figures(&self, lines: &mut String) {
        if let Some(tier) = &self.tier
            && let Ok(figures) = tier.figures().await
        {
            for (name, says, value) in figures {
                write_metric(lines, "gauge", name, says, value);
            }
        }
        if let Some(progress) = &self.follows {
            let behind = progress.last.load(Ordering::Relaxed) - progress.line.load(Ordering::Relaxed);
            let level = progress.level.load(Ordering::Relaxed);
            let since = clock::now().since(crate::model::Time(level)).as_secs();
            let figures = [
                (
                    "follow_lines_behind",
                    "Lines of the other origin's journal that are not here.",
                    behind.unsigned_abs(),
                ),
                ("follow_lag_seconds", "So long ago, all that the other origin had was here.", since),
                ("follow_fetched_objects", "Contents that were copied.", progress.fetched.load(Ordering::Relaxed)),
            ];
            for (name, says, value) in figures {
                write_metric(lines, "gauge", name, says, value);
            }
        }
        if let Ok(standing) = self.db.read(standing::read).await {
            let writes = u64::from(standing.role == Role::Writes && self.gate.is_open());
            write_metric(lines, "gauge", "writes", "1 where this origin takes uploads.", writes);
            write_metric(
                lines,
                "gauge",
                "epoch",
                "How often another origin has begun to write.",
                standing.epoch.unsigned_abs(),
            );
        }
        if let Some((since, text)) = &*self.judged.lock().unwrap_or_else(PoisonError::into_inner) {
            lines.push_str(text);
            let seconds = since.elapsed().as_secs();
            write_metric(lines, "gauge", "backup_judged_seconds", "So long ago the backups were looked at.", seconds);
        }
    }

    async fn judge(&self) -> Result<(), BackupError> {
        let is_fresh =
            |judged: &Option<(Stopwatch, String)>| judged.as_ref().is_some_and(|(since, _)| since.elapsed() < JUDGED);
        if is_fresh(&self.judged.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let facts = survey(&self.vault, &self.db, self.tier.is_some()).await?;
        let found = violators::violations(&facts, &survey::limits(&self.config.backup), false, clock::now());
        let text = violators::prometheus(&found);
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = judged.as_ref().is_none_or(|(_, before)| *before != text);
        for violation in found.iter().filter(|_| is_news) {
            tracing::warn!(
                kind = violation.kind,
                subject = violation.subject,
                text = violation.text,
                "a backup violates the policy"
            );
        }
        *judged = Some((Stopwatch::start(), text));
        Ok(())
    }
}

/// Makes a tier of a directory that was none, and sees whether one that was is the same. A bucket that does not answer
/// may be seen later; another one than it was is none.
async fn prepare(place: &TierPlace, db: &Db) -> Result<(), CopiesError> {
    let bucket = match place {
        TierPlace::Directory(directory) if marker::known(db).await?.is_none() => Bucket::made_directory(directory)?,
        place => Bucket::open(place)?,
    };
    match marker::check(&bucket, db).await {
        Err(BucketError::Failed(why)) => {
            tracing::warn!(why, "the tier does not answer");
            Ok(())
        }
        checked => Ok(checked?),
    }
}

/// Where there is room for what is on its way.
#[must_use]
pub fn scratch(config: &Config) -> PathBuf {
    config.store.directory.join("scratch")
}
