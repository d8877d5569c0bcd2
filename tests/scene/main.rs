//! What is decided, and how soon: the rule in a closed loop, at two speeds, through the lines that `witness judge` reads.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may")]

mod crowd;
mod figures;
mod guards;
mod ladder;
mod mistakes;
mod scene;
mod times;
mod worth;
