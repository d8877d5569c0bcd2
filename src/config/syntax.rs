//! What is no TOML, told so that a person finds it.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::raw::{Reading, Spot, is_plain_key, may_be_secret};

/// Parses the whole file. What is no TOML is recorded; none when the rest would mean something else by it.
pub(super) fn document<'r>(reading: &Reading<'r>) -> Option<Spanned<DeTable<'r>>> {
    let text = reading.text;
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), Mistake::of(error.message(), error.span(), text)))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    // Some leave everything around them as it is. After any other the rest is guesswork, so only the first is told.
    let first_bad = errors.iter().position(|(_, mistake)| matches!(mistake, Mistake::Other(_)));
    let told = first_bad.map_or(errors.len(), |at| at + 1);
    for (span, mistake) in errors.drain(..told) {
        tell(reading, span, mistake);
    }
    first_bad.is_none().then_some(document)
}

enum Mistake {
    /// A key or a table is there twice.
    Twice,
    /// `interval = 10s`.
    Unquoted,
    /// `interval =`.
    NoValue,
    /// Anything else, in the parser's words.
    Other(String),
}

impl Mistake {
    fn of(message: &str, span: Option<Range<usize>>, text: &str) -> Self {
        let written = span.and_then(|span| text.get(span)).unwrap_or_default().trim();
        match message {
            "duplicate key" => Self::Twice,
            _ if message.starts_with("string values must be quoted") && written.is_empty() => Self::NoValue,
            _ if message.starts_with("string values must be quoted") => Self::Unquoted,
            _ => Self::Other(message.to_owned()),
        }
    }
}

fn tell(reading: &Reading<'_>, span: Range<usize>, mistake: Mistake) {
    let text = reading.text;
    let line_start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    let written = text.get(span.clone()).unwrap_or_default().trim();
    let name = line.split_once('=').map_or("", |(name, _)| name.trim());
    let key = if line.starts_with('[') {
        header(line).unwrap_or_default().to_owned()
    } else if is_plain_key(name) {
        match text.get(..line_start).and_then(|before| before.lines().rev().find_map(header)) {
            Some(table) => format!("{table}.{name}"),
            None => name.to_owned(),
        }
    } else {
        String::new()
    };
    let mut spot = Spot { key, span, shown: None, written: true };
    let (message, remedy) = match mistake {
        Mistake::Twice if line.starts_with('[') => ("this table is there twice".to_owned(), "join the two".to_owned()),
        Mistake::Twice => ("this key is there twice".to_owned(), "keep one of them".to_owned()),
        Mistake::NoValue => ("the value is missing".to_owned(), "write one, or leave the key out".to_owned()),
        Mistake::Unquoted if may_be_secret(&spot.key) || written.chars().count() > 40 => {
            ("a text needs quotes".to_owned(), "write it as \"...\"".to_owned())
        }
        Mistake::Unquoted => {
            spot.shown = Some(written.to_owned());
            ("a text needs quotes".to_owned(), format!("write \"{}\"", written.replace(['"', '\\'], "")))
        }
        Mistake::Other(message) => {
            match never_closed(text, spot.span.start).filter(|_| header(line).is_some() || !name.is_empty()) {
                Some((at, close)) => {
                    reading.syntax_error(
                        &Spot { key: String::new(), span: at..at + 1, ..spot },
                        "this bracket is never closed",
                        format!("add {close} before the next key"),
                    );
                    return;
                }
                None => (format!("this is no TOML: {message}"), "correct the line, or the one before it".to_owned()),
            }
        }
    };
    reading.syntax_error(&spot, message, remedy);
}

/// The name in a line like `[probes.https]` or `[[nodes]]`.
fn header(line: &str) -> Option<&str> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).trim();
    is_plain_key(name).then_some(name)
}

/// The first bracket of a value that is still open at `end`, on an earlier line, and what closes it.
fn never_closed(text: &str, end: usize) -> Option<(usize, char)> {
    let before = text.get(..end)?;
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut in_value = false;
    let mut rest = before.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '\n' => in_value = !open.is_empty(),
            '=' => in_value = true,
            '#' => in_value = skip_past(&mut rest, |c| c == '\n') && !open.is_empty(),
            '"' | '\'' => {
                let quotes = if before[at..].starts_with("\"\"\"") || before[at..].starts_with("'''") { 3 } else { 1 };
                skip_string(&mut rest, c, quotes);
            }
            '[' if in_value => open.push((at, ']')),
            '{' if in_value => open.push((at, '}')),
            ']' | '}' if open.last().is_some_and(|(_, close)| *close == c) => {
                open.pop();
            }
            _ => {}
        }
    }
    open.first().copied().filter(|(at, _)| before[*at..].contains('\n'))
}

fn skip_past(rest: &mut std::str::CharIndices<'_>, end: impl Fn(char) -> bool) -> bool {
    rest.by_ref().any(|(_, c)| end(c));
    true
}

fn skip_string(rest: &mut std::str::CharIndices<'_>, quote: char, quotes: usize) {
    for _ in 1..quotes {
        rest.next();
    }
    let mut run = 0;
    while let Some((_, c)) = rest.next() {
        run = if c == quote { run + 1 } else { 0 };
        if run == quotes || (quotes == 1 && c == '\n') {
            return;
        }
        if c == '\\' && quote == '"' {
            rest.next();
        }
    }
}
