//! Parts that a source gives where it likes: kept, used for what is asked later, and completed.

use crate::client::get;
use crate::origin::body;
use crate::{MIB, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_something_cold_is_asked_for_as_such_and_kept() {
    let scene = Scene::new().await;
    let size = 256 * MIB;
    let target = format!("/{size}/film");
    let ask = async |range: &str| get(scene.at(), &target, &[("range", range)]).await;
    let end = ask("bytes=-500").await;
    assert_eq!((end.status, end.field("content-range")), (206, format!("bytes {}-{}/{size}", size - 500, size - 1)));
    assert!(end.body == body(&target, 1, size - 500..size));
    // Neither the front nor the middle was fetched for it.
    assert_eq!(scene.origin.asked()[0].field("range"), Some("bytes=-500"));
    assert_eq!((scene.origin.count(), scene.origin.sent()), (1, 500));
    for (range, start, stop) in [
        ("bytes=-500".to_owned(), size - 500, size),
        ("bytes=-1".to_owned(), size - 1, size),
        (format!("bytes={}-{}", size - 400, size - 301), size - 400, size - 300),
        (format!("bytes={}-", size - 7), size - 7, size),
    ] {
        let answer = ask(&range).await;
        assert!(answer.status == 206 && answer.body == body(&target, 1, start..stop), "{range}");
    }
    assert_eq!(scene.origin.count(), 1);
    // What is before it is fetched, and it is one object.
    let before = ask(&format!("bytes={}-{}", size - 1000, size - 1)).await;
    assert!(before.body == body(&target, 1, size - 1000..size));
    assert_eq!(scene.origin.asked()[1].field("range"), Some(format!("bytes={}-", size - MIB).as_str()));
    assert_eq!(scene.origin.asked()[1].field("if-range"), Some("\"v1\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_something_small_or_empty_is_right() {
    let scene = Scene::new().await;
    for (size, count, status) in [(10, 5, 206), (10, 10, 206), (10, 1000, 206), (1, 1, 206), (0, 5, 416)] {
        let target = format!("/{size}/{count}");
        for _ in 0..2 {
            let answer = get(scene.at(), &target, &[("range", &format!("bytes=-{count}"))]).await;
            assert_eq!(answer.status, status, "{target}: {answer:?}");
            let start = u64::saturating_sub(size, count);
            assert!(status == 416 || answer.body == body(&target, 1, start..size), "{target}");
        }
        let whole = get(scene.at(), &target, &[]).await;
        assert_eq!((whole.status, whole.body), (200, body(&target, 1, 0..size)), "{target}");
    }
    // An origin without ranges gives the whole, of which the end is cut.
    scene.origin.set(|manner| manner.ranges = false);
    let answer = get(scene.at(), "/3000000/whole", &[("range", "bytes=-9")]).await;
    assert_eq!((answer.status, answer.body), (206, body("/3000000/whole", 1, 2_999_991..3_000_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_is_completed_and_not_fetched_again() {
    let scene = Scene::new().await;
    // All of it was asked for by its end, and the stream broke off.
    scene.origin.set(|manner| manner.cut = Some(600));
    let first = get(scene.at(), "/1000/a", &[("range", "bytes=-1000")]).await;
    assert!(first.body == body("/1000/a", 1, 0..first.body.len() as u64));
    scene.origin.set(|manner| manner.cut = None);
    let sent = scene.origin.sent();
    let whole = get(scene.at(), "/1000/a", &[]).await;
    assert!(whole.whole && whole.body == body("/1000/a", 1, 0..1000), "{whole:?}");
    assert!(scene.origin.sent() - sent <= 1000, "{:?}", scene.origin.asked());
    let count = scene.origin.count();
    assert!(get(scene.at(), "/1000/a", &[]).await.body == body("/1000/a", 1, 0..1000));
    assert_eq!(scene.origin.count(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_meanwhile_is_not_made_one_thing_with_its_end() {
    let scene = Scene::new().await;
    let size = 3 * MIB;
    let target = format!("/{size}/a");
    get(scene.at(), &target, &[("range", "bytes=-500")]).await;
    scene.origin.set(|manner| manner.version = 2);
    for _ in 0..2 {
        let answer = get(scene.at(), &target, &[]).await;
        if answer.whole {
            assert!(answer.body == body(&target, 2, 0..size));
        }
    }
    let end = get(scene.at(), &target, &[("range", "bytes=-500")]).await;
    assert!(end.body == body(&target, 2, size - 500..size));
}
