//! Taking back, bans, and what is seen a few times only.

use std::time::Duration;

use witness_lab::process::wait_until_async;
use witness_origin::clock;
use witness_origin::db::bans;
use witness_origin::model::Sha256;

use crate::client::{ask, get};
use crate::{Scene, form, path, post, upload, upload_to};

/// The janitor has been there.
async fn is_emptied(scene: &Scene) -> bool {
    wait_until_async(Duration::from_secs(60), async || scene.files("objects").is_empty()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_uploaded_takes_back_their_own_upload_alone() {
    let scene = Scene::new().await;
    let first = upload(scene.at(), "a.txt", b"equal").await;
    let second = upload(scene.at(), "a.txt", b"equal").await;
    let target = path(&first["url"]);
    let question = get(scene.at(), &path(&first["delete_url"]), &[]).await;
    assert!(question.status == 200 && question.text().contains("<form method=\"post\">"));
    assert_eq!(get(scene.at(), &target, &[]).await.status, 200, "looking at the address deletes nothing");
    assert_eq!(ask(scene.at(), "POST", &format!("/delete{target}/wrong"), &[], "").await.status, 404);
    assert_eq!(ask(scene.at(), "DELETE", &target, &[("x-delete-token", "wrong")], "").await.status, 404);
    assert_eq!(ask(scene.at(), "DELETE", &target, &[], "").await.status, 404);
    assert_eq!(ask(scene.at(), "POST", &path(&first["delete_url"]), &[], "").await.status, 200);
    assert_eq!(get(scene.at(), &target, &[]).await.status, 200, "somebody else's upload stays");
    assert_eq!(ask(scene.at(), "POST", &path(&first["delete_url"]), &[], "").await.status, 404);
    let delete_url = second["delete_url"].as_str().unwrap();
    let token = delete_url.rsplit('/').next().unwrap();
    assert_eq!(ask(scene.at(), "DELETE", &format!("{target}?token={token}"), &[], "").await.status, 200);
    assert_eq!(get(scene.at(), &target, &[]).await.status, 410);
    assert!(is_emptied(&scene).await);
    // A token is for its own name.
    let other = upload(scene.at(), "b.txt", b"other").await;
    let third = upload(scene.at(), "c.txt", b"third").await;
    let token = third["delete_url"].as_str().unwrap().rsplit('/').next().unwrap();
    assert_eq!(ask(scene.at(), "POST", &format!("/delete{}/{token}", path(&other["url"])), &[], "").await.status, 404);
    // Nothing of it is in the database, or near.
    for file in ["meta.db", "meta.db-wal"] {
        let bytes = std::fs::read(scene.folder.path().join("store").join(file)).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_seen_once_is_sent_whole_and_once() {
    let scene = Scene::new().await;
    let file = upload_to(scene.at(), "/upload.php?oneshot=1", "a.txt", b"a secret").await;
    let target = path(&file["url"]);
    let looked = ask(scene.at(), "HEAD", &target, &[], "").await;
    assert_eq!((looked.status, looked.field("content-length").as_str()), (200, "8"));
    for field in ["sec-purpose", "purpose", "x-moz"] {
        assert_eq!(get(scene.at(), &target, &[(field, "prefetch;prerender")]).await.status, 403);
    }
    let tag = format!("\"{}\"", file["sha256"].as_str().unwrap());
    let got = get(scene.at(), &target, &[("range", "bytes=0-0"), ("if-none-match", &tag)]).await;
    assert_eq!((got.status, got.text().as_str()), (200, "a secret"));
    assert_eq!(got.field("cache-control"), "no-store");
    assert_eq!(get(scene.at(), &target, &[]).await.status, 410);
    assert!(is_emptied(&scene).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn banned_content_is_neither_taken_nor_shown() {
    let scene = Scene::new().await;
    let file = upload(scene.at(), "a.txt", b"forbidden").await;
    let sha256: Sha256 = file["sha256"].as_str().unwrap().parse().unwrap();
    scene.origin.db().write(move |db| bans::add(db, &sha256.0, "a test", None, clock::now())).await.unwrap();
    let shown = get(scene.at(), &path(&file["url"]), &[]).await;
    assert_eq!(shown.status, 451);
    assert!(!shown.text().contains("a test"));
    for name in ["a.txt", "b.bin"] {
        let answer = post(scene.at(), "/upload.php", &form(name, b"forbidden")).await;
        assert_eq!((answer.status, answer.json()["description"].as_str()), (451, Some("File blacklisted.")));
    }
    assert_eq!(scene.files("objects").len(), 1);
    scene.origin.db().write(move |db| bans::remove(db, &sha256.0, clock::now())).await.unwrap();
    assert_eq!(get(scene.at(), &path(&file["url"]), &[]).await.text(), "forbidden");
}
