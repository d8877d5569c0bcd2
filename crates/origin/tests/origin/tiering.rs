//! Content in the tier: there before it goes from here, back when it is asked for, and never something else.

use std::time::Duration;

use witness_lab::process::wait_until_async;
use witness_origin::db::{Db, replicas};
use witness_origin::model::Sha256;

use crate::bucket::{Bucket, Does};
use crate::client::get;
use crate::{Scene, path, upload};

const LIMIT: Duration = Duration::from_secs(60);

/// Bytes that are like no others.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state & 0xff).unwrap()
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) async fn place(db: &Db, sha256: Sha256) -> String {
    let read = db
        .read(move |db| Ok(db.query_row("SELECT place FROM objects WHERE sha256 = ?", [sha256.0], |row| row.get(0))?));
    read.await.unwrap()
}

async fn state(db: &Db, sha256: Sha256) -> (String, Option<String>) {
    let read = db.read(move |db| {
        let row = db.query_row("SELECT state, error FROM replicas WHERE sha256 = ?", [sha256.0], |row| {
            Ok((row.get(0)?, row.get(1)?))
        });
        Ok(row?)
    });
    read.await.unwrap()
}

pub(crate) fn sha256(file: &serde_json::Value) -> Sha256 {
    file["sha256"].as_str().unwrap().parse().unwrap()
}

pub(crate) async fn becomes(db: &Db, sha256: Sha256, wanted: &str) {
    let came = wait_until_async(LIMIT, async || place(db, sha256).await == wanted).await;
    assert!(came, "it is {} and {:?}", place(db, sha256).await, state(db, sha256).await);
}

/// An origin with a bucket, and a file that is in the bucket alone.
async fn away(content: &[u8]) -> (Scene, Bucket, String, Sha256) {
    let bucket = Bucket::start().await;
    let scene = Scene::with(&bucket.section()).await;
    let file = upload(scene.at(), "a.bin", content).await;
    let (target, sha256) = (path(&file["url"]), sha256(&file));
    becomes(scene.origin.db(), sha256, "both").await;
    let tier = scene.origin.copies().tier.clone().unwrap();
    assert_eq!(tier.evict(1).await.unwrap(), content.len() as u64);
    assert_eq!(place(scene.origin.db(), sha256).await, "remote");
    assert!(!scene.origin.store().path(&sha256).exists());
    bucket.state.lock().unwrap().asked.clear();
    (scene, bucket, target, sha256)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_sent_read_back_and_fetched_once_for_all() {
    let content = bytes(1, 9 << 18);
    let (scene, bucket, target, sha256) = away(&content).await;
    let key = format!("objects/{0:.2}/{1:.2}/{0}", sha256.to_string(), &sha256.to_string()[2..]);
    assert_eq!(bucket.keys("objects/"), std::slice::from_ref(&key));
    let all = (0..20).map(|_| get(scene.at(), &target, &[]));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!((answer.status, answer.whole), (200, true));
        assert!(answer.body == content);
    }
    assert_eq!(bucket.asked(&format!("GET {key}")), 1, "{:?}", bucket.state.lock().unwrap().asked);
    becomes(scene.origin.db(), sha256, "both").await;
    assert!(std::fs::read(scene.origin.store().path(&sha256)).unwrap() == content);
    assert_eq!(get(scene.at(), &target, &[]).await.body.len(), content.len());
    assert_eq!(bucket.asked("GET objects/"), 1);
    assert_eq!(scene.files("incoming"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_taken_up_again() {
    let content = bytes(4, 1 << 20);
    let (scene, bucket, target, sha256) = away(&content).await;
    bucket.fault("GET", "objects/", 1, Does::Cut(300_000));
    bucket.fault("GET", "objects/", 1, Does::Status(503));
    let answer = get(scene.at(), &target, &[]).await;
    assert!(answer.whole && answer.body == content);
    becomes(scene.origin.db(), sha256, "both").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_never_come_whole_and_are_told() {
    let content = bytes(5, 700_000);
    let (scene, bucket, target, sha256) = away(&content).await;
    bucket.fault("GET", "objects/", usize::MAX, Does::Other);
    let answer = get(scene.at(), &target, &[]).await;
    assert!(!answer.whole && answer.body.len() < content.len(), "{} bytes", answer.body.len());
    assert_eq!(place(scene.origin.db(), sha256).await, "remote");
    assert!(!scene.origin.store().path(&sha256).exists());
    let (state, error) = state(scene.origin.db(), sha256).await;
    assert_eq!(state, "bad");
    assert!(error.is_some());
    assert_eq!(scene.origin.metrics().tier_mismatches.get(), 1);
    // It is not asked for again at once.
    let asked = bucket.asked("GET objects/");
    assert_eq!(get(scene.at(), &target, &[]).await.status, 500);
    // Whoever sends content looks for it, too.
    assert!(bucket.asked("GET objects/") <= asked + 1);
    // Who uploads it again makes it whole again, here and there.
    bucket.state.lock().unwrap().faults.clear();
    assert_eq!(upload(scene.at(), "b.bin", &content).await["sha256"], sha256.to_string());
    assert!(get(scene.at(), &target, &[]).await.body == content);
    becomes(scene.origin.db(), sha256, "both").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_about_what_it_keeps_gets_nothing_evicted() {
    for does in [Does::Other, Does::Nothing] {
        let bucket = Bucket::start().await;
        bucket.fault("PUT", "objects/", usize::MAX, does);
        let scene = Scene::with(&bucket.section()).await;
        let content = bytes(6, 50_000);
        let file = upload(scene.at(), "a.bin", &content).await;
        let db = scene.origin.db();
        let is_bad = async || state(db, sha256(&file)).await.0 == "bad";
        assert!(wait_until_async(LIMIT, is_bad).await, "{does:?}");
        let tier = scene.origin.copies().tier.clone().unwrap();
        assert_eq!(tier.evict(u64::MAX).await.unwrap(), 0);
        assert!(get(scene.at(), &path(&file["url"]), &[]).await.body == content);
        let lag = db.read(replicas::lag).await.unwrap();
        assert_eq!(lag.waiting, 1);
        // And when it lies no longer, all is well.
        bucket.state.lock().unwrap().faults.clear();
        becomes(db, sha256(&file), "both").await;
        assert_eq!(db.read(replicas::lag).await.unwrap().waiting, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanished_there_is_not_evicted_and_goes_there_again() {
    let bucket = Bucket::start().await;
    let scene = Scene::with(&bucket.section()).await;
    let content = bytes(7, 50_000);
    let file = upload(scene.at(), "a.bin", &content).await;
    becomes(scene.origin.db(), sha256(&file), "both").await;
    bucket.state.lock().unwrap().objects.clear();
    let tier = scene.origin.copies().tier.clone().unwrap();
    assert_eq!(tier.evict(u64::MAX).await.unwrap(), 0);
    assert!(get(scene.at(), &path(&file["url"]), &[]).await.body == content);
    becomes(scene.origin.db(), sha256(&file), "both").await;
    assert_eq!(bucket.keys("objects/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_there_is_asked_for_once() {
    let (scene, bucket, target, _) = away(&bytes(8, 10_000)).await;
    bucket.state.lock().unwrap().objects.clear();
    let first = get(scene.at(), &target, &[]).await;
    assert!(!first.whole);
    let before = bucket.asked("GET objects/");
    for _ in 0..5 {
        assert_eq!(get(scene.at(), &target, &[]).await.status, 500);
    }
    // Whoever sends content looks for it, too; those who want it do not.
    assert!(bucket.asked("GET objects/") <= before + 2, "{:?}", bucket.state.lock().unwrap().asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_comes_from_the_tier_at_once() {
    let bucket = Bucket::start().await;
    let scene = Scene::with(&format!("{}[upload]\nmax_size = \"64MiB\"\n", bucket.section())).await;
    let content = bytes(9, 20 << 20);
    let file = upload(scene.at(), "a.bin", &content).await;
    let (target, sha256) = (path(&file["url"]), sha256(&file));
    becomes(scene.origin.db(), sha256, "both").await;
    // It went in parts, and came back whole.
    let key = bucket.keys("objects/").remove(0);
    assert!(bucket.state.lock().unwrap().objects[&key] == content);
    let tier = scene.origin.copies().tier.clone().unwrap();
    tier.evict(1).await.unwrap();
    bucket.state.lock().unwrap().asked.clear();
    // The fetch of the whole hangs; whoever wants the end does not wait for it.
    bucket.fault("GET", "objects/", 1, Does::Stall(1000));
    let hanging = tokio::spawn({
        let (at, target) = (scene.at(), target.clone());
        async move { get(at, &target, &[]).await }
    });
    assert!(wait_until_async(LIMIT, async || bucket.asked("GET objects/") == 1).await);
    let from = content.len() - 5000;
    let answer = get(scene.at(), &target, &[("Range", &format!("bytes={from}-"))]).await;
    assert_eq!((answer.status, answer.whole), (206, true));
    assert!(answer.body == content[from..]);
    let asked = bucket.state.lock().unwrap().asked.clone();
    assert!(asked.iter().any(|asked| asked.ends_with(&format!("bytes={from}-{}", content.len() - 1))), "{asked:?}");
    hanging.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_goes_from_the_tier_at_last_and_not_before() {
    for (keep, stays) in [("0s", false), ("1h", true)] {
        let bucket = Bucket::start().await;
        let scene = Scene::with(&format!("{}keep_deleted = \"{keep}\"\n", bucket.section())).await;
        let file = upload(scene.at(), "a.bin", &bytes(10, 10_000)).await;
        becomes(scene.origin.db(), sha256(&file), "both").await;
        let delete = path(&file["delete_url"]);
        assert_eq!(crate::client::ask(scene.at(), "POST", &delete, &[], "").await.status, 200);
        let is_gone = async || scene.files("objects").is_empty();
        assert!(wait_until_async(LIMIT, is_gone).await);
        if stays {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(bucket.keys("objects/").len(), 1);
            // Uploaded again, it is needed again.
            let again = upload(scene.at(), "b.bin", &bytes(10, 10_000)).await;
            becomes(scene.origin.db(), sha256(&again), "both").await;
        } else {
            assert!(wait_until_async(LIMIT, async || bucket.keys("objects/").is_empty()).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_counts_comes_or_does_not_count() {
    let bucket = Bucket::start().await;
    let scene = Scene::with(&bucket.section()).await;
    let content = bytes(11, 30_000);
    let told = crate::post(scene.at(), "/upload.php?oneshot=1", &crate::form("a.bin", &content)).await.json();
    let (target, sha256) = (path(&told["files"][0]["url"]), sha256(&told["files"][0]));
    becomes(scene.origin.db(), sha256, "both").await;
    scene.origin.copies().tier.clone().unwrap().evict(1).await.unwrap();
    bucket.fault("GET", "objects/", usize::MAX, Does::Cut(0));
    assert_eq!(get(scene.at(), &target, &[]).await.status, 500);
    bucket.state.lock().unwrap().faults.clear();
    let got = get(scene.at(), &target, &[]).await;
    assert!(got.whole && got.body == content, "{}", got.status);
    assert_eq!(get(scene.at(), &target, &[]).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_where_another_should_be_mounted_is_no_tier() {
    let more = "[tier]\ndirectory = \"tier\"\n";
    let scene = Scene::with(more).await;
    let folder = scene.folder.path().to_owned();
    let first = upload(scene.at(), "a.bin", &bytes(12, 5000)).await;
    becomes(scene.origin.db(), sha256(&first), "both").await;
    // Its first backup is there, so that nothing is under way any more.
    let first_backup = async || folder.join("tier/meta/full").is_dir() && scene.files("scratch").len() == 1;
    assert!(wait_until_async(LIMIT, first_backup).await);
    // The disk goes, and its mount point is there.
    std::fs::rename(folder.join("tier"), folder.join("away")).unwrap();
    std::fs::create_dir(folder.join("tier")).unwrap();
    let second = upload(scene.at(), "b.bin", &bytes(13, 5000)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(place(scene.origin.db(), sha256(&second)).await, "local");
    assert_eq!(std::fs::read_dir(folder.join("tier")).unwrap().count(), 0);
    let Scene { origin, folder: kept } = scene;
    origin.stop().await;
    let config =
        witness_origin::config::Config::parse(&crate::configuration(&folder, more), &folder.join("origin.toml"));
    let refused = witness_origin::origin::Origin::start(&config.unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("it is not the tier that it was"), "{refused}");
    std::fs::remove_dir(folder.join("tier")).unwrap();
    std::fs::rename(folder.join("away"), folder.join("tier")).unwrap();
    let origin = crate::start(&folder, more).await;
    becomes(origin.db(), sha256(&second), "both").await;
    origin.stop().await;
    drop(kept);
}
