//! Text for people: times of their zone, durations in words, tables that fit a screen, colour where it helps.

use std::env;
use std::fmt;
use std::io::{IsTerminal, stdout};
use std::sync::OnceLock;
use std::time::Duration;

use tz::TimeZone;
use unicode_width::UnicodeWidthStr as _;

use crate::model::Time;

/// How wide output is made, characters.
pub const WIDTH: usize = 80;

/// A time as the people here read it, `2026-11-22 14:03:05`; in UTC with a `Z` where the zone is not known.
#[must_use]
pub fn local(at: Time) -> String {
    static ZONE: OnceLock<Option<TimeZone>> = OnceLock::new();
    local_in(at, ZONE.get_or_init(|| zone(env::var("TZ").ok().as_deref())).as_ref())
}

/// The zone that `TZ` names, otherwise the machine's; none when it is not known.
fn zone(tz: Option<&str>) -> Option<TimeZone> {
    match tz {
        Some("") => Some(TimeZone::utc()),
        Some(name) => TimeZone::from_posix_tz(name).ok(),
        None => TimeZone::local().ok(),
    }
}

fn local_in(at: Time, zone: Option<&TimeZone>) -> String {
    let offset =
        zone.and_then(|zone| zone.find_local_time_type(at.0.div_euclid(1000)).ok()).map(|kind| kind.ut_offset());
    let shifted = at.shifted(i64::from(offset.unwrap_or(0)) * 1000);
    let Some(written) = chrono::DateTime::from_timestamp_millis(shifted.0) else { return at.rfc3339() };
    let written = written.format("%Y-%m-%d %H:%M:%S");
    if offset.is_some() { written.to_string() } else { format!("{written}Z") }
}

/// A duration in its two largest units: `3m 20s`, `2d 5h`, `200ms`.
#[must_use]
pub fn humane(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        return if span.is_zero() { "0s".to_owned() } else { format!("{}ms", span.as_millis().max(1)) };
    }
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let at = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(3);
    let (unit, length) = units[at];
    let mut text = format!("{}{unit}", seconds / length);
    if let Some((smaller, smaller_length)) = units.get(at + 1)
        && seconds % length >= *smaller_length
    {
        text.push_str(&format!(" {}{smaller}", seconds % length / smaller_length));
    }
    text
}

/// How long before `now` something was: `3m 20s ago`, `now`; `in 5m` for what is to come.
#[must_use]
pub fn ago(at: Time, now: Time) -> String {
    let (past, future) = (now.since(at), at.since(now));
    if past < Duration::from_secs(1) && future < Duration::from_secs(1) {
        "now".to_owned()
    } else if future.is_zero() {
        format!("{} ago", humane(past))
    } else {
        format!("in {}", humane(future))
    }
}

/// A count and its noun: `1 node`, `4 nodes`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Whether output has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It has not.
    Plain,
    /// ANSI escapes.
    Ansi,
}

impl Colour {
    /// For standard output: a terminal, and nobody asked for none (`NO_COLOR`, `TERM=dumb`).
    #[must_use]
    pub fn of_stdout() -> Self {
        Self::of(stdout().is_terminal(), |name| env::var(name).ok())
    }

    fn of(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let refused = variable("NO_COLOR").is_some_and(|text| !text.is_empty());
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        if terminal && !refused && !dumb { Self::Ansi } else { Self::Plain }
    }

    /// `text` in `style`.
    #[must_use]
    pub fn paint(self, style: Style, text: &str) -> String {
        match (self, style.code()) {
            (Self::Ansi, Some(code)) if !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }
}

/// How text is set off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    #[default]
    Normal,
    /// As it should be.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Bad,
    /// A title.
    Title,
    /// Less important.
    Faint,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Normal => None,
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
            Self::Title => Some("1"),
            Self::Faint => Some("2"),
        }
    }
}

/// How many columns of a terminal `text` takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` without anything that would move a terminal's cursor, change its colours or reverse its direction.
#[must_use]
pub fn clean(text: &str) -> String {
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| {
            if c == '\n' || c == '\t' {
                ' '
            } else if odd(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// `text` in at most `most` columns, with `…` for what is cut off.
#[must_use]
pub fn truncate(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    if most == 0 {
        return String::new();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        // The whole is measured: a selector can widen the character before it.
        if kept.width() > most - 1 {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

/// `text` in lines of at most `most` columns, broken at spaces, and within words that are longer than a line.
#[must_use]
pub fn wrap(text: &str, most: usize) -> Vec<String> {
    let most = most.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        if line.width() + gap + word.width() <= most {
            if gap == 1 {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            line.push(c);
            if line.width() > most {
                line.pop();
                lines.push(std::mem::take(&mut line));
                line.push(c);
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// A table for people: titles, rows, two spaces between columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column of a [`Table`].
#[derive(Clone, Debug)]
pub struct Column {
    title: String,
    right: bool,
    least: Option<usize>,
}

/// One cell of a [`Table`].
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Column {
    /// A column that is as wide as its widest cell.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), right: false, least: None }
    }

    /// Numbers stand at the right.
    #[must_use]
    pub fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// May be cut down to `least` columns before others are.
    #[must_use]
    pub fn shrink(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }
}

impl Cell {
    /// A cell that is set off.
    #[must_use]
    pub fn styled(style: Style, text: impl fmt::Display) -> Self {
        Self { text: clean(&text.to_string()), style }
    }
}

impl<T: fmt::Display> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(Style::Normal, text)
    }
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Cells that are missing are empty; there must not be more than columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert!(cells.len() <= self.columns.len(), "more cells than columns");
        self.rows.push(cells);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table in at most `most` columns of a terminal, each line with its end.
    #[must_use]
    pub fn render(&self, most: usize, colour: Colour) -> String {
        let widths = self.widths(most);
        let mut text = String::new();
        let titles: Vec<_> = self.columns.iter().map(|column| Cell::styled(Style::Title, &column.title)).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            let mut owed = 0;
            for (at, (column, width)) in self.columns.iter().zip(&widths).enumerate() {
                let Some(cell) = row.get(at).filter(|_| *width > 0) else {
                    owed += width + 2;
                    continue;
                };
                let shown = truncate(&cell.text, *width);
                let pad = width - shown.width();
                let before = if column.right { pad } else { 0 };
                if !shown.is_empty() {
                    line.push_str(&" ".repeat(owed + before));
                    line.push_str(&colour.paint(cell.style, &shown));
                    owed = 0;
                }
                owed += if shown.is_empty() { width + 2 } else { pad - before + 2 };
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn widths(&self, most: usize) -> Vec<usize> {
        let natural = |at: usize, column: &Column| {
            self.rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.text.width())
                .chain([column.title.width()])
                .max()
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(at, column)| natural(at, column).unwrap_or(0)).collect();
        let gaps = 2 * self.columns.len().saturating_sub(1);
        // First those that may shrink, down to what they need; then whichever is widest.
        let floors = [
            self.columns.iter().map(|column| column.least.unwrap_or(usize::MAX)).collect::<Vec<_>>(),
            vec![1; self.columns.len()],
        ];
        for floor in floors {
            while widths.iter().sum::<usize>() + gaps > most {
                let widest = (0..widths.len()).filter(|at| widths[*at] > floor[*at]).max_by_key(|at| widths[*at]);
                let Some(widest) = widest else { break };
                widths[widest] -= 1;
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_a_zone() {
        let berlin = TimeZone::from_posix_tz("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = |text: &str| Time(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis());
        for (time, shown) in [
            ("2026-11-22T13:03:05.999Z", "2026-11-22 14:03:05"),
            ("2026-07-01T23:30:00Z", "2026-07-02 01:30:00"),
            ("1969-12-31T22:59:59Z", "1969-12-31 23:59:59"),
        ] {
            assert_eq!(local_in(at(time), Some(&berlin)), shown);
        }
        assert_eq!(local_in(at("2026-11-22T13:03:05Z"), None), "2026-11-22 13:03:05Z");
        assert_eq!(local_in(Time(i64::MAX), None), format!("@{}", i64::MAX));
        assert_eq!(local_in(Time(i64::MIN), Some(&berlin)), format!("@{}", i64::MIN));
    }

    #[test]
    fn zones() {
        assert_eq!(zone(Some("")), Some(TimeZone::utc()));
        assert_eq!(zone(Some("No/Such/Zone")), None);
        assert!(zone(Some("EST5EDT,M3.2.0,M11.1.0")).is_some());
        assert!(!local(Time(0)).is_empty());
    }

    #[test]
    fn durations() {
        for (millis, shown) in [
            (0, "0s"),
            (200, "200ms"),
            (1000, "1s"),
            (59_999, "59s"),
            (200_000, "3m 20s"),
            (3_600_000, "1h"),
            (3_601_000, "1h"),
            (3_660_000, "1h 1m"),
            (190_800_000, "2d 5h"),
        ] {
            assert_eq!(humane(Duration::from_millis(millis)), shown);
        }
        assert_eq!(humane(Duration::from_micros(5)), "1ms");
        let now = Time(1_000_000);
        assert_eq!(ago(now.minus(Duration::from_secs(200)), now), "3m 20s ago");
        assert_eq!(ago(now.minus(Duration::from_millis(10)), now), "now");
        assert_eq!(ago(now.plus(Duration::from_secs(300)), now), "in 5m");
        assert_eq!((counted(1, "node").as_str(), counted(0, "node").as_str()), ("1 node", "0 nodes"));
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let with = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(Colour::of(true, with(&[("TERM", "xterm")])), Colour::Ansi);
        assert_eq!(Colour::of(false, with(&[("TERM", "xterm")])), Colour::Plain);
        assert_eq!(Colour::of(true, with(&[("TERM", "xterm"), ("NO_COLOR", "1")])), Colour::Plain);
        assert_eq!(Colour::of(true, with(&[("TERM", "xterm"), ("NO_COLOR", "")])), Colour::Ansi);
        assert_eq!(Colour::of(true, with(&[("TERM", "dumb")])), Colour::Plain);
        assert_eq!(Colour::of(true, with(&[])), Colour::Plain);
        assert_eq!(Colour::Ansi.paint(Style::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Colour::Ansi.paint(Style::Normal, "x"), "x");
        assert_eq!(Colour::Plain.paint(Style::Bad, "x"), "x");
    }

    #[test]
    fn cut_and_broken() {
        assert_eq!(truncate("short", 5), "short");
        assert_eq!(truncate("longer", 5), "long…");
        assert_eq!(truncate("日本語", 5), "日本…");
        assert_eq!(truncate("x", 0), "");
        assert_eq!(truncate("\u{2764}\u{fe0f}\u{2764}\u{fe0f}", 3), "\u{2764}\u{fe0f}…");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("日本語", 3), ["日", "本", "語"]);
        assert_eq!(wrap("  ", 10), Vec::<String>::new());
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d"), "a\u{fffd}[31mb c\u{fffd}d");
    }

    #[test]
    fn tables() {
        let mut table =
            Table::new(vec![Column::new("NODE"), Column::new("STRIKES").right(), Column::new("WHY").shrink(6)]);
        table.row(vec!["slice1".into(), 4.into(), "refused, and refused, and refused again".into()]);
        table.row(vec![Cell::styled(Style::Good, "日本"), "".into()]);
        assert_eq!(
            table.render(80, Colour::Plain),
            "NODE    STRIKES  WHY\nslice1        4  refused, and refused, and refused again\n日本\n"
        );
        assert_eq!(table.render(30, Colour::Plain), "NODE    STRIKES  WHY\nslice1        4  refused, and…\n日本\n");
        assert!(table.render(80, Colour::Ansi).contains("\u{1b}[32m日本\u{1b}[0m\n"));
        assert!(!table.is_empty());
    }

    proptest! {
        #[test]
        fn a_table_fits_and_has_its_rows(
            rows in prop::collection::vec(prop::collection::vec("\\PC{0,40}", 0..=4), 0..6),
            most in 20_usize..100,
        ) {
            let titles = ["ONE", "TWO", "THREE", "FOUR"];
            let mut table = Table::new(titles.into_iter().map(|title| Column::new(title).shrink(3)).collect());
            for row in &rows {
                table.row(row.iter().map(Cell::from).collect());
            }
            let text = table.render(most, Colour::Plain);
            prop_assert_eq!(text.lines().count(), rows.len() + 1);
            for line in text.lines() {
                prop_assert!(width(line) <= most, "{line:?}");
                prop_assert!(!line.ends_with(' ') || !line.is_ascii(), "{line:?}");
            }
        }

        #[test]
        fn wrapped_lines_fit_and_lose_nothing(text in "\\PC{0,120}", most in 2_usize..40) {
            let lines = wrap(&text, most);
            for line in &lines {
                prop_assert!(width(line) <= most);
            }
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(squeezed(&lines.concat()), squeezed(&text));
        }

        #[test]
        fn truncated_text_fits(text in "\\PC{0,60}", most in 0_usize..40) {
            prop_assert!(width(&truncate(&text, most)) <= most);
        }
    }
}
