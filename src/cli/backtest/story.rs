//! A backtest for people: what was decided beside what was recorded, then what came of it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::backtest::{Beyond, Checked, Parting, Report};
use crate::cli::format::{Cell, Column, Style, WIDTH, clean, humane, wrap};
use crate::cli::print;
use crate::exit::Failure;
use crate::model::ActionKind;

/// Before a line of the story, so that whys stand under what they explain.
const INDENT: usize = 16;

/// Everything about one trace, in order of time.
pub(super) fn story(name: &str, report: &Report) -> String {
    let mut text = clean(name);
    if let Some(own) = report.name.as_ref().filter(|own| !name.contains(own.as_str())) {
        let _ = write!(text, ": {}", clean(own));
    }
    text.push('\n');
    for (_, _, lines) in events(report) {
        text.push_str(&lines);
    }
    if report.decisions.is_empty() && report.recorded.is_empty() {
        text.push_str("    nothing was decided\n");
    }
    for one in &report.expectations {
        if !one.held {
            let _ = writeln!(text, "    expected, and failed: {}", clean(&expectation(report, one)));
        }
    }
    text.push('\n');
    text
}

/// What happened: when, its place among what happened then, and the lines that tell it.
fn events(report: &Report) -> Vec<(i64, u8, String)> {
    let mut events = Vec::new();
    for one in &report.recorded {
        let own = if one.decided.is_some() { "" } else { ", and not decided here" };
        let rule = if one.rule.0.is_empty() { String::new() } else { format!(" [{}]", one.rule) };
        let what = what(report, one.kind, one.node, one.step);
        events.push((one.t, 1, line(one.t, "recorded", &format!("{what}{rule}{own}"))));
    }
    for one in &report.decisions {
        let what = what(report, one.kind, one.node, one.step);
        let beside = match (one.recorded, one.followed) {
            (Some(at), _) => format!(", as recorded {}", apart(at, one.t)),
            (None, Some(at)) => format!(", and the record sets followed {}", apart(at, one.t)),
            (None, None) => String::new(),
        };
        let mark = if one.beyond { "(decided)" } else { "decided" };
        let mut lines = line(one.t, mark, &format!("{what} [{}]{beside}", one.rule));
        lines.push_str(&under(&one.why));
        events.push((one.t, 2, lines));
    }
    for one in &report.deaths {
        let node = &report.nodes[one.node];
        events.push((one.t, 0, line(one.t, "true", &format!("{node} is {}", one.state.name()))));
        if let Some(at) = one.ended {
            let end = if one.is_unnoticed() { ", and its death went unnoticed" } else { "" };
            events.push((at, 0, line(at, "true", &format!("{node} is up again{end}"))));
        }
    }
    for one in &report.living {
        let words = format!("{} lives, and is taken out", report.nodes[one.node]);
        events.push((one.t, 3, line(one.t, "true", &words)));
    }
    if let Some(beyond) = &report.beyond {
        let mut lines = format!("{:>INDENT$}beyond the recording from here on:\n", "");
        lines.push_str(&under(&parting(report, beyond)));
        events.push((beyond.t, 4, lines));
    }
    events.sort_by_key(|(t, rank, _)| (*t, *rank));
    events
}

/// Why what follows is beyond the recording.
pub(super) fn parting(report: &Report, beyond: &Beyond) -> String {
    match beyond.parting {
        Parting::NotFollowed { kind, node } => format!(
            "{} was decided and the recorded record sets did not follow; what was seen later is of a world without it",
            what(report, kind, Some(node), None)
        ),
        Parting::NotDecided { kind, node } => format!(
            "the recorded record sets changed ({}) and that was not decided here; what was seen later is of a world \
             with it",
            what(report, kind, Some(node), None)
        ),
    }
}

/// Words that explain the line before.
fn under(words: &str) -> String {
    const UNDER: usize = INDENT + 4;
    wrap(&clean(words), WIDTH - UNDER).iter().map(|line| format!("{:UNDER$}{line}\n", "")).collect()
}

fn line(t: i64, who: &str, words: &str) -> String {
    format!("{:>14}  {who:<9} {}\n", time(t), clean(words))
}

fn what(report: &Report, kind: ActionKind, node: Option<usize>, step: Option<u8>) -> String {
    let node = node.map(|node| format!(" {}", report.nodes[node])).unwrap_or_default();
    let step = step.map(|step| format!(" step {step}")).unwrap_or_default();
    format!("{kind}{node}{step}")
}

/// Where in the trace: `0:08:05`, `3d 1:08:05`.
fn time(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, hours, minutes) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) / 3600, seconds / 60 % 60);
    let mut text = if days > 0 { format!("{days}d ") } else { String::new() };
    let _ = write!(text, "{hours}:{minutes:02}:{:02}", seconds.rem_euclid(60));
    text
}

/// `at once`, `3s later`, `3s earlier`.
fn apart(at: i64, than: i64) -> String {
    let span = |ms: i64| humane(Duration::from_millis(ms.unsigned_abs()));
    match at.saturating_sub(than) {
        0 => "at once".to_owned(),
        later @ 1.. => format!("{} later", span(later)),
        earlier => format!("{} earlier", span(earlier)),
    }
}

fn expectation(report: &Report, one: &Checked) -> String {
    let verb = if one.must { "must" } else { "never" };
    let node = one.node.map(|node| format!(" {}", report.nodes[node])).unwrap_or_default();
    let guard = one.guard.map(|guard| format!(" by guard {guard}")).unwrap_or_default();
    let from = one.from_ms.map(|from| format!(" from {}", time(from))).unwrap_or_default();
    let within =
        one.within_ms.map(|within| format!(" within {}", humane(Duration::from_millis(within.unsigned_abs()))));
    let at = one.at.map(|at| format!("; it was at {}", time(at))).unwrap_or_default();
    let beyond = if one.beyond { " (beyond the recording)" } else { "" };
    format!("{verb} {}{node}{guard}{from}{}{at}{beyond}", one.what.name(), within.unwrap_or_default())
}

/// The last table: a row for each trace.
#[derive(Default)]
pub(super) struct Summary {
    rows: Vec<Vec<Cell>>,
}

impl Summary {
    pub(super) fn add(&mut self, name: &str, report: &Report) {
        let short = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".jsonl");
        let same = report.recorded.iter().filter(|one| one.decided.is_some()).count();
        let recorded = match report.recorded.len() {
            0 => "-".into(),
            all => format!("{same} of {all}").into(),
        };
        let span = humane(Duration::from_millis(report.span_ms().unsigned_abs()));
        let (mut living, mut deaths, mut after) = ("-".into(), "-".into(), "-".into());
        if report.has_truth {
            let worse = |count: usize| if count == 0 { Style::Normal } else { Style::Bad };
            living = Cell::styled(worse(report.living.len()), report.living.len());
            let (noticed, unnoticed) = (report.noticed(), report.unnoticed().count());
            deaths = Cell::styled(worse(unnoticed), format!("{noticed} of {}", noticed + unnoticed));
            if let Some(text) = delays(&report.to_decision_ms()) {
                after = text.into();
            }
        }
        let failed = report.failed().count();
        let expected = match report.expectations.len() {
            0 => "-".into(),
            all if failed == 0 => Cell::styled(Style::Good, format!("{all} held")),
            all => Cell::styled(Style::Bad, format!("{failed} of {all} failed")),
        };
        self.rows.push(vec![
            short.into(),
            report.rounds.into(),
            span.into(),
            report.decisions.len().into(),
            recorded,
            living,
            deaths,
            after,
            expected,
        ]);
    }

    pub(super) fn print(self) -> Result<(), Failure> {
        let head = vec![
            Column::new("TRACE").shrink(10),
            Column::new("ROUNDS").right(),
            Column::new("SPAN"),
            Column::new("DECIDED").right(),
            Column::new("RECORDED").right(),
            Column::new("LIVING OUT").right(),
            Column::new("NOTICED").right(),
            Column::new("AFTER"),
            Column::new("EXPECTED"),
        ];
        print::table(head, self.rows)
    }
}

/// From death to decision: one time, or the median and the longest.
fn delays(times: &[i64]) -> Option<String> {
    let span = |ms: i64| humane(Duration::from_millis(ms.unsigned_abs()));
    let longest = *times.last()?;
    let median = times[times.len() / 2];
    Some(if times.len() == 1 { span(longest) } else { format!("{}, at most {}", span(median), span(longest)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_trace() {
        for (ms, shown) in [(0, "0:00:00"), (485_900, "0:08:05"), (4_085_000, "1:08:05"), (90_061_000, "1d 1:01:01")] {
            assert_eq!(time(ms), shown);
        }
        assert_eq!((apart(5, 5).as_str(), apart(4000, 1000).as_str()), ("at once", "3s later"));
        assert_eq!(apart(1000, 4000), "3s earlier");
        assert_eq!(delays(&[]), None);
        assert_eq!(delays(&[1000, 2000, 60_000]).as_deref(), Some("2s, at most 1m"));
    }
}
