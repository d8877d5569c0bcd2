//! What the header fields of tus 1.0 say. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

/// Of `Upload-Metadata`.
const LONGEST_METADATA: usize = 8 << 10;

/// The fields of one request, or of none.
pub const VERSION: &str = "1.0.0";
/// What is offered.
pub const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum";
/// With which checksums.
pub const CHECKSUMS: &str = "sha1,sha256";
/// The kind of all bodies.
pub const KIND: &str = "application/offset+octet-stream";

/// Which checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a body's checksum must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Which.
    pub algorithm: Algorithm,
    /// What comes out.
    pub digest: Vec<u8>,
}

/// How long an upload will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Known(u64),
    /// That is told later.
    Deferred,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadField(pub &'static str);

/// A number in a field that is there at most once.
fn number(headers: &HeaderMap, name: &str, wrong: BadField) -> Result<Option<u64>, BadField> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    match (text.and_then(|text| text.parse().ok()), values.next()) {
        (Some(number), None) => Ok(Some(number)),
        _ => Err(wrong),
    }
}

/// `Upload-Offset`.
///
/// # Errors
///
/// When it is not there, or no number.
pub fn offset(headers: &HeaderMap) -> Result<u64, BadField> {
    const WRONG: BadField = BadField("Upload-Offset must be a number");
    number(headers, "upload-offset", WRONG)?.ok_or(WRONG)
}

/// `Upload-Length`.
///
/// # Errors
///
/// When it is no number.
pub fn told_length(headers: &HeaderMap) -> Result<Option<u64>, BadField> {
    number(headers, "upload-length", BadField("Upload-Length must be a number"))
}

/// `Upload-Length` or `Upload-Defer-Length`.
///
/// # Errors
///
/// When there is not exactly one of them.
pub fn length(headers: &HeaderMap) -> Result<Length, BadField> {
    let deferred = number(headers, "upload-defer-length", BadField("Upload-Defer-Length must be 1"))?;
    match (told_length(headers)?, deferred) {
        (Some(length), None) => Ok(Length::Known(length)),
        (None, Some(1)) => Ok(Length::Deferred),
        (None, Some(_)) => Err(BadField("Upload-Defer-Length must be 1")),
        _ => Err(BadField("either Upload-Length or Upload-Defer-Length is needed")),
    }
}

/// `Upload-Checksum`.
///
/// # Errors
///
/// When it is not one that is offered, or not as long as it should be.
pub fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, BadField> {
    let Some(value) = headers.get("upload-checksum") else { return Ok(None) };
    let parted = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
    let Some((name, digest)) = parted else { return Err(BadField("Upload-Checksum must be a name and a digest")) };
    let (algorithm, length) = match name.to_ascii_lowercase().as_str() {
        "sha1" => (Algorithm::Sha1, 20),
        "sha256" => (Algorithm::Sha256, 32),
        _ => return Err(BadField("this checksum is not offered; there are sha1 and sha256")),
    };
    match STANDARD.decode(digest.trim()) {
        Ok(digest) if digest.len() == length => Ok(Some(Checksum { algorithm, digest })),
        _ => Err(BadField("the digest in Upload-Checksum is none")),
    }
}

/// `Upload-Metadata`: as it was sent, and its pairs.
///
/// # Errors
///
/// When it is not well-formed, has a key twice, or is too long.
pub fn metadata(headers: &HeaderMap) -> Result<(String, Vec<(String, Vec<u8>)>), BadField> {
    let mut fields = headers.get_all("upload-metadata").iter();
    let Some(field) = fields.next() else { return Ok((String::new(), Vec::new())) };
    if fields.next().is_some() || field.len() > LONGEST_METADATA {
        return Err(BadField("Upload-Metadata is there twice, or too long"));
    }
    let text = field.to_str().map_err(|_| BadField("Upload-Metadata must be ASCII"))?;
    let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = STANDARD.decode(value.trim()).map_err(|_| BadField("a value in Upload-Metadata is no Base64"))?;
        if key.is_empty() || pairs.iter().any(|(known, _)| known == key) {
            return Err(BadField("a key in Upload-Metadata is empty, or there twice"));
        }
        pairs.push((key.to_owned(), value));
    }
    Ok((text.to_owned(), pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn numbers_are_whole_and_alone() {
        assert_eq!(offset(&fields(&[("upload-offset", "12")])), Ok(12));
        for bad in ["", "-1", "+1", "1.0", "0x1", "18446744073709551616", "1 2"] {
            assert!(offset(&fields(&[("upload-offset", bad)])).is_err(), "{bad:?}");
        }
        assert!(offset(&fields(&[("upload-offset", "1"), ("upload-offset", "1")])).is_err());
        assert!(offset(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_length_is_told_now_or_later() {
        assert_eq!(length(&fields(&[("upload-length", "0")])), Ok(Length::Known(0)));
        assert_eq!(length(&fields(&[("upload-defer-length", "1")])), Ok(Length::Deferred));
        assert!(length(&fields(&[("upload-defer-length", "0")])).is_err());
        assert!(length(&fields(&[("upload-defer-length", "1"), ("upload-length", "5")])).is_err());
        assert!(length(&HeaderMap::new()).is_err());
    }

    #[test]
    fn checksums_are_those_that_are_offered() {
        let read = |text: &str| checksum(&fields(&[("upload-checksum", text)]));
        let sha1 = Checksum { algorithm: Algorithm::Sha1, digest: vec![0; 20] };
        assert_eq!(read("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="), Ok(Some(sha1)));
        assert_eq!(checksum(&HeaderMap::new()), Ok(None));
        for bad in
            ["", "sha1", "sha1 AAAA", "sha256 AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "md5 AAAAAAAAAAAAAAAAAAAAAA==", "sha1 !"]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn metadata_is_pairs() {
        let read = |text: &str| metadata(&fields(&[("upload-metadata", text)])).map(|(_, pairs)| pairs);
        let pair = |key: &str, value: &str| (key.to_owned(), value.as_bytes().to_vec());
        assert_eq!(read("filename YS50eHQ=,is_private"), Ok(vec![pair("filename", "a.txt"), pair("is_private", "")]));
        assert_eq!(read("filename YS50eHQ=, x "), Ok(vec![pair("filename", "a.txt"), pair("x", "")]));
        assert_eq!(read(""), Ok(Vec::new()));
        for bad in ["a !", "a YQ==,a YQ==", ",", "a YQ==,"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(read(&format!("a {}", "A".repeat(9000))).is_err());
    }
}
