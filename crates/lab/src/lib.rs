//! The fleet witness is shown and tested on: certificates, toy nodes, name servers, real sshds, networks to break.
//!
//! Nothing here knows the controller. What listens runs on a thread of its own, so that a test may block, run on any
//! runtime or on none; what is started is stopped when its handle is dropped, also when a test panics.

pub mod clients;
pub mod dnsserver;
pub mod egress;
pub mod fleet;
pub mod golden;
pub mod internet;
pub mod namecheap;
pub mod nameserver;
pub mod netns;
pub mod node;
pub mod ports;
pub mod process;
pub mod skip;
pub mod sshd;
pub mod tls;
mod worker;

pub use skip::{skip, skip_machine};
