//! One stream from a source: cut into slices as it arrives, given to readers at once, to the disk slice by slice.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use super::object::{Kept, Object, ReadError, STREAMS, Segment};
use super::{DISK, Engine};
use crate::http::{parse_content_range, same_generation, strong_validator};
use crate::source::{Fetched, Part, SEGMENT, SIBLING};
use crate::store::Store;

/// Slices in memory that could not be stored, a stream.
const UNSTORED: usize = 4;
/// How far before its readers a stream runs, where what it brings is stored.
const AHEAD: u64 = 64 << 20;
/// A stream that waits so long for its readers is closed; another begins when they come.
const PAUSE: Duration = Duration::from_secs(30);
/// What is left is fetched for nobody, when it is at most so much or less than half.
const FINISH: u64 = 8 << 20;
/// A body of unknown length is kept up to this; a longer one is passed on.
const UNKNOWN: u64 = 16 << 20;
/// A part of a slice that stays in memory when its stream has ended.
const FRAGMENT: u64 = 64 << 10;

/// A stream as it begins.
pub(super) struct Stream {
    pub(super) object: Arc<Object>,
    pub(super) number: u64,
    pub(super) body: Incoming,
    pub(super) read_timeout: Duration,
    /// Where the body ends, if it was said.
    pub(super) end: Option<u64>,
}

/// Registers a stream that will begin at `position`. The first that does so for a slice is the only one, but for those
/// who read for a sibling (`near`): they have nothing to do with what comes by way of one (`far`).
pub(super) fn register(object: &Object, position: u64, far: bool, near: bool) -> Option<u64> {
    let mut state = object.state();
    let same = |segment: &Segment| segment.running && segment.position == position && !(near && segment.far);
    let running = state.segments.iter().filter(|segment| segment.running).count();
    if state.segments.iter().any(same) || running >= STREAMS {
        return None;
    }
    // What nobody needs any more.
    state.segments.retain(|segment| segment.running || !segment.kept.is_empty());
    let number = state.next_segment;
    state.next_segment += 1;
    let begun = position;
    let segment = Segment { number, position, running: true, begun, far, keeps: true, kept: Default::default() };
    state.segments.push(segment);
    Some(number)
}

/// The same, going on where a beginning in memory ends.
pub(super) fn register_after(object: &Object, position: u64, far: bool) -> Option<u64> {
    let number = register(object, position, far, false)?;
    let mut state = object.state();
    let beginning = state.segments.iter_mut().filter(|segment| !segment.running).find_map(|segment| {
        let at = segment.kept.iter().position(|kept| kept.start + kept.length == position)?;
        segment.kept.remove(at)
    });
    if let (Some(beginning), Some(segment)) = (beginning, state.segment(number)) {
        segment.kept.push_back(beginning);
    }
    Some(number)
}

/// Begins a further stream at `position`, for somebody who reads for a sibling (`near`) or not.
pub(super) fn begin(engine: &Arc<Engine>, object: &Arc<Object>, position: u64, near: bool) {
    let far = !near && engine.sources.is_elsewhere(&object.ask.name(), position);
    let Some(number) = register(object, position, far, near) else { return };
    let (engine, object) = (engine.clone(), object.clone());
    tokio::spawn(async move {
        match ask_for_rest(&engine, &object, position, near).await {
            Ok((fetched, from, end)) => {
                let far = fetched.source == SIBLING;
                let keeps = engine.keeps(&object, far, from).await;
                if let Some(segment) = object.state().segment(number) {
                    (segment.position, segment.far, segment.keeps) = (from, far, keeps);
                }
                let (_, body) = fetched.response.into_parts();
                let read_timeout = fetched.read_timeout;
                run(&engine, Stream { object, number, body, read_timeout, end }).await;
            }
            Err(error) => {
                if let Some(error) = error {
                    object.state().error = Some(error);
                    engine.drop_generation(&object);
                }
                object.failures.fetch_add(1, Ordering::Relaxed);
                close(&object, number);
            }
        }
    });
}

/// Asks for everything from `position`, and makes sure that it belongs to this generation. Gives where it begins, which
/// is the beginning of the object where the source gives only the whole, and where it ends.
async fn ask_for_rest(
    engine: &Engine,
    object: &Object,
    position: u64,
    near: bool,
) -> Result<(Fetched, u64, Option<u64>), Option<ReadError>> {
    let head = object.head();
    let mut ask = object.ask.clone();
    let part = if object.state().no_ranges { Part::From(0) } else { Part::From(position) };
    if part != Part::From(0)
        && let Some(validator) = strong_validator(&head.headers)
    {
        ask.headers.insert(header::IF_RANGE, validator.clone());
    }
    let fetched = if near {
        engine.sources.fetch_from_sources(&ask, part, object.source).await
    } else {
        engine.sources.fetch(&ask, part, object.source).await
    };
    let fetched = fetched.map_err(|_| None)?;
    let Some((from, total)) = extent(&fetched.response) else { return Err(None) };
    let same = same_generation(&head.headers, fetched.response.headers());
    let expected = object.length();
    match fetched.response.status() {
        // A source may tell the length of parts alone; then a tag has to tell that it is the same.
        StatusCode::OK if same && total.is_none() && strong_validator(&head.headers).is_some() => {
            if position > 0 {
                object.state().no_ranges = true;
            }
            Ok((fetched, 0, None))
        }
        StatusCode::PARTIAL_CONTENT | StatusCode::OK if !same || total != expected => {
            // Of a whole answer it is the truth; it may also be that the source has other things on other servers.
            Err(Some(ReadError::Changed))
        }
        StatusCode::PARTIAL_CONTENT if from.start == position => Ok((fetched, position, Some(from.end))),
        // Of another part than was asked for: it cannot be believed, and the object is none the worse for it.
        StatusCode::PARTIAL_CONTENT => Err(None),
        status if status == head.status => {
            if position > 0 {
                object.state().no_ranges = true;
            }
            Ok((fetched, 0, total))
        }
        status if status.is_server_error() => Err(None),
        _ => Err(Some(ReadError::Changed)),
    }
}

/// Which bytes an answer has, and of how many. Nothing where it contradicts itself.
pub(super) fn extent(response: &Response<Incoming>) -> Option<(Range<u64>, Option<u64>)> {
    use hyper::body::Body;
    let length = response.body().size_hint().exact();
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let field = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, total) = parse_content_range(field)?;
        return length.is_none_or(|length| length == range.end - range.start).then_some((range, total));
    }
    Some((0..length.unwrap_or(u64::MAX), length))
}

/// The same of an answer to `bytes=-COUNT`. One that has just as many bytes as were asked for, and says that they reach
/// the end, is believed that, even where its `Content-Range` is one off: then its body tells where the end is.
pub(super) fn extent_of_end(response: &Response<Incoming>, count: u64) -> Option<(Range<u64>, Option<u64>)> {
    use hyper::body::Body;
    if let Some(extent) = extent(response) {
        return Some(extent);
    }
    let field = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = parse_content_range(field)?;
    let is_end = total == Some(range.end) && response.body().size_hint().exact() == Some(count);
    let end = range.start + count;
    (is_end && end + 1 == range.end).then_some((range.start..end, Some(end)))
}

/// Brings the stream in until it ends, is not wanted any more, or fails.
pub(super) async fn run(engine: &Arc<Engine>, mut stream: Stream) {
    let object = stream.object.clone();
    let mut writing: Option<JoinHandle<()>> = None;
    let mut advanced = false;
    let ended = loop {
        if !wanted(engine, &object, stream.number).await {
            break false;
        }
        let frame = match tokio::time::timeout(stream.read_timeout, stream.body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break true,
            Ok(Some(Err(_))) | Err(_) => {
                object.failures.fetch_add(1, Ordering::Relaxed);
                engine.note_failure();
                break false;
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.is_empty() {
            continue;
        }
        let taken = take_in(&object, stream.number, data);
        // What came before already is no progress: an origin that always ends too soon would be asked for ever.
        if matches!(&taken, Taken::Slices(done) if !done.is_empty()) || object.has_advanced(stream.number) {
            object.failures.store(0, Ordering::Relaxed);
            advanced = true;
        }
        object.wake.notify_waiters();
        match taken {
            Taken::Slices(done) => {
                for start in done {
                    store_slice(engine, &object, stream.number, start, &mut writing).await;
                }
            }
            // More than was said: what came so far is right, and the rest is nobody's.
            Taken::TooMuch => break true,
            Taken::Gone => break false,
        }
        if !object.is_replaced() && object.is_beyond(UNKNOWN) {
            // Those who are reading go on; whoever comes now gets a stream of their own.
            engine.note_uncacheable(object.key);
            engine.drop_generation(&object);
        }
    };
    if let Some(writing) = writing {
        let _ = tokio::time::timeout(DISK, writing).await;
    }
    if ended && !advanced {
        object.failures.fetch_add(1, Ordering::Relaxed);
    }
    if ended {
        finish(engine, &object, stream.number, stream.end).await;
    }
    if object.length().is_none() {
        object.state().error.get_or_insert(ReadError::Broken);
        engine.drop_generation(&object);
    }
    close(&object, stream.number);
}

fn close(object: &Object, number: u64) {
    let stored = object.stored().is_some();
    let slice_size = 1_u64 << object.slice_log2;
    {
        let mut state = object.state();
        let length = state.length.unwrap_or(u64::MAX);
        if let Some(segment) = state.segment(number) {
            segment.running = false;
            // What came of a slice that was never whole is of little use: the slice will come again from its beginning.
            let is_whole = |kept: &Kept| {
                kept.start.is_multiple_of(slice_size)
                    && kept.length == slice_size.min(length.saturating_sub(kept.start))
            };
            // A small part is kept all the same, where it is all there is.
            let small = segment.kept.len() == 1 && segment.kept[0].length <= FRAGMENT;
            segment.kept.retain(|kept| !stored || small || is_whole(kept));
        }
        // The same part once is enough.
        let own = state.segment(number).and_then(|segment| segment.kept.front()).map(|kept| (kept.start, kept.length));
        if let Some((start, length)) = own {
            for other in state.segments.iter_mut().filter(|other| !other.running && other.number != number) {
                other.kept.retain(|kept| kept.start != start || kept.length > length);
            }
        }
        state.segments.retain(|segment| segment.running || !segment.kept.is_empty());
    }
    object.wake.notify_waiters();
}

enum Taken {
    /// These slices are whole now, by their first bytes.
    Slices(Vec<u64>),
    TooMuch,
    Gone,
}

fn take_in(object: &Object, number: u64, mut data: Bytes) -> Taken {
    let slice_size = 1_u64 << object.slice_log2;
    let mut state = object.state();
    let length = state.length;
    let Some(segment) = state.segment(number).filter(|segment| segment.running) else { return Taken::Gone };
    let mut done = Vec::new();
    while !data.is_empty() {
        let start = segment.position / slice_size * slice_size;
        let slice_end = (start + slice_size).min(length.unwrap_or(u64::MAX));
        let room = slice_end.saturating_sub(segment.position);
        if room == 0 {
            return if done.is_empty() { Taken::TooMuch } else { Taken::Slices(done) };
        }
        let part = data.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(data.len()));
        if segment.kept.back().is_none_or(|kept| kept.start / slice_size * slice_size != start) {
            segment.kept.push_back(Kept { start: segment.position, length: 0, parts: Vec::new() });
        }
        segment.position += part.len() as u64;
        let kept = segment.kept.back_mut().expect("it was pushed if it was not there");
        kept.length += part.len() as u64;
        kept.parts.push(part);
        // One whose beginning is missing is for those who read it now.
        if segment.position == slice_end && kept.start == start {
            done.push(start);
        }
    }
    if length.is_none() && segment.position > UNKNOWN {
        // Passed on: what the readers have seen is let go.
        while segment.kept.len() > UNSTORED {
            segment.kept.pop_front();
        }
    }
    Taken::Slices(done)
}

/// Writes a whole slice beside the stream, one at a time.
async fn store_slice(
    engine: &Arc<Engine>,
    object: &Arc<Object>,
    number: u64,
    start: u64,
    writing: &mut Option<JoinHandle<()>>,
) {
    if object.length().is_none() {
        return;
    }
    let keeps = |segment: &&mut Segment| segment.keeps && object.stored().is_some() && !engine.store.is_full();
    if object.state().segment(number).filter(keeps).is_some()
        && let Some(mut previous) = writing.take()
        && tokio::time::timeout(DISK, &mut previous).await.is_err()
    {
        // The disk is silent: from now on, what comes is for those who read it now.
        *writing = Some(previous);
        if let Some(segment) = object.state().segment(number) {
            segment.keeps = false;
        }
    }
    {
        let mut state = object.state();
        let Some(segment) = state.segment(number) else { return };
        if !keeps(&&mut *segment) {
            while segment.kept.len() > UNSTORED {
                segment.kept.pop_front();
            }
            return;
        }
    }
    let (writer, object) = (engine.clone(), object.clone());
    let written = engine.on_disk(move |_| write_kept(&writer, &object, number, start));
    *writing = Some(tokio::spawn(async move {
        // Where too many wait for the disk already, it is not stored.
        let _ = written.await;
    }));
}

fn write_kept(engine: &Engine, object: &Object, number: u64, start: u64) {
    let Some(stored) = object.stored() else { return };
    let slice = u32::try_from(start >> object.slice_log2).expect("the object's length was checked");
    let bytes = {
        let mut state = object.state();
        let Some(segment) = state.segment(number) else { return };
        let Some(kept) = segment.kept.iter().find(|kept| kept.start == start) else { return };
        kept.parts.clone()
    };
    let written = engine.store.has(stored, slice) || {
        let whole: Vec<u8> = bytes.concat();
        engine.store.write_slice(stored, slice, &whole).is_ok()
    };
    let mut state = object.state();
    if let Some(segment) = state.segment(number) {
        if written {
            segment.kept.retain(|kept| kept.start != start);
        }
        // What could not be stored stays for a while, for those who are reading it.
        while segment.kept.len() > UNSTORED {
            segment.kept.pop_front();
        }
    }
}

/// The body has ended.
async fn finish(engine: &Arc<Engine>, object: &Arc<Object>, number: u64, end: Option<u64>) {
    let position = object.state().segment(number).map(|segment| (segment.position, segment.far));
    let Some((position, is_far)) = position else { return };
    if object.length().is_some() {
        // The answer may have been of a part, which is no failure; a short one is.
        if position < end.unwrap_or(position) {
            object.failures.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    // Now the length is known, and if all of it is still here it can be stored.
    let whole = {
        let mut state = object.state();
        state.length = Some(position);
        state.segment(number).map(|segment| {
            let complete = segment.kept.front().is_none_or(|kept| kept.start == 0) && position <= UNKNOWN;
            complete.then(|| segment.kept.iter().map(|kept| kept.start).collect::<Vec<_>>())
        })
    };
    object.wake.notify_waiters();
    if position > UNKNOWN || object.is_replaced() {
        engine.drop_generation(object);
        return;
    }
    if let Some(Some(starts)) = whole
        && engine.keeps(object, is_far, 0).await
    {
        let (writer, object) = (engine.clone(), object.clone());
        let write = move |_: &Store| starts.into_iter().for_each(|start| write_kept(&writer, &object, number, start));
        let _ = tokio::time::timeout(DISK, engine.on_disk(write)).await;
    }
}

/// Waits while the stream is far enough ahead of its readers. Returns whether it should go on.
async fn wanted(engine: &Engine, object: &Object, number: u64) -> bool {
    loop {
        let woken = object.wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        match judge(engine, object, number) {
            Judged::GoOn => return true,
            Judged::Stop => return false,
            Judged::Pause => {
                if tokio::time::timeout(PAUSE, woken).await.is_err() {
                    return false;
                }
            }
        }
    }
}

enum Judged {
    GoOn,
    Pause,
    Stop,
}

fn judge(engine: &Engine, object: &Object, number: u64) -> Judged {
    let slice_size = 1_u64 << object.slice_log2;
    let judged = {
        let mut state = object.state();
        let length = state.length;
        let no_ranges = state.no_ranges;
        let starving = !state.starving.is_empty();
        let Some(segment) = state.segment(number).filter(|segment| segment.running) else { return Judged::Stop };
        let (position, far, begun, keeps) = (segment.position, segment.far, segment.begun, segment.keeps);
        let behind = |offset: &u64| *offset < position + 3 * slice_size || no_ranges;
        let nearest = state.readers.values().copied().filter(behind).max();
        let slowest = state.readers.values().copied().min();
        let others = state.segments.iter().any(|other| {
            other.number != number
                && other.running
                && other.position / slice_size == position / slice_size
                && other.position > position
        });
        (position, length, nearest, slowest, others, no_ranges, starving, far, begun, keeps)
    };
    let (position, length, nearest, slowest, others_bring, no_ranges, starving, far, begun, keeps) = judged;
    let Some(length) = length else {
        // One stream of unknown length serves all, goes at the pace of the slowest, and ends with the last of them.
        return match slowest {
            _ if position <= UNKNOWN => Judged::GoOn,
            Some(_) => pause_beyond(position, slowest, 2 * slice_size),
            None => Judged::Stop,
        };
    };
    if position >= length {
        return Judged::GoOn;
    }
    let stored = object.stored().filter(|stored| !stored.is_replaced());
    if position % slice_size == 0 && !no_ranges {
        let slice = u32::try_from(position / slice_size).expect("the object's length was checked");
        // From here on it is there already, or somebody else brings it.
        if others_bring || stored.is_some_and(|stored| engine.store.has(stored, slice)) {
            return Judged::Stop;
        }
        // From here on it is for another edge to fetch.
        let is_new = position > begun && position.is_multiple_of(SEGMENT);
        if is_new && !far && engine.sources.is_elsewhere(&object.ask.name(), position) {
            return Judged::Stop;
        }
        // Others have nothing at all, while the readers of this one have something to go on with.
        if starving && nearest.is_none_or(|nearest| position >= nearest.saturating_add(2 * slice_size)) {
            return Judged::Stop;
        }
    }
    // Where others fetch what comes after it, a segment is a thing of its own.
    let (left, length) = match engine.sources.in_segments() {
        true => (length.min((position / SEGMENT + 1) * SEGMENT) - position, length.min(SEGMENT)),
        false => (length - position, length),
    };
    let judged = match (nearest, stored.filter(|_| keeps)) {
        (None, Some(_)) if left <= FINISH || left < length / 2 => Judged::GoOn,
        (None, _) => Judged::Stop,
        (Some(_), Some(_)) => pause_beyond(position, nearest, AHEAD.max(2 * slice_size)),
        (Some(_), None) => pause_beyond(position, nearest, 2 * slice_size),
    };
    match judged {
        // A stream that waits takes the place of one that is waited for.
        Judged::Pause if starving => Judged::Stop,
        judged => judged,
    }
}

fn pause_beyond(position: u64, nearest: Option<u64>, ahead: u64) -> Judged {
    match nearest {
        Some(nearest) if position > nearest.saturating_add(ahead) => Judged::Pause,
        _ => Judged::GoOn,
    }
}
