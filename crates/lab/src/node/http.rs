//! One connection: TLS, requests, answers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Acceptors, Mode, REMEMBERED, Request, SHED_HEADER, SHED_STEPS, Shared, Stage, until_closed};

/// A request's head, at most.
const HEAD_LIMIT: usize = 16 * 1024;

/// A body that was asked for by its length, at most.
const BODY_LIMIT: usize = 16 << 20;

/// What is kept of a request's body, at most.
const BODY_KEPT: usize = 1024;

/// How long a client may take over a request; what is left open longer is closed.
const IDLE: Duration = Duration::from_secs(60);

pub(super) async fn converse(mut stream: TcpStream, acceptors: Arc<Acceptors>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mode = shared.state().mode.clone();
    match mode {
        Mode::Hang(Stage::Tls) => return until_closed(&mut stream).await,
        Mode::Reset => {
            // After its first byte the client knows that it is connected: it is a reset, not a refusal.
            let _ = stream.read(&mut [0; 1]).await;
            let _ = stream.set_zero_linger();
            return;
        }
        Mode::Plain => {
            let _ = stream.read(&mut [0; 1]).await;
            let _ =
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
            return until_closed(&mut stream).await;
        }
        _ => {}
    }
    let Some(acceptor) = acceptors.choose(&mode) else { return };
    let mut tls = match tokio::time::timeout(IDLE, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(_)) | Err(_) => {
            shared.state().seen.failed_handshakes += 1;
            return;
        }
    };
    let (sni, version) = {
        let session = tls.get_ref().1;
        let mut state = shared.state();
        state.seen.handshakes += 1;
        state.seen.resumed += u64::from(session.handshake_kind() == Some(HandshakeKind::Resumed));
        (session.server_name().map(str::to_owned), session.protocol_version().map(|v| format!("{v:?}")))
    };
    let mut buffer = Vec::new();
    while let Ok(Ok(Some(mut request))) = tokio::time::timeout(IDLE, read_request(&mut tls, &mut buffer)).await {
        request.sni.clone_from(&sni);
        request.tls_version = version.clone().unwrap_or_default();
        let mode = {
            let mut state = shared.state();
            if state.seen.requests.len() == REMEMBERED {
                state.seen.requests.pop_front();
            }
            state.seen.requests.push_back(request.clone());
            state.mode.clone()
        };
        match respond(&mut tls, &request, &mode, &shared).await {
            Ok(Next::Request) => {}
            Ok(Next::Hang) => return until_closed(&mut tls).await,
            Ok(Next::Close) => {
                let _ = tls.shutdown().await;
                return;
            }
            Ok(Next::Drop) | Err(_) => return,
        }
    }
}

/// What follows an answer.
enum Next {
    Request,
    Close,
    Hang,
    Drop,
}

async fn respond<S: AsyncWrite + Unpin>(
    out: &mut S,
    request: &Request,
    mode: &Mode,
    shared: &Shared,
) -> io::Result<Next> {
    let closes = request.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let mut send = async |status: u16, headers: &[(&str, &str)], body: &[u8]| {
        let mut head = format!("HTTP/1.1 {status} {}\r\nContent-Length: {}\r\n", phrase(status), body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(if closes { "Connection: close\r\n\r\n" } else { "\r\n" });
        let mut message = head.into_bytes();
        if request.method != "HEAD" {
            message.extend_from_slice(body);
        }
        out.write_all(&message).await?;
        out.flush().await?;
        Ok(if closes { Next::Close } else { Next::Request })
    };
    match mode {
        Mode::Hang(Stage::Http) => Ok(Next::Hang),
        Mode::Hang(Stage::Body) => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
            out.flush().await?;
            Ok(Next::Hang)
        }
        Mode::Cut => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning").await?;
            out.flush().await?;
            Ok(Next::Drop)
        }
        Mode::Endless => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n").await?;
            loop {
                // Ends when the client is gone and writing fails.
                out.write_all(&[b'.'; 4096]).await?;
                out.flush().await?;
                tokio::task::yield_now().await;
            }
        }
        Mode::Status(status) => send(*status, &[], b"so it was ordered\n").await,
        Mode::Shedding(seconds) => send(503, &[("Retry-After", &seconds.to_string())], b"too busy\n").await,
        Mode::BadBody => send(200, &[("Content-Type", "text/html")], b"<html><body>It works!</body></html>\n").await,
        Mode::Redirect(location) => send(302, &[("Location", location)], b"").await,
        Mode::Answer(answer) => {
            let headers: Vec<(&str, &str)> = answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            send(answer.status, &headers, &answer.body).await
        }
        Mode::Slow(time) => {
            tokio::time::sleep(*time).await;
            let (status, headers, body) = page(request, shared);
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            send(status, &headers, &body).await
        }
        // The others differ before the request, and Refuse and Reset never come to one.
        Mode::Healthy
        | Mode::Certificate(_)
        | Mode::Tls12
        | Mode::Plain
        | Mode::Refuse
        | Mode::Reset
        | Mode::Hang(Stage::Tls) => {
            let (status, headers, body) = page(request, shared);
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            send(status, &headers, &body).await
        }
    }
}

/// Status, headers and body.
type Page = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// What a healthy node has at this path.
fn page(request: &Request, shared: &Shared) -> Page {
    let plain = |status: u16, text: &str| (status, kind("text/plain"), text.as_bytes().to_vec());
    let is_trusted = match &shared.token {
        None => true,
        Some(token) => request.headers.get("authorization").and_then(|v| v.strip_prefix("Bearer ")) == Some(token),
    };
    let path = request.target.split('?').next().unwrap_or_default();
    if request.method == "PUT" && path == "/.witness/shed" {
        return match serde_json::from_slice(&request.body) {
            _ if !is_trusted => plain(403, "not with this token\n"),
            Ok(Shed { step, for_s }) if usize::from(step) < SHED_STEPS.len() => {
                shared.state().shed = Some((step, Instant::now() + Duration::from_secs(for_s)));
                (204, Vec::new(), Vec::new())
            }
            Ok(_) | Err(_) => plain(400, "no step and time\n"),
        };
    }
    if !["GET", "HEAD"].contains(&request.method.as_str()) {
        return plain(405, "only GET and HEAD\n");
    }
    let ordered = shared.state().ordered_step();
    if let Some(length) = path.strip_prefix("/bytes/").and_then(|length| length.parse().ok()) {
        let percent = SHED_STEPS[usize::from(ordered.unwrap_or(0))];
        let mut headers = kind("application/octet-stream");
        if percent < 100 {
            headers.push((SHED_HEADER, percent.to_string()));
        }
        return (200, headers, vec![b'.'; usize::min(length, BODY_LIMIT) * percent / 100]);
    }
    if path != "/.witness/health" {
        return plain(200, &format!("{} at your service\n", shared.name));
    }
    let mut health = shared.state().health.clone();
    health.shed_step = ordered.unwrap_or(health.shed_step);
    let document = if is_trusted {
        serde_json::to_vec(&health)
    } else {
        serde_json::to_vec(&BTreeMap::from([("status", &health.status)]))
    };
    (200, kind("application/json"), document.expect("texts and finite numbers always become JSON"))
}

/// An order to shed load.
#[derive(Deserialize)]
struct Shed {
    step: u8,
    for_s: u64,
}

fn kind(kind: &str) -> Vec<(&'static str, String)> {
    vec![("Content-Type", kind.to_owned())]
}

/// The next request, or `None` when the client has closed.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > HEAD_LIMIT {
            return Err(io::Error::other("the head of the request is too long"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) = (words.next(), words.next(), words.next()) else {
        return Err(io::Error::other("not a request of HTTP/1"));
    };
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut left: usize = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    while left > 0 {
        let here = left.min(buffer.len());
        let kept = here.min(BODY_KEPT - body.len());
        body.extend_from_slice(&buffer[..kept]);
        buffer.drain(..here);
        left -= here;
        if left > 0 && stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        sni: None,
        tls_version: String::new(),
        body,
    }))
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
