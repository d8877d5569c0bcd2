//! A Pomf-compatible upload server and store that loses nothing.
//!
//! ```text
//!   serve   pages   admin     listeners, routes, answers
//!     │
//!   upload                    multipart and tus in, receipts out
//!     │
//!   limits  screen  purge     who may do how much; what is taken out and found; who is told
//!     │
//!   rules                     may this be accepted?  pure
//!     │
//!   tier   backup   follow    copies elsewhere, and the way back
//!     │
//!   store   db                bytes and rows
//!     │
//!   model                     values
//! ```

pub mod admin;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod copies;
pub mod crash;
pub mod db;
pub mod follow;
pub mod import;
pub mod janitor;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod origin;
pub mod pages;
pub mod purge;
pub mod rules;
pub mod screen;
pub mod serve;
pub mod store;
pub mod tier;
pub mod upload;
