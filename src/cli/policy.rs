//! `--policy`, of every command that takes it.

use super::print;
use crate::config::policy_of_text;
use crate::exit::Failure;
use crate::model::Policy;

/// `classic`, or a file with a `[policy]`.
pub(super) fn given(name: &str) -> Result<Policy, Failure> {
    if name == "classic" {
        return Ok(Policy::default().classic());
    }
    let path = std::path::Path::new(name);
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("failed to read {name}: {error}")))?;
    policy_of_text(&text, path).map_err(|problems| {
        for problem in &problems {
            print::note(&problem.to_string());
        }
        Failure::usage(format!("the policy in {name} has mistakes"))
    })
}
