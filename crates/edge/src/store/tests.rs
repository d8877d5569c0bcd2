use std::path::Path;

use super::*;

const SLICE: u64 = 64 << 10;

fn options(folder: &Path, max_size: u64) -> Options {
    Options {
        directory: folder.to_owned(),
        max_size,
        min_free: 0,
        inactive: Duration::from_secs(3600),
        min_uses: 2,
        slice_size: SLICE,
    }
}

fn meta(name: &str) -> Meta {
    Meta { name: name.into(), status: 200, headers: vec![], requested: 1, received: 1, varies: Vec::new(), purges: 0 }
}

fn slice(number: u32, fill: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u32 ^ number) as u8 ^ fill).collect()
}

fn put(store: &Store, name: &str, slices: u32) -> Arc<Stored> {
    let stored = store.create(Key::of(name), meta(name), u64::from(slices) * SLICE).unwrap();
    for number in 0..slices {
        store.write_slice(&stored, number, &slice(number, 1, SLICE as usize)).unwrap();
    }
    stored
}

fn read(store: &Store, stored: &Stored, offset: u64) -> Option<Vec<u8>> {
    match store.read(stored, offset, SLICE, true).unwrap()? {
        Read::Bytes(bytes) => Some(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// What all files take, by their blocks on the disk.
fn on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for first in 0..=255_u8 {
        for entry in std::fs::read_dir(folder.join(format!("{first:02x}"))).unwrap() {
            bytes += entry.unwrap().metadata().unwrap().blocks() * 512;
        }
    }
    bytes
}

#[test]
fn the_cap_holds_on_the_disk_whatever_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let cap = 40 * SLICE;
    let store = Store::open(options(folder.path(), cap)).unwrap();
    for number in 0..30 {
        put(&store, &format!("object {number}"), number % 7 + 1);
        assert!(store.numbers().bytes <= cap);
        assert!(on_disk(folder.path()) <= cap, "{} of {cap}", on_disk(folder.path()));
    }
    assert!(store.numbers().evictions > 0);
    assert!(store.numbers().bytes > cap / 2);
}

#[test]
fn a_restart_finds_what_was_there_after_a_clean_end_and_after_none() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
        // Nobody knows that a folder is new; from then on, a clean end needs no look.
        store.look_through();
        put(&store, "a", 20);
        put(&store, "b", 1);
        put(&store, "c", 2);
        store.remove(Key::of("c"));
        store.flush();
        let before = store.numbers();
        if clean {
            store.close().unwrap();
        }
        drop(store);
        let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
        assert_eq!(store.numbers(), before, "clean: {clean}");
        assert_eq!(store.scanning.load(Ordering::Relaxed), !clean);
        store.look_through();
        assert_eq!(store.numbers(), before);
        let stored = store.lookup(Key::of("a")).unwrap();
        for number in 0..20 {
            assert_eq!(read(&store, &stored, u64::from(number) * SLICE).unwrap(), slice(number, 1, SLICE as usize));
        }
        assert!(store.lookup(Key::of("c")).is_none());
    }
}

#[test]
fn without_an_index_the_folder_is_looked_through_and_nothing_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
    put(&store, "a", 20);
    put(&store, "b", 3);
    let before = store.numbers();
    drop(store);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().contains('-') {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    std::fs::write(folder.path().join("00").join("half.0-1"), "made").unwrap();
    let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
    assert_eq!(store.numbers().objects, 0);
    let stored = store.lookup(Key::of("b")).unwrap();
    assert_eq!(read(&store, &stored, 0).unwrap(), slice(0, 1, SLICE as usize));
    store.look_through();
    assert_eq!(store.numbers(), before);
    assert!(!folder.path().join("00").join("half.0-1").exists());
}

#[test]
fn a_rotted_slice_is_not_served_and_can_be_stored_again() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
    let stored = put(&store, "a", 3);
    let file = std::fs::OpenOptions::new().write(true).open(store.path(Key::of("a"))).unwrap();
    file.write_all_at(b"rot", stored.layout().data() + SLICE + 100).unwrap();
    assert!(read(&store, &stored, SLICE).is_none());
    assert!(!store.has(&stored, 1) && store.has(&stored, 0));
    assert_eq!(store.numbers().damaged, 1);
    store.write_slice(&stored, 1, &slice(1, 1, SLICE as usize)).unwrap();
    assert_eq!(read(&store, &stored, SLICE).unwrap(), slice(1, 1, SLICE as usize));
}

#[test]
fn an_old_generation_keeps_what_it_had_and_cannot_write_into_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
    let old = put(&store, "a", 2);
    let new = store.create(Key::of("a"), meta("a"), 2 * SLICE).unwrap();
    assert!(old.is_replaced());
    store.write_slice(&old, 1, &slice(1, 9, SLICE as usize)).unwrap_err();
    assert!(read(&store, &new, SLICE).is_none());
    assert_eq!(read(&store, &old, SLICE).unwrap(), slice(1, 1, SLICE as usize));
    store.write_slice(&new, 1, &slice(1, 9, SLICE as usize)).unwrap();
    assert_eq!(read(&store, &store.lookup(Key::of("a")).unwrap(), SLICE).unwrap()[0], 1 ^ 9);
    assert_eq!(read(&store, &old, SLICE).unwrap(), slice(1, 1, SLICE as usize));
}

#[test]
fn a_fuller_cache_asks_for_a_second_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 20 * SLICE)).unwrap();
    assert!(store.admits(Key::of("x")));
    put(&store, "a", 15);
    assert!(!store.admits(Key::of("y")));
    assert!(store.admits(Key::of("y")));
}

#[test]
fn where_nothing_is_free_nothing_is_stored_and_what_is_stored_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
    put(&store, "a", 2);
    store.close().unwrap();
    drop(store);
    let full = Options { min_free: u64::MAX / 2, ..options(folder.path(), 100 * SLICE) };
    let store = Store::open(full).unwrap();
    let stored = store.lookup(Key::of("a")).unwrap();
    assert_eq!(read(&store, &stored, 0).unwrap(), slice(0, 1, SLICE as usize));
    store.create(Key::of("b"), meta("b"), 10).unwrap_err();
    assert!(!store.admits(Key::of("b")));
    assert_eq!(std::fs::read_dir(store.path(Key::of("b")).parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn what_nobody_asks_for_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
    put(&store, "a", 2);
    put(&store, "b", 2);
    {
        let mut inner = store.inner();
        let slot = inner.index.find(Key::of("a")).unwrap();
        inner.index.see(slot, 5);
    }
    store.tend();
    assert!(store.lookup(Key::of("a")).is_none() && store.lookup(Key::of("b")).is_some());
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(options(folder.path(), 100 * SLICE)).unwrap();
    let error = Store::open(options(folder.path(), 100 * SLICE)).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
}

/// From a file, a socket's worth of it.
fn sent(span: &Span) -> Vec<u8> {
    use std::io::Read as _;
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let sent = span.send(&ours, 4096).unwrap().unwrap();
    let mut bytes = vec![0; sent];
    theirs.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_span_is_of_what_was_found_right_and_keeps_its_slice() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 10 * SLICE)).unwrap();
    let stored = put(&store, "a", 3);
    assert!(store.span(&stored, SLICE, u64::MAX).is_none(), "nobody has looked at it");
    read(&store, &stored, SLICE).unwrap();
    assert!(store.span(&stored, 0, u64::MAX).is_none() && store.span(&stored, 2 * SLICE, 1).is_none());
    let mut span = store.span(&stored, SLICE + 100, u64::MAX).unwrap();
    assert_eq!(span.left() as u64, SLICE - 100);
    span.advance(1000);
    for number in 0..20 {
        put(&store, &format!("other {number}"), 2);
    }
    assert!(store.has(&stored, 1) && !store.has(&stored, 0) && !store.has(&stored, 2));
    assert_eq!(sent(&span), slice(1, 1, SLICE as usize)[1100..1100 + 4096]);
    drop(span);
    for number in 20..40 {
        put(&store, &format!("other {number}"), 2);
    }
    assert!(store.lookup(Key::of("a")).is_none());
    assert!(store.numbers().bytes <= 10 * SLICE);
}

#[test]
fn what_comes_from_the_disk_again_is_checked_again() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 10 * SLICE)).unwrap();
    let stored = put(&store, "a", 2);
    read(&store, &stored, 0).unwrap();
    let span = store.span(&stored, 0, u64::MAX).unwrap();
    span.cold().warm().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(store.path(Key::of("a"))).unwrap();
    file.write_all_at(b"rot", stored.layout().data() + 100).unwrap();
    span.cold().warm().unwrap_err();
    // From then on nobody trusts it, and whoever reads it finds out.
    assert!(store.span(&stored, 0, u64::MAX).is_none());
    assert!(read(&store, &stored, 0).is_none());
    assert_eq!(store.numbers().damaged, 1);
}

#[test]
fn a_small_body_is_at_hand_once_it_has_been_read_and_gone_with_its_slice() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path(), 10 * SLICE)).unwrap();
    let stored = store.create(Key::of("a"), meta("a"), 700).unwrap();
    store.write_slice(&stored, 0, &slice(0, 1, 700)).unwrap();
    assert!(store.at_hand(&stored).is_none());
    read(&store, &stored, 0).unwrap();
    assert_eq!(store.at_hand(&stored).unwrap(), slice(0, 1, 700));
    store.remove(Key::of("a"));
    assert!(store.at_hand(&stored).is_none());
}
