//! Bans, and what edges are told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use witness_lab::process::wait_until_async;
use witness_origin::clock;
use witness_origin::db::{addresses, bans};
use witness_origin::model::{Md5, Sha1};

use crate::client::{ask, get};
use crate::{Scene, form, path, post, start, upload};

/// Takes orders as an edge does.
pub(crate) struct Edge {
    pub(crate) at: SocketAddr,
    /// Method and path, the token, and the body.
    asked: Arc<Mutex<Vec<(String, String, String)>>>,
    status: Arc<AtomicU16>,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let edge =
            Self { at: listener.local_addr().unwrap(), asked: Arc::default(), status: Arc::new(AtomicU16::new(200)) };
        let (asked, status) = (edge.asked.clone(), edge.status.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (asked, status) = (asked.clone(), status.clone());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let field = |name: &str| {
                            let found = head.lines().filter_map(|line| line.split_once(": "));
                            let mut found = found.filter(|(known, _)| known.eq_ignore_ascii_case(name));
                            found.next().map(|(_, value)| value.to_owned()).unwrap_or_default()
                        };
                        if body.len() < field("content-length").parse().unwrap() {
                            continue;
                        }
                        let first = head.lines().next().unwrap().to_owned();
                        let status = status.load(Ordering::SeqCst);
                        if status == 200 {
                            asked.lock().unwrap().push((first, field("authorization"), body.to_owned()));
                        }
                        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                        let _ = stream.write_all(answer.as_bytes()).await;
                        bytes.clear();
                    }
                });
            }
        });
        edge
    }

    /// The keys that it was told to forget.
    fn keys(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let key = |(first, token, body): &(String, String, String)| {
            assert_eq!(
                (first.as_str(), token.as_str()),
                ("POST /.witness/purge HTTP/1.1", "Bearer the-token-of-a-fleet")
            );
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            body["key"].as_str().unwrap().to_owned()
        };
        asked.iter().map(key).collect()
    }

    async fn is_told(&self, key: &serde_json::Value) -> bool {
        let key = key.as_str().unwrap();
        wait_until_async(Duration::from_secs(60), async || self.keys().iter().any(|told| told == key)).await
    }
}

/// A folder with a token in it, and a configuration that names these edges.
fn fleet(edges: &[SocketAddr]) -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("fleet.token");
    std::fs::write(&token, "the-token-of-a-fleet\n").unwrap();
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
    let one = |at: &SocketAddr| format!("[[edges]]\nurl = \"http://{at}\"\ntoken_file = \"fleet.token\"\n");
    (folder, edges.iter().map(one).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edge_is_told_of_bans_and_deletions_until_it_says_so() {
    let (edge, other) = (Edge::start().await, Edge::start().await);
    let (folder, config) = fleet(&[edge.at, other.at]);
    let origin = start(folder.path(), &config).await;
    let at = origin.listen();
    let (banned, deleted, kept) = (
        upload(at, "a.txt", b"to be banned").await,
        upload(at, "b.txt", b"to go").await,
        upload(at, "c.txt", b"x").await,
    );
    assert_eq!(get(at, &path(&banned["url"]), &[]).await.field("surrogate-key"), banned["sha256"].as_str().unwrap());
    // One of them is away, and another one does not obey.
    other.status.store(503, Ordering::SeqCst);
    let sha1: Sha1 = banned["hash"].as_str().unwrap().parse().unwrap();
    origin.db().write(move |db| bans::add(db, &sha1.0, "spam", None, clock::now())).await.unwrap();
    let delete = path(&deleted["delete_url"]);
    assert_eq!(ask(at, "POST", &delete, &[], "").await.status, 200);
    assert!(edge.is_told(&banned["sha256"]).await && edge.is_told(&deleted["sha256"]).await);
    assert_eq!(edge.keys().len(), 2, "{kept}");
    let failed = wait_until_async(Duration::from_secs(60), async || origin.metrics().failed_purges.get() > 0);
    assert!(failed.await && other.keys().is_empty());
    // What it was not told is not forgotten with the process, and what it was told is not told again.
    origin.stop().await;
    other.status.store(200, Ordering::SeqCst);
    let origin = start(folder.path(), &config).await;
    assert!(other.is_told(&banned["sha256"]).await && other.is_told(&deleted["sha256"]).await);
    let all_told = wait_until_async(Duration::from_secs(60), async || {
        let waiting = origin.db().read(witness_origin::db::purges::waiting).await.unwrap();
        waiting.len() == 2 && waiting.iter().all(|(_, waiting)| *waiting == 0)
    });
    assert!(all_told.await);
    assert_eq!((edge.keys().len(), other.keys().len()), (2, 2));
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_banned_by_each_of_its_hashes_and_for_a_while() {
    let scene = Scene::new().await;
    let file = upload(scene.at(), "a.txt", b"forbidden").await;
    let sha1: Sha1 = file["hash"].as_str().unwrap().parse().unwrap();
    // md5sum says so.
    let md5: Md5 = "350f9d68221a0db19024ee40cfc3c7f8".parse().unwrap();
    for hash in [sha1.0.to_vec(), md5.0.to_vec()] {
        let banned = hash.clone();
        let until = clock::now().after(Duration::from_secs(3600));
        scene.origin.db().write(move |db| bans::add(db, &banned, "", Some(until), clock::now())).await.unwrap();
        assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.status, 451);
        assert_eq!(post(scene.at(), "/upload.php", &form("b.txt", b"forbidden")).await.status, 451);
        let banned = hash.clone();
        scene.origin.db().write(move |db| bans::add(db, &banned, "", Some(clock::now()), clock::now())).await.unwrap();
        assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.status, 200);
        assert_eq!(post(scene.at(), "/upload.php", &form("b.txt", b"forbidden")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_addresses_and_pages_get_nothing() {
    let scene = Scene::with(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfiles_url = \"https://files.example.com\"\n\
         trusted_proxies = [\"127.0.0.1\"]\n[bans]\naddresses = [\"192.0.2.0/24\"]\nreferers = [\"example.net\"]\n",
    )
    .await;
    let file = upload(scene.at(), "a.txt", b"something").await;
    let target = path(&file["url"]);
    let from = async |address: &str| get(scene.at(), &target, &[("x-forwarded-for", address)]).await.status;
    assert_eq!((from("192.0.2.7").await, from("198.51.100.7").await), (403, 200));
    let refused = ask(scene.at(), "PUT", "/b.txt", &[("x-forwarded-for", "192.0.2.7")], "x").await;
    assert_eq!((refused.status, refused.field("cache-control").as_str()), (403, "no-store"));
    let health = get(scene.at(), "/.witness/health", &[("x-forwarded-for", "192.0.2.7")]).await;
    assert_eq!(health.status, 200);
    // As a command beside the server would do it.
    let network = "2001:db8:1::/48".parse().unwrap();
    let until = clock::now().after(Duration::from_secs(3600));
    scene.origin.db().write(move |db| addresses::add(db, network, "spam", Some(until), clock::now())).await.unwrap();
    let counts = wait_until_async(Duration::from_secs(60), async || from("2001:db8:1:2::3").await == 403);
    assert!(counts.await);
    assert_eq!(from("2001:db8:2::3").await, 200);
    assert!(scene.origin.db().write(move |db| addresses::remove(db, network)).await.unwrap());
    assert!(wait_until_async(Duration::from_secs(60), async || from("2001:db8:1:2::3").await == 200).await);
    let shown_at = async |page: &str| get(scene.at(), &target, &[("referer", page)]).await;
    let refused = shown_at("https://www.example.net/wall").await;
    assert_eq!((refused.status, refused.field("cache-control").as_str()), (403, "no-store"));
    assert_eq!(shown_at("https://example.com/wall").await.status, 200);
}
