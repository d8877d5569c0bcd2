//! Asking name servers, one question at a time.
//!
//! No cache, no recursion of our own, no validation: this asks a named server what it holds and believes what an
//! authoritative answer says. [`publication`] asks every authoritative server of a zone whether it shows a change yet.

mod client;
mod nameservers;
pub mod publication;
mod transfer;
mod tsig;
mod wire;

pub use client::{ask, ask_addresses, ask_serial};
pub use nameservers::{Resolvers, find_nameservers};
pub use wire::{Answer, AuthoritativeAnswer, Question, parse_answer};

pub(crate) use client::{Connection, deadline, encode, expect_success, rcode_name, wire_type};
pub(crate) use transfer::transfer;
pub(crate) use tsig::{Signature, TsigKey};
pub(crate) use wire::{domain, parse_message};

use std::net::SocketAddr;
use std::time::Duration;

/// Why a question has no answer. Completes "failed to ask ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// Not a domain name.
    #[error("{name:?} is no domain name: {why}")]
    Name { name: String, why: String },
    /// No answer in time.
    #[error("{server} did not answer within {timeout:?}")]
    Timeout { server: SocketAddr, timeout: Duration },
    /// Nothing could be sent.
    #[error("{server} cannot be reached: {why}")]
    Unreachable { server: SocketAddr, why: String },
    /// The conversation broke off.
    #[error("{server} broke off: {why}")]
    Broken { server: SocketAddr, why: String },
    /// It makes no sense, or it is not the answer to what was asked.
    #[error("answer not understood: {why}")]
    Rubbish { why: String },
    /// The server said no.
    #[error("{server} answered {rcode} when asked for {name} {rtype}")]
    Refused { server: SocketAddr, name: String, rtype: String, rcode: String },
    /// Nobody to ask.
    #[error("no name server is set in {path}: {why}")]
    NoResolver { path: String, why: String },
    /// The zone has no name servers that can be asked.
    #[error("no name server of {zone} was found: {why}")]
    NoNameserver { zone: String, why: String },
}
