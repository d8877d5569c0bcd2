//! Taking over, and following again.

use super::{Failure, failed, say, with_database};
use crate::config::Config;
use crate::db::Db;
use crate::follow::follower::Follower;
use crate::follow::promote::{Because, promote as take_over};
use crate::follow::standing;
use crate::tier::bucket::Bucket;

/// This one writes from now on.
pub(super) fn promote(config: &Config, old_is_off: bool) -> Result<(), Failure> {
    let path = config.store.directory.join("meta.db");
    if !path.exists() {
        return Err(failed(&format!("there is no {}", path.display())));
    }
    let db = Db::open(&path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let done = runtime.block_on(async {
        let follower = match &config.follow {
            // It asks and tells, and receives nothing.
            Some(settings) => Some(Follower::to_ask(settings, &db).map_err(|error| failed(&error))?),
            None => None,
        };
        let bucket = match &config.tier {
            Some(tier) => Some(Bucket::open(&tier.place).map_err(|error| failed(&error))?),
            None => None,
        };
        take_over(&db, follower.as_ref(), bucket.as_ref(), old_is_off).await.map_err(|error| failed(&error))
    });
    db.close();
    let (epoch, because) = done?;
    let because = match because {
        Because::ItAgreed => "the other one has agreed",
        Because::ItsLeaseIsOver => "the other one's lease is over",
        Because::APersonSaysSo => "you say that the other one is off",
    };
    say(&format!("this origin writes from now on, as epoch {epoch}: {because}"));
    Ok(())
}

/// This one follows from now on.
pub(super) fn again(config: &Config, again: bool) -> Result<(), Failure> {
    if config.follow.is_none() {
        return Err(Failure(2, "there is no [follow] that says whom".to_owned()));
    }
    if !again {
        return Err(Failure(2, "the rows that are here will be replaced; say --again if they may".to_owned()));
    }
    with_database(config, |db| {
        standing::begin_to_follow(db)?;
        standing::read(db)
    })?;
    say("this origin follows from now on; it copies everything when it runs");
    Ok(())
}
