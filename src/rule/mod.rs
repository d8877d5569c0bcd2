//! The verbs: pure functions over the model.

mod guard;

pub use guard::{ApprovedPlan, Authority, Grounds, Refusal, admit, approve};
