//! A client that says exactly what it is told to, and shows exactly what came.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in small letters.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// All that was promised came.
    pub(crate) whole: bool,
}

impl Answer {
    /// All fields of this name.
    pub(crate) fn field(&self, name: &str) -> String {
        let all = self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        all.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

pub(crate) async fn get(at: SocketAddr, target: &str, fields: &[(&str, &str)]) -> Answer {
    ask(at, "GET", target, fields, "").await
}

pub(crate) async fn ask(at: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    raw(at, request.as_bytes(), method == "HEAD").await
}

/// Sends these bytes, and reads one answer to the end of the connection.
pub(crate) async fn raw(at: SocketAddr, request: &[u8], head_alone: bool) -> Answer {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    // A connection that is reset ends an answer, too.
    let _ = stream.read_to_end(&mut bytes).await;
    parse(&bytes, head_alone)
}

/// The same, and says that nothing more comes.
pub(crate) async fn raw_and_shut(at: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    parse(&bytes, false)
}

pub(crate) fn parse(bytes: &[u8], head_alone: bool) -> Answer {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Answer { status: 0, fields: Vec::new(), body: bytes.to_vec(), whole: false };
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    if status == 100 {
        // Only that one may go on: the answer follows.
        return parse(&bytes[end + 4..], head_alone);
    }
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let rest = &bytes[end + 4..];
    let (body, whole) = if head_alone {
        (rest.to_vec(), rest.is_empty())
    } else if field("transfer-encoding").is_some() {
        unchunk(rest)
    } else {
        let length = field("content-length").and_then(|length| length.parse().ok());
        (rest.to_vec(), length.is_none_or(|length: usize| length == rest.len()))
    };
    Answer { status, fields, body, whole }
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let length = usize::from_str_radix(&String::from_utf8_lossy(&rest[..end]), 16).unwrap();
        rest = &rest[end + 2..];
        if length == 0 {
            return (body, true);
        }
        if rest.len() < length + 2 {
            body.extend(rest);
            return (body, false);
        }
        body.extend(&rest[..length]);
        rest = &rest[length + 2..];
    }
}
