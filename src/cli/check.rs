//! `witness check`

use std::path::PathBuf;

use super::args::CheckArgs;
use super::format::Colour;
use super::report::Report;
use super::{block_on, open, print};
use crate::check::{check_live, check_machine};
use crate::config::{Config, ConfigError};
use crate::exit::{Exit, Failure};
use crate::ledger;

pub(super) fn check(path: Option<PathBuf>, args: &CheckArgs) -> Result<Exit, Failure> {
    let (report, exit) = match Config::find(path).and_then(|path| Config::load(&path)) {
        Ok(config) => {
            let mut report = Report { problems: config.warnings.clone(), ..Report::default() };
            report.findings = check_machine(&config, Some(ledger::SCHEMA));
            if args.live {
                report.findings.extend(block_on(async { Ok(check_live(&config).await) })?);
            }
            let (errors, _) = report.count();
            (report, if errors == 0 { Exit::Done } else { Exit::Failed })
        }
        Err(ConfigError::Problems(problems)) => (Report { problems, ..Report::default() }, Exit::Usage),
        Err(error) => return Err(open::config_failure(&error)),
    };
    if args.json {
        print::say(&[&report.json()])?;
    } else {
        print::out(&report.text(Colour::of_stdout()))?;
    }
    Ok(exit)
}
