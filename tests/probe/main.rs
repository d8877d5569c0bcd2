//! Probes against real servers on loopback and in network namespaces.
//!
//! Tests that need root or a program that is not there are counted as skipped, with the reason.

#![expect(clippy::unwrap_used, reason = "tests may, and so may what they lean on")]

mod cancel;
mod https;
mod load;
mod load_ssh;
mod namespaces;
mod own_trouble;
mod ping;
mod relay;
mod shed;
mod ssh;
mod starvation;
mod support;
