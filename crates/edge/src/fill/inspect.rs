//! What is known of one object, for people: what of it is here, how old it is, and why it is served or not.

use std::sync::Arc;

use serde_json::{Value, json};

use super::variant::variant;
use super::{Engine, Live, Want};
use crate::clock;
use crate::http::{Head, freshness, lifetime_reason, tags};
use crate::source::SEGMENT;
use crate::store::Key;

/// Owners that are named, a segment each.
const OWNERS: u64 = 64;

impl Engine {
    /// Describes the object, without asking for it: to look changes nothing.
    #[must_use]
    pub fn inspect(&self, want: &Want) -> Value {
        let primary = Key::of(&want.name);
        let marker = self.store.peek(primary).map(|(stored, _)| Head::stored(&stored.meta()));
        let varies = marker.filter(|head| !head.varies.is_empty());
        let key = varies.as_ref().map_or(primary, |head| variant(&want.name, head, &want.ask.headers));
        let live = match self.live().get(&key) {
            Some(Live::Object(object)) => object.upgrade().filter(|object| !object.is_replaced()),
            Some(Live::Pending { .. }) | None => None,
        };
        let stored = self.store.peek(key);
        let now = clock::unix_seconds();
        let mut told = json!({
            "name": want.name,
            "key": key.hex(),
            "remembered_as_not_to_be_kept": self.uncacheable.contains(key),
            "source_failed_lately": self.failing.contains(key),
        });
        if let Some(head) = &varies {
            told["varies"] = json!(head.varies);
        }
        let owners = |length: u64| -> Vec<String> {
            let segments = length.div_ceil(SEGMENT).clamp(1, OWNERS);
            let owner = |at| self.sources.owner_of(&want.name, at * SEGMENT).unwrap_or_else(|| "this edge".to_owned());
            (0..segments).map(owner).collect()
        };
        let head = match (&live, &stored) {
            (Some(object), _) => Some(object.head()),
            (None, Some((stored, _))) => Some(Arc::new(Head::stored(&stored.meta()))),
            (None, None) => None,
        };
        let Some(head) = head else {
            told["state"] = json!("absent");
            told["why"] = json!(self.why_absent(key, &want.name));
            if self.sources.in_segments() {
                told["owners"] = json!(owners(0));
            }
            return told;
        };
        let fresh = freshness(&head, &self.options.rules, now);
        let purged = self.store.purges().since(&super::purge::purge_keys(&want.name, &head.headers), head.purges);
        told["state"] = json!(match () {
            () if purged => "purged",
            () if fresh.is_fresh() => "fresh",
            () if fresh.is_usable_meanwhile() => "stale, served while it is looked at",
            () if fresh.is_usable_on_error() => "stale, served when no source answers",
            () => "stale",
        });
        told["why"] = json!(lifetime_reason(&head, &self.options.rules));
        told["status"] = json!(head.status.as_u16());
        told["age_s"] = json!(fresh.age);
        told["lifetime_s"] = json!(fresh.lifetime);
        told["received"] = json!(head.received);
        told["tags"] = json!(tags(&head.headers));
        for (name, field) in [("etag", "etag"), ("type", "content-type")] {
            if let Some(value) = head.headers.get(field).and_then(|value| value.to_str().ok()) {
                told[name] = json!(value);
            }
        }
        let length = live
            .as_ref()
            .and_then(|object| object.length())
            .or(stored.as_ref().map(|(stored, _)| stored.layout().length));
        if let Some(length) = length {
            told["length"] = json!(length);
            if self.sources.in_segments() {
                told["owners"] = json!(owners(length));
            }
        }
        if let Some((stored, seen)) = &stored {
            let layout = stored.layout();
            let here = self.store.present(stored);
            let count: u32 = here.iter().map(|range| range.end - range.start).sum();
            let texts = here.iter().map(|range| match range.end - range.start {
                1 => range.start.to_string(),
                _ => format!("{}-{}", range.start, range.end - 1),
            });
            told["disk"] = json!({
                "slice_size": layout.slice_size(),
                "slices": layout.slices(),
                "slices_here": count,
                "which": texts.collect::<Vec<_>>().join(","),
                "last_asked_s_ago": now.saturating_sub(u64::from(*seen)),
            });
        }
        if let Some(object) = &live {
            let state = object.state();
            let streams = state.segments.iter().filter(|segment| segment.running).map(|segment| {
                json!({
                    "from": segment.begun,
                    "at": segment.position,
                    "by": if segment.far { "a sibling" } else { "a source" },
                    "stored": segment.keeps && object.is_stored(),
                })
            });
            told["open"] = json!({ "readers": state.readers.len(), "streams": streams.collect::<Vec<_>>() });
        }
        told
    }

    fn why_absent(&self, key: Key, name: &str) -> &'static str {
        if self.uncacheable.contains(key) {
            return "its source said lately that it may not be kept";
        }
        if self.store.purges().since(&super::purge::purge_keys(name, &http::HeaderMap::new()), 0) {
            return "it was purged";
        }
        if self.store.is_full() {
            return "the disk was full or failed a moment ago; nothing is stored";
        }
        "nobody asked for it, or others were wanted more"
    }
}
