//! Asking authoritative servers whether they show a change, and finding them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType as WireType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use witness::clock;
use witness::dns::publication::{Event, Publication, check_once, watch};
use witness::dns::{DnsError, Resolvers, ask_addresses, ask_serial};
use witness::model::{PublishedSets, RecordSet, RecordType};
use witness::registrar::Registrar as _;
use witness_lab::nameserver::Kind;

use crate::rfc2136::start;
use crate::world::{TIMEOUT, ZONE, apex, approved, change, ips, key};

/// A name server that says what it is told to, over UDP and TCP.
struct Toy {
    address: SocketAddr,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Toy {
    async fn start(answer: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Clone + Send + Sync + 'static) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // Its number may be taken for UDP.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let also = answer.clone();
        let over_udp = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                for datagram in answer(&Message::from_vec(&buffer[..length]).unwrap(), false) {
                    udp.send_to(&datagram, from).await.unwrap();
                }
            }
        });
        let over_tcp = tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    stream.read_exact(&mut question).await.unwrap();
                    for message in also(&Message::from_vec(&question).unwrap(), true) {
                        stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
                        stream.write_all(&message).await.unwrap();
                    }
                }
            }
        });
        Self { address, tasks: vec![over_udp, over_tcp] }
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Where nobody answers: port 1 is given to a service that nobody runs, and no other is put there by chance.
fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

/// The beginning of an answer to `question`.
fn reply(question: &Message) -> Message {
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.authoritative = true;
    reply.add_queries(question.queries.iter().cloned());
    reply
}

fn with_addresses(question: &Message, last: impl IntoIterator<Item = u8>) -> Message {
    let mut reply = reply(question);
    for last in last {
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
        reply.add_answer(Record::from_rdata(question.queries[0].name().clone(), 60, data));
    }
    reply
}

fn wanted(addresses: &[&str]) -> PublishedSets {
    [(apex(), RecordSet { ttl: 60, addresses: ips(addresses) })].into()
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let toy = Toy::start(|question, tcp| {
        let mut reply = with_addresses(question, if tcp { 0..200 } else { 0..3 });
        reply.metadata.truncation = !tcp;
        vec![reply.to_vec().unwrap()]
    })
    .await;
    let found = ask_addresses(toy.address, ZONE, RecordType::A, TIMEOUT).await.unwrap();
    assert_eq!(found.addresses.len(), 200);
    assert!(found.aa);
}

#[tokio::test]
async fn datagrams_that_answer_something_else_are_passed_over() {
    let toy = Toy::start(|question, _| {
        let mut forged = with_addresses(question, [66]);
        forged.metadata.id ^= 1;
        let mut other = with_addresses(question, [67]);
        other.queries[0].set_name(Name::from_ascii("other.example.com.").unwrap());
        let good = with_addresses(question, [11]);
        let mut all: Vec<Vec<u8>> = [forged, other].iter().map(|message| message.to_vec().unwrap()).collect();
        all.push(b"rubbish".to_vec());
        all.push(Vec::new());
        all.push(good.to_vec().unwrap());
        all
    })
    .await;
    let found = ask_addresses(toy.address, ZONE, RecordType::A, TIMEOUT).await.unwrap();
    assert_eq!(found.addresses, ips(&["192.0.2.11"]));
}

#[tokio::test]
async fn nothing_but_rubbish_is_an_error() {
    let toy = Toy::start(|_, _| vec![b"rubbish".to_vec(); 100]).await;
    let error = ask_addresses(toy.address, ZONE, RecordType::A, Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(error, DnsError::Rubbish { .. } | DnsError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let toy = Toy::start(move |question, _| {
        // The first is lost.
        let lost = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        if lost { Vec::new() } else { vec![with_addresses(question, [11]).to_vec().unwrap()] }
    })
    .await;
    let found = ask_addresses(toy.address, ZONE, RecordType::A, Duration::from_secs(6)).await.unwrap();
    assert_eq!(found.addresses, ips(&["192.0.2.11"]));
}

#[tokio::test]
async fn a_server_from_before_edns_is_asked_without() {
    let toy = Toy::start(|question, _| {
        let mut reply = with_addresses(question, [11]);
        if question.edns.is_some() {
            reply.answers.clear();
            reply.metadata.response_code = ResponseCode::FormErr;
        }
        vec![reply.to_vec().unwrap()]
    })
    .await;
    let found = ask_addresses(toy.address, ZONE, RecordType::A, TIMEOUT).await.unwrap();
    assert_eq!(found.addresses, ips(&["192.0.2.11"]));
}

#[tokio::test]
async fn silence_refusal_and_absence_are_three_things() {
    let silent = Toy::start(|_, _| Vec::new()).await;
    let error = ask_addresses(silent.address, ZONE, RecordType::A, Duration::from_millis(600)).await.unwrap_err();
    assert!(matches!(error, DnsError::Timeout { .. }), "{error:?}");
    let refusing = Toy::start(|question, _| {
        let mut reply = reply(question);
        reply.metadata.response_code = ResponseCode::Refused;
        vec![reply.to_vec().unwrap()]
    })
    .await;
    let error = ask_addresses(refusing.address, ZONE, RecordType::A, TIMEOUT).await.unwrap_err();
    assert!(error.to_string().contains("REFUSED"), "{error}");
    let empty = Toy::start(|question, _| {
        let mut reply = reply(question);
        reply.metadata.response_code = ResponseCode::NXDomain;
        let name = || Name::from_ascii("example.com.").unwrap();
        let soa = SOA::new(name(), name(), 42, 1, 1, 1, 60);
        reply.add_authority(Record::from_rdata(name(), 60, RData::SOA(soa)));
        vec![reply.to_vec().unwrap()]
    })
    .await;
    let found = ask_addresses(empty.address, "nowhere.example.com", RecordType::A, TIMEOUT).await.unwrap();
    assert!(found.addresses.is_empty() && found.aa);
    assert_eq!(found.serial, Some(42));
    let away = nobody();
    let error = ask_addresses(away, ZONE, RecordType::A, TIMEOUT).await.unwrap_err();
    assert!(matches!(error, DnsError::Unreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_servers_of_a_zone_are_found_through_resolvers() {
    let resolver = Toy::start(|question, _| {
        assert!(question.metadata.recursion_desired);
        let mut reply = reply(question);
        let asked = &question.queries[0];
        let name = asked.name().to_ascii();
        match (name.as_str(), asked.query_type()) {
            ("example.com.", WireType::NS) => {
                for ns in ["NS2.example.net.", "ns1.example.net.", "lame.example.net."] {
                    let data = RData::NS(NS(Name::from_ascii(ns).unwrap()));
                    reply.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
                }
            }
            ("ns1.example.net.", WireType::A) => reply = with_addresses(question, [1, 2]),
            ("ns2.example.net.", WireType::A) => reply = with_addresses(question, [3]),
            _ => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        vec![reply.to_vec().unwrap()]
    })
    .await;
    // The first resolver is down.
    let servers = vec![nobody(), resolver.address];
    let resolvers = Resolvers { servers, timeout: Duration::from_secs(10) };
    let found = resolvers.nameservers("example.com").await.unwrap();
    let expected: [(&str, &[&str]); 3] = [
        ("lame.example.net", &[]),
        ("ns1.example.net", &["192.0.2.1:53", "192.0.2.2:53"]),
        ("ns2.example.net", &["192.0.2.3:53"]),
    ];
    let expected: Vec<(String, Vec<SocketAddr>)> = expected
        .map(|(name, addresses)| (name.to_owned(), addresses.iter().map(|a| a.parse().unwrap()).collect()))
        .into();
    assert_eq!(found, expected);
    let error = resolvers.nameservers("www.example.com").await.unwrap_err();
    assert!(matches!(error, DnsError::NoNameserver { .. }), "{error:?}");
    let down = Resolvers { servers: vec![nobody()], timeout: Duration::from_secs(1) };
    assert!(matches!(down.nameservers("example.com").await, Err(DnsError::Unreachable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_on_each_server_and_one_that_is_down_is_told_of() {
    let Some(server) = start(Kind::Knot) else { return };
    let away = nobody();
    let lame = Toy::start(|question, _| {
        let mut reply = with_addresses(question, [11, 13, 99]);
        reply.metadata.authoritative = false;
        vec![reply.to_vec().unwrap()]
    })
    .await;
    let servers = [away, server.address(), lame.address];
    let wanted = wanted(&["192.0.2.11", "192.0.2.13", "192.0.2.99"]);

    // Before the change; the copy goes through JSON, as between two runs.
    let mut publication = Publication::new(ZONE, wanted.clone(), &servers, clock::now());
    publication.look(Duration::MAX, |_| {}).await;
    assert!(publication.servers.iter().all(|report| report.seen_at.is_none()));
    assert_eq!(publication.servers[1].last, "@ A: 192.0.2.11 192.0.2.12 192.0.2.13 192.0.2.99");
    let written = serde_json::to_string(&publication).unwrap();

    let settings = witness::model::Rfc2136Settings {
        server: server.address(),
        key_name: Some(witness_lab::nameserver::KEY_NAME.to_owned()),
        algorithm: witness::model::TsigAlgorithm::HmacSha256,
        key: Some(witness::model::Secret::new(witness_lab::nameserver::KEY_SECRET)),
    };
    let registrar = witness::registrar::Rfc2136::new(&settings, ZONE, TIMEOUT).unwrap();
    let reading = registrar.observe(&[apex()]).await.unwrap();
    let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
    registrar.apply(&reading, &plan).await;

    let mut publication: Publication = serde_json::from_str(&written).unwrap();
    let mut told = Vec::new();
    publication
        .look(Duration::ZERO, |event| {
            told.push(match event {
                Event::Seen(report) => ("seen", report.server),
                Event::Changed(report) => ("changed", report.server),
                Event::Late(report) => ("late", report.server),
            });
        })
        .await;
    assert_eq!(told, [("seen", server.address()), ("late", away), ("late", lame.address)]);
    assert!(publication.servers[1].seen_at.is_some_and(|at| at >= publication.since));
    assert!(publication.servers[2].last.contains("not authoritative"), "{:?}", publication.servers[2]);
    assert!(!publication.is_everywhere());
    told = Vec::new();
    publication.look(Duration::ZERO, |_| panic!("told twice")).await;
    assert!(told.is_empty());

    let once = check_once(&wanted, ZONE, &servers).await;
    assert_eq!(once.iter().map(|report| report.seen_at.is_some()).collect::<Vec<_>>(), [false, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_ends_when_all_show_it_and_at_the_deadline() {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let slow = Toy::start(move |question, _| {
        let looked = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let last: &[u8] = if looked < 3 { &[11, 12] } else { &[11] };
        vec![with_addresses(question, last.iter().copied()).to_vec().unwrap()]
    })
    .await;
    let every = Duration::from_millis(20);
    let mut told = Vec::new();
    let reports = watch(&wanted(&["192.0.2.11"]), ZONE, &[slow.address], Duration::from_secs(60), every, |event| {
        told.push(matches!(event, Event::Seen(_)));
    })
    .await;
    assert!(reports[0].seen_at.is_some());
    assert_eq!(told, [false, true], "what it showed at first, once, and then that it shows it");

    let mut late = 0;
    let never = wanted(&["192.0.2.12"]);
    let reports = watch(&never, ZONE, &[slow.address], Duration::from_millis(300), every, |event| {
        late += u32::from(matches!(event, Event::Late(_)));
    })
    .await;
    assert_eq!((reports[0].seen_at, late), (None, 1));
    assert_eq!(reports[0].last, "@ A: 192.0.2.11");
}

#[tokio::test(flavor = "multi_thread")]
async fn real_servers_are_understood() {
    for kind in Kind::ALL {
        let Some(server) = start(kind) else { continue };
        assert_eq!(ask_serial(server.address(), ZONE, TIMEOUT).await.unwrap(), 1);
        assert!(ask_serial(server.address(), "files.example.com", TIMEOUT).await.is_err());
        let files = key("files", RecordType::A).full_name(ZONE);
        let found = ask_addresses(server.address(), &files, RecordType::A, TIMEOUT).await.unwrap();
        assert_eq!((found.ttl, found.aa, found.addresses), (120, true, ips(&["192.0.2.11"])));
    }
}
