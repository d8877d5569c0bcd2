//! Who may do how much.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use witness_lab::process::wait_until_async;

use crate::client::{ask, get, parse};
use crate::{Scene, form, path, post, request, start, upload};

const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
    files_url = \"https://files.example.com\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_address_sends_as_much_as_it_may_and_is_told_when_to_go_on() {
    let config = format!(
        "{SERVER}trusted_proxies = [\"127.0.0.1\"]\n[upload]\nmax_size = \"4MiB\"\nper_address = \"100KiB/d\"\n"
    );
    let scene = Scene::with(&config).await;
    let content = "x".repeat(60 << 10);
    let put = async |address: &str, content: &str| {
        ask(scene.at(), "PUT", "/a.txt?output=json", &[("x-forwarded-for", address)], content).await
    };
    assert_eq!(put("2001:db8:1:2::1", &content).await.status, 201);
    let refused = put("2001:db8:1:2:ffff::9", &content).await;
    assert_eq!((refused.status, refused.json()["errorcode"].as_u64()), (429, Some(429)), "{}", refused.text());
    // 20 KiB of the 100 KiB are missing, which come back in a fifth of a day.
    let wait: u64 = refused.field("retry-after").parse().unwrap();
    assert!((17_000..=17_300).contains(&wait), "{wait}");
    assert_eq!(put("2001:db8:1:3::1", &content).await.status, 201, "another network");
    assert_eq!(put("2001:db8:1:2::1", "a little").await.status, 201, "what is left");
    // Nobody tells beforehand how long this is.
    let mut bytes = b"PUT /b.txt HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\
        X-Forwarded-For: 198.51.100.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..20 {
        bytes.extend_from_slice(format!("2800\r\n{}\r\n", "y".repeat(0x2800)).as_bytes());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let answer = crate::client::raw(scene.at(), &bytes, false).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(scene.files("incoming"), [""; 0]);
    assert_eq!(scene.origin.metrics().limited_uploads.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_uploads() {
    let config =
        format!("{SERVER}max_connections_per_address = 6\n[upload]\nmax_size = \"4MiB\"\nat_once_per_address = 2\n");
    let scene = Scene::with(&config).await;
    let whole = request("/upload.php", &form("a.txt", b"hello"));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        stream.write_all(&whole[..whole.len() - 20]).await.unwrap();
        open.push(stream);
    }
    let refused = wait_until_async(Duration::from_secs(60), async || {
        let answer = post(scene.at(), "/upload.php", &form("b.txt", b"x")).await;
        answer.status == 429 && !answer.field("retry-after").is_empty() && answer.json()["success"] == false
    });
    assert!(refused.await);
    // Slow heads and idle ones are connections, too.
    for _ in 0..4 {
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: files").await.unwrap();
        open.push(stream);
    }
    let sent_away = wait_until_async(Duration::from_secs(60), async || {
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
        read.is_ok() && parse(&bytes, false).status == 429
    });
    assert!(sent_away.await);
    assert!(scene.origin.metrics().refused_connections.get() > 0);
    drop(open);
    let let_in =
        wait_until_async(Duration::from_secs(60), async || get(scene.at(), "/info.json", &[]).await.status == 200);
    assert!(let_in.await, "those who have gone still count");
    upload(scene.at(), "c.txt", b"x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_with_a_token_upload() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    // Of the second, the hash alone: sha256sum says so.
    std::fs::write(
        &tokens,
        "# who may upload\nann 0123456789abcdef-ann\n\
         bob sha256:2749c133a140d6ef140441d2dbd49e19bdf1986a88a908ded60e481ba2ccc5f8\n",
    )
    .unwrap();
    std::fs::set_permissions(&tokens, PermissionsExt::from_mode(0o600)).unwrap();
    let origin = start(folder.path(), "[upload]\nmax_size = \"4MiB\"\ntokens_file = \"tokens\"\n").await;
    let at = origin.listen();
    let refused = post(at, "/upload.php", &form("a.txt", b"x")).await;
    assert_eq!((refused.status, refused.json()["errorcode"].as_u64()), (401, Some(401)));
    assert!(refused.field("www-authenticate").starts_with("Bearer"));
    let put = async |field: &str, value: &str| ask(at, "PUT", "/a.txt", &[(field, value)], "x").await.status;
    assert_eq!(put("authorization", "Bearer 0123456789abcdef-ann").await, 201);
    assert_eq!(put("x-upload-token", "0123456789abcdef-ann").await, 201);
    // As `curl -u :TOKEN` sends it.
    assert_eq!(put("authorization", "Basic OjAxMjM0NTY3ODlhYmNkZWYtYW5u").await, 201);
    assert_eq!(put("x-upload-token", "0123456789abcdef-robert").await, 201);
    assert_eq!(put("authorization", "Bearer 0123456789abcdef-bob").await, 401);
    assert_eq!(put("x-upload-token", "").await, 401);
    let begun = ask(at, "POST", "/resumable", &[("tus-resumable", "1.0.0"), ("upload-length", "5")], "").await;
    assert_eq!(begun.status, 401);
    origin.stop().await;
}

/// A file that is larger than what the kernel keeps of it on the way.
async fn large(scene: &Scene) -> String {
    let content: Vec<u8> = (0..24_u32 << 20).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    path(&upload(scene.at(), "a.bin", &content).await["url"])
}

/// Asks for it, with little room for what comes.
async fn asking(scene: &Scene, target: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(scene.at()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_take_what_is_sent_is_left() {
    let config = "[upload]\nmax_size = \"32MiB\"\n[serve]\nmin_rate = \"64KiB/s\"\nslow_after = \"2s\"\n";
    let scene = Scene::with(config).await;
    let target = large(&scene).await;
    let mut stuck = asking(&scene, &target).await;
    let left = wait_until_async(Duration::from_secs(120), async || scene.origin.metrics().slow_downloads.get() == 1);
    assert!(left.await, "it waits for ever");
    let mut bytes = Vec::new();
    let _ = stuck.read_to_end(&mut bytes).await;
    assert!(!parse(&bytes, false).whole);
    // One that takes a little all the time gets everything.
    let mut steady = asking(&scene, &target).await;
    let (mut taken, mut buffer) = (0, vec![0; 512 << 10]);
    loop {
        let read = steady.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        taken += read;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(taken > 24 << 20, "{taken}");
    assert_eq!(scene.origin.metrics().slow_downloads.get(), 1);
}
