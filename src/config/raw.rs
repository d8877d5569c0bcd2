//! The file as written: TOML with the place of every value, keys compared with those there are, values read one by one.
//!
//! Nothing here stops at a mistake. What cannot be read is recorded and `None` is returned, so that a caller reads
//! everything first and gives up afterwards.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Absent, Key, SECTIONS, Section, Takes};
use super::problem::{Problem, Severity};
use super::suggest;
use super::units::{self, Quantity, UnitError};
use crate::model::Name;

/// Looks up environment variables.
pub(crate) type Environment<'r> = &'r dyn Fn(&str) -> Option<String>;

/// Whether secrets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// They are, and must be there.
    Read,
    /// They are not: the command at hand needs none, and its user may not have them.
    Leave,
}

/// One reading of one file.
pub(crate) struct Reading<'r> {
    text: &'r str,
    file: &'r Path,
    folder: PathBuf,
    pub(crate) env: Environment<'r>,
    pub(crate) secrets: Secrets,
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

/// Where something stands in the file, and how it is called.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) key: String,
    pub(crate) span: Range<usize>,
    pub(crate) shown: Option<String>,
    /// Whether it is in the file; otherwise it is a default, and the place is its table's.
    pub(crate) written: bool,
}

/// A value that was understood, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) spot: Spot,
}

/// A table that was compared with the keys there are.
pub(crate) struct Table<'r> {
    pub(crate) reading: &'r Reading<'r>,
    sections: Vec<&'static Section>,
    pub(crate) spot: Spot,
    entries: Option<&'r DeTable<'r>>,
}

/// A value, not yet understood.
pub(crate) struct Value<'r> {
    pub(crate) reading: &'r Reading<'r>,
    pub(crate) spot: Spot,
    takes: Takes,
    toml: Cow<'r, DeValue<'r>>,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(text: &'r str, file: &'r Path, env: Environment<'r>, secrets: Secrets) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        Self { text, file, folder, env, secrets, line_starts, problems: RefCell::default() }
    }

    /// Parses the whole file. What is no TOML is recorded; none when the rest would mean something else by it.
    pub(crate) fn document(&self) -> Option<Spanned<DeTable<'r>>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        let mut errors: Vec<_> =
            errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message().to_owned())).collect();
        errors.sort_by_key(|(span, _)| span.start);
        // These leave everything around them as it is; after any other the rest is guesswork, so only the first is told.
        let local = |message: &str| message == "duplicate key" || message.starts_with("string values must be quoted");
        let first_bad = errors.iter().position(|(_, message)| !local(message));
        let told = first_bad.map_or(errors.len(), |at| at + 1);
        for (span, message) in &errors[..told] {
            let written = self.text.get(span.clone()).unwrap_or_default().trim();
            let line = self.line_at(span.start);
            let (message, remedy) = if message == "duplicate key" {
                ("this key is there twice".to_owned(), "keep one of them".to_owned())
            } else if local(message) {
                // The word itself may be a secret.
                ("a text needs quotes".to_owned(), "write it as \"...\"".to_owned())
            } else {
                (format!("this is no TOML: {message}"), "correct the line, or the one before it".to_owned())
            };
            let key = line.split_once('=').map_or("", |(key, _)| key).trim();
            let key = if is_plain_key(key) { key } else { "" };
            let shown = (message.starts_with("this key") && !key.is_empty()).then(|| written.to_owned());
            let spot = Spot { key: key.to_owned(), span: span.clone(), shown, written: true };
            self.error(&Spot { shown: None, ..spot }, message, remedy);
        }
        first_bad.is_none().then_some(document)
    }

    /// The table at `section`'s place in `parent`, which need not be there.
    pub(crate) fn table(&'r self, section: &'static Section, parent: Option<&'r DeTable<'r>>) -> Table<'r> {
        let last = section.name.rsplit('.').next().unwrap_or(section.name);
        let found = parent.and_then(|parent| parent.get_key_value(last));
        let mut spot = Spot { key: section.name.to_owned(), span: 0..0, shown: None, written: false };
        let mut entries = None;
        if let Some((_, value)) = found {
            spot.span = value.span();
            spot.written = true;
            if let DeValue::Table(table) = value.get_ref() {
                entries = Some(table);
            } else {
                self.error(&spot, "this is a table", format!("begin it with a line {}", section.heading));
            }
        }
        Table::new(self, vec![section], spot, entries)
    }

    /// The tables of a `[[list]]`, which need not be there.
    pub(crate) fn tables(&'r self, section: &'static Section, root: &'r DeTable<'r>) -> Vec<Table<'r>> {
        let Some(value) = root.get(section.name) else { return Vec::new() };
        let spot = Spot { key: section.name.to_owned(), span: value.span(), shown: None, written: true };
        let remedy = || format!("begin each with a line {}", section.heading);
        let DeValue::Array(items) = value.get_ref() else {
            self.error(&spot, "there may be several of these tables", remedy());
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let item: &'r Spanned<DeValue<'r>> = item;
            let spot = Spot { key: format!("{}[{at}]", section.name), span: item.span(), shown: None, written: true };
            let DeValue::Table(entries) = item.get_ref() else {
                self.error(&spot, "this is a table", remedy());
                continue;
            };
            tables.push(Table::new(self, vec![section], spot, Some(entries)));
        }
        tables
    }

    pub(crate) fn error(&self, spot: &Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.record(Severity::Error, spot, message.into(), remedy.into());
    }

    pub(crate) fn warn(&self, spot: &Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.record(Severity::Warning, spot, message.into(), remedy.into());
    }

    fn record(&self, severity: Severity, spot: &Spot, message: String, remedy: String) {
        let (line, column) = self.position(spot.span.start);
        let value = spot.shown.clone();
        let (file, key) = (self.file.to_path_buf(), spot.key.clone());
        self.problems.borrow_mut().push(Problem { severity, file, line, column, key, value, message, remedy });
    }

    /// How many errors were recorded so far.
    pub(crate) fn errors(&self) -> usize {
        self.problems.borrow().iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// Everything recorded, in the order of the file, each once.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (a.line, a.column, &a.key, a.severity).cmp(&(b.line, b.column, &b.key, b.severity)));
        problems.dedup();
        problems
    }

    /// Line and column, both from 1, of a byte.
    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts[line - 1];
        let column = self.text.get(start..at).map_or(0, |before| before.chars().filter(|c| *c != '\u{feff}').count());
        (line, column + 1)
    }

    fn line_at(&self, at: usize) -> &str {
        let (line, _) = self.position(at);
        self.text[self.line_starts[line - 1]..].lines().next().unwrap_or_default()
    }

    /// A path as the file means it: relative to the file.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The folder of the file, for messages.
    pub(crate) fn folder_name(&self) -> String {
        if self.folder.as_os_str().is_empty() { ".".to_owned() } else { self.folder.display().to_string() }
    }

    /// A value as it may be shown: on one line, cut short, hidden where it may be a secret.
    fn shown(&self, key: &str, value: &DeValue<'_>, span: &Range<usize>) -> Option<String> {
        if may_be_secret(key) {
            return Some("(hidden)".to_owned());
        }
        match value {
            DeValue::Table(_) => None,
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => None,
            DeValue::String(text) if has_userinfo(text) => Some("(hidden)".to_owned()),
            _ => {
                let written = self.text.get(span.clone())?;
                let line = written.split_whitespace().collect::<Vec<_>>().join(" ");
                Some(if line.chars().count() > 80 {
                    format!("{} ...", line.chars().take(76).collect::<String>())
                } else {
                    line
                })
            }
        }
    }
}

impl<'r> Table<'r> {
    fn new(
        reading: &'r Reading<'r>,
        sections: Vec<&'static Section>,
        spot: Spot,
        entries: Option<&'r DeTable<'r>>,
    ) -> Self {
        let table = Self { reading, sections, spot, entries };
        // The keys of a registrar depend on its kind, which is not known yet.
        if table.sections[0].name != "registrars" {
            table.refuse_unknown();
        }
        table
    }

    /// A table whose keys are those of `sections` together.
    pub(crate) fn of(
        reading: &'r Reading<'r>,
        sections: Vec<&'static Section>,
        spot: Spot,
        entries: &'r DeTable<'r>,
    ) -> Self {
        let table = Self { reading, sections, spot, entries: Some(entries) };
        table.refuse_unknown();
        table
    }

    /// A table that takes any key, for those that name things.
    pub(crate) fn open(
        reading: &'r Reading<'r>,
        section: &'static Section,
        spot: Spot,
        entries: &'r DeTable<'r>,
    ) -> Self {
        Self { reading, sections: vec![section], spot, entries: Some(entries) }
    }

    /// Whether the table is in the file.
    pub(crate) fn is_there(&self) -> bool {
        self.entries.is_some()
    }

    /// Calls the table by `name` from now on.
    pub(crate) fn rename(&mut self, name: &str) {
        self.spot.key = name.to_owned();
    }

    fn keys(&self) -> impl Iterator<Item = &'static Key> + '_ {
        self.sections.iter().flat_map(|section| section.keys.iter())
    }

    fn heading(&self) -> &'static str {
        self.sections.last().expect("a table has a section").heading
    }

    fn refuse_unknown(&self) {
        let Some(entries) = self.entries else { return };
        for (name, value) in entries {
            if !self.keys().any(|key| key.name == name.get_ref()) {
                self.refuse_key(name.get_ref(), name.span(), value);
            }
        }
    }

    fn refuse_key(&self, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let known = || self.keys().map(|key| key.name);
        let heading = self.heading();
        let shown = self.reading.shown(name, value.get_ref(), &value.span());
        let spot = Spot { key: format!("{}.{}", self.spot.key, quoted(name)), span, shown, written: true };
        let ways: Vec<_> = known()
            .filter(|key| [format!("{name}_file"), format!("{name}_env")].iter().any(|way| way == key))
            .collect();
        if !ways.is_empty() {
            let spot = Spot { shown: Some("(hidden)".to_owned()), ..spot };
            let remedy = format!(
                "put it into a file of mode 0600 and write {} = \"PATH\", or {} = \"VARIABLE\"",
                ways[0],
                ways[ways.len() - 1]
            );
            return self.reading.error(&spot, "a secret is never written into this file", remedy);
        }
        let message = format!("there is no such key in {heading}");
        if let Some(nearest) = suggest::nearest(name, known()) {
            return self.reading.error(&spot, message, format!("did you mean {nearest:?}?"));
        }
        let elsewhere = SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name));
        let nearest = suggest::ranked(name, known()).unwrap_or_default();
        let remedy = match elsewhere {
            Some(section) => format!("it belongs in {}; the nearest here is {nearest:?}", section.heading),
            None => format!("the nearest is {nearest:?}, and there are {}", known().collect::<Vec<_>>().join(", ")),
        };
        self.reading.error(&spot, message, remedy);
    }

    /// Every entry, in the order of the file, whatever its name.
    pub(crate) fn all(&self, takes: Takes) -> Vec<(String, Value<'r>)> {
        let mut all: Vec<_> = self.entries.into_iter().flatten().collect();
        all.sort_by_key(|(name, _)| name.span().start);
        all.into_iter()
            .map(|(name, value)| (name.get_ref().to_string(), self.value(&quoted(name.get_ref()), takes, value)))
            .collect()
    }

    fn value(&self, name: &str, takes: Takes, value: &'r Spanned<DeValue<'r>>) -> Value<'r> {
        let shown = self.reading.shown(name, value.get_ref(), &value.span());
        let spot = Spot { key: format!("{}.{name}", self.spot.key), span: value.span(), shown, written: true };
        Value { reading: self.reading, spot, takes, toml: Cow::Borrowed(value.get_ref()) }
    }

    /// The value at `name`, written or by default; none where there is none, which is an error if there must be.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'r>> {
        let key = self.keys().find(|key| key.name == name).expect("only keys of the table are asked for");
        if let Some(value) = self.entries.and_then(|entries| entries.get(name)) {
            let value: &'r Spanned<DeValue<'r>> = value;
            if matches!(key.absent, Absent::None(_)) && value.get_ref().as_str() == Some("") {
                return None;
            }
            return Some(self.value(name, key.takes, value));
        }
        match key.absent {
            Absent::None(_) => None,
            Absent::Is(default) => {
                let spot = Spot {
                    key: format!("{}.{name}", self.spot.key),
                    span: self.spot.span.clone(),
                    shown: Some(format!("{default} (default)")),
                    written: false,
                };
                let toml = DeValue::parse(default).expect("defaults are TOML").into_inner();
                Some(Value { reading: self.reading, spot, takes: key.takes, toml: Cow::Owned(toml) })
            }
            Absent::Required(example) => {
                let spot = Spot { key: format!("{}.{name}", self.spot.key), ..self.spot.clone() };
                self.reading.error(&spot, "this key is missing", format!("add {example}"));
                None
            }
        }
    }

    /// Whether `NAME_file` or `NAME_env` is written and not empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        ["_file", "_env"].iter().any(|way| {
            self.entries
                .and_then(|entries| entries.get(format!("{name}{way}").as_str()))
                .is_some_and(|value| value.get_ref().as_str() != Some(""))
        })
    }

    /// Where `name` is written, or the table.
    pub(crate) fn spot_of(&self, name: &str) -> Spot {
        match self.entries.and_then(|entries| entries.get_key_value(name)) {
            Some((_, value)) => {
                let shown = self.reading.shown(name, value.get_ref(), &value.span());
                Spot { key: format!("{}.{name}", self.spot.key), span: value.span(), shown, written: true }
            }
            None => Spot { key: format!("{}.{name}", self.spot.key), ..self.spot.clone() },
        }
    }

    pub(crate) fn duration(&self, name: &str) -> Option<Found<Duration>> {
        self.get(name)?.duration()
    }

    pub(crate) fn size(&self, name: &str) -> Option<Found<u64>> {
        self.get(name)?.size()
    }

    pub(crate) fn count(&self, name: &str) -> Option<Found<u32>> {
        self.get(name)?.count()
    }

    pub(crate) fn text(&self, name: &str) -> Option<Found<String>> {
        self.get(name)?.text()
    }

    pub(crate) fn word(&self, name: &str) -> Option<Found<String>> {
        self.get(name)?.word()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<Found<bool>> {
        self.get(name)?.flag()
    }

    pub(crate) fn path(&self, name: &str) -> Option<Found<PathBuf>> {
        let value = self.get(name)?;
        let text = value.text()?;
        Some(Found { value: self.reading.resolve(&text.value), spot: text.spot })
    }
}

impl<'r> Value<'r> {
    fn error<T>(&self, message: impl Into<String>, remedy: impl Into<String>) -> Option<T> {
        self.reading.error(&self.spot, message, remedy);
        None
    }

    fn found<T>(&self, value: T) -> Option<Found<T>> {
        Some(Found { value, spot: self.spot.clone() })
    }

    /// Any text without control characters, not empty.
    pub(crate) fn text(&self) -> Option<Found<String>> {
        let Some(text) = self.toml.as_str() else {
            return self.error(format!("a text belongs here, not {}", self.article()), "write it as \"...\"");
        };
        if text.trim().is_empty() {
            return self.error("it is empty", "write something, or leave the key out");
        }
        if text.chars().any(char::is_control) {
            return self.error("it has control characters", "write it without");
        }
        self.found(text.to_owned())
    }

    /// The text as it is, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        self.toml.as_str()
    }

    /// A text, or a whole number as text.
    pub(crate) fn text_or_number(&self) -> Option<Found<String>> {
        match self.toml.as_integer() {
            Some(integer) => self.found(integer.to_string()),
            None => self.text(),
        }
    }

    /// A text that may be empty.
    pub(crate) fn any_text(&self) -> Option<Found<String>> {
        if self.toml.as_str() == Some("") { self.found(String::new()) } else { self.text() }
    }

    pub(crate) fn flag(&self) -> Option<Found<bool>> {
        match self.toml.as_bool() {
            Some(flag) => self.found(flag),
            None => self.error(
                format!("true or false belongs here, not {}", self.article()),
                "write true or false, without quotes",
            ),
        }
    }

    /// A whole number within the key's bounds.
    pub(crate) fn count(&self) -> Option<Found<u32>> {
        let Takes::Count(from, to) = self.takes else { unreachable!("asked of keys that take a count") };
        let bounds = format!("write a whole number from {from} to {to}");
        let Some(integer) = self.toml.as_integer() else {
            let quotes = if self.toml.is_str() { ", without quotes" } else { "" };
            return self.error(format!("a whole number belongs here, not {}", self.article()), bounds + quotes);
        };
        let count = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        match count.and_then(|count| u32::try_from(count).ok()).filter(|count| (from..=to).contains(count)) {
            Some(count) => self.found(count),
            None if count.is_some_and(|count| count < i128::from(from)) => {
                self.error(format!("it must be at least {from}"), bounds)
            }
            None => self.error(format!("it must be at most {to}"), bounds),
        }
    }

    /// One of the key's words.
    pub(crate) fn word(&self) -> Option<Found<String>> {
        let (Takes::Choice(words) | Takes::Choices(words)) = self.takes else {
            unreachable!("asked of keys that take words")
        };
        let all =
            || format!("write one of {}", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "));
        let Some(text) = self.toml.as_str() else {
            return self.error(format!("a text belongs here, not {}", self.article()), all());
        };
        if words.contains(&text) {
            return self.found(text.to_owned());
        }
        match suggest::nearest(text, words.iter().copied()) {
            Some(nearest) => self.error("this is not one of the possible words", format!("did you mean {nearest:?}?")),
            None => self.error("this is not one of the possible words", all()),
        }
    }

    pub(crate) fn duration(&self) -> Option<Found<Duration>> {
        let (Takes::Duration(from, to) | Takes::Days(from, to)) = self.takes else {
            unreachable!("asked of keys that take a duration")
        };
        let span = self.quantity(Quantity::Duration, units::duration)?;
        let bound = |text| units::duration(text).expect("bounds are durations");
        if span < bound(from) || span > bound(to) {
            return self.error(
                format!("it must be from {from} to {to}"),
                format!("write {:?}", if span < bound(from) { from } else { to }),
            );
        }
        if matches!(self.takes, Takes::Days(..)) && !span.as_secs().is_multiple_of(86_400) {
            return self.error("it must be whole days", "write it like \"14d\"");
        }
        self.found(span)
    }

    pub(crate) fn size(&self) -> Option<Found<u64>> {
        let Takes::Size(from, to) = self.takes else { unreachable!("asked of keys that take a size") };
        let size = self.quantity(Quantity::Size, units::size)?;
        let bound = |text| units::size(text).expect("bounds are sizes");
        if size < bound(from) || size > bound(to) {
            return self.error(
                format!("it must be from {from} to {to}"),
                format!("write {:?}", if size < bound(from) { from } else { to }),
            );
        }
        self.found(size)
    }

    pub(crate) fn rate(&self) -> Option<Found<u64>> {
        let rate = self.quantity(Quantity::Rate, units::rate)?;
        if rate == 0 {
            return self.error("it must be more than 0", "write it like \"1Gbit/s\", or leave the key out");
        }
        self.found(rate)
    }

    fn quantity<T>(&self, quantity: Quantity, parse: impl Fn(&str) -> Result<T, UnitError>) -> Option<T> {
        let (what, unit, units) = (quantity.name(), quantity.usual_unit(), quantity.unit_list());
        let number = match self.toml.as_ref() {
            DeValue::Integer(integer) => Some(integer.to_string()),
            DeValue::Float(float) => Some(float.to_string()),
            _ => None,
        };
        if let Some(number) = number {
            let remedy =
                if number.starts_with(|c: char| c.is_ascii_digit()) && !number.contains(['_', 'e', 'x', 'o', 'b']) {
                    format!("write \"{number}{unit}\" if that is the unit you mean; there are {units}")
                } else {
                    format!("write a number and a unit in quotes; there are {units}")
                };
            return self.error(format!("{what} needs its unit"), remedy);
        }
        let Some(text) = self.toml.as_str() else {
            return self.error(
                format!("{what} belongs here, not {}", self.article()),
                format!("write a number and a unit in quotes; there are {units}"),
            );
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(UnitError::NoUnit(number)) if text.trim() == number => self.error(
                format!("{what} needs its unit"),
                format!("write \"{number}{unit}\" if that is the unit you mean; there are {units}"),
            ),
            Err(UnitError::UnknownUnit { nearest: Some(nearest), unit, .. }) => {
                self.error(format!("{unit:?} is no unit of {what}"), format!("did you mean {nearest:?}?"))
            }
            Err(error) => self
                .error(format!("this is not {what}: {error}"), format!("write a number and a unit; there are {units}")),
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<Vec<Value<'r>>> {
        let example = || match self.toml.as_str() {
            Some(_) => format!("write [{}]", self.spot.shown.as_deref().unwrap_or("\"...\"")),
            None => "write it in brackets, like [\"...\", \"...\"]".to_owned(),
        };
        let item = |at: usize, item: &Spanned<DeValue<'r>>, toml: Cow<'r, DeValue<'r>>| {
            let spot = if self.spot.written {
                let shown = self.reading.shown(&self.spot.key, item.get_ref(), &item.span());
                Spot { key: format!("{}[{at}]", self.spot.key), span: item.span(), shown, written: true }
            } else {
                self.spot.clone()
            };
            Value { reading: self.reading, spot, takes: self.takes, toml }
        };
        let items = match &self.toml {
            Cow::Borrowed(DeValue::Array(items)) => {
                let items: &'r [Spanned<DeValue<'r>>] = items;
                items.iter().enumerate().map(|(at, one)| item(at, one, Cow::Borrowed(one.get_ref()))).collect()
            }
            Cow::Owned(DeValue::Array(items)) => {
                items.iter().enumerate().map(|(at, one)| item(at, one, Cow::Owned(one.get_ref().clone()))).collect()
            }
            _ => return self.error(format!("a list belongs here, not {}", self.article()), example()),
        };
        Some(items)
    }

    /// A table of its own.
    pub(crate) fn entries(&self, section: &'static Section, example: &str) -> Option<Table<'r>> {
        match &self.toml {
            Cow::Borrowed(DeValue::Table(entries)) => {
                Some(Table::open(self.reading, section, self.spot.clone(), entries))
            }
            _ => {
                self.error(format!("a table belongs here, not {}", self.article()), format!("write it like {example}"))
            }
        }
    }

    /// Read by its own parser, whose error is the message.
    pub(crate) fn parsed<T: std::str::FromStr<Err: Display>>(&self, remedy: &str) -> Option<Found<T>> {
        let text = self.text()?;
        match text.value.parse() {
            Ok(value) => self.found(value),
            Err(error) => self.error(error.to_string(), remedy),
        }
    }

    pub(crate) fn name(&self) -> Option<Found<Name>> {
        let text = self.text()?;
        match Name::new(&text.value) {
            Ok(name) => self.found(name),
            Err(_) => self.error(
                "a name has 1 to 63 characters from A-Z a-z 0-9 . _ - and begins with a letter or digit",
                "choose such a name",
            ),
        }
    }

    /// An IP address alone.
    pub(crate) fn address(&self) -> Option<Found<IpAddr>> {
        let text = self.text()?;
        if let Ok(address) = text.value.parse::<IpAddr>() {
            return self.found(address);
        }
        if let Ok(with_port) = text.value.parse::<SocketAddr>() {
            return self.error("a port does not belong here", format!("write {:?}", with_port.ip().to_string()));
        }
        if let Some((address, _)) = text.value.split_once('/')
            && address.parse::<IpAddr>().is_ok()
        {
            return self.error("this is a network, and an address belongs here", format!("write {address:?}"));
        }
        self.error(
            "this is no IP address",
            "write an IPv4 address like \"192.0.2.11\" or an IPv6 address like \"2001:db8::11\"; names are not looked up here",
        )
    }

    /// An address and a port; the port may be left out where there is a usual one.
    pub(crate) fn socket(&self, usual_port: Option<u16>) -> Option<Found<SocketAddr>> {
        let text = self.text()?;
        if let Ok(address) = text.value.parse::<SocketAddr>() {
            if address.port() == 0 && usual_port.is_some() {
                return self.error("0 is no port", "write the port that is to be used");
            }
            return self.found(address);
        }
        let bare = text.value.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        match (bare, usual_port) {
            (Some(address), Some(port)) => self.found(SocketAddr::new(address, port)),
            (Some(address), None) => {
                self.error("the port is missing", format!("write {:?}", SocketAddr::new(address, 443).to_string()))
            }
            (None, _) => self.error(
                "this is no IP address with a port",
                "write it like \"192.0.2.1:443\" or \"[2001:db8::1]:443\"; names are not looked up here",
            ),
        }
    }

    /// What was written instead, with its article.
    pub(crate) fn article(&self) -> &'static str {
        match self.toml.as_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// Whether a value at `key` may be something that nobody should see.
pub(crate) fn may_be_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let harmless = ["_file", "_env", "_name", "host_key"];
    let telling = ["key", "token", "secret", "pass", "webhook", "auth", "credential", "cookie"];
    !harmless.iter().any(|end| last.trim_end_matches(['"', ']']).ends_with(end))
        && telling.iter().any(|word| last.contains(word))
}

/// Whether a text is a URL with a user name or a password.
fn has_userinfo(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@')))
}

fn is_plain_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= 60 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// A key as TOML writes it.
fn quoted(key: &str) -> String {
    if is_plain_key(key) && !key.contains('.') {
        key.to_owned()
    } else {
        format!("{:?}", key.chars().take(60).collect::<String>())
    }
}
