//! Registrars against what they are made for: a file, a program, real name servers.

mod contract;
mod exec;
mod mock;
mod publication;
mod rfc2136;
mod world;
