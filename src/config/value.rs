//! One value: what it is, or a problem.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::keys::{Section, Takes};
use super::raw::{Found, Spot, Table, Value};
use super::suggest;
use super::units::{self, Quantity, UnitError};
use crate::model::Name;

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
        let (Takes::Count(from, to) | Takes::Percent(from, to) | Takes::Percents(from, to)) = self.takes else {
            unreachable!("asked of keys that take a count")
        };
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

    /// An address and a port.
    pub(crate) fn socket(&self, example_port: u16) -> Option<Found<SocketAddr>> {
        self.socket_or(None, example_port)
    }

    /// An address, with or without a port.
    pub(crate) fn server(&self, usual_port: u16) -> Option<Found<SocketAddr>> {
        self.socket_or(Some(usual_port), usual_port)
    }

    fn socket_or(&self, usual_port: Option<u16>, example_port: u16) -> Option<Found<SocketAddr>> {
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
                self.error("the port is missing", format!("write {:?}", SocketAddr::new(address, example_port).to_string()))
            }
            (None, _) => self.error(
                "this is no IP address with a port",
                format!("write it like \"192.0.2.1:{example_port}\" or \"[2001:db8::1]:{example_port}\"; names are not looked up here"),
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
