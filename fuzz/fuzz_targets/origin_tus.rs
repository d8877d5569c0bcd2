//! See `origin/tus.rs`.

#![no_main]

#[path = "../origin/tus.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
