//! A whole zone (AXFR, RFC 5936), as lines of a zone file.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType as WireType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder, NameEncoding};

use super::DnsError;
use super::client::{Connection, deadline, encode, rcode_name};
use super::tsig::{Signature, TsigKey};
use super::wire::parse_message;
use crate::model::Time;

/// More than this is no zone that is edited by hand.
const RECORDS_MAX: usize = 100_000;
/// How many messages may come between signatures (RFC 8945, section 5.3.1).
const UNSIGNED_MAX: usize = 99;

/// Every record of `origin` as `server` has it, in its order, one line each, the SOA first and once.
///
/// With `key` the question is signed and the answer must be.
///
/// # Errors
/// [`DnsError`], also where the server does not allow it.
pub(crate) async fn transfer(
    server: SocketAddr,
    origin: &Name,
    key: Option<&TsigKey>,
    now: Time,
    timeout: Duration,
) -> Result<Vec<String>, DnsError> {
    let mut question = Message::query();
    question.metadata.recursion_desired = false;
    question.add_query(Query::query(origin.clone(), WireType::AXFR));
    let mut previous = match key {
        Some(key) => key.sign(&mut question, now)?,
        None => Vec::new(),
    };
    let mut connection = Connection::open(server, deadline(timeout), timeout).await?;
    connection.send(&encode(&question)?).await?;

    let mut records: Vec<Record> = Vec::new();
    let mut unsigned = Vec::new();
    let mut unsigned_count = 0;
    let mut first = true;
    loop {
        let bytes = connection.receive().await?;
        let message = parse_message(&bytes, question.metadata.id, OpCode::Query)?;
        if message.metadata.response_code != ResponseCode::NoError {
            return Err(DnsError::Refused {
                server,
                name: origin.to_ascii(),
                rtype: "AXFR".to_owned(),
                rcode: rcode_name(message.metadata.response_code),
            });
        }
        if let Some(key) = key {
            match key.check(&message, &bytes, &previous, &unsigned, first, now) {
                Signature::Valid { error: None, .. } => {
                    previous = message.signature().map(|record| record.data.mac.clone()).unwrap_or_default();
                    unsigned.clear();
                    unsigned_count = 0;
                }
                Signature::Absent { error: None } if !first && unsigned_count < UNSIGNED_MAX => {
                    unsigned.extend_from_slice(&bytes);
                    unsigned_count += 1;
                }
                other => return rubbish(format!("the transfer's signature does not hold: {other:?}")),
            }
        }
        first = false;
        records.extend(message.answers);
        if records.len() > RECORDS_MAX {
            return rubbish(format!("the zone has more than {RECORDS_MAX} records"));
        }
        let is_soa = |record: &Record| record.record_type() == WireType::SOA && record.name == *origin;
        if !records.first().is_some_and(is_soa) {
            return rubbish("the transfer does not begin with the zone's SOA".to_owned());
        }
        if records.len() > 1 && records.last().is_some_and(is_soa) {
            break;
        }
    }
    if key.is_some() && unsigned_count > 0 {
        return rubbish("the transfer's last message is not signed".to_owned());
    }
    if records.first().map(|record| &record.data) != records.last().map(|record| &record.data) {
        return rubbish("the zone changed while it was transferred".to_owned());
    }
    records.pop();
    records.iter().map(line).collect()
}

/// A line of a zone file. Types whose notation we do not write go as RFC 3597 has it for any type.
fn line(record: &Record) -> Result<String, DnsError> {
    let Record { name, ttl, data, .. } = record;
    let rtype = record.record_type();
    let known = record.dns_class == DNSClass::IN;
    let text = match data {
        RData::A(_)
        | RData::AAAA(_)
        | RData::NS(_)
        | RData::CNAME(_)
        | RData::PTR(_)
        | RData::MX(_)
        | RData::SRV(_)
        | RData::SOA(_)
            if known =>
        {
            data.to_string()
        }
        RData::TXT(txt) if known => txt.txt_data.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(" "),
        _ => {
            let mut bytes = Vec::new();
            let mut encoder = BinEncoder::new(&mut bytes);
            encoder.set_name_encoding(NameEncoding::Uncompressed);
            data.emit(&mut encoder)
                .map_err(|error| DnsError::Rubbish { why: format!("{name} {rtype} cannot be written: {error}") })?;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(format!("{name} {ttl} IN TYPE{} \\# {} {hex}", u16::from(rtype), bytes.len()));
        }
    };
    Ok(format!("{name} {ttl} IN {rtype} {text}"))
}

fn quoted(part: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in part {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\{other:03}")),
        }
    }
    text.push('"');
    text
}

fn rubbish<T>(why: String) -> Result<T, DnsError> {
    Err(DnsError::Rubbish { why })
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{MX, TXT};

    use super::super::wire::domain;
    use super::*;

    #[test]
    fn lines_can_be_put_into_a_zone_file() {
        let name = domain("example.com").unwrap();
        let check = |data: RData, expected: &str| {
            assert_eq!(line(&Record::from_rdata(name.clone(), 60, data)).unwrap(), expected);
        };
        check(
            RData::MX(MX::new(10, domain("mail.example.com").unwrap())),
            "example.com. 60 IN MX 10 mail.example.com.",
        );
        check(
            RData::TXT(TXT::from_bytes(vec![b"a \"b\" \\", b"\xffc"])),
            r#"example.com. 60 IN TXT "a \"b\" \\" "\255c""#,
        );
        let unknown = RData::Unknown {
            code: WireType::Unknown(65280),
            rdata: hickory_proto::rr::rdata::NULL::with(vec![1, 0xab]),
        };
        check(unknown, r"example.com. 60 IN TYPE65280 \# 2 01ab");
    }
}
