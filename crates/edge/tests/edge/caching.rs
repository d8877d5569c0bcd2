//! Freshness, validators, variants, purges: what the origin is asked, and what clients get meanwhile.

use std::time::Duration;

use witness_lab::process::wait_until_async;

use crate::client::{ask, get};
use crate::origin::{Origin, body};
use crate::{MIB, Scene, TOKEN, start};

fn control(value: &str) -> Vec<(String, String)> {
    vec![("Cache-Control".into(), value.into())]
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_conditions_are_answered_from_the_cache() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.fields.push(("Content-Type".into(), "video/mp4".into())));
    let size = 2 * MIB + 100;
    let target = format!("/{size}/a");
    get(scene.at(), &target, &[]).await;
    let ask_for = async |fields: &[(&str, &str)]| get(scene.at(), &target, fields).await;

    let suffix = ask_for(&[("range", "bytes=-100")]).await;
    assert_eq!((suffix.status, suffix.body), (206, body(&target, 1, size - 100..size)));
    let across = ask_for(&[("range", "bytes=1048570-1048580")]).await;
    assert_eq!((across.status, across.body), (206, body(&target, 1, 1_048_570..1_048_581)));
    let open = ask_for(&[("range", "bytes=0-")]).await;
    assert_eq!((open.status, open.body.len() as u64), (206, size));
    let beyond = ask_for(&[("range", "bytes=99999999-")]).await;
    assert_eq!((beyond.status, beyond.field("content-range")), (416, format!("bytes */{size}")));
    let bad = ask_for(&[("range", "bytes=9-1")]).await;
    assert_eq!(bad.status, 200);

    let many = ask_for(&[("range", "bytes=0-1,2000000-2000002")]).await;
    assert_eq!(many.status, 206);
    let kind = many.field("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected =
        format!("\r\n--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-1/{size}\r\n\r\n").into_bytes();
    expected.extend(body(&target, 1, 0..2));
    expected.extend(
        format!("\r\n--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes 2000000-2000002/{size}\r\n\r\n")
            .bytes(),
    );
    expected.extend(body(&target, 1, 2_000_000..2_000_003));
    expected.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert!(many.whole && many.body == expected);

    let known = ask_for(&[("if-none-match", "\"v1\"")]).await;
    assert_eq!((known.status, known.body.len(), known.field("etag")), (304, 0, "\"v1\"".to_owned()));
    assert_eq!(ask_for(&[("if-none-match", "\"v2\"")]).await.status, 200);
    assert_eq!(ask_for(&[("if-match", "\"v2\"")]).await.status, 412);
    assert_eq!(ask_for(&[("range", "bytes=0-1"), ("if-range", "\"v1\"")]).await.status, 206);
    assert_eq!(ask_for(&[("range", "bytes=0-1"), ("if-range", "\"v2\"")]).await.status, 200);
    assert_eq!(scene.origin.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stale_is_looked_at_and_not_fetched_again() {
    let scene = Scene::with("[cache]\ndirectory = \"cache\"\n[cache.stale]\nwhile_revalidate = \"0s\"\n").await;
    scene.origin.set(|manner| manner.fields = control("max-age=0"));
    let target = format!("/{MIB}/a");
    get(scene.at(), &target, &[]).await;
    scene.origin.set(|manner| manner.fields.push(("X-New".into(), "yes".into())));
    let second = get(scene.at(), &target, &[("range", "bytes=5-9")]).await;
    assert_eq!((second.status, second.body.clone()), (206, body(&target, 1, 5..10)));
    assert_eq!(second.field("x-new"), "yes");
    assert!(second.field("cache-status").contains("fwd=stale"), "{}", second.field("cache-status"));
    assert_eq!(scene.origin.asked()[1].field("if-none-match"), Some("\"v1\""));
    assert_eq!(scene.origin.sent(), MIB);
    // It has changed: everybody gets the new one.
    scene.origin.set(|manner| manner.version = 2);
    let third = get(scene.at(), &target, &[]).await;
    assert!(third.body == body(&target, 2, 0..MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_little_stale_is_served_while_it_is_looked_at() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.fields = control("max-age=0, stale-while-revalidate=3600"));
    get(scene.at(), "/1000/a", &[]).await;
    scene.origin.set(|manner| manner.version = 2);
    let stale = get(scene.at(), "/1000/a", &[]).await;
    assert_eq!(stale.body, body("/1000/a", 1, 0..1000));
    assert!(stale.field("cache-status").contains("hit"));
    let renewed = wait_until_async(Duration::from_secs(20), async || {
        get(scene.at(), "/1000/a", &[]).await.body == body("/1000/a", 2, 0..1000)
    });
    assert!(renewed.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_is_better_than_nothing_unless_the_origin_forbids_it() {
    let scene = Scene::with("[cache]\ndirectory = \"cache\"\n[cache.stale]\nwhile_revalidate = \"0s\"\n").await;
    scene.origin.set(|manner| manner.fields = control("max-age=0"));
    get(scene.at(), "/1000/a", &[]).await;
    scene.origin.set(|manner| manner.fields = control("max-age=0, must-revalidate"));
    get(scene.at(), "/1000/strict", &[]).await;
    scene.origin.set(|manner| manner.status = Some(503));
    assert_eq!(get(scene.at(), "/1000/a", &[]).await.body, body("/1000/a", 1, 0..1000));
    scene.origin.set(|manner| manner.dead = true);
    let stale = get(scene.at(), "/1000/a", &[]).await;
    assert_eq!((stale.status, stale.body), (200, body("/1000/a", 1, 0..1000)));
    assert_eq!(get(scene.at(), "/1000/strict", &[]).await.status, 503);
    assert_eq!(get(scene.at(), "/1000/unknown", &[]).await.status, 503);
    // A failing source is not asked again by each who wants the same.
    let before = scene.origin.count();
    for _ in 0..10 {
        get(scene.at(), "/1000/a", &[]).await;
    }
    assert!(scene.origin.count() <= before + 3, "{} {before}", scene.origin.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_falls_through_and_is_remembered_when_all_say_it() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    first.set(|manner| manner.status = Some(404));
    first.set(|manner| manner.fields.clear());
    second.set(|manner| manner.fields.clear());
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), "e1", &[&first.url, &second.url], "").await;
    let at = edge.http()[0];
    for _ in 0..2 {
        assert_eq!(get(at, "/1000/a", &[]).await.body, body("/1000/a", 1, 0..1000));
        assert_eq!(get(at, "/none", &[]).await.status, 404);
    }
    assert_eq!((first.count(), second.count()), (2, 2));
    // While one is silent, nobody knows that there is nothing.
    first.set(|manner| manner.dead = true);
    assert_eq!(get(at, "/nothing", &[]).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_kept_apart_and_purged_together() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.fields.push(("Vary".into(), "Accept-Language".into())));
    let languages = ["de", "fr", "de", "fr"];
    for language in languages {
        let answer = get(scene.at(), "/1000/a", &[("accept-language", language)]).await;
        assert_eq!(answer.body, body("/1000/a", 1, 0..1000));
    }
    assert_eq!(scene.origin.count(), 2);
    scene.origin.set(|manner| manner.version = 2);
    let purge = purge(&scene, "https://files.example.com/1000/a", Some(TOKEN)).await;
    assert_eq!((purge.0, purge.1.as_str()), (200, "{\"purged\":true}\n"));
    for language in languages {
        let answer = get(scene.at(), "/1000/a", &[("accept-language", language)]).await;
        assert_eq!(answer.body, body("/1000/a", 2, 0..1000));
    }
    assert_eq!(scene.origin.count(), 4);
}

async fn purge(scene: &Scene, url: &str, token: Option<&str>) -> (u16, String) {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let fields: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    let body = format!("{{\"url\":\"{url}\"}}");
    let answer = ask(scene.at(), "POST", "/.witness/purge", &fields, &body).await;
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn purges_need_the_token_and_work_while_a_fill_runs() {
    let scene = Scene::new().await;
    let target = format!("/{}/a", 8 * MIB);
    let url = format!("http://files.example.com{target}");
    assert_eq!(purge(&scene, &url, None).await.0, 401);
    assert_eq!(purge(&scene, &url, Some("another")).await.0, 401);
    assert_eq!(purge(&scene, &url, Some(TOKEN)).await.1, "{\"purged\":false}\n");
    scene.origin.set(|manner| manner.pause = Duration::from_millis(10));
    let (at, reading) = (scene.at(), target.clone());
    let reader = tokio::spawn(async move { get(at, &reading, &[]).await });
    assert!(wait_until_async(Duration::from_secs(20), async || scene.origin.sent() > 3 * MIB).await);
    scene.origin.set(|manner| manner.version = 2);
    assert_eq!(purge(&scene, &url, Some(TOKEN)).await.1, "{\"purged\":true}\n");
    let after = get(scene.at(), &target, &[]).await;
    assert!(after.body == body(&target, 2, 0..8 * MIB));
    // Who had begun to read gets what was begun, or its end is missing.
    let begun = reader.await.unwrap();
    assert!(begun.body == body(&target, 1, 0..begun.body.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_one_visitor_is_fetched_for_each() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.fields = control("private"));
    for _ in 0..3 {
        let answer = get(scene.at(), "/1000/a", &[("range", "bytes=10-19")]).await;
        assert_eq!((answer.status, answer.body), (206, body("/1000/a", 1, 10..20)));
    }
    // The first was asked for as if it could be kept.
    assert_eq!(scene.origin.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_can_keep_others_from_the_cache() {
    let scene = Scene::new().await;
    for fields in [[("authorization", "Basic x")], [("cache-control", "no-store")]] {
        assert_eq!(get(scene.at(), "/1000/a", &fields).await.body, body("/1000/a", 1, 0..1000));
    }
    scene.origin.set(|manner| (manner.status, manner.fields) = (Some(500), Vec::new()));
    assert_eq!(get(scene.at(), "/1000/a", &[]).await.status, 500);
    scene.origin.set(|manner| (manner.status, manner.fields) = (None, control("max-age=60")));
    let before = scene.origin.count();
    for _ in 0..3 {
        assert_eq!(get(scene.at(), "/1000/a", &[]).await.body, body("/1000/a", 1, 0..1000));
    }
    assert_eq!(scene.origin.count(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_passed_on_and_what_was_kept_is_forgotten() {
    let scene = Scene::new().await;
    get(scene.at(), "/1000/a", &[]).await;
    scene.origin.set(|manner| manner.version = 2);
    assert_eq!(ask(scene.at(), "POST", "/1000/a", &[], "something new").await.status, 200);
    assert_eq!(scene.origin.asked()[1].method, "POST");
    assert_eq!(scene.origin.asked()[1].field("content-length"), Some("13"));
    assert_eq!(get(scene.at(), "/1000/a", &[]).await.body, body("/1000/a", 2, 0..1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_slice_is_fetched_again() {
    let scene = Scene::new().await;
    let target = format!("/{}/a", 3 * MIB);
    get(scene.at(), &target, &[]).await;
    let cache = scene.folder.path().join("cache");
    let files = std::fs::read_dir(cache).unwrap().filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok());
    let file = files.flatten().map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 1_500_000;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let answer = get(scene.at(), &target, &[]).await;
    assert!(answer.whole && answer.body == body(&target, 1, 0..3 * MIB));
    assert_eq!(scene.origin.count(), 2);
    assert_eq!(scene.origin.asked()[1].field("range"), Some(format!("bytes={MIB}-").as_str()));
}
