//! What was recorded from the original: requests and answers, one a line.

use std::path::Path;

use serde::Deserialize;

/// One call and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Exchange {
    /// When, RFC 3339.
    pub t: String,
    /// The test that was recorded.
    pub cassette: String,
    /// Its number within that test.
    pub n: u32,
    /// `GET` or `POST`.
    pub method: String,
    /// The server's name.
    pub host: String,
    /// Parameters in the URL, in order.
    pub query: Vec<(String, String)>,
    /// Parameters in the body, in order.
    pub form: Vec<(String, String)>,
    /// The HTTP status.
    pub status: u16,
    /// Its `Content-Type`.
    pub content_type: String,
    /// The body.
    pub xml: String,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Not at all.
    #[error("read {0}")]
    Io(String, #[source] std::io::Error),
    /// Not this line.
    #[error("read line {1} of {0}")]
    Line(String, usize, #[source] serde_json::Error),
}

impl Exchange {
    /// The last value of a parameter in query or form, whatever the case of its name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().chain(&self.form).rev().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads a file of recorded exchanges.
///
/// # Errors
/// [`ExchangeError`] says which file and line.
pub fn read_exchanges(path: &Path) -> Result<Vec<Exchange>, ExchangeError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ExchangeError::Io(name(), error))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| serde_json::from_str(line).map_err(|error| ExchangeError::Line(name(), index + 1, error)))
        .collect()
}
