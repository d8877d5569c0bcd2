//! Sockets: a question over UDP, and over TCP where the answer does not fit.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType as WireType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::DnsError;
use super::wire::{Answer, AuthoritativeAnswer, MAX_UDP, Question, parse_answer};
use crate::model::RecordType;

/// How often a question is sent over UDP before its time is up.
const ATTEMPTS: u32 = 3;
/// How many datagrams that are no answer to our question are passed over before we take it for an attack.
const STRAYS: u32 = 64;

/// Asks `server` for the addresses at `name`, without recursion. The whole takes no longer than `timeout`.
///
/// No such name and no such set are answers without addresses.
///
/// # Errors
/// [`DnsError`]; [`DnsError::Refused`] for every other answer than success and no such name.
pub async fn ask_addresses(
    server: SocketAddr,
    name: &str,
    rtype: RecordType,
    timeout: Duration,
) -> Result<AuthoritativeAnswer, DnsError> {
    let question = Question::new(name, wire_type(rtype))?;
    let answer = ask(server, &question, false, timeout).await?;
    expect_success(&answer, &question, server, true)?;
    Ok(answer.addresses(&question))
}

/// Asks `server` for the serial of `zone`, which it must be authoritative for.
///
/// # Errors
/// [`DnsError`], also where the server does not speak for the zone.
pub async fn ask_serial(server: SocketAddr, zone: &str, timeout: Duration) -> Result<u32, DnsError> {
    let question = Question::new(zone, WireType::SOA)?;
    let answer = ask(server, &question, false, timeout).await?;
    expect_success(&answer, &question, server, false)?;
    answer
        .serial(&question)
        .filter(|_| answer.authoritative)
        .ok_or_else(|| DnsError::Rubbish { why: format!("{server} is not authoritative for {zone}") })
}

/// Asks anything. An answer of any kind is `Ok`.
///
/// # Errors
/// [`DnsError`] where there is none.
pub async fn ask(
    server: SocketAddr,
    question: &Question,
    recursion: bool,
    timeout: Duration,
) -> Result<Answer, DnsError> {
    let deadline = deadline(timeout);
    let slice = timeout / ATTEMPTS;
    let mut edns = true;
    let mut last = DnsError::Timeout { server, timeout };
    for attempt in 1..=ATTEMPTS {
        let until = if attempt == ATTEMPTS { deadline } else { (Instant::now() + slice).min(deadline) };
        match ask_udp(server, question, recursion, edns, until, timeout).await {
            // Servers from before EDNS say so in these ways (RFC 6891, section 7).
            Ok(answer) if edns && matches!(answer.rcode, ResponseCode::FormErr | ResponseCode::NotImp) => {
                edns = false;
                last = DnsError::Rubbish { why: format!("{server} answered {}", rcode_name(answer.rcode)) };
                if attempt == ATTEMPTS {
                    return Ok(answer);
                }
            }
            Ok(answer) if answer.truncated => {
                return ask_tcp(server, question, recursion, deadline, timeout).await;
            }
            Ok(answer) => return Ok(answer),
            Err(error @ DnsError::Timeout { .. }) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn ask_udp(
    server: SocketAddr,
    question: &Question,
    recursion: bool,
    edns: bool,
    until: Instant,
    timeout: Duration,
) -> Result<Answer, DnsError> {
    let unreachable = |error: io::Error| DnsError::Unreachable { server, why: error.to_string() };
    // A new socket each time: a new port each time. Connected, so that only the server's datagrams arrive.
    let here = if server.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(here).await.map_err(unreachable)?;
    socket.connect(server).await.map_err(unreachable)?;
    let message = question.message(recursion, edns);
    socket.send(&encode(&message)?).await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(MAX_UDP).max(4096)];
    for _ in 0..STRAYS {
        let length = match timeout_at(until, socket.recv(&mut buffer)).await {
            Err(_) => return Err(DnsError::Timeout { server, timeout }),
            Ok(Err(error)) => return Err(unreachable(error)),
            Ok(Ok(length)) => length,
        };
        match parse_answer(&buffer[..length], message.metadata.id, question) {
            Ok(answer) => return Ok(answer),
            // Too long for a datagram, and cut in the middle of a record: what it says is that it is cut.
            Err(_) if is_truncated(&buffer[..length], message.metadata.id) => {
                return ask_tcp(server, question, recursion, until, timeout).await;
            }
            Err(_) => {}
        }
    }
    Err(DnsError::Rubbish { why: format!("{STRAYS} datagrams from {server} answer something else") })
}

async fn ask_tcp(
    server: SocketAddr,
    question: &Question,
    recursion: bool,
    deadline: Instant,
    timeout: Duration,
) -> Result<Answer, DnsError> {
    let mut connection = Connection::open(server, deadline, timeout).await?;
    connection.ask(question, recursion).await
}

/// A conversation over TCP.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    server: SocketAddr,
    deadline: Instant,
    timeout: Duration,
    answered: bool,
}

impl Connection {
    /// Connects. Everything said over it ends at `deadline`; `timeout` is for the error's words.
    pub(crate) async fn open(server: SocketAddr, deadline: Instant, timeout: Duration) -> Result<Self, DnsError> {
        match timeout_at(deadline, TcpStream::connect(server)).await {
            Err(_) => Err(DnsError::Unreachable { server, why: format!("connecting took longer than {timeout:?}") }),
            Ok(Err(error)) => Err(DnsError::Unreachable { server, why: error.to_string() }),
            Ok(Ok(stream)) => {
                // Without this the answer may wait for an acknowledgement; that it could not be set does no harm.
                let _ = stream.set_nodelay(true);
                Ok(Self { stream, server, deadline, timeout, answered: false })
            }
        }
    }

    /// Asks one question. A server that ends the conversation after an answer is called again.
    pub(crate) async fn ask(&mut self, question: &Question, recursion: bool) -> Result<Answer, DnsError> {
        match self.ask_once(question, recursion).await {
            Err(DnsError::Broken { .. }) if self.answered => {
                *self = Self::open(self.server, self.deadline, self.timeout).await?;
                self.ask_once(question, recursion).await
            }
            answer => answer,
        }
    }

    async fn ask_once(&mut self, question: &Question, recursion: bool) -> Result<Answer, DnsError> {
        let message = question.message(recursion, false);
        self.send(&encode(&message)?).await?;
        let bytes = self.receive().await?;
        self.answered = true;
        parse_answer(&bytes, message.metadata.id, question)
    }

    /// Sends one message.
    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<(), DnsError> {
        let length = u16::try_from(message.len())
            .map_err(|_| DnsError::Rubbish { why: format!("{} bytes are too long to send", message.len()) })?;
        let mut framed = Vec::with_capacity(message.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(message);
        match timeout_at(self.deadline, self.stream.write_all(&framed)).await {
            Err(_) => Err(self.too_late()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Receives one message.
    pub(crate) async fn receive(&mut self) -> Result<Vec<u8>, DnsError> {
        let mut length = [0; 2];
        self.fill(&mut length).await?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.fill(&mut message).await?;
        Ok(message)
    }

    async fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DnsError> {
        match timeout_at(self.deadline, self.stream.read_exact(buffer)).await {
            Err(_) => Err(self.too_late()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Ok(Ok(_)) => Ok(()),
        }
    }

    fn too_late(&self) -> DnsError {
        DnsError::Timeout { server: self.server, timeout: self.timeout }
    }

    fn broken(&self, error: &io::Error) -> DnsError {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            _ => error.to_string(),
        };
        DnsError::Broken { server: self.server, why }
    }
}

/// When `timeout` from now is.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout
}

/// Passes success, and with `absence` no such name, which is an answer too.
pub(crate) fn expect_success(
    answer: &Answer,
    question: &Question,
    server: SocketAddr,
    absence: bool,
) -> Result<(), DnsError> {
    match answer.rcode {
        ResponseCode::NoError => Ok(()),
        ResponseCode::NXDomain if absence => Ok(()),
        rcode => Err(DnsError::Refused {
            server,
            name: question.name.to_ascii(),
            rtype: question.rtype.to_string(),
            rcode: rcode_name(rcode),
        }),
    }
}

/// The code's name as other tools print it: `SERVFAIL`.
pub(crate) fn rcode_name(rcode: ResponseCode) -> String {
    match rcode {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        ResponseCode::YXRRSet => "YXRRSET",
        ResponseCode::NXRRSet => "NXRRSET",
        ResponseCode::NotAuth => "NOTAUTH",
        ResponseCode::NotZone => "NOTZONE",
        other => return format!("RCODE {}", u16::from(other)),
    }
    .to_owned()
}

pub(crate) fn wire_type(rtype: RecordType) -> WireType {
    match rtype {
        RecordType::A => WireType::A,
        RecordType::Aaaa => WireType::AAAA,
    }
}

pub(crate) fn encode(message: &Message) -> Result<Vec<u8>, DnsError> {
    message.to_vec().map_err(|error| DnsError::Rubbish { why: format!("the message cannot be written: {error}") })
}

fn is_truncated(bytes: &[u8], id: u16) -> bool {
    bytes.len() >= 12 && bytes[..2] == id.to_be_bytes() && bytes[2] & 0x82 == 0x82
}
