//! `Range`, and the conditions that decide whether anything is sent.

use std::ops::Range;

use http::HeaderMap;
use http::header::{self, HeaderName};

/// More than this many ranges are answered with the whole.
const MOST: usize = 16;

/// What a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, one range at least.
    Ranges(Vec<Range<u64>>),
    /// Nothing: there are no such bytes.
    Unsatisfiable,
    /// Nothing: it has it already.
    NotModified,
    /// Nothing: its condition fails.
    PreconditionFailed,
}

/// Decides for something of `size` bytes, with this tag, from this second.
pub(super) fn wanted(headers: &HeaderMap, size: u64, tag: &str, modified: u64) -> Wanted {
    let date = |name: HeaderName| {
        let time = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
        time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
    };
    // In the order of RFC 9110, 13.2.2. Our tags are strong.
    match has_tag(headers, header::IF_MATCH, tag, false) {
        Some(false) => return Wanted::PreconditionFailed,
        None if date(header::IF_UNMODIFIED_SINCE).is_some_and(|since| modified > since) => {
            return Wanted::PreconditionFailed;
        }
        _ => {}
    }
    match has_tag(headers, header::IF_NONE_MATCH, tag, true) {
        Some(true) => return Wanted::NotModified,
        None if date(header::IF_MODIFIED_SINCE).is_some_and(|since| modified <= since) => return Wanted::NotModified,
        _ => {}
    }
    if let Some(condition) = headers.get(header::IF_RANGE) {
        let holds = condition.as_bytes() == tag.as_bytes() || date(header::IF_RANGE) == Some(modified);
        if !holds {
            return Wanted::Whole;
        }
    }
    let mut fields = headers.get_all(header::RANGE).iter();
    match (fields.next().and_then(|field| field.to_str().ok()), fields.next()) {
        (Some(field), None) => ranges(field, size),
        _ => Wanted::Whole,
    }
}

/// Whether a list has the tag, or is `*`; nothing without a list.
fn has_tag(headers: &HeaderMap, name: HeaderName, tag: &str, weak: bool) -> Option<bool> {
    let mut fields = headers.get_all(name).iter().peekable();
    fields.peek()?;
    let is_it = |item: &str| {
        let item = item.trim();
        let bare = if weak { item.strip_prefix("W/").unwrap_or(item) } else { item };
        item == "*" || bare == tag
    };
    Some(fields.filter_map(|field| field.to_str().ok()).any(|field| field.split(',').any(is_it)))
}

fn ranges(field: &str, size: u64) -> Wanted {
    let Some((unit, specs)) = field.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let mut found: Vec<Range<u64>> = Vec::new();
    let specs: Vec<&str> = specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > MOST {
        return Wanted::Whole;
    }
    for spec in specs {
        match one(spec, size) {
            None => return Wanted::Whole,
            Some(range) if range.is_empty() => {}
            Some(range) => found.push(range),
        }
    }
    // Ranges that lie over each other would make us send more than there is.
    let total = found.iter().fold(0_u64, |total, range| total.saturating_add(range.end - range.start));
    match found.len() {
        0 => Wanted::Unsatisfiable,
        1 => Wanted::Ranges(found),
        _ if total > size => Wanted::Whole,
        _ => Wanted::Ranges(found),
    }
}

/// `None` where it is no range at all; an empty one where nothing of it is there, or it ends before it begins.
fn one(spec: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are beyond everything.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        return Some(size.saturating_sub(number(last)?)..size);
    }
    let first = number(first)?;
    let end = if last.is_empty() { size } else { number(last)?.saturating_add(1).min(size) };
    Some(if first < end { first..end } else { 0..0 })
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use super::*;

    #[test]
    fn fields_mean_these_bytes() {
        let some = |list: &[Range<u64>]| Wanted::Ranges(list.to_vec());
        let cases = [
            ("bytes=0-", some(&[0..100])),
            ("bytes=0-0", some(&[0..1])),
            ("Bytes = 10-19", some(&[10..20])),
            ("bytes=90-200", some(&[90..100])),
            ("bytes=-10", some(&[90..100])),
            ("bytes=-1000", some(&[0..100])),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=5-2", Wanted::Unsatisfiable),
            ("bytes=0-1, 5-6", some(&[0..2, 5..7])),
            ("bytes=0-1,200-300", some(&[0..2])),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("bytes=0-,0-", Wanted::Whole),
            ("bytes=99999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=0-18446744073709551615", some(&[0..100])),
        ];
        for (field, expected) in cases {
            assert_eq!(ranges(field, 100), expected, "{field}");
        }
        assert_eq!(ranges("bytes=0-", 0), Wanted::Unsatisfiable);
        let many = format!("bytes={}", (0..17).map(|at| format!("{}-{0}", at * 2)).collect::<Vec<_>>().join(","));
        assert_eq!(ranges(&many, 100), Wanted::Whole);
    }

    #[test]
    fn conditions_are_answered_in_their_order() {
        const OLD: &str = "Tue, 14 Nov 2023 00:00:00 GMT";
        const NOW: &str = "Wed, 15 Nov 2023 00:00:00 GMT";
        let cases: [(&[(&str, &str)], Wanted); 13] = [
            (&[], Wanted::Whole),
            (&[("if-none-match", "\"b\", W/\"a\"")], Wanted::NotModified),
            (&[("if-none-match", "*")], Wanted::NotModified),
            (&[("if-none-match", "\"b\""), ("if-modified-since", NOW)], Wanted::Whole),
            (&[("if-modified-since", NOW)], Wanted::NotModified),
            (&[("if-modified-since", OLD)], Wanted::Whole),
            (&[("if-match", "\"b\"")], Wanted::PreconditionFailed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", OLD)], Wanted::Whole),
            (&[("if-unmodified-since", OLD)], Wanted::PreconditionFailed),
            (&[("range", "bytes=0-1"), ("if-range", "\"a\"")], Wanted::Ranges(vec![0..2])),
            (&[("range", "bytes=0-1"), ("if-range", "\"b\"")], Wanted::Whole),
            (&[("range", "bytes=0-1"), ("if-range", "W/\"a\"")], Wanted::Whole),
            (&[("range", "bytes=0-1"), ("if-range", NOW)], Wanted::Ranges(vec![0..2])),
        ];
        for (fields, expected) in cases {
            let headers = fields.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap())).collect();
            assert_eq!(wanted(&headers, 100, "\"a\"", 1_700_006_400), expected, "{fields:?}");
        }
    }
}
