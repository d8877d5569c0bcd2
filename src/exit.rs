//! Exit codes, as the manual lists them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done. A change that a guard held is done, too: for `once` and `run` it is no failure.
    Done,
    /// The work could not be completed: the database, a registrar, the machine.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// A guard refused what a person asked for.
    Refused,
    /// `status --check`: all serving.
    CheckOk,
    /// `status --check`: something is withdrawn, suspect or pinned.
    CheckWarning,
    /// `status --check`: a pool is at its floor, or the fleet is overloaded, dark or isolated.
    CheckCritical,
    /// `status --check`: there was no tick within three intervals, or nothing can be said.
    CheckUnknown,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done | Self::CheckOk => 0,
            Self::Failed | Self::CheckWarning => 1,
            Self::Usage | Self::CheckCritical => 2,
            Self::Refused | Self::CheckUnknown => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command that did not end well: what to print, and with which code to leave.
#[derive(Debug)]
pub struct Failure {
    /// With which code.
    pub exit: Exit,
    /// One line for people: what failed, why, and what to do. Empty: everything has been said.
    pub message: String,
}

impl Failure {
    /// The work could not be completed.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// The command line or configuration is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }
}
