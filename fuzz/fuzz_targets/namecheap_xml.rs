//! Whatever Namecheap's API might answer: no panic, and no list of rows that a write would be made of unseen.

#![no_main]

use libfuzzer_sys::fuzz_target;
use witness::model::{RecordType, SetKey};
use witness::registrar::namecheap::{Answer, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(Answer::Hosts(list)) = parse(data) else { return };
    let apex = RecordType::ALL.map(|rtype| SetKey { owner: "@".to_owned(), rtype });
    drop(list.sets(&apex));
    assert_eq!(list.token(), list.token());
    if list.writable(true).is_ok() {
        assert!(!list.rows.is_empty() && list.email_type.is_some());
    }
});
