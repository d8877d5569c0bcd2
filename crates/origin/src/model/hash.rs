//! Hashes, and their text.

use std::fmt;
use std::str::FromStr;

/// What content is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

/// What Pomf calls a file's hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sha1(pub [u8; 20]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Sha256 {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        bytes(text).map(Self).ok_or(())
    }
}

impl FromStr for Sha1 {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        bytes(text).map(Self).ok_or(())
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut found = [0; N];
    for (at, byte) in found.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_hashes_are_the_same() {
        let text = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert_eq!(text.parse::<Sha1>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Sha1>().unwrap().to_string(), text);
        assert!(text.parse::<Sha256>().is_err());
        assert!("+a39a3ee5e6b4b0d3255bfef95601890afd80709".parse::<Sha1>().is_err());
        assert!("é39a3ee5e6b4b0d3255bfef95601890afd8070".parse::<Sha1>().is_err());
    }
}
