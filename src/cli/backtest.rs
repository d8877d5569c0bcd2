//! `witness backtest`: recordings against a policy.

mod story;
mod told;

use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Write as _};
use std::path::Path;

use super::args::BacktestArgs;
use super::format::counted;
use super::{policy, print};
use crate::backtest::{Report, run};
use crate::exit::{Exit, Failure};
use crate::replay::Options;

/// Traces shorter than this, bytes, are done before anybody could read how far they are.
const LONG: u64 = 32 << 20;
const BUFFER: usize = 1 << 18;

pub(super) fn backtest(args: &BacktestArgs) -> Result<Exit, Failure> {
    let policy = args.policy.as_deref().map(policy::given).transpose()?;
    let mut summary = story::Summary::default();
    let mut failed = 0;
    for path in &args.traces {
        let name = path.display().to_string();
        let report = of_file(path, &name, Options { policy: policy.clone() })?;
        failed += report.failed().count();
        if args.json {
            print::json(&told::report(&name, &report))?;
            continue;
        }
        print::out(&story::story(&name, &report))?;
        summary.add(&name, &report);
        for (kind, times) in &report.ignored {
            print::note(&format!("{name}: {times} lines of unknown kind {kind:?} were passed over"));
        }
        for (key, times) in &report.ignored_keys {
            print::note(&format!("{name}: an unknown key {key:?} was passed over {times} times"));
        }
    }
    if !args.json {
        summary.print()?;
    }
    if args.check && failed > 0 {
        print::note(&format!("{} did not hold", counted(failed, "expectation")));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn of_file(path: &Path, name: &str, options: Options) -> Result<Report, Failure> {
    let report = if path == Path::new("-") {
        // A lock of stdin cannot go to another thread, which is where reading is done.
        run(BufReader::with_capacity(BUFFER, std::io::stdin()), options, &mut |_| {})
    } else {
        let unreadable = |error| Failure::usage(format!("failed to read {name}: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut progress = Progress::of(name, size);
        let report = run(BufReader::with_capacity(BUFFER, file), options, &mut |bytes| progress.at(bytes));
        progress.end();
        report
    };
    report.map_err(|error| Failure::usage(format!("failed to take the trace {name}: {error}")))
}

/// How far a long trace is, where a person looks at stderr.
struct Progress<'a> {
    name: &'a str,
    size: u64,
    shown: Option<u64>,
    wanted: bool,
}

impl<'a> Progress<'a> {
    fn of(name: &'a str, size: u64) -> Self {
        Self { name, size, shown: None, wanted: size >= LONG && std::io::stderr().is_terminal() }
    }

    fn at(&mut self, bytes: u64) {
        let percent = bytes.saturating_mul(100) / self.size.max(1);
        if self.wanted && self.shown != Some(percent) {
            self.shown = Some(percent);
            // Whoever closed stderr does not want to read it.
            let _ = write!(std::io::stderr(), "\r{}: {percent} %", self.name);
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}
