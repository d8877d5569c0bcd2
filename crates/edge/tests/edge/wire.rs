//! What comes over the wire that should not, and what else than plain HTTP/1.1.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use witness_lab::tls::{Authority, Validity};

use crate::client::{get, parse, raw};
use crate::origin::{Origin, body};
use crate::{MIB, Scene, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_hidden_in_another_is_not_answered() {
    let scene = Scene::new().await;
    get(scene.at(), "/10/cached", &[]).await;
    let hidden = "GET /10/hidden HTTP/1.1\r\nHost: files.example.com\r\n\r\n";
    let host = "Host: files.example.com\r\n";
    let both = format!(
        "POST /10/a HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    let twice = format!("POST /10/a HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 0\r\n\r\n{hidden}");
    let in_get = format!("GET /10/cached HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\n{hidden}", hidden.len());
    let two_hosts = format!("GET /10/cached HTTP/1.1\r\n{host}Host: other.example\r\n\r\n");
    let other_host = format!("GET http://other.example/10/cached HTTP/1.1\r\n{host}\r\n");
    let no_host = "GET /10/cached HTTP/1.1\r\n\r\n".to_owned();
    for request in [both, twice, in_get, two_hosts, other_host, no_host] {
        let mut stream = TcpStream::connect(scene.at()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.matches("HTTP/1.1 ").count() <= 1, "{request}\n{text}");
        // Of two lengths the library believes the chunks, and trusts the connection no further.
        let answer = parse(&bytes, false);
        let ended = answer.status >= 400 || answer.field("connection") == "close";
        assert!(bytes.is_empty() || ended, "{request}\n{text}");
    }
    assert!(scene.origin.asked().iter().all(|asked| !asked.target.contains("hidden")), "{:?}", scene.origin.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_edges_that_point_at_each_other_do_not_loop() {
    let ports = [witness_lab::ports::free(), witness_lab::ports::free()];
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut edges = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let more = format!("[listen]\nhttp = [\"127.0.0.1:{}\"]\nhealth_listen = \"127.0.0.1:0\"\n", ports[at]);
        let other = format!("http://127.0.0.1:{}", ports[1 - at]);
        edges.push(start(folder.path(), &format!("e{at}"), &[&other], &more).await);
    }
    for target in ["/10/a", "/10/b"] {
        let answer = get(edges[0].http()[0], target, &[]).await;
        assert_eq!(answer.status, 508, "{answer:?}");
    }
    let asked: Vec<u64> = edges.iter().map(|edge| edge.engine().source_counts().0).collect();
    assert!(asked.iter().all(|asked| *asked <= 6), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_signs_what_it_asks_for() {
    let scene = Scene::new().await;
    get(scene.at(), "/10/a", &[("cdn-loop", "other.example; node=x"), ("connection", "x-hop"), ("x-hop", "1")]).await;
    let asked = &scene.origin.asked()[0];
    let loops: Vec<&str> =
        asked.fields.iter().filter(|(name, _)| name == "cdn-loop").map(|(_, value)| value.as_str()).collect();
    assert_eq!(loops, ["other.example; node=x", "fleet.example; node=e1"]);
    assert_eq!(asked.field("via"), Some("1.1 e1"));
    assert_eq!(asked.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.field("x-hop"), None);
    // Four edges of the fleet are enough, whoever they are.
    let many = (0..4).map(|n| format!("fleet.example; node=n{n}")).collect::<Vec<_>>().join(", ");
    assert_eq!(get(scene.at(), "/10/new", &[("cdn-loop", &many)]).await.status, 508);
}

#[test]
fn a_source_that_is_the_edge_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |listen: &str, source: &str| {
        let more = format!("[listen]\nhttp = [\"{listen}\"]\n");
        let text = crate::configuration(folder.path(), "e1", &[source], &more);
        let config = witness_edge::config::Config::parse(&text, &folder.path().join("edge.toml")).unwrap();
        witness_edge::edge::refuse_ourselves(&config).is_err()
    };
    assert!(refused("127.0.0.1:8080", "http://127.0.0.1:8080"));
    assert!(refused("0.0.0.0:8080", "http://localhost:8080"));
    assert!(!refused("127.0.0.1:8080", "http://127.0.0.1:8081"));
    assert!(!refused("0.0.0.0:8080", "http://192.0.2.1:8080"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_speaks_both_versions_and_shows_the_certificate_for_the_name() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let mut more = "[listen]\nhttp = []\nhttps = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\n".to_owned();
    for name in ["files.example.com", "other.example.com"] {
        authority.issue(&[name], Validity::Good).unwrap().write(folder.path(), name).unwrap();
        let key = folder.path().join(format!("{name}.key"));
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        more.push_str(&format!("[[listen.certificates]]\nchain_file = \"{name}.pem\"\nkey_file = \"{name}.key\"\n"));
    }
    let edge = start(folder.path(), "e1", &[&origin.url], &more).await;
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let trust = witness_edge::serve::client_config(Some(&folder.path().join("ca.pem"))).unwrap();
    let target = format!("/{}/a", 2 * MIB);
    for name in ["files.example.com", "other.example.com"] {
        for protocol in ["h2", "http/1.1"] {
            let mut config = (*trust).clone();
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            let stream = TcpStream::connect(edge.https()[0]).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
            let request = http::Request::get(format!("https://{name}{target}"));
            let response = if protocol == "h2" {
                let executor = TokioExecutor::new();
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
            } else {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let request = request.header("host", name).body(Empty::<Bytes>::new()).unwrap();
                sender.send_request(request).await.unwrap()
            };
            assert_eq!(response.status(), 200);
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert!(bytes == body(&target, 1, 0..2 * MIB));
        }
    }
    // A site is an object of its own.
    assert_eq!(origin.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_after_a_hit() {
    let scene = Scene::new().await;
    get(scene.at(), "/10/a", &[]).await;
    let one = "GET /10/a HTTP/1.1\r\nHost: files.example.com\r\n\r\n";
    let last = "GET /10/a HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\r\n";
    let answer = raw(scene.at(), format!("{one}{one}{last}").as_bytes(), false).await;
    assert_eq!(String::from_utf8_lossy(&answer.body).matches("HTTP/1.1 200 OK").count(), 2);
}
