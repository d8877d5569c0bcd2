//! How results leave: lines and JSON to stdout, remarks to stderr.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::format::{Cell, Colour, Column, Table, WIDTH, clean, humane, wrap};
use crate::exit::{Exit, Failure};
use crate::model::{Action, Hold, LoadFigure, Strike};

/// Lines to stdout.
pub(super) fn say(lines: &[&str]) -> Result<(), Failure> {
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    out(&text).map(|_| ())
}

/// Text to stdout as it is. A reader that has gone away, as `head` does, is no failure.
pub(super) fn out(text: &str) -> Result<Exit, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Exit::Done),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::failed(format!("failed to write to stdout: {error}"))),
    }
}

/// `text` in at most 80 columns, indented by `indent`; where it goes on in further lines, those by four more.
pub(super) fn indented(indent: usize, text: &str) -> String {
    let mut all = String::new();
    for (at, line) in wrap(&clean(text), WIDTH - indent - 4).iter().enumerate() {
        all.push_str(&" ".repeat(indent + if at == 0 { 0 } else { 4 }));
        all.push_str(line);
        all.push('\n');
    }
    all
}

/// A named fact, `standing   serving`; where it goes on in further lines, those under the value.
pub(super) fn fact(name: &str, value: &str) -> String {
    const BEHIND: usize = 11;
    let mut all = String::new();
    for (at, line) in wrap(&clean(value), WIDTH - BEHIND).iter().enumerate() {
        let name = if at == 0 { name } else { "" };
        all.push_str(format!("{name:<10} {line}").trim_end());
        all.push('\n');
    }
    all
}

/// What is to be done, and why.
pub(super) fn action(action: &Action) -> String {
    let node = action.node.as_ref().map(|node| format!(" {node}")).unwrap_or_default();
    let step = action.step.map(|step| format!(" step {step}")).unwrap_or_default();
    format!("{}{node}{step} [{}]: {}", action.kind, action.rule, action.why)
}

/// What was refused, by whom, and why.
pub(super) fn hold(hold: &Hold) -> String {
    format!("held: {} {} by guard {}: {}", hold.kind, hold.node, hold.guard, hold.why)
}

/// What failed, as `https refused, ssh reset`.
pub(super) fn faults(strike: &Strike) -> String {
    strike.faults.iter().map(|(probe, fault)| format!("{probe} {fault}")).collect::<Vec<_>>().join(", ")
}

/// What a figure says, and who says it.
pub(super) fn carried(figure: &LoadFigure) -> String {
    let rate = |bps: u64| format!("{:.1} Mbit/s", bps as f64 / 1e6);
    let thousandths = |of: u32| format!("{:.2}", f64::from(of) / 1000.0);
    let sends = match (figure.tx_bps, figure.capacity_bps) {
        (Some(sends), Some(most)) => Some(format!("{} of {}", rate(sends), rate(most))),
        (Some(sends), None) => Some(rate(sends)),
        (None, most) => most.map(|most| format!("up to {}", rate(most))),
    };
    let parts = [
        sends,
        figure.active.map(|count| format!("{count} connections")),
        figure.shed_step.filter(|step| *step > 0).map(|step| format!("shedding at step {step}")),
        figure.load1_milli.map(|of| format!("load {}", thousandths(of))),
        figure.ncpu.map(|count| format!("{count} processors")),
        figure.psi_cpu10_milli.map(|of| format!("{} % of the time something waited for one", thousandths(of))),
    ];
    let told: Vec<String> = parts.into_iter().flatten().collect();
    format!("{} ({})", told.join(", "), figure.source.name())
}

/// One value as a line of JSON to stdout.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    say(&[&text])
}

/// A table that fits the screen.
pub(super) fn table(head: Vec<Column>, rows: Vec<Vec<Cell>>) -> Result<(), Failure> {
    let mut table = Table::new(head);
    for row in rows {
        table.row(row);
    }
    out(&table.render(WIDTH, Colour::of_stdout())).map(|_| ())
}

/// A time span: `<1 ms`, `12 ms`, `3.2 s`, then in words.
pub(super) fn span(time: Duration) -> String {
    match time.as_micros() {
        0..1000 => "<1 ms".to_owned(),
        1000..1_000_000 => format!("{} ms", time.as_millis()),
        1_000_000..60_000_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => humane(time),
    }
}

/// How long a probe took, in six columns, so that tables do not move from one look to the next.
pub(super) fn took(micros: u32) -> String {
    format!("{:>6}", span(Duration::from_micros(u64::from(micros))))
}

/// A remark to stderr.
pub(super) fn note(text: &str) {
    // Whoever closed stderr does not want to read it.
    let _ = writeln!(std::io::stderr(), "witness: {text}");
}

/// An error and what caused it, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries repeat their cause in their own words.
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}
