//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot be used like this.
    Error,
    /// It can be used, and somebody should know.
    Warning,
    /// As it should be, or a fact worth telling.
    Note,
}

impl Severity {
    /// As shown to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// An error makes the configuration unusable; a warning does not.
    pub severity: Severity,
    /// Which file.
    pub file: PathBuf,
    /// Which line, from 1.
    pub line: usize,
    /// Which character of the line, from 1.
    pub column: usize,
    /// The whole key, like `probes.https.timeout`; empty when the file is no TOML.
    pub key: String,
    /// As written; `(hidden)` for what may be secret; none when there is none.
    pub value: Option<String>,
    /// What is wrong: a fragment without a final stop.
    pub message: String,
    /// What to do: a fragment without a final stop.
    pub remedy: String,
}

impl fmt::Display for Problem {
    /// All of it on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if self.severity != Severity::Error {
            write!(f, "{}: ", self.severity.name())?;
        }
        let subject = self.subject();
        if !subject.is_empty() {
            write!(f, "{subject}: ")?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

impl Problem {
    /// Key and value, as in the file.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.value {
            Some(value) if self.key.is_empty() => value.clone(),
            Some(value) => format!("{} = {value}", self.key),
            None => self.key.clone(),
        }
    }
}
