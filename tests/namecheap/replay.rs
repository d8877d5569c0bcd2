//! The fake server answers each recorded call as the original did.
//!
//! Compared are status, command, errors, the attributes of results and every row in order, its number up to a renaming that
//! holds throughout; getInfo by status and errors alone. The server starts from the first recorded list of each zone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use witness_lab::namecheap::{
    Account, Document, Exchange, FakeNamecheap, Host, Outcome, Rules, Zone, read_document, read_exchanges,
};

#[test]
fn every_recorded_call_is_answered_as_recorded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/registrar/namecheap/exchanges.jsonl");
    let exchanges = read_exchanges(&path).unwrap();
    assert_eq!(exchanges.len(), 128);
    let server = FakeNamecheap::start(Account::Anyone, Rules::default()).unwrap();
    seed(&server, &exchanges);
    let mut renaming = Renaming::default();
    let mut compared = BTreeMap::new();
    for exchange in &exchanges {
        let recorded = read_document(&exchange.xml).unwrap();
        let place = format!("{} call {}", exchange.cassette, exchange.n);
        let (status, content_type, body) = send(&server, exchange);
        assert_eq!((status, content_type.as_str()), (exchange.status, exchange.content_type.as_str()), "{place}");
        let found = read_document(&body).unwrap();
        assert_eq!((&found.status, &found.command), (&recorded.status, &recorded.command), "{place}");
        assert_eq!(found.errors, recorded.errors, "{place}");
        renaming.compare(&place, &recorded, &found);
        *compared.entry(recorded.command).or_insert(0) += 1;
    }
    let wanted = [
        ("namecheap.domains.dns.gethosts", 65),
        ("namecheap.domains.dns.sethosts", 38),
        ("namecheap.domains.getinfo", 25),
    ];
    assert_eq!(compared, wanted.map(|(command, count)| (command.to_owned(), count)).into());
    assert!(renaming.rows > 1000, "only {} rows were compared", renaming.rows);
}

/// Gives the server each zone as the first recorded list shows it.
fn seed(server: &FakeNamecheap, exchanges: &[Exchange]) {
    let mut seeded = BTreeSet::new();
    for exchange in exchanges {
        let Outcome::Hosts { attributes, hosts } = read_document(&exchange.xml).unwrap().outcome else { continue };
        let domain = attribute(&attributes, "Domain");
        if seeded.insert(domain.to_owned()) {
            server.seed(domain, Zone::new(attribute(&attributes, "EmailType"), hosts));
        }
    }
    assert!(!seeded.is_empty());
}

/// Which of our numbers stands for which recorded one.
#[derive(Default)]
struct Renaming {
    ours: BTreeMap<u64, u64>,
    taken: BTreeSet<u64>,
    rows: usize,
}

impl Renaming {
    fn compare(&mut self, place: &str, recorded: &Document, found: &Document) {
        match (&recorded.outcome, &found.outcome) {
            (Outcome::Hosts { attributes, hosts }, Outcome::Hosts { attributes: our_attributes, hosts: our_hosts }) => {
                assert_eq!(our_attributes, attributes, "{place}");
                assert_eq!(our_hosts.len(), hosts.len(), "{place}");
                for (wanted, ours) in hosts.iter().zip(our_hosts) {
                    assert_eq!(Host { id: wanted.id, ..ours.clone() }, *wanted, "{place}");
                    let known = *self.ours.entry(wanted.id).or_insert(ours.id);
                    assert_eq!(known, ours.id, "{place}: recorded as {}", wanted.id);
                    self.taken.insert(ours.id);
                    self.rows += 1;
                }
                assert_eq!(self.taken.len(), self.ours.len(), "{place}: one number stands for two rows");
            }
            (wanted, ours) => assert_eq!(ours, wanted, "{place}"),
        }
    }
}

fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> &'a str {
    &attributes.iter().find(|(key, _)| key == name).unwrap().1
}

/// Sends a call with its parameters where they were when it was recorded.
fn send(server: &FakeNamecheap, exchange: &Exchange) -> (u16, String, String) {
    let encoded = |pairs: &[(String, String)]| {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs.iter()).finish()
    };
    let endpoint = server.endpoint();
    let (authority, path) = endpoint.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let (query, form) = (encoded(&exchange.query), encoded(&exchange.form));
    let request = format!(
        "{} /{path}?{query} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        exchange.method,
        form.len()
    );
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap().to_owned();
    (status, content_type, body.to_owned())
}
