//! The PROXY protocol, versions 1 and 2: whom a load balancer forwards for.
//!
//! Only the header is taken from the stream, to the byte: what follows it is the client's, TLS included.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How version 2 begins; no HTTP does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 1, with its end of line.
const LONGEST_LINE: usize = 107;
/// Of version 2, behind its first 16 bytes; more than addresses and all that is known to follow them take.
const LONGEST_REST: usize = 4096;

/// Reads the header, and gives the client's address; none where the load balancer speaks for itself.
///
/// # Errors
///
/// When there is no header, or one that cannot be understood.
pub(super) async fn read_header(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if length > LONGEST_REST {
            return Err(wrong("it is too long"));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        return version_2(rest[0], rest[1], &body);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(wrong("there is none"));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        let mut some = [0; LONGEST_LINE];
        let left = LONGEST_LINE.saturating_sub(line.len());
        if left == 0 {
            return Err(wrong("its line does not end"));
        }
        let seen = stream.peek(&mut some[..left]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // What is behind the line's end stays where it is.
        let taken = some[..seen].iter().position(|byte| *byte == b'\n').map_or(seen, |at| at + 1);
        stream.read_exact(&mut some[..taken]).await?;
        line.extend_from_slice(&some[..taken]);
    }
    version_1(&line)
}

fn wrong(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the PROXY header cannot be understood: {message}"))
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`.
fn version_1(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let line = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or_else(|| wrong("its line is no text"))?.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let family = next();
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (source, destination) = (next().parse::<IpAddr>(), next().parse::<IpAddr>());
    let (port, other_port) = (next().parse::<u16>(), next().parse::<u16>());
    let (Ok(source), Ok(destination), Ok(port), Ok(_), None) = (source, destination, port, other_port, words.next())
    else {
        return Err(wrong("two addresses and two ports belong in it"));
    };
    match family {
        "TCP4" if source.is_ipv4() && destination.is_ipv4() => Ok(Some((source, port).into())),
        "TCP6" if source.is_ipv6() && destination.is_ipv6() => Ok(Some((source, port).into())),
        _ => Err(wrong("its addresses are of another family")),
    }
}

fn version_2(command: u8, family: u8, body: &[u8]) -> io::Result<Option<SocketAddr>> {
    match command {
        // The load balancer itself, to see whether somebody is there.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(wrong("it is of another version")),
    }
    let port = |at: usize| body.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let short = || wrong("it is too short for its addresses");
    match family {
        0x11 => {
            let source: [u8; 4] = body.get(..4).and_then(|source| source.try_into().ok()).ok_or_else(short)?;
            let (Some(port), Some(_)) = (port(8), port(10)) else { return Err(short()) };
            Ok(Some((Ipv4Addr::from(source), port).into()))
        }
        0x21 => {
            let source: [u8; 16] = body.get(..16).and_then(|source| source.try_into().ok()).ok_or_else(short)?;
            let (Some(port), Some(_)) = (port(32), port(34)) else { return Err(short()) };
            Ok(Some((Ipv6Addr::from(source), port).into()))
        }
        // Sockets of another kind, or what has no address: as if the load balancer spoke for itself.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Sends `bytes` in pieces of `size`; gives what was read of the header, and what is left for the client.
    async fn read(bytes: &[u8], size: usize) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in bytes.chunks(size) {
                let _ = stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let header = read_header(&mut stream).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        (header, rest)
    }

    fn version_2_of(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn the_client_is_whom_the_header_names_and_nothing_else_is_taken() {
        let v4 = [192, 0, 2, 7, 192, 0, 2, 1, 0x30, 0x39, 0, 80];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[15] = 7;
        v6[32..34].copy_from_slice(&[0x30, 0x39]);
        let more = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        let unix = [1; 216];
        let cases: &[(Vec<u8>, Option<&str>)] = &[
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 80\r\n".to_vec(), Some("192.0.2.7:12345")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 80\r\n".to_vec(), Some("[2001:db8::7]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n".to_vec(), None),
            (version_2_of(0x21, 0x11, &v4), Some("192.0.2.7:12345")),
            (version_2_of(0x21, 0x21, &v6), Some("[2001:db8::7]:12345")),
            (version_2_of(0x21, 0x11, &more), Some("192.0.2.7:12345")),
            (version_2_of(0x20, 0, &[]), None),
            (version_2_of(0x20, 0x11, &v4), None),
            (version_2_of(0x21, 0x31, &unix), None),
        ];
        for (header, expected) in cases {
            for size in [1, 7, 1000] {
                let bytes = [header.as_slice(), b"GET / HTTP/1.1\r\n\r\n"].concat();
                let (client, rest) = read(&bytes, size).await;
                let client = client.unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(header)));
                assert_eq!(client, expected.map(|expected| expected.parse().unwrap()));
                assert_eq!(rest, b"GET / HTTP/1.1\r\n\r\n", "{:?}", String::from_utf8_lossy(header));
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        for wrong in [
            &b"GET / HTTP/1.1\r\nHost: files.example.com\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.7 192.0.2.1 12345\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 80 1\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 80\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 12345 80\r\n",
            b"PROXY TCP6 192.0.2.7 192.0.2.1 12345 80\r\n",
            b"PROXY UDP4 192.0.2.7 192.0.2.1 12345 80\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 80\n",
            b"PROXY TCP4 files.example.com 192.0.2.1 12345 80\r\n",
            b"PROXY TCP4 192.0.2.7",
            long.as_bytes(),
            &version_2_of(0x21, 0x11, &[0; 11]),
            &version_2_of(0x21, 0x21, &[0; 35]),
            &version_2_of(0x11, 0x11, &[0; 12]),
            &version_2_of(0x22, 0x11, &[0; 12]),
            &version_2_of(0x21, 0x11, &[0; 5000]),
            &SIGNATURE[..],
            b"",
        ] {
            assert!(read(wrong, 1000).await.0.is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
    }
}
