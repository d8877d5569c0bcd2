//! The fleet witness is shown and tested on.

pub mod namecheap;
