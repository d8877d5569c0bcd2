//! Origins that lie: whatever they say, clients get right bytes or a broken answer, never wrong bytes for right ones,
//! and nothing wrong is kept.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::client::get;
use crate::origin::{Origin, body};
use crate::{MIB, Scene, start};

/// An origin that says the same each time, whatever it is asked.
async fn parrot(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    url
}

/// What an edge before such an origin says, twice.
async fn through(answer: &str, fields: &[(&str, &str)]) -> [crate::client::Answer; 2] {
    let url = parrot(answer.as_bytes().to_vec()).await;
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), "e1", &[&url], "").await;
    let at = edge.http()[0];
    let bounded = async |()| {
        let answer = tokio::time::timeout(Duration::from_secs(60), get(at, "/a", fields)).await;
        answer.expect("it never ends")
    };
    [bounded(()).await, bounded(()).await]
}

const KEEP: &str = "Cache-Control: max-age=3600\r\nETag: \"a\"\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_shorter_than_was_said_is_not_taken_for_whole() {
    let short = format!("HTTP/1.1 200 OK\r\n{KEEP}Content-Length: 100\r\nConnection: close\r\n\r\nonly this");
    for answer in through(&short, &[]).await {
        assert!(!answer.whole, "{answer:?}");
        assert!(b"only this".starts_with(&answer.body[..]));
    }
    // Of a body in chunks, the last one is missing.
    let chunks =
        format!("HTTP/1.1 200 OK\r\n{KEEP}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n9\r\nonly this\r\n");
    for answer in through(&chunks, &[]).await {
        assert!(!answer.whole, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_longer_than_was_said_ends_where_it_was_said() {
    let long = format!("HTTP/1.1 200 OK\r\n{KEEP}Content-Length: 4\r\n\r\nthis and HTTP/1.1 200 OK\r\n\r\nthat");
    for answer in through(&long, &[]).await {
        assert_eq!((answer.status, answer.whole, answer.body.as_slice()), (200, true, &b"this"[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_not_what_was_asked_for_are_not_served_as_such() {
    let part = |range: &str, length: usize| {
        format!(
            "HTTP/1.1 206 Partial Content\r\n{KEEP}Content-Range: {range}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{}",
            "x".repeat(length)
        )
    };
    let megabyte = MIB.to_string();
    let ask = format!("bytes={}-{}", MIB + 5, MIB + 9);
    for (range, length) in [
        // Another place; another length; beyond its own end; of nothing known; nonsense.
        ("bytes 0-9/3000000", 10),
        (format!("bytes {megabyte}-1048585/3000000").as_str(), 5),
        ("bytes 1048576-1048585/1048580", 10),
        ("bytes 1048576-1048585/*", 10),
        ("bytes 9-1/3000000", 10),
        ("pages 1-2/3", 10),
        ("", 10),
    ] {
        for answer in through(&part(range, length), &[("range", &ask)]).await {
            // What cannot be told from the truth is handed on as it came; it is not made into something else, nor kept.
            assert!(!answer.field("cache-status").contains("hit"), "{range}: {answer:?}");
            let is_relayed = answer.status == 206 && answer.field("content-range") == range;
            assert!(is_relayed || !answer.whole || answer.status >= 500, "{range}: {answer:?}");
        }
        for answer in through(&part(range, length), &[]).await {
            assert!(answer.status != 200 || !answer.whole, "{range}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_without_an_end_are_given_up() {
    let many: String = (0..100_000).map(|number| format!("X-{number}: {}\r\n", "y".repeat(50))).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(10 << 20));
    for endless in [many, long] {
        for answer in through(&format!("HTTP/1.1 200 OK\r\n{endless}"), &[]).await {
            assert_eq!(answer.status, 503);
        }
    }
    for nonsense in [
        "",
        "\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ] {
        for answer in through(nonsense, &[]).await {
            assert_eq!(answer.status, 503, "{nonsense:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_for_ever_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ").await;
                while stream.write_all(b"y").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let text = crate::configuration(folder.path(), "e1", &[&url], "");
    let text = text.replace("read_timeout = \"10s\"", "read_timeout = \"1s\"\nconnect_timeout = \"1s\"");
    let config = witness_edge::config::Config::parse(&text, &folder.path().join("edge.toml")).unwrap();
    let edge = witness_edge::edge::Edge::start(&config).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), get(edge.http()[0], "/a", &[])).await.unwrap();
    assert_eq!(answer.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_changes_with_each_answer_never_mixes_bodies() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| {
        manner.fickle = true;
        manner.cut = Some(700_000);
    });
    let target = format!("/{}/a", 3 * MIB);
    for number in 0..12_u64 {
        let start = number * 230_000;
        let range = format!("bytes={start}-{}", start + 400_000);
        let answer = get(scene.at(), &target, &[("range", &range)]).await;
        if answer.status == 206 {
            let version = answer.field("etag").trim_matches(['"', 'v']).parse().unwrap();
            let right = body(&target, version, start..start + answer.body.len() as u64);
            assert!(answer.body == right, "{number}: bytes of another version than {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_in_answer_to_a_part_is_cut_to_that_part() {
    let scene = Scene::new().await;
    scene.origin.set(|manner| manner.ranges = false);
    let target = format!("/{}/a", 4 * MIB);
    let (start, end) = (2 * MIB + 9, 2 * MIB + 99);
    let range = format!("bytes={start}-{}", end - 1);
    // While it comes, and when it is there.
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let (at, target, range) = (scene.at(), target.clone(), range.clone());
            tokio::spawn(async move { get(at, &target, &[("range", &range)]).await })
        })
        .collect();
    for client in clients {
        let answer = client.await.unwrap();
        assert_eq!((answer.status, answer.body), (206, body(&target, 1, start..end)));
    }
    let end = get(scene.at(), &target, &[("range", "bytes=-10")]).await;
    assert_eq!((end.status, end.body), (206, body(&target, 1, 4 * MIB - 10..4 * MIB)));
    assert_eq!(scene.origin.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_that_have_different_things_are_not_mixed() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    other.set(|manner| manner.version = 2);
    let folder = tempfile::tempdir().unwrap();
    // One source of two servers, asked in turn.
    let text = crate::configuration(folder.path(), "e1", &["URL"], "");
    let text = text.replace("[\"URL\"]", &format!("[\"{}\", \"{}\"]", one.url, other.url));
    let config = witness_edge::config::Config::parse(&text, &folder.path().join("edge.toml")).unwrap();
    let edge = witness_edge::edge::Edge::start(&config).await.unwrap();
    one.set(|manner| manner.cut = Some(MIB + 5));
    other.set(|manner| manner.cut = Some(MIB + 5));
    let target = format!("/{}/a", 5 * MIB);
    for _ in 0..6 {
        let answer = get(edge.http()[0], &target, &[]).await;
        if answer.status == 200 {
            let version = answer.field("etag").trim_matches(['"', 'v']).parse().unwrap();
            assert!(answer.body == body(&target, version, 0..answer.body.len() as u64), "a mix");
        }
    }
}
