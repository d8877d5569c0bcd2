//! A second origin that copies the first, row by row and content before rows, and can take its place.
//!
//! ```text
//!   follower ──GET /replicate/journal?after=N──▶ writer     rows, in the order in which they were written
//!            ──GET /replicate/objects/SHA-256──▶            content that the follower does not have, before its row
//!            ──GET /replicate/copy─────────────▶            all rows at once, where the journal does not reach
//!            ──PUT /replicate/fence────────────▶            "I write from now on, as epoch 3"
//! ```
//!
//! Of two that could write, the one with the higher epoch does. Being fenced is a row of the database, and its triggers
//! refuse whatever would change a name. Where both have the same tier, the epoch stands there, too, and one that writes
//! does so only while it has seen its own epoch there not long ago ([`gate`]): then the other one needs not be reached.

pub mod follower;
pub mod gate;
pub mod promote;
pub mod source;
pub mod standing;

use std::path::Path;

use crate::config::Secret;

/// Why a file with a token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TokenError {
    path: std::path::PathBuf,
    why: String,
}

/// What two origins must both know, from a file that nobody else may read.
///
/// # Errors
///
/// When it cannot be read, is empty, or may be read by others.
pub fn token(path: &Path) -> Result<Secret, TokenError> {
    use std::os::unix::fs::MetadataExt as _;
    let wrong = |why: String| TokenError { path: path.to_owned(), why };
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(wrong(format!("others may read it; chmod 600 {}", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    match text.trim() {
        "" => Err(wrong("it is empty".to_owned())),
        token if token.len() < 16 => Err(wrong("its token has less than 16 characters".to_owned())),
        token => Ok(Secret::new(token)),
    }
}
