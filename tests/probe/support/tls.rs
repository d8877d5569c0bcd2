//! A TLS server that answers HTTP/1.1 as told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What to answer a request with.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// This, and close.
    Say(String),
    /// This, and then nothing.
    Stall(String),
    /// This, byte by byte with so much time between.
    Slowly(String, Duration),
    /// `/health` leads to the given place, which says 200.
    Redirect(String),
    /// Nothing, and close.
    Leave,
    /// Over HTTP/2: this status and body.
    Http2(u16, &'static str),
    /// Over HTTP/2: the stream is refused.
    Http2Refused,
}

impl Script {
    pub(crate) fn status(line: &str) -> Self {
        Self::answer(line, "")
    }

    pub(crate) fn answer(line: &str, body: &str) -> Self {
        Self::Say(format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }
}

/// What a request was like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) sni: Option<String>,
    pub(crate) head: String,
    /// As long as the head says; over HTTP/1.1 only.
    pub(crate) body: String,
    pub(crate) resumed: bool,
}

/// A server on every address of 127.0.0.0/8, until dropped.
pub(crate) struct TlsServer {
    pub(crate) port: u16,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl TlsServer {
    pub(crate) fn start(config: ServerConfig, script: Script) -> Self {
        let listener = super::net::listen();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(Mutex::new(Arc::new(config)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (configs, hears) = (Arc::clone(&config), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let config = Arc::clone(&configs.lock().unwrap());
                tokio::spawn(serve(stream, config, script.clone(), Arc::clone(&hears)));
            }
        });
        Self { port, config, heard, task }
    }

    /// Goes on with another configuration.
    pub(crate) fn reconfigure(&self, config: ServerConfig) {
        *self.config.lock().unwrap() = Arc::new(config);
    }

    /// The requests so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, config: Arc<ServerConfig>, script: Script, heard: Arc<Mutex<Vec<Heard>>>) {
    // A client that does not like the certificate leaves here.
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    if let Script::Http2(..) | Script::Http2Refused = script {
        return serve_http2(stream, script, heard).await;
    }
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let connection = stream.get_ref().1;
    heard.lock().unwrap().push(Heard {
        sni: connection.server_name().map(str::to_owned),
        head: head.clone(),
        body: String::from_utf8(body).unwrap(),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    });
    match script {
        Script::Say(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Script::Stall(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.flush().await;
            let _ = stream.read(&mut byte).await;
        }
        Script::Slowly(text, pause) => {
            for part in text.as_bytes().chunks(1) {
                if stream.write_all(part).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
        Script::Redirect(to) => {
            let answer = if head.starts_with("GET /health ") {
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            } else {
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Script::Leave => {
            let _ = stream.shutdown().await;
        }
        Script::Http2(..) | Script::Http2Refused => unreachable!("served above"),
    }
}

async fn serve_http2(stream: TlsStream<TcpStream>, script: Script, heard: Arc<Mutex<Vec<Heard>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let head = format!("{:?} {}", request.version(), request.uri());
        heard.lock().unwrap().push(Heard { head, ..Heard::default() });
        let Script::Http2(status, body) = script else {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        };
        let response = http::Response::builder().status(status).body(()).unwrap();
        let mut send = respond.send_response(response, false).unwrap();
        send.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    }
}
