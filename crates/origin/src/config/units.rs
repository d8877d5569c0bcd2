//! Durations and sizes with their units, in whole numbers.

use std::time::Duration;

/// What is measured: its name with the article, and its units with what each is worth.
#[derive(Debug)]
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    pub(crate) units: &'static [(&'static str, u64)],
    pub(crate) usual: &'static str,
}

/// In milliseconds.
pub(crate) static DURATION: Quantity = Quantity {
    name: "a duration",
    units: &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)],
    usual: "s",
};
/// In bytes.
pub(crate) static SIZE: Quantity = Quantity {
    name: "a size",
    units: &[
        ("B", 1),
        ("kB", 1000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TB", 1_000_000_000_000),
        ("TiB", 1 << 40),
    ],
    usual: "MB",
};
impl Quantity {
    /// The units that may be written, for remedies.
    pub(super) fn list(&self) -> String {
        self.units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ")
    }

    /// Reads such as `10s`, `1.5GB`, `12 h`.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub(crate) fn read(&self, text: &str) -> Result<u64, (String, String)> {
        let text = text.trim();
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        let there_are = || format!("write a number and a unit; there are {}", self.list());
        if number.is_empty() {
            return Err((format!("this is not {}", self.name), there_are()));
        }
        if unit.is_empty() {
            let remedy =
                format!("write \"{number}{}\" if that is the unit you mean; there are {}", self.usual, self.list());
            return Err((format!("{} needs its unit", self.name), remedy));
        }
        let Some((_, worth)) = self.units.iter().find(|(known, _)| *known == unit) else {
            let nearest = nearest(unit, self.units.iter().map(|(unit, _)| *unit));
            let remedy = nearest.map_or_else(there_are, |nearest| format!("did you mean \"{number}{nearest}\"?"));
            return Err((format!("{unit:?} is no unit of {}", self.name), remedy));
        };
        let bad = || (format!("this is not {}", self.name), there_are());
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let too_large = || ("it is too large".to_owned(), "write less".to_owned());
        let mut value = whole.checked_mul(*worth).ok_or_else(too_large)?;
        if !part.is_empty() {
            let digits = u32::try_from(part.len()).ok().filter(|digits| *digits <= 9).ok_or_else(bad)?;
            let part: u64 = part.parse().map_err(|_| bad())?;
            let fraction = u128::from(part) * u128::from(*worth) / u128::from(10_u64.pow(digits));
            value = value.checked_add(u64::try_from(fraction).map_err(|_| too_large())?).ok_or_else(too_large)?;
        }
        Ok(value)
    }
}

/// Milliseconds as a duration.
pub(crate) fn duration(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The known word that was probably meant.
pub(super) fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!(DURATION.read("1d"), Ok(86_400_000));
        assert_eq!(SIZE.read("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(SIZE.read("1MiB"), Ok(1 << 20));
        for bad in ["", "10", "10 GBB", "GB", "1.2.3GB", "-1s", "99999999999999999999GB", "1.0000000000001s"] {
            assert!(SIZE.read(bad).is_err() || DURATION.read(bad).is_err(), "{bad}");
        }
        assert_eq!(SIZE.read("100 Gb").unwrap_err().1, "did you mean \"100GB\"?");
    }
}
