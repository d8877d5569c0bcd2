//! The command line as people and scripts meet it: every command on a small fleet on loopback, as snapshots.

#[path = "../support/stage.rs"]
mod stage;

mod asked;
mod hand;
mod help;
mod loop_;
mod pipes;
mod reference;
mod troubled;
