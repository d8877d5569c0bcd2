//! What the API's error numbers mean to us.
//!
//! The vendor publishes numbers per call; the first digit tells the layer: 1 the account, 2 the request, 3 the registry
//! behind, 4 and 5 the API itself.

use super::xml::ApiError;

/// What can be done about an error. The later, the stronger: of several errors the strongest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Try again later.
    Transient,
    /// Slow down.
    RateLimited,
    /// A person must act.
    Permanent,
    /// A person must act, on the account.
    Auth,
}

/// What an error is.
#[must_use]
pub(super) fn class(number: u32) -> Class {
    match number {
        500_000 => Class::RateLimited,
        1_010_104 | 1_030_408 => Class::Permanent,
        1_050_900 | 3_031_510 | 3_050_900 | 3_050_750 => Class::Transient,
        3_013_288 | 4_013_288 | 3_011_288 | 3_016_166 => Class::Permanent,
        4_011_103 => Class::Auth,
        _ => match number / 1_000_000 {
            1 => Class::Auth,
            3..=5 => Class::Transient,
            _ => Class::Permanent,
        },
    }
}

/// The strongest class among `errors`.
#[must_use]
pub(super) fn strongest(errors: &[ApiError]) -> Class {
    errors.iter().map(|error| class(error.number)).max().unwrap_or(Class::Transient)
}

/// Whether these errors prove that a write was not carried out: it was turned away at the door. An error from behind it
/// may come after the deed.
#[must_use]
pub(super) fn turned_away(errors: &[ApiError]) -> bool {
    !errors.is_empty()
        && errors
            .iter()
            .all(|error| matches!(error.number, 500_000 | 3_050_750 | 3_013_288 | 4_013_288 | 1_000_000..=2_999_999))
}

/// The errors in words, with what to do about those that people meet.
#[must_use]
pub(super) fn words(errors: &[ApiError]) -> String {
    let mut parts: Vec<String> = errors
        .iter()
        .take(4)
        .map(|error| {
            let said = format!("error {} {:?}", error.number, error.text.trim());
            remedy(error.number).map_or(said.clone(), |remedy| format!("{said}: {remedy}"))
        })
        .collect();
    if errors.len() > 4 {
        parts.push(format!("and {} more", errors.len() - 4));
    }
    parts.join("; ")
}

fn remedy(number: u32) -> Option<&'static str> {
    Some(match number {
        1_010_101 | 1_017_101 | 1_050_900 => "check api_user",
        1_010_102 | 1_011_102 => "check api_user and the API key, and that API access is switched on for the account",
        1_010_105 | 1_011_105 | 1_017_105 => "client_ip must be the IPv4 address that our calls come from",
        1_011_150 | 1_017_150 => "add this IPv4 address to the account's list of allowed addresses",
        1_016_103 | 1_017_103 | 1_019_103 => "check username",
        2_016_166 | 2_019_166 => "the zone is not in this account",
        2_030_166 => "the zone is not ours to edit with this account",
        2_030_288 => "the zone must use the provider's own name servers; after a switch to them this takes a while",
        3_013_288 | 4_013_288 => "the zone has too many rows",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: u32) -> ApiError {
        ApiError { number, text: "said".to_owned() }
    }

    #[test]
    fn every_known_number_has_its_class() {
        let table: &[(Class, &[u32])] = &[
            (
                Class::Auth,
                &[
                    1_010_101, 1_010_102, 1_011_102, 1_010_105, 1_011_105, 1_011_150, 1_016_103, 1_017_101, 1_017_103,
                    1_017_105, 1_017_150, 1_017_410, 1_017_411, 1_019_103, 4_011_103,
                ],
            ),
            (
                Class::Permanent,
                &[
                    1_010_104, 1_030_408, 2_019_166, 2_016_166, 2_030_166, 2_030_288, 2_030_280, 2_050_900, 3_013_288,
                    4_013_288, 3_011_288, 3_016_166,
                ],
            ),
            (
                Class::Transient,
                &[1_050_900, 3_031_510, 3_050_900, 3_050_750, 4_022_288, 4_023_330, 5_050_900, 5_019_169, 5_050_169],
            ),
            (Class::RateLimited, &[500_000]),
        ];
        for (wanted, numbers) in table {
            for number in *numbers {
                assert_eq!(class(*number), *wanted, "{number}");
            }
        }
        assert_eq!(class(0), Class::Permanent);
        assert_eq!(class(u32::MAX), Class::Permanent);
    }

    #[test]
    fn of_several_errors_the_strongest_counts() {
        assert_eq!(strongest(&[error(3_050_750), error(1_011_102), error(2_019_166)]), Class::Auth);
        assert_eq!(strongest(&[error(3_050_750), error(500_000)]), Class::RateLimited);
    }

    #[test]
    fn only_errors_at_the_door_prove_that_nothing_was_written() {
        assert!(turned_away(&[error(3_050_750)]));
        assert!(turned_away(&[error(2_019_166), error(1_011_102)]));
        assert!(!turned_away(&[error(2_019_166), error(5_050_900)]));
        assert!(!turned_away(&[error(3_050_900)]));
        assert!(!turned_away(&[error(7_000_000)]));
        assert!(!turned_away(&[]));
    }

    #[test]
    fn words_name_number_text_and_remedy() {
        let words = words(&[error(1_011_150), error(42)]);
        assert_eq!(
            words,
            "error 1011150 \"said\": add this IPv4 address to the account's list of allowed addresses; error 42 \"said\""
        );
    }
}
