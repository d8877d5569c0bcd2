//! What has to be done beside the requests: names whose time is over, content that nobody needs, content that no row
//! knows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::{self, Stopwatch};
use crate::crash;
use crate::db::{Db, DbError, links, resumable};
use crate::follow::gate::Gate;
use crate::follow::standing::{self, Role};
use crate::metrics::Metrics;
use crate::model::{Sha256, Time};
use crate::store::{FOLDERS, Store};

/// Between looks at what is over.
const PAUSE: Duration = Duration::from_secs(10);
/// Between looks through all content.
const ROUND: Duration = Duration::from_secs(24 * 3600);
/// Content that no row knows is left alone for so long.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// A removed name is remembered for so long, so that nobody else gets it.
const MEMORY: Duration = Duration::from_secs(90 * 24 * 3600);
/// In one transaction.
const SOME: u32 = 200;
/// What the clock may be off against the monotonic one, between two looks.
const STEP: Duration = Duration::from_secs(300);
/// After a step of the clock nothing expires for so long.
const HOLD: Duration = Duration::from_secs(3600);
/// Nothing happened for so long before the start, or else the clock is not to be trusted yet.
const SILENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Tidies up until it is told to end.
#[derive(Debug)]
pub struct Janitor {
    /// The bytes.
    pub store: Arc<Store>,
    /// The rows.
    pub db: Db,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Told when something was removed.
    pub wake: Arc<Notify>,
    /// Whether this origin writes.
    pub gate: Gate,
    /// Whether names that were removed are forgotten at last: a legacy source would bring them back.
    pub forgets: bool,
}

impl Janitor {
    /// Works until `end` is true.
    pub async fn run(self, mut end: watch::Receiver<bool>) {
        let last = self.db.read(links::last_change).await.ok().flatten();
        let mut guard = ClockGuard::new(clock::now(), last);
        let mut since_round: Option<Stopwatch> = None;
        loop {
            if let Err(error) = self.tidy(&mut guard).await {
                tracing::error!(%error, "failed to tidy up");
            }
            if since_round.is_none_or(|since| since.elapsed() > ROUND) {
                since_round = Some(Stopwatch::start());
                self.look_through(&end).await;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(PAUSE) => {}
                _ = end.wait_for(|end| *end) => return,
            }
        }
    }

    async fn tidy(&self, guard: &mut ClockGuard) -> Result<(), DbError> {
        let now = clock::now();
        let is_steady = guard.is_steady(now);
        let writes = self.gate.is_open() && self.db.read(standing::read).await?.role == Role::Writes;
        if is_steady && writes {
            while self.db.read(move |db| links::is_any_over(db, now)).await? {
                self.db.write(move |db| links::expire(db, now, SOME)).await?;
            }
            self.forget_unfinished(now).await?;
            let before = Time(now.0.saturating_sub(i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX)));
            if self.forgets && self.db.read(move |db| links::forgettable(db, before)).await? {
                self.db.write(move |db| links::forget(db, before, SOME)).await?;
            }
        }
        loop {
            let doomed = self.db.read(|db| links::doomed(db, SOME)).await?;
            if doomed.is_empty() {
                return Ok(());
            }
            for sha256 in doomed {
                self.bury(sha256).await?;
            }
        }
    }

    /// Forgets uploads in parts of which nothing came for long.
    async fn forget_unfinished(&self, now: Time) -> Result<(), DbError> {
        loop {
            let over = self.db.read(move |db| resumable::over(db, now, SOME)).await?;
            if over.is_empty() {
                return Ok(());
            }
            for hash in over {
                // Whoever is at it sees that the row is gone.
                self.db.write(move |db| resumable::forget(db, &hash)).await?;
                let store = self.store.clone();
                let removed = tokio::task::spawn_blocking(move || store.remove_resumable(&hash)).await;
                removed
                    .map_err(|error| DbError::Other(error.to_string()))?
                    .map_err(|error| DbError::Other(error.to_string()))?;
            }
        }
    }

    /// Removes parts of uploads that no row knows, or that are published already: a crash has left them.
    ///
    /// # Errors
    ///
    /// When they cannot be looked for or removed.
    pub async fn remove_leftovers(&self) -> Result<(), DbError> {
        let other = |error: String| DbError::Other(error);
        let store = self.store.clone();
        let all = tokio::task::spawn_blocking(move || store.all_resumable()).await;
        let all = all.map_err(|error| other(error.to_string()))?.map_err(|error| other(error.to_string()))?;
        for hash in all {
            if !self.db.read(move |db| resumable::is_unfinished(db, &hash)).await? {
                let store = self.store.clone();
                let removed = tokio::task::spawn_blocking(move || store.remove_resumable(&hash)).await;
                removed.map_err(|error| other(error.to_string()))?.map_err(|error| other(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Removes content, unless somebody has uploaded it again.
    async fn bury(&self, sha256: Sha256) -> Result<(), DbError> {
        let held = self.store.exclude(&sha256).await;
        let known = self.db.read(move |db| links::is_known(db, &sha256)).await?;
        if !known {
            let store = self.store.clone();
            crash::point("burying");
            let removed = tokio::task::spawn_blocking(move || store.remove(&sha256, &held).map(|()| held)).await;
            match removed {
                Ok(Ok(_held)) => {
                    crash::point("buried");
                    self.metrics.removed_objects.add(1);
                    return self.db.write(move |db| links::undoom(db, &sha256)).await;
                }
                Ok(Err(error)) => return Err(DbError::Other(error.to_string())),
                Err(error) => return Err(DbError::Other(error.to_string())),
            }
        }
        self.db.write(move |db| links::undoom(db, &sha256)).await
    }

    /// Looks for content that no row knows: what a crash between the rename and the commit has left. It is put aside,
    /// and not removed: a database that was put back from a copy may be older than the content.
    async fn look_through(&self, end: &watch::Receiver<bool>) {
        for number in 0..FOLDERS {
            if *end.borrow() {
                return;
            }
            let store = self.store.clone();
            let Ok(listed) = tokio::task::spawn_blocking(move || store.in_folder(number)).await else { return };
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::warn!(%error, "failed to look through the content");
                    continue;
                }
            };
            let now = clock::now();
            let old = listed.into_iter().filter(|(_, written)| now.since((*written).into()) > GRACE);
            let old: Vec<Sha256> = old.map(|(sha256, _)| sha256).collect();
            let unknown = match self.db.read(move |db| links::unknown(db, old)).await {
                Ok(unknown) => unknown,
                Err(error) => return tracing::warn!(%error, "failed to ask which content is known"),
            };
            for sha256 in unknown {
                if let Err(error) = self.put_aside(sha256).await {
                    tracing::warn!(%error, "failed to put content aside that no row knows");
                }
            }
        }
    }

    async fn put_aside(&self, sha256: Sha256) -> Result<(), DbError> {
        let held = self.store.exclude(&sha256).await;
        // It may have been uploaded since.
        if self.db.read(move |db| links::is_known(db, &sha256)).await? {
            return Ok(());
        }
        let store = self.store.clone();
        let moved = tokio::task::spawn_blocking(move || store.quarantine(&sha256, &held)).await;
        moved.map_err(|error| DbError::Other(error.to_string()))?.map_err(|error| DbError::Other(error.to_string()))?;
        tracing::warn!(%sha256, "content that no row knows is in quarantine now");
        self.metrics.quarantined_objects.add(1);
        Ok(())
    }
}

/// Whether the wall clock is to be trusted with removing things: one that jumps years ahead must not empty the store.
#[derive(Debug)]
struct ClockGuard {
    wall: Time,
    since: Stopwatch,
    /// Since the clock was last seen to step.
    holding: Option<Stopwatch>,
}

impl ClockGuard {
    fn new(now: Time, last_change: Option<Time>) -> Self {
        let odd = last_change.is_some_and(|last| now < last || now.since(last) > SILENCE);
        if odd {
            tracing::warn!("the clock is far from when something was last done here: nothing expires for an hour");
        }
        Self { wall: now, since: Stopwatch::start(), holding: odd.then(Stopwatch::start) }
    }

    fn is_steady(&mut self, now: Time) -> bool {
        let passed = self.since.elapsed();
        self.is_steady_after(now, passed)
    }

    fn is_steady_after(&mut self, now: Time, passed: Duration) -> bool {
        let (early, late) = (self.wall.after(passed.saturating_sub(STEP)), self.wall.after(passed + STEP));
        let stepped = now > late || now < early && now.after(STEP) < self.wall.after(passed);
        if stepped {
            tracing::warn!(to = %now.rfc3339(), "the clock has stepped: nothing expires for an hour");
            self.holding = Some(Stopwatch::start());
        }
        (self.wall, self.since) = (now, Stopwatch::start());
        if self.holding.is_some_and(|since| since.elapsed() > HOLD) {
            self.holding = None;
        }
        self.holding.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_795_256_158_000);

    #[test]
    fn a_clock_that_jumps_removes_nothing() {
        let minute = Duration::from_secs(60);
        let steady = |last, steps: &[(i64, u64)]| {
            let mut guard = ClockGuard::new(NOW, last);
            let (mut wall, mut all) = (NOW, true);
            for (wall_seconds, passed) in steps {
                wall = Time(wall.0 + wall_seconds * 1000);
                all = guard.is_steady_after(wall, Duration::from_secs(*passed));
            }
            all
        };
        assert!(steady(None, &[(10, 10), (10, 10)]));
        assert!(steady(Some(NOW), &[(10, 10), (70, 10)]));
        assert!(!steady(Some(NOW), &[(86_400 * 365, 10)]));
        assert!(!steady(Some(NOW), &[(-86_400, 10)]));
        // It is still not trusted a little later.
        assert!(!steady(Some(NOW), &[(86_400 * 365, 10), (10, 10)]));
        assert!(!steady(Some(Time(0)), &[(10, 10)]));
        assert!(!steady(Some(NOW.after(minute)), &[(10, 10)]));
    }
}
