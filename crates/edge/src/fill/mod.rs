//! The fill engine: whoever wants an object gets the same one, and it is fetched once for all of them.
//!
//! ```text
//!   get ──► somebody has it open, or it is on the disk ──────────────► the object
//!     │
//!     └──► nobody has it: one asks the sources, the others wait ─────► the object, as soon as its head is there
//!                               │
//!                               └─► it may not be kept: each asks for itself, and for a while nobody waits
//! ```

mod bring;
mod inspect;
mod object;
mod pending;
mod purge;
mod reader;
mod remember;
mod segment;
mod shown;
mod variant;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};

pub use object::{Object, ReadError};
pub use reader::{Part, Reader};
use remember::{Recent, Remembered};
pub use shown::Shown;
use variant::variant;

use crate::http::{Head, Rules};
use crate::source::{Ask, FetchError, Sources};
use crate::store::{Key, Meta, Store, Stored};

/// What may not be kept is remembered for so many seconds: nobody waits for another's answer meanwhile.
const REMEMBERED: u64 = 120;
/// After its source failed, something stale is served without another look for so many seconds.
const REST: u64 = 5;
/// Threads that may wait for the disk to take something, and to give something. The others go without.
const WRITERS: usize = 64;
const READERS: usize = 128;
/// How long anybody waits for the disk before it is taken for silent.
pub(crate) const DISK: Duration = Duration::from_secs(2);
/// The first stream runs for so long before it is noticed that nobody reads.
const WELCOME: Duration = Duration::from_secs(2);

/// How the engine is to behave.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What the operator decided about freshness.
    pub rules: Rules,
    /// A power of two.
    pub slice_size: u64,
    /// A stream that is silent for so long while somebody waits for it is replaced.
    pub stall: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) options: EngineOptions,
    live: Mutex<BTreeMap<Key, Live>>,
    uncacheable: Remembered,
    failing: Remembered,
    recent: Recent,
    /// Those who may wait for the disk at once.
    pub(crate) writers: Arc<Semaphore>,
    pub(crate) readers: Arc<Semaphore>,
    failures: AtomicU64,
}

#[derive(Debug)]
enum Live {
    Object(Weak<Object>),
    /// Somebody is asking; `far`: perhaps a sibling.
    Pending {
        outcome: watch::Receiver<Option<Outcome>>,
        far: bool,
    },
}

/// What became of asking the sources, for those who waited.
#[derive(Clone, Debug)]
enum Outcome {
    Here(Arc<Object>),
    /// Look again: it has variants.
    Again,
    Uncacheable,
    Failed(FetchError),
}

/// What is here already of what is asked for.
#[derive(Clone, Debug)]
enum Old {
    /// Nothing.
    None,
    /// All of it, perhaps, but it may have changed.
    Again(Arc<Object>),
    /// It is good, and goes as far as this.
    Beginning(Arc<Object>, u64),
}

impl Old {
    fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Self::None => None,
            Self::Again(object) | Self::Beginning(object, _) => Some(object),
        }
    }
}

/// What somebody wants.
#[derive(Clone, Debug)]
pub struct Want {
    /// The object's name: site, path and query.
    pub name: String,
    /// How to ask for the whole of it.
    pub ask: Ask,
    /// From where on it is wanted.
    pub start: u64,
    /// Only so many bytes at its end are.
    pub last: Option<u64>,
    /// It is wanted for a sibling.
    pub near: bool,
}

/// How an object was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was here.
    Here,
    /// Somebody else had asked for it.
    Joined,
    /// It was asked for now.
    Fetched,
    /// Its end was asked for now, and what its source gave for that are these bytes.
    Given(u64, u64),
}

/// What somebody gets.
#[derive(Debug)]
pub enum Got {
    /// The object.
    Object(Arc<Object>, How),
    /// An answer for this one alone. It is of the whole.
    Pass(Box<Response<Incoming>>),
    /// It may not be kept: ask for yourself.
    Uncacheable,
}

impl Engine {
    /// Over this store and these sources.
    #[must_use]
    pub fn new(store: Arc<Store>, sources: Arc<Sources>, options: EngineOptions) -> Arc<Self> {
        Arc::new(Self {
            store,
            sources,
            options,
            live: Mutex::default(),
            uncacheable: Remembered::for_seconds(REMEMBERED),
            failing: Remembered::for_seconds(REST),
            recent: Recent::default(),
            writers: Arc::new(Semaphore::new(WRITERS)),
            readers: Arc::new(Semaphore::new(READERS)),
            failures: AtomicU64::new(0),
        })
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<Key, Live>> {
        self.live.lock().expect("no thread panics while it holds this")
    }

    /// What is open already under this name and has no variants, fresh or not.
    #[must_use]
    pub fn find_open(&self, name: &str) -> Option<Arc<Object>> {
        let object = match self.live().get(&Key::of(name)) {
            Some(Live::Object(object)) => object.upgrade()?,
            Some(Live::Pending { .. }) | None => return None,
        };
        (object.head().varies.is_empty() && self.is_good(&object)).then_some(object)
    }

    /// What is here, fresh or not, without asking any source.
    #[must_use]
    pub fn find(self: &Arc<Self>, want: &Want) -> Option<Arc<Object>> {
        let primary = Key::of(&want.name);
        let object = self.find_key(primary, want)?;
        let head = object.head();
        if head.varies.is_empty() {
            return Some(object);
        }
        self.find_key(variant(&want.name, &head, &want.ask.headers), want)
    }

    fn find_key(self: &Arc<Self>, key: Key, want: &Want) -> Option<Arc<Object>> {
        let live = match self.live().get(&key) {
            Some(Live::Object(object)) => object.upgrade(),
            Some(Live::Pending { .. }) | None => None,
        };
        if let Some(object) = live {
            if self.is_good(&object) {
                return Some(object);
            }
            if self.is_purged(&object) {
                self.drop_generation(&object);
            }
        }
        let stored = self.store.lookup(key)?;
        if self.is_purged(&Object::of(stored.clone(), want.ask.clone())) {
            self.forget(key);
            return None;
        }
        let mut live = self.live();
        match live.get(&key) {
            Some(Live::Object(object)) => {
                if let Some(object) = object.upgrade().filter(|object| self.is_good(object)) {
                    return Some(object);
                }
            }
            // Somebody is looking whether it is still good.
            Some(Live::Pending { .. }) => return Some(Arc::new(Object::of(stored, want.ask.clone()))),
            None => {}
        }
        let object = Arc::new(Object::of(stored, want.ask.clone()));
        insert(&mut live, key, &object);
        drop(live);
        self.recent.push(&object);
        Some(object)
    }

    /// All of its body, where it is small, stored and in memory. Asking counts as wanting it.
    #[must_use]
    pub fn at_hand(&self, object: &Object) -> Option<Bytes> {
        self.store.at_hand(object.stored()?)
    }

    /// Whether it can be given out. What has been evicted meanwhile can only while it comes in again: what is fetched
    /// for it could not be stored.
    fn is_good(&self, object: &Object) -> bool {
        let stored = || object.stored().is_none_or(|stored| self.store.is_current(stored));
        !object.is_replaced() && (stored() || object.is_filling()) && !self.is_purged(object)
    }

    /// The object, from wherever it is. What is here is given as it is, stale or not.
    ///
    /// # Errors
    ///
    /// When no source answers.
    pub async fn get(self: &Arc<Self>, want: &Want) -> Result<Got, FetchError> {
        for _ in 0..4 {
            if let Some(object) = self.find(want) {
                return Ok(Got::Object(object, How::Here));
            }
            let key = self.key_of(want);
            if self.uncacheable.contains(key) {
                return Ok(Got::Uncacheable);
            }
            match self.bring(key, want, Old::None).await? {
                Some(got) => return Ok(got),
                None => continue,
            }
        }
        Ok(Got::Uncacheable)
    }

    /// Asks the sources whether `object` is still good, and gives what is good now. All who ask at once share one
    /// answer.
    ///
    /// # Errors
    ///
    /// When no source answers.
    pub async fn look_again(self: &Arc<Self>, want: &Want, object: &Arc<Object>) -> Result<Got, FetchError> {
        match self.bring(object.key, want, Old::Again(object.clone())).await? {
            Some(got) => Ok(got),
            None => self.get(want).await,
        }
    }

    /// Whether only a small beginning of it is here, of which more may have to be asked for.
    #[must_use]
    pub fn is_beginning(&self, object: &Object) -> bool {
        object.beginning(&self.store, u64::MAX).is_some()
    }

    /// Where only a beginning of `object` is here, and more of it is wanted, asks the sources for what is missing before
    /// anything is promised. `None`: nothing has to be asked.
    ///
    /// # Errors
    ///
    /// When no source answers.
    pub async fn complete(self: &Arc<Self>, want: &Want, object: &Arc<Object>) -> Option<Result<Got, FetchError>> {
        if want.last.is_some() {
            return None;
        }
        let from = object.beginning(&self.store, u64::MAX).filter(|end| want.start <= *end)?;
        match self.bring(object.key, want, Old::Beginning(object.clone(), from)).await {
            Ok(Some(got)) => Some(Ok(got)),
            Ok(None) => Some(self.get(want).await),
            Err(error) => Some(Err(error)),
        }
    }

    /// The same, without anybody waiting for it.
    pub fn look_again_meanwhile(self: &Arc<Self>, want: &Want, object: &Arc<Object>) {
        if object.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (engine, want, object) = (self.clone(), want.clone(), object.clone());
        tokio::spawn(async move {
            let want = Want { start: 0, last: None, ..want };
            // A failure leaves things as they are; the answer itself is of no interest here.
            let _ = engine.look_again(&want, &object).await;
            object.looking.store(false, Ordering::Release);
        });
    }

    fn key_of(self: &Arc<Self>, want: &Want) -> Key {
        let primary = Key::of(&want.name);
        match self.find_key(primary, want).map(|object| object.head()) {
            Some(head) if !head.varies.is_empty() => variant(&want.name, &head, &want.ask.headers),
            _ => primary,
        }
    }

    fn refresh(self: &Arc<Self>, old: &Arc<Object>, fresh: &Head, name: &str) {
        let head = old.head().refreshed(fresh);
        if let Some(stored) = old.stored().cloned() {
            self.store.update(&stored, head.to_meta(name));
            self.beside(move |store| {
                if let Err(error) = store.write_head(&stored) {
                    tracing::debug!(%error, "a head was not written; it counts until the next start");
                }
            });
        }
        old.set_head(head);
        self.failing.remove(old.key);
    }

    /// Makes a place for an object whose length is known now.
    pub(crate) async fn make_place(self: &Arc<Self>, object: &Object, length: u64) -> bool {
        // One place for all streams of an object.
        let _held = object.placing.lock().await;
        if object.is_stored() {
            return true;
        }
        let meta = object.head().to_meta(&object.ask.name());
        match self.create(object.key, meta, length).await {
            Some(stored) => {
                object.set_stored(stored);
                true
            }
            None => false,
        }
    }

    async fn create(self: &Arc<Self>, key: Key, meta: Meta, length: u64) -> Option<Arc<Stored>> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let created = self.on_disk({
            let abandoned = abandoned.clone();
            move |store| store.create_unless(key, meta, length, &abandoned)
        });
        match tokio::time::timeout(DISK, created).await {
            Ok(Some(Ok(stored))) => Some(stored),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "an object is not stored");
                None
            }
            Ok(None) => None,
            Err(_) => {
                abandoned.store(true, Ordering::Relaxed);
                tracing::warn!("the cache's disk does not answer; what is fetched is not stored");
                None
            }
        }
    }

    /// Does something on the disk, which may take its time, on a thread that may wait. `None`: too many wait already.
    fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        let permit = self.writers.clone().try_acquire_owned().ok();
        let store = self.store.clone();
        let running = permit.map(|permit| {
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                work(&store)
            })
        });
        async move { running?.await.ok() }
    }

    /// The same, without anybody waiting for it.
    fn beside(self: &Arc<Self>, work: impl FnOnce(&Store) + Send + 'static) {
        drop(self.on_disk(work));
    }

    /// What is on the disk under this key is of no use any more.
    fn forget(self: &Arc<Self>, key: Key) -> bool {
        let removed = self.store.remove(key);
        if removed {
            self.beside(Store::flush);
        }
        removed
    }

    /// The object is not what its source has any more: nobody gets it from now on.
    pub(crate) fn drop_generation(self: &Arc<Self>, object: &Arc<Object>) {
        object.replaced.store(true, Ordering::Release);
        {
            let mut live = self.live();
            if let Some(Live::Object(known)) = live.get(&object.key)
                && std::ptr::eq(known.as_ptr(), Arc::as_ptr(object))
            {
                live.remove(&object.key);
            }
        }
        if object.stored().is_some_and(|stored| !stored.is_replaced()) {
            self.forget(object.key);
        }
    }

    /// Whether the source failed a moment ago to tell whether this is still good.
    #[must_use]
    pub fn is_failing(&self, object: &Object) -> bool {
        self.failing.contains(object.key)
    }

    pub(crate) fn note_uncacheable(&self, key: Key) {
        self.uncacheable.insert(key);
    }
}

fn insert(live: &mut BTreeMap<Key, Live>, key: Key, object: &Arc<Object>) {
    // Now and then those go that nobody holds any more.
    if live.len() >= 4096 && live.len().is_power_of_two() {
        live.retain(|_, known| match known {
            Live::Object(object) => object.strong_count() > 0,
            Live::Pending { .. } => true,
        });
    }
    live.insert(key, Live::Object(Arc::downgrade(object)));
}
