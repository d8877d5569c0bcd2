//! A caching reverse proxy for big files.
//!
//! ```text
//!   serve    listeners, requests, answers                 shell
//!     │
//!   http     may this be stored, is it fresh, which range   pure
//!     │
//!   fill     one stream from a source, many readers
//!     │
//!   store    slices on disk
//! ```

pub mod access_log;
pub mod clock;
pub mod config;
pub mod connect;
mod crash;
pub mod edge;
pub mod fill;
pub mod http;
pub mod load;
pub mod serve;
pub mod source;
pub mod sticky;
pub mod store;
