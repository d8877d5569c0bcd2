//! `witness judge`: the rule over stdio, for other probers, simulators and tests.

use std::io::{BufRead as _, ErrorKind, Write as _};

use super::args::JudgeArgs;
use super::{policy, print};
use crate::exit::{Exit, Failure};
use crate::replay::{Options, Replay};

pub(super) fn judge(args: &JudgeArgs) -> Result<Exit, Failure> {
    let policy = args.policy.as_deref().map(policy::given).transpose()?;
    let mut replay = Replay::new(Options { policy });
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::failed(format!("failed to read stdin: {error}")))?;
        let answer =
            replay.line(&line).map_err(|error| Failure::usage(format!("failed to take the trace: {error}")))?;
        let Some(answer) = answer else { continue };
        // Flushed line by line: whoever drives us in a closed loop waits for it.
        match writeln!(stdout, "{answer}").and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
            Err(error) => return Err(Failure::failed(format!("failed to write to stdout: {error}"))),
        }
    }
    for (kind, times) in replay.ignored() {
        print::note(&format!("{times} lines of unknown kind {kind:?} were passed over"));
    }
    Ok(Exit::Done)
}
