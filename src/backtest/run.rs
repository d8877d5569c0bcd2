//! A whole trace, from its text to its report. One thread reads, another judges.

use std::io::{BufRead, Error, Read as _};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::replay::{Entry, Options, Reader, ReplayError, Wanted};

use super::{Backtest, Report};

/// No line of a trace is longer, bytes: a header of a large fleet is the longest that there is.
const LINE: u64 = 16 << 20;
/// How many lines go from one thread to the other at once ...
const BATCH: usize = 1024;
/// ... and how many times so many may wait there.
const WAITING: usize = 8;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The text ends, or cannot be read on.
    #[error("line {line}: cannot be read: {error}")]
    Read {
        /// Which line, from 1.
        line: usize,
        /// Why.
        error: Error,
    },
    /// A line is not of the format.
    #[error(transparent)]
    Line(#[from] ReplayError),
    /// Nothing in it says what it is.
    #[error("there is no header; the first line must be one, with the fleet")]
    NoHeader,
}

/// What the reading thread sends.
enum Sent {
    /// Lines, and how many bytes of text there have been.
    Lines(Vec<Entry>, u64),
    /// Nothing more: how many lines there were, and which were of no known kind.
    End(Reader),
    /// Nothing more, for this reason.
    Failed(BacktestError),
}

/// Puts a trace through the rule. `progress` is told now and then how many bytes have been judged.
///
/// # Errors
/// [`BacktestError`] at the first line that cannot be taken.
pub fn run(
    mut input: impl BufRead + Send,
    options: Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, BacktestError> {
    let (sender, receiver) = sync_channel(WAITING);
    thread::scope(|scope| {
        scope.spawn(move || read(&mut input, &sender));
        let mut backtest = Backtest::new(options);
        for sent in receiver {
            match sent {
                Sent::Lines(entries, bytes) => {
                    for entry in entries {
                        backtest.take(entry)?;
                    }
                    progress(bytes);
                }
                Sent::Failed(error) => return Err(error),
                Sent::End(reader) => {
                    let mut report = backtest.end().ok_or(BacktestError::NoHeader)?;
                    report.lines = reader.lines() as u64;
                    (report.ignored, report.ignored_keys) = (reader.ignored, reader.ignored_keys);
                    return Ok(report);
                }
            }
        }
        Err(BacktestError::NoHeader)
    })
}

fn read(input: &mut impl BufRead, sender: &SyncSender<Sent>) {
    let mut reader = Reader::new(Wanted::Everything);
    let (mut buffer, mut bytes) = (Vec::new(), 0u64);
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        let mut last = None;
        while batch.len() < BATCH {
            buffer.clear();
            match line(input, &mut buffer, &mut reader) {
                Ok(None) => {
                    last = Some(None);
                    break;
                }
                Ok(Some(entry)) => batch.extend(entry),
                Err(error) => {
                    last = Some(Some(error));
                    break;
                }
            }
            bytes += buffer.len() as u64;
        }
        // Whoever listened has left: there was a mistake in what they were sent.
        if sender.send(Sent::Lines(batch, bytes)).is_err() {
            return;
        }
        if let Some(end) = last {
            let _ = sender.send(end.map_or(Sent::End(reader), Sent::Failed));
            return;
        }
    }
}

/// Reads a line. None: there is no more; within, none for a line that says nothing.
fn line(
    input: &mut impl BufRead,
    buffer: &mut Vec<u8>,
    reader: &mut Reader,
) -> Result<Option<Option<Entry>>, BacktestError> {
    let number = reader.lines() + 1;
    let failed = |error| BacktestError::Read { line: number, error };
    let wrong = |why: &str| BacktestError::Line(ReplayError::Line { line: number, why: why.to_owned() });
    if input.by_ref().take(LINE).read_until(b'\n', buffer).map_err(failed)? == 0 {
        return Ok(None);
    }
    if buffer.len() as u64 == LINE {
        return Err(wrong("it is longer than 16 MB, and no line of a trace is"));
    }
    let text = str::from_utf8(buffer).map_err(|_| wrong("it is not UTF-8; a trace is JSON Lines in plain text"))?;
    Ok(Some(reader.line(text.trim_end_matches(['\n', '\r']))?))
}
