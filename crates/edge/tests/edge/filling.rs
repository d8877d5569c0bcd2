//! One fill for all who read, wherever they read.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::get;
use crate::origin::body;
use crate::{MIB, Scene, start};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_is_served_without_the_origin() {
    let scene = Scene::new().await;
    for size in [0, 1, 65_536, MIB, MIB + 1, 5 * MIB + 123] {
        let target = format!("/{size}/a");
        let before = scene.origin.count();
        let first = get(scene.at(), &target, &[]).await;
        assert_eq!((first.status, first.whole), (200, true), "{target}");
        assert_eq!(first.body, body(&target, 1, 0..size));
        let second = get(scene.at(), &target, &[]).await;
        assert_eq!(second.body, first.body);
        assert_eq!(scene.origin.count(), before + 1, "{target}");
        assert!(second.field("cache-status").starts_with("e1; hit"), "{}", second.field("cache-status"));
        assert!(first.field("cache-status").contains("fwd=uri-miss"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_clients_on_one_cold_object_are_one_fetch() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| {
        manner.latency = Duration::from_millis(100);
        manner.pause = Duration::from_millis(2);
    });
    let target = format!("/{}/cold", 8 * MIB);
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let (at, target) = (scene.at(), target.clone());
            tokio::spawn(async move {
                // Some while the head is not there, some while the body comes, some in the middle of it.
                tokio::time::sleep(Duration::from_millis(number * 15)).await;
                let start = number % 3 * MIB;
                let range = format!("bytes={start}-");
                (start, get(at, &target, &[("range", &range)]).await)
            })
        })
        .collect();
    for client in clients {
        let (start, answer) = client.await.unwrap();
        assert_eq!((answer.status, answer.whole), (206, true));
        assert!(answer.body == body(&target, 1, start..8 * MIB));
    }
    assert_eq!(scene.origin.count(), 1, "{:?}", scene.origin.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_seek_does_not_wait_for_the_front() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.pause = Duration::from_millis(5));
    let size = 256 * MIB;
    let target = format!("/{size}/film");
    let start = size / 100 * 86;
    let range = format!("bytes={start}-{}", start + 65_535);
    let answer = get(scene.at(), &target, &[("range", &range)]).await;
    assert_eq!((answer.status, answer.whole), (206, true));
    assert!(answer.body == body(&target, 1, start..start + 65_536));
    assert_eq!(answer.field("content-range"), format!("bytes {start}-{}/{size}", start + 65_535));
    assert!(scene.origin.sent() < 40 * MIB, "{} bytes were fetched for it", scene.origin.sent());
    assert!(scene.origin.asked()[0].field("range").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_while_the_front_is_filled_begins_at_its_slice() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.pause = Duration::from_millis(10));
    let size = 64 * MIB;
    let target = format!("/{size}/film");
    let mut player = TcpStream::connect(scene.at()).await.unwrap();
    player.write_all(format!("GET {target} HTTP/1.1\r\nHost: files.example.com\r\n\r\n").as_bytes()).await.unwrap();
    let mut some = [0; 1000];
    player.read_exact(&mut some).await.unwrap();
    let start = 55 * MIB + 77;
    let range = format!("bytes={start}-{}", start + 999);
    let answer = get(scene.at(), &target, &[("range", &range)]).await;
    assert!(answer.body == body(&target, 1, start..start + 1000));
    assert_eq!(scene.origin.asked()[1].field("range"), Some(format!("bytes={}-", 55 * MIB).as_str()));
    assert_eq!(scene.origin.asked()[1].field("if-range"), Some("\"v1\""));
    assert!(scene.origin.sent() < 55 * MIB);
    // Once the slice is whole it is on the disk, and nobody is asked for it again.
    let whole = format!("bytes={}-{}", 55 * MIB, 56 * MIB - 1);
    let slice = get(scene.at(), &target, &[("range", &whole)]).await;
    assert!(slice.body == body(&target, 1, 55 * MIB..56 * MIB));
    assert_eq!(scene.origin.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_without_ranges_is_served_in_ranges() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.ranges = false);
    let size = 6 * MIB;
    let target = format!("/{size}/a");
    let range = format!("bytes={}-{}", 5 * MIB, 5 * MIB + 99);
    let answer = get(scene.at(), &target, &[("range", &range)]).await;
    assert_eq!(answer.status, 206);
    assert!(answer.body == body(&target, 1, 5 * MIB..5 * MIB + 100));
    let all = get(scene.at(), &target, &[]).await;
    assert!(all.whole && all.body == body(&target, 1, 0..size));
    assert_eq!(scene.origin.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_end_too_soon_are_fetched_on() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.cut = Some(1_500_000));
    let size = 6 * MIB;
    let target = format!("/{size}/a");
    let answer = get(scene.at(), &target, &[]).await;
    assert!(answer.whole);
    assert!(answer.body == body(&target, 1, 0..size));
    assert!(scene.origin.count() > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_never_gives_the_rest_is_given_up() {
    let scene = Scene::new().await;
    let size = 3 * MIB;
    let target = format!("/{size}/a");
    scene.origin.set(|manner| manner.cut = Some(MIB + 5));
    // From a slice on it gives nothing at all.
    let first = get(scene.at(), &target, &[("range", "bytes=0-9")]).await;
    assert_eq!(first.body.len(), 10);
    scene.origin.set(|manner| manner.dead = true);
    let answer = get(scene.at(), &target, &[]).await;
    assert!(!answer.whole && (answer.body.len() as u64) < size);
    assert!(answer.body == body(&target, 1, 0..answer.body.len() as u64));
    assert!(scene.origin.count() < 20, "{}", scene.origin.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_look_at_different_places_share_a_few_streams() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.pause = Duration::from_millis(1));
    let size = 120 * MIB;
    let target = format!("/{size}/film");
    let clients: Vec<_> = (0..60)
        .map(|number| {
            let (at, target) = (scene.at(), target.clone());
            tokio::spawn(async move {
                let start = number * 2 * MIB + 5;
                let range = format!("bytes={start}-{}", start + MIB);
                let answer = get(at, &target, &[("range", &range)]).await;
                assert!(answer.whole && answer.body == body(&target, 1, start..start + MIB + 1), "{number}");
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // One that has been closed runs on until the origin notices.
    assert!(scene.origin.most_at_once() <= 30, "{}", scene.origin.most_at_once());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_origin_is_waited_for_by_all_who_wait() {
    let scene = Scene::new().await;
    let target = format!("/{}/slow", 20 * MIB);
    get(scene.at(), &target, &[("range", "bytes=0-9")]).await;
    // Longer than a stream may be silent before another is tried; each that waits takes that for its own trouble.
    scene.origin.set(|manner| manner.latency = Duration::from_secs(7));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (at, target) = (scene.at(), target.clone());
            tokio::spawn(async move { get(at, &target, &[("range", "bytes=-1000")]).await })
        })
        .collect();
    for client in clients {
        let answer = client.await.unwrap();
        assert!(answer.whole && answer.body == body(&target, 1, 20 * MIB - 1000..20 * MIB));
    }
    assert!(scene.origin.count() <= 4, "{:?}", scene.origin.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_are_never_mixed() {
    let scene = Scene::new().await;
    let size = 6 * MIB;
    for name in 0..5 {
        let target = format!("/{size}/changing{name}");
        scene.origin.set(|manner| {
            manner.version = 1;
            manner.cut = Some(2 * MIB + 7);
            manner.fickle = true;
        });
        for _ in 0..4 {
            let answer = get(scene.at(), &target, &[]).await;
            assert_eq!(answer.status, 200);
            let version = answer.field("etag").trim_matches(['"', 'v']).parse().unwrap();
            let right = body(&target, version, 0..answer.body.len() as u64);
            assert!(answer.body == right, "an answer with the tag of {version} has bytes of another");
        }
        scene.origin.set(|manner| {
            manner.cut = None;
            manner.fickle = false;
        });
        let version = scene.origin_version();
        let answer = get(scene.at(), &target, &[]).await;
        let answer = if answer.whole { answer } else { get(scene.at(), &target, &[]).await };
        assert!(answer.whole);
        assert!(answer.body == body(&target, version, 0..size));
    }
}

impl Scene {
    fn origin_version(&self) -> u64 {
        let mut version = 0;
        self.origin.set(|manner| version = manner.version);
        version
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_unknown_length_are_kept_when_they_have_ended() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.chunked = true);
    for size in [0, 10, 3 * MIB + 5] {
        let target = format!("/{size}/chunks");
        let before = scene.origin.count();
        for _ in 0..2 {
            let answer = get(scene.at(), &target, &[]).await;
            assert!(answer.whole && answer.body == body(&target, 1, 0..size), "{target}");
        }
        let range = get(scene.at(), &target, &[("range", "bytes=2-4")]).await;
        if size > 5 {
            assert_eq!((range.status, range.body), (206, body(&target, 1, 2..5)));
        }
        assert_eq!(scene.origin.count(), before + 1, "{target}");
    }
    // One that is too long for that is passed on, to everybody anew.
    let size = 20 * MIB;
    let target = format!("/{size}/chunks");
    for _ in 0..2 {
        let answer = get(scene.at(), &target, &[]).await;
        assert!(answer.whole && answer.body == body(&target, 1, 0..size));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_alone_does_not_fetch_the_body() {
    let scene = Scene::new().await;
    let target = format!("/{}/big", 500 * MIB);
    let answer = crate::client::ask(scene.at(), "HEAD", &target, &[], "").await;
    assert_eq!((answer.status, answer.whole), (200, true));
    assert_eq!(answer.field("content-length"), (500 * MIB).to_string());
    assert_eq!(scene.origin.asked()[0].method, "HEAD");
    assert_eq!(scene.origin.sent(), 0);
    // Of what is here, nobody is asked.
    get(scene.at(), "/1000/small", &[]).await;
    let answer = crate::client::ask(scene.at(), "HEAD", "/1000/small", &[], "").await;
    assert_eq!(answer.field("content-length"), "1000");
    assert_eq!(scene.origin.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_any_more_is_not_fetched_to_its_end() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.pause = Duration::from_millis(10));
    let target = format!("/{}/left", 256 * MIB);
    let answer = get(scene.at(), &target, &[("range", "bytes=0-99")]).await;
    assert_eq!(answer.body.len(), 100);
    let mut last = u64::MAX;
    let stopped = witness_lab::process::wait_until_async(Duration::from_secs(60), || {
        let now = scene.origin.sent();
        let same = now == last;
        last = now;
        async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            same
        }
    });
    assert!(stopped.await);
    assert!(scene.origin.sent() < 128 * MIB, "{}", scene.origin.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_stored_everything_is_served() {
    // A cache whose disk has no room at all.
    let scene = Scene::with("[cache]\ndirectory = \"cache\"\nmin_free = \"9000TB\"\n").await;
    let size = 9 * MIB;
    let target = format!("/{size}/a");
    for _ in 0..2 {
        let answer = get(scene.at(), &target, &[]).await;
        assert!(answer.whole && answer.body == body(&target, 1, 0..size));
        let range = get(scene.at(), &target, &[("range", "bytes=5000000-5000099")]).await;
        assert!(range.body == body(&target, 1, 5_000_000..5_000_100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_what_there_was() {
    let scene = Scene::new().await;
    let target = format!("/{}/a", 3 * MIB);
    get(scene.at(), &target, &[]).await;
    // The client has the last slice before the disk has it.
    let stored = async || {
        let metrics = get(scene.edge.health(), "/metrics", &[]).await;
        String::from_utf8_lossy(&metrics.body).contains("\nwitness_edge_cache_slices 3\n")
    };
    assert!(witness_lab::process::wait_until_async(Duration::from_secs(60), stored).await);
    scene.edge.stop().await;
    let edge = start(scene.folder.path(), "e1", &[&scene.origin.url], "").await;
    let answer = get(edge.http()[0], &target, &[("range", "bytes=1000000-2999999")]).await;
    assert!(answer.body == body(&target, 1, 1_000_000..3_000_000));
    assert_eq!(scene.origin.count(), 1);
}
