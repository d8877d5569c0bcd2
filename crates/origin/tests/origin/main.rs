//! The origin, and clients that watch every byte.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod administering;
mod backing_up;
mod banning;
mod bucket;
mod client;
mod examples;
mod following;
mod full;
mod hostile;
mod importing;
mod killed;
mod legacy;
mod limiting;
mod looking;
mod peers;
mod pictures;
mod program;
mod races;
mod recorded;
mod removing;
mod resuming;
mod scanning;
mod serving;
mod tiering;
mod tiering_killed;
mod uploading;

use std::net::SocketAddr;
use std::path::Path;

use client::{Answer, raw};
use witness_origin::config::Config;
use witness_origin::origin::Origin;

/// A configuration in `folder`, with `more` besides. Sections that `more` has are not in it.
fn configuration(folder: &Path, more: &str) -> String {
    let mut text = String::new();
    for (section, lines) in [
        (
            "server",
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfiles_url = \"https://files.example.com\"\n",
        ),
        ("store", "directory = \"store\"\nmin_free = \"0B\"\n"),
        ("upload", "max_size = \"4MiB\"\n"),
    ] {
        if !more.contains(&format!("[{section}]")) {
            text.push_str(&format!("[{section}]\n{lines}"));
        }
    }
    text.push_str(more);
    assert!(folder.is_dir());
    text
}

async fn start(folder: &Path, more: &str) -> Origin {
    let config = Config::parse(&configuration(folder, more), &folder.join("origin.toml")).unwrap();
    Origin::start(&config).await.unwrap()
}

/// An origin with a folder of its own.
struct Scene {
    origin: Origin,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let origin = start(folder.path(), more).await;
        Self { origin, folder }
    }

    fn at(&self) -> SocketAddr {
        self.origin.listen()
    }

    /// Files in a folder of the store.
    fn files(&self, folder: &str) -> Vec<String> {
        files(&self.folder.path().join("store").join(folder))
    }
}

/// All files below, by name.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

const BOUNDARY: &str = "a-boundary";

/// A form with one file.
fn form(name: &str, content: &[u8]) -> Vec<u8> {
    many(&[("files[]", name, content)])
}

/// A form with these files: field, name, content.
fn many(files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (field, name, content) in files {
        let disposition = format!("Content-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"");
        form.extend_from_slice(format!("--{BOUNDARY}\r\n{disposition}\r\n\r\n").as_bytes());
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form
}

/// The bytes of a request that sends a form.
fn request(target: &str, form: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
        form.len()
    )
    .into_bytes();
    request.extend_from_slice(form);
    request
}

async fn post(at: SocketAddr, target: &str, form: &[u8]) -> Answer {
    raw(at, &request(target, form), false).await
}

/// Uploads one file that is taken, and returns what is told about it.
async fn upload(at: SocketAddr, name: &str, content: &[u8]) -> serde_json::Value {
    upload_to(at, "/upload.php", name, content).await
}

async fn upload_to(at: SocketAddr, target: &str, name: &str, content: &[u8]) -> serde_json::Value {
    let answer = post(at, target, &form(name, content)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["files"][0].clone()
}

/// The path of a URL of ours.
fn path(url: &serde_json::Value) -> String {
    url.as_str().unwrap().strip_prefix("https://files.example.com").unwrap().to_owned()
}
