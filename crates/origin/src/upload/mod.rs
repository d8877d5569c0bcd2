//! Uploads: what comes in, and what is answered.
//!
//! [`Receiver`] gets content onto the disk, [`Publisher`] gives it names, [`Teller`] tells. Whatever other way in there
//! is ends in the publisher, too.

pub mod multipart;

mod disposition;
mod handler;
mod publisher;
mod receive;
mod refusal;
mod reply;
pub mod tus;
mod wish;

pub use disposition::Disposition;
pub use handler::{Admission, Admitted, Uploads};
pub use publisher::{Publisher, Receipt, Resumed, Uploader};
pub use receive::{Received, Receiver, Source};
pub use refusal::Refusal;
pub use reply::{Format, Teller, escape_html};
pub use wish::Wish;
