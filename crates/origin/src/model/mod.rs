//! Values: hashes, names, tokens, links, objects.

mod hash;
mod moment;
mod name;
mod token;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use hash::{Hashes, Md5, Sha1, Sha256};
pub use name::{Name, NameMaker};
pub use token::{Token, random};

/// A moment: milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` it is; nothing if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As in `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub fn http_date(self) -> String {
        let seconds = u64::try_from(self.0 / 1000).unwrap_or(0).min(253_402_300_799);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// As in `2026-11-21T10:15:58Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let days = self.0.div_euclid(86_400_000);
        let seconds = self.0.rem_euclid(86_400_000) / 1000;
        // From days to a date: years begin in March, so that the leap day is a year's last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(0).after(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

/// Where an object's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this disk alone.
    Local,
    /// On this disk and in the tier.
    Both,
    /// In the tier alone.
    Remote,
}

/// Content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Of its row.
    pub id: i64,
    /// What it is known by.
    pub sha256: Sha256,
    /// What Pomf calls its hash.
    pub sha1: Sha1,
    /// In bytes.
    pub size: u64,
    /// What it is, by its bytes.
    pub kind: String,
    /// When it came first.
    pub created: Time,
    /// Where it is.
    pub place: Place,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// As in the URL.
    pub name: Name,
    /// What the first uploader called it.
    pub original: String,
    /// When it came.
    pub created: Time,
    /// From then on it is gone.
    pub expires: Option<Time>,
    /// Gone after so many downloads.
    pub max_views: Option<u32>,
    /// Those there were.
    pub views: u32,
    /// Whether equal uploads get it, too.
    pub shared: bool,
}

/// Why a name stands for nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Everybody who had uploaded it removed it.
    Deleted,
    /// Its time was over.
    Expired,
    /// It was downloaded as often as it was meant to be.
    Seen,
    /// Whoever runs this removed it.
    Operator,
}

impl Why {
    /// As it stands in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Seen => "seen",
            Self::Operator => "operator",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_for_machines() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_256_158_999, "2026-11-21T10:15:58Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ];
        for (time, expected) in cases {
            assert_eq!(Time(time).rfc3339(), expected);
        }
        assert_eq!(Time(784_111_777_000).http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
