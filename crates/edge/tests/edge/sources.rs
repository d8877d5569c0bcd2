//! What goes on between the edge and its sources, beside plain requests.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use witness_lab::tls::{Authority, Leaf, Validity};

use crate::client::{ask, get};
use crate::limits::{connect_as, until_closed};
use crate::origin::{Origin, body};
use crate::{Scene, configuration, start};

/// What a TLS origin was asked: version, authority or host, and whom the client showed to be.
type Seen = Arc<Mutex<Vec<(http::Version, String, bool)>>>;

/// An origin on loopback with this certificate, which lets in whom `clients` signed, if that is given.
async fn tls_origin(leaf: &Leaf, clients: Option<&Authority>) -> (String, Seen) {
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem().as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = match clients {
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
        None => builder.unwrap().with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let seen = Seen::default();
    let saw = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, saw) = (acceptor.clone(), saw.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let is_known = stream.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |request: Request<Incoming>| {
                    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
                    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
                    let host = [authority, host].into_iter().flatten().collect::<Vec<_>>().join(" and ");
                    saw.lock().unwrap().push((request.version(), host, is_known));
                    let size: u64 = request.uri().path().split('/').nth(1).unwrap().parse().unwrap();
                    let whole = Bytes::from(body(request.uri().path(), 1, 0..size));
                    async move {
                        let response = Response::builder().header("cache-control", "max-age=60").body(Full::new(whole));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url, seen)
}

async fn edge_before(folder: &Path, url: &str, more: &str) -> witness_edge::edge::Edge {
    let text = configuration(folder, "e1", &[], "");
    let text = format!("{text}[[sources]]\nname = \"home\"\nurls = [\"{url}\"]\nca_file = \"ca.pem\"\n{more}");
    let config = witness_edge::config::Config::parse(&text, &folder.join("edge.toml")).unwrap();
    witness_edge::edge::Edge::start(&config).await.unwrap()
}

fn write_client(authority: &Authority, folder: &Path) {
    authority.issue_client("edge.example.com").unwrap().write(folder, "client").unwrap();
    std::fs::set_permissions(folder.join("client.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

const SHOWN: &str = "client_chain_file = \"client.pem\"\nclient_key_file = \"client.key\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_spoken_to_in_either_version_and_the_site_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let leaf = authority.issue(&["127.0.0.1"], Validity::Good).unwrap();
    let (url, seen) = tls_origin(&leaf, None).await;
    for (more, version, host) in [
        ("", http::Version::HTTP_11, "files.example.com"),
        ("http2 = true\n", http::Version::HTTP_2, "files.example.com"),
        ("http2 = true\nhost = \"other.example.com\"\n", http::Version::HTTP_2, "other.example.com"),
    ] {
        let edge = edge_before(folder.path(), &url, more).await;
        let target = format!("/3000000/{}", more.len());
        let answer = get(edge.http()[0], &target, &[]).await;
        assert!(answer.whole && answer.body == body(&target, 1, 0..3_000_000), "{more}: {answer:?}");
        assert_eq!(seen.lock().unwrap().pop().unwrap(), (version, host.to_owned(), false), "{more}");
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_sees_the_edges_certificate_and_the_new_one_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients) = (Authority::new().unwrap(), Authority::new().unwrap());
    std::fs::write(folder.path().join("ca.pem"), servers.pem()).unwrap();
    let leaf = servers.issue(&["127.0.0.1"], Validity::Good).unwrap();
    let (url, seen) = tls_origin(&leaf, Some(&clients)).await;
    // Without one it is not let in.
    let edge = edge_before(folder.path(), &url, "").await;
    assert_eq!(get(edge.http()[0], "/10/a", &[]).await.status, 503);
    edge.stop().await;
    for more in ["", "http2 = true\n"] {
        write_client(&Authority::new().unwrap(), folder.path());
        let edge = edge_before(folder.path(), &url, &format!("{SHOWN}{more}")).await;
        assert_eq!(get(edge.http()[0], "/10/b", &[]).await.status, 503, "somebody else's certificate");
        write_client(&clients, folder.path());
        edge.reload().unwrap();
        let target = format!("/10/c{}", more.len());
        assert_eq!(get(edge.http()[0], &target, &[]).await.status, 200);
        assert!(seen.lock().unwrap().pop().unwrap().2);
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_another_authority_signed_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    std::fs::write(folder.path().join("ca.pem"), ours.pem()).unwrap();
    for leaf in [
        other.issue(&["127.0.0.1"], Validity::Good).unwrap(),
        ours.issue(&["files.example.com"], Validity::Good).unwrap(),
        ours.issue(&["127.0.0.1"], Validity::Expired).unwrap(),
    ] {
        let (url, seen) = tls_origin(&leaf, None).await;
        for more in ["", "http2 = true\n"] {
            let edge = edge_before(folder.path(), &url, more).await;
            assert_eq!(get(edge.http()[0], "/10/a", &[]).await.status, 503);
            edge.stop().await;
        }
        assert!(seen.lock().unwrap().is_empty());
    }
}

/// Answers each connection with these bytes, once it has read a head.
async fn scripted(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.ok()?);
                }
                // In pieces, as networks do.
                for piece in answer.as_bytes().chunks(40) {
                    stream.write_all(piece).await.ok()?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Some(())
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_says_meanwhile_is_not_its_answer() {
    let url = scripted(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nCache-Control: no-store\r\nETag: \"early\"\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </more.css>; rel=preload\r\n\r\n\
         HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), "e1", &[&url], "").await;
    for told in ["fwd=uri-miss; stored", "hit"] {
        let answer = get(edge.http()[0], "/a", &[]).await;
        assert_eq!((answer.status, answer.body.as_slice(), answer.whole), (200, &b"hello"[..], true));
        assert_eq!((answer.field("etag").as_str(), answer.field("link").as_str()), ("\"v1\"", ""));
        assert!(answer.field("cache-status").contains(told), "{answer:?}");
    }
}

/// An origin that decides about a body when it has seen the head; gives what it received of bodies.
async fn deciding(decision: &'static [u8]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let saw = saw.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.ok()?);
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                stream.write_all(decision).await.ok()?;
                let mut body = vec![0; 5];
                let received = stream.read_exact(&mut body).await.is_ok();
                let body = if received { String::from_utf8(body).unwrap() } else { String::new() };
                saw.lock().unwrap().push(format!("{} {body}", head.contains("expect: 100-continue")));
                if received {
                    stream
                        .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        .await
                        .ok()?;
                }
                Some(())
            });
        }
    });
    (url, seen)
}

const EXPECTING: &[u8] =
    b"POST /up HTTP/1.1\r\nHost: files.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sends_its_body_when_the_source_wants_it() {
    // One that says so, and one that says nothing at all, which old ones do.
    for decision in [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], b""] {
        let (url, seen) = deciding(decision).await;
        let folder = tempfile::tempdir().unwrap();
        let edge = start(folder.path(), "e1", &[&url], "").await;
        let mut stream = TcpStream::connect(edge.http()[0]).await.unwrap();
        stream.write_all(EXPECTING).await.unwrap();
        let mut told = [0; 25];
        stream.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert!(seen.lock().unwrap().is_empty());
        stream.write_all(b"hello").await.unwrap();
        let rest = until_closed(&mut stream).await.unwrap();
        assert!(rest.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&rest));
        assert_eq!(*seen.lock().unwrap(), ["true hello"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_send_a_body_that_the_source_refuses() {
    let (url, seen) =
        deciding(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n").await;
    let folder = tempfile::tempdir().unwrap();
    let edge = start(folder.path(), "e1", &[&url], "").await;
    let mut stream = TcpStream::connect(edge.http()[0]).await.unwrap();
    stream.write_all(EXPECTING).await.unwrap();
    let told = until_closed(&mut stream).await.unwrap();
    assert!(told.starts_with(b"HTTP/1.1 413 ") && told.ends_with(b"no\n"), "{}", String::from_utf8_lossy(&told));
    let waited =
        witness_lab::process::wait_until_async(Duration::from_secs(60), async || seen.lock().unwrap().len() == 1);
    assert!(waited.await);
    assert_eq!(*seen.lock().unwrap(), ["true "]);
}

/// An edge before three servers of one source.
async fn three(sticky: &str) -> (Vec<Origin>, witness_edge::edge::Edge, tempfile::TempDir) {
    let mut origins = Vec::new();
    for _ in 0..3 {
        origins.push(Origin::start().await);
    }
    let urls: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.url)).collect();
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), "e1", &[], "");
    let text = format!("{text}[[sources]]\nname = \"home\"\nurls = [{}]\nsticky = \"{sticky}\"\n", urls.join(", "));
    let config = witness_edge::config::Config::parse(&text, &folder.path().join("edge.toml")).unwrap();
    (origins, witness_edge::edge::Edge::start(&config).await.unwrap(), folder)
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_cached_goes_to_each_server_in_turn() {
    let (origins, edge, _folder) = three("").await;
    for _ in 0..9 {
        assert_eq!(ask(edge.http()[0], "POST", "/10/a", &[], "body").await.status, 200);
    }
    assert_eq!(counts(&origins), [3, 3, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_keeps_a_client_at_one_server() {
    let (origins, edge, _folder) = three("cookie").await;
    for origin in &origins {
        origin.set(|manner| manner.fields = vec![("Cache-Control".into(), "no-store".into())]);
    }
    let at = edge.http()[0];
    let first = get(at, "/10/login", &[]).await;
    let cookie = first.field("set-cookie");
    assert!(
        cookie.starts_with("edge-home=") && cookie.contains("; HttpOnly") && !cookie.contains("Secure"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap().to_owned();
    // Another request of the same client that nobody has asked for before is for the same server as well.
    let before = counts(&origins);
    for target in ["/10/login", "/10/new", "/10/cart"] {
        let answer = get(at, target, &[("cookie", &format!("a=b; {pair}"))]).await;
        assert_eq!((answer.status, answer.field("set-cookie").as_str()), (200, ""), "{answer:?}");
        let answer = ask(at, "POST", target, &[("cookie", &pair)], "body").await;
        assert_eq!(answer.status, 200);
    }
    let owner = (0..3).find(|at| origins[*at].asked().iter().any(|asked| asked.method == "POST")).unwrap();
    for (at, origin) in origins.iter().enumerate() {
        let later = origin.asked()[before[at]..].to_vec();
        // What turns out not to be cacheable has been asked for once, for everybody.
        assert!(at == owner || later.iter().all(|asked| asked.method == "GET"), "{later:?}");
        assert!(later.iter().all(|asked| !asked.field("cookie").unwrap_or("").contains("edge-home")), "{later:?}");
    }
    // When its server is gone, it comes to another one, and stays there.
    origins[owner].set(|manner| manner.dead = true);
    let moved = get(at, "/10/login", &[("cookie", &pair)]).await;
    assert_eq!(moved.status, 200);
    assert!(moved.field("set-cookie").starts_with("edge-home=") && !moved.field("set-cookie").starts_with(&pair));
    // What is cached is everybody's, and sets nothing.
    for origin in &origins {
        origin.set(|manner| manner.fields = vec![("Cache-Control".into(), "max-age=60".into())]);
    }
    assert_eq!(get(at, "/10/shared", &[]).await.field("set-cookie"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_keeps_a_client_at_one_server() {
    let (origins, edge, _folder) = three("address").await;
    let mut used = BTreeSet::new();
    for client in 1..=12 {
        let before = counts(&origins);
        for _ in 0..3 {
            let mut stream = connect_as([127, 0, 0, client], edge.http()[0]).await;
            let request =
                b"POST /10/a HTTP/1.1\r\nHost: files.example.com\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            assert!(until_closed(&mut stream).await.unwrap().starts_with(b"HTTP/1.1 200"));
        }
        let after = counts(&origins);
        let server = (0..3).find(|at| after[*at] == before[*at] + 3);
        used.insert(server.unwrap_or_else(|| panic!("{before:?} {after:?}")));
    }
    assert!(used.len() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scene_without_stickiness_sets_no_cookie() {
    let scene = Scene::new().await;
    assert_eq!(ask(scene.at(), "POST", "/10/a", &[], "body").await.field("set-cookie"), "");
}

/// An edge before one server that may be silent for half a second.
async fn impatient(url: &str) -> (witness_edge::edge::Edge, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(folder.path(), "e1", &[], "");
    let text = format!(
        "{text}[[sources]]\nname = \"home\"\nurls = [\"{url}\"]\nconnect_timeout = \"200ms\"\nread_timeout = \"300ms\"\n"
    );
    let config = witness_edge::config::Config::parse(&text, &folder.path().join("edge.toml")).unwrap();
    (witness_edge::edge::Edge::start(&config).await.unwrap(), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_may_take_longer_than_a_source_may_be_silent() {
    let origin = Origin::start().await;
    let (edge, _folder) = impatient(&origin.url).await;
    let mut stream = TcpStream::connect(edge.http()[0]).await.unwrap();
    let head = b"POST /10/up HTTP/1.1\r\nHost: files.example.com\r\nContent-Length: 100\r\nConnection: close\r\n\r\n";
    stream.write_all(head).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        stream.write_all(&[b'x'; 25]).await.unwrap();
    }
    let told = until_closed(&mut stream).await.unwrap();
    assert!(told.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&told));
    // When all of it is there, the source has to answer.
    origin.set(|manner| manner.latency = Duration::from_secs(3600));
    assert_eq!(ask(edge.http()[0], "POST", "/10/up", &[], "body").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_for_one_client_that_does_not_go_on_ends() {
    let url = scripted("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 1000\r\n\r\nbegins").await;
    let (edge, _folder) = impatient(&url).await;
    let answer = ask(edge.http()[0], "POST", "/a", &[], "body").await;
    assert_eq!((answer.status, answer.body.as_slice(), answer.whole), (200, &b"begins"[..], false));
}
