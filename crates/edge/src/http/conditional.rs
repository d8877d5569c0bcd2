//! Validators: `If-None-Match`, `If-Modified-Since`, `If-Range` and what makes two answers the same thing.

use http::header::{self, HeaderMap, HeaderValue};

use super::directives::split_list;

/// What a conditional request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What it asks for.
    Full,
    /// That it has it already.
    NotModified,
    /// That its condition fails.
    PreconditionFailed,
}

/// Evaluates the conditions in the order of RFC 9110, 13.2.2.
#[must_use]
pub fn answer_to(request: &HeaderMap, stored: &HeaderMap) -> Answer {
    let etag = stored.get(header::ETAG).and_then(text);
    let modified = stored.get(header::LAST_MODIFIED).and_then(date);
    if let Some(matches) =
        any_tag(request, header::IF_MATCH, |tag| etag.is_some_and(|etag| etag == tag && !tag.starts_with("W/")))
    {
        if !matches {
            return Answer::PreconditionFailed;
        }
    } else if let (Some(since), Some(modified)) = (request.get(header::IF_UNMODIFIED_SINCE).and_then(date), modified)
        && modified > since
    {
        return Answer::PreconditionFailed;
    }
    let bare = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    if let Some(matches) =
        any_tag(request, header::IF_NONE_MATCH, |tag| etag.is_some_and(|etag| bare(etag) == bare(tag)))
    {
        return if matches { Answer::NotModified } else { Answer::Full };
    }
    match (request.get(header::IF_MODIFIED_SINCE).and_then(date), modified) {
        (Some(since), Some(modified)) if modified <= since => Answer::NotModified,
        _ => Answer::Full,
    }
}

/// Whether any tag of the field passes; `None` without the field. `*` passes.
fn any_tag(headers: &HeaderMap, name: header::HeaderName, passes: impl Fn(&str) -> bool) -> Option<bool> {
    let mut fields = headers.get_all(name).iter().peekable();
    fields.peek()?;
    Some(fields.filter_map(text).any(|field| split_list(field).into_iter().any(|tag| tag == "*" || passes(tag))))
}

/// Whether a `Range` beside this `If-Range` counts.
#[must_use]
pub fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    let Some(condition) = text(condition) else { return false };
    if condition.starts_with('"') {
        return stored.get(header::ETAG).and_then(text) == Some(condition);
    }
    // Weak tags never hold here; dates hold when they are equal.
    stored.get(header::LAST_MODIFIED).and_then(text) == Some(condition)
}

/// What a further part can be asked for with, so that it belongs to the same thing.
#[must_use]
pub fn strong_validator(headers: &HeaderMap) -> Option<&HeaderValue> {
    match headers.get(header::ETAG) {
        Some(etag) => (!etag.as_bytes().starts_with(b"W/")).then_some(etag),
        None => headers.get(header::LAST_MODIFIED),
    }
}

/// Whether two answers are of the same thing, as far as they tell.
#[must_use]
pub fn same_generation(one: &HeaderMap, other: &HeaderMap) -> bool {
    if one.get(header::ETAG) != other.get(header::ETAG) {
        return false;
    }
    one.get(header::ETAG).is_some() || one.get(header::LAST_MODIFIED) == other.get(header::LAST_MODIFIED)
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

fn date(value: &HeaderValue) -> Option<u64> {
    let time = httpdate::parse_http_date(text(value)?).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (n.parse::<header::HeaderName>().unwrap(), v.parse().unwrap())).collect()
    }

    const OLD: &str = "Tue, 14 Nov 2023 00:00:00 GMT";
    const NEW: &str = "Wed, 15 Nov 2023 00:00:00 GMT";

    #[test]
    fn conditions_are_answered_in_their_order() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", NEW)]);
        let cases: &[(&[(&str, &str)], Answer)] = &[
            (&[], Answer::Full),
            (&[("if-none-match", "\"b\", W/\"a\"")], Answer::NotModified),
            (&[("if-none-match", "*")], Answer::NotModified),
            (&[("if-none-match", "\"b\""), ("if-modified-since", NEW)], Answer::Full),
            (&[("if-modified-since", NEW)], Answer::NotModified),
            (&[("if-modified-since", OLD)], Answer::Full),
            (&[("if-match", "\"b\"")], Answer::PreconditionFailed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", OLD)], Answer::Full),
            (&[("if-unmodified-since", OLD)], Answer::PreconditionFailed),
        ];
        for (request, expected) in cases {
            assert_eq!(answer_to(&map(request), &stored), *expected, "{request:?}");
        }
    }

    #[test]
    fn a_range_counts_for_the_thing_that_was_meant() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", NEW)]);
        for (condition, holds) in [("\"a\"", true), ("\"b\"", false), ("W/\"a\"", false), (NEW, true), (OLD, false)] {
            assert_eq!(if_range_holds(&map(&[("if-range", condition)]), &stored), holds, "{condition}");
        }
        assert!(if_range_holds(&map(&[]), &stored));
    }

    #[test]
    fn generations_differ_by_their_tags_or_else_their_dates() {
        let same = |one: &[(&str, &str)], other: &[(&str, &str)]| same_generation(&map(one), &map(other));
        assert!(same(&[("etag", "\"a\""), ("last-modified", OLD)], &[("etag", "\"a\""), ("last-modified", NEW)]));
        assert!(!same(&[("etag", "\"a\"")], &[("etag", "\"b\"")]));
        assert!(!same(&[("etag", "\"a\"")], &[]));
        assert!(!same(&[("last-modified", OLD)], &[("last-modified", NEW)]));
        assert!(same(&[], &[]));
    }
}
