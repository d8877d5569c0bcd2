//! Any sequence of ranges, fills, aborts, evictions, changes, purges and restarts, beside a model that is one line long:
//! what is served is the object as the origin had it at some time since the last purge, and never a mix.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::get;
use crate::origin::{Origin, body};
use crate::{TOKEN, start};

/// All together more than the cache has room for.
const SIZES: [u64; 6] = [1, 100_000, 700_000, 2_500_000, 7_000_000, 11_000_000];
/// Which surrogate keys each has.
const KEYS: [&str; SIZES.len()] = ["all", "all small", "small", "all", "large all", "large"];

#[derive(Clone, Debug)]
enum Deed {
    /// Reads a range, by thousandths of the object.
    Read {
        object: usize,
        from: u64,
        until: u64,
    },
    /// Begins to read, and leaves.
    Leave {
        object: usize,
        after: usize,
    },
    /// The origin has something else now.
    Change,
    Purge {
        object: usize,
    },
    /// All that have a surrogate key.
    PurgeKey {
        key: &'static str,
    },
    /// Reads the end, by its length.
    End {
        object: usize,
        count: u64,
    },
    /// Reads all of it.
    Whole {
        object: usize,
    },
    /// Several at once, so that fills are joined.
    Together {
        object: usize,
    },
    /// The origin tells no length, or does.
    Chunked {
        chunked: bool,
    },
    /// The origin gives up early, or not.
    Cut {
        after: Option<u64>,
    },
    /// The origin knows ranges, or not.
    Ranges {
        known: bool,
    },
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    let object = 0..SIZES.len();
    prop_oneof![
        10 => (object.clone(), 0..1000_u64, 0..=1000_u64).prop_map(|(object, a, b)| Deed::Read { object, from: a.min(b), until: a.max(b) }),
        2 => (object.clone(), 1..100_000_usize).prop_map(|(object, after)| Deed::Leave { object, after }),
        1 => Just(Deed::Change),
        1 => object.clone().prop_map(|object| Deed::Purge { object }),
        1 => prop_oneof![Just("all"), Just("small"), Just("large"), Just("none")].prop_map(|key| Deed::PurgeKey { key }),
        2 => (object.clone(), 1..3_000_000_u64).prop_map(|(object, count)| Deed::End { object, count }),
        2 => object.clone().prop_map(|object| Deed::Whole { object }),
        1 => object.prop_map(|object| Deed::Together { object }),
        1 => any::<bool>().prop_map(|chunked| Deed::Chunked { chunked }),
        1 => prop_oneof![Just(None), (100_000..900_000_u64).prop_map(Some)].prop_map(|after| Deed::Cut { after }),
        1 => any::<bool>().prop_map(|known| Deed::Ranges { known }),
        1 => Just(Deed::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_served_is_what_was_there(deeds in prop::collection::vec(deed(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(carry_out(&deeds));
    }
}

/// Reads something, and holds it against what the origin had. What changed while it was read may be cut off, and is whole
/// soon after.
async fn check(
    at: std::net::SocketAddr,
    object: usize,
    range: Option<&str>,
    bytes: std::ops::Range<u64>,
    versions: std::ops::RangeInclusive<u64>,
    deed: &Deed,
) {
    let target = format!("/{}/{object}", SIZES[object]);
    let fields: Vec<(&str, &str)> = range.iter().map(|range| ("range", *range)).collect();
    for last in [false, false, true] {
        let answer = get(at, &target, &fields).await;
        // A part of something whose length nobody knows yet is answered with the whole.
        let expected = if answer.status == 200 { 0..SIZES[object] } else { bytes.clone() };
        assert!(answer.status == 206 && range.is_some() || answer.status == 200, "{deed:?}: {}", answer.status);
        let tag: u64 = answer.field("etag").trim_matches(['"', 'v']).parse().unwrap();
        assert!(versions.contains(&tag), "{deed:?}: version {tag}");
        let got = answer.body.len() as u64;
        assert!(got <= expected.end - expected.start, "{deed:?}: too much");
        let right = body(&target, tag, expected.start..expected.start + got);
        assert!(answer.body == right, "{deed:?}: not what version {tag} is");
        let whole = answer.whole && got == expected.end - expected.start;
        assert!(whole || !last, "{deed:?}: cut off");
        if whole {
            break;
        }
    }
}

async fn carry_out(deeds: &[Deed]) {
    let origin = Origin::start().await;
    origin.set(|manner| {
        manner.keys = SIZES.iter().zip(KEYS).map(|(size, keys)| (format!("/{size}/"), keys.to_owned())).collect();
    });
    let folder = tempfile::tempdir().unwrap();
    // Room for three quarters of what there is.
    let more = "[cache]\ndirectory = \"cache\"\nmin_free = \"0B\"\nmax_size = \"16MiB\"\nslice_size = \"64KiB\"\n";
    let mut edge = start(folder.path(), "e1", &[&origin.url], more).await;
    // Since when each object may be from, and what the origin has now.
    let mut oldest = [1; SIZES.len()];
    let mut version = 1;
    for deed in deeds {
        match *deed {
            Deed::Read { object, from, until } => {
                let size = SIZES[object];
                let (start, end) = (size * from / 1000, (size * until / 1000).max(size * from / 1000 + 1).min(size));
                let range = format!("bytes={start}-{}", end - 1);
                check(edge.http()[0], object, Some(&range), start..end, oldest[object]..=version, deed).await;
            }
            Deed::End { object, count } => {
                let size = SIZES[object];
                let range = format!("bytes=-{count}");
                let start = size.saturating_sub(count);
                check(edge.http()[0], object, Some(&range), start..size, oldest[object]..=version, deed).await;
            }
            Deed::Whole { object } => {
                check(edge.http()[0], object, None, 0..SIZES[object], oldest[object]..=version, deed).await;
            }
            Deed::Together { object } => {
                let size = SIZES[object];
                let parts = [0..size, size / 2..size, size / 3..size / 2 + 1, size - 1..size];
                let reads = parts.map(|part| {
                    let (at, deed, versions) = (edge.http()[0], deed.clone(), oldest[object]..=version);
                    let range = format!("bytes={}-{}", part.start, part.end - 1);
                    tokio::spawn(async move { check(at, object, Some(&range), part, versions, &deed).await })
                });
                for read in reads {
                    read.await.unwrap();
                }
            }
            Deed::PurgeKey { key } => {
                let bearer = format!("Bearer {TOKEN}");
                let fields = [("authorization", bearer.as_str())];
                let text = format!("{{\"key\":\"{key}\"}}");
                let answer = crate::client::ask(edge.http()[0], "POST", "/.witness/purge", &fields, &text).await;
                assert_eq!(answer.status, 200);
                for (object, keys) in KEYS.iter().enumerate() {
                    if keys.split(' ').any(|known| known == key) {
                        oldest[object] = version;
                    }
                }
            }
            // One that tells no length and ends too soon cannot be read to its end by anybody.
            Deed::Chunked { chunked } => origin.set(|manner| {
                manner.chunked = chunked;
                manner.cut = manner.cut.filter(|_| !chunked);
            }),
            Deed::Leave { object, after } => {
                let target = format!("/{}/{object}", SIZES[object]);
                let mut stream = TcpStream::connect(edge.http()[0]).await.unwrap();
                let request = format!("GET {target} HTTP/1.1\r\nHost: files.example.com\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut some = vec![0; after];
                let _ = stream.read(&mut some).await;
            }
            Deed::Change => {
                version += 1;
                origin.set(|manner| manner.version = version);
            }
            Deed::Purge { object } => {
                let url = format!("http://files.example.com/{}/{object}", SIZES[object]);
                let bearer = format!("Bearer {TOKEN}");
                let text = format!("{{\"url\":\"{url}\"}}");
                let fields = [("authorization", bearer.as_str())];
                let answer = crate::client::ask(edge.http()[0], "POST", "/.witness/purge", &fields, &text).await;
                assert_eq!(answer.status, 200);
                oldest[object] = version;
            }
            Deed::Cut { after } => origin.set(|manner| {
                manner.cut = after;
                manner.chunked = manner.chunked && after.is_none();
            }),
            Deed::Ranges { known } => origin.set(|manner| {
                manner.ranges = known;
                // One that gives neither ranges nor the whole cannot be read to its end by anybody.
                if !known {
                    manner.cut = None;
                }
            }),
            Deed::Restart => {
                edge.stop().await;
                edge = start(folder.path(), "e1", &[&origin.url], more).await;
            }
        }
        if let Deed::Cut { after: Some(_) } = deed {
            origin.set(|manner| manner.ranges = true);
        }
    }
    edge.stop().await;
}
