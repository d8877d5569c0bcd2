//! What an uploader asks for beside having the file kept.

use std::time::Duration;

use http::HeaderMap;

use super::refusal::Refusal;
use crate::config::units;

/// The longest that can be asked for; what should last longer should last.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What an uploader asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// To be gone after so long.
    pub expires: Option<Duration>,
    /// To be gone after so many downloads.
    pub max_views: Option<u32>,
}

impl Wish {
    /// What the query and the header fields ask for.
    ///
    /// # Errors
    ///
    /// When something asked for cannot be understood: it must not be kept longer than was meant.
    pub fn of(query: Option<&str>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut wish = Self::default();
        for (field, key, unit) in [("max-days", "expires", "d"), ("max-downloads", "max_views", "")] {
            if let Some(value) = headers.get(field) {
                wish.set(key, &format!("{}{unit}", value.to_str().unwrap_or("?").trim()))?;
            }
        }
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            wish.set(&key, &value)?;
        }
        Ok(wish)
    }

    /// Whether a field of a form is of interest.
    #[must_use]
    pub fn has(key: &str) -> bool {
        matches!(key, "expires" | "max_views" | "oneshot")
    }

    /// Takes one in. What is empty is not asked for.
    ///
    /// # Errors
    ///
    /// As [`Wish::of`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        let value = value.trim();
        if value.is_empty() {
            return Ok(());
        }
        match key {
            "expires" => {
                let expires = units::DURATION.read(value).ok().map(units::duration);
                let expires = expires.filter(|expires| !expires.is_zero() && *expires <= LONGEST);
                self.expires = Some(expires.ok_or(Refusal::Wish("expires must be a time such as 12h or 3d"))?);
            }
            "max_views" => {
                let views = value.parse().ok().filter(|views| *views > 0);
                self.max_views = Some(views.ok_or(Refusal::Wish("max_views must be a whole number above 0"))?);
            }
            "oneshot" => match value.to_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => self.max_views = Some(1),
                "0" | "false" | "no" | "off" => {}
                _ => return Err(Refusal::Wish("oneshot must be 1 or 0")),
            },
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_understood_or_refused() {
        let of = |query: &str, fields: &[(&'static str, &str)]| {
            let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            Wish::of(Some(query), &headers)
        };
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(of("output=text", &[]), Ok(Wish::default()));
        assert_eq!(of("expires=12h", &[]), Ok(Wish { expires: hours(12), max_views: None }));
        assert_eq!(of("expires=&oneshot=1", &[]), Ok(Wish { expires: None, max_views: Some(1) }));
        let fields = [("max-days", "2"), ("max-downloads", "3")];
        assert_eq!(of("", &fields), Ok(Wish { expires: hours(48), max_views: Some(3) }));
        for bad in
            ["expires=x", "expires=0s", "expires=12", "max_views=0", "max_views=-1", "oneshot=x", "expires=99999d"]
        {
            assert!(of(bad, &[]).is_err(), "{bad}");
        }
    }
}
