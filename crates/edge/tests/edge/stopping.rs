//! What is under way when certificates change, and when it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use witness_lab::process::wait_until_async;
use witness_lab::tls::{Authority, Validity};

use crate::client::{get, parse};
use crate::limits::until_closed;
use crate::origin::{Origin, body};
use crate::{MIB, Scene, start};

const GENEROUS: Duration = Duration::from_secs(60);
const NAME: &str = "files.example.com";

fn write_pair(authority: &Authority, folder: &Path) {
    authority.issue(&[NAME], Validity::Good).unwrap().write(folder, "pair").unwrap();
    std::fs::set_permissions(folder.join("pair.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn connect(at: std::net::SocketAddr, folder: &Path) -> TlsStream<TcpStream> {
    let mut config = (*witness_edge::serve::client_config(Some(&folder.join("ca.pem"))).unwrap()).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // What is shown is to be looked at anew each time.
    config.resumption = rustls::client::Resumption::disabled();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from(NAME).unwrap(), TcpStream::connect(at).await.unwrap()).await.unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_shown_and_no_connection_is_dropped_for_them() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    write_pair(&authority, folder.path());
    let more = "[listen]\nhttp = []\nhttps = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\n\
                [[listen.certificates]]\nchain_file = \"pair.pem\"\nkey_file = \"pair.key\"\n";
    let edge = start(folder.path(), "e1", &[&origin.url], more).await;
    let at = edge.https()[0];
    let old = connect(at, folder.path()).await;
    let first = shown(&old);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(old)).await.unwrap();
    tokio::spawn(connection);
    let request = || http::Request::get("/1000/a").header("host", NAME).body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request()).await.unwrap();
    answer.into_body().collect().await.unwrap();
    write_pair(&authority, folder.path());
    edge.reload().unwrap();
    // The old connection serves on, a new one sees the new certificate.
    sender.ready().await.unwrap();
    let answer = sender.send_request(request()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body("/1000/a", 1, 0..1000));
    let second = shown(&connect(at, folder.path()).await);
    assert_ne!(first, second);
    // One that cannot be read changes nothing.
    std::fs::write(folder.path().join("pair.key"), "nonsense").unwrap();
    assert!(edge.reload().is_err());
    assert_eq!(shown(&connect(at, folder.path()).await), second);
}

async fn begin(at: std::net::SocketAddr, target: &str) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: files.example.com\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = vec![0; 1000];
    stream.read_exact(&mut some).await.unwrap();
    (stream, some)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_finished_and_nothing_new_is_begun() {
    let Scene { origin, edge, folder } = Scene::new().await;
    origin.set(|manner| manner.pause = Duration::from_millis(30));
    let (at, health) = (edge.http()[0], edge.health());
    let target = format!("/{}/film", 4 * MIB);
    let (mut stream, mut bytes) = begin(at, &target).await;
    let mut idle = TcpStream::connect(at).await.unwrap();
    let stopping = tokio::spawn(edge.stop());
    let drains = async || {
        String::from_utf8_lossy(&get(health, "/.witness/health", &[]).await.body).contains("\"status\":\"draining\"")
    };
    assert!(wait_until_async(GENEROUS, drains).await);
    assert!(wait_until_async(GENEROUS, async || TcpStream::connect(at).await.is_err()).await, "it still accepts");
    // Whoever asks for nothing is not waited for.
    until_closed(&mut idle).await.unwrap();
    assert!(!stopping.is_finished(), "it does not wait for what is under way");
    bytes.extend(until_closed(&mut stream).await.unwrap());
    let answer = parse(&bytes, false);
    assert!(answer.whole && answer.body == body(&target, 1, 0..4 * MIB));
    tokio::time::timeout(GENEROUS, stopping).await.unwrap().unwrap();
    assert!(folder.path().join("cache").join("clean").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_waited_for_for_a_while() {
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\ndrain = \"300ms\"\n";
    let Scene { origin: _origin, edge, folder: _folder } = Scene::with(listen).await;
    let (_stream, _) = begin(edge.http()[0], &format!("/{}/film", 64 * MIB)).await;
    tokio::time::timeout(GENEROUS, edge.stop()).await.unwrap();
}
