//! Dynamic updates on knot, BIND and PowerDNS.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{RData, Record, RecordType as WireType};
use tokio::net::{TcpListener, TcpStream};
use witness::clock;
use witness::dns::ask_serial;
use witness::model::{RecordType, Rfc2136Settings, Secret, Time, TsigAlgorithm};
use witness::registrar::{ApplyOutcome, Confirmation, Registrar, RegistrarError, Rfc2136, ZoneReading};
use witness_lab::nameserver::{KEY_NAME, KEY_SECRET, Kind, NameServer, Spec};

use crate::contract::{self, Provider};
use crate::world::{RECORDS, TIMEOUT, ZONE, apex, approved, change, ips, key, keys, skipped};

fn settings(server: SocketAddr) -> Rfc2136Settings {
    Rfc2136Settings {
        server,
        key_name: Some(KEY_NAME.to_owned()),
        algorithm: TsigAlgorithm::HmacSha256,
        key: Some(Secret::new(KEY_SECRET)),
    }
}

fn client(server: SocketAddr) -> Rfc2136 {
    Rfc2136::new(&settings(server), ZONE, TIMEOUT).unwrap()
}

/// A server with the zone, or a word that it is not here.
pub(crate) fn start(kind: Kind) -> Option<NameServer> {
    if !kind.available() {
        skipped(&format!("dynamic updates on {kind}"), &format!("apt-get install {}", kind.packages().join(" ")));
        return None;
    }
    Some(NameServer::start(kind, &Spec::new(ZONE, RECORDS, &["@", "files"])).unwrap())
}

struct Server<'a>(&'a NameServer);

impl Provider for Server<'_> {
    fn connect(&self) -> Box<dyn Registrar> {
        Box::new(client(self.0.address()))
    }

    /// The whole zone by transfer, but for our own sets and the serial.
    fn foreign(&self) -> String {
        let info = futures_block(client(self.0.address()).restore_info()).unwrap();
        assert_eq!(info["whole"], true, "{info}");
        let mut lines: Vec<&str> =
            info["records"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let ours = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let owner = words[0].to_ascii_lowercase();
            let carries = words[3] == "SOA" || words[3] == "A" || words[3] == "AAAA";
            carries && (owner == "example.com." || owner == "files.example.com.") && words[4] != "192.0.2.99"
        };
        lines.retain(|line| !ours(line));
        lines.sort_unstable();
        assert!(lines.iter().any(|line| line.ends_with("TXT \"v=spf1 -all\"")), "{lines:?}");
        lines.join("\n")
    }

    fn serial(&self) -> Option<u64> {
        Some(futures_block(ask_serial(self.0.address(), ZONE, TIMEOUT)).unwrap().into())
    }
}

/// Waits for a future from code that is not async and runs inside a runtime.
fn futures_block<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

async fn on_each(test: impl AsyncFn(&NameServer)) {
    for kind in Kind::ALL {
        let Some(server) = start(kind) else { continue };
        eprintln!("on {kind}");
        test(&server).await;
    }
}

async fn read(server: SocketAddr) -> ZoneReading {
    client(server).observe(&keys()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds() {
    on_each(async |server| contract::run(&Server(server)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_is_one_step_of_the_serial() {
    on_each(async |server| {
        let before = ask_serial(server.address(), ZONE, TIMEOUT).await.unwrap();
        let reading = read(server.address()).await;
        let files = key("files", RecordType::A);
        let plan = approved(vec![
            change(&reading, &apex(), &["192.0.2.11", "192.0.2.12"], &["192.0.2.14"]),
            change(&reading, &files, &["192.0.2.11"], &["192.0.2.12"]),
        ]);
        let outcome = client(server.address()).apply(&reading, &plan).await;
        let serial = before + 1;
        assert_eq!(outcome, ApplyOutcome::Applied { receipt: format!("serial {serial}") });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_that_race_one_wins() {
    on_each(async |server| {
        let at = server.address();
        let reading = read(at).await;
        let mut racers = tokio::task::JoinSet::new();
        for racer in 0..20 {
            let reading = reading.clone();
            // Each takes out another address, in turn, so that only one of all plans can stand.
            let victim = ["192.0.2.11", "192.0.2.12", "192.0.2.13"][racer % 3];
            racers.spawn(async move {
                let plan = approved(vec![change(&reading, &apex(), &[victim], &[])]);
                client(at).apply(&reading, &plan).await
            });
        }
        let outcomes = racers.join_all().await;
        let count = |wanted: fn(&ApplyOutcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
        let won = count(|outcome| matches!(outcome, ApplyOutcome::Applied { .. }));
        let same = count(|outcome| matches!(outcome, ApplyOutcome::AlreadyInState));
        let lost = count(|outcome| matches!(outcome, ApplyOutcome::Conflict { .. }));
        assert_eq!((won, won + same + lost), (1, 20), "{outcomes:?}");
        assert!(lost >= 13, "those that wanted another address gone have lost: {outcomes:?}");
        assert_eq!(read(at).await.sets[&apex()].addresses.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_changes_nothing_and_is_told_from_other_trouble() {
    on_each(async |server| {
        let at = server.address();
        let reading = read(at).await;
        let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
        let secret = "d3JvbmcgYnV0IHdlbGwgZm9ybWVkLCB0cnVzdCBtZSBvaw==";
        let wrong = [
            ("another secret", Rfc2136Settings { key: Some(Secret::new(secret)), ..settings(at) }),
            ("an unknown name", Rfc2136Settings { key_name: Some("nobody".to_owned()), ..settings(at) }),
            ("another algorithm", Rfc2136Settings { algorithm: TsigAlgorithm::HmacSha512, ..settings(at) }),
            ("no key", Rfc2136Settings { key: None, key_name: None, ..settings(at) }),
        ];
        for (what, settings) in wrong {
            let outcome = Rfc2136::new(&settings, ZONE, TIMEOUT).unwrap().apply(&reading, &plan).await;
            let ApplyOutcome::Auth { why } = &outcome else { panic!("{what}: {outcome:?}") };
            eprintln!("{what}: {why}");
            assert!(!why.contains(secret) && !why.contains(KEY_SECRET), "{why}");
            let expected: &[&str] = match (what, server.kind()) {
                ("another secret", Kind::Knot | Kind::Bind) => &["unverified", "BADSIG", "another secret"],
                ("no key", _) => &["key_name"],
                ("another secret" | "an unknown name" | "another algorithm", Kind::PowerDns) => &["REFUSED", "secret"],
                _ => &["unverified", KEY_NAME],
            };
            if what != "an unknown name" {
                assert!(expected.iter().all(|word| why.contains(word)), "{what}: {why}");
            }
        }
        assert_eq!(read(at).await, reading);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_named() {
    on_each(async |server| {
        let at = server.address();
        let reading = read(at).await;
        let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
        let late = client(at).with_clock(|| Time(clock::now().0 - 400_000));
        let ApplyOutcome::Auth { why } = late.apply(&reading, &plan).await else { panic!("accepted") };
        eprintln!("{why}");
        match server.kind() {
            Kind::Knot | Kind::Bind => {
                assert!(
                    why.contains("BADTIME") && why.contains(" there and ") && why.contains("set the clocks"),
                    "{why}"
                );
            }
            Kind::PowerDns => assert!(why.contains("clocks are apart"), "{why}"),
        }
        assert_eq!(read(at).await, reading);
        // A little off is what the allowance is for.
        let almost = client(at).with_clock(|| Time(clock::now().0 - 200_000));
        assert!(matches!(almost.apply(&reading, &plan).await, ApplyOutcome::Applied { .. }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_does_not_hold_or_allow_is_told() {
    on_each(async |server| {
        let at = server.address();
        let elsewhere = Rfc2136::new(&settings(at), "example.org", TIMEOUT).unwrap();
        let error = elsewhere.observe(&[apex()]).await.unwrap_err();
        assert!(matches!(error, RegistrarError::Permanent { .. } | RegistrarError::Untrusted { .. }), "{error:?}");

        // A name inside the zone is not where the zone begins.
        for inside in ["files.example.com", "nowhere.example.com"] {
            let error = Rfc2136::new(&settings(at), inside, TIMEOUT).unwrap().observe(&[apex()]).await.unwrap_err();
            assert!(matches!(error, RegistrarError::Permanent { .. }), "{inside}: {error:?}");
        }

        // An alias cannot carry addresses: that is neither absence nor trouble that passes.
        let error = client(at).observe(&[key("alias", RecordType::A)]).await.unwrap_err();
        let RegistrarError::Permanent { why } = error else { panic!("{error:?}") };
        assert!(why.contains("alias of other.example.com."), "{why}");

        // Where a name below the zone does not exist at all, the set is absent.
        let nowhere = key("nowhere", RecordType::A);
        let reading = client(at).observe(std::slice::from_ref(&nowhere)).await.unwrap();
        assert!(reading.sets[&nowhere].addresses.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_told_from_one_that_says_nothing() {
    let Some(server) = start(Kind::Knot) else { return };
    let reading = read(server.address()).await;
    let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
    let address = server.address();
    drop(server);

    let outcome = client(address).apply(&reading, &plan).await;
    assert!(matches!(outcome, ApplyOutcome::Transient { .. }), "nothing was sent: {outcome:?}");
    let error = client(address).observe(&keys()).await.unwrap_err();
    assert!(matches!(error, RegistrarError::Transient { .. }), "{error:?}");

    // Takes what it is sent and never answers; then one that hangs up; then one that talks rubbish.
    for answer in [None, Some(&b""[..]), Some(b"\x00\x04rubb"), Some(b"\x00\x0c123456789012")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer).await;
                    match answer {
                        None => tokio::time::sleep(Duration::from_secs(60)).await,
                        Some(bytes) => stream.write_all(bytes).await.unwrap(),
                    }
                });
            }
        });
        let short = Rfc2136::new(&settings(address), ZONE, Duration::from_millis(500)).unwrap();
        let outcome = short.apply(&reading, &plan).await;
        assert!(matches!(outcome, ApplyOutcome::Unknown { .. }), "{answer:?}: {outcome:?}");
        let error = short.observe(&keys()).await.unwrap_err();
        assert!(matches!(error, RegistrarError::Transient { .. } | RegistrarError::Untrusted { .. }), "{error:?}");
        serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_transfer_the_copy_says_that_it_is_not_whole() {
    // Without a key none of the servers lets the zone be copied, BIND and knot at least.
    for kind in [Kind::Knot, Kind::Bind] {
        let Some(server) = start(kind) else { continue };
        let open = Rfc2136Settings { key: None, key_name: None, ..settings(server.address()) };
        let info = Rfc2136::new(&open, ZONE, TIMEOUT).unwrap().restore_info().await.unwrap();
        assert_eq!(info["whole"], false, "{info}");
        assert!(info["why"].as_str().unwrap().contains("transfer"), "{info}");
        assert!(info["records"].to_string().contains("example.com. 60 IN A 192.0.2.99"), "{info}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let address = "192.0.2.53:53".parse().unwrap();
    let check = |settings: Rfc2136Settings, zone: &str, expected: &str| {
        let error = Rfc2136::new(&settings, zone, TIMEOUT).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(Rfc2136Settings { key: None, ..settings(address) }, ZONE, "has no secret");
    check(Rfc2136Settings { key_name: None, ..settings(address) }, ZONE, "has no name");
    check(Rfc2136Settings { key: Some(Secret::new("%%%")), ..settings(address) }, ZONE, "not base64");
    check(settings(address), "example..com", "no domain name");
}

#[test]
fn nothing_shows_the_secret() {
    let registrar = client("192.0.2.53:53".parse().unwrap());
    assert!(!format!("{registrar:?}").contains(KEY_SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_what_dig_would_say() {
    on_each(async |server| {
        let reading = read(server.address()).await;
        assert_eq!(reading.sets[&key("@", RecordType::Aaaa)].addresses, ips(&["2001:db8::14"]));
        assert!(reading.token.starts_with("serial 1; "), "{}", reading.token);
    })
    .await;
}

/// Passes one message on to the server and hangs up before the answer comes through.
async fn cut_after_sending(server: SocketAddr) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut message = vec![0; usize::from(client.read_u16().await.unwrap())];
        client.read_exact(&mut message).await.unwrap();
        let mut behind = TcpStream::connect(server).await.unwrap();
        behind.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
        behind.write_all(&message).await.unwrap();
        // Only when the server has answered is it certain that it has written.
        behind.read_u16().await.unwrap();
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_between_sending_and_answer_is_unknown_and_converges() {
    on_each(async |server| {
        let at = server.address();
        let reading = read(at).await;
        let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
        let outcome = client(cut_after_sending(at).await).apply(&reading, &plan).await;
        assert!(matches!(outcome, ApplyOutcome::Unknown { .. }), "{outcome:?}");
        let serial = ask_serial(at, ZONE, TIMEOUT).await.unwrap();
        assert!(matches!(client(at).confirm(&plan).await.unwrap(), Confirmation::Holds(_)), "it was written");
        assert_eq!(client(at).apply(&reading, &plan).await, ApplyOutcome::AlreadyInState);
        assert_eq!(ask_serial(at, ZONE, TIMEOUT).await.unwrap(), serial, "and not once more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_of_many_messages_is_copied_whole() {
    // More than fits in one message, so that signatures chain.
    let many: Vec<String> = (0..4000).map(|n| format!("r{n} 300 IN TXT \"{n:0>60}\"")).collect();
    let records: Vec<&str> = RECORDS.iter().copied().chain(many.iter().map(String::as_str)).collect();
    for kind in Kind::ALL {
        if !kind.available() {
            skipped(&format!("a long transfer from {kind}"), "it is not installed");
            continue;
        }
        let server = NameServer::start(kind, &Spec::new(ZONE, &records, &["@"])).unwrap();
        let info = client(server.address()).restore_info().await.unwrap();
        assert_eq!(info["whole"], true, "{kind}: {info}");
        let lines = info["records"].as_array().unwrap();
        // With SOA, NS and the name server's address.
        assert_eq!(lines.len(), records.len() + 3, "{kind}");
        assert!(lines[0].as_str().unwrap().contains(" IN SOA "), "{kind}: {}", lines[0]);
    }
}

/// How a [`toy`] answers.
#[derive(Clone, Copy)]
struct Toy {
    /// To an update, unsigned.
    update: u8,
    /// To a question.
    question: u8,
    /// Whether it speaks for the zone.
    authoritative: bool,
    /// Whether the serial is another each time.
    restless: bool,
}

const PLAIN: Toy = Toy { update: 0, question: 0, authoritative: true, restless: false };

/// A primary that takes nothing and signs nothing. It hangs up after each answer.
async fn toy(how: Toy) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut serial = 7;
        while let Ok((mut stream, _)) = listener.accept().await {
            let Ok(length) = stream.read_u16().await else { continue };
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.unwrap();
            let question = Message::from_vec(&bytes).unwrap();
            let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
            reply.add_queries(question.queries.iter().cloned());
            reply.metadata.authoritative = how.authoritative;
            let asked = &question.queries[0];
            if question.metadata.op_code == OpCode::Update {
                reply.metadata.response_code = ResponseCode::from(0, how.update);
            } else if how.question != 0 {
                reply.metadata.response_code = ResponseCode::from(0, how.question);
            } else if asked.query_type() == WireType::SOA {
                serial += u32::from(how.restless);
                let soa = SOA::new(asked.name().clone(), asked.name().clone(), serial, 1, 1, 1, 60);
                reply.add_answer(Record::from_rdata(asked.name().clone(), 60, RData::SOA(soa)));
            } else if asked.query_type() == WireType::A {
                for last in [11, 12, 99] {
                    let data = RData::A(A::new(192, 0, 2, last));
                    reply.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
                }
            }
            let reply = reply.to_vec().unwrap();
            stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_steady_authoritative_answer_is_a_reading() {
    type Is = fn(&RegistrarError) -> bool;
    let cases: [(Toy, Is, &str); 5] = [
        (
            Toy { authoritative: false, ..PLAIN },
            |error| matches!(error, RegistrarError::Untrusted { .. }),
            "not speak for",
        ),
        (Toy { question: 2, ..PLAIN }, |error| matches!(error, RegistrarError::Transient { .. }), "SERVFAIL"),
        (Toy { question: 5, ..PLAIN }, |error| matches!(error, RegistrarError::Permanent { .. }), "REFUSED"),
        (Toy { question: 3, ..PLAIN }, |error| matches!(error, RegistrarError::Permanent { .. }), "NXDOMAIN"),
        (
            Toy { restless: true, ..PLAIN },
            |error| matches!(error, RegistrarError::Transient { .. }),
            "while it was read",
        ),
    ];
    for (how, expected, said) in cases {
        let error = client(toy(how).await).observe(&[apex()]).await.unwrap_err();
        assert!(expected(&error) && error.to_string().contains(said), "{said}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_signed_is_never_success_and_proves_nothing() {
    type Is = fn(&ApplyOutcome) -> bool;
    let cases: [(u8, Is); 6] = [
        (0, |outcome| matches!(outcome, ApplyOutcome::Unknown { .. })),
        (2, |outcome| matches!(outcome, ApplyOutcome::Unknown { .. })),
        (4, |outcome| matches!(outcome, ApplyOutcome::Permanent { .. })),
        (5, |outcome| matches!(outcome, ApplyOutcome::Auth { .. })),
        (8, |outcome| matches!(outcome, ApplyOutcome::Unknown { why } if why.contains("unverified"))),
        (9, |outcome| matches!(outcome, ApplyOutcome::Permanent { .. })),
    ];
    for (rcode, expected) in cases {
        let server = toy(Toy { update: rcode, ..PLAIN }).await;
        // Every answer on a connection of its own: the reading is whole all the same.
        let reading = client(server).observe(&[apex()]).await.unwrap();
        assert_eq!(reading.sets[&apex()].addresses, ips(&["192.0.2.11", "192.0.2.12", "192.0.2.99"]));
        let plan = approved(vec![change(&reading, &apex(), &["192.0.2.12"], &[])]);
        let outcome = client(server).apply(&reading, &plan).await;
        assert!(expected(&outcome), "{rcode}: {outcome:?}");
    }
}
