//! HTTP's rules about caches, as pure functions: what may be stored, what is fresh, which bytes are meant.

mod conditional;
mod directives;
mod freshness;
mod head;
mod hops;
mod range;
mod tags;

pub use conditional::{Answer, answer_to, if_range_holds, same_generation, strong_validator};
pub use directives::Directives;
pub use freshness::{Freshness, Rules, freshness, lifetime_reason, may_store};
pub use head::Head;
pub use hops::{Hops, hops, strip_hop_by_hop};
pub use range::{Ranges, parse_content_range, ranges};
pub use tags::{strip_tags, tags};
