//! Answers made of an object: whole, in part, or only that the client has it already.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use super::body::{Meter, Outgoing, Piece};
use crate::fill::{Engine, Object};
use crate::http::{Answer, Freshness, Ranges, answer_to, if_range_holds, ranges, strip_tags};

/// What of an object goes into an answer.
#[derive(Debug)]
pub(super) struct Asked<'r> {
    pub(super) method: &'r Method,
    pub(super) headers: &'r HeaderMap,
    /// It is another edge that asks.
    pub(super) near: bool,
    /// What its source took the request to mean, and gave.
    pub(super) given: Option<std::ops::Range<u64>>,
}

/// The answer, without the fields that tell where it came from.
pub(super) fn answer(
    engine: &Arc<Engine>,
    object: &Arc<Object>,
    asked: &Asked<'_>,
    freshness: &Freshness,
    meter: Meter,
) -> Response<Outgoing> {
    let shown = object.shown();
    let head = shown.head();
    let length = object.length();
    let mut headers = shown.fields();
    headers.insert(header::AGE, freshness.age.into());
    if !asked.near {
        strip_tags(&mut headers);
    }
    if head.status == StatusCode::OK {
        match answer_to(asked.headers, &head.headers) {
            Answer::Full => {}
            Answer::NotModified => return not_modified(headers),
            Answer::PreconditionFailed => return plain(StatusCode::PRECONDITION_FAILED, headers, Outgoing::empty()),
        }
    }
    let wanted = match length {
        Some(length) if head.status == StatusCode::OK && asked.method == Method::GET => {
            let field = asked.headers.get(header::RANGE).and_then(|field| field.to_str().ok());
            let holds = field.is_some() && if_range_holds(asked.headers, &head.headers);
            match &asked.given {
                Some(given) => Ranges::Some(vec![given.clone()]),
                None => ranges(field.filter(|_| holds), length),
            }
        }
        _ => Ranges::Whole,
    };
    let total = length.unwrap_or(0);
    match wanted {
        Ranges::Whole => {
            let mut response = plain(head.status, headers, Outgoing::empty());
            if let Some(length) = length {
                response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
                if head.status == StatusCode::OK {
                    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
                }
            }
            if asked.method == Method::GET {
                *response.body_mut() = match engine.at_hand(object) {
                    Some(body) => Outgoing::at_hand(body, object.clone(), meter),
                    None => {
                        let pieces = VecDeque::from([Piece::Range(0, length)]);
                        Outgoing::pieces(engine.clone(), object.clone(), pieces, length, meter)
                    }
                };
            }
            response
        }
        Ranges::Unsatisfiable => {
            let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, HeaderMap::new(), Outgoing::empty());
            insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{total}"));
            response
        }
        Ranges::Some(list) if list.len() == 1 => {
            let (start, end) = (list[0].start, list[0].end);
            let pieces = VecDeque::from([Piece::Range(start, Some(end))]);
            let length = end - start;
            let body = Outgoing::pieces(engine.clone(), object.clone(), pieces, Some(length), meter);
            let mut response = plain(StatusCode::PARTIAL_CONTENT, headers, body);
            insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes {start}-{}/{total}", end - 1));
            // The first answer about the end is the source's own.
            if let Some(given) = object.given().filter(|_| asked.given.is_some()) {
                response.headers_mut().insert(header::CONTENT_RANGE, given.clone());
            }
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            response
        }
        Ranges::Some(list) => {
            let boundary = boundary();
            let kind = head.headers.get(header::CONTENT_TYPE).cloned();
            let mut pieces = VecDeque::new();
            let mut length = 0;
            for range in list {
                let mut between = Vec::new();
                between.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
                if let Some(kind) = &kind {
                    between.extend_from_slice(b"Content-Type: ");
                    between.extend_from_slice(kind.as_bytes());
                    between.extend_from_slice(b"\r\n");
                }
                let (first, last) = (range.start, range.end - 1);
                between.extend_from_slice(format!("Content-Range: bytes {first}-{last}/{total}\r\n\r\n").as_bytes());
                length += between.len() as u64 + range.end - range.start;
                pieces.push_back(Piece::Bytes(Bytes::from(between)));
                pieces.push_back(Piece::Range(range.start, Some(range.end)));
            }
            let end = format!("\r\n--{boundary}--\r\n");
            length += end.len() as u64;
            pieces.push_back(Piece::Bytes(Bytes::from(end)));
            let body = Outgoing::pieces(engine.clone(), object.clone(), pieces, Some(length), meter);
            let mut response = plain(StatusCode::PARTIAL_CONTENT, headers, body);
            insert(response.headers_mut(), header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            response
        }
    }
}

fn not_modified(mut headers: HeaderMap) -> Response<Outgoing> {
    // These tell of a body that is not sent.
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    plain(StatusCode::NOT_MODIFIED, headers, Outgoing::empty())
}

pub(super) fn plain(status: StatusCode, headers: HeaderMap, body: Outgoing) -> Response<Outgoing> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The page that is shown where no source answers and nothing stale is left. Who does not ask for pages gets one line.
pub(super) fn splash(method: &Method, headers: &HeaderMap) -> Response<Outgoing> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "no source answers at the moment; try again soon");
    if wants_page(headers) {
        *response.body_mut() = Outgoing::bytes(SPLASH);
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    if method == Method::HEAD {
        *response.body_mut() = Outgoing::empty();
    }
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
    response
}

/// Whether somebody looks at what comes.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).into_iter().filter_map(|accept| accept.to_str().ok());
    accepts.into_iter().any(|accept| accept.contains("text/html"))
}

const SPLASH: &str = include_str!("splash.html");

/// A short answer of our own.
pub(super) fn text(status: StatusCode, text: &str) -> Response<Outgoing> {
    let mut response = plain(status, HeaderMap::new(), Outgoing::bytes(format!("{text}\n")));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn boundary() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
