//! What people and clients read before they upload.

mod home;
mod sheet;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;
pub use sheet::{Policy, STYLE, people_size, people_time};

use crate::config::Config;
use crate::serve::{Outgoing, answer};

/// Pages that are made at the start.
#[derive(Debug)]
pub struct Pages(Vec<Page>);

#[derive(Debug)]
struct Page {
    path: &'static str,
    kind: &'static str,
    policy: HeaderValue,
    body: String,
}

impl Pages {
    /// For this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let url = &config.server.files_url;
        let path = config.compat.paths.first().map_or("/upload.php", |(path, _)| path);
        let info = json!({
            "base_url": format!("{url}/"),
            "max_size": config.upload.max_size,
            "forbidden_ext": config.upload.block_extensions,
            "forbidden_mime": config.upload.block_mime,
            "output_modes": ["csv", "gyazo", "html", "json", "text"],
        });
        let sharex = json!({
            "Version": "16.0.0",
            "Name": url.split("//").last().unwrap_or_default(),
            "DestinationType": "ImageUploader, TextUploader, FileUploader",
            "RequestMethod": "POST",
            "RequestURL": format!("{url}{path}"),
            "Parameters": { "output": "json" },
            "Body": "MultipartFormData",
            "FileFormName": "files[]",
            "URL": "{json:files[0].url}",
            "DeletionURL": "{json:files[0].delete_url}",
            "ErrorMessage": "{json:description}",
        });
        let plain = Policy::default().value();
        let page = |path, kind, body| Page { path, kind, policy: plain.clone(), body };
        let (home, policy) = home::page(config, path);
        Self(vec![
            Page { path: "/", kind: "text/html; charset=utf-8", policy, body: home },
            page("/info.json", "application/json", format!("{info}\n")),
            page("/sharex.sxcu", "application/json", format!("{sharex:#}\n")),
            page("/robots.txt", "text/plain", "User-agent: *\nDisallow: /\n".to_owned()),
        ])
    }

    /// The paths that are pages.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|page| page.path)
    }

    /// The page at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Response<Outgoing>> {
        let page = self.0.iter().find(|page| page.path == path)?;
        let mut response = answer(StatusCode::OK, page.body.clone());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.kind));
        headers.insert(header::CONTENT_SECURITY_POLICY, page.policy.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if page.path == "/sharex.sxcu" {
            let name = HeaderValue::from_static("attachment; filename=\"witness-origin.sxcu\"");
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        Some(response)
    }
}
