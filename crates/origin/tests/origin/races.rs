//! Many at once, for the same thing.

use std::collections::BTreeSet;

use crate::client::{ask, get};
use crate::{Scene, form, many, path, post, upload, upload_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_content_a_hundred_times_at_once_is_one_object_with_one_url() {
    let scene = Scene::new().await;
    for round in 0..5_u8 {
        let content = vec![round; 10_000];
        let uploads: Vec<_> = (0..100)
            .map(|_| {
                let (at, form) = (scene.at(), form("a.txt", &content));
                tokio::spawn(async move { post(at, "/upload.php", &form).await })
            })
            .collect();
        let (mut urls, mut first) = (BTreeSet::new(), 0);
        for upload in uploads {
            let answer = upload.await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            let file = &answer.json()["files"][0];
            urls.insert(file["url"].as_str().unwrap().to_owned());
            first += i32::from(file["dupe"] == false);
        }
        assert_eq!((urls.len(), first, scene.files("objects").len()), (1, 1, usize::from(round) + 1));
        assert_eq!(get(scene.at(), &path(&urls.first().unwrap().as_str().into()), &[]).await.body, content);
    }
    let (commits, writes) = scene.origin.db().commits();
    assert!(writes >= 500 && commits < writes, "{writes} in {commits} commits: nobody shared one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_uploads_what_another_removes_has_it() {
    let scene = Scene::new().await;
    let workers: Vec<_> = (0..8_u64)
        .map(|worker| {
            let at = scene.at();
            tokio::spawn(async move {
                for round in 0..25_u64 {
                    // Two contents that all of them put in and take out.
                    let content = [b'a' + u8::try_from(round % 2).unwrap(); 300];
                    let files = many(&[("files[]", "a.txt", &content), ("files[]", "b.txt", b"another")]);
                    let answer = post(at, "/upload.php", &files).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    for file in answer.json()["files"].as_array().unwrap() {
                        let got = get(at, &path(&file["url"]), &[]).await;
                        assert!(
                            got.status == 200 && got.body.len() as u64 == file["size"].as_u64().unwrap(),
                            "worker {worker}: {}",
                            got.status
                        );
                        let removed = ask(at, "POST", &path(&file["delete_url"]), &[], "").await;
                        assert_eq!(removed.status, 200, "worker {worker}");
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(scene.origin.db().read(witness_origin::db::links::totals).await.unwrap(), (0, 0, 0));
    let empty = witness_lab::process::wait_until_async(std::time::Duration::from_secs(60), async || {
        scene.files("objects").is_empty()
    });
    assert!(empty.await, "{:?}", scene.files("objects"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_to_be_seen_a_few_times_is_seen_as_often_by_racing_clients() {
    let scene = Scene::new().await;
    for views in [1, 3] {
        let content = vec![b'x'; 700_000];
        let file = upload_to(scene.at(), &format!("/upload.php?max_views={views}"), "a.txt", &content).await;
        let target = path(&file["url"]);
        let clients: Vec<_> = (0..20)
            .map(|number| {
                let (at, target) = (scene.at(), target.clone());
                tokio::spawn(async move {
                    let range = [("range", "bytes=0-0")];
                    get(at, &target, if number % 2 == 0 { &range } else { &[] }).await
                })
            })
            .collect();
        let mut seen = 0;
        for client in clients {
            let answer = client.await.unwrap();
            if answer.status == 200 {
                assert!(answer.whole && answer.body == content);
                seen += 1;
            } else {
                assert_eq!(answer.status, 410);
            }
        }
        assert_eq!(seen, views);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_download_that_began_before_a_removal_is_whole() {
    let scene = Scene::new().await;
    let content = vec![b'x'; 4 << 20];
    for _ in 0..10 {
        let file = upload(scene.at(), "a.txt", &content).await;
        let (at, target) = (scene.at(), path(&file["url"]));
        let download = tokio::spawn(async move { get(at, &target, &[]).await });
        let removed = ask(scene.at(), "POST", &path(&file["delete_url"]), &[], "").await;
        assert_eq!(removed.status, 200);
        let answer = download.await.unwrap();
        assert!(answer.status == 410 || answer.status == 200 && answer.body == content, "{}", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_no_row_knows_is_put_aside_and_what_is_known_stays() {
    let folder = tempfile::tempdir().unwrap();
    let origin = crate::start(folder.path(), "").await;
    let file = upload(origin.listen(), "a.txt", b"known").await;
    let store = folder.path().join("store");
    origin.stop().await;
    // Two that a crash has left: one long ago, one just now.
    let old = "00".repeat(32);
    let new = "01".repeat(32);
    for name in [&old, &new] {
        std::fs::write(store.join("objects").join(&name[..2]).join(name), "left").unwrap();
    }
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let known = file["sha256"].as_str().unwrap();
    for name in [&old, known] {
        let path = store.join("objects").join(&name[..2]).join(name);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let origin = crate::start(folder.path(), "").await;
    let moved = witness_lab::process::wait_until_async(std::time::Duration::from_secs(60), async || {
        crate::files(&store.join("quarantine")) == [old.clone()]
    });
    assert!(moved.await);
    assert_eq!(origin.metrics().quarantined_objects.get(), 1);
    let mut left = vec![new, known.to_owned()];
    left.sort();
    assert_eq!(crate::files(&store.join("objects")), left);
    assert_eq!(get(origin.listen(), &path(&file["url"]), &[]).await.text(), "known");
    origin.stop().await;
}
