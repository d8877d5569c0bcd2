//! What pages have in common: their style, what a browser may do with them, how sizes and times are written.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;

/// Of all pages.
pub const STYLE: &str = include_str!("style.css");

/// What a browser may do with a page: nothing from elsewhere, and of what stands in it only what was meant to. A page
/// in which somebody else's text were taken for a script would still not run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    style: Option<String>,
    script: Option<String>,
}

impl Policy {
    /// With this between `<style>` and `</style>`.
    #[must_use]
    pub fn style(self, text: &str) -> Self {
        Self { style: Some(hash(text)), ..self }
    }

    /// With this between `<script>` and `</script>`, which may ask this server.
    #[must_use]
    pub fn script(self, text: &str) -> Self {
        Self { script: Some(hash(text)), ..self }
    }

    /// As the field wants it.
    #[must_use]
    pub fn value(&self) -> HeaderValue {
        let mut text = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'".to_owned();
        if let Some(hash) = &self.style {
            text.push_str(&format!("; style-src '{hash}'"));
        }
        if let Some(hash) = &self.script {
            text.push_str(&format!("; script-src '{hash}'; connect-src 'self'"));
        }
        HeaderValue::try_from(text).expect("hashes in base64 are ASCII")
    }
}

fn hash(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}

/// As in `1.5 MiB`.
#[must_use]
pub fn people_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In tenths, rounded; of what rounds up to 1024 the next unit has one.
    let mut unit = 0;
    let tenths = |unit: usize| (u128::from(bytes) * 10 + (1 << (10 * unit + 9))) >> (10 * (unit + 1));
    while unit + 1 < UNITS.len() && tenths(unit) >= 10_240 {
        unit += 1;
    }
    let tenths = tenths(unit);
    if tenths < 100 && tenths % 10 > 0 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", (tenths + 5) / 10, UNITS[unit])
    }
}

/// As in `8 hours`.
#[must_use]
pub fn people_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let (unit, worth) = units.into_iter().find(|(_, worth)| seconds.is_multiple_of(*worth)).unwrap_or(("second", 1));
    let count = seconds / worth;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_for_people() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 10, "10 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (256 << 20, "256 MiB"),
            (3 << 30, "3 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(people_size(bytes), expected, "{bytes}");
        }
        for (seconds, expected) in [(1, "1 second"), (90, "90 seconds"), (3600, "1 hour"), (28_800, "8 hours")] {
            assert_eq!(people_time(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_policy_allows_what_it_names() {
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        let value = Policy::default().script("").value();
        let text = value.to_str().unwrap();
        assert!(text.contains(&format!("script-src {empty}")) && text.contains("connect-src 'self'"), "{text}");
        assert!(!text.contains("style-src") && text.starts_with("default-src 'none'"), "{text}");
    }
}
