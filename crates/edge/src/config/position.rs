//! Where in the file a key stands, and what is no TOML at all.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A line and a character of it, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// A text and what the parser made of it.
pub(super) struct Document<'t> {
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

/// What is no TOML: where, what is wrong, what to do.
pub(super) type Mistake = (Position, String, String);

impl<'t> Document<'t> {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// With the first place that is no TOML: what follows such a place may mean something else by it.
    pub(super) fn parse(text: &'t str) -> Result<Self, Mistake> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let first = errors.iter().min_by_key(|error| error.span().map_or(usize::MAX, |span| span.start));
        match first {
            None => Ok(Self { text, root }),
            Some(error) => Err(mistake(text, error.span().unwrap_or(0..0), error.message())),
        }
    }

    /// Where the value of `key` stands, a key like `sources[0].urls`; of one that is not there, its table.
    pub(super) fn value(&self, key: &str) -> Position {
        self.find(key, |_, value| value)
    }

    /// The same of the key itself.
    pub(super) fn key(&self, key: &str) -> Position {
        self.find(key, |key, _| key)
    }

    fn find(&self, key: &str, which: impl Fn(usize, usize) -> usize) -> Position {
        let mut at = 0;
        let mut table = self.root.get_ref();
        let mut names = key.split('.').peekable();
        while let Some(name) = names.next() {
            let (name, number) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
                Some((name, number)) => (name, number.parse::<usize>().ok()),
                None => (name, None),
            };
            let Some((written, value)) = table.get_key_value(name) else { break };
            let value = match (number, value.get_ref()) {
                (Some(number), DeValue::Array(items)) => items.get(number).unwrap_or(value),
                _ => value,
            };
            // A table of its own is where its heading is; a list of such tables is where each begins.
            at = match names.peek() {
                None if number.is_none() => which(written.span().start, value.span().start),
                _ => value.span().start,
            };
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        position(self.text, at)
    }
}

fn position(text: &str, at: usize) -> Position {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

fn mistake(text: &str, span: Range<usize>, message: &str) -> Mistake {
    let at = position(text, span.start);
    let written = text.get(span).unwrap_or_default().trim();
    let (message, remedy) = match message {
        "duplicate key" => ("this is there twice".to_owned(), "keep one of them".to_owned()),
        _ if message.starts_with("string values must be quoted") && written.is_empty() => {
            ("the value is missing".to_owned(), "write one, or leave the key out".to_owned())
        }
        // What stands there may be long, or a secret.
        _ if message.starts_with("string values must be quoted") => {
            ("a text needs quotes".to_owned(), "write it as \"...\"".to_owned())
        }
        _ => (format!("this is no TOML: {message}"), "correct the line, or the one before it".to_owned()),
    };
    (at, message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[cache]\nmax_size = \"1GB\"\n\n[[sources]]\nname = \"a\"\n[[sources]]\n  urls = []\n\
                        s3 = { bucket = \"b\" }\n[cache.valid]\n\"200\" = \"1d\"\n";

    fn at(line: usize, column: usize) -> Position {
        Position { line, column }
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        let document = Document::parse(TEXT).ok().unwrap();
        assert_eq!((document.key("cache.max_size"), document.value("cache.max_size")), (at(2, 1), at(2, 12)));
        assert_eq!((document.key("sources[1].urls"), document.value("sources[1].urls")), (at(7, 3), at(7, 10)));
        assert_eq!(document.value("sources[1].s3.bucket"), at(8, 17));
        assert_eq!(document.value("cache.valid.200"), at(10, 9));
        // What is not there is wanted in its table, and a table that is not there in the file.
        assert_eq!(document.value("sources[0].urls").line, 4);
        assert_eq!(document.value("cache.directory").line, 1);
        assert_eq!(document.value("node.name"), at(1, 1));
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        let cases = [
            ("a = 1\nb = 10s\n", 2, "a text needs quotes; write it as \"...\""),
            ("a = 1\na = 2\n", 2, "this is there twice; keep one of them"),
            ("[a]\nb =\nc = 1\n", 2, "the value is missing; write one, or leave the key out"),
            ("[a\nb = 1\n", 1, "this is no TOML: "),
        ];
        for (text, line, expected) in cases {
            let Err((at, message, remedy)) = Document::parse(text) else { panic!("{text:?} is taken") };
            assert_eq!(at.line, line, "{text:?}");
            assert!(format!("{message}; {remedy}").starts_with(expected), "{text:?}: {message}; {remedy}");
        }
    }
}
