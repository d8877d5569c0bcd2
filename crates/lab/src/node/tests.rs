use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::Authority;

/// Generous: it only tells a hang from an answer.
const BOUND: Duration = Duration::from_secs(20);

struct Bench {
    node: Node,
    connector: TlsConnector,
}

impl Bench {
    fn new(token: Option<&str>) -> Self {
        let authority = Authority::new().unwrap();
        let identity = authority.identity(&["files.example.com"]).unwrap();
        let mut config = NodeConfig::new("slice1", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), identity);
        config.ssh = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.token = token.map(str::to_owned);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { node: Node::start(config).unwrap(), connector: TlsConnector::from(Arc::new(client)) }
    }

    async fn get(&self, path: &str, headers: &str) -> io::Result<String> {
        tokio::time::timeout(BOUND, async {
            let stream = TcpStream::connect(self.node.address()).await?;
            let name = ServerName::try_from("files.example.com").unwrap();
            let mut tls = self.connector.connect(name, stream).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n{headers}\r\n");
            tls.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            tls.read_to_string(&mut answer).await?;
            Ok(answer)
        })
        .await
        .expect("the node hangs")
    }

    async fn status(&self, mode: Mode) -> String {
        self.node.set(mode).unwrap();
        let answer = self.get("/.witness/health", "").await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    }
}

#[tokio::test]
async fn tells_its_health_and_remembers_who_asked() {
    let bench = Bench::new(None);
    let answer = bench.get("/.witness/health", "X-Trace: 7\r\n").await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let health: Health = serde_json::from_str(body).unwrap();
    assert_eq!(health, Health::of("slice1"));
    assert!(bench.get("/", "").await.unwrap().ends_with("slice1 at your service\n"));
    let answer = bench.get("/bytes/100000", "").await.unwrap();
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 100_000);
    let seen = bench.node.seen();
    assert_eq!((seen.connections, seen.handshakes, seen.requests.len()), (3, 3, 3));
    assert_eq!(seen.requests[0].sni.as_deref(), Some("files.example.com"));
    assert_eq!(seen.requests[0].headers["x-trace"], "7");
    assert_eq!(seen.requests[0].tls_version, "TLSv1_3");
}

#[tokio::test]
async fn a_token_keeps_the_document_from_others() {
    let bench = Bench::new(Some("s3same"));
    let body = |answer: String| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(bench.get("/.witness/health", "").await.unwrap()), r#"{"status":"ok"}"#);
    assert_eq!(
        body(bench.get("/.witness/health", "Authorization: Bearer other\r\n").await.unwrap()),
        r#"{"status":"ok"}"#
    );
    let all = body(bench.get("/.witness/health", "Authorization: Bearer s3same\r\n").await.unwrap());
    assert!(all.contains("egress_bps"), "{all}");
}

#[tokio::test]
async fn changes_its_mode_while_it_runs() {
    let bench = Bench::new(None);
    assert_eq!(bench.status(Mode::Healthy).await, "200");
    assert_eq!(bench.status(Mode::Status(500)).await, "500");
    assert_eq!(bench.status(Mode::Shedding(30)).await, "503");
    assert_eq!(bench.status(Mode::Redirect("https://192.0.2.1/".into())).await, "302");
    assert_eq!(bench.status(Mode::Slow(Duration::from_millis(1))).await, "200");
    assert_eq!(bench.status(Mode::Tls12).await, "200");
    assert_eq!(bench.node.seen().requests.back().unwrap().tls_version, "TLSv1_2");
    bench.node.set(Mode::Cut).unwrap();
    assert!(bench.get("/", "").await.is_err());
    bench.node.set(Mode::Plain).unwrap();
    assert!(bench.get("/", "").await.is_err());
    bench.node.set(Mode::Reset).unwrap();
    assert_eq!(bench.get("/", "").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    bench.node.set(Mode::Refuse).unwrap();
    assert_eq!(bench.get("/", "").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(bench.status(Mode::Healthy).await, "200");
}

#[tokio::test]
async fn hangs_at_each_stage() {
    let bench = Bench::new(None);
    for stage in [Stage::Tls, Stage::Http, Stage::Body] {
        bench.node.set(Mode::Hang(stage)).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(200), bench.get("/", "")).await;
        assert!(waited.is_err(), "{stage:?}: {waited:?}");
    }
    assert_eq!(bench.status(Mode::Healthy).await, "200");
}

#[tokio::test]
async fn shows_flawed_certificates() {
    for (flaw, says) in [
        (Flaw::Expired, "expired"),
        (Flaw::NotYet, "not valid yet"),
        (Flaw::WrongName, "not valid for"),
        (Flaw::Untrusted, "UnknownIssuer"),
    ] {
        let bench = Bench::new(None);
        bench.node.set(Mode::Certificate(flaw)).unwrap();
        let error = bench.get("/", "").await.unwrap_err();
        assert!(error.to_string().contains(says), "{flaw:?}: {error}");
    }
}

#[tokio::test]
async fn a_resumed_session_hides_a_certificate_that_expired_since() {
    let bench = Bench::new(None);
    bench.get("/", "").await.unwrap();
    bench.node.set(Mode::Certificate(Flaw::Expired)).unwrap();
    bench.get("/", "").await.unwrap();
    assert_eq!(bench.node.seen().resumed, 1);
}

#[tokio::test]
async fn the_ssh_port_greets_refuses_and_comes_back() {
    let bench = Bench::new(None);
    let ssh = bench.node.ssh_address().unwrap();
    let greeting = async || {
        let mut greeting = [0; 21];
        TcpStream::connect(ssh).await?.read_exact(&mut greeting).await?;
        io::Result::Ok(String::from_utf8(greeting.into()).unwrap())
    };
    assert_eq!(greeting().await.unwrap(), "SSH-2.0-witness_lab\r\n");
    bench.node.power_off().unwrap();
    assert_eq!(greeting().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    bench.node.power_on().unwrap();
    assert_eq!(greeting().await.unwrap(), "SSH-2.0-witness_lab\r\n");
}

#[tokio::test]
async fn frees_its_ports() {
    let bench = Bench::new(None);
    bench.get("/", "").await.unwrap();
    let address = bench.node.address();
    bench.node.stop().await;
    std::net::TcpListener::bind(address).unwrap();
}

#[test]
fn without_the_flawed_certificate_the_mode_is_refused() {
    let leaf = Authority::new().unwrap().issue(&["files.example.com"], crate::tls::Validity::Good).unwrap();
    let node = Node::start(NodeConfig::new("n", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), leaf)).unwrap();
    assert!(node.set(Mode::Certificate(Flaw::Expired)).is_err());
    assert_eq!(node.mode(), Mode::Healthy);
}
