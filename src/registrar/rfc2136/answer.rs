//! What a server's answer to an update means.
//!
//! Servers tell the same trouble differently, and some do not sign it. As seen on knot 3.2, BIND 9.18 and PowerDNS 4.7:
//!
//! | trouble | knot | BIND | PowerDNS |
//! |---|---|---|---|
//! | prerequisite fails | NXRRSET or YXRRSET, signed | same | same |
//! | wrong secret | NOTAUTH with BADSIG, unsigned | same | REFUSED, unsigned |
//! | clock off | NOTAUTH with BADTIME, signed | same | REFUSED, unsigned |
//! | not allowed | NOTAUTH with BADKEY, unsigned | REFUSED, signed | |
//! | wrong zone | NOTAUTH, unsigned | NOTAUTH, signed | NOTAUTH, signed |

use std::net::SocketAddr;

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;

use super::super::ApplyOutcome;
use crate::dns::{Signature, TsigKey, parse_message, rcode_name};
use crate::model::Time;

/// What it means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Done.
    Done,
    /// What stands is not what was required; `verified` where it is certain that the server says so.
    Conflict { why: String, verified: bool },
    /// Something else.
    Other(ApplyOutcome),
}

/// Reads `bytes`, the answer to an update under `id` that was signed with `request`.
pub(super) fn interpret(
    bytes: &[u8],
    id: u16,
    request: &[u8],
    key: Option<&TsigKey>,
    zone: &str,
    server: SocketAddr,
    now: Time,
) -> Said {
    let message = match parse_message(bytes, id, OpCode::Update) {
        Ok(message) => message,
        Err(error) => return Said::Other(ApplyOutcome::Unknown { why: format!("{server}: {error}") }),
    };
    let rcode = message.metadata.response_code;
    let code = rcode_name(rcode);
    let Some(key) = key else { return unsigned_by_us(rcode, &code, zone, server) };
    let name = key.name();
    match key.check(&message, bytes, request, b"", true, now) {
        Signature::Valid { error: Some(TsigError::BadTime), server_time } => auth(clock_off(server, server_time, now)),
        Signature::Valid { error: Some(error), .. } => {
            auth(format!("{server} answered {code} with TSIG error {error:?} for key {name}"))
        }
        Signature::Valid { error: None, .. } => verified(rcode, &code, zone, server, &name),
        Signature::Absent { error } => unverified(rcode, &code, error, zone, server, &name),
        // Somebody else answered, or answered an older question: it says nothing about ours.
        Signature::Wrong { why } => {
            Said::Other(ApplyOutcome::Unknown { why: format!("{server} answered {code}, unverified: {why}") })
        }
    }
}

fn verified(rcode: ResponseCode, code: &str, zone: &str, server: SocketAddr, name: &str) -> Said {
    match rcode {
        ResponseCode::NoError => Said::Done,
        ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain => {
            Said::Conflict { why: format!("{server} answered {code}"), verified: true }
        }
        ResponseCode::NotAuth | ResponseCode::NotZone => permanent(format!(
            "{server} answered {code}: it is not the primary server of {zone}; see `zone` and `server`"
        )),
        ResponseCode::Refused => permanent(format!(
            "{server} answered REFUSED to key {name}: it may not change these sets; see update-policy, acl or \
             TSIG-ALLOW-DNSUPDATE there"
        )),
        other => rest(other, code, server),
    }
}

/// Nobody vouches for it, so it is never taken for success.
fn unverified(
    rcode: ResponseCode,
    code: &str,
    error: Option<TsigError>,
    zone: &str,
    server: SocketAddr,
    name: &str,
) -> Said {
    match (rcode, error) {
        (ResponseCode::NoError, _) => Said::Other(ApplyOutcome::Unknown {
            why: format!("{server} says it is done and does not sign it with key {name}"),
        }),
        (_, Some(TsigError::BadSig)) => auth(format!(
            "rejected, unverified: {server} answered {code} with BADSIG: key {name} has another secret or algorithm there"
        )),
        (_, Some(TsigError::BadKey)) => auth(format!(
            "rejected, unverified: {server} answered {code} with BADKEY: it does not know key {name}, or does not allow \
             it to change these sets (knot says so for both)"
        )),
        (_, Some(TsigError::BadTime)) => auth(format!(
            "rejected, unverified: {server} answered {code} with BADTIME: its clock and ours are more than 300 s apart"
        )),
        (_, Some(error)) => {
            auth(format!("rejected, unverified: {server} answered {code} with TSIG error {error:?} for key {name}"))
        }
        (ResponseCode::Refused, None) => auth(format!(
            "rejected, unverified: {server} answered REFUSED: the secret of key {name} is wrong, the clocks are apart, \
             or updates are not allowed from here (PowerDNS says so for all of these)"
        )),
        (ResponseCode::NotAuth, None) => permanent(format!(
            "rejected, unverified: {server} answered NOTAUTH: it is not the primary server of {zone}, or key {name} is \
             not for it"
        )),
        (ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain, None) => {
            Said::Conflict { why: format!("{server} answered {code}"), verified: false }
        }
        (other, None) => rest(other, code, server),
    }
}

fn unsigned_by_us(rcode: ResponseCode, code: &str, zone: &str, server: SocketAddr) -> Said {
    match rcode {
        ResponseCode::NoError => Said::Done,
        ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain => {
            Said::Conflict { why: format!("{server} answered {code}"), verified: true }
        }
        ResponseCode::Refused | ResponseCode::NotAuth => auth(format!(
            "{server} answered {code} to an unsigned update of {zone}: set key_name and key_file, or it is not that zone's \
             primary server"
        )),
        other => rest(other, code, server),
    }
}

fn rest(rcode: ResponseCode, code: &str, server: SocketAddr) -> Said {
    let why = format!("{server} answered {code}");
    Said::Other(match rcode {
        // A secondary that passes updates on says so when its primary did not answer: that one may have done it.
        ResponseCode::ServFail => ApplyOutcome::Unknown { why },
        ResponseCode::NotImp => ApplyOutcome::Permanent { why: format!("{why}: it takes no dynamic updates") },
        ResponseCode::FormErr => ApplyOutcome::Permanent { why: format!("{why}: it does not understand the update") },
        ResponseCode::NotZone => ApplyOutcome::Permanent { why: format!("{why}: a name is not in the zone") },
        _ => ApplyOutcome::Unknown { why },
    })
}

fn clock_off(server: SocketAddr, server_time: Option<u64>, now: Time) -> String {
    let theirs = server_time.and_then(|s| i64::try_from(s).ok()).and_then(|s| s.checked_mul(1000)).map(Time);
    match theirs {
        Some(theirs) => format!(
            "{server} answered BADTIME: it is {theirs} there and {now} here, and 300 s are allowed; set the clocks"
        ),
        None => format!("{server} answered BADTIME: it is {now} here, and its clock is more than 300 s away"),
    }
}

fn auth(why: String) -> Said {
    Said::Other(ApplyOutcome::Auth { why })
}

fn permanent(why: String) -> Said {
    Said::Other(ApplyOutcome::Permanent { why })
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Secret, TsigAlgorithm};

    const NOW: Time = Time(1_700_000_000_000);

    fn key() -> TsigKey {
        TsigKey::new("witness-key", TsigAlgorithm::HmacSha256, &Secret::new("c2VjcmV0")).unwrap()
    }

    fn say(rcode: ResponseCode, key: Option<&TsigKey>) -> Said {
        let mut message = Message::response(7, OpCode::Update);
        message.metadata.response_code = rcode;
        let server = "192.0.2.53:53".parse().unwrap();
        interpret(&message.to_vec().unwrap(), 7, b"mac", key, "example.com", server, NOW)
    }

    #[test]
    fn an_unsigned_yes_is_not_believed() {
        let Said::Other(ApplyOutcome::Unknown { why }) = say(ResponseCode::NoError, Some(&key())) else {
            panic!("believed")
        };
        assert!(why.contains("does not sign"), "{why}");
        assert_eq!(say(ResponseCode::NoError, None), Said::Done);
    }

    #[test]
    fn an_unsigned_conflict_proves_nothing() {
        let said = say(ResponseCode::NXRRSet, Some(&key()));
        assert!(matches!(said, Said::Conflict { verified: false, .. }), "{said:?}");
    }

    #[test]
    fn a_server_failure_may_hide_a_success() {
        for key in [None, Some(&key())] {
            assert!(matches!(say(ResponseCode::ServFail, key), Said::Other(ApplyOutcome::Unknown { .. })));
        }
    }

    #[test]
    fn clocks_are_told_apart_in_words() {
        let server = "192.0.2.53:53".parse().unwrap();
        let why = clock_off(server, Some(1_700_000_400), NOW);
        assert!(why.contains("2023-11-14T22:20:00.000Z") && why.contains("2023-11-14T22:13:20.000Z"), "{why}");
        assert!(clock_off(server, Some(u64::MAX), NOW).contains("BADTIME"));
    }

    proptest! {
        #[test]
        fn rubbish_is_unknown_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let id = bytes.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
            let server = "192.0.2.53:53".parse().unwrap();
            let said = interpret(&bytes, id, b"mac", Some(&key()), "example.com", server, NOW);
            prop_assert_ne!(said, Said::Done);
        }
    }
}
