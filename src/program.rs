//! A program run once: its input given, its output taken, both bounded in size and time.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::model::ExecSettings;

/// The longest answer that is taken.
const STDOUT_MAX: usize = 4 << 20;
/// Shorter values, like a zone's number, are no secrets, and would tear words apart.
const SECRET_MIN: usize = 6;
/// How much of the end of what it complains is passed on.
const TAIL: usize = 500;

/// What became of it. `tail` is the end of its error output, ready to follow a sentence; empty where it wrote none.
#[derive(Debug)]
pub(crate) enum Ran {
    /// It could not be started: nothing happened.
    NotStarted { why: String },
    /// It was killed, since its time was up.
    TooLong { tail: String },
    /// It was killed, since it wrote too much.
    TooMuch { limit: usize, tail: String },
    /// It ended.
    Ended { status: ExitStatus, stdout: Vec<u8>, tail: String },
}

/// Runs it, without a shell, in a process group of its own. `variables` are in its environment beside those of the settings,
/// and are no secrets; `request` is its input; `within` is how long it may take.
pub(crate) async fn run(
    settings: &ExecSettings,
    variables: &[(&str, String)],
    request: &[u8],
    within: Duration,
) -> Ran {
    let mut command = Command::new(&settings.command[0]);
    command
        .args(&settings.command[1..])
        .envs(settings.environment.iter().map(|(name, value)| (name, value.expose())))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ran::NotStarted { why: error.to_string() },
    };
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Ran::NotStarted { why: "its input and output could not be connected".to_owned() };
    };

    let mut complaint = Vec::new();
    let conversation = async {
        let give = async {
            // A program that does not read its input may still answer.
            let _ = stdin.write_all(request).await;
            drop(stdin);
        };
        let (_, stdout, ()) = tokio::join!(give, take(stdout), take_tail(stderr, &mut complaint));
        match stdout {
            Some(stdout) => child.wait().await.ok().map(|status| (status, stdout)),
            None => None,
        }
    };
    let ended = timeout(within, conversation).await;
    match ended {
        Ok(Some((status, stdout))) => {
            // Reaped: its number may be somebody else's by now.
            group.spare();
            Ran::Ended { status, stdout, tail: tail(&complaint, settings) }
        }
        Ok(None) => {
            drop(group);
            Ran::TooMuch { limit: STDOUT_MAX, tail: tail(&complaint, settings) }
        }
        Err(_) => {
            drop(group);
            Ran::TooLong { tail: tail(&complaint, settings) }
        }
    }
}

/// Kills the whole group when dropped, also when the call is given up: what the program started goes with it.
struct Group(Option<Pid>);

impl Group {
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may have ended by itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// All of it, or none where it is too much.
async fn take(from: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    // A broken pipe is an early end.
    let _ = from.take(STDOUT_MAX as u64 + 1).read_to_end(&mut all).await;
    (all.len() <= STDOUT_MAX).then_some(all)
}

async fn take_tail(mut from: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length]);
        if kept.len() > 64 * TAIL {
            kept.drain(..kept.len() - 16 * TAIL);
        }
    }
}

/// The end of `complaint` on one line, without the secrets that the program was given.
fn tail(complaint: &[u8], settings: &ExecSettings) -> String {
    let text = hushed(String::from_utf8_lossy(complaint).into_owned(), settings);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let skip = line.chars().count().saturating_sub(TAIL);
    let line: String = line.chars().skip(skip).map(|c| if c.is_control() { '?' } else { c }).collect();
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

/// `text` without the secrets that the program was given: programs repeat them in what they complain of.
pub(crate) fn hushed(mut text: String, settings: &ExecSettings) -> String {
    for (name, value) in settings.environment.iter().filter(|(_, value)| value.expose().len() >= SECRET_MIN) {
        text = text.replace(value.expose(), &format!("({name})"));
    }
    text
}
