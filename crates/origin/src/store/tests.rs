use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;

use super::*;

fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), 0).unwrap();
    (folder, store)
}

fn stage(store: &Store, content: &[u8]) -> Staged {
    let mut staging = store.stage();
    for chunk in content.chunks(3) {
        staging.write(&[Bytes::copy_from_slice(chunk)]).unwrap();
    }
    staging.finish().unwrap()
}

fn parts(store: &Store) -> usize {
    std::fs::read_dir(store.root.join("incoming")).unwrap().count()
}

#[tokio::test]
async fn content_comes_to_its_place_once() {
    let (_folder, store) = open();
    let staged = stage(&store, b"hello");
    let sha256 = staged.sha256;
    assert_eq!(sha256.to_string(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(staged.sha1.to_string(), "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
    assert_eq!((staged.size, staged.head.as_slice(), parts(&store)), (5, &b"hello"[..], 1));
    let held = store.share([sha256]).await;
    store.place(staged, &held).unwrap();
    assert_eq!(parts(&store), 0);
    assert_eq!(std::fs::read(store.path(&sha256)).unwrap(), b"hello");
    assert_eq!(store.path(&sha256).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // What has rotted is healed by the same content.
    std::fs::write(store.path(&sha256), "jello").unwrap();
    store.place(stage(&store, b"hello"), &held).unwrap();
    assert_eq!(std::fs::read(store.path(&sha256)).unwrap(), b"hello");
    assert!(store.open_object(&sha256, 5).is_ok() && store.open_object(&sha256, 6).is_err());
    drop(held);
    let held = store.exclude(&sha256).await;
    store.remove(&sha256, &held).unwrap();
    store.remove(&sha256, &held).unwrap();
    assert!(store.open_object(&sha256, 5).is_err());
}

#[tokio::test]
async fn what_is_given_up_leaves_nothing() {
    let (_folder, store) = open();
    drop(stage(&store, b"hello"));
    let mut staging = store.stage();
    staging.write(&[Bytes::from_static(b"half")]).unwrap();
    assert_eq!(parts(&store), 1);
    drop(staging);
    assert_eq!(parts(&store), 0);
    assert_eq!(stage(&store, b"").size, 0);
}

#[test]
fn one_process_has_it_and_the_next_tidies_up() {
    let (folder, store) = open();
    let root = folder.path().join("store");
    assert!(matches!(Store::open(&root, 0), Err(StoreError::Used(_))));
    std::fs::write(root.join("incoming").join("left.part"), "half").unwrap();
    drop(store);
    let store = Store::open(&root, 0).unwrap();
    assert_eq!(parts(&store), 0);
}

#[test]
fn room_is_set_aside_and_given_back() {
    let (folder, store) = open();
    let (free, reserved) = store.room();
    assert!(free > 0 && reserved == 0);
    let mut reservation = store.reserve(1000).unwrap();
    reservation.written(400).unwrap();
    assert_eq!(store.room().1, 600);
    // More than was said: it is set aside a piece at a time.
    reservation.written(700).unwrap();
    assert_eq!(store.room().1, 600 + (8 << 20) - 700);
    drop(reservation);
    assert_eq!(store.room().1, 0);
    assert!(matches!(store.reserve(u64::MAX), Err(StoreError::Full)));
    // Two that together are too much.
    let most = free / 5 * 3;
    let first = store.reserve(most).unwrap();
    assert!(matches!(store.reserve(most), Err(StoreError::Full)));
    drop(first);
    assert!(store.reserve(most).is_ok());
    let floor = Store::open(&folder.path().join("floor"), u64::MAX).unwrap();
    assert!(matches!(floor.reserve(0), Err(StoreError::Full)));
}

#[tokio::test]
async fn locks_are_taken_in_one_order() {
    let (_folder, store) = open();
    let store = Arc::new(store);
    let hash = |first: u8| Sha256(std::array::from_fn(|at| if at == 0 { first } else { 0 }));
    let mut tasks = Vec::new();
    for round in 0..200_u8 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let (one, other) = (hash(round % 4), hash((round / 4) % 4));
            if round % 3 == 0 {
                let _held = store.exclude(&one).await;
                tokio::task::yield_now().await;
            } else {
                let _held = store.share([one, other, one]).await;
                tokio::task::yield_now().await;
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(std::time::Duration::from_secs(60), task).await.unwrap().unwrap();
    }
}
