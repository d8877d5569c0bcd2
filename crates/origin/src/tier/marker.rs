//! Whether this is the tier that it was: a mark in it, and the same one in the database. A directory where another disk
//! should be mounted would be taken for a tier otherwise, and what is in it for safe.

use rusqlite::OptionalExtension as _;

use super::bucket::{Bucket, BucketError};
use crate::db::{Db, DbError};

const KEY: &str = "meta/tier.json";

/// The mark that this origin's tier has, if it ever saw one.
///
/// # Errors
///
/// When it cannot be read.
pub async fn known(db: &Db) -> Result<Option<i64>, DbError> {
    let read = db
        .read(|db| Ok(db.query_row("SELECT value FROM marks WHERE name = 'tier'", [], |row| row.get(0)).optional()?));
    read.await
}

/// Compares the marks. One that is new gets one; an origin that is new takes over the one that is there.
///
/// # Errors
///
/// When it is not the tier that it was, or cannot be reached.
pub async fn check(bucket: &Bucket, db: &Db) -> Result<(), BucketError> {
    let known = known(db).await.map_err(|error| BucketError::Failed(error.to_string()))?;
    let there = match bucket.get(KEY, 4096).await {
        Ok(bytes) => serde_json::from_slice::<serde_json::Value>(&bytes).ok().and_then(|mark| mark["tier"].as_i64()),
        Err(BucketError::Missing(_)) => None,
        Err(error) => return Err(error),
    };
    let mark = match (known, there) {
        (Some(known), Some(there)) if known == there => return Ok(()),
        (Some(_), _) => {
            let why = "it is not the tier that it was; is the right one mounted?".to_owned();
            return Err(BucketError::Wrong { key: format!("{KEY} at {}", bucket.name()), why });
        }
        (None, Some(there)) => there,
        (None, None) => {
            let mut bytes = [0; 8];
            aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
            let mark = i64::from_be_bytes(bytes).unsigned_abs().cast_signed().max(0);
            bucket.put(KEY, serde_json::json!({ "tier": mark }).to_string().into()).await?;
            mark
        }
    };
    let noted = db.write(move |db| {
        db.execute("INSERT OR REPLACE INTO marks (name, value) VALUES ('tier', ?1)", [mark])?;
        Ok(())
    });
    noted.await.map_err(|error| BucketError::Failed(error.to_string()))
}
