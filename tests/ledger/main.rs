//! The ledger, from outside: what it keeps, what it survives, what it says when it cannot.

#![expect(clippy::unwrap_used, reason = "a test may; only clippy does not see that helpers are tests' own")]

mod any;
mod crash;
mod files;
mod kept;
mod leases;
mod loads;
mod narrated;
mod pruned;
mod rates;
mod shared;
mod world;
