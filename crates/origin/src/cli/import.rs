//! `witness-origin import`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Failure, failed, say};
use crate::config::{Config, Dedupe, units};
use crate::db::Db;
use crate::import::{self, Kind, Report, Source, Target, Wanted};
use crate::origin;
use crate::pages::people_size;
use crate::store::Store;

/// From where, and what.
#[derive(Args, Clone, Debug)]
pub(super) struct Import {
    /// What the other server is.
    #[arg(value_enum)]
    from: Kind,
    /// Its SQLite database. It is only read.
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
    /// The folder with its files. They are only read.
    #[arg(long, value_name = "FOLDER")]
    files: PathBuf,
    /// Says what would be taken, and writes nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Each is gone so long after it came, as in 8h. Those whose time is over are left.
    #[arg(long, value_name = "TIME", value_parser = expire)]
    expire: Option<Duration>,
    /// Takes files that no row knows, too, with the time at which they were written.
    #[arg(long)]
    unlisted: bool,
    /// For programs: an object a line for what does not go smoothly, the sums in the last one.
    #[arg(long)]
    json: bool,
}

fn expire(text: &str) -> Result<Duration, String> {
    units::DURATION.read(text).map(units::duration).map_err(|(what, remedy)| format!("{what}; {remedy}"))
}

pub(super) fn run(config: &Config, wanted: &Import) -> Result<(), Failure> {
    let source = Source::open(&wanted.database, wanted.from).map_err(|error| failed(&error))?;
    if !wanted.files.is_dir() {
        return Err(failed(&format!("there is no folder {}", wanted.files.display())));
    }
    let target = if wanted.dry_run {
        None
    } else {
        let store = Store::open(&config.store.directory, config.store.min_free).map_err(|error| failed(&error))?;
        let db = Db::open(&store.database())?;
        Some(Target { store, db })
    };
    let settings = Wanted {
        files: wanted.files.clone(),
        dry: wanted.dry_run,
        expire: wanted.expire,
        unlisted: wanted.unlisted,
        addresses: config.upload.keep_addresses,
        shared: config.store.dedupe == Dedupe::SameUrl,
        reserved: origin::reserved(config),
    };
    let mut tell = |what: import::Trouble, name: &str, says: &str| {
        if wanted.json {
            say(&json!({ "trouble": what.word(), "name": name, "says": says }).to_string());
        } else {
            say(&format!("{}: {}: {says}", what.word(), name.escape_debug()));
        }
    };
    let shows = std::io::stderr().is_terminal();
    let mut seen = 0_u64;
    let mut progress = |report: &Report| {
        seen += 1;
        if shows && seen.is_multiple_of(100) {
            let _ = write!(std::io::stderr(), "\r{seen} names, {} ", people_size(report.bytes));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let done = runtime.block_on(import::import(&source, &settings, target.as_ref(), &mut tell, &mut progress));
    if shows && seen >= 100 {
        let _ = writeln!(std::io::stderr());
    }
    if let Some(target) = target {
        target.db.close();
    }
    let report = done.map_err(|error| failed(&error))?;
    told(&report, wanted);
    if report.lost { Err(failed(&"some URLs of the other server do not work here: see above")) } else { Ok(()) }
}

fn told(report: &Report, wanted: &Import) {
    if wanted.json {
        let value = json!({
            "dry_run": wanted.dry_run, "taken": report.taken, "bytes": report.bytes, "known": report.known,
            "expired": report.expired, "repeated": report.repeated, "unlisted": report.unlisted, "bans": report.bans,
            "troubles": report.troubles,
        });
        say(&value.to_string());
        return;
    }
    let verb = if wanted.dry_run { "would be taken" } else { "were taken" };
    say(&format!("{} names {verb}, {}", report.taken, people_size(report.bytes)));
    for (count, says) in [
        (report.known, "were here before"),
        (report.expired, "have expired, and were left"),
        (report.repeated, "rows are for a name that another row has"),
        (report.unlisted, "files have no row, and were left; --unlisted takes them"),
        (report.bans, "bans"),
    ] {
        if count > 0 {
            say(&format!("{count} {says}"));
        }
    }
    for (word, count) in &report.troubles {
        say(&format!("{count} {word}"));
    }
}
