//! See `edge/range.rs`.

#![no_main]

#[path = "../edge/range.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
