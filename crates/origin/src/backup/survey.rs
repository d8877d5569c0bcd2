//! What the commands and the server both do with backups: look at all of it, verify, expunge.

use std::path::Path;

use super::chain::Id;
use super::expunge::expunged;
use super::retention::Retention;
use super::vault::Vault;
use super::verify::Report;
use super::violators::{Content, Facts, Limits, Verified};
use super::{BackupError, verify};
use crate::config::Backup;
use crate::db::{Db, replicas};
use crate::follow::standing::{self, Role};
use crate::model::Time;
use crate::tier::bucket::Bucket;

/// Leftovers younger than this may be somebody's work.
const AT_WORK: i64 = 24 * 3_600_000;

/// Looks at everything that a judgement needs.
///
/// # Errors
///
/// When the database cannot be read. That the backups cannot be reached is a fact, and no error.
pub async fn survey(vault: &Vault, db: &Db, has_tier: bool) -> Result<Facts, BackupError> {
    let looked = async { Ok::<_, BackupError>((vault.chains().await?, vault.pinned().await?)) }.await;
    let (chains, pinned, unreachable) = match looked {
        Ok((chains, pinned)) => (chains, pinned, None),
        Err(error) => (Vec::new(), std::collections::BTreeSet::new(), Some(error.to_string())),
    };
    let read = db.read(move |db| {
        let role = standing::read(db)?.role;
        let since: i64 = db.query_row("SELECT began FROM standing", [], |row| row.get(0))?;
        let last = verify::reports(db)?.pop();
        let lag = replicas::lag(db)?;
        let (needed, dropped): (Vec<_>, Vec<_>) = replicas::bad(db)?.into_iter().partition(|(_, _, needed)| *needed);
        let plain = |bad: Vec<(crate::model::Sha256, String, bool)>| {
            bad.into_iter().map(|(sha256, why, _)| (sha256.to_string(), why)).collect()
        };
        let content = Content {
            waiting: lag.waiting,
            oldest: lag.oldest,
            error: lag.error,
            bad: plain(needed),
            bad_dropped: plain(dropped),
        };
        Ok((role, Time(since), last, content))
    });
    let (role, since, last, content) = read.await?;
    Ok(Facts {
        unreachable,
        chains,
        pinned,
        verified: last.map(|(at, report)| Verified { at, failures: report.failures }),
        content: has_tier.then_some(content),
        since,
        writes: role == Role::Writes,
    })
}

/// How old things may become.
#[must_use]
pub fn limits(policy: &Backup) -> Limits {
    Limits {
        full_every: policy.full_every,
        incremental_every: policy.incremental_every,
        verify_every: policy.verify_every,
        grace: policy.violator_grace,
    }
}

/// Reads backups and content back, restores for trial, and remembers what was found.
///
/// # Errors
///
/// When there is no answer at all.
pub async fn verify(
    vault: &Vault,
    bucket: Option<&Bucket>,
    db: &Db,
    share: u32,
    scratch: &Path,
    now: Time,
) -> Result<Report, BackupError> {
    let mut report = Report::default();
    verify::backups(vault, share, scratch, &mut report).await?;
    if let Some(bucket) = bucket {
        verify::content(bucket, db, share, now, &mut report).await?;
    }
    verify::note(db, &report, now).await?;
    Ok(report)
}

/// Removes what the rules do not keep, and what those who died have left; gives what that was, or would be.
///
/// # Errors
///
/// When it cannot be listed or removed.
pub async fn expunge(
    vault: &Vault,
    db: &Db,
    rules: &Retention,
    dry: bool,
    now: Time,
) -> Result<(Vec<Id>, Vec<String>), BackupError> {
    let chains = vault.chains().await?;
    let pinned = vault.pinned().await?;
    let verified = verify::drilled(&db.read(|db| Ok(verify::reports(db)?)).await?);
    let gone = expunged(&chains, &pinned, &verified, rules, now);
    let left = vault.leftovers(Time(now.0 - AT_WORK)).await?;
    if !dry {
        for id in &gone {
            vault.remove(id).await?;
        }
        for key in &left {
            vault.remove_leftover(key).await?;
        }
    }
    Ok((gone, left))
}
