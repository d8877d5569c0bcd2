//! See `edge/files.rs`.

#![no_main]

#[path = "../edge/files.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
