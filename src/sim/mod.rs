//! A small world in which decisions have consequences: nodes with a capacity, clients that remember addresses, names that
//! take time to change, probes that are lost. Seeded: the same seed is the same world for whoever steers.
//!
//! A recording cannot say what would have happened after a decision that was not made. This can, as far as its assumptions
//! go: they are in [`Model`], one by one, to be varied.

mod builtin;
mod expect;
mod noise;
mod outcome;
mod peers;
mod pilot;
mod probes;
mod random;
mod run;
mod scenario;
mod steering;
mod trace;
mod world;

pub use builtin::BUILTIN;
pub use expect::{Check, check};
pub use noise::Noise;
pub use outcome::{Death, Done, Outcome, Sample};
pub use pilot::{Eyes, Move, Reasoned};
pub use random::random;
pub use run::{Run, run};
pub use scenario::{Crash, Event, Expect, Model, PathTrouble, Scenario, SimNode, State};
pub use steering::Steering;
pub(crate) use trace::observation;
