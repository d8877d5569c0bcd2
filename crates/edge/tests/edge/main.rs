//! The edge between a toy origin and clients that watch every byte.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod bucket;
mod caching;
mod client;
mod control;
mod disk;
mod examples;
mod filling;
mod fleet;
mod killed;
mod lies;
mod limits;
mod log;
mod loops;
mod model;
mod origin;
mod partial;
mod pitfalls;
mod proxied;
mod sent;
mod sources;
mod stopping;
mod wire;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use witness_edge::config::Config;
use witness_edge::edge::Edge;

use crate::origin::Origin;

const TOKEN: &str = "a token of the fleet";
const MIB: u64 = 1 << 20;

/// A configuration in `folder`, with `more` in place of what is usual.
fn configuration(folder: &Path, node: &str, urls: &[&str], more: &str) -> String {
    std::fs::write(folder.join("token"), TOKEN).unwrap();
    std::fs::set_permissions(folder.join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut text = format!("[node]\nname = \"{node}\"\nfleet = \"fleet.example\"\ntoken_file = \"token\"\n");
    for (section, line) in [
        ("limits", "rate_per_client = \"\"\n"),
        ("listen", "http = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\n"),
        ("cache", "directory = \"cache\"\nmin_free = \"0B\"\nmax_size = \"1GB\"\n"),
    ] {
        if !more.contains(&format!("[{section}]")) {
            text.push_str(&format!("[{section}]\n{line}"));
        }
    }
    text.push_str(more);
    for (number, url) in urls.iter().enumerate() {
        text.push_str(&format!("\n[[sources]]\nname = \"s{number}\"\nurls = [\"{url}\"]\nread_timeout = \"10s\"\n"));
    }
    text
}

/// An edge before one origin, with folders of their own.
struct Scene {
    origin: Origin,
    edge: Edge,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
        let origin = Origin::start().await;
        let folder = tempfile::tempdir().unwrap();
        let edge = start(folder.path(), "e1", &[&origin.url], more).await;
        Self { origin, edge, folder }
    }

    fn at(&self) -> SocketAddr {
        self.edge.http()[0]
    }
}

async fn start(folder: &Path, node: &str, urls: &[&str], more: &str) -> Edge {
    let text = configuration(folder, node, urls, more);
    let config = Config::parse(&text, &folder.join("edge.toml")).unwrap();
    Edge::start(&config).await.unwrap()
}
