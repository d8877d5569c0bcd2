//! What an object is found by.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

/// The first half of the SHA-256 of an object's name. Nobody can choose two names with one key, so that a crafted URL
/// cannot take another object's place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// Of a name, such as host and path.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest(&SHA256, name.as_bytes()).as_ref()[..16]);
        Self(key)
    }

    /// Another that belongs to this one: of a part, say.
    #[must_use]
    pub fn derived(mut self, number: u64) -> Self {
        let mixed = self.hash() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0[..8].copy_from_slice(&mixed.to_le_bytes());
        self
    }

    /// For tables: as good as random already.
    #[must_use]
    pub fn hash(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().expect("eight of sixteen bytes"))
    }

    /// 32 hexadecimal digits, the name of its file.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key whose file is called so.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut key = [0; 16];
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(key))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_can_be_read_back_from_its_file_name() {
        let key = Key::of("files.example.com/a.mp4");
        assert_eq!(Key::from_hex(&key.hex()), Some(key));
        assert_ne!(key, Key::of("files.example.com/b.mp4"));
        assert_eq!(Key::from_hex("0123"), None);
        assert_eq!(Key::from_hex(&"é".repeat(16)), None);
    }
}
