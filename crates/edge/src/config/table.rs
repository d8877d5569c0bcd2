//! A table of the file, read key by key; what is wrong is collected, so that all of it is told at once.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::position::{Document, Position};
use super::units::{self, Quantity, nearest};

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; of what is missing, where its table is.
    pub at: Position,
    /// As in `cache.max_size`.
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
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}; {}", self.key, self.message, self.remedy),
            None => write!(f, "{}: {}; {}", self.key, self.message, self.remedy),
        }
    }
}

/// Where problems are collected.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, key: &str, value: Option<&Value>, message: impl Into<String>, remedy: impl Into<String>) {
        let value = value.map(|value| {
            let text = value.to_string();
            if text.chars().count() > 60 { format!("{}…", text.chars().take(60).collect::<String>()) } else { text }
        });
        let at = Position { line: 1, column: 1 };
        let problem = Problem { at, key: key.to_owned(), value, message: message.into(), remedy: remedy.into() };
        self.0.borrow_mut().push(problem);
    }

    /// All of them, in the order in which they stand in the file.
    pub(super) fn placed(self, document: &Document<'_>) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        for problem in &mut problems {
            // What is wrong is the value, where one is shown, or else the key.
            problem.at = match problem.value {
                Some(_) => document.value(&problem.key),
                None => document.key(&problem.key),
            };
        }
        problems.sort_by_key(|problem| problem.at);
        problems
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Table<'t> {
    name: String,
    table: Option<&'t toml::Table>,
    problems: &'t Problems,
    folder: &'t Path,
    known: RefCell<Vec<&'static str>>,
}

impl<'t> Table<'t> {
    pub(super) fn root(table: &'t toml::Table, problems: &'t Problems, folder: &'t Path) -> Self {
        Self { name: String::new(), table: Some(table), problems, folder, known: RefCell::default() }
    }

    /// The full name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub(super) fn problem(&self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let value = self.table.and_then(|table| table.get(key));
        self.problems.add(&self.key(key), value, message, remedy);
    }

    /// Notes that there is such a key, and gives what is written.
    pub(super) fn get(&self, key: &'static str) -> Option<&'t Value> {
        self.known.borrow_mut().push(key);
        self.table?.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    fn at(&self, name: String, value: Option<&'t Value>) -> Self {
        let table = match value {
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.problems.add(&name, Some(other), "a table belongs here", format!("write it as [{name}]"));
                None
            }
            None => None,
        };
        Self { name, table, problems: self.problems, folder: self.folder, known: RefCell::default() }
    }

    /// A table in this one, empty where it is not there.
    pub(super) fn table(&self, key: &'static str) -> Self {
        self.at(self.key(key), self.get(key))
    }

    /// A list of tables.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let name = |at: usize| format!("{}[{at}]", self.key(key));
                items.iter().enumerate().map(|(at, item)| self.at(name(at), Some(item))).collect()
            }
            Some(_) => {
                self.problem(key, "a list of tables belongs here", format!("write it as [[{}]]", self.key(key)));
                Vec::new()
            }
        }
    }

    /// Tells of keys that nobody asked for.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(toml::Table::keys) {
            if !known.contains(&key.as_str()) {
                let remedy = match nearest(key, known.iter().copied()) {
                    Some(nearest) => format!("did you mean {nearest:?}?"),
                    None if known.is_empty() => "remove it".to_owned(),
                    None => format!("there are {}", known.join(", ")),
                };
                // Its value may be anything, a secret too.
                self.problems.add(&self.key(key), None, "there is no such key", remedy);
            }
        }
    }

    pub(super) fn names(&self) -> Vec<&'t str> {
        self.table.into_iter().flat_map(toml::Table::keys).map(String::as_str).collect()
    }

    pub(super) fn value_of(&self, key: &str) -> Option<&'t Value> {
        self.table?.get(key)
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) if text.chars().any(char::is_control) => {
                self.problem(key, "it has control characters", "write it without");
                None
            }
            Value::String(text) => Some(text.clone()),
            _ => {
                self.problem(key, "a text belongs here", "write it in quotes");
                None
            }
        }
    }

    /// The same; without it nothing goes.
    pub(super) fn required(&self, key: &'static str, example: &str) -> String {
        let before = self.problems.0.borrow().len();
        let text = self.text(key);
        if text.is_none() && self.problems.0.borrow().len() == before {
            self.problem(key, "it is missing", format!("write {key} = {example:?}"));
        }
        text.unwrap_or_default()
    }

    pub(super) fn texts(&self, key: &'static str) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.iter().all(Value::is_str) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(_) => {
                self.problem(key, "a list of texts belongs here", "write it like [\"...\", \"...\"]");
                Vec::new()
            }
        }
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(Value::Boolean(flag)) => *flag,
            Some(_) => {
                self.problem(key, "true or false belongs here", "write true or false, without quotes");
                default
            }
        }
    }

    pub(super) fn count(&self, key: &'static str, default: u32, bounds: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(value) = self.get(key) else { return default };
        let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
        count.filter(|count| bounds.contains(count)).unwrap_or_else(|| {
            let remedy = format!("write a whole number from {} to {}", bounds.start(), bounds.end());
            self.problem(key, "this is not one of the possible numbers", remedy);
            default
        })
    }

    /// A quantity with its unit; `None` where it is not there or empty.
    pub(super) fn quantity(&self, key: &'static str, quantity: &Quantity) -> Option<u64> {
        let value = self.get(key)?;
        self.quantity_of(key, value, quantity)
    }

    pub(super) fn quantity_of(&self, key: &str, value: &Value, quantity: &Quantity) -> Option<u64> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            _ => {
                let remedy = format!("write a number and a unit in quotes; there are {}", quantity.list());
                self.problem(key, format!("{} belongs here", quantity.name), remedy);
                return None;
            }
        };
        if text.is_empty() {
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
        self.text(key).map(|text| self.folder.join(text))
    }

    pub(super) fn address(&self, key: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let remedy = "write it like \"0.0.0.0:443\" or \"[::]:443\"; names are not looked up here";
            self.problem(key, format!("{text:?} is no address with a port"), remedy);
        }
        address
    }
}
