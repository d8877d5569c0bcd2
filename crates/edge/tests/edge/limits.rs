//! Too many clients, too slow ones, and too much in one head.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use witness_lab::process::{Guard, wait_until_async};

use crate::client::{get, parse};
use crate::killed::Numbers;
use crate::origin::{Origin, body};
use crate::{MIB, Scene, configuration};

const GENEROUS: Duration = Duration::from_secs(60);

/// Connects as `client`, which is an address of loopback.
pub(crate) async fn connect_as(client: [u8; 4], at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((client, 0).into()).unwrap();
    socket.connect(at).await.unwrap()
}

/// What comes until the other side has closed; none when it does not.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // A connection that is reset is closed, too.
    tokio::time::timeout(GENEROUS, stream.read_to_end(&mut bytes)).await.ok().map(|_| bytes)
}

async fn metric(scene: &Scene, name: &str) -> u64 {
    let metrics = get(scene.edge.health(), "/metrics", &[]).await;
    let text = String::from_utf8(metrics.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("witness_edge_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

const REQUEST: &[u8] = b"GET /1000/a HTTP/1.1\r\nHost: files.example.com\r\n\r\n";

async fn is_served(stream: &mut TcpStream) -> bool {
    stream.write_all(REQUEST).await.unwrap();
    let mut some = [0; 12];
    let read = tokio::time::timeout(GENEROUS, stream.read_exact(&mut some)).await;
    matches!(read, Ok(Ok(_))) && some == *b"HTTP/1.1 200"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_as_many_connections_as_it_may() {
    let scene = Scene::with("[limits]\nrate_per_client = \"\"\nconnections_per_client = 3\n").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_as([127, 0, 0, 7], scene.at()).await;
        assert!(is_served(&mut stream).await);
        held.push(stream);
    }
    let mut one_more = connect_as([127, 0, 0, 7], scene.at()).await;
    let told = until_closed(&mut one_more).await.unwrap();
    assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&told));
    assert_eq!(metric(&scene, "refused_connections_total").await, 1);
    let mut other = connect_as([127, 0, 0, 8], scene.at()).await;
    assert!(is_served(&mut other).await);
    held.pop();
    let again = wait_until_async(GENEROUS, async || {
        let mut stream = connect_as([127, 0, 0, 7], scene.at()).await;
        let _ = stream.write_all(REQUEST).await;
        let mut some = [0; 12];
        stream.read_exact(&mut some).await.is_ok() && some == *b"HTTP/1.1 200"
    });
    assert!(again.await, "a place that is free again is not given");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_there_is_no_room_clients_wait_in_line() {
    let scene = Scene::with("[limits]\nrate_per_client = \"\"\nconnections = 2\n").await;
    // With so few places the last one is tight: whoever has it leaves when it is served.
    let mut first = TcpStream::connect(scene.at()).await.unwrap();
    assert!(is_served(&mut first).await);
    let mut second = TcpStream::connect(scene.at()).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    let answer = parse(&until_closed(&mut second).await.unwrap(), false);
    assert_eq!((answer.status, answer.field("connection").as_str()), (200, "close"));
    let silent = TcpStream::connect(scene.at()).await.unwrap();
    let mut third = TcpStream::connect(scene.at()).await.unwrap();
    third.write_all(REQUEST).await.unwrap();
    let overloaded = wait_until_async(GENEROUS, async || {
        let health = get(scene.edge.health(), "/.witness/health", &[]).await;
        String::from_utf8_lossy(&health.body).contains("\"status\":\"overload\"")
    });
    assert!(overloaded.await);
    let mut some = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(200), third.read_exact(&mut some)).await;
    assert!(early.is_err(), "there was room for it");
    drop(silent);
    tokio::time::timeout(GENEROUS, third.read_exact(&mut some)).await.unwrap().unwrap();
    assert_eq!(some, *b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_end_are_not_waited_for() {
    let patient = "idle_timeout = \"1h\"\npace_window = \"1h\"\n";
    let limits = format!("[limits]\nrate_per_client = \"\"\nheader_timeout = \"500ms\"\n{patient}");
    let scene = Scene::with(&limits).await;
    let at = scene.at();
    // Some say nothing, some a byte now and then, some begin a second request like that.
    let slow: Vec<_> = (0..60)
        .map(|number| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(at).await.unwrap();
                if number % 3 == 2 {
                    stream.write_all(REQUEST).await.unwrap();
                }
                if number % 3 > 0 {
                    for byte in b"GET /1000/a HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat_n(&b'x', 2000)) {
                        if stream.write_all(&[*byte]).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(30)).await;
                    }
                }
                until_closed(&mut stream).await.is_some()
            })
        })
        .collect();
    // Others do not notice.
    for _ in 0..5 {
        assert_eq!(get(at, "/1000/a", &[]).await.status, 200);
    }
    for one in slow {
        assert!(one.await.unwrap(), "a slow one is still there");
    }
    assert_eq!(metric(&scene, "slow_heads_left_total").await, 60);
    assert_eq!(metric(&scene, "connections").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_requests_end() {
    let scene = Scene::with("[limits]\nrate_per_client = \"\"\nidle_timeout = \"300ms\"\n").await;
    let mut stream = TcpStream::connect(scene.at()).await.unwrap();
    assert!(is_served(&mut stream).await);
    until_closed(&mut stream).await.unwrap();
    let stream = TcpStream::connect(scene.at()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://files.example.com/1000/a").body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    tokio::time::timeout(GENEROUS, connection).await.unwrap().unwrap().ok();
    assert_eq!(metric(&scene, "idle_connections_left_total").await, 2);
}

const PACED: &str = "[limits]\nrate_per_client = \"\"\nmin_pace = \"800kbit/s\"\npace_window = \"500ms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_too_little_are_left() {
    let scene = Scene::with(PACED).await;
    let target = format!("/{}/film", 64 * MIB);
    let request = format!("GET {target} HTTP/1.1\r\nHost: files.example.com\r\n\r\n");
    let mut stream = TcpStream::connect(scene.at()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let left = wait_until_async(GENEROUS, async || metric(&scene, "slow_bodies_left_total").await == 1);
    assert!(left.await, "whoever reads nothing is still there");
    let bytes = until_closed(&mut stream).await.unwrap();
    assert!((bytes.len() as u64) < 64 * MIB);
    // Of HTTP/2, where what the client does not take never gets as far as the socket.
    let stream = TcpStream::connect(scene.at()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://files.example.com{target}")).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let left = wait_until_async(GENEROUS, async || metric(&scene, "slow_bodies_left_total").await == 2);
    assert!(left.await, "whoever opens no window is still there");
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_do_not_go_on_are_left() {
    let scene = Scene::with(PACED).await;
    let mut stream = TcpStream::connect(scene.at()).await.unwrap();
    let head = b"POST /10/up HTTP/1.1\r\nHost: files.example.com\r\nContent-Length: 1000000\r\n\r\nbegins";
    stream.write_all(head).await.unwrap();
    until_closed(&mut stream).await.unwrap();
    assert_eq!(metric(&scene, "slow_bodies_left_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_not_left_because_a_source_is_slow() {
    let scene = Scene::with(PACED).await;
    // 64 KiB in 1.5 s are slower than any client may be.
    scene.origin.set(|manner| {
        manner.latency = Duration::from_millis(1500);
        manner.pause = Duration::from_millis(1500);
    });
    let target = format!("/{}/a", 4 * 65_536);
    let answer = get(scene.at(), &target, &[]).await;
    assert!(answer.whole && answer.body == body(&target, 1, 0..4 * 65_536));
    assert_eq!(metric(&scene, "slow_bodies_left_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let scene = Scene::with("[limits]\nrate_per_client = \"\"\nheader_size = \"8KiB\"\nheader_count = 20\n").await;
    let long = "x".repeat(9000);
    assert_eq!(get(scene.at(), "/10/a", &[("x-long", &long)]).await.status, 431);
    let many = vec![("x-many", "1"); 30];
    assert_eq!(get(scene.at(), "/10/a", &many).await.status, 431);
    assert_eq!(get(scene.at(), "/10/a", &many[..10]).await.status, 200);
    let stream = TcpStream::connect(scene.at()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::get("http://files.example.com/10/a");
    for _ in 0..30 {
        request = request.header("x-many", "1");
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 431);
    assert_eq!(scene.origin.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_get_what_they_ask_for() {
    let clients = (witness_lab::process::raise_descriptor_limit().saturating_sub(200) / 3).min(1000);
    let scene = Scene::with("[limits]\nrate_per_client = \"\"\nconnections_per_client = 0\n").await;
    let size = 2 * MIB;
    let whole: Arc<Vec<_>> = Arc::new((0..3).map(|name| body(&format!("/{size}/{name}"), 1, 0..size)).collect());
    let started = Arc::new(tokio::sync::Barrier::new(usize::try_from(clients).unwrap()));
    let asking: Vec<_> = (0..clients)
        .map(|number| {
            let (at, started, whole) = (scene.at(), started.clone(), whole.clone());
            tokio::spawn(async move {
                let mut numbers = Numbers::new(number + 1);
                let mut stream = TcpStream::connect(at).await.unwrap();
                // All of them are there before the first one asks.
                started.wait().await;
                let name = usize::try_from(numbers.below(3)).unwrap();
                let start = usize::try_from(numbers.below(size - 65_536)).unwrap();
                let request = format!(
                    "GET /{size}/{name} HTTP/1.1\r\nHost: files.example.com\r\nRange: bytes={start}-{}\r\nConnection: close\r\n\r\n",
                    start + 65_535
                );
                stream.write_all(request.as_bytes()).await.unwrap();
                let answer = parse(&until_closed(&mut stream).await.unwrap(), false);
                (answer.status, answer.body == whole[name][start..start + 65_536])
            })
        })
        .collect();
    for client in asking {
        assert_eq!(client.await.unwrap(), (206, true));
    }
    // Each of the three is fetched in a few streams, however many want it.
    assert!(scene.origin.count() <= 3 * 5, "{}", scene.origin.count());
    assert!(wait_until_async(GENEROUS, async || metric(&scene, "connections").await == 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_waits_until_there_are_some_again() {
    let origin = Origin::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
    let health = SocketAddr::from(([127, 0, 0, 1], witness_lab::ports::free()));
    // So many that the limit of descriptors comes first.
    let more = format!(
        "[listen]\nhttp = [\"{at}\"]\nhealth_listen = \"{health}\"\n[limits]\nrate_per_client = \"\"\nconnections = 1000\n"
    );
    std::fs::write(folder.path().join("edge.toml"), configuration(folder.path(), "e1", &[&origin.url], &more)).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$0\" run --config \"$1\"", env!("CARGO_BIN_EXE_witness-edge")]);
    let mut program = Guard::start(command.arg(folder.path().join("edge.toml")).stderr(Stdio::null())).unwrap();
    let up = async || TcpStream::connect(at).await.is_ok();
    assert!(wait_until_async(GENEROUS, up).await, "it does not listen");
    let mut crowd = Vec::new();
    for _ in 0..120 {
        crowd.push(TcpStream::connect(at).await.unwrap());
    }
    // Whoever is in can be served, or waits; nobody is wrongly answered, and the program lives.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(program.is_running());
    drop(crowd);
    let served = async || {
        let Ok(mut stream) = TcpStream::connect(at).await else { return false };
        let request = b"GET /1000/a HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.is_ok()
            && until_closed(&mut stream)
                .await
                .is_some_and(|bytes| parse(&bytes, false).body == body("/1000/a", 1, 0..1000))
    };
    assert!(wait_until_async(GENEROUS, served).await, "it does not serve again");
    let metrics = String::from_utf8(get(health, "/metrics", &[]).await.body).unwrap();
    let failed = metrics.lines().find_map(|line| line.strip_prefix("witness_edge_failed_accepts_total ")).unwrap();
    assert!(failed.parse::<u64>().unwrap() > 0, "there were descriptors enough");
}
