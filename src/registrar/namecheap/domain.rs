//! Where a zone's name is cut in two: `example` and `co.uk`.

use psl::{Psl as _, Type};

/// A registered domain in the two parts that the API wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain {
    /// `example`.
    pub sld: String,
    /// `com`, `co.uk`.
    pub tld: String,
}

impl Domain {
    /// Cuts `zone` at its public suffix.
    ///
    /// # Errors
    /// Says why `zone` cannot be a zone of this provider, and what could.
    pub(super) fn split(zone: &str) -> Result<Self, String> {
        let name = zone.strip_suffix('.').unwrap_or(zone).to_ascii_lowercase();
        let said: String = zone.chars().take(80).collect();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !name.is_ascii() {
            return Err(format!("zone {said:?} must be written in its ASCII form (xn--...)"));
        }
        if name.len() > 253 || !name.split('.').all(label) || name.parse::<std::net::IpAddr>().is_ok() {
            return Err(format!("zone {said:?} is not a domain name"));
        }
        let Some((sld, tld)) = name.split_once('.') else {
            return Err(format!("zone {said:?} is a top-level domain; name the domain that you registered"));
        };
        if is_suffix(tld) && (!is_suffix(&name) || is_private(&name)) {
            return Ok(Self { sld: sld.to_owned(), tld: tld.to_owned() });
        }
        match psl::domain_str(&name) {
            Some(registered) if registered != name => Err(format!(
                "zone {said:?} lies below the registered domain {registered:?}, and the API edits registered domains only; \
                 name {registered:?} as the zone"
            )),
            _ => Err(format!("zone {said:?} is a public suffix; name the domain that you registered under it")),
        }
    }

    /// The whole name.
    #[must_use]
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.sld, self.tld)
    }
}

/// Whether names are registered directly under `name`.
fn is_suffix(name: &str) -> bool {
    psl::List.suffix(name.as_bytes()).is_some_and(|suffix| suffix.as_bytes() == name.as_bytes())
}

/// Whether `name` is a suffix by its owner's wish alone (`github.io`), and so may itself be somebody's registered domain.
fn is_private(name: &str) -> bool {
    psl::List.suffix(name.as_bytes()).is_some_and(|suffix| suffix.typ() == Some(Type::Private))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_domains_are_cut_at_their_public_suffix() {
        for (zone, sld, tld) in [
            ("example.com", "example", "com"),
            ("Example.COM.", "example", "com"),
            ("example.co.uk", "example", "co.uk"),
            ("example.photography", "example", "photography"),
            ("xn--bcher-kva.example", "xn--bcher-kva", "example"),
            ("github.io", "github", "io"),
            ("example.uk.com", "example", "uk.com"),
        ] {
            let wanted = Domain { sld: sld.to_owned(), tld: tld.to_owned() };
            assert_eq!(Domain::split(zone), Ok(wanted), "{zone}");
        }
        assert_eq!(Domain::split("example.co.uk").unwrap().name(), "example.co.uk");
    }

    #[test]
    fn other_names_are_refused_with_a_remedy() {
        for (zone, why) in [
            ("com", "is a top-level domain"),
            ("co.uk", "is a public suffix"),
            ("files.example.com", "name \"example.com\" as the zone"),
            ("a.b.example.co.uk", "name \"example.co.uk\" as the zone"),
            ("bücher.example", "ASCII form"),
            ("", "is not a domain name"),
            ("exa mple.com", "is not a domain name"),
            ("example..com", "is not a domain name"),
            ("-example.com", "is not a domain name"),
            ("192.0.2.1", "is not a domain name"),
        ] {
            let error = Domain::split(zone).unwrap_err();
            assert!(error.contains(why), "{zone}: {error}");
        }
    }
}
