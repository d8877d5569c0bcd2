//! Random texts: names and tokens for deletion.

use std::fmt;

use super::Sha256;

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// So many letters and digits, each as likely as the others.
#[must_use]
pub fn random(length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
        for byte in bytes {
            // Of 64 values 62 are used: a remainder would make some letters more likely.
            let letter = LETTERS.get(usize::from(byte & 63));
            if let Some(&letter) = letter.filter(|_| text.len() < length) {
                text.push(char::from(letter));
            }
        }
    }
    text
}

/// What allows to delete one upload. It is told once; of it a hash alone is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new one: 160 bit.
    #[must_use]
    pub fn random() -> Self {
        Self(random(27))
    }

    /// One that somebody gives.
    #[must_use]
    pub fn given(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The one that belongs to a secret: whoever has that can make it again.
    #[must_use]
    pub fn derived(secret: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("delete {secret}").as_bytes());
        Self(digest.as_ref()[..20].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// To be told to the uploader.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept, and looked for: who searches for a hash learns nothing from how long it takes.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.as_bytes());
        Sha256(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_letter_is_as_likely() {
        let text = random(62_000);
        assert_eq!(text.len(), 62_000);
        let mut counts: BTreeMap<char, i64> = BTreeMap::new();
        for letter in text.chars() {
            *counts.entry(letter).or_default() += 1;
        }
        assert_eq!(counts.len(), 62);
        // 1000 are expected of each; ten standard deviations away is never seen.
        assert!(counts.values().all(|count| (count - 1000).abs() < 316), "{counts:?}");
        assert_ne!(random(8), random(8));
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = Token::random();
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert_eq!(Token::given(token.reveal()).hash(), token.hash());
    }
}
