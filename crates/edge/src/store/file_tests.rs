use std::os::unix::fs::FileExt;

use super::*;

fn meta(extra: usize) -> Meta {
    Meta {
        name: "files.example.com/a".into(),
        status: 200,
        headers: vec![("etag".into(), "\"1\"".into()), ("x-long".into(), "x".repeat(extra))],
        requested: 1,
        received: 2,
        varies: Vec::new(),
        purges: 0,
    }
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

fn bytes(read: Read) -> Option<Vec<u8>> {
    match read {
        Read::Bytes(bytes) => Some(bytes.to_vec()),
        Read::WouldBlock => panic!("asked with patience"),
        Read::Damaged => None,
    }
}

#[test]
fn what_was_written_is_read_at_any_offset_after_opening_again() {
    for (length, extra) in [(1, 0), (70_000, 0), (200_001, 5000), (65_536 * 4, 100_000)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        let key = Key::of("files.example.com/a");
        let body = body(length);
        let file = ObjectFile::create(&path, key, &meta(extra), length as u64, 16, 7).unwrap();
        for (slice, part) in body.chunks(1 << 16).enumerate() {
            file.write_slice(slice as u32, part).unwrap();
        }
        drop(file);
        let (file, read) = ObjectFile::open(&path, key).unwrap();
        assert_eq!(read, meta(extra));
        let mut offset = 0;
        while offset < length {
            let part = bytes(file.read(offset as u64, 1000, true).unwrap()).unwrap();
            assert!(!part.is_empty());
            assert_eq!(part, body[offset..offset + part.len()]);
            offset += part.len() + 777;
        }
    }
}

#[test]
fn every_flipped_bit_of_the_body_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object");
    let key = Key::of("a");
    let file = ObjectFile::create(&path, key, &meta(0), 70_000, 17, 7).unwrap();
    file.write_slice(0, &body(70_000)).unwrap();
    for at in [0, 1, 65_535, 65_536, 69_999] {
        let raw = OpenOptions::new().write(true).open(&path).unwrap();
        let right = body(70_000)[at];
        raw.write_all_at(&[right ^ 4], file.layout().data() + at as u64).unwrap();
        assert!(bytes(file.read(at as u64, 1, true).unwrap()).is_none(), "byte {at}");
        raw.write_all_at(&[right], file.layout().data() + at as u64).unwrap();
        assert_eq!(bytes(file.read(at as u64, 1, true).unwrap()).unwrap(), [right]);
    }
}

#[test]
fn a_block_of_another_generation_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::of("a");
    let [old, new] = [1, 2].map(|seed| {
        let path = folder.path().join(format!("object-{seed}"));
        ObjectFile::create(&path, key, &meta(0), 1000, 16, seed).unwrap()
    });
    old.write_slice(0, &body(1000)).unwrap();
    // Body and checksums alike, as a file system might leave them after a loss of power.
    let page = std::fs::read(folder.path().join("object-1")).unwrap();
    let raw = OpenOptions::new().write(true).open(folder.path().join("object-2")).unwrap();
    raw.write_all_at(&page[3968..], 3968).unwrap();
    drop(new);
    let (new, _) = ObjectFile::open(&folder.path().join("object-2"), key).unwrap();
    assert!(new.has_sums(0));
    assert!(bytes(new.read(0, 1000, true).unwrap()).is_none());
}

#[test]
fn a_head_torn_while_it_is_replaced_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object");
    let key = Key::of("a");
    let file = ObjectFile::create(&path, key, &meta(0), 1000, 16, 7).unwrap();
    let changed = Meta { received: 99, ..meta(0) };
    file.rewrite(&changed).unwrap();
    drop(file);
    let (file, read) = ObjectFile::open(&path, key).unwrap();
    assert_eq!(read, changed);
    drop(file);
    let raw = OpenOptions::new().write(true).open(&path).unwrap();
    raw.write_all_at(&[0; 30], 1984 + 80).unwrap();
    let (file, read) = ObjectFile::open(&path, key).unwrap();
    assert_eq!(read, meta(0));
    // And the next one goes where the torn one was.
    file.rewrite(&changed).unwrap();
    drop(file);
    assert_eq!(ObjectFile::open(&path, key).unwrap().1, changed);
    raw.write_all_at(&[0; 4000], 0).unwrap();
    assert!(ObjectFile::open(&path, key).is_err());
}

#[test]
fn a_punched_slice_is_gone_and_its_neighbours_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object");
    let file = ObjectFile::create(&path, Key::of("a"), &meta(0), 200_000, 16, 7).unwrap();
    let body = body(200_000);
    for (slice, part) in body.chunks(1 << 16).enumerate() {
        file.write_slice(slice as u32, part).unwrap();
    }
    file.punch(1).unwrap();
    assert!(!file.has_sums(1));
    assert!(bytes(file.read(70_000, 10, true).unwrap()).is_none());
    assert_eq!(bytes(file.read(65_000, 1 << 20, true).unwrap()).unwrap(), body[65_000..65_536]);
    assert_eq!(bytes(file.read(131_072, 10, true).unwrap()).unwrap(), body[131_072..131_082]);
}
