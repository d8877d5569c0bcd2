//! Hashes, and their text.

use std::fmt;
use std::str::FromStr;

macro_rules! hash {
    ($(#[doc = $doc:literal] $name:ident: $bytes:literal,)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                bytes(text).map(Self).ok_or(())
            }
        }
    )*};
}

hash! {
    #[doc = "What content is known by."]
    Sha256: 32,
    #[doc = "What Pomf calls a file's hash."]
    Sha1: 20,
    #[doc = "What old lists of banned content have. Nothing is trusted because of it."]
    Md5: 16,
}

/// All hashes of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// What it is known by.
    pub sha256: Sha256,
    /// What Pomf calls its hash.
    pub sha1: Sha1,
    /// What old lists have.
    pub md5: Md5,
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
        assert!(text.parse::<Md5>().is_err());
        assert!("+a39a3ee5e6b4b0d3255bfef95601890afd80709".parse::<Sha1>().is_err());
        assert!("é39a3ee5e6b4b0d3255bfef95601890afd8070".parse::<Sha1>().is_err());
        assert_eq!("d41d8cd98f00b204e9800998ecf8427e".parse::<Md5>().unwrap().0[0], 0xd4);
    }
}
