//! As much of HTTP/1.1 as the API needs: one request and one answer per connection.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const LONGEST_HEAD: usize = 64 << 10;
const LONGEST_BODY: usize = 8 << 20;

/// A request, its query and form merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// The query's first, then the form's.
    pub(super) parameters: Vec<(String, String)>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The last value given for `name`, whatever its case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Reply {
    pub(super) fn xml(body: String) -> Self {
        Self { status: 200, reason: "OK".to_owned(), content_type: "text/xml; charset=utf-8", body: body.into_bytes() }
    }

    pub(super) fn html(status: u16, reason: &str) -> Self {
        let body = format!("<!DOCTYPE html>\r\n<html><head><title>{status} {reason}</title></head></html>\r\n");
        Self { status, reason: reason.to_owned(), content_type: "text/html", body: body.into_bytes() }
    }

    pub(super) fn text(status: u16, reason: &str, text: &str) -> Self {
        Self { status, reason: reason.to_owned(), content_type: "text/plain", body: text.as_bytes().to_vec() }
    }
}

/// Reads one request.
///
/// # Errors
/// `InvalidData` when what came is no request we take, else whatever the connection says.
pub(super) fn read(stream: &mut TcpStream) -> io::Result<Request> {
    let (head, mut body) = read_head(stream)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Err(invalid("not an HTTP/1.1 request line"));
    };
    if !["GET", "POST"].contains(&method) {
        return Err(invalid("neither GET nor POST"));
    }
    let (mut length, mut is_form) = (0, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Err(invalid("a header without a colon")) };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| invalid("a length that is no number"))?,
            "transfer-encoding" => return Err(invalid("chunks are not taken, send a length")),
            "content-type" => is_form = value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"),
            "expect" => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?,
            _ => {}
        }
    }
    if length > LONGEST_BODY || body.len() > length {
        return Err(invalid("a body that is too long"));
    }
    let have = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[have..])?;
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut parameters = pairs(query.as_bytes());
    if is_form {
        parameters.extend(pairs(&body));
    }
    Ok(Request { method: method.to_owned(), target: target.to_owned(), parameters })
}

/// The head without its last empty line, and what came of the body with it.
fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            bytes.truncate(end);
            let head = String::from_utf8(bytes).map_err(|_| invalid("a head that is not UTF-8"))?;
            return Ok((head, body));
        }
        if bytes.len() > LONGEST_HEAD {
            return Err(invalid("a head that is too long"));
        }
    }
}

/// Reads `name=value&...` as a browser writes a form.
fn pairs(text: &[u8]) -> Vec<(String, String)> {
    text.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            (decoded(halves.next().unwrap_or_default()), decoded(halves.next().unwrap_or_default()))
        })
        .collect()
}

fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match (first, more) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Writes a whole answer and closes.
pub(super) fn write(stream: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    stream.write_all(&head(reply))?;
    stream.write_all(&reply.body)?;
    stream.shutdown(Shutdown::Write)
}

/// Writes half of an answer and resets the connection.
pub(super) fn write_and_reset(stream: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    stream.write_all(&head(reply))?;
    stream.write_all(&reply.body[..reply.body.len() / 2])?;
    rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?;
    Ok(())
}

fn head(reply: &Reply) -> Vec<u8> {
    let location = if (300..400).contains(&reply.status) { "Location: /elsewhere\r\n" } else { "" };
    format!(
        "HTTP/1.1 {} {}\r\n{location}Content-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        reply.status,
        reply.reason,
        reply.content_type,
        reply.body.len()
    )
    .into_bytes()
}

/// Keeps the connection open and silent until the other side leaves or `stop`.
pub(super) fn hold(stream: &mut TcpStream, stop: impl Fn() -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    while !stop() {
        match stream.read(&mut [0; 512]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sleeps for `delay`, or until `stop`.
pub(super) fn pause(delay: Duration, stop: impl Fn() -> bool) {
    let step = Duration::from_millis(20);
    let mut left = delay;
    while !left.is_zero() && !stop() {
        std::thread::sleep(left.min(step));
        left = left.saturating_sub(step);
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_as_browsers_encode_them() {
        let wanted = [("a", "1 2+3"), ("b", "ü&=%"), ("c", ""), ("d", "%zz%"), ("e", "x=y")];
        let found = pairs(b"a=1+2%2B3&b=%c3%BC%26%3D%25&&c&d=%zz%&e=x=y");
        assert_eq!(found, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_last_of_several_parameters_counts_whatever_its_case() {
        let parameters = pairs(b"Command=one&command=two");
        let request = Request { method: "GET".to_owned(), target: "/x?y".to_owned(), parameters };
        assert_eq!(request.parameter("COMMAND"), Some("two"));
        assert_eq!(request.parameter("other"), None);
        assert_eq!(request.path(), "/x");
    }
}
