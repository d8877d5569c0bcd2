//! The program, killed, stopped and lied to: what it does at the next start, and what it never does.
//!
//! Everything is on loopback: toy nodes, a zone in a file that the mock registrar edits, a name server that answers from
//! it. `WITNESS_CRASH_SEEDS` says how many seeds are tried (docs/testing.md).

#![expect(clippy::unwrap_used, reason = "a test may; only clippy does not see that helpers are tests' own")]

mod faults;
mod fleet;
mod killed;
mod ledger;
mod rubbish;
mod stopped;
mod world;
