//! Any sequence of ranges, aborts, changes, purges and restarts, beside a model that is one line long: what is served
//! is the object as the origin had it at some time since the last purge, and never a mix.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::get;
use crate::origin::{Origin, body};
use crate::{TOKEN, start};

const SIZES: [u64; 4] = [1, 100_000, 700_000, 2_500_000];

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
        1 => object.prop_map(|object| Deed::Purge { object }),
        1 => prop_oneof![Just(None), (100_000..900_000_u64).prop_map(Some)].prop_map(|after| Deed::Cut { after }),
        1 => any::<bool>().prop_map(|known| Deed::Ranges { known }),
        1 => Just(Deed::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_served_is_what_was_there(deeds in prop::collection::vec(deed(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(carry_out(&deeds));
    }
}

async fn carry_out(deeds: &[Deed]) {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    // Room for two thirds of what there is.
    let more = "[cache]\ndirectory = \"cache\"\nmin_free = \"0B\"\nmax_size = \"16MiB\"\nslice_size = \"64KiB\"\n";
    let mut edge = start(folder.path(), "e1", &[&origin.url], more).await;
    // Since when each object may be from, and what the origin has now.
    let mut oldest = [1; SIZES.len()];
    let mut version = 1;
    for deed in deeds {
        match *deed {
            Deed::Read { object, from, until } => {
                let size = SIZES[object];
                let target = format!("/{size}/{object}");
                let (start, end) = (size * from / 1000, (size * until / 1000).max(size * from / 1000 + 1).min(size));
                let range = format!("bytes={start}-{}", end - 1);
                // What changed while it was read may be cut off once, and is whole the next time.
                for last in [false, true] {
                    let answer = get(edge.http()[0], &target, &[("range", &range)]).await;
                    assert_eq!(answer.status, 206, "{deed:?}");
                    let tag: u64 = answer.field("etag").trim_matches(['"', 'v']).parse().unwrap();
                    assert!((oldest[object]..=version).contains(&tag), "{deed:?}: version {tag}");
                    let right = body(&target, tag, start..start + answer.body.len() as u64);
                    assert!(answer.body == right, "{deed:?}: not what version {tag} is");
                    assert!(answer.whole || !last, "{deed:?}: cut off");
                    if answer.whole {
                        break;
                    }
                }
            }
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
            Deed::Cut { after } => origin.set(|manner| manner.cut = after),
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
