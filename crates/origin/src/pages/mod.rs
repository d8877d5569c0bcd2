//! What people and clients read before they upload.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use crate::config::Config;
use crate::serve::{Outgoing, answer};
use crate::upload::escape_html;

/// Pages that are made at the start.
#[derive(Debug)]
pub struct Pages(Vec<Page>);

#[derive(Debug)]
struct Page {
    path: &'static str,
    kind: &'static str,
    /// Only forms to ourselves are allowed, and nothing that is loaded from elsewhere.
    policy: &'static str,
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
        let home = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Upload</title>\n\
             <form method=\"post\" action=\"{path}?output=html\" enctype=\"multipart/form-data\">\n\
             <p><input type=\"file\" name=\"files[]\" multiple> <button>Upload</button></p></form>\n\
             <p>Up to {} bytes a file. <a href=\"/sharex.sxcu\">For ShareX</a></p></html>\n",
            config.upload.max_size,
            path = escape_html(path),
        );
        let policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'";
        Self(vec![
            Page { path: "/", kind: "text/html; charset=utf-8", policy, body: home },
            Page { path: "/info.json", kind: "application/json", policy, body: format!("{info}\n") },
            Page { path: "/sharex.sxcu", kind: "application/json", policy, body: format!("{sharex:#}\n") },
            Page { path: "/robots.txt", kind: "text/plain", policy, body: "User-agent: *\nDisallow: /\n".to_owned() },
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
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page.policy));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        if page.path == "/sharex.sxcu" {
            let name = HeaderValue::from_static("attachment; filename=\"witness-origin.sxcu\"");
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        Some(response)
    }
}
