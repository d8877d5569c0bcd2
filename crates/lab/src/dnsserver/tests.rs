use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use super::*;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn zone() -> Zone {
    serde_json::from_str(
        r#"{"zone": "example.com", "serial": 7, "faults": ["ignored"], "sets": {
            "@ A": {"ttl": 60, "addresses": ["192.0.2.11", "192.0.2.12"]},
            "files A": {"ttl": 30, "addresses": ["192.0.2.11"]},
            "files AAAA": {"ttl": 30, "addresses": ["2001:db8::14"]},
            "a.deep A": {"ttl": 30, "addresses": ["192.0.2.9"]},
            "nonsense": {"ttl": 1, "addresses": ["192.0.2.1"]},
            "files MX": {"ttl": 1, "addresses": ["192.0.2.1"]},
            "empty A": {"ttl": 1, "addresses": []}}}"#,
    )
    .unwrap()
}

fn query(name: &str, rtype: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.add_query(hickory_proto::op::Query::query(Name::from_ascii(name).unwrap(), rtype));
    message
}

fn ask(zone: &Zone, message: &Message) -> Message {
    let reply = answer(zone, OWN, &message.to_vec().unwrap(), Transport::Udp, Manner::Answer).unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.id, 4711);
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    reply
}

/// Code, AA, answers, authorities.
fn summary(name: &str, rtype: RecordType) -> (ResponseCode, bool, usize, usize) {
    let reply = ask(&zone(), &query(name, rtype));
    (reply.metadata.response_code, reply.metadata.authoritative, reply.answers.len(), reply.authorities.len())
}

#[test]
fn answers_what_the_zone_holds() {
    use ResponseCode::{NXDomain, NoError, Refused};
    assert_eq!(summary("example.com.", RecordType::A), (NoError, true, 2, 0));
    assert_eq!(summary("files.example.com.", RecordType::A), (NoError, true, 1, 0));
    assert_eq!(summary("files.example.com.", RecordType::AAAA), (NoError, true, 1, 0));
    assert_eq!(summary("files.example.com.", RecordType::ANY), (NoError, true, 2, 0));
    assert_eq!(summary("files.example.com.", RecordType::MX), (NoError, true, 0, 1));
    assert_eq!(summary("example.com.", RecordType::AAAA), (NoError, true, 0, 1));
    assert_eq!(summary("example.com.", RecordType::SOA), (NoError, true, 1, 0));
    assert_eq!(summary("example.com.", RecordType::NS), (NoError, true, 1, 0));
    assert_eq!(summary("ns1.example.com.", RecordType::A), (NoError, true, 1, 0));
    assert_eq!(summary("deep.example.com.", RecordType::A), (NoError, true, 0, 1), "an empty non-terminal");
    assert_eq!(summary("other.example.com.", RecordType::A), (NXDomain, true, 0, 1));
    assert_eq!(summary("empty.example.com.", RecordType::A), (NXDomain, true, 0, 1));
    assert_eq!(summary("example.net.", RecordType::A), (Refused, false, 0, 0));
    assert_eq!(summary("com.", RecordType::A), (Refused, false, 0, 0));
    assert_eq!(summary(".", RecordType::NS), (Refused, false, 0, 0));
    assert_eq!(summary("example.com.", RecordType::AXFR), (Refused, false, 0, 0));
}

#[test]
fn names_compare_without_case_and_come_back_as_asked() {
    let reply = ask(&zone(), &query("FiLeS.ExAmPlE.cOm.", RecordType::A));
    assert_eq!(reply.answers[0].name.to_string(), "FiLeS.ExAmPlE.cOm.");
    assert_eq!(reply.answers[0].ttl, 30);
}

#[test]
fn long_answers_are_cut_over_udp_alone() {
    let mut zone = Zone::new("example.com");
    zone.put("@", 60, (0..200).map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))));
    let asked = query("example.com.", RecordType::A);
    let cut = ask(&zone, &asked);
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = answer(&zone, OWN, &asked.to_vec().unwrap(), Transport::Tcp, Manner::Answer).unwrap();
    let whole = Message::from_vec(&whole).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);

    zone.put("@", 60, (0..50).map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))));
    let mut with_edns = asked;
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    with_edns.set_edns(edns);
    let reply = ask(&zone, &with_edns);
    assert_eq!((reply.metadata.truncation, reply.answers.len(), reply.edns.is_some()), (false, 50, true));
}

#[test]
fn rubbish_gets_formerr_or_silence() {
    let zone = zone();
    let reply = |bytes: &[u8]| answer(&zone, OWN, bytes, Transport::Udp, Manner::Answer);
    assert_eq!(reply(b""), None);
    assert_eq!(reply(&[0; 11]), None);
    let mut response = query("example.com.", RecordType::A).to_vec().unwrap();
    response[2] |= 0x80;
    assert_eq!(reply(&response), None, "a response is never answered");

    let good = query("files.example.com.", RecordType::A).to_vec().unwrap();
    let cut = Message::from_vec(&reply(&good[..good.len() - 3]).unwrap()).unwrap();
    assert_eq!((cut.metadata.id, cut.metadata.response_code), (4711, ResponseCode::FormErr));
    let none = Message::from_vec(&reply(&Message::query().to_vec().unwrap()).unwrap()).unwrap();
    assert_eq!(none.metadata.response_code, ResponseCode::FormErr);

    // Every byte of a good query turned into every fourth value, and a stream of noise: no panic.
    for at in 0..good.len() {
        for value in (0..=255).step_by(4) {
            let mut bent = good.clone();
            bent[at] = value;
            let _ = reply(&bent);
        }
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for length in 0..2000_usize {
        let noise: Vec<u8> = (0..length % 600)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed.to_be_bytes()[0]
            })
            .collect();
        let _ = reply(&noise);
    }
}

fn over_udp(server: &DnsServer, message: &[u8]) -> Option<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(message, server.address()).unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).ok()?;
    Some(Message::from_vec(&buffer[..length]).unwrap())
}

#[test]
fn serves_udp_and_tcp_and_follows_the_zone() {
    use std::io::{Read, Write};
    let shared = SharedZone::new(zone());
    let server = DnsServer::start((Ipv4Addr::LOCALHOST, 0).into(), Source::Shared(shared.clone())).unwrap();
    let asked = query("example.com.", RecordType::A).to_vec().unwrap();
    assert_eq!(over_udp(&server, &asked).unwrap().answers.len(), 2);
    shared.lock().put("@", 60, ["192.0.2.12".parse().unwrap()]);
    assert_eq!(over_udp(&server, &asked).unwrap().answers.len(), 1);
    assert_eq!(
        over_udp(&server, &[&asked[..12], b"rubbish"].concat()).unwrap().metadata.response_code,
        ResponseCode::FormErr
    );

    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for _ in 0..2 {
        stream.write_all(&u16::try_from(asked.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&asked).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 1);
    }
    server.set_manner(Manner::ServFail);
    assert_eq!(over_udp(&server, &asked).unwrap().metadata.response_code, ResponseCode::ServFail);
    server.set_manner(Manner::NotAuthoritative);
    assert!(!over_udp(&server, &asked).unwrap().metadata.authoritative);
    server.set_manner(Manner::Truncate);
    assert!(over_udp(&server, &asked).unwrap().metadata.truncation);
    assert_eq!(server.queries(), 8);
}

#[test]
fn reads_a_zone_file_again_and_keeps_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone.json");
    let server = DnsServer::start((Ipv4Addr::LOCALHOST, 0).into(), Source::File(path.clone())).unwrap();
    let asked = query("example.com.", RecordType::A).to_vec().unwrap();
    let answers = || {
        let reply = over_udp(&server, &asked).unwrap();
        (reply.metadata.response_code, reply.answers.len())
    };
    assert_eq!(answers(), (ResponseCode::Refused, 0), "no file yet");
    std::fs::write(&path, serde_json::to_string(&zone()).unwrap()).unwrap();
    assert_eq!(answers(), (ResponseCode::NoError, 2));
    std::fs::write(&path, "{half").unwrap();
    assert_eq!(answers(), (ResponseCode::NoError, 2));
    let mut changed = zone();
    changed.put("@", 60, ["192.0.2.13".parse().unwrap()]);
    std::fs::write(&path, serde_json::to_string(&changed).unwrap()).unwrap();
    assert_eq!(answers(), (ResponseCode::NoError, 1));
}
