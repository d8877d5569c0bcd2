//! The file as written: TOML with the place of every value, keys compared with those there are, values read one by one.
//!
//! Nothing here stops at a mistake. What cannot be read is recorded and `None` is returned, so that a caller reads
//! everything first and gives up afterwards.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Absent, Key, SECTIONS, Section, Takes};
use super::problem::{Problem, Severity};
use super::suggest;

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
    pub(super) text: &'r str,
    file: &'r Path,
    folder: PathBuf,
    pub(crate) env: Environment<'r>,
    pub(crate) secrets: Secrets,
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    /// Lines that are no TOML: what is made of them is not told again.
    broken_lines: RefCell<BTreeSet<usize>>,
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
    pub(super) takes: Takes,
    pub(super) toml: Cow<'r, DeValue<'r>>,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(text: &'r str, file: &'r Path, env: Environment<'r>, secrets: Secrets) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        Self {
            text,
            file,
            folder,
            env,
            secrets,
            line_starts,
            problems: RefCell::default(),
            broken_lines: RefCell::default(),
        }
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
            } else if value.get_ref().is_array() {
                self.error(
                    &spot,
                    "there is only one of this table",
                    format!("write {}, in single brackets", section.heading),
                );
            } else {
                self.error(&spot, "this is a table", format!("begin it with a line {}", section.heading));
            }
        }
        Table::new(self, vec![section], spot, entries)
    }

    /// The tables of a `[[list]]`, which need not be there; none when it is something else.
    pub(crate) fn tables(&'r self, section: &'static Section, root: &'r DeTable<'r>) -> Option<Vec<Table<'r>>> {
        let Some(value) = root.get(section.name) else { return Some(Vec::new()) };
        let spot = Spot { key: section.name.to_owned(), span: value.span(), shown: None, written: true };
        let remedy = || format!("begin each with a line {}", section.heading);
        let DeValue::Array(items) = value.get_ref() else {
            self.error(&spot, "there may be several of these tables, so it is written in double brackets", remedy());
            return None;
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
        Some(tables)
    }

    pub(crate) fn error(&self, spot: &Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.record(Severity::Error, spot, message.into(), remedy.into());
    }

    /// An error after which nothing more is told of its line.
    pub(crate) fn syntax_error(&self, spot: &Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.error(spot, message, remedy);
        self.broken_lines.borrow_mut().insert(self.position(spot.span.start).0);
    }

    pub(crate) fn warn(&self, spot: &Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.record(Severity::Warning, spot, message.into(), remedy.into());
    }

    fn record(&self, severity: Severity, spot: &Spot, message: String, remedy: String) {
        let (line, column) = self.position(spot.span.start);
        if spot.written && self.broken_lines.borrow().contains(&line) {
            return;
        }
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

    /// A path as the file means it: relative to the file.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The folder of the file, for messages.
    pub(crate) fn folder_name(&self) -> String {
        if self.folder.as_os_str().is_empty() { ".".to_owned() } else { self.folder.display().to_string() }
    }

    /// A value as it may be shown: on one line, cut short, hidden where it may be a secret.
    pub(super) fn shown(&self, key: &str, value: &DeValue<'_>, span: &Range<usize>) -> Option<String> {
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
            if !self.keys().any(|key| key.name == name.get_ref())
                && !self.children().any(|child| child == name.get_ref())
            {
                self.refuse_key(name.get_ref(), name.span(), value);
            }
        }
    }

    /// The names of the tables below this one.
    fn children(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.sections.iter().flat_map(|own| {
            let name = |section: &Section| section.heading.strip_prefix(&format!("[{}.", own.name))?.strip_suffix(']');
            SECTIONS.iter().filter_map(move |section| name(section))
        })
    }

    /// The table at `section`'s place in this one, which need not be there.
    pub(crate) fn child(&self, section: &'static Section) -> Self {
        self.reading.table(section, self.entries)
    }

    fn refuse_key(&self, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let known = || self.keys().map(|key| key.name).chain(self.children());
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

    /// Whether `NAME`, `NAME_file` or `NAME_env` is written and not empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        ["", "_file", "_env"].iter().any(|way| {
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

/// Whether a value at `key` may be something that nobody should see.
pub(super) fn may_be_secret(key: &str) -> bool {
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

pub(super) fn is_plain_key(key: &str) -> bool {
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
