//! Taking an upload back.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use super::answer;
use super::body::Outgoing;
use super::files::{Files, harmless};
use crate::clock;
use crate::db::DbError;
use crate::db::links::{self, Removal};
use crate::model::{Name, Token};
use crate::upload::escape_html;

/// Whoever looks at the address gets a question: what looks at addresses by itself must not delete. `POST` and `DELETE`
/// delete.
pub(super) async fn delete(files: &Files, method: &Method, name: &Name, token: &str) -> Response<Outgoing> {
    if *method == Method::GET || *method == Method::HEAD {
        return question(name);
    }
    if *method != Method::POST && *method != Method::DELETE {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, DELETE"));
        return response;
    }
    let (now, name, token) = (clock::now(), name.clone(), Token::given(token));
    if !files.gate.is_open() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "this server deletes nothing now");
    }
    match files.db.write(move |db| links::release(db, &name, &token, now)).await {
        Ok(Removal::Removed) => {
            files.metrics.removals.add(1);
            files.removed.notify_one();
            text(StatusCode::OK, "deleted")
        }
        Ok(Removal::Released) => {
            files.metrics.removals.add(1);
            text(StatusCode::OK, "deleted; somebody else has uploaded the same, and that stays")
        }
        Ok(Removal::Unknown) => text(StatusCode::NOT_FOUND, "there is no such upload, or it is deleted already"),
        Err(DbError::Full) => text(StatusCode::INSUFFICIENT_STORAGE, "the disk is too full even to delete"),
        Err(DbError::Elsewhere) => text(StatusCode::SERVICE_UNAVAILABLE, "this server deletes nothing now"),
        Err(error) => {
            tracing::error!(%error, "failed to delete");
            text(StatusCode::INTERNAL_SERVER_ERROR, "this cannot be deleted now")
        }
    }
}

/// The token of a `DELETE`: in its own field, or behind the question mark.
pub(super) fn token(headers: &HeaderMap, query: Option<&str>) -> String {
    let field = headers.get("x-delete-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asked = || {
        let found = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "token");
        found.map(|(_, value)| value.into_owned())
    };
    field.or_else(asked).unwrap_or_default()
}

fn question(name: &Name) -> Response<Outgoing> {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Delete</title>\n\
         <form method=\"post\"><p>Delete {}?</p><button>Delete</button></form></html>\n",
        escape_html(name.as_str())
    );
    let mut response = text(StatusCode::OK, "");
    *response.body_mut() = Outgoing::bytes(page);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn text(status: StatusCode, says: &str) -> Response<Outgoing> {
    let mut response = answer(status, format!("{says}\n"));
    let headers = response.headers_mut();
    harmless(headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
