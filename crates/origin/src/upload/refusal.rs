//! Why an upload is not taken.

use std::time::Duration;

use http::StatusCode;

use super::multipart::FormError;
use crate::db::DbError;
use crate::screen::Rejection;
use crate::store::StoreError;

/// Why an upload is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no file in it.
    NoFile,
    /// There is a place for one in it, and it is empty.
    EmptyField,
    /// It broke off.
    Partial,
    /// It came too slowly.
    Slow,
    /// It is larger than what is taken.
    TooLarge,
    /// It is no form, or one that goes too far.
    Form(FormError),
    /// It asks for something that is not possible.
    Wish(&'static str),
    /// There are too many files in it.
    TooManyFiles,
    /// What it is, or is called, is not taken.
    Blocked(String),
    /// Nobody may upload this.
    Banned,
    /// There is a virus in it, says a scanner.
    Infected(String),
    /// What a camera wrote cannot be taken out of it.
    Unstrippable(String),
    /// No scanner could look at it.
    Unscanned(String),
    /// This address may not do anything here.
    BannedAddress,
    /// Only those who have a token may upload.
    NoToken,
    /// This address has sent as much as it may; it may go on after so long.
    TooMuch(Duration),
    /// This address sends too much at once.
    TooManyAtOnce,
    /// This method is not for this path.
    Method,
    /// There is no room for it.
    Full,
    /// Another origin takes uploads, not this one.
    Elsewhere,
    /// It could not be stored.
    Failed(String),
}

impl Refusal {
    /// The HTTP status, which is Pomf's `errorcode`, too.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoFile | Self::EmptyField | Self::Partial | Self::Form(_) | Self::Wish(_) => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge | Self::TooManyFiles => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Blocked(_) | Self::Infected(_) | Self::Unstrippable(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BannedAddress => StatusCode::FORBIDDEN,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::TooMuch(_) | Self::TooManyAtOnce => StatusCode::TOO_MANY_REQUESTS,
            Self::Unscanned(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Banned => StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Elsewhere => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One word, for what is counted.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoFile => "no_file",
            Self::EmptyField => "empty_field",
            Self::Partial => "partial",
            Self::Slow => "slow",
            Self::TooLarge => "too_large",
            Self::Form(_) => "form",
            Self::Wish(_) => "wish",
            Self::TooManyFiles => "too_many_files",
            Self::Blocked(_) => "blocked",
            Self::Banned => "banned",
            Self::Infected(_) => "infected",
            Self::Unstrippable(_) => "unstrippable",
            Self::Unscanned(_) => "unscanned",
            Self::BannedAddress => "banned_address",
            Self::NoToken => "no_token",
            Self::TooMuch(_) => "too_much",
            Self::TooManyAtOnce => "too_many_at_once",
            Self::Method => "method",
            Self::Full => "full",
            Self::Elsewhere => "elsewhere",
            Self::Failed(_) => "failed",
        }
    }

    /// What clients show; Pomf's own words where it has some.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Self::NoFile => "No input file(s)".to_owned(),
            Self::EmptyField => "No file was uploaded".to_owned(),
            Self::Partial => "The uploaded file was only partially uploaded".to_owned(),
            Self::Slow => "The upload was too slow".to_owned(),
            Self::TooLarge => "The uploaded file is too large".to_owned(),
            Self::Form(error) => error.to_string(),
            Self::Wish(what) => (*what).to_owned(),
            Self::TooManyFiles => "Too many files".to_owned(),
            Self::Blocked(_) => "Filetype not allowed.".to_owned(),
            Self::Banned => "File blacklisted.".to_owned(),
            Self::Infected(_) => "There is a virus in this file".to_owned(),
            Self::Unstrippable(_) => "This picture is damaged".to_owned(),
            Self::Unscanned(_) => "Nobody can look for viruses now; try again later".to_owned(),
            Self::BannedAddress => "This address is banned".to_owned(),
            Self::NoToken => "A token is needed to upload".to_owned(),
            Self::TooMuch(_) => "This address has uploaded too much; try again later".to_owned(),
            Self::TooManyAtOnce => "This address uploads too much at once; try again later".to_owned(),
            Self::Method => "Another method is needed".to_owned(),
            Self::Full => "There is no room for this file".to_owned(),
            Self::Elsewhere => "This server takes no files now".to_owned(),
            Self::Failed(_) => "The file could not be stored".to_owned(),
        }
    }
}

impl Refusal {
    /// Whether it is about what is in the file: another time it would be the same.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Blocked(_) | Self::Banned | Self::Infected(_) | Self::Unstrippable(_) | Self::TooLarge => true,
            Self::Elsewhere
            | Self::NoFile
            | Self::EmptyField
            | Self::Partial
            | Self::Slow
            | Self::Form(_)
            | Self::Wish(_)
            | Self::TooManyFiles
            | Self::Unscanned(_)
            | Self::BannedAddress
            | Self::NoToken
            | Self::TooMuch(_)
            | Self::TooManyAtOnce
            | Self::Method
            | Self::Full
            | Self::Failed(_) => false,
        }
    }

    /// In seconds, after which it may be tried again.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMuch(wait) => Some(wait.as_secs() + 1),
            Self::TooManyAtOnce => Some(10),
            Self::Unscanned(_) => Some(60),
            _ => None,
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Unstrippable(why) => Self::Unstrippable(why.to_string()),
            Rejection::Infected(name) => Self::Infected(name),
            Rejection::Unscanned(why) => Self::Unscanned(why),
            Rejection::Store(error) => error.into(),
        }
    }
}

impl From<FormError> for Refusal {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Early => Self::Partial,
            FormError::Boundary => Self::NoFile,
            FormError::TooMany(_) | FormError::TooLong(_) => Self::Form(error),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::Used(_) | StoreError::Io { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Full => Self::Full,
            DbError::Elsewhere => Self::Elsewhere,
            other => Self::Failed(other.to_string()),
        }
    }
}
