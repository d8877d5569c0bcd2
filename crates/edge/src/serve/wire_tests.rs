use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::store::{Key, Meta, Options, Store, Stored};

const LENGTH: u64 = 300_000;

fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn bytes(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(byte).collect()
}

/// A store with one object, which has been read.
fn stored(folder: &std::path::Path) -> (Store, Arc<Stored>) {
    let options = Options {
        directory: folder.to_owned(),
        max_size: 1 << 30,
        min_free: 0,
        inactive: Duration::from_secs(3600),
        min_uses: 1,
        slice_size: 1 << 20,
    };
    let store = Store::open(options).unwrap();
    let meta = Meta {
        name: "a".into(),
        status: 200,
        headers: vec![],
        requested: 1,
        received: 1,
        varies: Vec::new(),
        purges: 0,
    };
    let stored = store.create(Key::of("a"), meta, LENGTH).unwrap();
    store.write_slice(&stored, 0, &bytes(0..LENGTH)).unwrap();
    store.read(&stored, 0, LENGTH, true).unwrap().unwrap();
    (store, stored)
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

#[tokio::test]
async fn what_stands_in_for_a_file_goes_out_as_the_file_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (store, stored) = stored(folder.path());
    let (ours, mut theirs) = pair().await;
    let mut wire = Wire::plain(ours);
    let lane = wire.lane();
    let span = |offset, limit| lane.stand_in(store.span(&stored, offset, limit).unwrap());
    let sending = async {
        for (offset, limit) in [(0, 200_000), (70_001, 1), (99_999, u64::MAX)] {
            let body = span(offset, limit);
            let parts = [&b"head"[..], &b"er"[..], &body[..], &b"between"[..]];
            let mut done = 0;
            let all: usize = parts.iter().map(|part| part.len()).sum();
            while done < all {
                let mut skip = done;
                let left: Vec<IoSlice<'_>> = parts
                    .iter()
                    .filter_map(|part| {
                        let skipped = skip.min(part.len());
                        skip -= skipped;
                        (skipped < part.len()).then(|| IoSlice::new(&part[skipped..]))
                    })
                    .collect();
                done += std::future::poll_fn(|context| Pin::new(&mut wire).poll_write_vectored(context, &left))
                    .await
                    .unwrap();
            }
        }
        wire.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (_, read) = tokio::join!(sending, theirs.read_to_end(&mut got));
    read.unwrap();
    let mut expected = Vec::new();
    for range in [0..200_000, 70_001..70_002, 99_999..LENGTH] {
        expected.extend_from_slice(b"header");
        expected.extend(bytes(range));
        expected.extend_from_slice(b"between");
    }
    assert!(got == expected);
}

#[tokio::test]
async fn what_stands_in_for_nothing_or_for_something_else_is_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (store, stored) = stored(folder.path());
    let (ours, mut theirs) = pair().await;
    let mut wire = Wire::plain(ours);
    let lane = wire.lane();
    let first = lane.stand_in(store.span(&stored, 0, 1000).unwrap());
    let second = lane.stand_in(store.span(&stored, 1000, 1000).unwrap());
    // Out of its turn; with another length; and once more when it has been sent.
    wire.write(&second).await.unwrap_err();
    wire.write(&first[..999]).await.unwrap_err();
    wire.write_all(&first).await.unwrap();
    wire.write(&first).await.unwrap_err();
    wire.write_all(&second).await.unwrap();
    wire.write(&second).await.unwrap_err();
    wire.shutdown().await.unwrap();
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).await.unwrap();
    assert!(got == bytes(0..2000));
}
