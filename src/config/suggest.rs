//! What was probably meant.

use strsim::{damerau_levenshtein, jaro_winkler};

/// The candidate that `word` is most likely a slip of; none when nothing is close.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = ranked(word, candidates)?;
    let (typed, meant) = (plain(word), plain(best));
    let slips = damerau_levenshtein(&typed, &meant);
    let length = typed.chars().count().max(meant.chars().count());
    (slips * 3 <= length || is_part(&typed, &meant)).then_some(best)
}

/// The candidate nearest to `word`, however far; none when there is no candidate.
#[must_use]
pub(super) fn ranked<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = plain(word);
    candidates
        .into_iter()
        .map(|candidate| {
            let meant = plain(candidate);
            let slips = damerau_levenshtein(&typed, &meant);
            (if is_part(&typed, &meant) { slips.min(1) } else { slips }, jaro_winkler(&typed, &meant), candidate)
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(.., candidate)| candidate)
}

/// One word is a part of the other: `status` of `expect_status`.
fn is_part(typed: &str, meant: &str) -> bool {
    typed.len() >= 4 && meant.len() >= 4 && (meant.contains(typed) || typed.contains(meant))
}

/// Without case, `-` and `_` alike.
fn plain(word: &str) -> String {
    word.chars().take(80).flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips() {
        let known = ["interval", "fast_interval", "expect_status", "timeout", "connect_timeout", "strikes", "keep"];
        for (typed, meant) in [
            ("intreval", Some("interval")),
            ("Interval", Some("interval")),
            ("fast-interval", Some("fast_interval")),
            ("status", Some("expect_status")),
            ("timeouts", Some("timeout")),
            ("strike", Some("strikes")),
            ("kep", Some("keep")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
        assert_eq!(nearest("anything", []), None);
        assert!(ranked("colour", known).is_some());
    }
}
