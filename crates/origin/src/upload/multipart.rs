//! `multipart/form-data`, read as it comes: pure, and bounded in every direction.
//!
//! As lenient as PHP where clients differ (lines that end with LF alone, boundaries in quotes, what stands before the
//! first and after the last), and strict about what ends a file.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use super::disposition::{self, Disposition};

/// Of a boundary, in bytes (RFC 2046).
const BOUNDARY: usize = 70;
/// Of a part's header fields, in bytes.
const HEADERS: usize = 16 << 10;
/// In a part.
const FIELDS: usize = 32;
/// Before the first boundary, in bytes.
const PREAMBLE: usize = 4 << 10;
/// Spaces behind a boundary.
const PADDING: usize = 64;
/// Parts in a form.
const PARTS: usize = 1000;

/// What is wrong with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Its type has no boundary, or one that cannot be.
    #[error("the form has no usable boundary")]
    Boundary,
    /// Something that should be short is long.
    #[error("the form's {0} is too long")]
    TooLong(&'static str),
    /// There are too many of something.
    #[error("the form has too many {0}")]
    TooMany(&'static str),
    /// It ends before its last boundary.
    #[error("the form ends early")]
    Early,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part(Disposition),
    /// Some of its content.
    Data(Bytes),
    /// It is over.
    PartEnd,
    /// The form is over.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Headers,
    Body,
    /// A part has ended, and its delimiter was read.
    Between {
        last: bool,
    },
    Epilogue,
}

/// Reads a form.
#[derive(Debug)]
pub struct Parser {
    /// LF, two dashes and the boundary: a CR before it belongs to it.
    finder: Finder<'static>,
    buffer: BytesMut,
    state: State,
    skipped: usize,
    parts: usize,
}

/// What stands behind a delimiter.
enum Behind {
    /// Another part, after so many bytes.
    Part(usize),
    /// Nothing.
    Last,
    /// It is no delimiter.
    Content,
    /// That cannot be told yet.
    Unknown,
}

impl Parser {
    /// For a form with this boundary.
    ///
    /// # Errors
    ///
    /// When that cannot be a boundary.
    pub fn new(boundary: &[u8]) -> Result<Self, FormError> {
        let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
        if boundary.is_empty() || boundary.len() > BOUNDARY || !boundary.iter().all(is_plain) {
            return Err(FormError::Boundary);
        }
        let delimiter = [b"\n--", boundary].concat();
        // The first delimiter may be the first thing there is.
        let buffer = BytesMut::from(&b"\n"[..]);
        let finder = Finder::new(&delimiter).into_owned();
        Ok(Self { finder, buffer, state: State::Preamble, skipped: 0, parts: 0 })
    }

    /// Takes in what has come. Call [`Parser::next`] until it returns nothing before the next.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.state != State::Epilogue {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// What is next; nothing until more has come.
    ///
    /// # Errors
    ///
    /// When it is no form, or one that goes too far.
    #[expect(clippy::should_implement_trait, reason = "there may be more after nothing")]
    pub fn next(&mut self) -> Result<Option<Event>, FormError> {
        loop {
            match self.state {
                State::Preamble => {
                    let (length, found) = self.search();
                    self.skipped += length;
                    if self.skipped > PREAMBLE {
                        return Err(FormError::TooLong("preamble"));
                    }
                    let _ = self.buffer.split_to(length);
                    match found {
                        Some(Behind::Part(end)) => self.begin(end),
                        Some(Behind::Last) => self.state = State::Epilogue,
                        _ if length > 0 => {}
                        _ => return Ok(None),
                    }
                }
                State::Headers => return self.headers(),
                State::Body => {
                    let (length, found) = self.search();
                    if let Some(Behind::Part(_) | Behind::Last) = found {
                        self.state = State::Between { last: matches!(found, Some(Behind::Last)) };
                    }
                    if length > 0 {
                        return Ok(Some(Event::Data(self.buffer.split_to(length).freeze())));
                    }
                    if self.state == State::Body {
                        return Ok(None);
                    }
                }
                State::Between { last: true } => {
                    self.state = State::Epilogue;
                    return Ok(Some(Event::PartEnd));
                }
                State::Between { last: false } => {
                    // It is at the beginning now, and has not changed.
                    if let (0, Some(Behind::Part(end))) = self.search() {
                        self.begin(end);
                    }
                    return Ok(Some(Event::PartEnd));
                }
                State::Epilogue => {
                    self.buffer.clear();
                    return Ok(Some(Event::End));
                }
            }
        }
    }

    /// Nothing more comes.
    ///
    /// # Errors
    ///
    /// When the last boundary did not come either.
    pub fn end(&self) -> Result<(), FormError> {
        if self.state == State::Epilogue { Ok(()) } else { Err(FormError::Early) }
    }

    fn begin(&mut self, end: usize) {
        let _ = self.buffer.split_to(end);
        self.state = State::Headers;
    }

    /// How many bytes at the beginning are certainly content, and what is behind them, if that is known.
    fn search(&self) -> (usize, Option<Behind>) {
        let length = self.finder.needle().len();
        let buffer = &self.buffer[..];
        let Some(at) = self.finder.find(buffer) else {
            // The end may be the beginning of a delimiter.
            let held = buffer.len().min(length);
            let from = buffer.len() - held;
            let begins = buffer[from..].iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            return (begins.map_or(buffer.len(), |begins| from + begins), None);
        };
        let start = if at > 0 && buffer[at - 1] == b'\r' { at - 1 } else { at };
        match behind(&buffer[at + length..]) {
            Behind::Content => (at + length, None),
            Behind::Unknown => (start, None),
            Behind::Last => (start, Some(Behind::Last)),
            Behind::Part(end) => (start, Some(Behind::Part(at - start + length + end))),
        }
    }

    fn headers(&mut self) -> Result<Option<Event>, FormError> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut at = 0;
        loop {
            let rest = &self.buffer[at..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                let too_long = self.buffer.len() > HEADERS;
                return if too_long { Err(FormError::TooLong("header")) } else { Ok(None) };
            };
            at += end + 1;
            if at > HEADERS {
                return Err(FormError::TooLong("header"));
            }
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            match lines.last_mut() {
                _ if line.is_empty() => break,
                // Goes on from the line before.
                Some(before) if line[0] == b' ' || line[0] == b'\t' => before.extend_from_slice(line),
                _ => lines.push(line.to_vec()),
            }
            if lines.len() > FIELDS {
                return Err(FormError::TooMany("header fields"));
            }
        }
        let _ = self.buffer.split_to(at);
        self.parts += 1;
        if self.parts > PARTS {
            return Err(FormError::TooMany("parts"));
        }
        self.state = State::Body;
        let field = lines.iter().find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let name = line[..colon].trim_ascii();
            name.eq_ignore_ascii_case(b"content-disposition").then(|| &line[colon + 1..])
        });
        Ok(Some(Event::Part(field.map(disposition::parse).unwrap_or_default())))
    }
}

fn behind(rest: &[u8]) -> Behind {
    if rest.starts_with(b"--") {
        return Behind::Last;
    }
    let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &rest[padding..] {
        _ if padding > PADDING => Behind::Content,
        [b'\n', ..] => Behind::Part(padding + 1),
        [b'\r', b'\n', ..] => Behind::Part(padding + 2),
        [] | [b'\r'] => Behind::Unknown,
        [b'-'] if padding == 0 => Behind::Unknown,
        _ => Behind::Content,
    }
}

/// The boundary in a `Content-Type` of `multipart/form-data`.
///
/// # Errors
///
/// When there is none.
pub fn boundary(content_type: &[u8]) -> Result<Vec<u8>, FormError> {
    let (kind, parameters) = disposition::parameters(content_type);
    if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
        return Err(FormError::Boundary);
    }
    let found = parameters.into_iter().find(|(name, _)| name == b"boundary");
    found.map(|(_, value)| value).filter(|value| !value.is_empty()).ok_or(FormError::Boundary)
}

#[cfg(test)]
#[path = "multipart_tests.rs"]
mod tests;
