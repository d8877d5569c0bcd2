//! The command line as people and scripts meet it: every command on a small fleet on loopback, as snapshots.

#![expect(clippy::unwrap_used, reason = "what a test leans on may panic as the test does")]

#[path = "../support/stage.rs"]
mod stage;

mod asked;
mod demo;
mod hand;
mod help;
mod loop_;
mod pipes;
mod reference;
mod traces;
mod troubled;
