//! Taking over: from now on this one writes, and the other one does not.

use std::time::Duration;

use super::follower::Follower;
use super::gate::{self, Epoch, LEASE};
use super::standing::{self, Role, Standing};
use crate::db::{Db, DbError};
use crate::tier::bucket::Bucket;

/// What clocks of two machines may differ in, over a lease.
const MARGIN: Duration = Duration::from_secs(5);

/// How it is known that the other one does not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It said so.
    ItAgreed,
    /// It has not seen its epoch in the tier for longer than it may write without.
    ItsLeaseIsOver,
    /// A person says that it is off, and will not be on again before it can reach this one.
    APersonSaysSo,
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// It writes already.
    #[error("this origin writes already, as epoch {0}")]
    Writes(i64),
    /// Nobody knows whether the other one writes.
    #[error("it is not known that the other origin does not write: {0}; switch it off, and say --old-is-off")]
    Unknown(String),
    /// Somebody else takes over at the same time.
    #[error("{by} has taken over as epoch {epoch}")]
    Another {
        /// Who.
        by: String,
        /// As which.
        epoch: i64,
    },
    /// The database.
    #[error("the database: {0}")]
    Db(#[from] DbError),
}

/// Makes the origin whose database this is the one that writes. `follower` reaches the other one; `bucket` is the tier,
/// if both have the same.
///
/// # Errors
///
/// When it is not certain that the other one does not write.
pub async fn promote(
    db: &Db,
    follower: Option<&Follower>,
    bucket: Option<&Bucket>,
    old_is_off: bool,
) -> Result<(i64, Because), PromoteError> {
    let own = db.read(standing::read).await?;
    if own.role == Role::Writes {
        return Err(PromoteError::Writes(own.epoch));
    }
    let other = match follower {
        Some(follower) => follower.other().await.map_err(|error| error.to_string()),
        None => Err("there is no [follow] that says where it is".to_owned()),
    };
    let there = match bucket {
        Some(bucket) => gate::read(bucket).await.map_err(|error| error.to_string()),
        None => Err("there is no tier that both have".to_owned()),
    };
    let seen = [
        Some(own.epoch),
        other.as_ref().ok().map(|other| other.epoch),
        there.as_ref().ok().and_then(|there| there.as_ref().map(|there| there.epoch)),
    ];
    let epoch = seen.into_iter().flatten().max().unwrap_or(1) + 1;
    // In the tier first: whatever the other one does from now on, it finds it there.
    let mut in_the_tier = Err("there is no tier that both have".to_owned());
    if let Some(bucket) = bucket {
        let mine = Epoch { epoch, origin: own.origin.clone() };
        in_the_tier = gate::write(bucket, &mine).await.map_err(|error| error.to_string());
    }
    let is_ours = |other: &Standing| other.fenced_by.as_deref() == Some(own.origin.as_str());
    let agreed = match (follower, &other) {
        // Its word counts only while it is the one that writes, or where it has given it to this one before.
        (Some(follower), Ok(other)) if other.role == Role::Writes || is_ours(other) => {
            let other = follower.fence(epoch, &own.origin).await.map_err(|error| error.to_string());
            other.and_then(|other| match other.role {
                Role::Fenced if is_ours(&other) => Ok(()),
                Role::Writes => Err(format!("it writes as epoch {}", other.epoch)),
                Role::Fenced | Role::Follows => Err(format!("it has agreed to another one, for epoch {}", other.epoch)),
            })
        }
        (_, Ok(other)) => Err(format!("it does not write; another one may, as epoch {}", other.epoch)),
        (_, Err(why)) => Err(why.clone()),
    };
    let because = match (&agreed, &in_the_tier) {
        (Ok(()), _) => Because::ItAgreed,
        // Whether there was a lease at all, the epoch that stood there tells.
        (Err(_), Ok(())) if there.as_ref().is_ok_and(Option::is_some) => {
            tracing::info!(seconds = (LEASE + MARGIN).as_secs(), "waiting for the other one's lease to end");
            tokio::time::sleep(LEASE + MARGIN).await;
            Because::ItsLeaseIsOver
        }
        _ if old_is_off => Because::APersonSaysSo,
        (Err(why), Ok(())) => return Err(PromoteError::Unknown(format!("{why}; and no epoch stood in the tier"))),
        (Err(why), Err(tier)) => return Err(PromoteError::Unknown(format!("{why}; {tier}"))),
    };
    if let (Some(bucket), Ok(())) = (bucket, &in_the_tier) {
        match gate::read(bucket).await {
            Ok(Some(there)) if there.epoch == epoch && there.origin == own.origin => {}
            Ok(Some(there)) => return Err(PromoteError::Another { by: there.origin, epoch: there.epoch }),
            Ok(None) => return Err(PromoteError::Unknown("the epoch in the tier has vanished".to_owned())),
            Err(error) => return Err(PromoteError::Unknown(error.to_string())),
        }
    }
    db.write(move |db| standing::promote(db, epoch)).await?;
    tracing::warn!(epoch, ?because, "this origin writes from now on");
    Ok((epoch, because))
}
