//! A table of the file, read key by key; what is wrong is collected, so that all of it is told at once.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Secret;
use super::units::{self, Quantity, nearest};

/// Of a secret in a file, in characters.
const SHORTEST_SECRET: usize = 16;

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is written, counted from 1; nothing where something is missing.
    pub line: Option<usize>,
    /// As in `store.min_free`.
    pub key: String,
    /// As it stands there; nothing where there is nothing, or where it may be secret.
    pub value: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}: ")?;
        } else {
            f.write_str(" ")?;
        }
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}; {}", self.key, self.message, self.remedy),
            None => write!(f, "{}: {}; {}", self.key, self.message, self.remedy),
        }
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reading<'t> {
    text: &'t str,
    folder: &'t Path,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Reading<'t> {
    pub(super) fn new(text: &'t str, folder: &'t Path) -> Self {
        Self { text, folder, problems: RefCell::default() }
    }

    fn add(&self, key: &str, span: Option<Range<usize>>, shown: Shown, message: String, remedy: String) {
        let line = span.as_ref().map(|span| self.text[..span.start].matches('\n').count() + 1);
        let value = match (shown, span) {
            (Shown::Yes, Some(span)) => {
                let text = self.text[span].lines().next().unwrap_or_default();
                let cut = text.chars().count() > 60;
                Some(if cut { format!("{}…", text.chars().take(60).collect::<String>()) } else { text.to_owned() })
            }
            _ => None,
        };
        self.problems.borrow_mut().push(Problem { line, key: key.to_owned(), value, message, remedy });
    }

    pub(super) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// In the order of their lines; what is missing comes last.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

/// One value of the file.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Table<'t> {
    name: String,
    table: Option<&'t DeTable<'t>>,
    reading: &'t Reading<'t>,
    known: RefCell<Vec<&'static str>>,
}

impl<'t> Table<'t> {
    pub(super) fn root(table: &'t DeTable<'t>, reading: &'t Reading<'t>) -> Self {
        Self { name: String::new(), table: Some(table), reading, known: RefCell::default() }
    }

    fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub(super) fn problem(&self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let span = self.value_of(key).map(Spanned::span);
        self.reading.add(&self.key(key), span, Shown::Yes, message.into(), remedy.into());
    }

    fn value_of(&self, key: &str) -> Option<&'t Value<'t>> {
        self.table?.get(key)
    }

    /// Notes that there is such a key, and gives what is written.
    pub(super) fn get(&self, key: &'static str) -> Option<&'t Value<'t>> {
        self.known.borrow_mut().push(key);
        self.value_of(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value_of(key).is_some()
    }

    fn at(&self, name: String, value: Option<&'t Value<'t>>) -> Self {
        let table = match value {
            None => None,
            Some(value) => value.get_ref().as_table().or_else(|| {
                let (message, remedy) = ("a table belongs here".to_owned(), format!("write it as [{name}]"));
                self.reading.add(&name, Some(value.span()), Shown::Yes, message, remedy);
                None
            }),
        };
        Self { name, table, reading: self.reading, known: RefCell::default() }
    }

    /// A table in this one, empty where it is not there.
    pub(super) fn table(&self, key: &'static str) -> Self {
        self.at(self.key(key), self.get(key))
    }

    /// A list of tables.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.problem(key, "a list of tables belongs here", format!("write it as [[{}]]", self.key(key)));
            return Vec::new();
        };
        items.iter().enumerate().map(|(at, item)| self.item(key, at, item)).collect()
    }

    /// The table that is item `at` of a list.
    pub(super) fn item(&self, key: &str, at: usize, item: &'t Value<'t>) -> Self {
        self.at(format!("{}[{at}]", self.key(key)), Some(item))
    }

    /// Tells of keys that nobody asked for.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            if !known.contains(&key.get_ref().as_ref()) {
                let remedy = match nearest(key.get_ref(), known.iter().copied()) {
                    Some(nearest) => format!("did you mean {nearest:?}?"),
                    None if known.is_empty() => "remove it".to_owned(),
                    None => format!("there are {}", known.join(", ")),
                };
                // Its value may be anything, a secret too.
                let message = "there is no such key".to_owned();
                self.reading.add(&self.key(key.get_ref()), Some(key.span()), Shown::No, message, remedy);
            }
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        match self.get(key)?.get_ref().as_str() {
            Some(text) if text.trim().is_empty() => None,
            Some(text) if text.chars().any(char::is_control) => {
                self.problem(key, "it has control characters", "write it without");
                None
            }
            Some(text) => Some(text.to_owned()),
            None => {
                self.problem(key, "a text belongs here", "write it in quotes");
                None
            }
        }
    }

    /// The same; without it nothing goes.
    pub(super) fn required(&self, key: &'static str, example: &str) -> String {
        let before = self.reading.count();
        let text = self.text(key);
        if text.is_none() && self.reading.count() == before {
            self.problem(key, "it is missing", format!("write {key} = {example:?}"));
        }
        text.unwrap_or_default()
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.problem(key, "this is not one of the possible words", format!("write {}", words.join(" or ")));
        }
        found
    }

    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let items = self.get(key)?.get_ref().as_array();
        let texts = items.map(|items| items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)));
        let texts: Option<Vec<String>> = texts.and_then(Iterator::collect);
        if texts.is_none() {
            self.problem(key, "a list of texts belongs here", "write it like [\"...\", \"...\"]");
        }
        texts
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        match self.get(key).map(|value| value.get_ref().as_bool()) {
            None => default,
            Some(Some(flag)) => flag,
            Some(None) => {
                self.problem(key, "true or false belongs here", "write true or false, without quotes");
                default
            }
        }
    }

    pub(super) fn count(&self, key: &'static str, default: u32, bounds: RangeInclusive<u32>) -> u32 {
        let Some(value) = self.get(key) else { return default };
        let count = integer(value.get_ref()).and_then(|count| u32::try_from(count).ok());
        count.filter(|count| bounds.contains(count)).unwrap_or_else(|| {
            let remedy = format!("write a whole number from {} to {}", bounds.start(), bounds.end());
            self.problem(key, "this is not one of the possible numbers", remedy);
            default
        })
    }

    /// A share such as `90%`.
    pub(super) fn percent(&self, key: &'static str, default: u32) -> u32 {
        let Some(text) = self.text(key) else { return default };
        let share = text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).filter(|share| *share <= 100);
        share.unwrap_or_else(|| {
            self.problem(key, "this is no share", format!("write it like \"{default}%\""));
            default
        })
    }

    /// A quantity with its unit; `None` where it is not there or empty.
    pub(super) fn quantity(&self, key: &'static str, quantity: &Quantity) -> Option<u64> {
        let value = self.get(key)?.get_ref();
        let text = match value.as_str() {
            Some(text) => text.to_owned(),
            None => integer(value).map(|number| number.to_string()).unwrap_or_default(),
        };
        if text.is_empty() && value.as_str().is_some() {
            return None;
        }
        match quantity.read(&text) {
            Ok(value) => Some(value),
            Err((message, remedy)) => {
                self.problem(key, message, remedy);
                None
            }
        }
    }

    pub(super) fn size(&self, key: &'static str, default: u64) -> u64 {
        self.quantity(key, &units::SIZE).unwrap_or(default)
    }

    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.quantity(key, &units::DURATION).map_or(default, units::duration)
    }

    /// A path; a relative one begins where the file is.
    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(|text| self.reading.folder.join(text))
    }

    /// What is in the file that is named here: a secret, which others must not be able to read.
    pub(super) fn secret_file(&self, key: &'static str) -> Option<Secret> {
        let path = self.path(key)?;
        let read = std::fs::metadata(&path).and_then(|file| Ok((file, std::fs::read_to_string(&path)?)));
        let (file, text) = match read {
            Ok(read) => read,
            Err(error) => {
                self.problem(
                    key,
                    format!("it cannot be read: {error}"),
                    "make the file, readable for this program alone",
                );
                return None;
            }
        };
        let mode = file.permissions().mode();
        // Of systemd's credentials the group may be another one; nobody else gets into their folder.
        let is_credential = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder))
            && mode & 0o007 == 0;
        if mode & 0o077 != 0 && !is_credential {
            self.problem(key, "others can read it", format!("chmod 600 {}", path.display()));
            return None;
        }
        let text = text.trim();
        if text.len() < SHORTEST_SECRET || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let what = format!("there must be one line in it, of {SHORTEST_SECRET} characters at least");
            self.problem(key, what, format!("openssl rand -hex 32 > {}", path.display()));
            return None;
        }
        Some(Secret::new(text))
    }

    pub(super) fn address(&self, key: &'static str, default: SocketAddr) -> SocketAddr {
        let Some(text) = self.text(key) else { return default };
        text.parse().unwrap_or_else(|_| {
            let remedy = "write it like \"0.0.0.0:8080\" or \"[::]:8080\"; names are not looked up here";
            self.problem(key, "this is no address with a port", remedy);
            default
        })
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
