//! Durations, sizes and rates with their units: read exactly, in integers, and written so that reading gives them back.

use std::time::Duration;

use super::suggest;

/// The units of a duration, in milliseconds.
const DURATION: &[(&str, u128)] =
    &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
/// The units of a size, in bytes.
const SIZE: &[(&str, u128)] = &[
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];
/// The units of a rate, in bit/s.
const RATE: &[(&str, u128)] = &[
    ("bit/s", 1),
    ("kbit/s", 1000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("Tbit/s", 1_000_000_000_000),
    ("bps", 1),
    ("kbps", 1000),
    ("Mbps", 1_000_000),
    ("Gbps", 1_000_000_000),
    ("B/s", 8),
    ("kB/s", 8000),
    ("MB/s", 8_000_000),
    ("GB/s", 8_000_000_000),
];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// How long.
    Duration,
    /// How many bytes.
    Size,
    /// How many bits a second.
    Rate,
}

impl Quantity {
    fn units(self) -> &'static [(&'static str, u128)] {
        match self {
            Self::Duration => DURATION,
            Self::Size => SIZE,
            Self::Rate => RATE,
        }
    }

    /// With its article, for sentences.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Duration => "a duration",
            Self::Size => "a size",
            Self::Rate => "a rate",
        }
    }

    /// The units that may be written, for remedies.
    #[must_use]
    pub fn unit_list(self) -> &'static str {
        match self {
            Self::Duration => "ms, s, m, h, d, w",
            Self::Size => "B, kB, KiB, MB, MiB, GB, GiB",
            Self::Rate => "bit/s, kbit/s, Mbit/s, Gbit/s, Tbit/s, B/s, kB/s, MB/s, GB/s",
        }
    }

    /// The unit that a bare number most likely meant.
    #[must_use]
    pub fn usual_unit(self) -> &'static str {
        match self {
            Self::Duration => "s",
            Self::Size => "B",
            Self::Rate => "Mbit/s",
        }
    }
}

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// A number alone.
    #[error("{0} has no unit")]
    NoUnit(String),
    /// A unit, or anything else, where a number belongs.
    #[error("a number belongs before {0:?}")]
    NoNumber(String),
    /// Not one of the units.
    #[error("{unit:?} is no unit of {what}", what = .quantity.name())]
    UnknownUnit {
        /// As written.
        unit: String,
        /// Of what.
        quantity: Quantity,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// More digits than the smallest unit can tell.
    #[error("it is finer than {0}")]
    TooFine(&'static str),
    /// Does not fit.
    #[error("it is too large")]
    TooLarge,
}

/// Reads `10s`, `60m`, `1h30m`, `1.5 h`: any number of terms, exact to a millisecond.
///
/// # Errors
/// [`UnitError`] says what is wrong with `text`.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError::Empty);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (millis, after) = term(rest, Quantity::Duration)?;
        total = total.checked_add(millis).ok_or(UnitError::TooLarge)?;
        rest = after.trim_start();
    }
    // The ledger counts milliseconds in an i64.
    let millis = i64::try_from(total).map_err(|_| UnitError::TooLarge)?;
    Ok(Duration::from_millis(millis.unsigned_abs()))
}

/// Reads a size in bytes: `64KiB`, `1.5 MB`.
///
/// # Errors
/// [`UnitError`] says what is wrong with `text`.
pub fn size(text: &str) -> Result<u64, UnitError> {
    single(text, Quantity::Size)
}

/// Reads a rate in bit/s: `1Gbit/s`, `2.5 Gbit/s`, `100Mbps`, `125MB/s`.
///
/// # Errors
/// [`UnitError`] says what is wrong with `text`.
pub fn rate(text: &str) -> Result<u64, UnitError> {
    single(text, Quantity::Rate)
}

/// Writes a duration, exact to a millisecond, in the largest unit that it is a whole number of.
#[must_use]
pub fn duration_text(span: Duration) -> String {
    if span.is_zero() {
        return "0s".to_owned();
    }
    // Weeks are read but not written: 7d is what people write.
    whole(span.as_millis(), &DURATION[..5])
}

/// Writes a size.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    whole(u128::from(bytes), SIZE)
}

/// Writes a rate.
#[must_use]
pub fn rate_text(bits_per_second: u64) -> String {
    whole(u128::from(bits_per_second), &RATE[..5])
}

fn whole(amount: u128, units: &[(&str, u128)]) -> String {
    let (unit, scale) = units
        .iter()
        .rev()
        .find(|(_, scale)| amount >= *scale && amount.is_multiple_of(*scale))
        .copied()
        .unwrap_or(units[0]);
    format!("{}{unit}", amount / scale)
}

fn single(text: &str, quantity: Quantity) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(UnitError::Empty);
    }
    let (amount, rest) = term(text, quantity)?;
    if !rest.is_empty() {
        return Err(UnitError::UnknownUnit { unit: clip(rest), quantity, nearest: None });
    }
    // SQLite and JSON readers count in signed 64 bits.
    i64::try_from(amount).map(i64::unsigned_abs).map_err(|_| UnitError::TooLarge)
}

/// One number and its unit, and what follows.
fn term(text: &str, quantity: Quantity) -> Result<(u128, &str), UnitError> {
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, after) = text.split_at(number_len);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(UnitError::NoNumber(clip(text)));
    }
    let after = after.trim_start();
    let unit_len = after
        .find(|c: char| c.is_ascii_digit() || c.is_whitespace() || (quantity == Quantity::Duration && c == '.'))
        .unwrap_or(after.len());
    let (unit, rest) = after.split_at(unit_len);
    if unit.is_empty() {
        return Err(UnitError::NoUnit(clip(number)));
    }
    let Some((_, scale)) = quantity.units().iter().find(|(name, _)| *name == unit) else {
        let spelled = if quantity == Quantity::Duration { spelled_out(unit) } else { None };
        let nearest = spelled.or_else(|| suggest::nearest(unit, quantity.units().iter().map(|(name, _)| *name)));
        return Err(UnitError::UnknownUnit { unit: clip(unit), quantity, nearest });
    };
    Ok((scaled(number, *scale, quantity)?, rest))
}

/// The unit that people call like this.
fn spelled_out(unit: &str) -> Option<&'static str> {
    Some(match unit.to_lowercase().as_str() {
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "week" | "weeks" => "w",
        _ => return None,
    })
}

/// `number`, digits with at most one point, times `scale`, exactly.
fn scaled(number: &str, scale: u128, quantity: Quantity) -> Result<u128, UnitError> {
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || number.ends_with('.') {
        return Err(UnitError::NoNumber(clip(number)));
    }
    let integer: u128 = integer.parse().map_err(|_| UnitError::TooLarge)?;
    let mut total = integer.checked_mul(scale).ok_or(UnitError::TooLarge)?;
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        let smallest = quantity.units()[0].0;
        // No unit is divisible by more than ten to the twelfth.
        let parts =
            u32::try_from(fraction.len()).ok().filter(|len| *len <= 12).and_then(|len| 10_u128.checked_pow(len));
        let parts = parts.ok_or(UnitError::TooFine(smallest))?;
        let digits: u128 = fraction.parse().map_err(|_| UnitError::TooFine(smallest))?;
        let product = digits.checked_mul(scale).ok_or(UnitError::TooLarge)?;
        if !product.is_multiple_of(parts) {
            return Err(UnitError::TooFine(smallest));
        }
        total = total.checked_add(product / parts).ok_or(UnitError::TooLarge)?;
    }
    Ok(total)
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("10s", 10_000),
            ("60m", 3_600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            (" 1.5 h ", 5_400_000),
            ("200ms", 200),
            ("0.25s", 250),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("0s", 0),
            ("1.500s", 1500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        let unknown = |unit: &str, nearest| UnitError::UnknownUnit {
            unit: unit.to_owned(),
            quantity: Quantity::Duration,
            nearest,
        };
        for (text, error) in [
            ("", UnitError::Empty),
            ("10", UnitError::NoUnit("10".to_owned())),
            ("1h30", UnitError::NoUnit("30".to_owned())),
            ("s", UnitError::NoNumber("s".to_owned())),
            ("-1s", UnitError::NoNumber("-1s".to_owned())),
            (".5s", UnitError::NoNumber(".5s".to_owned())),
            ("1.s", UnitError::NoNumber("1.".to_owned())),
            ("1.2.3s", UnitError::NoNumber("1.2.3".to_owned())),
            ("10S", unknown("S", Some("s"))),
            ("10mss", unknown("mss", Some("ms"))),
            ("10sec", unknown("sec", Some("s"))),
            ("2 Hours", unknown("Hours", Some("h"))),
            ("10years", unknown("years", None)),
            ("0.0001s", UnitError::TooFine("ms")),
            ("0.0000000000001w", UnitError::TooFine("ms")),
            ("99999999999999999999w", UnitError::TooLarge),
            ("999999999999999999999999999999999999999999s", UnitError::TooLarge),
        ] {
            assert_eq!(duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sizes_and_rates() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1.5 MB"), Ok(1_500_000));
        assert_eq!(size("56B"), Ok(56));
        assert_eq!(size("56"), Err(UnitError::NoUnit("56".to_owned())));
        assert!(matches!(size("1kb"), Err(UnitError::UnknownUnit { nearest: Some("kB"), .. })));
        assert!(matches!(size("1KiB 2B"), Err(UnitError::UnknownUnit { .. })));
        assert_eq!(rate("1Gbit/s"), Ok(1_000_000_000));
        assert_eq!(rate("2.5 Gbit/s"), Ok(2_500_000_000));
        assert_eq!(rate("100Mbps"), Ok(100_000_000));
        assert_eq!(rate("125MB/s"), Ok(1_000_000_000));
        assert!(matches!(rate("1gbit/s"), Err(UnitError::UnknownUnit { nearest: Some("Gbit/s"), .. })));
        assert!(matches!(rate("1G"), Err(UnitError::UnknownUnit { .. })));
    }

    #[test]
    fn written_as_people_write_them() {
        for text in ["10s", "90m", "1h", "7d", "200ms", "1500ms", "365d"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        assert_eq!(duration_text(Duration::from_secs(3600)), "1h");
        assert_eq!(size_text(65_536), "64KiB");
        assert_eq!(rate_text(1_500_000_000), "1500Mbit/s");
        assert_eq!(rate_text(0), "0bit/s");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(amount in 0..=i64::MAX.unsigned_abs()) {
            let span = Duration::from_millis(amount);
            prop_assert_eq!(duration(&duration_text(span)), Ok(span));
            prop_assert_eq!(size(&size_text(amount)), Ok(amount));
            prop_assert_eq!(rate(&rate_text(amount)), Ok(amount));
        }

        #[test]
        fn round_amounts_too(amount in 0_u64..100_000, unit in prop::sample::select(&["ms", "s", "m", "h", "d", "w"][..])) {
            let span = duration(&format!("{amount}{unit}")).unwrap();
            prop_assert_eq!(duration(&duration_text(span)), Ok(span));
        }

        #[test]
        fn rubbish_is_refused_calmly(text in any::<String>()) {
            let _ = (duration(&text), size(&text), rate(&text));
        }

        #[test]
        fn likely_rubbish_is_refused_calmly(text in "[0-9.]{0,45}[ a-zA-Z/]{0,6}[0-9.]{0,4}[a-z]?") {
            let _ = (duration(&text), size(&text), rate(&text));
        }
    }
}
