//! A bucket that speaks S3, asked like any other server: only that its requests are made anew and signed.
//!
//! Nothing of what a client sent goes into a signed request but the path and the conditions: a query would be a command
//! to the bucket, in our name. No path can mean the bucket itself, which would be its list of files.

use std::fmt;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Empty};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;

use super::{Ask, Upload};

/// What a bucket is asked with, beside the path.
const KEPT: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// A bucket behind an endpoint.
pub struct Bucket {
    name: String,
    region: String,
    credential: Option<AwsCredential>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("region", &self.region).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Of this name, with the id and the secret of a key; without one, its requests are not signed.
    #[must_use]
    pub fn new(name: &str, region: &str, key: Option<(String, String)>) -> Self {
        let credential = key.map(|(key_id, secret_key)| AwsCredential { key_id, secret_key, token: None });
        Self { name: name.to_owned(), region: region.to_owned(), credential }
    }

    /// The request for what `ask` is about. `None`: no bucket can have such a thing, or only reading is possible.
    pub(super) fn request(&self, endpoint: &Uri, ask: &Ask) -> Option<Result<Request<Upload>, String>> {
        if ask.method != Method::GET && ask.method != Method::HEAD {
            return None;
        }
        let key = key(&ask.target)?;
        Some(self.signed(endpoint, &key, ask))
    }

    fn signed(&self, endpoint: &Uri, key: &str, ask: &Ask) -> Result<Request<Upload>, String> {
        let text = |error: &dyn fmt::Display| error.to_string();
        let scheme = endpoint.scheme_str().unwrap_or("https");
        let authority = endpoint.authority().map_or("", |authority| authority.as_str());
        let uri = format!("{scheme}://{authority}/{}/{key}", self.name);
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(uri)
            .body(HttpRequestBody::empty())
            .map_err(|error| text(&error))?;
        for name in KEPT {
            if let Some(value) = ask.headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        if let Some(credential) = &self.credential {
            let authorizer = AwsAuthorizer::new(credential, "s3", &self.region);
            authorizer.try_authorize(&mut request, None).map_err(|error| text(&error))?;
        }
        Ok(request.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync()))
    }
}

/// What only the bucket's owner should see.
pub(super) fn strip(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-amz-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    headers.remove(header::SERVER);
}

/// The key that a target stands for, written the one way that signatures want. Servers differ in what they make of
/// empty parts and of dots, so nothing has such a key.
fn key(target: &str) -> Option<String> {
    let path = target.split('?').next()?.strip_prefix('/')?;
    let bytes = decode(path)?;
    let text = std::str::from_utf8(&bytes).ok()?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    if text.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return None;
    }
    let mut key = String::with_capacity(text.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(key)
}

/// `None` where a percent sign stands for nothing.
fn decode(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    Some(bytes)
}

/// For logs: what it means that a bucket forbids something.
pub(super) const REFUSAL: &str =
    "a bucket refuses: its key is wrong, or may not list the bucket, so that what is missing seems forbidden";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_key_or_nothing_the_bucket_has() {
        let cases = [
            ("/a.mp4", Some("a.mp4")),
            ("/folder/a%20b.mp4", Some("folder/a%20b.mp4")),
            ("/%E4%BD%A0+(1).mp4", Some("%E4%BD%A0%2B%281%29.mp4")),
            ("/a%2Fb", Some("a/b")),
            // A query would be a command.
            ("/a.mp4?acl", Some("a.mp4")),
            ("/?list-type=2", None),
            ("/", None),
            ("//", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/%2e%2e/other-bucket/a", None),
            ("/a/", None),
            ("/%00", None),
            ("/%zz", None),
            ("/%e", None),
            ("/%ff", None),
            ("a", None),
        ];
        for (target, expected) in cases {
            assert_eq!(key(target).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn nothing_of_a_clients_request_is_signed_but_its_conditions() {
        let bucket = Bucket::new("files", "eu-1", Some(("id".into(), "very secret".into())));
        assert!(!format!("{bucket:?}").contains("secret"));
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("range", "bytes=0-9"), ("x-amz-acl", "public-read"), ("authorization", "Basic x"), ("cookie", "a=b")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        let mut ask = Ask {
            method: Method::GET,
            target: "/a?policy".into(),
            host: "files.example.com".into(),
            headers,
            stick: None,
        };
        let endpoint: Uri = "http://192.0.2.1:9000".parse().unwrap();
        let request = bucket.request(&endpoint, &ask).unwrap().unwrap();
        assert_eq!(request.uri(), "http://192.0.2.1:9000/files/a");
        let mut names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "range", "x-amz-content-sha256", "x-amz-date"]);
        assert!(request.headers()["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 Credential=id/"));
        ask.method = Method::PUT;
        assert!(bucket.request(&endpoint, &ask).is_none());
        ask.method = Method::GET;
        let plain = Bucket::new("files", "eu-1", None).request(&endpoint, &ask).unwrap().unwrap();
        assert!(!plain.headers().contains_key("authorization"));
    }
}
