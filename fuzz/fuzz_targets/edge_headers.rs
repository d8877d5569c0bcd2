//! See `edge/headers.rs`.

#![no_main]

#[path = "../edge/headers.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
