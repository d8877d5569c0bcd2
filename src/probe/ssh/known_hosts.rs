//! Host keys as OpenSSH keeps them in `known_hosts`: plain, with patterns, or with hashed names.
//!
//! libssh2 can read such files, but for each session anew. Here the file is read once and each name looked up once.
//! Certificate authorities are passed over: the library cannot check host certificates.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::model::Fingerprint;

/// The keys of one file.
#[derive(Debug)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
    /// What was looked up before: hashed names make a look-up as long as the file.
    found: Mutex<BTreeMap<Vec<String>, Arc<Known>>>,
}

/// What a file knows about one host. Keys are in the wire format.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Keys that are its own.
    pub(super) keys: Vec<Vec<u8>>,
    /// Keys that nobody must show any more.
    pub(super) revoked: Vec<Vec<u8>>,
}

/// A kind of host key; in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ed25519,
    Ecdsa,
    Rsa,
}

impl Family {
    pub(super) const ALL: [Self; 3] = [Self::Ed25519, Self::Ecdsa, Self::Rsa];

    /// The algorithms, best first, as SSH names them.
    pub(super) fn algorithms(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Ecdsa => "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521",
            Self::Rsa => "rsa-sha2-512,rsa-sha2-256,ssh-rsa",
        }
    }

    /// Of a key in the wire format, which begins with its kind's length and name.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let length = usize::try_from(u32::from_be_bytes(*key.first_chunk()?)).ok()?;
        match key.get(4..)?.get(..length)? {
            b"ssh-ed25519" => Some(Self::Ed25519),
            b"ssh-rsa" => Some(Self::Rsa),
            kind if kind.starts_with(b"ecdsa-sha2-") => Some(Self::Ecdsa),
            _ => None,
        }
    }
}

/// As `ssh-keygen -l` shows a key in the wire format.
pub(super) fn fingerprint(key: &[u8]) -> Fingerprint {
    let digest = digest::digest(&digest::SHA256, key);
    Fingerprint(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

impl KnownHosts {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(path)?))
    }

    /// Lines that are not understood are passed over, as OpenSSH does.
    fn parse(text: &str) -> Self {
        Self { entries: text.lines().filter_map(Entry::parse).collect(), found: Mutex::default() }
    }

    /// What is known under any of `names`, each as OpenSSH writes it: `192.0.2.1`, or `[192.0.2.1]:2222`.
    pub(super) fn look_up(&self, names: Vec<String>) -> Arc<Known> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(found.entry(names).or_insert_with_key(|names| {
            let mut known = Known::default();
            for entry in self.entries.iter().filter(|entry| names.iter().any(|name| entry.hosts.matches(name))) {
                if entry.revoked { &mut known.revoked } else { &mut known.keys }.push(entry.key.clone());
            }
            Arc::new(known)
        }))
    }
}

#[derive(Debug)]
struct Entry {
    revoked: bool,
    hosts: Hosts,
    key: Vec<u8>,
}

#[derive(Debug)]
enum Hosts {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let mut hosts = words.next().filter(|word| !word.starts_with('#'))?;
        let mut revoked = false;
        if hosts.starts_with('@') {
            revoked = hosts == "@revoked";
            if !revoked {
                return None;
            }
            hosts = words.next()?;
        }
        let _kind = words.next()?;
        let key = decode(words.next()?)?;
        Some(Self { revoked, hosts: Hosts::parse(hosts)?, key })
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        let Some(hashed) = text.strip_prefix("|1|") else {
            return Some(Self::Patterns(text.split(',').map(str::to_ascii_lowercase).collect()));
        };
        let (salt, hash) = hashed.split_once('|')?;
        Some(Self::Hashed { salt: decode(salt)?, hash: decode(hash)? })
    }

    fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match self {
            Self::Hashed { salt, hash } => {
                let salt = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::verify(&salt, name.as_bytes(), hash).is_ok()
            }
            Self::Patterns(patterns) => {
                let excluded = |pattern: &String| pattern.strip_prefix('!').is_some_and(|not| glob(not, &name));
                !patterns.iter().any(excluded) && patterns.iter().any(|pattern| glob(pattern, &name))
            }
        }
    }
}

/// Whether `pattern`, where `*` is any text and `?` any character, is the whole of `text`.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // After a star: where the pattern goes on, and how much text the star has taken.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
            }
            Some(b'?') => (at, from) = (at + 1, from + 1),
            Some(byte) if *byte == text[from] => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, from) = (after, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key as such a file has it.
    const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIPXUgz8g4nv9SrjLkpBkVOfcwGV4TVB8GVaGTw6Lq2jo";

    fn key() -> Vec<u8> {
        decode(ED25519).unwrap()
    }

    fn check(file: &str, name: &str, keys: usize, revoked: usize) {
        let known = KnownHosts::parse(file).look_up(vec![name.to_owned()]);
        assert_eq!((known.keys.len(), known.revoked.len()), (keys, revoked), "{name} in {file:?}");
    }

    #[test]
    fn plain_names_and_patterns() {
        let line = |hosts: &str| format!("{hosts} ssh-ed25519 {ED25519} a comment\n");
        check(&line("192.0.2.1"), "192.0.2.1", 1, 0);
        check(&line("192.0.2.1"), "192.0.2.10", 0, 0);
        check(&line("slice1.example.com,192.0.2.1"), "192.0.2.1", 1, 0);
        check(&line("[192.0.2.1]:2222"), "[192.0.2.1]:2222", 1, 0);
        check(&line("[192.0.2.1]:2222"), "192.0.2.1", 0, 0);
        check(&line("192.0.2.*"), "192.0.2.77", 1, 0);
        check(&line("192.0.2.?"), "192.0.2.77", 0, 0);
        check(&line("192.0.2.*,!192.0.2.77"), "192.0.2.77", 0, 0);
        check(&line("Slice1"), "slice1", 1, 0);
        check(&format!("@revoked * ssh-ed25519 {ED25519}"), "192.0.2.1", 0, 1);
        check(&format!("@cert-authority * ssh-ed25519 {ED25519}"), "192.0.2.1", 0, 0);
    }

    #[test]
    fn hashed_names() {
        let salt = [7_u8; 20];
        let hash = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt), b"[192.0.2.1]:2222");
        let line = format!("|1|{}|{} ssh-ed25519 {ED25519}", STANDARD.encode(salt), STANDARD.encode(hash));
        check(&line, "[192.0.2.1]:2222", 1, 0);
        check(&line, "192.0.2.1", 0, 0);
    }

    #[test]
    fn rubbish_is_passed_over() {
        for line in
            ["", "#", "# a comment", "host", "host ssh-rsa", "host ssh-rsa ***", "|1|x ssh-rsa AAAA", "@", "@revoked"]
        {
            check(line, "host", 0, 0);
        }
        check(&format!("rubbish\n|1||\nhost ssh-ed25519 {ED25519}"), "host", 1, 0);
    }

    #[test]
    fn stars_match_as_people_expect() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abc", true),
            ("a*c", "abcc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("?", "", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn keys_tell_their_kind() {
        assert_eq!(Family::of(&key()), Some(Family::Ed25519));
        assert_eq!(Family::of(b"\0\0\0\x07ssh-rsa\0"), Some(Family::Rsa));
        assert_eq!(Family::of(b"\0\0\0\x13ecdsa-sha2-nistp256"), Some(Family::Ecdsa));
        assert_eq!(Family::of(b"\0\0\0\xffssh-rsa"), None);
        assert_eq!(Family::of(b"\0"), None);
        assert!(fingerprint(&key()).to_string().starts_with("SHA256:"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(text in "(?s).{0,200}", name in ".{0,20}") {
            let _ = KnownHosts::parse(&text).look_up(vec![name]);
        }

        #[test]
        fn lines_of_nearly_the_right_form_can_be_read(
            line in r"(@revoked )?(\|1\|)?[a-z*?!,|=]{0,12} ssh-rsa [A-Za-z0-9+/=]{0,12}",
            name in "[a-z]{0,6}",
        ) {
            for key in &KnownHosts::parse(&line).look_up(vec![name]).keys {
                let _ = Family::of(key);
            }
        }

        #[test]
        fn globs_agree_with_the_obvious_way(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn obvious(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        obvious(rest, text) || text.split_first().is_some_and(|(_, less)| obvious(pattern, less))
                    }
                    (Some((b'?', rest)), Some((_, less))) => obvious(rest, less),
                    (Some((one, rest)), Some((other, less))) => one == other && obvious(rest, less),
                    _ => false,
                }
            }
            proptest::prop_assert_eq!(glob(&pattern, &text), obvious(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
