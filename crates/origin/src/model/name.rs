//! Names: what stands in URLs.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::random;

/// In bytes.
const LONGEST: usize = 255;
/// Of an extension, in bytes.
const LONGEST_EXTENSION: usize = 32;
/// What stays as it is in a URL's path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');
/// Extensions before which another one counts, as in `.tar.gz`.
const PACKED: [&str; 8] = ["gz", "bz2", "xz", "zst", "lz", "lz4", "lzma", "z"];

/// A name that may stand for a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// `text`, if it can be a name: one segment of a path, and nothing hidden in it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = !text.is_empty()
            && text.len() <= LONGEST
            && !text.starts_with('.')
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "/\\?#%".contains(c));
        plain.then(|| Self(text.to_owned()))
    }

    /// The name in a URL's path, without its slash.
    #[must_use]
    pub fn from_path(segment: &str) -> Option<Self> {
        Self::new(&percent_decode_str(segment).decode_utf8().ok()?)
    }

    /// As it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in a URL.
    #[must_use]
    pub fn in_url(&self) -> String {
        utf8_percent_encode(&self.0, ESCAPED).to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes names.
#[derive(Clone, Debug)]
pub struct NameMaker {
    length: usize,
    /// What has another meaning in a path.
    reserved: Vec<String>,
}

impl NameMaker {
    /// With so many random characters, and never one of these paths.
    #[must_use]
    pub fn new(length: usize, reserved: Vec<String>) -> Self {
        Self { length, reserved }
    }

    /// A new name for what its uploader calls `original`, whose extension it keeps.
    #[must_use]
    pub fn make(&self, original: &str) -> Name {
        let extension = extension(original);
        loop {
            let mut text = random(self.length);
            if let Some(extension) = &extension {
                text.push('.');
                text.push_str(extension);
            }
            if !self.reserved.iter().any(|path| path.trim_start_matches('/') == text) {
                return Name(text);
            }
        }
    }
}

/// What is kept of a name: `gz`, or `tar.gz`, if it is made of letters, digits and a few signs.
fn extension(original: &str) -> Option<String> {
    let is_plain = |part: &&str| {
        !part.is_empty()
            && part.len() <= LONGEST_EXTENSION
            && part.chars().all(|c| c.is_alphanumeric() || "-_+".contains(c))
    };
    let (before, last) = original.trim_end_matches(['.', ' ']).rsplit_once('.')?;
    let last = Some(last).filter(is_plain)?;
    if PACKED.contains(&last.to_lowercase().as_str())
        && let Some((stem, inner)) = before.rsplit_once('.')
        && !stem.is_empty()
        && inner.eq_ignore_ascii_case("tar")
    {
        return Some(format!("{inner}.{last}"));
    }
    Some(last.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_kept_where_they_are_plain() {
        let cases = [
            ("a.txt", Some("txt")),
            ("a.TXT", Some("TXT")),
            ("x.tar.gz", Some("tar.gz")),
            ("x.notes.gz", Some("gz")),
            ("tar.gz", Some("gz")),
            ("a.exe.", Some("exe")),
            (".user.ini", Some("ini")),
            ("a", None),
            ("a.", None),
            ("a.b c", None),
            ("a.\"><img src=x>", None),
            ("a.テキスト", Some("テキスト")),
            ("a.\u{202e}txt", None),
        ];
        for (original, expected) in cases {
            assert_eq!(extension(original).as_deref(), expected, "{original:?}");
        }
        assert_eq!(extension(&format!("a.{}", "x".repeat(300))), None);
    }

    #[test]
    fn a_name_is_one_plain_segment() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\0", "a\u{7f}", "a%2fb", "a?b", &"x".repeat(256)]
        {
            assert_eq!(Name::new(bad), None, "{bad:?}");
        }
        for bad in ["..%2fa", "%2e%2e", "a%00", "a%ff", "%2e%2e%2f%2e%2e%2fetc"] {
            assert_eq!(Name::from_path(bad), None, "{bad:?}");
        }
        let name = Name::from_path("a.%E3%83%86").unwrap();
        assert_eq!((name.as_str(), name.in_url().as_str()), ("a.テ", "a.%E3%83%86"));
    }

    #[test]
    fn a_made_name_is_never_reserved_and_can_be_one() {
        let maker = NameMaker::new(8, vec!["/upload.php".to_owned()]);
        for original in ["a.txt", "a", "x.tar.gz", "a.テキスト", "../../a.b", ".php"] {
            let name = maker.make(original);
            assert_eq!(Name::from_path(&name.in_url()), Some(name.clone()), "{name}");
        }
    }
}
