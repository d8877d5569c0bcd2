//! A Pomf-compatible upload server and store that loses nothing.
//!
//! ```text
//!   serve   pages   admin     listeners, routes, answers
//!     │
//!   upload                    multipart in, receipts out
//!     │
//!   rules                     may this be accepted?  pure
//!     │
//!   store   db                bytes and rows
//!     │
//!   model                     values
//! ```

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod db;
pub mod import;
pub mod janitor;
pub mod metrics;
pub mod model;
pub mod origin;
pub mod pages;
pub mod rules;
pub mod serve;
pub mod store;
pub mod upload;
