//! See `origin/multipart.rs`.

#![no_main]

#[path = "../origin/multipart.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
