//! Overload, in real packets: four nodes behind narrow links, and people who want a fifth more than these can carry.
//!
//! ```text
//!   clients ──DNS──▶ dns: knot ◀──RFC 2136── witness run
//!      │  A records, TTL 5 s                    │ ping, TLS, SSH
//!      └──100 kB each──▶ n1 n2 n3 n4 ◀──────────┘
//!                        └─ tbf ─┘ what they send waits in a short queue, and what finds it full is lost
//! ```
//!
//! Everybody's packets go through the same queues: those of the clients, of the witness's probes, of their answers. Nothing
//! is made up, so how much is lost differs from run to run; what is asserted is who is in DNS, and what the witness says.
//!
//! It takes minutes and the machine's whole attention, so it runs when it is asked for: `cargo xtask overload-test`.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod beside;
mod kept;
#[path = "../support/internet.rs"]
mod net;
mod relays;
#[path = "../support/watch.rs"]
mod watch;
mod world;
