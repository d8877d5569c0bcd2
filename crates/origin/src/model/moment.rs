//! Moments that people and other servers write.

use super::Time;

impl Time {
    /// `2026-11-21`, `2026-11-21 10:15:58` or `2026-11-21T10:15:58Z`, in UTC.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(time.trim_end_matches('Z'), ':')?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_in = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let longest = *days_in.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
        if !(1..=longest).contains(&day) || hour > 23 || minute > 59 || second > 60 || !(1970..=9999).contains(&year) {
            return None;
        }
        // Years begin in March, so that the leap day is a year's last.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
        Some(Self((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000))
    }
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let parts: Vec<i64> = text
        .split(between)
        .map(|part| part.parse().ok().filter(|_| part.bytes().all(|c| c.is_ascii_digit())))
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for text in ["1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2026-11-21T10:15:58Z", "2100-03-01T00:00:00Z"] {
            assert_eq!(Time::read(text).unwrap().rfc3339(), text);
        }
        assert_eq!(Time::read("2015-09-01").unwrap().rfc3339(), "2015-09-01T00:00:00Z");
        assert_eq!(Time::read("2015-09-01 12:00:00").unwrap().rfc3339(), "2015-09-01T12:00:00Z");
        for bad in
            ["", "2015", "2015-13-01", "2015-02-29", "2015-00-10", "0000-00-00", "2015-09-01T25:00:00Z", "+2015-1-1"]
        {
            assert_eq!(Time::read(bad), None, "{bad}");
        }
    }
}
