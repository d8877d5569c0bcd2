//! `witness` probes every node of a pool, remembers strikes, judges, and edits the DNS so that only nodes that serve
//! stay in it.
//!
//! One tick:
//!
//! ```text
//! gather   probe nodes and anchors; read zone; load memory      shell
//! judge    diagnose → tally → decide → plan → guard             pure
//! intend   write judgement and intent to the ledger             shell
//! apply    hand the approved plan to the registrar              shell
//! verify   read the zone back, ask each name server             shell
//! ```

pub mod backtest;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod daemon;
pub mod dns;
pub mod exit;
pub mod export;
pub mod ledger;
pub mod model;
pub mod plot;
pub mod probe;
mod program;
pub mod publish;
pub mod registrar;
pub mod relay;
pub mod replay;
pub mod rule;
pub mod shed;
pub mod sim;
pub mod tick;
