//! A tiny authoritative name server for one zone of address records, over UDP and TCP.
//!
//! It answers A, AAAA, SOA, NS and ANY with the AA bit, says NXDOMAIN or "no data" with the SOA, refuses what is not
//! in its zone, and does nothing else: no transfers, no updates, no DNSSEC, no delegations. The zone can change while
//! it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::worker::Worker;

/// What a response over UDP may measure when the query does not say.
const PLAIN_UDP: usize = 512;

/// What we offer over UDP: below any path's limit, as the DNS flag day of 2020 settled it.
const OUR_UDP: u16 = 1232;

/// How long a TCP client may be idle.
const IDLE: Duration = Duration::from_secs(10);

/// How long a resolver may remember that something is not there. Short: a demonstration is watched.
const NEGATIVE_TTL: u32 = 5;

/// The addresses at one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Seconds.
    pub ttl: u32,
    /// All of them A or all AAAA, as the key of the set says; others are passed over.
    pub addresses: BTreeSet<IpAddr>,
}

/// A zone of address records. As JSON it is what witness's mock registrar keeps in its file; keys that are of no
/// concern here are passed over:
///
/// ```json
/// {"zone": "example.com", "serial": 7, "sets": {"@ A": {"ttl": 60, "addresses": ["192.0.2.11"]}}}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Its name, without a final dot.
    pub zone: String,
    /// For the SOA.
    #[serde(default)]
    pub serial: u32,
    /// The key is a name relative to the zone (`@` is the zone itself), a space, and `A` or `AAAA`.
    #[serde(default)]
    pub sets: BTreeMap<String, Set>,
}

impl Zone {
    /// An empty zone.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { zone: name.to_owned(), serial: 1, sets: BTreeMap::new() }
    }

    /// Puts these addresses, and only these, at `owner` (`@` is the zone itself) and counts the serial up.
    pub fn put(&mut self, owner: &str, ttl: u32, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().collect();
        for (rtype, wanted) in [("A", true), ("AAAA", false)] {
            let of_type: BTreeSet<_> = addresses.iter().copied().filter(|a| a.is_ipv4() == wanted).collect();
            let key = format!("{owner} {rtype}");
            if of_type.is_empty() {
                self.sets.remove(&key);
            } else {
                self.sets.insert(key, Set { ttl, addresses: of_type });
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }
}

/// A zone that the server and its owner both hold.
#[derive(Clone, Debug, Default)]
pub struct SharedZone(Arc<Mutex<Zone>>);

impl SharedZone {
    /// Shares a zone.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self(Arc::new(Mutex::new(zone)))
    }

    /// The zone, to read or to change; the server waits while it is held.
    pub fn lock(&self) -> MutexGuard<'_, Zone> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the zone comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A value that can be changed.
    Shared(SharedZone),
    /// A JSON file, read again whenever it has changed. While it cannot be read, the last good one stays.
    File(PathBuf),
}

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Answer,
    /// Never answers.
    Silent,
    /// Answers everything with SERVFAIL.
    ServFail,
    /// Answers everything with REFUSED, as a server that has not loaded the zone.
    Refused,
    /// Answers without the AA bit, as a cache.
    NotAuthoritative,
    /// Tells every UDP client to come back over TCP.
    Truncate,
}

/// A running name server; dropping it frees the port.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    worker: Worker,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    last_good: Mutex<Loaded>,
    manner: Mutex<Manner>,
    queries: AtomicU64,
}

/// The zone as last read, and what told that the file had not changed since.
#[derive(Debug, Default)]
struct Loaded {
    zone: Zone,
    text: String,
}

impl DnsServer {
    /// Listens on `address`, UDP and TCP; port 0 picks one that is free for both.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub fn start(address: SocketAddr, source: Source) -> io::Result<Self> {
        Self::start_in(None, address, source)
    }

    /// The same inside the network namespace at `netns` (a path such as `/run/netns/NAME`).
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered or the address cannot be bound.
    pub fn start_in(netns: Option<PathBuf>, mut address: SocketAddr, source: Source) -> io::Result<Self> {
        if address.port() == 0 && netns.is_none() {
            address.set_port(crate::ports::free_on(address.ip()));
        }
        let shared = Arc::new(Shared {
            source,
            last_good: Mutex::default(),
            manner: Mutex::default(),
            queries: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        let (worker, address) = Worker::start("lab-dns", netns, move || async move {
            let tcp = TcpListener::bind(address).await?;
            let address = tcp.local_addr()?;
            let udp = UdpSocket::bind(address).await?;
            Ok((address, serve(udp, tcp, address.ip(), serving)))
        })?;
        Ok(Self { address, shared, worker })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many messages it has received, rubbish included.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.shared.queries.load(Ordering::Relaxed)
    }

    /// Behaves in this manner from now on.
    pub fn set_manner(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// Stops; the port is free when this returns.
    pub async fn stop(self) {
        self.worker.stop().await;
    }
}

async fn serve(udp: UdpSocket, tcp: TcpListener, own: IpAddr, shared: Arc<Shared>) {
    let over_udp = async {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            // An error is an earlier answer's: an ICMP message from a client that has gone.
            let Ok((length, client)) = udp.recv_from(&mut buffer).await else { continue };
            if let Some(reply) = shared.reply(&buffer[..length], own, Transport::Udp) {
                let _ = udp.send_to(&reply, client).await;
            }
        }
    };
    let over_tcp = async {
        loop {
            match tcp.accept().await {
                Ok((client, _)) => drop(tokio::spawn(serve_tcp(client, own, Arc::clone(&shared)))),
                // Out of descriptors, most likely: give those who hold them time.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::join!(over_udp, over_tcp);
}

async fn serve_tcp(mut client: TcpStream, own: IpAddr, shared: Arc<Shared>) {
    let conversation = async {
        loop {
            let length = client.read_u16().await?;
            let mut query = vec![0; usize::from(length)];
            client.read_exact(&mut query).await?;
            if let Some(reply) = shared.reply(&query, own, Transport::Tcp) {
                let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
                client.write_all(&[&length.to_be_bytes()[..], &reply].concat()).await?;
            }
        }
        #[expect(unreachable_code, reason = "gives the block its type")]
        io::Result::Ok(())
    };
    // One bound for the whole conversation is enough for a server of this size.
    let _ = tokio::time::timeout(IDLE, conversation).await;
}

impl Shared {
    fn reply(&self, query: &[u8], own: IpAddr, transport: Transport) -> Option<Vec<u8>> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let manner = *self.manner.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.source {
            Source::Shared(zone) => answer(&zone.lock(), own, query, transport, manner),
            Source::File(path) => {
                let mut last = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
                // The text itself is compared: a file may change twice within the resolution of its time stamp.
                if let Ok(text) = std::fs::read_to_string(path)
                    && text != last.text
                    && let Ok(zone) = serde_json::from_str(&text)
                {
                    *last = Loaded { zone, text };
                }
                answer(&last.zone, own, query, transport, manner)
            }
        }
    }
}

/// How a query arrived, which bounds the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// 512 bytes, or what the query's EDNS says.
    Udp,
    /// 65,535 bytes.
    Tcp,
}

/// The answer to one message, or `None` where a server keeps silent: to what is no query at all. `own` is the address
/// of the server itself, which its NS record leads to.
#[must_use]
pub fn answer(zone: &Zone, own: IpAddr, query: &[u8], transport: Transport, manner: Manner) -> Option<Vec<u8>> {
    // Whatever has no whole header or is itself a response gets no answer, or two servers could talk for ever.
    if query.len() < 12 || query[2] & 0x80 != 0 || manner == Manner::Silent {
        return None;
    }
    let Ok(request) = Message::from_vec(query) else {
        let id = u16::from_be_bytes([query[0], query[1]]);
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.queries.clone_from(&request.queries);
    let mut limit = if transport == Transport::Tcp { usize::from(u16::MAX) } else { PLAIN_UDP };
    if let Some(edns) = &request.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(OUR_UDP);
        response.set_edns(ours);
        limit = limit.max(usize::from(edns.max_payload().min(OUR_UDP)));
    }
    let code = match (manner, request.metadata.op_code, request.queries.as_slice()) {
        (Manner::ServFail, ..) => ResponseCode::ServFail,
        (Manner::Refused, ..) => ResponseCode::Refused,
        (_, OpCode::Query, [question]) => {
            look_up(zone, own, &question.name, question.query_type, question.query_class, &mut response)
        }
        (_, OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    response.metadata.response_code = code;
    if manner == Manner::NotAuthoritative {
        response.metadata.authoritative = false;
    }
    let whole = response.to_vec().ok()?;
    if whole.len() <= limit && !(manner == Manner::Truncate && transport == Transport::Udp) {
        return Some(whole);
    }
    response.answers.clear();
    response.authorities.clear();
    response.additionals.clear();
    response.metadata.truncation = true;
    response.to_vec().ok()
}

/// Fills in the sections and returns the code.
fn look_up(
    zone: &Zone,
    own: IpAddr,
    name: &Name,
    rtype: RecordType,
    class: DNSClass,
    response: &mut Message,
) -> ResponseCode {
    let Ok(apex) = Name::from_ascii(format!("{}.", zone.zone.trim_end_matches('.'))) else {
        return ResponseCode::ServFail;
    };
    if zone.zone.is_empty() || class != DNSClass::IN || !apex.zone_of(name) || rtype == RecordType::AXFR {
        return ResponseCode::Refused;
    }
    response.metadata.authoritative = true;
    let Ok(server) = Name::from_ascii("ns1").and_then(|label| label.append_domain(&apex)) else {
        return ResponseCode::ServFail;
    };
    let soa = || {
        let Ok(mailbox) = Name::from_ascii("hostmaster").and_then(|label| label.append_domain(&apex)) else {
            return Vec::new();
        };
        let soa = SOA::new(server.clone(), mailbox, zone.serial, 3600, 600, 86_400, NEGATIVE_TTL);
        vec![Record::from_rdata(apex.clone(), NEGATIVE_TTL, RData::SOA(soa))]
    };
    let wants = |offered: RecordType| rtype == offered || rtype == RecordType::ANY;
    let at_apex = *name == apex;
    let mut exists = at_apex;
    for (owner, offered, set) in parsed_sets(zone, &apex) {
        // A name above one that exists is there too, without records.
        exists |= name.zone_of(&owner);
        if owner == *name && wants(offered) {
            // The owner as it was asked for, capitals and all: some resolvers check them.
            response.answers.extend(set.addresses.iter().filter_map(|a| address_record(name, offered, set.ttl, *a)));
        }
    }
    if *name == server && !exists {
        exists = true;
        let offered = if own.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        if wants(offered) {
            response.answers.extend(address_record(name, offered, NEGATIVE_TTL, own));
        }
    }
    if at_apex && wants(RecordType::NS) {
        response.answers.push(Record::from_rdata(apex.clone(), NEGATIVE_TTL, RData::NS(NS(server.clone()))));
    }
    if at_apex && wants(RecordType::SOA) {
        response.answers.extend(soa());
    }
    if response.answers.is_empty() {
        response.authorities = soa();
    }
    if exists { ResponseCode::NoError } else { ResponseCode::NXDomain }
}

/// The sets with whole names; keys that make no sense are passed over.
fn parsed_sets<'a>(zone: &'a Zone, apex: &Name) -> Vec<(Name, RecordType, &'a Set)> {
    let parse = |(key, set): (&'a String, &'a Set)| {
        let (owner, rtype) = key.split_once(' ')?;
        let rtype = match rtype {
            "A" => RecordType::A,
            "AAAA" => RecordType::AAAA,
            _ => return None,
        };
        if set.addresses.is_empty() {
            return None;
        }
        let owner = if owner == "@" { apex.clone() } else { Name::from_ascii(owner).ok()?.append_domain(apex).ok()? };
        Some((owner, rtype, set))
    };
    zone.sets.iter().filter_map(parse).collect()
}

fn address_record(name: &Name, rtype: RecordType, ttl: u32, address: IpAddr) -> Option<Record> {
    let data = match (address, rtype) {
        (IpAddr::V4(address), RecordType::A) => RData::A(A(address)),
        (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(address)),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), ttl, data))
}

#[cfg(test)]
mod tests;
