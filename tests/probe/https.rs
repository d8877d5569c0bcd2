//! The https probe.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use witness::model::{Fault, HttpsProbe, Outcome, Secret, Stage, StatusRange, TlsFault};
use witness::probe::Prober;

use crate::support::net::{Full, Manners, Server, closed_port};
use crate::support::pki::Authority;
use crate::support::tls::{Script, TlsServer};
use crate::support::{HOST, child, https_settings, is_child, look, ms, node, only, only_https, pass, resident, see};

/// How the probe of a server that serves `config` and follows `script` ends.
async fn check(
    config: ServerConfig,
    script: Script,
    ca: &Authority,
    change: impl FnOnce(&mut HttpsProbe),
    expected: Outcome,
) {
    let server = TlsServer::start(config, script.clone());
    let mut settings = https_settings(server.port, ca.file());
    change(&mut settings);
    let seen = see(only_https(settings)).await;
    assert_eq!(seen.outcome, expected, "{script:?}: {seen:?}");
}

fn failed(fault: Fault) -> Outcome {
    Outcome::Failed(fault)
}

fn tls(fault: TlsFault) -> Outcome {
    failed(Fault::Tls(fault))
}

fn ok() -> Script {
    Script::answer("200 OK", "{\"status\":\"ok\"}")
}

#[tokio::test]
async fn a_healthy_node_passes_and_is_measured() {
    let ca = Authority::new();
    let server = TlsServer::start(ca.server(HOST, -1, 90), ok());
    let mut settings = https_settings(server.port, ca.file());
    settings.token = Some(Secret::new("hunter2"));
    settings.headers = vec![("x-probe".to_owned(), "witness".to_owned())];
    settings.expect_body = Some(Regex::new("\"status\":\"ok\"").unwrap());
    let seen = see(only_https(settings)).await;
    assert_eq!(seen.outcome, Outcome::Passed, "{seen:?}");
    assert!(!format!("{seen:?}").contains("hunter2"));

    let measured = seen.measured;
    let (connect, secure) = (measured.connect_us.unwrap(), measured.secure_us.unwrap());
    let first_byte = measured.first_byte_us.unwrap();
    assert!(connect < secure && secure < first_byte && first_byte <= measured.total_us, "{measured:?}");
    assert_eq!(measured.status, Some(200));
    assert_eq!(measured.certificate_days, Some(90));
    assert_eq!(measured.note, None);

    let heard = server.heard();
    assert_eq!(heard.len(), 1, "one request: {heard:?}");
    assert_eq!(heard[0].sni.as_deref(), Some(HOST));
    let head = heard[0].head.to_ascii_lowercase();
    assert!(head.starts_with("get /health http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {HOST}:{}\r\n", server.port)), "{head}");
    assert!(head.contains("\r\nauthorization: bearer hunter2\r\n"), "{head}");
    assert!(head.contains("\r\nx-probe: witness\r\n"), "{head}");
}

#[tokio::test]
async fn every_address_of_a_node_is_asked_itself() {
    let ca = Authority::new();
    let server = TlsServer::start(ca.server(HOST, -1, 90), ok());
    let prober = Prober::new(only_https(https_settings(server.port, ca.file()))).unwrap();
    let round = look(&prober, &node(&["127.0.0.3", "127.0.0.2"])).await;
    let seen: Vec<_> = round.observations.iter().map(|seen| (seen.address.to_string(), seen.outcome)).collect();
    assert_eq!(seen, [("127.0.0.2".to_owned(), Outcome::Passed), ("127.0.0.3".to_owned(), Outcome::Passed)]);
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn statuses_are_judged() {
    let ca = Authority::new();
    let config = || ca.server(HOST, -1, 90);
    for (line, expected) in [
        ("200 OK", Outcome::Passed),
        ("204 No Content", Outcome::Passed),
        ("302 Found", failed(Fault::Status(302))),
        ("404 Not Found", failed(Fault::Status(404))),
        ("500 Internal Server Error", failed(Fault::Status(500))),
        ("429 Too Many Requests", failed(Fault::Shedding(429))),
        ("503 Service Unavailable", failed(Fault::Shedding(503))),
    ] {
        check(config(), Script::status(line), &ca, |_| {}, expected).await;
    }
    let wants_503 = |settings: &mut HttpsProbe| settings.expect_status = vec![StatusRange { from: 503, to: 503 }];
    check(config(), Script::status("503 Service Unavailable"), &ca, wants_503, Outcome::Passed).await;
    check(config(), Script::status("200 OK"), &ca, wants_503, failed(Fault::Status(200))).await;
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let ca = Authority::new();
    let offers = || {
        let mut config = ca.server(HOST, -1, 90);
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    };
    let server = TlsServer::start(offers(), Script::Http2(200, "over two"));
    let mut settings = https_settings(server.port, ca.file());
    settings.expect_body = Some(Regex::new("over two").unwrap());
    let seen = see(only_https(settings)).await;
    assert_eq!(seen.outcome, Outcome::Passed, "{seen:?}");
    assert!(seen.measured.connect_us < seen.measured.secure_us, "{seen:?}");
    let heard = server.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0].head, format!("HTTP/2.0 https://{HOST}:{}/health", server.port));

    check(offers(), Script::Http2(503, ""), &ca, |_| {}, failed(Fault::Shedding(503))).await;
    let refuses = TlsServer::start(offers(), Script::Http2Refused);
    let seen = see(only_https(https_settings(refuses.port, ca.file()))).await;
    assert_eq!(seen.outcome, failed(Fault::Reset), "{seen:?}");
    assert_eq!(refuses.heard().len(), 1, "nothing is retried");
    // It agreed to HTTP/2 and speaks something else.
    check(offers(), Script::status("200 OK"), &ca, |_| {}, failed(Fault::Reset)).await;
}

#[tokio::test]
async fn only_the_bodys_beginning_counts() {
    let ca = Authority::new();
    let body = format!("{}needle", "x".repeat(1000));
    let wants = |pattern: &'static str, limit: usize| {
        move |settings: &mut HttpsProbe| {
            settings.expect_body = Some(Regex::new(pattern).unwrap());
            settings.body_limit = limit;
        }
    };
    let answer = Script::answer("200 OK", &body);
    let config = || ca.server(HOST, -1, 90);
    check(config(), answer.clone(), &ca, wants("needle", 65_536), Outcome::Passed).await;
    check(config(), answer.clone(), &ca, wants("needle", 1003), failed(Fault::Body)).await;
    check(config(), answer.clone(), &ca, wants("^x{1003}$", 1003), failed(Fault::Body)).await;
    check(config(), answer.clone(), &ca, wants("^x{1000}nee$", 1003), Outcome::Passed).await;
    check(config(), answer, &ca, wants("haystack", 65_536), failed(Fault::Body)).await;
    // A body without an end is read as far as it counts.
    let endless = Script::Stall(format!("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{body}"));
    check(config(), endless, &ca, wants("x", 500), Outcome::Passed).await;
}

#[tokio::test]
async fn certificates_are_verified() {
    let ca = Authority::new();
    let stranger = Authority::new();
    for (config, expected) in [
        (ca.server(HOST, -90, -1), tls(TlsFault::Expired)),
        (ca.server(HOST, 1, 90), tls(TlsFault::NotYetValid)),
        (ca.server("other.example.com", -1, 90), tls(TlsFault::WrongName)),
        (ca.server("*.example.com", -1, 90), Outcome::Passed),
        (stranger.server(HOST, -1, 90), tls(TlsFault::UnknownIssuer)),
    ] {
        check(config, ok(), &ca, |_| {}, expected).await;
    }
    let server = TlsServer::start(ca.server(HOST, -90, -3), ok());
    let seen = see(only_https(https_settings(server.port, ca.file()))).await;
    assert_eq!(seen.measured.certificate_days, Some(-3), "{seen:?}");

    let server = TlsServer::start(ca.server(HOST, -90, 5), ok());
    let seen = see(only_https(https_settings(server.port, ca.file()))).await;
    assert_eq!(seen.outcome, Outcome::Passed, "a warning convicts nobody");
    assert_eq!(seen.measured.note.as_deref(), Some("the certificate ends in 5 days"));
}

#[tokio::test]
async fn old_tls_is_refused_when_asked() {
    let ca = Authority::new();
    let old = || ca.server_with(HOST, -1, 90, &[&rustls::version::TLS12]);
    check(old(), ok(), &ca, |settings| settings.tls12 = true, Outcome::Passed).await;
    check(old(), ok(), &ca, |settings| settings.tls12 = false, tls(TlsFault::Version)).await;
    let new = || ca.server_with(HOST, -1, 90, &[&rustls::version::TLS13]);
    check(new(), ok(), &ca, |settings| settings.tls12 = false, Outcome::Passed).await;
}

#[tokio::test]
async fn servers_without_tls() {
    let ca = Authority::new();
    for (manners, expected) in [
        (Manners::Answer("HTTP/1.1 400 Bad Request\r\n\r\n"), tls(TlsFault::Protocol)),
        (Manners::Reset, failed(Fault::Reset)),
        (Manners::Leave(""), failed(Fault::Reset)),
        (Manners::Silent, failed(Fault::Timeout(Stage::Tls))),
    ] {
        let server = Server::start(manners.clone());
        let mut settings = https_settings(server.port, ca.file());
        settings.timeout = ms(1000);
        let seen = see(only_https(settings)).await;
        assert_eq!(seen.outcome, expected, "{manners:?}: {seen:?}");
        assert!(seen.is_sign_of_life());
    }
    let seen = see(only_https(https_settings(closed_port(), ca.file()))).await;
    assert_eq!(seen.outcome, failed(Fault::Refused), "{seen:?}");
}

#[tokio::test]
async fn a_dropped_syn_is_a_timeout_of_the_connection() {
    let ca = Authority::new();
    let full = Full::start().await;
    let mut settings = https_settings(full.port, ca.file());
    settings.connect_timeout = ms(500);
    let seen = see(only_https(settings)).await;
    assert_eq!(seen.outcome, failed(Fault::Timeout(Stage::Connect)), "{seen:?}");
    assert!(!seen.is_sign_of_life());
    assert!(seen.measured.total_us < 7_000_000, "the connection has a time-out of its own: {seen:?}");
    assert_eq!(seen.measured.connect_us, None);
}

#[tokio::test]
async fn answers_that_stall_are_told_by_their_stage() {
    let ca = Authority::new();
    let short = |settings: &mut HttpsProbe| settings.timeout = ms(1000);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let config = || ca.server(HOST, -1, 90);
    let late = |stage| failed(Fault::Timeout(stage));
    check(config(), Script::Stall(String::new()), &ca, short, late(Stage::Request)).await;
    check(config(), Script::Stall("HTTP/1.1 200 O".to_owned()), &ca, short, late(Stage::Request)).await;
    check(config(), Script::Stall(head.to_owned()), &ca, short, late(Stage::Body)).await;
    check(config(), Script::Slowly(format!("{head}0123456789"), ms(100)), &ca, short, late(Stage::Request)).await;
    check(config(), Script::Slowly(format!("{head}0123456789"), ms(1)), &ca, |_| {}, Outcome::Passed).await;
    check(config(), Script::Leave, &ca, |_| {}, failed(Fault::Reset)).await;
    check(config(), Script::Say(format!("{head}01")), &ca, |_| {}, failed(Fault::Reset)).await;
    check(config(), Script::Say("220 smtp.example.com ready\r\n".to_owned()), &ca, |_| {}, failed(Fault::Protocol))
        .await;
}

#[tokio::test]
async fn redirects_are_followed_when_asked_and_never_elsewhere() {
    let ca = Authority::new();
    let config = || ca.server(HOST, -1, 90);
    let to = |place: &str| Script::Redirect(place.to_owned());
    let one = |settings: &mut HttpsProbe| settings.redirects = 1;
    check(config(), to("/elsewhere"), &ca, |_| {}, failed(Fault::Status(302))).await;
    check(config(), to("/elsewhere"), &ca, one, Outcome::Passed).await;
    check(config(), to("/health"), &ca, one, failed(Fault::Status(302))).await;
    check(config(), to("https://other.example.com/"), &ca, one, failed(Fault::Status(302))).await;
    check(config(), to(&format!("http://{HOST}/")), &ca, one, failed(Fault::Status(302))).await;
    check(config(), to(&format!("https://{HOST}/")), &ca, one, failed(Fault::Status(302))).await;
}

/// A server that offers tickets replaces its certificate by one that has run out. A client that resumes sessions does not
/// see it.
#[tokio::test]
async fn a_resumed_session_cannot_hide_an_expired_certificate() {
    let ca = Authority::new();
    let tickets = Ticketer::new().unwrap();
    let with_tickets = |from, until| {
        let mut config = ca.server(HOST, from, until);
        config.ticketer = Arc::clone(&tickets);
        config
    };
    let server = TlsServer::start(with_tickets(-90, 1), ok());
    let prober = Prober::new(only_https(https_settings(server.port, ca.file()))).unwrap();
    let careless = careless(&ca);
    assert_eq!(only(look(&prober, &node(&["127.0.0.1"])).await).outcome, Outcome::Passed);
    ask(&careless, server.port).await.unwrap();

    server.reconfigure(with_tickets(-90, -1));
    ask(&careless, server.port).await.expect("a resumed session is shown no certificate");
    assert!(server.heard().last().unwrap().resumed, "the server does resume sessions");
    let seen = only(look(&prober, &node(&["127.0.0.1"])).await);
    assert_eq!(seen.outcome, tls(TlsFault::Expired), "{seen:?}");
}

/// A client as most are: it resumes sessions.
fn careless(ca: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca.path()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn ask(client: &TlsConnector, port: u16) -> std::io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut stream = client.connect(HOST.try_into().unwrap(), stream).await?;
    stream.write_all(format!("GET /health HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    if !is_child() {
        let mut command = child("https::a_proxy_in_the_environment_is_not_used", &[]);
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, format!("http://127.0.0.1:{}", closed_port()));
        }
        return pass(command);
    }
    runtime().block_on(async {
        let ca = Authority::new();
        check(ca.server(HOST, -1, 90), ok(), &ca, |_| {}, Outcome::Passed).await;
    });
}

/// 10,000 nodes share one TLS configuration, so that each costs little.
#[test]
fn a_client_for_each_node_costs_little() {
    if !is_child() {
        return pass(child("https::a_client_for_each_node_costs_little", &[]));
    }
    runtime().block_on(async {
        let ca = Authority::new();
        let mut settings = https_settings(closed_port(), ca.file());
        settings.ca_file = None; // the system's roots: the dear kind
        let Ok(prober) = Prober::new(only_https(settings)) else {
            return witness_lab::skip(
                "a client for each node",
                "this system has no root certificates (ca-certificates)",
            );
        };
        let probe = async |from: u32, to: u32| {
            for nth in from..to {
                let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + nth);
                let seen = only(prober.round(&crate::support::node_at(vec![address.into()])).await);
                assert_eq!(seen.outcome, failed(Fault::Refused), "{seen:?}");
            }
        };
        probe(0, 2000).await;
        let before = resident();
        probe(2000, 10_000).await;
        let each = (resident() - before) / 8000;
        eprintln!("measured: {each} bytes for each client");
        assert!(each < 8192, "{each} bytes for each client");
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn what_cannot_be_used_is_said_at_once() {
    let ca = Authority::new();
    let check = |change: &dyn Fn(&mut HttpsProbe), expected: &str| {
        let mut settings = https_settings(443, ca.file());
        change(&mut settings);
        let error = Prober::new(only_https(settings)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    };
    check(&|settings| settings.ca_file = Some("/nowhere/ca.pem".into()), "read ca_file /nowhere/ca.pem");
    let empty = tempfile::NamedTempFile::new().unwrap();
    check(&|settings| settings.ca_file = Some(empty.path().to_owned()), "no certificate");
    check(&|settings| settings.url = "https://192.0.2.1/".to_owned(), "must be a name");
    check(&|settings| settings.method = "GET /".to_owned(), "HTTP method");
    check(&|settings| settings.headers = vec![("a b".to_owned(), "c".to_owned())], "header \"a b\"");
    check(&|settings| settings.token = Some(Secret::new("hunter2\n")), "bearer token");
}

#[tokio::test]
async fn the_deadline_holds() {
    let ca = Authority::new();
    let server = Server::start(Manners::Silent);
    let mut settings = https_settings(server.port, ca.file());
    settings.timeout = ms(500);
    let ended = tokio::time::timeout(Duration::from_secs(10), see(only_https(settings))).await;
    assert_eq!(ended.unwrap().outcome, failed(Fault::Timeout(Stage::Tls)));
}
