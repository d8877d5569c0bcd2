//! Tokens that allow to upload.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap};

use crate::config::UploadToken;
use crate::model::Token;

/// Whose token these fields have, if it is one of `tokens`: `Authorization: Bearer`, the password of
/// `Authorization: Basic`, or `X-Upload-Token`. It takes as long whichever it is.
#[must_use]
pub fn is_allowed<'t>(headers: &HeaderMap, tokens: &'t [UploadToken]) -> Option<&'t str> {
    let given = given(headers)?.hash();
    let mut found = None;
    for token in tokens {
        if verify_slices_are_equal(&token.hash.0, &given.0).is_ok() {
            found = Some(token.name.as_str());
        }
    }
    found
}

fn given(headers: &HeaderMap) -> Option<Token> {
    if let Some(token) = headers.get("x-upload-token") {
        return Some(Token::given(token.to_str().ok()?.trim()));
    }
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(Token::given(rest.trim())),
        "basic" => {
            let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
            text.split_once(':').map(|(_, password)| Token::given(password))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_from_where_clients_put_it() {
        let tokens = ["0123456789abcdef", "fedcba9876543210"]
            .map(|token| UploadToken { name: token[..4].to_owned(), hash: Token::given(token).hash() });
        for (field, value, expected) in [
            ("x-upload-token", "0123456789abcdef", Some("0123")),
            ("authorization", "Bearer fedcba9876543210", Some("fedc")),
            ("authorization", "bearer  fedcba9876543210", Some("fedc")),
            ("authorization", "Basic dXNlcjowMTIzNDU2Nzg5YWJjZGVm", Some("0123")),
            ("authorization", "Basic !", None),
            ("authorization", "fedcba9876543210", None),
            ("x-upload-token", "0123456789abcde", None),
            ("x-upload-token", "", None),
        ] {
            let headers =
                [(field.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())].into_iter().collect();
            assert_eq!(is_allowed(&headers, &tokens), expected, "{field}: {value}");
        }
        assert_eq!(is_allowed(&HeaderMap::new(), &tokens), None);
    }
}
