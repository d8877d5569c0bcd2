//! Files out.

use crate::client::{Answer, ask, get, raw};
use crate::{Scene, path, upload, upload_to};

async fn head(scene: &Scene, target: &str, fields: &[(&str, &str)]) -> Answer {
    let mut request = format!("HEAD {target} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    raw(scene.at(), format!("{request}\r\n").as_bytes(), true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_what_it_is_and_runs_nothing() {
    let scene = Scene::with("[upload]\nblock_extensions = []\nblock_mime = []\n").await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89".to_vec();
    let text = "text/plain; charset=utf-8";
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("a.png", png.clone(), "image/png", "inline"),
        ("a.html", png, "image/png", "inline"),
        ("a.txt", b"plain".to_vec(), text, "inline"),
        ("a.png", b"<html><script>alert(1)</script>".to_vec(), text, "inline"),
        ("a.js", b"alert(1)".to_vec(), text, "inline"),
        ("a.xhtml", b"<html xmlns=\"http://www.w3.org/1999/xhtml\"/>".to_vec(), text, "inline"),
        ("a.xml", b"<?xml version=\"1.0\"?><a/>".to_vec(), text, "inline"),
        ("a.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(), "image/svg+xml", "inline"),
        ("a.pdf", b"%PDF-1.7\n\xe2\xe3".to_vec(), "application/pdf", "attachment"),
        ("a.exe", b"MZ\x90\0\x03\0\0\0".to_vec(), "application/octet-stream", "attachment"),
        ("a.zip", b"PK\x03\x04\0\0\0\0".to_vec(), "application/octet-stream", "attachment"),
        ("a.swf", b"CWS\x0a\0\0\0\0".to_vec(), "application/octet-stream", "attachment"),
        ("a.bin", vec![0, 1, 2], "application/octet-stream", "attachment"),
    ];
    for (name, content, kind, shown) in cases {
        let file = upload(scene.at(), name, &content).await;
        let got = get(scene.at(), &path(&file["url"]), &[]).await;
        assert_eq!((got.status, &got.body), (200, &content), "{name}");
        assert_eq!(got.field("content-type"), kind, "{name}");
        assert!(got.field("content-disposition").starts_with(&format!("{shown}; filename=\"")), "{name}");
        assert_eq!(got.field("x-content-type-options"), "nosniff");
        assert!(got.field("content-security-policy").ends_with("; sandbox"), "{name}");
        assert_eq!(got.field("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(got.field("etag"), format!("\"{}\"", file["sha256"].as_str().unwrap()));
        assert_eq!(got.field("surrogate-key"), file["sha256"].as_str().unwrap());
        assert_eq!(got.field("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(got.field("set-cookie"), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn svg_and_pdf_are_shown_or_saved_as_configured() {
    let scene = Scene::with(
        "[serve]\nsvg = \"attachment\"\npdf = \"inline\"\noriginal_names = true\n[upload]\nblock_mime = []\n",
    )
    .await;
    let svg = upload(scene.at(), "drawing\u{e9}.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>").await;
    let got = get(scene.at(), &path(&svg["url"]), &[]).await;
    assert_eq!(
        got.field("content-disposition"),
        "attachment; filename=\"drawing_.svg\"; filename*=UTF-8''drawing%C3%A9%2Esvg"
    );
    let pdf = upload(scene.at(), "a.pdf", b"%PDF-1.7\n").await;
    let got = get(scene.at(), &path(&pdf["url"]), &[]).await;
    assert_eq!(got.field("content-disposition"), "inline; filename=\"a.pdf\"");
    assert!(!got.field("content-security-policy").contains("sandbox"));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_and_conditions_are_answered() {
    let scene = Scene::new().await;
    let content: Vec<u8> = (0..1_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let file = upload(scene.at(), "a.bin", &content).await;
    let target = path(&file["url"]);
    let tag = format!("\"{}\"", file["sha256"].as_str().unwrap());
    let whole = get(scene.at(), &target, &[]).await;
    assert!(whole.whole && whole.body == content);
    assert_eq!((whole.field("accept-ranges").as_str(), whole.field("content-length").as_str()), ("bytes", "1000000"));
    for (range, expected, field) in [
        ("bytes=0-0", 0..1, "bytes 0-0/1000000"),
        ("bytes=999990-", 999_990..1_000_000, "bytes 999990-999999/1000000"),
        ("bytes=-10", 999_990..1_000_000, "bytes 999990-999999/1000000"),
        ("bytes=131000-400000", 131_000..400_001, "bytes 131000-400000/1000000"),
    ] {
        let part = get(scene.at(), &target, &[("range", range)]).await;
        assert!(part.status == 206 && part.body == content[expected], "{range}");
        assert_eq!(part.field("content-range"), field);
    }
    let none = get(scene.at(), &target, &[("range", "bytes=1000000-")]).await;
    assert_eq!((none.status, none.field("content-range").as_str(), none.body.len()), (416, "bytes */1000000", 0));
    let changed = get(scene.at(), &target, &[("range", "bytes=0-0"), ("if-range", "\"other\"")]).await;
    assert_eq!((changed.status, changed.body.len()), (200, 1_000_000));
    let same = get(scene.at(), &target, &[("range", "bytes=0-0"), ("if-range", &tag)]).await;
    assert_eq!((same.status, same.body.len()), (206, 1));
    let known = get(scene.at(), &target, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status, known.body.len(), known.field("etag")), (304, 0, tag.clone()));
    let since = whole.field("last-modified");
    assert_eq!(get(scene.at(), &target, &[("if-modified-since", &since)]).await.status, 304);
    assert_eq!(get(scene.at(), &target, &[("if-match", "\"other\"")]).await.status, 412);
    let many = get(scene.at(), &target, &[("range", "bytes=0-1,500-501,-2")]).await;
    let boundary = many.field("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let part = |range: &str, at: usize| {
        [format!("\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {range}/1000000\r\n\r\n").into_bytes(), content[at..at + 2].to_vec()].concat()
    };
    let expected = [
        part("0-1", 0),
        part("500-501", 500),
        part("999998-999999", 999_998),
        format!("\r\n--{boundary}--\r\n").into_bytes(),
    ]
    .concat();
    assert!(many.status == 206 && many.whole && many.body == expected, "{}", many.text());
    for (fields, status) in [(&[][..], 200), (&[("range", "bytes=0-0")], 200), (&[("if-none-match", "*")], 304)] {
        let answer = head(&scene, &target, fields).await;
        assert!(answer.status == status && answer.body.is_empty(), "{fields:?}");
        if status == 200 {
            assert_eq!(answer.field("content-length"), "1000000");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_is_kept_by_caches_until_then() {
    let scene = Scene::with("[upload]\nexpire = \"1d\"\n").await;
    let seconds = |answer: &Answer| {
        let field = answer.field("cache-control");
        field.strip_prefix("public, max-age=").unwrap_or_else(|| panic!("{field}")).parse::<u64>().unwrap()
    };
    let usual = upload(scene.at(), "a.txt", b"a").await;
    let left = seconds(&get(scene.at(), &path(&usual["url"]), &[]).await);
    assert!((80_000..=86_400).contains(&left), "{left}");
    let short = upload_to(scene.at(), "/upload.php?expires=60s", "a.txt", b"a").await;
    let left = seconds(&get(scene.at(), &path(&short["url"]), &[]).await);
    assert!(left <= 60, "{left}");
    assert_eq!(upload(scene.at(), "b.txt", b"a").await["url"], usual["url"]);
    let shortest = upload_to(scene.at(), "/upload.php?expires=1ms", "a.txt", b"b").await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(get(scene.at(), &path(&shortest["url"]), &[]).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_and_nothing_outside_is_shown() {
    let scene = Scene::new().await;
    for target in [
        "/nothing.txt",
        "/..",
        "/%2e%2e/meta.db",
        "/..%2fmeta.db",
        "/meta.db",
        "/objects",
        "//",
        "/a/b",
        "/%00",
        "/%ff",
        "/....//meta.db",
        "/store/meta.db",
        "/lock",
        "/delete/a.txt",
    ] {
        assert_eq!(get(scene.at(), target, &[]).await.status, 404, "{target}");
    }
    assert_eq!(ask(scene.at(), "PATCH", "/a.txt", &[], "").await.status, 405);
    let options = ask(scene.at(), "OPTIONS", "/upload.php", &[], "").await;
    assert_eq!(options.field("access-control-allow-origin"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_damaged_is_not_served_as_if_it_were_whole() {
    let scene = Scene::new().await;
    let file = upload(scene.at(), "a.txt", b"all of it").await;
    let object = scene.origin.store().path(&file["sha256"].as_str().unwrap().parse().unwrap());
    std::fs::write(&object, "all of").unwrap();
    assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.status, 500);
    // Who uploads it again heals it.
    upload(scene.at(), "a.txt", b"all of it").await;
    assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.text(), "all of it");
}
