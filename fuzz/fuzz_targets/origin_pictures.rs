//! See `origin/pictures.rs`.

#![no_main]

#[path = "../origin/pictures.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
