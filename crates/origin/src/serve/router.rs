//! Which path means what, on the listener for everybody.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::Outgoing;
use super::files::{Files, harmless, missing_file};
use super::{Answer, address, answer, removal};
use crate::admin::Health;
use crate::config::{Compat, Network};
use crate::limits::{AddressBans, is_referer_banned};
use crate::metrics::Metrics;
use crate::model::Name;
use crate::pages::Pages;
use crate::upload::tus::Tus;
use crate::upload::{Format, Uploads};

/// The listener for everybody.
#[derive(Debug)]
pub struct Router {
    /// Takes uploads.
    pub uploads: Uploads,
    /// Takes uploads in parts.
    pub tus: Tus,
    /// Who may neither upload nor see anything.
    pub banned: AddressBans,
    /// From whose pages nothing is shown.
    pub banned_referers: Vec<String>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Serves files.
    pub files: Files,
    /// What people and clients read before they upload.
    pub pages: Pages,
    /// How it is.
    pub health: Health,
    /// Where uploads go.
    pub compat: Compat,
    /// Whose word about a client's address counts.
    pub trusted_proxies: Vec<Network>,
}

impl Answer for Router {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Outgoing> {
        let (parts, body) = request.into_parts();
        let client = address::client(peer.ip(), &parts.headers, &self.trusted_proxies);
        let (method, path) = (&parts.method, parts.uri.path());
        let reads = *method == Method::GET || *method == Method::HEAD;
        if reads && path == "/.witness/health" {
            return self.health.public().await;
        }
        if self.banned.has(client).await {
            self.metrics.banned_requests.add(1);
            return forbidden("this address is banned");
        }
        if let Some(secret) = self.tus.secret(path) {
            return self.tus.answer(&parts, body, client, secret).await;
        }
        if let Some((_, dialect)) = self.compat.paths.iter().find(|(known, _)| known == path) {
            return self.uploads.form(&parts, body, client, *dialect, Format::Json).await;
        }
        // Those who type an address by hand get an answer that they can read.
        let usual = self.compat.paths.first().map(|(_, dialect)| *dialect);
        if let (&Method::POST, "/", Some(dialect)) = (method, path, usual) {
            return self.uploads.form(&parts, body, client, dialect, Format::Text).await;
        }
        if let (&Method::PUT, Some(dialect)) = (method, usual) {
            return self.uploads.put(&parts, body, client, dialect).await;
        }
        if *method == Method::OPTIONS {
            let mut response = answer(StatusCode::NO_CONTENT, String::new());
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        if reads {
            if let Some(page) = self.pages.get(path) {
                return page;
            }
        }
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments.as_slice() {
            ["delete", name, token] => match Name::from_path(name) {
                Some(name) => removal::delete(&self.files, method, &name, token).await,
                None => missing_file(),
            },
            [segment] => match Name::from_path(segment) {
                Some(_) if reads && is_referer_banned(&parts.headers, &self.banned_referers) => {
                    self.metrics.banned_requests.add(1);
                    forbidden("files are not shown from there")
                }
                Some(name) if reads => self.files.get(method, &name, &parts.headers).await,
                Some(name) if *method == Method::DELETE => {
                    let token = removal::token(&parts.headers, parts.uri.query());
                    removal::delete(&self.files, method, &name, &token).await
                }
                Some(_) => {
                    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, "another method is needed\n".to_owned());
                    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, DELETE, PUT"));
                    response
                }
                None => missing_file(),
            },
            _ => missing_file(),
        }
    }
}

/// For this one, now: nothing that a cache may keep.
fn forbidden(says: &str) -> Response<Outgoing> {
    let mut response = answer(StatusCode::FORBIDDEN, format!("{says}\n"));
    let headers = response.headers_mut();
    harmless(headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
