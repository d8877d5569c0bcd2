//! Behind a load balancer that speaks the PROXY protocol.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::Scene;
use crate::client::{get, parse};
use crate::limits::{connect_as, until_closed};

/// Loopback addresses below 127.0.1.0 are load balancers, the others are clients.
async fn behind(limits: &str) -> Scene {
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhealth_listen = \"127.0.0.1:0\"\nproxy_protocol = true\n\
                  proxy_protocol_from = [\"127.0.1.0/24\"]\n";
    Scene::with(&format!("{listen}[limits]\nrate_per_client = \"\"\n{limits}")).await
}

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\r\n")
}

fn version_2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(source);
    header.extend([192, 0, 2, 1, 0x30, 0x39, 0, 80]);
    header
}

async fn send_as(client: [u8; 4], at: SocketAddr, bytes: &[u8]) -> (u16, TcpStream) {
    let mut stream = connect_as(client, at).await;
    stream.write_all(bytes).await.unwrap();
    let answer = parse(&until_closed(&mut stream).await.unwrap(), false);
    (answer.status, stream)
}

const BALANCER: [u8; 4] = [127, 0, 1, 1];

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_whom_the_load_balancer_names() {
    let scene = behind("").await;
    let one = [b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 80\r\n".to_vec(), request("/10/a").into_bytes()].concat();
    let two = [version_2([192, 0, 2, 8]), request("/10/b").into_bytes()].concat();
    let itself = [b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), request("/10/c").into_bytes()].concat();
    for bytes in [one, two, itself] {
        assert_eq!(send_as(BALANCER, scene.at(), &bytes).await.0, 200);
    }
    let told: Vec<_> =
        scene.origin.asked().iter().map(|asked| asked.field("x-forwarded-for").unwrap().to_owned()).collect();
    assert_eq!(told, ["192.0.2.7", "192.0.2.8", "127.0.1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed() {
    let scene = behind("").await;
    // Others are served as whom they are, without a header, and refused with one.
    assert_eq!(get(scene.at(), "/10/a", &[]).await.status, 200);
    let bytes = [b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 80\r\n".to_vec(), request("/10/b").into_bytes()].concat();
    assert_eq!(send_as([127, 0, 2, 1], scene.at(), &bytes).await.0, 400);
    let bytes = [version_2([192, 0, 2, 8]), request("/10/b").into_bytes()].concat();
    assert_ne!(send_as([127, 0, 2, 1], scene.at(), &bytes).await.0, 200);
    // From a load balancer, nothing goes without.
    assert_eq!(send_as(BALANCER, scene.at(), request("/10/b").as_bytes()).await.0, 0);
    let told: Vec<_> =
        scene.origin.asked().iter().map(|asked| asked.field("x-forwarded-for").unwrap().to_owned()).collect();
    assert_eq!(told, ["127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_are_for_the_client_not_for_the_load_balancer() {
    let scene = behind("connections_per_client = 1\n").await;
    let mut held = Vec::new();
    for client in 1..=5 {
        let mut stream = connect_as(BALANCER, scene.at()).await;
        stream.write_all(&version_2([192, 0, 2, client])).await.unwrap();
        stream.write_all(b"GET /10/a HTTP/1.1\r\nHost: files.example.com\r\n\r\n").await.unwrap();
        let mut some = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut some).await.unwrap();
        assert_eq!(some, *b"HTTP/1.1 200");
        held.push(stream);
    }
    let again = [version_2([192, 0, 2, 3]), request("/10/a").into_bytes()].concat();
    assert_ne!(send_as(BALANCER, scene.at(), &again).await.0, 200);
    let other = [version_2([192, 0, 2, 6]), request("/10/a").into_bytes()].concat();
    assert_eq!(send_as(BALANCER, scene.at(), &other).await.0, 200);
}
