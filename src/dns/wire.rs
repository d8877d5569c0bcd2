//! Messages: the question as bytes, bytes as an answer. No sockets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType as WireType};

use super::DnsError;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, absolute.
    pub name: Name,
    /// The type.
    pub rtype: WireType,
}

impl Question {
    /// Asks for `rtype` at `name`, which is taken as absolute with or without a final dot.
    ///
    /// # Errors
    /// [`DnsError::Name`].
    pub fn new(name: &str, rtype: WireType) -> Result<Self, DnsError> {
        Ok(Self { name: domain(name)?, rtype })
    }

    /// The message that asks it, with a random id; `recursion` for a resolver.
    pub(super) fn message(&self, recursion: bool, edns: bool) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = recursion;
        message.add_query(Query::query(self.name.clone(), self.rtype));
        if edns {
            let mut options = Edns::new();
            options.set_max_payload(MAX_UDP).set_version(0);
            message.set_edns(options);
        }
        message
    }
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it speaks for the zone.
    pub authoritative: bool,
    /// Whether there is more than fits: ask again over TCP.
    pub truncated: bool,
    /// How it went.
    pub rcode: ResponseCode,
    /// The answer section.
    pub records: Vec<Record>,
    /// The authority section: the zone's SOA where there is no such name or set.
    pub authority: Vec<Record>,
}

/// The addresses at a name, as one server has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthoritativeAnswer {
    /// Whether the server speaks for the zone.
    pub aa: bool,
    /// Seconds; the lowest where they differ, 0 where there is no address.
    pub ttl: u32,
    /// The addresses; empty where there is no such name or set.
    pub addresses: BTreeSet<IpAddr>,
    /// The zone's serial, told only where there is no address.
    pub serial: Option<u32>,
    /// Where the name is an alias: of what.
    pub alias: Option<String>,
}

/// The largest answer over UDP that we invite: what passes everywhere without fragments.
pub(super) const MAX_UDP: u16 = 1232;

/// Reads the answer to `question` that was asked under `id`.
///
/// # Errors
/// [`DnsError::Rubbish`] where it is no message, or not the answer to that.
pub fn parse_answer(bytes: &[u8], id: u16, question: &Question) -> Result<Answer, DnsError> {
    let message = parse_message(bytes, id, OpCode::Query)?;
    // Servers that understood nothing may leave the question out; none that answers does.
    match message.queries.as_slice() {
        [asked] => {
            let same =
                asked.name == question.name && asked.query_type == question.rtype && asked.query_class == DNSClass::IN;
            if !same {
                return rubbish("it answers another question");
            }
        }
        [] if message.metadata.response_code != ResponseCode::NoError => {}
        _ => return rubbish("it does not repeat the question"),
    }
    Ok(Answer {
        authoritative: message.metadata.authoritative,
        truncated: message.metadata.truncation,
        rcode: message.metadata.response_code,
        records: message.answers,
        authority: message.authorities,
    })
}

/// Reads any response under `id`.
pub(crate) fn parse_message(bytes: &[u8], id: u16, op: OpCode) -> Result<Message, DnsError> {
    // Looked at before the parser makes room for what the header promises.
    let Some(header) = bytes.first_chunk::<12>() else { return rubbish("it is shorter than a header") };
    if u16::from_be_bytes([header[0], header[1]]) != id {
        return rubbish("it has another id");
    }
    if u16::from_be_bytes([header[4], header[5]]) > 1 {
        return rubbish("it has several questions");
    }
    let message = Message::from_vec(bytes).map_err(|error| DnsError::Rubbish { why: error.to_string() })?;
    if message.metadata.message_type != MessageType::Response || message.metadata.op_code != op {
        return rubbish("it is no response to such a message");
    }
    Ok(message)
}

impl Answer {
    /// The addresses of type `question.rtype` at exactly that name.
    #[must_use]
    pub fn addresses(&self, question: &Question) -> AuthoritativeAnswer {
        let mut found = AuthoritativeAnswer { aa: self.authoritative, ..AuthoritativeAnswer::default() };
        let mut ttl = u32::MAX;
        for record in self.records.iter().filter(|record| record.name == question.name) {
            if let RData::CNAME(target) = &record.data {
                found.alias = Some(target.0.to_ascii());
            }
            if record.record_type() != question.rtype || record.dns_class != DNSClass::IN {
                continue;
            }
            if let Some(address) = address_of(&record.data) {
                found.addresses.insert(address);
                ttl = ttl.min(record.ttl);
            }
        }
        if !found.addresses.is_empty() {
            found.ttl = ttl;
        }
        found.serial = self.authority.iter().find_map(serial_of);
        found
    }

    /// The serial in the answer to a question for SOA.
    #[must_use]
    pub fn serial(&self, question: &Question) -> Option<u32> {
        self.records.iter().filter(|record| record.name == question.name).find_map(serial_of)
    }
}

/// `text` as an absolute name.
pub(crate) fn domain(text: &str) -> Result<Name, DnsError> {
    let bad = |why: String| DnsError::Name { name: text.chars().take(300).collect(), why };
    if text.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    let mut name = Name::from_ascii(text).map_err(|error| bad(error.to_string()))?;
    name.set_fqdn(true);
    Ok(name)
}

pub(super) fn address_of(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

fn serial_of(record: &Record) -> Option<u32> {
    if let RData::SOA(soa) = &record.data { Some(soa.serial) } else { None }
}

fn rubbish<T>(why: &str) -> Result<T, DnsError> {
    Err(DnsError::Rubbish { why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME};
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question::new("files.example.com", WireType::A).unwrap()
    }

    fn answer(id: u16) -> Message {
        let question = question();
        let mut message = Message::response(id, OpCode::Query);
        message.metadata.authoritative = true;
        message.add_query(Query::query(question.name.clone(), question.rtype));
        for last in [11, 12] {
            let data = RData::A(A::new(192, 0, 2, last));
            message.add_answer(Record::from_rdata(question.name.clone(), u32::from(last), data));
        }
        message
    }

    #[test]
    fn reads_addresses_and_the_lowest_ttl() {
        let bytes = answer(7).to_vec().unwrap();
        let found = parse_answer(&bytes, 7, &question()).unwrap().addresses(&question());
        assert!(found.aa);
        assert_eq!(found.ttl, 11);
        assert_eq!(found.addresses, ["192.0.2.11", "192.0.2.12"].map(|a| a.parse().unwrap()).into());
        assert_eq!(found.alias, None);
    }

    #[test]
    fn only_the_name_that_was_asked_for_counts() {
        let mut message = answer(7);
        for record in &mut message.answers {
            record.name = domain("other.example.com").unwrap();
        }
        let alias = RData::CNAME(CNAME(domain("other.example.com").unwrap()));
        message.add_answer(Record::from_rdata(domain("files.example.com").unwrap(), 60, alias));
        let found = parse_answer(&message.to_vec().unwrap(), 7, &question()).unwrap().addresses(&question());
        assert!(found.addresses.is_empty());
        assert_eq!(found.ttl, 0);
        assert_eq!(found.alias.as_deref(), Some("other.example.com."));
    }

    #[test]
    fn what_answers_something_else_is_refused() {
        let bytes = answer(7).to_vec().unwrap();
        assert!(parse_answer(&bytes, 8, &question()).is_err(), "another id");
        let other = Question::new("www.example.com", WireType::A).unwrap();
        assert!(parse_answer(&bytes, 7, &other).is_err(), "another name");
        let other = Question::new("files.example.com", WireType::AAAA).unwrap();
        assert!(parse_answer(&bytes, 7, &other).is_err(), "another type");
        let mut query = answer(7);
        query.metadata.message_type = MessageType::Query;
        assert!(parse_answer(&query.to_vec().unwrap(), 7, &question()).is_err(), "a question");
        let mut silent = answer(7);
        silent.queries.clear();
        assert!(parse_answer(&silent.to_vec().unwrap(), 7, &question()).is_err(), "no question, yet success");
        silent.metadata.response_code = ResponseCode::Refused;
        assert!(parse_answer(&silent.to_vec().unwrap(), 7, &question()).is_ok(), "a refusal may be terse");
    }

    #[test]
    fn the_case_of_a_name_does_not_matter() {
        let shouted = Question::new("FILES.example.COM.", WireType::A).unwrap();
        let bytes = answer(7).to_vec().unwrap();
        assert_eq!(parse_answer(&bytes, 7, &shouted).unwrap().addresses(&shouted).addresses.len(), 2);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "a..b", &"a".repeat(64), &"abcdefgh.".repeat(40)] {
            assert!(domain(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn rubbish_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let id = bytes.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
            if let Ok(answer) = parse_answer(&bytes, id, &question()) {
                let _ = answer.addresses(&question());
                let _ = answer.serial(&question());
            }
        }

        #[test]
        fn a_damaged_answer_does_not_panic(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = answer(7).to_vec().unwrap();
            for (at, to) in flips {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(answer) = parse_answer(&bytes, 7, &question()) {
                let _ = answer.addresses(&question());
            }
        }
    }
}
