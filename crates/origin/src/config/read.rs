//! From what is written to what it means.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::rules::{self, OnFailure, allowance};
use super::table::Table;
use super::units::{DURATION, duration};
use super::{
    Allowance, Compat, Config, Dedupe, Dialect, Json, Serve, Server, Shown, Size, Status, Store, Upload, Url, tier,
};

const HOUR: Duration = Duration::from_secs(3600);
/// What a form takes beside the files.
const OVERHEAD: u64 = 1 << 20;

const BLOCKED_EXTENSIONS: [&str; 9] = ["exe", "scr", "com", "bat", "vbs", "cmd", "msi", "jar", "js"];
const BLOCKED_KINDS: [&str; 4] = ["application/x-dosexec", "application/java-archive", "text/html", "image/svg+xml"];

pub(super) fn config(root: &Table<'_>) -> Config {
    let config = Config {
        server: server(&root.table("server")),
        store: store(&root.table("store")),
        upload: upload(&root.table("upload")),
        serve: serve(&root.table("serve")),
        compat: compat(&root.table("compat")),
        resumable: rules::resumable(&root.table("resumable")),
        scan: root.has("scan").then(|| rules::scan(&root.table("scan"))).flatten(),
        bans: rules::bans(&root.table("bans")),
        edges: root.tables("edges").iter().filter_map(rules::edge).collect(),
        tier: root.has("tier").then(|| tier::tier(&root.table("tier"))),
        backup: tier::backup(&root.table("backup")),
        legacy: root.tables("legacy").iter().filter_map(tier::legacy).collect(),
        replicate: root.has("replicate").then(|| tier::replicate(&root.table("replicate"))).flatten(),
        follow: root.has("follow").then(|| tier::follow(&root.table("follow"))).flatten(),
    };
    for section in ["tier", "scan", "replicate", "follow"] {
        let _ = root.get(section);
    }
    root.finish();
    config
}

fn server(table: &Table<'_>) -> Server {
    let listen = |key, address: Ipv4Addr, port| table.address(key, SocketAddr::from((address, port)));
    let files_url = table.required("files_url", "https://files.example.com").trim_end_matches('/').to_owned();
    if !files_url.is_empty() && !is_url(&files_url) {
        table.problem("files_url", "this is no URL of a server", "write it like \"https://files.example.com\"");
    }
    let server = Server {
        listen: listen("listen", Ipv4Addr::UNSPECIFIED, 8080),
        admin_listen: listen("admin_listen", Ipv4Addr::LOCALHOST, 9055),
        files_url,
        trusted_proxies: rules::networks(table, "trusted_proxies"),
        max_connections: table.count("max_connections", 4096, 1..=1_000_000),
        max_connections_per_address: table.count("max_connections_per_address", 256, 1..=1_000_000),
        admin_token: table.secret_file("admin_token_file"),
    };
    table.finish();
    server
}

/// Scheme and host, perhaps a path: what names can be put behind.
pub(super) fn is_url(text: &str) -> bool {
    let uri: Option<http::Uri> = text.parse().ok();
    uri.is_some_and(|uri| {
        let host = uri.authority().map(|authority| (authority.host().is_empty(), authority.as_str().contains('@')));
        matches!(uri.scheme_str(), Some("http" | "https")) && host == Some((false, false)) && uri.query().is_none()
    })
}

fn store(table: &Table<'_>) -> Store {
    let store = Store {
        directory: table.required("directory", "/var/lib/witness-origin").into(),
        min_free: table.size("min_free", 2_000_000_000),
        dedupe: table
            .choice("dedupe", &[("same-url", Dedupe::SameUrl), ("storage-only", Dedupe::StorageOnly)])
            .unwrap_or(Dedupe::SameUrl),
    };
    let directory = table.path("directory").unwrap_or_else(|| store.directory.clone());
    table.finish();
    Store { directory, ..store }
}

fn upload(table: &Table<'_>) -> Upload {
    let max_size = table.size("max_size", 256 << 20);
    if max_size == 0 || max_size > 1 << 50 {
        table.problem("max_size", "it must be more than 0, and less than 1024 TiB", "write \"256MiB\"");
    }
    let max_request = table.size("max_request", max_size.saturating_add(OVERHEAD));
    if max_request < max_size {
        table.problem("max_request", "a request must have room for a file", "write at least what max_size is");
    }
    let words = |key, default: &[&str]| {
        let words = table.texts(key).unwrap_or_else(|| default.iter().map(|&word| word.to_owned()).collect());
        words.into_iter().map(|word| word.trim().trim_start_matches('.').to_lowercase()).collect::<Vec<_>>()
    };
    let block_extensions = words("block_extensions", &BLOCKED_EXTENSIONS);
    if block_extensions.iter().any(|word| word.is_empty() || word.contains(['.', '/'])) {
        table.problem("block_extensions", "one of them is no extension", "write them like \"exe\"");
    }
    let block_mime = words("block_mime", &BLOCKED_KINDS);
    if let Some(bad) = block_mime.iter().find(|kind| kind.split('/').filter(|half| !half.is_empty()).count() != 2) {
        table.problem("block_mime", format!("{bad:?} is no kind of content"), "write it like \"text/html\"");
    }
    let expire = table.quantity("expire", &DURATION).map(duration);
    if expire == Some(Duration::ZERO) {
        table.problem("expire", "everything would be gone at once", "write \"\" for never");
    }
    let upload = Upload {
        max_size,
        max_request,
        max_files: table.count("max_files", 100, 1..=10_000),
        name_length: table.count("name_length", 8, 6..=64),
        block_extensions,
        block_mime,
        expire,
        strip_exif: table.flag("strip_exif", false),
        strip_failure: rules::on_failure(table, "strip_failure", OnFailure::Refuse),
        per_address: allowance(table, "per_address", Allowance { bytes: 1 << 30, per: HOUR }),
        at_once_per_address: table.count("at_once_per_address", 128, 1..=1_000_000),
        tokens: rules::tokens(table),
        keep_addresses: table.flag("keep_addresses", false),
        idle_timeout: table.duration("idle_timeout", Duration::from_secs(30)),
    };
    table.finish();
    upload
}

fn serve(table: &Table<'_>) -> Serve {
    let shown = |key| table.choice(key, &[("inline", Shown::Inline), ("attachment", Shown::Attachment)]);
    let serve = Serve {
        svg: shown("svg").unwrap_or(Shown::Inline),
        pdf: shown("pdf").unwrap_or(Shown::Attachment),
        original_names: table.flag("original_names", false),
        min_rate: allowance(table, "min_rate", Allowance { bytes: 1 << 10, per: Duration::from_secs(1) }),
        slow_after: table.duration("slow_after", Duration::from_secs(60)),
    };
    table.finish();
    serve
}

fn compat(table: &Table<'_>) -> Compat {
    let usual = dialect(
        table,
        Dialect { json: Json::Pretty, url: Url::Absolute, size: Size::Number, status: Status::Real, extras: true },
    );
    let mut paths = Vec::new();
    match table.get("paths").map(|value| value.get_ref().as_array()) {
        None => paths = ["/upload.php", "/upload"].map(|path| (path.to_owned(), usual)).to_vec(),
        Some(None) => table.problem("paths", "a list belongs here", "write it like [\"/upload.php\", \"/upload\"]"),
        Some(Some(items)) => {
            for (at, item) in items.iter().enumerate() {
                if let Some(path) = item.get_ref().as_str() {
                    paths.push((path.to_owned(), usual));
                } else {
                    let own = table.item("paths", at, item);
                    let path = own.required("path", "/v1/upload.php");
                    paths.push((path, dialect(&own, usual)));
                    own.finish();
                }
            }
        }
    }
    for (at, (path, _)) in paths.iter().enumerate() {
        let is_plain = path.len() > 1
            && path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%".contains(&byte));
        if !is_plain || path.starts_with("/.witness/") {
            table.problem("paths", format!("{path:?} is no path"), "write it like \"/upload.php\"");
        } else if paths[..at].iter().any(|(earlier, _)| earlier == path) {
            table.problem("paths", format!("{path:?} is there twice"), "write it once");
        }
    }
    table.finish();
    Compat { paths }
}

fn dialect(table: &Table<'_>, usual: Dialect) -> Dialect {
    Dialect {
        json: table.choice("json", &[("pretty", Json::Pretty), ("compact", Json::Compact)]).unwrap_or(usual.json),
        url: table.choice("url", &[("absolute", Url::Absolute), ("bare", Url::Bare)]).unwrap_or(usual.url),
        size: table.choice("size", &[("number", Size::Number), ("text", Size::Text)]).unwrap_or(usual.size),
        status: table
            .choice("status", &[("real", Status::Real), ("always-200", Status::Always200)])
            .unwrap_or(usual.status),
        extras: table.flag("extras", usual.extras),
    }
}
