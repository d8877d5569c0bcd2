//! Registrars against what they are made for: a file, a program, real name servers.

#![expect(clippy::unwrap_used, reason = "what a test leans on may panic as the test does")]

mod contract;
mod exec;
mod mock;
mod publication;
mod rfc2136;
mod world;
