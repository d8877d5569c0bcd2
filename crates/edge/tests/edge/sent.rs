//! Bodies that go from files to the wire: every byte, on plain and secure connections, whatever happens meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use witness_lab::tls::{Authority, Validity};

use crate::client::{get, parse};
use crate::origin::{Origin, body};
use crate::{MIB, Scene, start};

/// Several requests at once on one connection, and all that comes.
async fn pipelined(mut stream: impl AsyncRead + AsyncWrite + Unpin, target: &str, ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut text = String::new();
    for (number, (start, end)) in ranges.iter().enumerate() {
        let last = if number + 1 == ranges.len() { "Connection: close\r\n" } else { "" };
        text.push_str(&format!(
            "GET {target} HTTP/1.1\r\nHost: files.example.com\r\n{last}Range: bytes={start}-{}\r\n\r\n",
            end - 1
        ));
    }
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // Who leaves without a word of TLS has left all the same.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_is_right_on_both_kinds_of_connection() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    authority.issue(&["files.example.com"], Validity::Good).unwrap().write(folder.path(), "leaf").unwrap();
    let key = folder.path().join("leaf.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let more = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\n\
                [[listen.certificates]]\nchain_file = \"leaf.pem\"\nkey_file = \"leaf.key\"\n";
    let edge = start(folder.path(), "e1", &[&origin.url], more).await;
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let mut trust = (*witness_edge::serve::client_config(Some(&folder.path().join("ca.pem"))).unwrap()).clone();
    trust.alpn_protocols = vec![b"http/1.1".to_vec()];
    let size = 3 * MIB + 777;
    let target = format!("/{size}/a");
    // Filled, read and checked: from now on it goes out of its file.
    for _ in 0..2 {
        assert!(get(edge.http()[0], &target, &[]).await.body == body(&target, 1, 0..size));
    }
    let ranges = [(0, size), (1, 2), (MIB - 5, MIB + 70_000), (size - 100_000, size), (65_536, 131_072), (5, size - 5)];
    let mut expected = Vec::new();
    for (start, end) in ranges {
        expected.push(body(&target, 1, start..end));
    }
    for secure in [false, true] {
        let all = if secure {
            let stream = TcpStream::connect(edge.https()[0]).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(trust.clone()));
            let name = ServerName::try_from("files.example.com").unwrap();
            pipelined(connector.connect(name, stream).await.unwrap(), &target, &ranges).await
        } else {
            pipelined(TcpStream::connect(edge.http()[0]).await.unwrap(), &target, &ranges).await
        };
        let mut rest = &all[..];
        for expected in &expected {
            let head = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let (one, others) = rest.split_at((head + expected.len()).min(rest.len()));
            let answer = parse(one, false);
            assert!(answer.status == 206 && answer.whole && answer.body == *expected, "secure: {secure}");
            rest = others;
        }
        assert!(rest.is_empty());
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_gets_what_was_begun_while_the_cache_needs_the_room() {
    let more = "[cache]\ndirectory = \"cache\"\nmax_size = \"16MiB\"\nmin_free = \"0B\"\nmin_uses = 1\n";
    let scene = Scene::with(more).await;
    let size = 8 * MIB;
    let target = format!("/{size}/a");
    for _ in 0..2 {
        get(scene.at(), &target, &[]).await;
    }
    let socket = TcpSocket::new_v4().unwrap();
    // What the kernel holds in between shall not be all of it.
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut slow = socket.connect(scene.at()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\r\n");
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 100_000];
    slow.read_exact(&mut bytes).await.unwrap();
    for number in 0..12 {
        get(scene.at(), &format!("/{MIB}/other{number}"), &[]).await;
    }
    let rest = tokio::time::timeout(Duration::from_secs(60), slow.read_to_end(&mut bytes)).await;
    rest.unwrap().unwrap();
    let answer = parse(&bytes, false);
    assert!(answer.whole && answer.body == body(&target, 1, 0..size));
    let metrics = String::from_utf8(get(scene.edge.health(), "/metrics", &[]).await.body).unwrap();
    let evicted = metrics.lines().find_map(|line| line.strip_prefix("witness_edge_evicted_slices_total ")).unwrap();
    assert!(evicted.parse::<u64>().unwrap() > 0, "{metrics}");
}
