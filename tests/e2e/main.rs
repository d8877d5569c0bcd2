//! End to end: the program itself, run in an internet of network namespaces that is broken on purpose, and what `dig`
//! shows then.
//!
//! ```text
//!   witness run ──ping, TLS, SSH──▶ n1 n2 n3 n4        real ICMP, a TLS server and an sshd each
//!        │  └──────TCP────────────▶ anchor1 anchor2 anchor3
//!        └───────RFC 2136, TSIG───▶ dns: knot, zone example.test ◀── dig (the whole zone, by transfer)
//! ```
//!
//! Each test has an internet of its own and breaks it several times. After every step the whole zone must be what it
//! should be, foreign records included, and until then it may only be on its way there.
//! Waits are bounded by far more than they take. A test that fails prints what the witness remembers.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod cron;
mod dual_stack;
mod floor;
mod isolated;
mod killed;
mod name_server;
#[path = "../support/internet.rs"]
mod net;
mod relays;
mod service;
#[path = "../support/watch.rs"]
mod watch;
mod world;
mod zone;
