//! Asking the sources for an object, once for all who want it, and what becomes of their answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{oneshot, watch};

use super::object::Object;
use super::pending::PendingGuard;
use super::purge::purge_keys;
use super::{Engine, Got, How, Live, Old, Outcome, WELCOME, Want, insert, segment, variant};
use crate::clock;
use crate::http::{Head, freshness, may_store, same_generation, strong_validator};
use crate::source::{Ask, FetchError, Fetched, Part, SIBLING, is_no_answer, segment_of};
use crate::store::Key;

/// Where those are registered who ask for a sibling, while others ask a sibling.
const NEAR: u64 = u64::MAX;

/// One answer of a source, and what led to it.
struct Answered {
    fetched: Fetched,
    /// As it was sent, without the range.
    ask: Ask,
    part: Part,
    requested: u64,
    /// The last purge before it was asked for.
    purges: u64,
}

impl Engine {
    /// Asks the sources, or waits for the one who does. `None`: look again.
    pub(super) async fn bring(self: &Arc<Self>, key: Key, want: &Want, old: Old) -> Result<Option<Got>, FetchError> {
        let (sender, receiver) = watch::channel(None);
        let far = !want.near && self.sources.is_elsewhere(&want.name, want.start);
        // Who asks for a sibling waits for nobody who may be asking one: they might be waiting for each other.
        let slot = if want.near { key.derived(NEAR) } else { key };
        let pending = {
            let mut live = self.live();
            let waits = [key, key.derived(NEAR)].into_iter().find_map(|slot| match live.get(&slot) {
                Some(Live::Pending { outcome, far }) if !(want.near && *far) => Some(outcome.clone()),
                _ => None,
            });
            let other = match live.get(&key) {
                Some(Live::Object(object)) => object.upgrade().is_some_and(|object| {
                    self.is_good(&object) && old.object().is_none_or(|old| !Arc::ptr_eq(old, &object))
                }),
                _ => false,
            };
            if waits.is_none() && other {
                return Ok(None);
            }
            if waits.is_none() {
                live.insert(slot, Live::Pending { outcome: receiver, far });
            }
            waits
        };
        if let Some(mut pending) = pending {
            let outcome = match pending.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                // Whoever asked is gone without an answer.
                Err(_) => None,
            };
            return match outcome {
                // It may have been asked for before a purge, which this one comes after.
                Some(Outcome::Here(object)) if self.is_purged(&object) => Ok(None),
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
            let guard = PendingGuard { engine: engine.clone(), key: slot, old: old.object().cloned() };
            let (outcome, how, response) = engine.ask_sources(key, &want, old).await;
            guard.settle(&outcome);
            let for_others = match &outcome {
                // Those who wait may want another variant.
                Outcome::Here(object) if object.key != key => Outcome::Again,
                other => other.clone(),
            };
            let _ = sender.send(Some(for_others));
            let _ = give.send((outcome, how, response));
        });
        match given.await {
            Ok((Outcome::Here(object), how, _)) => Ok(Some(Got::Object(object, how))),
            Ok((Outcome::Uncacheable, _, Some(response))) => Ok(Some(Got::Pass(Box::new(response)))),
            Ok((Outcome::Uncacheable, _, None)) => Ok(Some(Got::Uncacheable)),
            Ok((Outcome::Failed(error), ..)) => Err(error),
            Ok((Outcome::Again, ..)) | Err(_) => Ok(None),
        }
    }

    async fn ask_sources(
        self: &Arc<Self>,
        key: Key,
        want: &Want,
        old: Old,
    ) -> (Outcome, How, Option<Response<Incoming>>) {
        let requested = clock::unix_seconds();
        let purges = self.store.purges().count();
        let mut ask = want.ask.clone();
        let mut part = match (&old, want.last) {
            (Old::Again(_), _) => Part::From(0),
            (Old::Beginning(_, from), _) => Part::From(*from),
            (Old::None, Some(count)) => Part::Last(count),
            (Old::None, None) => Part::From(want.start / self.options.slice_size * self.options.slice_size),
        };
        match &old {
            Old::None => {}
            Old::Again(old) => {
                let head = old.head();
                for (ours, theirs) in
                    [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)]
                {
                    if let Some(value) = head.headers.get(ours) {
                        ask.headers.insert(theirs, value.clone());
                    }
                }
            }
            Old::Beginning(old, _) => {
                if let Some(validator) = strong_validator(&old.head().headers) {
                    ask.headers.insert(header::IF_RANGE, validator.clone());
                }
            }
        }
        let mut fetched = self.fetch(&ask, part, want.near).await;
        // Beyond the end, or of something that has none: what there is can be told from its beginning.
        let is_beyond = |fetched: &Fetched| {
            let ranged = part != Part::From(0) || fetched.source == SIBLING;
            ranged && fetched.response.status() == StatusCode::RANGE_NOT_SATISFIABLE
        };
        if fetched.as_ref().is_ok_and(is_beyond) {
            ask.headers.remove(header::IF_RANGE);
            part = Part::From(0);
            fetched = match fetched {
                // Of something empty, a sibling can only be asked as a whole.
                Ok(Fetched { source: SIBLING, .. }) if want.start == 0 => {
                    self.fetch(&ask, Part::AsAsked, want.near).await
                }
                _ => self.fetch(&ask, part, want.near).await,
            };
        }
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                if !matches!(error, FetchError::Impossible) {
                    self.note_failure();
                }
                if let Old::Again(old) = &old {
                    self.failing.insert(old.key);
                }
                return (Outcome::Failed(error), How::Fetched, None);
            }
        };
        self.take(key, want, old, Answered { fetched, ask, part, requested, purges }).await
    }

    async fn fetch(&self, ask: &Ask, part: Part, near: bool) -> Result<Fetched, FetchError> {
        let purges = self.store.purges();
        let lately = |headers: &HeaderMap| !purges.is_empty() && purges.lately(&purge_keys(&ask.name(), headers));
        if near || lately(&HeaderMap::new()) {
            return self.sources.fetch_from_sources(ask, part, None).await;
        }
        match self.sources.fetch(ask, part, None).await {
            // What a sibling has may be from before the purge.
            Ok(fetched) if fetched.source == SIBLING && lately(fetched.response.headers()) => {
                self.sources.fetch_from_sources(ask, part, None).await
            }
            fetched => fetched,
        }
    }

    /// Decides what to do with an answer.
    async fn take(
        self: &Arc<Self>,
        key: Key,
        want: &Want,
        old: Old,
        answered: Answered,
    ) -> (Outcome, How, Option<Response<Incoming>>) {
        let Answered { fetched, ask, part, requested, purges } = answered;
        let now = clock::unix_seconds();
        let status = fetched.response.status();
        let (parts, body) = fetched.response.into_parts();
        let head = Head { purges, ..Head::received(&parts, requested, now) };
        let response = Response::from_parts(parts, body);
        let extent = match part {
            Part::Last(count) => segment::extent_of_end(&response, count),
            Part::AsAsked | Part::From(_) => segment::extent(&response),
        };
        if let Some(old) = old.object() {
            if status == StatusCode::NOT_MODIFIED {
                self.refresh(old, &head, &want.name);
                return (Outcome::Here(old.clone()), How::Fetched, None);
            }
            let usable = freshness(&old.head(), &self.options.rules, now).is_usable_on_error();
            if is_no_answer(status) && usable {
                self.failing.insert(old.key);
                let error = FetchError::Unreachable(format!("it answered {status}"));
                return (Outcome::Failed(error), How::Fetched, None);
            }
            let far = fetched.source == SIBLING;
            if part != Part::From(0)
                && status == StatusCode::PARTIAL_CONTENT
                && let Some((range, total)) = &extent
                && part == Part::From(range.start)
                && *total == old.length()
                && same_generation(&old.head().headers, response.headers())
                && let Some(number) = segment::register_after(old, range.start, far)
            {
                self.stream(old, number, range.end, response, fetched.read_timeout, far, want.start).await;
                return (Outcome::Here(old.clone()), How::Fetched, None);
            }
            old.replaced.store(true, Ordering::Release);
        }
        let start = if let Part::From(start) = part { start } else { 0 };
        let fits = match (&extent, status) {
            (Some((range, total)), StatusCode::PARTIAL_CONTENT) => {
                total.is_some() && (matches!(part, Part::Last(_)) || range.start == start)
            }
            (Some(_), _) => true,
            (None, _) => false,
        };
        let stores = |asked: &HeaderMap| may_store(&ask.method, asked, &head, &self.options.rules);
        if !fits || !stores(&ask.headers) {
            // Where this client alone asked so that it may not be kept, nothing changes for the others.
            if !fits || !stores(&HeaderMap::new()) {
                self.forget(key);
                if status.as_u16() < 400 {
                    self.note_uncacheable(key);
                }
            }
            return (Outcome::Uncacheable, How::Fetched, whole(response, part, extent));
        }
        let (range, length) = extent.clone().expect("it fits");
        let key = match self.place(key, want, &head).await {
            Some(key) => key,
            None => return (Outcome::Uncacheable, How::Fetched, whole(response, part, extent)),
        };
        let far = fetched.source == SIBLING;
        let given = matches!(part, Part::Last(_)) && status == StatusCode::PARTIAL_CONTENT;
        let how = if given { How::Given(range.start, range.end) } else { How::Fetched };
        // Somebody else may have brought it meanwhile, from elsewhere.
        let object = match self.same_as_live(key, &head, length, old.object()) {
            Some(object) => object,
            None => {
                let plain = Ask { headers: want.ask.headers.clone(), ..ask }.lasting();
                let slice_log2 = u8::try_from(self.options.slice_size.trailing_zeros()).expect("at most 63");
                let object = Arc::new(Object::new(key, plain, Some(fetched.source), head, slice_log2));
                {
                    let mut state = object.state();
                    state.length = length;
                    state.no_ranges = part != Part::From(0) && status != StatusCode::PARTIAL_CONTENT;
                }
                // What was there is not what the source has now.
                self.forget(key);
                insert(&mut self.live(), key, &object);
                object
            }
        };
        if given {
            self.recent.push(&object);
            if let Some(range) = response.headers().get(header::CONTENT_RANGE) {
                object.set_given(range.clone());
            }
        }
        if let Some(number) = segment::register(&object, range.start, far, want.near) {
            let wanted = if given { range.start } else { want.start };
            self.stream(&object, number, range.end, response, fetched.read_timeout, far, wanted).await;
        }
        (Outcome::Here(object), how, None)
    }

    /// Lets a stream run for an object, with somebody who stands for those who wait until they are there.
    #[expect(clippy::too_many_arguments, reason = "all that is known of one stream")]
    async fn stream(
        self: &Arc<Self>,
        object: &Arc<Object>,
        number: u64,
        end: u64,
        response: Response<Incoming>,
        read_timeout: std::time::Duration,
        far: bool,
        wanted: u64,
    ) {
        let at = object.state().segment(number).map_or(0, |segment| segment.position);
        let keeps = self.keeps(object, far, at).await;
        if let Some(segment) = object.state().segment(number) {
            segment.keeps = keeps;
        }
        let welcome = object.add_reader(wanted);
        let waiting = object.clone();
        tokio::spawn(async move {
            tokio::time::sleep(WELCOME).await;
            waiting.remove_reader(welcome);
        });
        let end = object.length().map(|_| end);
        let stream = segment::Stream { object: object.clone(), number, body: response.into_body(), read_timeout, end };
        let engine = self.clone();
        tokio::spawn(async move { segment::run(&engine, stream).await });
    }

    /// Whether what a stream brings is to be stored; makes a place for it where there is none. What a sibling keeps is
    /// kept here, too, from the second time on.
    pub(super) async fn keeps(self: &Arc<Self>, object: &Arc<Object>, far: bool, position: u64) -> bool {
        let Some(length) = object.length() else { return false };
        if object.is_replaced() {
            return false;
        }
        let admits = match far {
            true => self.store.asked_before(object.key.derived(segment_of(position))),
            false => object.is_stored() || self.store.admits(object.key),
        };
        admits && (object.is_stored() || self.make_place(object, length).await)
    }

    /// What is read at this moment, if it is just this.
    fn same_as_live(
        &self,
        key: Key,
        head: &Head,
        length: Option<u64>,
        old: Option<&Arc<Object>>,
    ) -> Option<Arc<Object>> {
        let live = match self.live().get(&key) {
            Some(Live::Object(object)) => object.upgrade()?,
            _ => return None,
        };
        let same = length.is_some()
            && old.is_none_or(|old| !Arc::ptr_eq(old, &live))
            && self.is_good(&live)
            && live.length() == length
            && live.head().status == head.status
            && same_generation(&live.head().headers, &head.headers);
        same.then_some(live)
    }

    /// Under which key an answer belongs: its own for each variant, with a marker under the name.
    async fn place(self: &Arc<Self>, key: Key, want: &Want, head: &Head) -> Option<Key> {
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
            purges: head.purges,
        };
        // Variants of an earlier marker are not found any more: a purge removes the marker alone.
        let mut salt = [0; 8];
        aws_lc_rs::rand::fill(&mut salt).expect("the kernel has random numbers");
        let salt = format!("{:016x}", u64::from_le_bytes(salt));
        marker.headers.insert(header::ETAG, HeaderValue::from_str(&salt).expect("digits are plain"));
        let stored = self.create(primary, marker.to_meta(&want.name), 0).await?;
        let object = Arc::new(Object::of(stored, want.ask.clone()));
        if key != primary {
            insert(&mut self.live(), primary, &object);
        }
        Some(variant(&want.name, &marker, &want.ask.headers))
    }
}

/// What can be given to the client that asked: an answer of all of it. A part that turns out to be all is one, too.
fn whole(
    mut response: Response<Incoming>,
    part: Part,
    extent: Option<(std::ops::Range<u64>, Option<u64>)>,
) -> Option<Response<Incoming>> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        let of_part = response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
        return (!of_part || part == Part::From(0) || part == Part::AsAsked).then_some(response);
    }
    let (range, total) = extent?;
    if range.start != 0 || total != Some(range.end) {
        return None;
    }
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().remove(header::CONTENT_RANGE);
    Some(response)
}
