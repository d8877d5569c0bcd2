//! See `origin/names.rs`.

#![no_main]

#[path = "../origin/names.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
