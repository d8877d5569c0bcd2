//! A scanner for viruses: clamd, by INSTREAM, over a socket of this machine or over TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::config::rules::Clamd;
use crate::rules::ReadAt;

/// What is sent at once.
const PIECE: usize = 64 << 10;
/// Of an answer.
const LONGEST: u64 = 4096;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// What this signature describes.
    Virus(String),
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// Has `size` bytes looked at, all in all within `timeout`. Blocks.
pub(super) fn scan(clamd: &Clamd, timeout: Duration, size: u64, read_at: ReadAt<'_>) -> io::Result<Found> {
    let mut stream = connect(clamd, timeout)?;
    let since = Stopwatch::start();
    let sent = send(stream.as_mut(), size, read_at, &|| since.elapsed() > timeout);
    // Where it did not want to hear all of it, it may have said why.
    let mut answer = String::new();
    let received = stream.take(LONGEST).read_to_string(&mut answer);
    match (sent, received) {
        (_, Ok(length)) if length > 0 => judge(&answer),
        (Err(error), _) | (Ok(()), Err(error)) => Err(error),
        (Ok(()), Ok(_)) => Err(io::Error::new(ErrorKind::UnexpectedEof, "clamd did not answer")),
    }
}

fn connect(clamd: &Clamd, timeout: Duration) -> io::Result<Box<dyn Stream>> {
    match clamd {
        Clamd::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(Box::new(stream))
        }
        Clamd::Tcp(address) => {
            let mut last = io::Error::new(ErrorKind::NotFound, "clamd's host has no address");
            for address in address.to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, timeout) {
                    Ok(stream) => {
                        stream.set_read_timeout(Some(timeout))?;
                        stream.set_write_timeout(Some(timeout))?;
                        return Ok(Box::new(stream));
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

/// Pieces with their lengths before them, and one of none at the end.
fn send(stream: &mut dyn Stream, size: u64, read_at: ReadAt<'_>, is_late: &dyn Fn() -> bool) -> io::Result<()> {
    stream.write_all(b"zINSTREAM\0")?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let read = read_at(&mut buffer, at)?;
        if read == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file has become shorter"));
        }
        if is_late() {
            return Err(io::Error::new(ErrorKind::TimedOut, "clamd takes it too slowly"));
        }
        let length = u32::try_from(read).expect("a piece is small");
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&buffer[..read])?;
        at += read as u64;
    }
    stream.write_all(&0_u32.to_be_bytes())?;
    stream.flush()
}

/// Such as `stream: OK` and `stream: Eicar-Signature FOUND`.
fn judge(answer: &str) -> io::Result<Found> {
    let answer = answer.trim_end_matches(['\0', '\n', '\r']);
    match answer.strip_prefix("stream: ") {
        Some("OK") => Ok(Found::Nothing),
        Some(rest) if rest.ends_with(" FOUND") => Ok(Found::Virus(rest[..rest.len() - 6].to_owned())),
        _ => Err(io::Error::other(format!("clamd said {answer:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_to_be_clean_is() {
        assert_eq!(judge("stream: OK\0").unwrap(), Found::Nothing);
        assert_eq!(judge("stream: Eicar-Signature FOUND\0").unwrap(), Found::Virus("Eicar-Signature".to_owned()));
        for bad in ["", "OK", "stream: OK FOUND?", "stream: ", "INSTREAM size limit exceeded. ERROR", "stream: x ERROR"]
        {
            assert!(judge(bad).is_err(), "{bad}");
        }
    }
}
