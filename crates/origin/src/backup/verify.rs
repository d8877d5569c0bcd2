//! Whether backups are any good: read back, and restored for trial.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BackupError;
use super::chain::Id;
use super::restore;
use super::vault::Vault;
use crate::db::Db;
use crate::model::{Sha256, Time};
use crate::tier::bucket::{Bucket, BucketError, Scratch, object_key};

/// What was looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Backups whose content was read and compared.
    pub backups_read: u64,
    /// The full one that was restored for trial.
    pub drill: Option<String>,
    /// Content whose size was compared.
    pub content_sized: u64,
    /// Content that was read and compared.
    pub content_read: u64,
    /// What is wrong: with what, and what.
    pub failures: Vec<(String, String)>,
}

/// Looks at backups: all of the newest chain, and of the others a random share; restores the newest for trial.
///
/// # Errors
///
/// When there is no answer at all.
pub async fn backups(vault: &Vault, share: u32, scratch: &Path, report: &mut Report) -> Result<(), BackupError> {
    let chains = vault.chains().await?;
    let newest = chains.iter().filter(|chain| !chain.good.is_empty()).max_by_key(|chain| chain.good[0].1.taken);
    let newest = newest.map(|chain| chain.full.clone());
    for chain in &chains {
        report.failures.extend(chain.broken.iter().map(|(id, why)| (id.to_string(), why.clone())));
        for (id, manifest) in &chain.good {
            if Some(&chain.full) == newest.as_ref() || is_chosen(share) {
                report.backups_read += 1;
                if let Err(error) = vault.check(id, manifest).await {
                    report.failures.push((id.to_string(), error.to_string()));
                }
            }
        }
    }
    let Some(last) = chains.iter().find(|chain| Some(&chain.full) == newest.as_ref()).and_then(|chain| chain.last())
    else {
        return Ok(());
    };
    let folder = Scratch::inside(scratch)?;
    let target = restore::target_of(&chains, &last.0)?;
    match restore::database(vault, &target, &folder.file("drill.db"), scratch).await {
        Ok(()) => report.drill = Some(last.0.full.clone()),
        Err(error) => report.failures.push((last.0.to_string(), format!("it cannot be restored: {error}"))),
    }
    Ok(())
}

/// Looks at content in the tier: the sizes of all by a list, and a random share read and compared. What is not there, or
/// is not right, is noted, and sent again if this machine still has it.
///
/// # Errors
///
/// When the tier cannot be listed, or the database not be written.
pub async fn content(bucket: &Bucket, db: &Db, share: u32, now: Time, report: &mut Report) -> Result<(), BackupError> {
    let known = db.read(|db| {
        let mut statement = db.prepare(
            "SELECT sha256, size FROM replicas WHERE state = 'verified' AND dropped IS NULL ORDER BY sha256",
        )?;
        let rows = statement.query_map([], |row| Ok((Sha256(row.get(0)?), row.get::<_, u64>(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
    });
    let known = known.await?;
    // Listed after the rows were read: what came since is there and not asked for.
    let listed = bucket.list("objects/").await?;
    let listed: std::collections::BTreeMap<String, u64> =
        listed.into_iter().map(|item| (item.key, item.size)).collect();
    for (sha256, size) in known {
        let key = object_key(&sha256);
        report.content_sized += 1;
        let wrong = match listed.get(&key) {
            None => Some("it is not there".to_owned()),
            Some(found) if *found != size => Some(format!("it has {found} bytes, and should have {size}")),
            Some(_) if is_chosen(share) => {
                report.content_read += 1;
                match bucket.digest(&key).await {
                    Ok((found, length)) if (found, length) == (sha256, size) => None,
                    Ok((found, length)) => Some(format!("{length} bytes with the SHA-256 {found} came back")),
                    Err(BucketError::Missing(_)) => Some("it is not there".to_owned()),
                    // That it does not answer says nothing about what it has.
                    Err(error) => {
                        report.failures.push((sha256.to_string(), format!("it cannot be read: {error}")));
                        None
                    }
                }
            }
            Some(_) => None,
        };
        if let Some(why) = wrong {
            report.failures.push((sha256.to_string(), why.clone()));
            db.write(move |db| {
                db.execute(
                    "UPDATE replicas SET state = 'bad', error = ?2, due = 0, verified = NULL WHERE sha256 = ?1",
                    (sha256.0, &why),
                )?;
                db.execute("UPDATE objects SET place = 'local' WHERE sha256 = ?1 AND place = 'both'", [sha256.0])?;
                Ok(())
            })
            .await?;
        }
    }
    let found = report.clone();
    note(db, &found, now).await
}

/// Remembers what was found.
///
/// # Errors
///
/// When it cannot be written.
pub async fn note(db: &Db, report: &Report, now: Time) -> Result<(), BackupError> {
    let text = serde_json::to_string(report).map_err(|error| BackupError::Other(error.to_string()))?;
    db.write(move |db| {
        db.execute("INSERT OR REPLACE INTO checks (at, report) VALUES (?1, ?2)", (now.0, &text))?;
        db.execute("DELETE FROM checks WHERE at NOT IN (SELECT at FROM checks ORDER BY at DESC LIMIT 100)", [])?;
        Ok(())
    })
    .await?;
    Ok(())
}

/// All that `verify` found lately, newest last.
///
/// # Errors
///
/// When it cannot be read.
pub fn reports(db: &rusqlite::Connection) -> rusqlite::Result<Vec<(Time, Report)>> {
    let mut statement = db.prepare("SELECT at, report FROM checks ORDER BY at")?;
    let rows = statement.query_map([], |row| Ok((Time(row.get(0)?), row.get::<_, String>(1)?)))?;
    let rows: rusqlite::Result<Vec<(Time, String)>> = rows.collect();
    Ok(rows?.into_iter().filter_map(|(at, text)| Some((at, serde_json::from_str(&text).ok()?))).collect())
}

/// Full ones that were restored for trial, by those reports.
#[must_use]
pub fn drilled(reports: &[(Time, Report)]) -> BTreeSet<String> {
    let good = |report: &&(Time, Report)| {
        let drill = report.1.drill.as_deref().unwrap_or_default();
        !report.1.failures.iter().any(|(subject, _)| subject.parse::<Id>().is_ok_and(|id| id.full == drill))
    };
    reports.iter().filter(good).filter_map(|(_, report)| report.drill.clone()).collect()
}

/// With so many chances in a hundred.
fn is_chosen(share: u32) -> bool {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    u64::from(u32::from_be_bytes(bytes)) * 100 < u64::from(share) << 32
}
