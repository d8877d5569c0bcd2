//! Moments as people write them.

use crate::config::units::DURATION;
use crate::model::Time;

/// `2026-11-21T10:15:58Z`, `2026-11-21 10:15`, `2026-11-21` (its beginning, all UTC), or `3h` for so long ago.
///
/// # Errors
///
/// What would be understood.
pub fn moment(text: &str, now: Time) -> Result<Time, String> {
    let text = text.trim();
    if let Ok(ago) = DURATION.read(text.trim_end_matches("ago")) {
        let ago = i64::try_from(ago).unwrap_or(i64::MAX);
        return Ok(Time(now.0.saturating_sub(ago)));
    }
    let wrong =
        || format!("{text:?} is no moment; write it like 2026-11-21T10:15:58Z, 2026-11-21, or 3h for so long ago");
    let plain = text.trim_end_matches(['Z', 'z']).replace(['T', 't'], " ");
    let (date, clock) = plain.split_once(' ').unwrap_or((&plain, "00:00:00"));
    let numbers = |text: &str, mark: char| -> Option<Vec<i64>> {
        text.split(mark)
            .map(|part| part.parse().ok().filter(|_| part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_digit())))
            .collect()
    };
    let date = numbers(date, '-').filter(|date| date.len() == 3).ok_or_else(wrong)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let clock = numbers(clock, ':').filter(|clock| clock.len() == 2 || clock.len() == 3).ok_or_else(wrong)?;
    let second = clock.get(2).copied().unwrap_or(0);
    let milliseconds: i64 =
        format!("{fraction:0<3}").get(..3).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let is_right = (1970..=9999).contains(&date[0])
        && (1..=12).contains(&date[1])
        && (1..=31).contains(&date[2])
        && clock[0] < 24
        && clock[1] < 60
        && second < 61;
    if !is_right {
        return Err(wrong());
    }
    let seconds = days(date[0], date[1], date[2]) * 86_400 + clock[0] * 3600 + clock[1] * 60 + second;
    Ok(Time(seconds * 1000 + milliseconds))
}

/// Days from 1970 to a date.
#[must_use]
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years beginning in March have the leap day at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (leap_days, month_days) = (year / 4 - year / 100 + year / 400, (153 * month + 2) / 5);
    year * 365 + leap_days + month_days + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        let now = Time(1_795_256_158_000);
        let cases = [
            ("2026-11-21T10:15:58Z", 1_795_256_158_000),
            ("2026-11-21T10:15:58.5Z", 1_795_256_158_500),
            ("2026-11-21 10:15", 1_795_256_100_000),
            ("2026-11-21", 1_795_219_200_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("1h", now.0 - 3_600_000),
            ("3d ago", now.0 - 3 * 86_400_000),
        ];
        for (text, expected) in cases {
            assert_eq!(moment(text, now), Ok(Time(expected)), "{text}");
        }
        for bad in
            ["", "now", "2026-13-01", "2026-11-21T25:00", "2026-11", "2026-1-1", "2026-11-21T10:15:58+02:00", "-5h"]
        {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
        for time in [0, 951_782_400_000, 4_102_444_799_000] {
            assert_eq!(moment(&Time(time).rfc3339(), now), Ok(Time(time)));
        }
    }
}
