//! `Content-Disposition`, as browsers, curl and PHP understand it.

use percent_encoding::percent_decode;

/// What a part is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    /// The field's name.
    pub name: String,
    /// The file's, as it came; nothing where it is no file.
    pub filename: Option<Vec<u8>>,
}

impl Disposition {
    /// Whether Pomf takes files from such a field: `files[]`, `files[N]`, `files`, `file`, `file[]`.
    #[must_use]
    pub fn is_for_files(&self) -> bool {
        let name = self.name.strip_suffix(']').map_or(self.name.as_str(), |open| {
            let (base, index) = open.split_once('[').unwrap_or((open, "x"));
            if index.bytes().all(|byte| byte.is_ascii_digit()) { base } else { "" }
        });
        matches!(name, "files" | "file")
    }
}

/// Reads the field.
pub(super) fn parse(field: &[u8]) -> Disposition {
    let (_, parameters) = parameters(field);
    let find = |wanted: &[u8]| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let name = find(b"name").unwrap_or_default();
    // Some escape the brackets.
    let name = percent_decode(&name).decode_utf8_lossy().into_owned();
    Disposition { name, filename: find(b"filename").or_else(|| extended(&find(b"filename*")?)) }
}

/// `UTF-8''na%C3%AFve.txt`.
fn extended(value: &[u8]) -> Option<Vec<u8>> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (_charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    Some(percent_decode(text).collect())
}

/// Names and values.
type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// What stands before the first semicolon, and the parameters behind it, their names in small letters.
pub(super) fn parameters(field: &[u8]) -> (&[u8], Parameters) {
    let end = memchr::memchr(b';', field).unwrap_or(field.len());
    let mut rest = &field[end..];
    let mut found = Vec::new();
    while let Some(after) = rest.strip_prefix(b";") {
        let after = after.trim_ascii_start();
        let name_end = after.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(after.len());
        let name = after[..name_end].trim_ascii().to_ascii_lowercase();
        rest = &after[name_end..];
        let Some(value) = rest.strip_prefix(b"=") else { continue };
        let value = value.trim_ascii_start();
        if let Some(quoted) = value.strip_prefix(b"\"") {
            let (text, length) = unquote(quoted);
            found.push((name, text));
            rest = &quoted[length..];
            // What stands between a quote and the next semicolon means nothing.
            rest = &rest[memchr::memchr(b';', rest).unwrap_or(rest.len())..];
        } else {
            let value_end = memchr::memchr(b';', value).unwrap_or(value.len());
            found.push((name, value[..value_end].trim_ascii().to_vec()));
            rest = &value[value_end..];
        }
    }
    (field[..end].trim_ascii(), found)
}

/// The text up to its closing quote, and how long it was there. A backslash before anything but a quote or another one
/// is a backslash: that is how paths of Windows come.
fn unquote(quoted: &[u8]) -> (Vec<u8>, usize) {
    let mut text = Vec::new();
    let mut at = 0;
    while let Some(&byte) = quoted.get(at) {
        match (byte, quoted.get(at + 1)) {
            (b'"', _) => return (text, at + 1),
            (b'\\', Some(&next @ (b'"' | b'\\'))) => {
                text.push(next);
                at += 2;
            }
            _ => {
                text.push(byte);
                at += 1;
            }
        }
    }
    (text, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_are_sent() {
        let cases: [(&str, &str, Option<&str>); 14] = [
            ("form-data; name=\"files[]\"; filename=\"a.txt\"", "files[]", Some("a.txt")),
            ("form-data; name=files[]; filename=a.txt", "files[]", Some("a.txt")),
            ("form-data; NAME=\"files[]\"; FileName=\"a.txt\"", "files[]", Some("a.txt")),
            ("form-data; filename=\"x; name=evil\"; name=\"files[]\"", "files[]", Some("x; name=evil")),
            ("form-data; name=\"files[]\"; filename=\"a\\\"b.txt\"", "files[]", Some("a\"b.txt")),
            ("form-data; name=\"files[]\"; filename=\"C:\\dir\\a.txt\"", "files[]", Some("C:\\dir\\a.txt")),
            ("form-data; name=\"files[]\"; filename=\"a.\"><img src=x>\"", "files[]", Some("a.")),
            ("form-data; name=\"files%5B%5D\"; filename=\"a%22b\"", "files[]", Some("a%22b")),
            ("form-data; name=\"f\"; filename=\"f.txt\"; filename*=UTF-8''na%C3%AFve.txt", "f", Some("f.txt")),
            ("form-data; name=\"f\"; filename*=UTF-8''na%C3%AFve.txt", "f", Some("na\u{ef}ve.txt")),
            ("form-data; name=\"x\"", "x", None),
            ("form-data; name = \"x\" ; filename = \"\"", "x", Some("")),
            ("form-data; name=\"x", "x", None),
            ("form-data;;; name=x;;", "x", None),
        ];
        for (field, name, filename) in cases {
            let expected =
                Disposition { name: name.to_owned(), filename: filename.map(|name| name.as_bytes().to_vec()) };
            assert_eq!(parse(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn files_come_in_these_fields_alone() {
        let is = |name: &str| Disposition { name: name.to_owned(), filename: None }.is_for_files();
        for name in ["files[]", "files[0]", "files[12]", "files", "file", "file[]"] {
            assert!(is(name), "{name}");
        }
        for name in ["", "x", "filesx", "files[a]", "files[][]", "[]", "profiles[]", "files]", "]"] {
            assert!(!is(name), "{name}");
        }
    }
}
