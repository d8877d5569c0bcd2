//! Whatever stands in the header fields of an upload in parts: it is understood in full or refused.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use witness_origin::upload::tus::protocol;

const NAMES: [&str; 5] =
    ["upload-length", "upload-defer-length", "upload-offset", "upload-checksum", "upload-metadata"];

pub(crate) fn run(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else { continue };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]), value);
        }
    }
    if let Ok(protocol::Length::Known(length)) = protocol::length(&headers) {
        assert_eq!(protocol::told_length(&headers), Ok(Some(length)));
    }
    if let Ok(offset) = protocol::offset(&headers) {
        let told = headers.get("upload-offset").map(HeaderValue::as_bytes).unwrap_or_default();
        assert_eq!(
            told.iter().skip_while(|byte| **byte == b'0').count(),
            if offset == 0 { 0 } else { offset.to_string().len() }
        );
    }
    if let Ok(Some(checksum)) = protocol::checksum(&headers) {
        assert!(matches!(checksum.digest.len(), 20 | 32));
    }
    if let Ok((text, pairs)) = protocol::metadata(&headers) {
        // It is sent back as it came.
        assert!(HeaderValue::from_str(&text).is_ok());
        assert!(pairs.iter().all(|(key, _)| !key.is_empty()));
    }
}
