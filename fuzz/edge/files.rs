//! Whatever has become of the files of a cache: what is served of an object is what was put in.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use witness_edge::store::{Key, Meta, Options, Read, Store};

const SLICE: u64 = 64 << 10;
const LENGTH: u64 = 3 * SLICE + 1234;

/// A folder with one object, and all of its files as they were.
struct Cache {
    folder: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

fn body() -> Vec<u8> {
    (0..LENGTH).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap_or(0)).collect()
}

fn open(folder: &Path) -> Option<Store> {
    Store::open(Options {
        directory: folder.to_owned(),
        max_size: 100 * SLICE,
        min_free: 0,
        inactive: Duration::from_secs(1 << 30),
        min_uses: 1,
        slice_size: SLICE,
    })
    .ok()
}

impl Cache {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("witness-edge-files-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let store = open(&folder).expect("a folder of our own");
        let meta = Meta {
            name: "files.example.com/a".into(),
            status: 200,
            headers: vec![("etag".into(), "\"a\"".into())],
            requested: 1,
            received: 1,
            varies: Vec::new(),
            purges: 0,
        };
        let stored = store.create(Key::of("a"), meta, LENGTH).expect("there is room");
        for (slice, bytes) in (0..).zip(body().chunks(usize::try_from(SLICE).expect("it is small"))) {
            store.write_slice(&stored, slice, bytes).expect("there is room");
        }
        let number = store.purges().purge(Key::of("b"));
        store.purges().write(Key::of("b"), number).expect("there is room");
        drop(store);
        let mut files = Vec::new();
        let hex = Key::of("a").hex();
        for path in
            [folder.join(&hex[..2]).join(&hex), folder.join("journal-1"), folder.join("index-1"), folder.join("purges")]
        {
            let bytes = std::fs::read(&path).expect("it was written");
            files.push((path, bytes));
        }
        Self { folder, files }
    }
}

pub fn run(bytes: &[u8]) {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let cache = CACHE.get_or_init(Cache::new);
    for entry in std::fs::read_dir(&cache.folder).expect("it is there").flatten() {
        if entry.path().is_file() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    // The first byte chooses a file and what becomes of it, and then four bytes a change.
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    for (number, (path, was)) in cache.files.iter().enumerate() {
        let mut now = was.clone();
        if number == usize::from(*first) % cache.files.len() {
            if *first & 0x80 != 0 {
                // Altogether something else.
                now = rest.to_vec();
            } else {
                for change in rest.chunks_exact(4) {
                    // Near the beginning, where the heads are, more often than elsewhere.
                    let wide = usize::from(u16::from_le_bytes([change[0], change[1]]));
                    let at = if change[3] & 1 == 0 { wide % 4096 } else { wide << 2 } % now.len().max(1);
                    match (change[3] >> 1) % 8 {
                        0 => now.truncate(at),
                        _ if now.is_empty() => {}
                        _ => now[at] ^= change[2],
                    }
                }
            }
        }
        let _ = std::fs::write(path, now);
    }
    let Some(store) = open(&cache.folder) else { return };
    let right = body();
    for looked_through in [false, true] {
        if looked_through {
            store.look_through();
        }
        let Some(stored) = store.lookup(Key::of("a")) else { continue };
        if stored.layout().length != LENGTH {
            // A head that is whole and says something else would need its checksum found by chance.
            panic!("the length is {}", stored.layout().length);
        }
        for offset in (0..LENGTH).step_by(40_000) {
            if let Ok(Some(Read::Bytes(bytes))) = store.read(&stored, offset, 50_000, true) {
                let start = usize::try_from(offset).expect("it is small");
                assert!(right[start..].starts_with(&bytes), "{offset}");
            }
        }
    }
    let numbers = store.numbers();
    assert!(numbers.slices <= 100 && numbers.bytes <= 101 * SLICE, "{numbers:?}");
}
