//! Signing messages and checking the signatures of answers (RFC 8945).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::Message;
use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm as Wire, TsigError, signed_bitmessage_to_buf};

use super::DnsError;
use super::wire::domain;
use crate::model::{Secret, Time, TsigAlgorithm};

/// How far clocks may be apart, seconds: what RFC 8945, section 10, recommends.
const FUDGE: u16 = 300;

/// A shared key.
#[derive(Clone)]
pub(crate) struct TsigKey {
    signer: TSigner,
}

/// What an answer's signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// It is the server's; with the error it gives and, for a clock that is off, its own time in seconds.
    Valid { error: Option<TsigError>, server_time: Option<u64> },
    /// There is none, or an empty one that carries an error: anybody can have sent this.
    Absent { error: Option<TsigError> },
    /// There is one, and it is not right.
    Wrong { why: String },
}

impl TsigKey {
    /// `secret` is base64, as key files have it.
    ///
    /// # Errors
    /// A sentence on what is wrong with name or secret; never the secret.
    pub(crate) fn new(name: &str, algorithm: TsigAlgorithm, secret: &Secret) -> Result<Self, String> {
        let name = domain(name).map_err(|error| format!("key name: {error}"))?;
        let bytes = STANDARD
            .decode(secret.expose().trim())
            .map_err(|_| format!("the secret of key {name} is not base64, as `tsig-keygen` prints it"))?;
        if bytes.is_empty() {
            return Err(format!("the secret of key {name} is empty"));
        }
        let algorithm = match algorithm {
            TsigAlgorithm::HmacSha256 => Wire::HmacSha256,
            TsigAlgorithm::HmacSha384 => Wire::HmacSha384,
            TsigAlgorithm::HmacSha512 => Wire::HmacSha512,
        };
        let signer = TSigner::new(bytes, algorithm, name, FUDGE).map_err(|error| error.to_string())?;
        Ok(Self { signer })
    }

    /// The key's name, as the server must know it.
    pub(crate) fn name(&self) -> String {
        self.signer.signer_name().to_ascii()
    }

    /// Signs `message` as of `now` and returns the signature, which the answer's is checked against.
    pub(crate) fn sign(&self, message: &mut Message, now: Time) -> Result<Vec<u8>, DnsError> {
        message
            .finalize(&self.signer, seconds(now))
            .map_err(|error| DnsError::Rubbish { why: format!("the message cannot be signed: {error}") })?;
        Ok(message.signature().map(|record| record.data.mac.clone()).unwrap_or_default())
    }

    /// Checks `bytes`, which were read as `message`, against what was signed before: the question's signature, or in a
    /// series the last one. `unsigned` are the messages of a series that came since without one.
    pub(crate) fn check(
        &self,
        message: &Message,
        bytes: &[u8],
        previous: &[u8],
        unsigned: &[u8],
        first: bool,
        now: Time,
    ) -> Signature {
        let Some(record) = message.signature() else { return Signature::Absent { error: None } };
        let tsig = &record.data;
        if tsig.mac.is_empty() {
            return Signature::Absent { error: tsig.error };
        }
        if record.name != *self.signer.signer_name() || tsig.algorithm != *self.signer.algorithm() {
            return Signature::Wrong { why: format!("it is signed with another key, {}", record.name) };
        }
        let signed = match signed_bitmessage_to_buf(bytes, None, first) {
            // It writes the flags as it read them, without those it does not know; the server signed what it sent.
            Ok((mut signed, _)) => {
                signed[2..10].copy_from_slice(&bytes[2..10]);
                signed
            }
            Err(error) => return Signature::Wrong { why: error.to_string() },
        };
        let mut whole = Vec::with_capacity(2 + previous.len() + unsigned.len() + signed.len());
        // A signature is at most 64 bytes.
        whole.extend_from_slice(&u16::try_from(previous.len()).unwrap_or(0).to_be_bytes());
        whole.extend_from_slice(previous);
        whole.extend_from_slice(unsigned);
        whole.extend_from_slice(&signed);
        if self.signer.verify(&whole, &tsig.mac).is_err() {
            return Signature::Wrong { why: "its signature was not made with our key".to_owned() };
        }
        if tsig.error != Some(TsigError::BadTime) && seconds(now).abs_diff(tsig.time) > u64::from(FUDGE) {
            return Signature::Wrong {
                why: format!("it was signed {} s away from now", seconds(now).abs_diff(tsig.time)),
            };
        }
        Signature::Valid { error: tsig.error, server_time: server_time(tsig) }
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({})", self.signer.signer_name())
    }
}

/// The time that a server gives with BADTIME, 48 bits (RFC 8945, section 5.2.3).
fn server_time(tsig: &TSIG) -> Option<u64> {
    let bytes: [u8; 6] = tsig.other.as_slice().try_into().ok()?;
    Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

fn seconds(at: Time) -> u64 {
    u64::try_from(at.0 / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::TSigResponseContext;
    use proptest::prelude::*;

    use super::*;

    fn key(secret: &str) -> Result<TsigKey, String> {
        TsigKey::new("witness-key", TsigAlgorithm::HmacSha256, &Secret::new(secret))
    }

    #[test]
    fn a_bad_secret_is_named_and_not_shown() {
        let error = key("not base64 hunter2!").unwrap_err();
        assert!(error.contains("witness-key") && error.contains("base64"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(key("").unwrap_err().contains("empty"));
        let debug = format!("{:?}", key("aHVudGVyMg==").unwrap());
        assert_eq!(debug, "TsigKey(witness-key.)");
    }

    /// An answer to `question`, signed by `key` at `at`, and the signature that it answers.
    fn answered(key: &TsigKey, at: Time, error: Option<TsigError>) -> (Message, Vec<u8>, Vec<u8>) {
        let mut question = Message::query();
        let previous = key.sign(&mut question, at).unwrap();
        let mut answer = Message::response(question.metadata.id, OpCode::Update);
        let context =
            TSigResponseContext::new(answer.metadata.id, seconds(at), key.signer.clone(), previous.clone(), error);
        let signature = context.sign(&answer.to_vec().unwrap()).unwrap();
        answer.set_signature(signature);
        let bytes = answer.to_vec().unwrap();
        (Message::from_vec(&bytes).unwrap(), bytes, previous)
    }

    const NOW: Time = Time(1_700_000_000_000);

    #[test]
    fn every_algorithm_signs_and_checks() {
        for algorithm in [TsigAlgorithm::HmacSha256, TsigAlgorithm::HmacSha384, TsigAlgorithm::HmacSha512] {
            let key = TsigKey::new("witness-key", algorithm, &Secret::new("c2VjcmV0")).unwrap();
            let (answer, bytes, previous) = answered(&key, NOW, None);
            let signature = key.check(&answer, &bytes, &previous, b"", true, NOW);
            assert_eq!(signature, Signature::Valid { error: None, server_time: None }, "{algorithm:?}");
        }
    }

    #[test]
    fn whatever_is_changed_no_longer_holds() {
        let right = key("c2VjcmV0").unwrap();
        let (answer, bytes, previous) = answered(&right, NOW, None);
        let wrong = |signature: Signature| assert!(matches!(signature, Signature::Wrong { .. }), "{signature:?}");
        wrong(key("b3RoZXI=").unwrap().check(&answer, &bytes, &previous, b"", true, NOW));
        wrong(right.check(&answer, &bytes, b"another question's", b"", true, NOW));
        wrong(right.check(&answer, &bytes, &previous, b"slipped in", true, NOW));
        wrong(right.check(&answer, &bytes, &previous, b"", false, NOW));
        // Every bit of the header but the id, which the signature has a copy of.
        for bit in 16..96 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Message::from_vec(&forged) {
                let signature = right.check(&read, &forged, &previous, b"", true, NOW);
                assert!(!matches!(signature, Signature::Valid { .. }), "bit {bit}");
            }
        }
        let renamed = TsigKey::new("other", TsigAlgorithm::HmacSha256, &Secret::new("c2VjcmV0")).unwrap();
        wrong(renamed.check(&answer, &bytes, &previous, b"", true, NOW));
    }

    #[test]
    fn an_old_answer_does_not_hold_but_a_complaint_about_clocks_does() {
        let key = key("c2VjcmV0").unwrap();
        let later = Time(NOW.0 + 301_000);
        let (answer, bytes, previous) = answered(&key, NOW, None);
        assert!(matches!(key.check(&answer, &bytes, &previous, b"", true, later), Signature::Wrong { .. }));
        let (answer, bytes, previous) = answered(&key, NOW, Some(TsigError::BadTime));
        let signature = key.check(&answer, &bytes, &previous, b"", true, later);
        assert_eq!(signature, Signature::Valid { error: Some(TsigError::BadTime), server_time: None });
    }

    #[test]
    fn no_signature_is_told_from_a_wrong_one() {
        let key = key("c2VjcmV0").unwrap();
        let plain = Message::response(7, OpCode::Update);
        let bytes = plain.to_vec().unwrap();
        assert_eq!(key.check(&plain, &bytes, b"", b"", true, NOW), Signature::Absent { error: None });
    }

    proptest! {
        #[test]
        fn a_damaged_signature_does_not_panic(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let key = key("c2VjcmV0").unwrap();
            let (_, mut bytes, previous) = answered(&key, NOW, None);
            for (at, to) in flips {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            if let Ok(read) = Message::from_vec(&bytes) {
                let _ = key.check(&read, &bytes, &previous, b"", true, NOW);
            }
        }
    }
}
