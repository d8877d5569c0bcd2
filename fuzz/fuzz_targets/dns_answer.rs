//! Whatever a server sends: `parse_answer` must return.

#![no_main]

use libfuzzer_sys::fuzz_target;
use witness::dns::{Question, parse_answer};

fuzz_target!(|bytes: &[u8]| {
    // The id that it claims, so that the rest is looked at.
    let id = bytes.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    // A, AAAA, SOA and NS are what is asked for; the first byte of the flags chooses.
    let rtype = [1u16, 28, 6, 2][usize::from(bytes.get(2).copied().unwrap_or(0) & 3)];
    let question = Question::new("example.com", rtype.into()).expect("a name");
    if let Ok(answer) = parse_answer(bytes, id, &question) {
        let _ = answer.addresses(&question);
        let _ = answer.serial(&question);
    }
});
