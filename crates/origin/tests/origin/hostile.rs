//! Uploaders who mean harm.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{get, parse, raw};
use crate::{BOUNDARY, Scene, form, path, post, request, upload};

#[tokio::test(flavor = "multi_thread")]
async fn names_do_not_get_around_what_is_blocked() {
    let scene = Scene::new().await;
    for name in [
        "a.EXE",
        "a.exe.",
        "a.exe ",
        "a.exe\0.txt",
        "a.exe;.txt",
        "a.txt.exe",
        "a.exe.txt",
        "x/a.exe",
        "a.e\u{202e}xe",
        "..\\a.Bat",
    ] {
        let answer = post(scene.at(), "/upload.php", &form(name, b"harmless?")).await;
        assert_eq!(answer.status, 415, "{name:?}: {}", answer.text());
    }
    // What the part says that it is does not count.
    let spoofed = String::from_utf8(form("a.txt", b"<!-- --><html><script>alert(1)</script>")).unwrap();
    let spoofed = spoofed.replacen("\r\n\r\n", "\r\nContent-Type: image/png\r\n\r\n", 1);
    assert_eq!(post(scene.at(), "/upload.php", spoofed.as_bytes()).await.status, 415);
    assert_eq!(scene.files("objects"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_nowhere_else_and_break_no_answer() {
    let scene = Scene::with("[serve]\noriginal_names = true\n").await;
    let store = scene.folder.path().join("store");
    let before = std::fs::read_dir(&store).unwrap().count();
    for (at, name) in [
        "../../../../tmp/evil.txt",
        "..\\..\\evil.txt",
        "/etc/passwd",
        "%2e%2e%2fevil",
        "..",
        ".",
        "a\u{7f}b",
        "con.txt",
        "<script>alert(1)</script>.txt",
        "=cmd|' /C calc'!A0.txt",
        "a,b.txt",
        "a%0d%0aX-Evil: 1.txt",
        "\u{202e}gpj.txt",
    ]
    .into_iter()
    .enumerate()
    {
        let content = format!("content {at}");
        let file = upload(scene.at(), name, content.as_bytes()).await;
        let target = path(&file["url"]);
        assert_eq!(target.matches('/').count(), 1, "{name}");
        let got = get(scene.at(), &target, &[]).await;
        assert_eq!((got.status, got.text()), (200, content.clone()), "{name}");
        assert_eq!(got.field("x-evil"), "", "{name}");
        for format in ["text", "html", "csv"] {
            let told = post(scene.at(), &format!("/upload.php?output={format}"), &form(name, content.as_bytes())).await;
            assert_eq!((told.status, told.field("x-evil").as_str()), (200, ""), "{name}");
            assert!(!told.text().contains("<script"), "{name}: {}", told.text());
            assert!(!told.text().contains("\"="), "{name}: {}", told.text());
        }
    }
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), before);
    // A line break in a field is the end of a name, or nothing at all: never a field of ours.
    let broken = String::from_utf8(form("a.txt", b"x")).unwrap().replace("a.txt", "a\r\nX-Evil: 1\r\n.txt");
    let answer = post(scene.at(), "/upload.php", broken.as_bytes()).await;
    assert_eq!(answer.field("x-evil"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_that_go_too_far_are_refused_and_leave_nothing() {
    let scene = Scene::new().await;
    let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a.txt\"\r\n\r\n");
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("a header without an end", 400, format!("--{BOUNDARY}\r\nX: {}", "x".repeat(3 << 20)).into()),
        ("a preamble without an end", 400, "x\r\n".repeat(1 << 20).into()),
        ("many header fields", 400, format!("--{BOUNDARY}\r\n{}\r\n", "X: y\r\n".repeat(1000)).into()),
        ("many tiny files", 413, format!("{part}x\r\n").repeat(20_000).into()),
        (
            "many fields",
            400,
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n").repeat(30_000).into(),
        ),
        ("no last boundary", 400, format!("{part}hello").into()),
        (
            "too large",
            413,
            [part.as_bytes(), &vec![b'x'; (4 << 20) + 1], format!("\r\n--{BOUNDARY}--").as_bytes()].concat(),
        ),
        (
            "almost a boundary, everywhere",
            413,
            [part.as_bytes(), format!("\r\n--{}", &BOUNDARY[..9]).repeat(500_000).as_bytes()].concat(),
        ),
    ];
    for (what, status, form) in cases {
        let answer = post(scene.at(), "/upload.php", &form).await;
        assert!(answer.status == status && answer.whole, "{what}: {} {}", answer.status, answer.text());
        assert_eq!(answer.json()["success"], false, "{what}");
        assert_eq!(scene.files("incoming"), [""; 0], "{what}");
    }
    for kind in ["multipart/form-data", "multipart/form-data; boundary=", "application/x-www-form-urlencoded", ""] {
        let form = String::from_utf8(request("/upload.php", &form("a.txt", b"x"))).unwrap();
        let changed = form.replace(&format!("multipart/form-data; boundary={BOUNDARY}"), kind);
        assert_eq!(raw(scene.at(), changed.as_bytes(), false).await.status, 400, "{kind}");
    }
    let long = "b".repeat(71);
    let changed = String::from_utf8(request("/upload.php", &form("a.txt", b"x")))
        .unwrap()
        .replace(&format!("boundary={BOUNDARY}"), &format!("boundary={long}"));
    assert_eq!(raw(scene.at(), changed.as_bytes(), false).await.status, 400);
    assert_eq!(scene.files("objects"), [""; 0]);
    assert_eq!(scene.origin.store().room().1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_cut_off_leaves_nothing() {
    let scene = Scene::new().await;
    let whole = request("/upload.php", &form("a.txt", &vec![b'x'; 2 << 20]));
    for length in [10, 200, 400, 100_000, 700_000, whole.len() - 5] {
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        stream.write_all(&whole[..length]).await.unwrap();
        drop(stream);
    }
    // One that says less than it sends: what is beyond is no request.
    let short = String::from_utf8(request("/upload.php", &form("a.txt", b"hello"))).unwrap();
    let short = short.replacen("Content-Length: 1", "Content-Length: ", 1);
    let answer = raw(scene.at(), short.as_bytes(), false).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let gone = witness_lab::process::wait_until_async(Duration::from_secs(60), async || {
        scene.files("incoming").is_empty() && scene.origin.store().room().1 == 0
    });
    assert!(gone.await, "{:?}", scene.files("incoming"));
    assert_eq!(scene.files("objects"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slow_are_given_up() {
    let scene = Scene::with("[upload]\nidle_timeout = \"300ms\"\n").await;
    let whole = request("/upload.php", &form("a.txt", b"hello"));
    let mut stream = TcpStream::connect(scene.at()).await.unwrap();
    stream.write_all(&whole[..whole.len() - 20]).await.unwrap();
    let mut bytes = Vec::new();
    let _ =
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes)).await.expect("it waits for ever");
    let answer = parse(&bytes, false);
    assert_eq!((answer.status, answer.json()["errorcode"].as_u64()), (408, Some(408)));
    assert_eq!(scene.files("incoming"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_without_listening_gets_the_answer() {
    let scene = Scene::new().await;
    // Chunked, so that nothing tells beforehand how much it is.
    let head = format!(
        "POST /upload.php HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    );
    let form = form("a.bin", &vec![b'x'; 12 << 20]);
    let mut bytes = head.into_bytes();
    for chunk in form.chunks(100_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let mut stream = TcpStream::connect(scene.at()).await.unwrap();
    stream.write_all(&bytes).await.expect("all of it can be sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = parse(&answer, false);
    assert_eq!((answer.status, answer.json()["errorcode"].as_u64()), (413, Some(413)));
    // Told beforehand, it is refused beforehand.
    let head = format!(
        "POST /upload.php HTTP/1.1\r\nHost: files.example.com\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    );
    let answer = raw(scene.at(), head.as_bytes(), false).await;
    assert_eq!((answer.status, answer.field("connection").as_str()), (413, "close"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lengths_hide_no_request() {
    let scene = Scene::new().await;
    let hidden = "GET /info.json HTTP/1.1\r\nHost: files.example.com\r\n\r\n";
    let body = form("a.txt", b"x");
    for fields in [
        format!("Content-Length: {}\r\nContent-Length: 5\r\n", body.len()),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len() + hidden.len()),
        "Transfer-Encoding: chunked, identity\r\nContent-Length: 5\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
    ] {
        let head = format!("POST /upload.php HTTP/1.1\r\nHost: files.example.com\r\n{fields}\r\n");
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        stream.write_all(&[head.as_bytes(), b"0\r\n\r\n", hidden.as_bytes()].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("forbidden_ext"), "{fields}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_cannot_be_guessed() {
    let scene = Scene::new().await;
    let mut names = std::collections::BTreeSet::new();
    for number in 0..50_u32 {
        let file = upload(scene.at(), "a.txt", &number.to_le_bytes()).await;
        let name = path(&file["url"]);
        assert_eq!(name.len(), "/12345678.txt".len());
        assert!(names.insert(name));
        // The token is no part of what everybody sees.
        let token = file["delete_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert_eq!(token.len(), 27);
    }
}
