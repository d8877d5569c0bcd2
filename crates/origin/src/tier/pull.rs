//! Back from the tier: one fetch for all who wait for it, which they read while it comes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::watch;

use super::Tier;
use super::bucket::{BucketError, digest, object_key};
use crate::clock;
use crate::crash;
use crate::db::replicas;
use crate::model::{Object, Sha256};
use crate::store::{Staging, StoreError};

/// Of what comes, so much is written at once.
const BATCH: usize = 1 << 20;
/// A fetch that breaks off is taken up again so often, after growing pauses.
const TRIES: u32 = 4;
/// Whoever wants something further ahead than this gets it straight from the tier.
const AHEAD: u64 = 4 << 20;

/// A fetch under way.
#[derive(Debug)]
pub(super) struct Flight {
    progress: watch::Receiver<Progress>,
    file: OnceLock<File>,
}

#[derive(Clone, Debug)]
struct Progress {
    written: u64,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Coming,
    /// All is there, and is what it should be.
    Whole,
    /// There is no room for it here.
    NoRoom,
    /// It did not come, or something else did.
    Failed(Arc<str>),
}

/// Content that is not on this disk. It is fetched when it is first read.
#[derive(Debug)]
pub struct Pull {
    tier: Arc<Tier>,
    sha256: Sha256,
    size: u64,
    flight: OnceLock<Arc<Flight>>,
    straight: tokio::sync::Mutex<Option<Straight>>,
}

/// What comes straight from the tier, and where it has come to.
struct Straight {
    stream: BoxStream<'static, Result<Bytes, BucketError>>,
    rest: Bytes,
    at: u64,
    /// Of all of it, where it began at the beginning.
    context: Option<Context>,
}

impl std::fmt::Debug for Straight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Straight").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Tier {
    /// Content that this disk does not have; nothing where the tier is known not to have it either.
    #[must_use]
    pub fn pull(self: &Arc<Self>, object: &Object) -> Option<Pull> {
        if self.absent.has(&object.sha256) {
            return None;
        }
        Some(Pull {
            tier: self.clone(),
            sha256: object.sha256,
            size: object.size,
            flight: OnceLock::new(),
            straight: tokio::sync::Mutex::default(),
        })
    }

    /// The fetch of this content: the one that is under way, or a new one. It goes on when nobody waits any more.
    fn flight(self: &Arc<Self>, sha256: Sha256, size: u64) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose task has died tells nobody anything.
        if let Some(flight) = flights.get(&sha256).filter(|flight| flight.progress.has_changed().is_ok()) {
            return flight.clone();
        }
        let (send, progress) = watch::channel(Progress { written: 0, state: State::Coming });
        let flight = Arc::new(Flight { progress, file: OnceLock::new() });
        flights.insert(sha256, flight.clone());
        let (tier, shared) = (self.clone(), flight.clone());
        tokio::spawn(async move {
            let state = tier.fetch(sha256, size, &send, &shared).await;
            // First out of the list: who comes now finds the file, or begins anew.
            tier.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&sha256);
            send.send_modify(|progress| progress.state = state);
        });
        flight
    }

    async fn fetch(&self, sha256: Sha256, size: u64, send: &watch::Sender<Progress>, flight: &Flight) -> State {
        match self.try_to_fetch(sha256, size, send, flight).await {
            Ok(()) => State::Whole,
            Err(FetchError::NoRoom) => State::NoRoom,
            Err(FetchError::Gone) => State::Failed("it was removed meanwhile".into()),
            Err(FetchError::Bad(why)) => {
                self.metrics.failed_pulls.add(1);
                self.metrics.tier_mismatches.add(1);
                tracing::error!(%sha256, why, "the tier does not have what it should");
                let (now, text) = (clock::now(), why.clone());
                let noted = self.db.write(move |db| replicas::failed(db, &sha256, true, &text, now)).await;
                if let Err(error) = noted {
                    tracing::error!(%error, "failed to note that the tier does not have what it should");
                }
                self.absent.add(sha256);
                State::Failed(why.into())
            }
            Err(FetchError::Failed(why)) => {
                self.metrics.failed_pulls.add(1);
                tracing::warn!(%sha256, why, "failed to fetch content from the tier");
                State::Failed(why.into())
            }
        }
    }

    async fn try_to_fetch(
        &self,
        sha256: Sha256,
        size: u64,
        send: &watch::Sender<Progress>,
        flight: &Flight,
    ) -> Result<(), FetchError> {
        let (store, mut staging) = (self.store.clone(), self.store.stage());
        let begun = tokio::task::spawn_blocking(move || {
            // Who looked for it before it was in its place may ask for it after it is.
            if let Ok(file) = store.open_object(&sha256, size) {
                return Ok((file, None));
            }
            let room = store.reserve(size)?;
            let file = staging.share()?;
            Ok::<_, StoreError>((file, Some((room, staging))))
        });
        let (file, begun) = begun.await.map_err(FetchError::other)??;
        let _ = flight.file.set(file);
        let Some((mut room, mut staging)) = begun else { return Ok(()) };
        let mut tries = 0;
        while staging.size() < size || (size == 0 && tries == 0) {
            let before = staging.size();
            let broke = self.take_some(sha256, size, &mut staging, &mut room, send).await;
            match broke {
                Ok(()) => tries += 1,
                Err(FetchError::Failed(why)) => {
                    tries = if staging.size() > before { 1 } else { tries + 1 };
                    if tries >= TRIES {
                        return Err(FetchError::Failed(why));
                    }
                    tokio::time::sleep(Duration::from_millis(100) * (1 << tries)).await;
                }
                Err(error) => return Err(error),
            }
            if tries >= TRIES {
                return Err(FetchError::Failed("it ends early".to_owned()));
            }
        }
        let staged = tokio::task::spawn_blocking(move || staging.finish()).await.map_err(FetchError::other)??;
        if (staged.sha256, staged.size) != (sha256, size) {
            return Err(FetchError::Bad(format!("{} bytes with the SHA-256 {} came back", staged.size, staged.sha256)));
        }
        crash::point("pulled");
        let held = self.store.share([sha256]).await;
        if !self.db.read(move |db| replicas::is_remote(db, &sha256)).await.map_err(FetchError::other)? {
            // Removed, or uploaded again: either way this one is not needed. It is what it should be, though.
            return if self.store.path(&sha256).is_file() { Ok(()) } else { Err(FetchError::Gone) };
        }
        let store = self.store.clone();
        let placed = tokio::task::spawn_blocking(move || store.place(staged, &held).map(|()| held)).await;
        let _held = placed.map_err(FetchError::other)??;
        crash::point("pull-placed");
        self.db.write(move |db| replicas::came_back(db, &sha256)).await.map_err(FetchError::other)?;
        crash::point("pull-noted");
        self.metrics.pulled_objects.add(1);
        self.metrics.pulled_bytes.add(size);
        Ok(())
    }

    /// As much as comes before the connection breaks.
    async fn take_some(
        &self,
        sha256: Sha256,
        size: u64,
        staging: &mut Staging,
        room: &mut crate::store::Reservation,
        send: &watch::Sender<Progress>,
    ) -> Result<(), FetchError> {
        let key = object_key(&sha256);
        let from = staging.size();
        let range = (from > 0).then_some(from..size);
        let (there, mut stream) = self.bucket.stream(&key, range).await.map_err(|error| match error {
            BucketError::Missing(_) => FetchError::Bad("it is not there".to_owned()),
            error => FetchError::Failed(error.to_string()),
        })?;
        if there != size {
            return Err(FetchError::Bad(format!("it has {there} bytes, and should have {size}")));
        }
        loop {
            let mut waiting = Vec::new();
            let mut bytes = 0;
            let mut ended = None;
            while bytes < BATCH && ended.is_none() {
                match stream.try_next().await {
                    Ok(Some(chunk)) => {
                        bytes += chunk.len();
                        waiting.push(chunk);
                        // Somebody waits for the first of it.
                        if staging.size() == 0 {
                            break;
                        }
                    }
                    Ok(None) => ended = Some(Ok(())),
                    Err(error) => ended = Some(Err(FetchError::Failed(error.to_string()))),
                }
            }
            if staging.size() + bytes as u64 > size {
                return Err(FetchError::Bad(format!("more than {size} bytes came back")));
            }
            room.written(bytes as u64)?;
            let mut taken = std::mem::replace(staging, self.store.stage());
            let written = tokio::task::spawn_blocking(move || taken.write(&waiting).map(|()| taken)).await;
            *staging = written.map_err(FetchError::other)??;
            send.send_modify(|progress| progress.written = staging.size());
            if let Some(ended) = ended {
                return ended;
            }
        }
    }
}

enum FetchError {
    NoRoom,
    /// Nobody needs it any more.
    Gone,
    /// The tier has something else, or nothing.
    Bad(String),
    Failed(String),
}

impl FetchError {
    fn other(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::NoRoom,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Pull {
    /// Some of the content, of which all up to `until` will be wanted. Its last byte is not given before all of it was
    /// compared: whoever reads to the end has what was uploaded.
    ///
    /// # Errors
    ///
    /// When it cannot be had, or is not what it should be.
    pub async fn read(&self, range: Range<u64>, until: u64) -> io::Result<Bytes> {
        let flight = self.flight.get_or_init(|| self.tier.flight(self.sha256, self.size)).clone();
        let mut progress = flight.progress.clone();
        loop {
            let (written, state) = {
                let seen = progress.borrow_and_update();
                (seen.written, seen.state.clone())
            };
            match state {
                State::Failed(why) => return Err(io::Error::other(format!("the tier: {why}"))),
                State::NoRoom => return self.straight(range, until).await,
                State::Whole => return read(&flight, range).await,
                State::Coming if range.end <= written.min(self.size.saturating_sub(1)) => {
                    return read(&flight, range).await;
                }
                // What is wanted is far ahead of what has come: nobody shall wait for all that is before it.
                State::Coming if range.start > written + AHEAD => return self.straight(range, until).await,
                State::Coming => {}
            }
            if progress.changed().await.is_err() {
                return Err(io::Error::other("the fetch from the tier has ended"));
            }
        }
    }

    /// Waits until all of it is here, or it is certain that it can be passed on only.
    ///
    /// # Errors
    ///
    /// When it cannot be had, or is not what it should be.
    pub async fn settled(&self) -> io::Result<()> {
        let flight = self.flight.get_or_init(|| self.tier.flight(self.sha256, self.size)).clone();
        let mut progress = flight.progress.clone();
        let settled = progress.wait_for(|progress| progress.state != State::Coming).await;
        match settled.map(|progress| progress.state.clone()) {
            Ok(State::Failed(why)) => Err(io::Error::other(format!("the tier: {why}"))),
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("the fetch from the tier has ended")),
        }
    }

    async fn straight(&self, range: Range<u64>, until: u64) -> io::Result<Bytes> {
        let mut kept = self.straight.lock().await;
        if kept.as_ref().is_none_or(|straight| straight.at != range.start) {
            let (there, stream) = self
                .tier
                .bucket
                .stream(&object_key(&self.sha256), Some(range.start..until))
                .await
                .map_err(io::Error::other)?;
            if there != self.size {
                return Err(io::Error::other(format!("the tier has {there} bytes of {}", self.size)));
            }
            let context = (range.start == 0).then(|| Context::new(&SHA256));
            *kept = Some(Straight { stream, rest: Bytes::new(), at: range.start, context });
        }
        let straight = kept.as_mut().expect("begun above");
        let wanted = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut found = Vec::with_capacity(wanted);
        while found.len() < wanted {
            if straight.rest.is_empty() {
                let next = straight.stream.try_next().await.map_err(io::Error::other)?;
                straight.rest = next.ok_or_else(|| io::Error::other("the tier: it ends early"))?;
            }
            let taken = straight.rest.split_to(straight.rest.len().min(wanted - found.len()));
            found.extend_from_slice(&taken);
        }
        straight.at = range.end;
        if let Some(context) = &mut straight.context {
            context.update(&found);
            if range.end == self.size {
                let context = straight.context.take().expect("seen above");
                if digest(context) != self.sha256 {
                    self.tier.metrics.tier_mismatches.add(1);
                    return Err(io::Error::other("the tier: other bytes came back"));
                }
            }
        }
        Ok(found.into())
    }
}

async fn read(flight: &Arc<Flight>, range: Range<u64>) -> io::Result<Bytes> {
    let flight = flight.clone();
    let read = tokio::task::spawn_blocking(move || {
        let file = flight.file.get().ok_or_else(|| io::Error::other("there is no file"))?;
        let mut buffer = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
        file.read_exact_at(&mut buffer, range.start)?;
        Ok(buffer.into())
    });
    read.await.map_err(io::Error::other)?
}
