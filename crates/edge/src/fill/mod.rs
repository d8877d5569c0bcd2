//! The fill engine: whoever wants an object gets the same one, and it is fetched once for all of them.
//!
//! ```text
//!   get ──► somebody has it open, or it is on the disk ──────────────► the object
//!     │
//!     └──► nobody has it: one asks the sources, the others wait ─────► the object, as soon as its head is there
//!                               │
//!                               └─► it may not be kept: each asks for itself, and for a while nobody waits
//! ```

mod object;
mod pending;
mod reader;
mod remember;
mod segment;
mod shown;
mod variant;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{oneshot, watch};

pub use object::{Object, ReadError};
use pending::PendingGuard;
pub use reader::{Part, Reader};
use remember::{Recent, Remembered};
pub use shown::Shown;
use variant::variant;

use crate::clock;
use crate::http::{Head, Rules, freshness, may_store};
use crate::source::{Ask, FetchError, Fetched, SIBLING, Sources, is_no_answer};
use crate::store::{Key, Store, Stored};

/// What may not be kept is remembered for so many seconds: nobody waits for another's answer meanwhile.
const REMEMBERED: u64 = 120;
/// After its source failed, something stale is served without another look for so many seconds.
const REST: u64 = 5;
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
    failures: AtomicU64,
}

#[derive(Debug)]
enum Live {
    Object(Weak<Object>),
    Pending(watch::Receiver<Option<Outcome>>),
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

/// What somebody wants.
#[derive(Clone, Debug)]
pub struct Want {
    /// The object's name: site, path and query.
    pub name: String,
    /// How to ask for the whole of it.
    pub ask: Ask,
    /// From where on it is wanted.
    pub start: u64,
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
            Some(Live::Pending(_)) | None => return None,
        };
        (object.head().varies.is_empty() && self.is_good(&object)).then_some(object)
    }

    /// What is here, fresh or not, without asking any source.
    #[must_use]
    pub fn find(&self, want: &Want) -> Option<Arc<Object>> {
        let primary = Key::of(&want.name);
        let object = self.find_key(primary, want)?;
        let head = object.head();
        if head.varies.is_empty() {
            return Some(object);
        }
        self.find_key(variant(&want.name, &head, &want.ask.headers), want)
    }

    fn find_key(&self, key: Key, want: &Want) -> Option<Arc<Object>> {
        let live = match self.live().get(&key) {
            Some(Live::Object(object)) => object.upgrade(),
            Some(Live::Pending(_)) | None => None,
        };
        if let Some(object) = live.filter(|object| self.is_good(object)) {
            return Some(object);
        }
        let stored = self.store.lookup(key)?;
        let mut live = self.live();
        match live.get(&key) {
            Some(Live::Object(object)) => {
                if let Some(object) = object.upgrade().filter(|object| self.is_good(object)) {
                    return Some(object);
                }
            }
            // Somebody is looking whether it is still good.
            Some(Live::Pending(_)) => return Some(Arc::new(Object::of(stored, want.ask.clone()))),
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
        !object.is_replaced() && (stored() || object.is_filling())
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
            match self.bring(key, want, None).await? {
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
        match self.bring(object.key, want, Some(object.clone())).await? {
            Some(got) => Ok(got),
            None => self.get(want).await,
        }
    }

    /// The same, without anybody waiting for it.
    pub fn look_again_meanwhile(self: &Arc<Self>, want: &Want, object: &Arc<Object>) {
        if object.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (engine, want, object) = (self.clone(), want.clone(), object.clone());
        tokio::spawn(async move {
            let want = Want { start: 0, ..want };
            // A failure leaves things as they are; the answer itself is of no interest here.
            let _ = engine.look_again(&want, &object).await;
            object.looking.store(false, Ordering::Release);
        });
    }

    fn key_of(&self, want: &Want) -> Key {
        let primary = Key::of(&want.name);
        match self.find_key(primary, want).map(|object| object.head()) {
            Some(head) if !head.varies.is_empty() => variant(&want.name, &head, &want.ask.headers),
            _ => primary,
        }
    }

    /// Asks the sources, or waits for the one who does. `None`: look again.
    async fn bring(
        self: &Arc<Self>,
        key: Key,
        want: &Want,
        old: Option<Arc<Object>>,
    ) -> Result<Option<Got>, FetchError> {
        let (sender, receiver) = watch::channel(None);
        let pending = {
            let mut live = self.live();
            match live.get(&key) {
                Some(Live::Pending(pending)) => Some(pending.clone()),
                Some(Live::Object(object))
                    if object.upgrade().is_some_and(|object| {
                        !object.is_replaced() && old.as_ref().is_none_or(|old| !Arc::ptr_eq(old, &object))
                    }) =>
                {
                    return Ok(None);
                }
                _ => {
                    live.insert(key, Live::Pending(receiver));
                    None
                }
            }
        };
        if let Some(mut pending) = pending {
            let outcome = match pending.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                // Whoever asked is gone without an answer.
                Err(_) => None,
            };
            return match outcome {
                Some(Outcome::Here(object)) => Ok(Some(Got::Object(object, How::Joined))),
                Some(Outcome::Uncacheable) => Ok(Some(Got::Uncacheable)),
                Some(Outcome::Failed(error)) => Err(error),
                Some(Outcome::Again) | None => Ok(None),
            };
        }
        // On its own, so that it goes on for the others when this one leaves.
        let (give, given) = oneshot::channel();
        let (engine, want) = (self.clone(), want.clone());
        tokio::spawn(async move {
            let guard = PendingGuard { engine: engine.clone(), key, old: old.clone() };
            let (outcome, response) = engine.ask_sources(key, &want, old).await;
            guard.settle(&outcome);
            let for_others = match &outcome {
                // Those who wait may want another variant.
                Outcome::Here(object) if object.key != key => Outcome::Again,
                other => other.clone(),
            };
            let _ = sender.send(Some(for_others));
            let _ = give.send((outcome, response));
        });
        match given.await {
            Ok((Outcome::Here(object), _)) => Ok(Some(Got::Object(object, How::Fetched))),
            Ok((Outcome::Uncacheable, Some(response))) => Ok(Some(Got::Pass(Box::new(response)))),
            Ok((Outcome::Uncacheable, None)) => Ok(Some(Got::Uncacheable)),
            Ok((Outcome::Failed(error), _)) => Err(error),
            Ok((Outcome::Again, _)) | Err(_) => Ok(None),
        }
    }

    async fn ask_sources(
        self: &Arc<Self>,
        key: Key,
        want: &Want,
        old: Option<Arc<Object>>,
    ) -> (Outcome, Option<Response<Incoming>>) {
        let requested = clock::unix_seconds();
        let mut start = want.start / self.options.slice_size * self.options.slice_size;
        let mut ask = want.ask.clone();
        if let Some(old) = &old {
            start = 0;
            let head = old.head();
            for (ours, theirs) in
                [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)]
            {
                if let Some(value) = head.headers.get(ours) {
                    ask.headers.insert(theirs, value.clone());
                }
            }
        }
        if start > 0 {
            let range = HeaderValue::from_str(&format!("bytes={start}-")).expect("digits are plain");
            ask.headers.insert(header::RANGE, range);
        }
        let mut fetched = self.sources.fetch(&ask, None).await;
        // Beyond the end, or of something that has none: what there is can be told from its beginning.
        if start > 0
            && fetched.as_ref().is_ok_and(|fetched| fetched.response.status() == StatusCode::RANGE_NOT_SATISFIABLE)
        {
            ask.headers.remove(header::RANGE);
            start = 0;
            fetched = self.sources.fetch(&ask, None).await;
        }
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                self.note_failure();
                if let Some(old) = &old {
                    self.failing.insert(old.key);
                }
                return (Outcome::Failed(error), None);
            }
        };
        self.take(key, want, &ask, old, fetched, start, requested)
    }

    /// Decides what to do with an answer.
    #[expect(clippy::too_many_arguments, reason = "all that is known of one answer")]
    fn take(
        self: &Arc<Self>,
        key: Key,
        want: &Want,
        ask: &Ask,
        old: Option<Arc<Object>>,
        fetched: Fetched,
        start: u64,
        requested: u64,
    ) -> (Outcome, Option<Response<Incoming>>) {
        let now = clock::unix_seconds();
        let status = fetched.response.status();
        let (parts, body) = fetched.response.into_parts();
        let head = Head::received(&parts, requested, now);
        if let Some(old) = old {
            if status == StatusCode::NOT_MODIFIED {
                self.refresh(&old, &head, &want.name);
                return (Outcome::Here(old), None);
            }
            let usable = freshness(&old.head(), &self.options.rules, now).is_usable_on_error();
            if is_no_answer(status) && usable {
                self.failing.insert(old.key);
                return (Outcome::Failed(FetchError::Unreachable(format!("it answered {status}"))), None);
            }
            old.replaced.store(true, Ordering::Release);
        }
        let response = Response::from_parts(parts, body);
        let extent = segment::extent(&response);
        let fits = match (&extent, status) {
            (Some((range, total)), StatusCode::PARTIAL_CONTENT) => start > 0 && range.start == start && total.is_some(),
            (Some(_), _) => true,
            (None, _) => false,
        };
        let stores = |asked: &HeaderMap| may_store(&ask.method, asked, &head, &self.options.rules);
        if !fits || !stores(&ask.headers) {
            // Where this client alone asked so that it may not be kept, nothing changes for the others.
            if !fits || !stores(&HeaderMap::new()) {
                self.store.remove(key);
                if status.as_u16() < 400 {
                    self.note_uncacheable(key);
                }
            }
            // What was asked for in part is of no use to somebody who wants another part.
            let whole = start == 0 && status != StatusCode::PARTIAL_CONTENT;
            return (Outcome::Uncacheable, whole.then_some(response));
        }
        let (range, length) = extent.expect("it fits");
        let key = match self.place(key, want, &head) {
            Some(key) => key,
            None => return (Outcome::Uncacheable, (start == 0).then_some(response)),
        };
        let plain = Ask { headers: want.ask.headers.clone(), ..ask.clone() };
        let slice_log2 = u8::try_from(self.options.slice_size.trailing_zeros()).expect("at most 63");
        let object = Arc::new(Object::new(key, plain, Some(fetched.source), head, slice_log2));
        {
            let mut state = object.state();
            state.length = length;
            state.no_ranges = start > 0 && status != StatusCode::PARTIAL_CONTENT;
        }
        if let Some(length) = length {
            // What a sibling keeps is kept here, too, from the second time on.
            let admits = match fetched.source {
                SIBLING => self.store.asked_before(key),
                _ => self.store.admits(key),
            };
            if let Some(stored) = admits.then(|| self.create_as(&object, length, &want.name)).flatten() {
                object.set_stored(stored);
            } else {
                // What was there is not what the source has now.
                self.store.remove(key);
            }
        }
        insert(&mut self.live(), key, &object);
        let number = segment::register(&object, range.start).expect("it has no stream yet");
        // Stands for those who wait, until they are there.
        let welcome = object.add_reader(want.start);
        let waiting = object.clone();
        tokio::spawn(async move {
            tokio::time::sleep(WELCOME).await;
            waiting.remove_reader(welcome);
        });
        let end = length.map(|_| range.end);
        let stream = segment::Stream {
            object: object.clone(),
            number,
            body: response.into_body(),
            read_timeout: fetched.read_timeout,
            end,
        };
        let engine = self.clone();
        tokio::spawn(async move { segment::run(&engine, stream).await });
        (Outcome::Here(object), None)
    }

    /// Under which key an answer belongs: its own for each variant, with a marker under the name.
    fn place(&self, key: Key, want: &Want, head: &Head) -> Option<Key> {
        let mut varies: Vec<String> = Vec::new();
        for value in head.headers.get_all(header::VARY) {
            let names = value.to_str().ok()?.split(',').map(|name| name.trim().to_ascii_lowercase());
            varies.extend(names.filter(|name| !name.is_empty()));
        }
        varies.sort();
        varies.dedup();
        if varies.is_empty() {
            return Some(key);
        }
        let primary = Key::of(&want.name);
        if let Some(marker) = self.store.lookup(primary).map(|stored| Head::stored(&stored.meta()))
            && marker.varies == varies
        {
            return Some(variant(&want.name, &marker, &want.ask.headers));
        }
        let mut marker = Head {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            requested: head.requested,
            received: head.received,
            varies,
        };
        // Variants of an earlier marker are not found any more: a purge removes the marker alone.
        let mut salt = [0; 8];
        aws_lc_rs::rand::fill(&mut salt).expect("the kernel has random numbers");
        let salt = format!("{:016x}", u64::from_le_bytes(salt));
        marker.headers.insert(header::ETAG, HeaderValue::from_str(&salt).expect("digits are plain"));
        let stored = self.store.create(primary, marker.to_meta(&want.name), 0).ok()?;
        let object = Arc::new(Object::of(stored, want.ask.clone()));
        if key != primary {
            insert(&mut self.live(), primary, &object);
        }
        Some(variant(&want.name, &marker, &want.ask.headers))
    }

    fn refresh(&self, old: &Arc<Object>, fresh: &Head, name: &str) {
        let head = old.head().refreshed(fresh);
        if let Some(stored) = old.stored()
            && self.store.update(stored, head.to_meta(name)).is_err()
        {
            tracing::debug!("a head was not written; it counts until the next start");
        }
        old.set_head(head);
        self.failing.remove(old.key);
    }

    pub(crate) fn create_stored(&self, object: &Object, length: u64) -> Option<Arc<Stored>> {
        let name = format!("{}{}", object.ask.host, object.ask.target);
        self.store.admits(object.key).then(|| self.create_as(object, length, &name)).flatten()
    }

    fn create_as(&self, object: &Object, length: u64, name: &str) -> Option<Arc<Stored>> {
        match self.store.create(object.key, object.head().to_meta(name), length) {
            Ok(stored) => Some(stored),
            Err(error) => {
                tracing::debug!(%error, "an object is not stored");
                None
            }
        }
    }

    /// The object is not what its source has any more: nobody gets it from now on.
    pub(crate) fn drop_generation(&self, object: &Arc<Object>) {
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
            self.store.remove(object.key);
        }
    }

    /// Forgets an object and its variants. Returns whether anything was known of it.
    pub fn purge(&self, name: &str) -> bool {
        let key = Key::of(name);
        let live = match self.live().get(&key) {
            Some(Live::Object(object)) => object.upgrade(),
            Some(Live::Pending(_)) | None => None,
        };
        let was_live = live.is_some_and(|object| {
            self.drop_generation(&object);
            true
        });
        self.store.remove(key) || was_live
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
            Live::Pending(_) => true,
        });
    }
    live.insert(key, Live::Object(Arc::downgrade(object)));
}
