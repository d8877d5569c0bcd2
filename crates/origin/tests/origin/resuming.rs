//! Uploads in parts, with requests as clients send them and with such as no client does; and what is left of them when
//! the program is killed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use witness_lab::process::wait_until_async;

use crate::client::{Answer, get, parse, raw};
use crate::program::Program;
use crate::{Scene, files, path, start};

const KIND: (&str, &str) = ("content-type", "application/offset+octet-stream");

fn head(method: &str, target: &str, fields: &[(&str, &str)], length: usize) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n");
    if !fields.iter().any(|(name, _)| *name == "tus-resumable") {
        head.push_str("Tus-Resumable: 1.0.0\r\n");
    }
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if length > 0 {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

async fn tus(at: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let request = [&head(method, target, fields, body.len()), body].concat();
    let answer = raw(at, &request, method == "HEAD").await;
    assert_eq!(answer.field("tus-resumable"), "1.0.0", "{method} {target}: {} {}", answer.status, answer.text());
    answer
}

/// Begins one called `a.txt`, and returns where it is.
async fn begin(at: SocketAddr, length: usize) -> String {
    let fields = [("upload-length", length.to_string()), ("upload-metadata", "filename YS50eHQ=".to_owned())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = tus(at, "POST", "/resumable", &fields, b"").await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.field("location")
}

async fn patch(at: SocketAddr, target: &str, offset: usize, body: &[u8]) -> Answer {
    tus(at, "PATCH", target, &[KIND, ("upload-offset", &offset.to_string())], body).await
}

async fn offset(at: SocketAddr, target: &str) -> usize {
    let answer = tus(at, "HEAD", target, &[], b"").await;
    assert_eq!((answer.status, answer.field("cache-control").as_str()), (200, "no-store"));
    answer.field("upload-offset").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_in_parts_and_is_published_with_the_last() {
    let scene = Scene::new().await;
    let at = scene.at();
    let offer = tus(at, "OPTIONS", "/resumable", &[("tus-resumable", "")], b"").await;
    assert_eq!((offer.status, offer.field("tus-version").as_str()), (204, "1.0.0"));
    let extensions = "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum";
    assert_eq!(offer.field("tus-extension"), extensions);
    assert_eq!(
        (offer.field("tus-max-size"), offer.field("tus-checksum-algorithm")),
        ("4194304".into(), "sha1,sha256".into())
    );
    let target = begin(at, 11).await;
    let first = patch(at, &target, 0, b"hello ").await;
    assert_eq!((first.status, first.field("upload-offset").as_str(), first.field("x-url").as_str()), (204, "6", ""));
    assert!(first.field("upload-expires").ends_with(" GMT"));
    let told = tus(at, "HEAD", &target, &[], b"").await;
    assert_eq!((told.field("upload-offset"), told.field("upload-length")), ("6".into(), "11".into()));
    assert_eq!(told.field("upload-metadata"), "filename YS50eHQ=");
    assert_eq!(tus(at, "GET", &target, &[], b"").await.status, 409);
    let last = patch(at, &target, 6, b"world").await;
    assert_eq!((last.status, last.field("upload-offset").as_str()), (204, "11"));
    let url = path(&last.field("x-url").into());
    assert!(url.ends_with(".txt"), "{url}");
    assert_eq!(get(at, &url, &[]).await.text(), "hello world");
    // Whoever did not get the answer asks again.
    let told = tus(at, "HEAD", &target, &[], b"").await;
    assert_eq!((told.field("upload-offset"), told.field("x-url")), ("11".into(), last.field("x-url")));
    let looked = get(at, &target, &[]).await.json();
    assert_eq!(looked["files"][0]["url"], last.field("x-url"));
    assert_eq!(looked["files"][0]["delete_url"], last.field("x-url-delete"));
    assert_eq!(patch(at, &target, 11, b"").await.status, 204);
    assert_eq!(patch(at, &target, 11, b"more").await.status, 413);
    assert_eq!((scene.files("resumable").len(), scene.files("incoming").len()), (0, 0));
    // It is known by its content, as all are.
    let again = crate::upload(at, "b.txt", b"hello world").await;
    assert_eq!(path(&again["url"]), url);
    let delete = path(&last.field("x-url-delete").into());
    assert_eq!(crate::client::ask(at, "POST", &delete, &[], "").await.status, 200);
    assert_eq!(get(at, &url, &[]).await.status, 200, "the other upload's");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_can_begin_with_its_first_part_or_without_a_length_and_ask_for_an_end() {
    let scene = Scene::new().await;
    let at = scene.at();
    let begun = tus(at, "POST", "/resumable", &[KIND, ("upload-length", "5")], b"he").await;
    assert_eq!((begun.status, begun.field("upload-offset").as_str()), (201, "2"));
    assert_eq!(patch(at, &begun.field("location"), 2, b"llo").await.status, 204);
    let whole = tus(at, "POST", "/resumable", &[KIND, ("upload-length", "5")], b"whole").await;
    assert_eq!((whole.status, whole.field("upload-offset").as_str()), (201, "5"));
    assert_eq!(get(at, &path(&whole.field("x-url").into()), &[]).await.text(), "whole");
    let empty = tus(at, "POST", "/resumable", &[("upload-length", "0")], b"").await;
    assert_eq!(empty.status, 201);
    assert_eq!(get(at, &path(&empty.field("x-url").into()), &[]).await.text(), "");
    let later = tus(at, "POST", "/resumable", &[("upload-defer-length", "1")], b"").await.field("location");
    assert_eq!(patch(at, &later, 0, b"some").await.status, 204);
    assert_eq!(tus(at, "HEAD", &later, &[], b"").await.field("upload-defer-length"), "1");
    let wrong = tus(at, "PATCH", &later, &[KIND, ("upload-offset", "4"), ("upload-length", "3")], b"").await;
    assert_eq!(wrong.status, 400);
    let last = tus(at, "PATCH", &later, &[KIND, ("upload-offset", "4"), ("upload-length", "8")], b"body").await;
    assert_eq!(get(at, &path(&last.field("x-url").into()), &[]).await.text(), "somebody");
    // `oneshot` is `1`, `expires` is `1h`.
    let wishes = [KIND, ("upload-length", "4"), ("upload-metadata", "name YS50eHQ=,oneshot MQ==,expires MWg=")];
    let once = path(&tus(at, "POST", "/resumable", &wishes, b"once").await.field("x-url").into());
    assert_eq!((get(at, &once, &[]).await.status, get(at, &once, &[]).await.status), (200, 410));
    let bad = [("upload-length", "4"), ("upload-metadata", "expires eA==")];
    assert_eq!(tus(at, "POST", "/resumable", &bad, b"").await.status, 400);
    // Those who cannot say PATCH.
    let target = begin(at, 2).await;
    let fields = [KIND, ("upload-offset", "0"), ("x-http-method-override", "PATCH")];
    assert_eq!(tus(at, "POST", &target, &fields, b"ab").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_match_its_checksum_does_not_count() {
    let scene = Scene::new().await;
    let at = scene.at();
    let target = begin(at, 11).await;
    let checked = async |offset: &str, checksum: &str, body: &[u8]| {
        tus(at, "PATCH", &target, &[KIND, ("upload-offset", offset), ("upload-checksum", checksum)], body).await.status
    };
    // `printf 'hello world' | openssl sha1 -binary | base64`
    assert_eq!(checked("0", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", b"hello worle").await, 460);
    assert_eq!(offset(at, &target).await, 0);
    assert_eq!(checked("0", "md5 XrY7u+Ae7tCTyyK7j1rNww==", b"hello world").await, 400);
    // Half of it cannot be checked.
    let fields = [KIND, ("upload-offset", "0"), ("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")];
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&[&head("PATCH", &target, &fields, 11), b"hello".as_slice()].concat()).await.unwrap();
    drop(stream);
    assert_eq!(offset(at, &target).await, 0);
    assert_eq!(checked("0", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", b"hello world").await, 204);
    let url = path(&tus(at, "HEAD", &target, &[], b"").await.field("x-url").into());
    assert_eq!(get(at, &url, &[]).await.text(), "hello world");
    // With a part that is written in pieces.
    let large = vec![b'x'; 1 << 20];
    let target = begin(at, large.len()).await;
    let wrong = "sha256 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let fields = [KIND, ("upload-offset", "0"), ("upload-checksum", wrong)];
    assert_eq!(tus(at, "PATCH", &target, &fields, &large).await.status, 460);
    let last = patch(at, &target, 0, &large).await;
    assert_eq!(get(at, &path(&last.field("x-url").into()), &[]).await.body, large);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_tus_are_refused_and_change_nothing() {
    let scene = Scene::new().await;
    let at = scene.at();
    let target = begin(at, 5).await;
    let missing = format!("{target}x");
    let zero = ("upload-offset", "0");
    let cases: Vec<(u16, &str, &str, Vec<(&str, &str)>, &[u8])> = vec![
        (412, "PATCH", &target, vec![KIND, zero, ("tus-resumable", "0.2.2")], b"hello"),
        (412, "POST", "/resumable", vec![("upload-length", "5"), ("tus-resumable", "")], b""),
        (415, "PATCH", &target, vec![zero], b"hello"),
        (400, "PATCH", &target, vec![KIND], b"hello"),
        (400, "PATCH", &target, vec![KIND, ("upload-offset", "-1")], b"hello"),
        (409, "PATCH", &target, vec![KIND, ("upload-offset", "1")], b"ello"),
        (413, "PATCH", &target, vec![KIND, zero], b"hello!"),
        (400, "PATCH", &target, vec![KIND, zero, ("upload-length", "6")], b"hello!"),
        (404, "PATCH", &missing, vec![KIND, zero], b"hello"),
        (404, "HEAD", &missing, vec![], b""),
        (404, "DELETE", &missing, vec![], b""),
        (404, "GET", &missing, vec![], b""),
        (405, "PUT", &target, vec![], b"hello"),
        (405, "GET", "/resumable", vec![], b""),
        (400, "POST", "/resumable", vec![], b""),
        (400, "POST", "/resumable", vec![("upload-length", "5"), ("upload-defer-length", "1")], b""),
        (413, "POST", "/resumable", vec![("upload-length", "4194305")], b""),
        (413, "POST", "/resumable", vec![("upload-length", "18446744073709551615")], b""),
        (400, "POST", "/resumable", vec![("upload-length", "18446744073709551616")], b""),
        (400, "POST", "/resumable", vec![("upload-length", "5"), ("upload-metadata", "filename !")], b""),
        // `a.exe`: what would not be taken needs not be sent.
        (415, "POST", "/resumable", vec![("upload-length", "5"), ("upload-metadata", "filename YS5leGU=")], b""),
    ];
    for (status, method, target, fields, body) in cases {
        let answer = tus(at, method, target, &fields, body).await;
        assert_eq!(answer.status, status, "{method} {target} {fields:?}: {}", answer.text());
        assert_eq!(answer.field("tus-version"), if status == 412 { "1.0.0" } else { "" });
    }
    // More than was told, by one who does not tell how much.
    let chunked = [
        head("PATCH", &target, &[KIND, zero, ("transfer-encoding", "chunked")], 0),
        b"6\r\nhello!\r\n0\r\n\r\n".to_vec(),
    ];
    assert_eq!(raw(at, &chunked.concat(), false).await.status, 413);
    assert_eq!(offset(at, &target).await, 0);
    assert_eq!(patch(at, &target, 0, b"hello").await.status, 204);
    // Names lead nowhere, and break no field: `../../a"b\r\nX: y.txt`.
    let name = "filename Li4vLi4vYSJiDQpYOiB5LnR4dA==";
    let odd = tus(at, "POST", "/resumable", &[KIND, ("upload-length", "1"), ("upload-metadata", name)], b"x").await;
    assert_eq!((odd.status, odd.field("x").as_str()), (201, ""));
    assert_eq!(path(&odd.field("x-url").into()).matches('/').count(), 1);
    for strange in ["/resumable/../../etc/passwd", "/resumable/%2e%2e%2fmeta.db", "/resumable/a/b", "/resumablex"] {
        assert_eq!(get(at, strange, &[]).await.status, 404, "{strange}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_uploaded_may_not_in_parts_either_and_leaves_nothing() {
    let scene = Scene::new().await;
    let at = scene.at();
    let target = begin(at, 12).await;
    patch(at, &target, 0, b"<html>").await;
    let refused = patch(at, &target, 6, b"<body>").await;
    assert_eq!((refused.status, refused.text().as_str()), (415, "Filetype not allowed.\n"));
    assert_eq!(tus(at, "HEAD", &target, &[], b"").await.status, 404);
    // Taken back half way, and at the end.
    let target = begin(at, 6).await;
    patch(at, &target, 0, b"abc").await;
    assert_eq!(scene.files("resumable").len(), 1);
    assert_eq!(tus(at, "DELETE", &target, &[], b"").await.status, 204);
    assert_eq!(tus(at, "HEAD", &target, &[], b"").await.status, 404);
    let target = begin(at, 6).await;
    let url = path(&patch(at, &target, 0, b"abcdef").await.field("x-url").into());
    assert_eq!(tus(at, "DELETE", &target, &[], b"").await.status, 204);
    assert_eq!(get(at, &url, &[]).await.status, 410);
    assert_eq!((scene.files("resumable").len(), scene.files("incoming").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_goes_on_before_the_old_connection_is_known_to_be_lost() {
    let scene = Scene::new().await;
    let at = scene.at();
    let content: Vec<u8> = (0..2_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let target = begin(at, content.len()).await;
    // This one sends half of it, and then nothing, and does not close.
    let mut stuck = TcpStream::connect(at).await.unwrap();
    let half = &content[..1_000_000];
    let request = [&head("PATCH", &target, &[KIND, ("upload-offset", "0")], content.len()), half].concat();
    stuck.write_all(&request).await.unwrap();
    let came = wait_until_async(Duration::from_secs(60), async || {
        let path = scene.folder.path().join("store/resumable");
        files(&path).first().is_some_and(|name| path.join(name).metadata().unwrap().len() >= 700_000)
    });
    assert!(came.await);
    let received = offset(at, &target).await;
    assert!((700_000..=1_000_000).contains(&received), "{received}");
    let mut told = Vec::new();
    let _ = stuck.read_to_end(&mut told).await;
    assert_eq!(parse(&told, false).status, 423);
    let last = patch(at, &target, received, &content[received..]).await;
    assert_eq!(get(at, &path(&last.field("x-url").into()), &[]).await.body, content);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_ones_are_forgotten_and_there_are_never_many() {
    let scene = Scene::with(
        "[upload]\nmax_size = \"4MiB\"\nidle_timeout = \"300ms\"\n\
         [resumable]\npath = \"/tus/files\"\nexpire = \"1500ms\"\nmax_unfinished = 3\n",
    )
    .await;
    let at = scene.at();
    let begin = async || tus(at, "POST", "/tus/files", &[("upload-length", "9")], b"").await;
    let target = begin().await.field("location");
    assert!(target.starts_with("/tus/files/"));
    // Idle in the middle of a body: what came counts.
    let mut idle = TcpStream::connect(at).await.unwrap();
    let request = [&head("PATCH", &target, &[KIND, ("upload-offset", "0")], 9), b"abc".as_slice()].concat();
    idle.write_all(&request).await.unwrap();
    let mut told = Vec::new();
    let _ = idle.read_to_end(&mut told).await;
    assert_eq!(parse(&told, false).status, 408);
    assert_eq!((begin().await.status, begin().await.status), (201, 201));
    let refused = begin().await;
    assert_eq!((refused.status, refused.field("retry-after").as_str()), (429, "10"));
    let gone = wait_until_async(Duration::from_secs(60), async || {
        scene.files("resumable").is_empty() && [404, 410].contains(&tus(at, "HEAD", &target, &[], b"").await.status)
    });
    assert!(gone.await);
    assert!(wait_until_async(Duration::from_secs(60), async || begin().await.status == 201).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_nothing_to_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let origin = start(folder.path(), "").await;
    let target = begin(origin.listen(), 10).await;
    patch(origin.listen(), &target, 0, b"01234").await;
    origin.stop().await;
    let origin = start(folder.path(), "").await;
    assert_eq!(offset(origin.listen(), &target).await, 5);
    let last = patch(origin.listen(), &target, 5, b"56789").await;
    assert_eq!(get(origin.listen(), &path(&last.field("x-url").into()), &[]).await.text(), "0123456789");
    origin.stop().await;
    assert!(files(&folder.path().join("store/resumable")).is_empty());
}

/// One request, of which the answer may be lost.
async fn try_tus(at: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    // Whoever dies does not read all of it.
    let _ = stream.write_all(&[&head(method, target, fields, body.len()), body].concat()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let answer = parse(&bytes, method == "HEAD");
    (answer.status != 0 && answer.whole).then_some(answer)
}

/// As a client does: begins, goes on from where the server says it is, until it says that all is there. `None` when the
/// server is gone; `target` is where the upload is, if that was told.
async fn upload_all(at: SocketAddr, content: &[u8], part: usize, target: &mut Option<String>) -> Option<String> {
    if target.is_none() {
        let length = content.len().to_string();
        let fields = [("upload-length", length.as_str()), ("upload-metadata", "filename YS50eHQ=")];
        let begun = try_tus(at, "POST", "/resumable", &fields, b"").await?;
        assert_eq!(begun.status, 201, "{}", begun.text());
        *target = Some(begun.field("location"));
    }
    let target = target.as_deref().unwrap();
    loop {
        let told = try_tus(at, "HEAD", target, &[], b"").await?;
        assert_eq!(told.status, 200);
        let offset: usize = told.field("upload-offset").parse().unwrap();
        if offset == content.len() {
            return Some(path(&told.field("x-url").into()));
        }
        let body = &content[offset..content.len().min(offset + part)];
        let went = try_tus(at, "PATCH", target, &[KIND, ("upload-offset", &offset.to_string())], body).await?;
        assert_eq!(went.status, 204, "{}", went.text());
    }
}

/// It is there, once, and nothing else is.
async fn check(at: SocketAddr, folder: &Path, url: &str, content: &[u8], told: &str) {
    let got = get(at, url, &[]).await;
    assert!(got.status == 200 && got.body == content, "{told}: {}", got.status);
    let store = folder.join("store");
    assert_eq!((files(&store.join("incoming")).len(), files(&store.join("resumable")).len()), (0, 0), "{told}");
    let db = rusqlite::Connection::open(store.join("meta.db")).unwrap();
    let counts: (u64, u64) = db
        .query_row("SELECT (SELECT count(*) FROM links), (SELECT count(*) FROM claims)", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(counts, (1, 1), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_step_a_crash_costs_no_more_than_a_part() {
    let content: Vec<u8> = (0..600_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let places = [
        "resumed",
        "keeping",
        "kept:2",
        "finishing",
        "placed",
        "folder-synced",
        "committing",
        "committing:2",
        "committing:3",
        "committing:4",
        "committed:2",
        "committed:4",
        "published",
        "finished",
    ];
    for place in places {
        let folder = tempfile::tempdir().unwrap();
        let mut target = None;
        let mut program = Program::start(folder.path(), Some(place)).await;
        let done = upload_all(program.at, &content, 300_000, &mut target).await;
        assert!(done.is_none() && program.process.wait(Duration::from_secs(60)).is_some(), "{place}: it did not die");
        let program = Program::start(folder.path(), None).await;
        let url = upload_all(program.at, &content, 300_000, &mut target).await.unwrap();
        check(program.at, folder.path(), &url, &content, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_moment_a_crash_loses_nothing_that_was_kept() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| at.wrapping_mul(2_246_822_519).to_le_bytes()[3]).collect();
    let folder = tempfile::tempdir().unwrap();
    let (mut target, mut kept, mut crashes): (Option<String>, _, _) = (None, 0, 0);
    for seed in 0_u64.. {
        let mut program = Program::start(folder.path(), None).await;
        let at = program.at;
        if let Some(target) = &target {
            let received = offset(at, target).await;
            assert!(received >= kept, "{received} are left of {kept}");
            kept = received;
        }
        let (content_of, mut target_of) = (content.clone(), target.clone());
        let client = tokio::spawn(async move {
            let done = upload_all(at, &content_of, 200_000, &mut target_of).await;
            (done, target_of)
        });
        // The first ones early, the later ones not at all.
        if seed < 8 {
            tokio::time::sleep(Duration::from_millis(10 + seed * 37 % 90)).await;
            program.process.kill();
        }
        let (done, target_of) = client.await.unwrap();
        target = target_of;
        match done {
            Some(url) if seed >= 8 => return check(at, folder.path(), &url, &content, "at last").await,
            Some(_) => crashes += 1,
            None => assert!(seed < 8, "it did not get through, and nobody killed it"),
        }
        assert!(crashes <= 8 && seed <= 8);
    }
}
