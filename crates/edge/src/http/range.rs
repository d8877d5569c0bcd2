//! `Range` and `Content-Range`.

use std::ops::Range;

/// More than this many ranges are answered with the whole.
const MOST: usize = 16;

/// What a `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// Everything: no range, or one that has to be ignored.
    Whole,
    /// These bytes.
    Some(Vec<Range<u64>>),
    /// Nothing that there is.
    Unsatisfiable,
}

/// Reads a `Range` field for a body of `length` bytes.
#[must_use]
pub fn ranges(field: Option<&str>, length: u64) -> Ranges {
    let Some(specs) = field.and_then(|field| {
        let (unit, specs) = field.split_once('=')?;
        unit.trim().eq_ignore_ascii_case("bytes").then_some(specs)
    }) else {
        return Ranges::Whole;
    };
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut any = false;
    for spec in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        let Some(range) = one(spec, length) else { return Ranges::Whole };
        any = true;
        if range.is_empty() {
            continue;
        }
        found.push(range);
        if found.len() > MOST {
            return Ranges::Whole;
        }
    }
    if found.is_empty() {
        return if any { Ranges::Unsatisfiable } else { Ranges::Whole };
    }
    // Ranges that lie over each other would make us send more than there is.
    let total: u64 = found.iter().map(|range| range.end - range.start).sum();
    if found.len() > 1 && total > length { Ranges::Whole } else { Ranges::Some(found) }
}

/// `None` where it is no range at all; an empty one where nothing of it is there.
fn one(spec: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let suffix: u64 = number(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = number(first)?;
    let end = if last.is_empty() { length } else { number(last)?.saturating_add(1) };
    if !last.is_empty() && end <= first {
        return None;
    }
    Some(if first >= length { 0..0 } else { first..end.min(length) })
}

/// Reads `bytes FIRST-LAST/LENGTH`: the bytes, and the length where it is told.
#[must_use]
pub fn parse_content_range(field: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (unit, rest) = field.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, length) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let length = if length.trim() == "*" { None } else { Some(length.trim().parse::<u64>().ok()?) };
    if last < first || last == u64::MAX || length.is_some_and(|length| last >= length) {
        return None;
    }
    Some((first..last + 1, length))
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use super::*;

    #[test]
    fn fields_mean_these_bytes() {
        let some = |list: &[Range<u64>]| Ranges::Some(list.to_vec());
        let cases = [
            ("bytes=0-", some(&[0..100])),
            ("bytes=0-0", some(&[0..1])),
            ("Bytes=10-19", some(&[10..20])),
            ("bytes=90-200", some(&[90..100])),
            ("bytes=-10", some(&[90..100])),
            ("bytes=-1000", some(&[0..100])),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=100-", Ranges::Unsatisfiable),
            ("bytes=0-1, 5-6", some(&[0..2, 5..7])),
            ("bytes=0-1,200-300", some(&[0..2])),
            ("bytes=5-4", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("lines=0-1", Ranges::Whole),
            ("bytes=0-,0-", Ranges::Whole),
            ("bytes=99999999999999999999-", Ranges::Unsatisfiable),
            ("bytes=0-18446744073709551615", some(&[0..100])),
        ];
        for (field, expected) in cases {
            assert_eq!(ranges(Some(field), 100), expected, "{field}");
        }
        assert_eq!(ranges(Some("bytes=0-"), 0), Ranges::Unsatisfiable);
        let many = format!("bytes={}", (0..17).map(|at| format!("{}-{0}", at * 2)).collect::<Vec<_>>().join(","));
        assert_eq!(ranges(Some(&many), 100), Ranges::Whole);
    }

    #[test]
    fn content_ranges_are_whole_or_nothing() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((0..10, Some(100))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5..10, None)));
        for bad in ["bytes 9-5/100", "bytes 0-100/100", "bytes */100", "lines 0-9/100", "bytes 0-9", ""] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
