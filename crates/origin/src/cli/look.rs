//! Commands that look: beside a running server, along indexes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Failure, admin_address, ask, failed, name_of, say};
use crate::clock;
use crate::config::{Config, units};
use crate::db;
use crate::db::listing::{self, Begin, Detail, Entry, Filter};
use crate::model::Time;
use crate::pages::people_size;

/// Which uploads.
#[derive(Args, Clone, Debug)]
pub(super) struct List {
    /// A name, a URL, the beginning of either or of what its uploader calls it; a hash or its first digits; an address.
    /// Without it, the newest.
    what: Option<String>,
    /// Somewhere in what the uploader calls it; looks through the newest until there are enough.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// What it is begins so, as in image/ or text/plain.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Not older: 24h for so long ago, or 2026-11-21, or 2026-11-21T10:15:58Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Time>,
    /// Older.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Time>,
    /// At least so large, as in 10MiB.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    larger: Option<u64>,
    /// Whose content is banned.
    #[arg(long)]
    banned: bool,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// URLs and nothing else, one a line.
    #[arg(long, conflicts_with = "json")]
    urls: bool,
}

/// The most of something.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(super) enum Most {
    /// Names that were downloaded from the running server since its start.
    #[default]
    Downloads,
    /// Contents by their size.
    Largest,
    /// Addresses by the bytes that came from there.
    Addresses,
    /// Names by how often they were uploaded.
    Repeated,
    /// Kinds of content by their bytes; looks at all content.
    Kinds,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Top {
    /// Of what.
    #[arg(value_enum, default_value_t)]
    of: Most,
    /// For addresses and repeated: since then.
    #[arg(long, value_name = "TIME", value_parser = moment, default_value = "7d")]
    since: Time,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Commands that look.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Lists uploads, the newest first.
    List(List),
    /// Tells all that is known of a name.
    Show {
        /// As in its URL.
        name: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Tells how many uploads there are, and how much room they take.
    Stats {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Lists the most of something.
    Top(Top),
}

fn moment(text: &str) -> Result<Time, String> {
    if let Some(time) = Time::read(text) {
        return Ok(time);
    }
    let ago =
        units::DURATION.read(text).map(units::duration).map_err(|_| "write it like 24h or 2026-11-21".to_owned())?;
    Ok(Time(clock::now().0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))))
}

fn size(text: &str) -> Result<u64, String> {
    units::SIZE.read(text).map_err(|(what, remedy)| format!("{what}; {remedy}"))
}

pub(super) fn run(config: &Config, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(wanted) => list(config, wanted),
        Command::Show { name, json } => show(config, name, *json),
        Command::Stats { json } => stats(config, *json),
        Command::Top(wanted) => top(config, wanted),
    }
}

fn open(config: &Config) -> Result<Connection, Failure> {
    let path: PathBuf = config.store.directory.join("meta.db");
    if !path.exists() {
        return Err(failed(&format!("there is no {}; it is made by the first run", path.display())));
    }
    Ok(db::look(&path)?)
}

fn list(config: &Config, wanted: &List) -> Result<(), Failure> {
    let filter = Filter {
        contains: wanted.contains.clone(),
        kind: wanted.kind.clone(),
        since: wanted.since,
        until: wanted.until,
        larger: wanted.larger,
        banned: wanted.banned.then_some(true),
        most: wanted.limit,
        ..Filter::default()
    };
    let found = listing::search(&open(config)?, wanted.what.as_deref().unwrap_or_default(), &filter)?;
    let url = |entry: &Entry| format!("{}/{}", config.server.files_url, entry.link.name.in_url());
    if wanted.json {
        let all: Vec<Value> = found.iter().map(|entry| described(entry, &url(entry))).collect();
        say(&Value::from(all).to_string());
    } else if wanted.urls {
        found.iter().for_each(|entry| say(&url(entry)));
    } else {
        entries(&found);
    }
    Ok(())
}

fn described(entry: &Entry, url: &str) -> Value {
    json!({
        "name": entry.link.name.as_str(),
        "url": url,
        "original": entry.link.original,
        "size": entry.size,
        "kind": entry.kind,
        "sha256": entry.sha256.to_string(),
        "sha1": entry.sha1.to_string(),
        "created": entry.link.created.rfc3339(),
        "expires": entry.link.expires.map(Time::rfc3339),
        "max_views": entry.link.max_views,
        "views": entry.link.max_views.map(|_| entry.link.views),
        "uploads": entry.uploads,
        "address": entry.address,
        "banned": entry.banned,
    })
}

fn entries(found: &[Entry]) {
    let rows = found.iter().map(|entry| {
        let mut notes = Vec::new();
        if entry.banned {
            notes.push("banned".to_owned());
        }
        notes.extend(entry.link.expires.map(|expires| format!("until {}", expires.rfc3339())));
        notes.extend(entry.link.max_views.map(|views| format!("{} of {views} views", entry.link.views)));
        if entry.uploads > 1 {
            notes.push(format!("{} uploads", entry.uploads));
        }
        vec![
            entry.link.created.rfc3339(),
            entry.link.name.to_string(),
            people_size(entry.size),
            entry.kind.clone(),
            entry.address.clone().unwrap_or_default(),
            entry.link.original.clone(),
            notes.join(", "),
        ]
    });
    table(&["WHEN", "NAME", ">SIZE", "KIND", "FROM", "CALLED", "NOTES"], rows);
}

fn show(config: &Config, text: &str, wants_json: bool) -> Result<(), Failure> {
    let name = name_of(text)?;
    let Some(detail) = listing::detail(&open(config)?, &name)? else {
        return Err(failed(&format!("there is no {name}, and there was none lately")));
    };
    let url = format!("{}/{}", config.server.files_url, name.in_url());
    match detail {
        Detail::Gone { original, created, removed, why } => {
            if wants_json {
                let value = json!({ "name": name.as_str(), "gone": why, "original": original,
                    "created": created.rfc3339(), "removed": removed.rfc3339() });
                say(&value.to_string());
                return Ok(());
            }
            let pairs = [("called", original), ("came", created.rfc3339()), ("went", removed.rfc3339()), ("why", why)];
            pairs_of(&pairs.map(|(key, value)| (key, value)));
        }
        Detail::There { entry, ban, place, claims, names } => {
            if wants_json {
                let mut value = described(&entry, &url);
                value["ban"] = json!(ban);
                value["place"] = json!(place);
                value["names"] = json!(names);
                let claim = |claim: &listing::Claim| {
                    json!({ "original": claim.original, "address": claim.address,
                        "created": claim.created.rfc3339(), "can_delete": claim.can_delete })
                };
                value["claims"] = claims.iter().map(claim).collect();
                say(&value.to_string());
                return Ok(());
            }
            let mut pairs = vec![
                ("url", url),
                ("called", entry.link.original.clone()),
                ("size", format!("{} ({} bytes)", people_size(entry.size), entry.size)),
                ("kind", entry.kind.clone()),
                ("came", entry.link.created.rfc3339()),
                ("sha256", entry.sha256.to_string()),
                ("sha1", entry.sha1.to_string()),
                ("content is", place),
            ];
            pairs.extend(entry.link.expires.map(|expires| ("gone at", expires.rfc3339())));
            pairs.extend(entry.link.max_views.map(|views| ("downloads", format!("{} of {views}", entry.link.views))));
            pairs.extend(ban.map(|reason| ("banned", reason)));
            if !names.is_empty() {
                pairs.push(("other names", names.join(" ")));
            }
            pairs_of(&pairs);
            say("");
            let rows = claims.into_iter().map(|claim| {
                let can = if claim.can_delete { "has a link to delete it" } else { "" };
                vec![claim.created.rfc3339(), claim.address.unwrap_or_default(), claim.original, can.to_owned()]
            });
            table(&["UPLOADED", "FROM", "CALLED", ""], rows);
        }
    }
    Ok(())
}

fn stats(config: &Config, wants_json: bool) -> Result<(), Failure> {
    let stats = listing::stats(&open(config)?, clock::now())?;
    let totals = stats.totals;
    if wants_json {
        let days = |counts: [u64; 3]| json!({ "1d": counts[0], "7d": counts[1], "30d": counts[2] });
        let value = json!({
            "names": totals.names, "objects": totals.objects, "bytes": totals.bytes, "bans": stats.bans,
            "uploads": days(stats.uploads), "removals": days(stats.removals), "expiring_1d": stats.expiring,
            "newest": stats.newest.map(Time::rfc3339), "database_bytes": stats.database,
        });
        say(&value.to_string());
        return Ok(());
    }
    let days = |counts: [u64; 3]| format!("{} in a day, {} in 7, {} in 30", counts[0], counts[1], counts[2]);
    pairs_of(&[
        ("names", totals.names.to_string()),
        ("contents", format!("{}, {}", totals.objects, people_size(totals.bytes))),
        ("uploads", days(stats.uploads)),
        ("removed", days(stats.removals)),
        ("gone within a day", stats.expiring.to_string()),
        ("last upload", stats.newest.map(Time::rfc3339).unwrap_or_default()),
        ("bans", stats.bans.to_string()),
        ("database", people_size(stats.database)),
    ]);
    Ok(())
}

fn top(config: &Config, wanted: &Top) -> Result<(), Failure> {
    let most = wanted.limit;
    let (heads, keys, rows): (_, _, Vec<(String, Vec<u64>)>) = match wanted.of {
        Most::Downloads => (["NAME", ">DOWNLOADS", ">BYTES"], ["name", "downloads", "bytes"], downloads(config, most)?),
        Most::Addresses => {
            let rows = listing::addresses(&open(config)?, wanted.since, most)?;
            let rows = rows.into_iter().map(|(address, count, bytes)| (address, vec![count, bytes]));
            (["ADDRESS", ">UPLOADS", ">BYTES"], ["address", "uploads", "bytes"], rows.collect())
        }
        Most::Kinds => {
            let rows = listing::kinds(&open(config)?, most)?;
            let rows = rows.into_iter().map(|(kind, count, bytes)| (kind, vec![count, bytes]));
            (["KIND", ">CONTENTS", ">BYTES"], ["kind", "objects", "bytes"], rows.collect())
        }
        Most::Repeated => {
            let rows = listing::repeated(&open(config)?, wanted.since, most)?;
            let rows = rows.into_iter().map(|(name, count)| (name, vec![count]));
            (["NAME", ">UPLOADS", ""], ["name", "uploads", ""], rows.collect())
        }
        Most::Largest => {
            let filter = Filter { begin: Begin::Largest, most, ..Filter::default() };
            let found = listing::list(&open(config)?, &filter)?;
            if wanted.json {
                let url = |entry: &Entry| format!("{}/{}", config.server.files_url, entry.link.name.in_url());
                let all: Vec<Value> = found.iter().map(|entry| described(entry, &url(entry))).collect();
                say(&Value::from(all).to_string());
            } else {
                entries(&found);
            }
            return Ok(());
        }
    };
    if wanted.json {
        let object = |(name, numbers): &(String, Vec<u64>)| {
            let mut object = serde_json::Map::new();
            object.insert(keys[0].to_owned(), json!(name));
            object.extend(keys[1..].iter().zip(numbers).map(|(key, number)| ((*key).to_owned(), json!(number))));
            Value::Object(object)
        };
        say(&Value::from(rows.iter().map(object).collect::<Vec<_>>()).to_string());
        return Ok(());
    }
    let rows = rows.into_iter().map(|(name, numbers)| {
        let mut cells = vec![name];
        cells.extend(numbers.first().map(ToString::to_string));
        cells.push(numbers.get(1).map(|bytes| people_size(*bytes)).unwrap_or_default());
        cells
    });
    table(&heads, rows);
    Ok(())
}

/// The running server counts them.
fn downloads(config: &Config, most: u32) -> Result<Vec<(String, Vec<u64>)>, Failure> {
    let Some(token) = &config.server.admin_token else {
        let remedy =
            "the running server tells it to whoever has the token in server.admin_token_file, and there is none";
        return Err(Failure(2, format!("witness-origin: {remedy}")));
    };
    let address = admin_address(config);
    let target = format!("/admin/top.json?limit={most}");
    let (status, text) = ask(address, &target, Some(token), Duration::from_secs(10))
        .map_err(|error| failed(&format!("{address} does not answer: {error}")))?;
    let parsed: Option<Value> = serde_json::from_str(&text).ok().filter(|_| status == 200);
    let names = parsed.as_ref().and_then(|value| value["names"].as_array());
    let names = names.ok_or_else(|| failed(&format!("{address} answers {status}: does it run with this token?")))?;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let row = |it: &Value| {
        let name = it["name"].as_str().unwrap_or_default().to_owned();
        (name, vec![number(&it["downloads"]), number(&it["bytes"])])
    };
    Ok(names.iter().map(row).collect())
}

fn pairs_of(pairs: &[(&str, String)]) {
    let widest = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in pairs {
        say(&format!("{key:widest$}  {}", plain(value)));
    }
}

/// Columns as wide as what is in them; those whose head begins with `>` to the right, and none that is empty.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let used = |at: usize| rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.is_empty()));
    let columns: Vec<(usize, usize, bool)> = (0..heads.len())
        .filter(|at| used(*at))
        .map(|at| {
            let head = heads[at].trim_start_matches('>');
            let cells = rows.iter().map(|row| row.get(at).map_or(0, |cell| cell.chars().count()));
            (at, cells.chain([head.len()]).max().unwrap_or(0), heads[at].starts_with('>'))
        })
        .collect();
    let line = |cells: &dyn Fn(usize) -> String| {
        let cells = columns.iter().map(|(at, width, right)| {
            let cell = cells(*at);
            if *right { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    if !rows.is_empty() {
        say(&line(&|at| heads[at].trim_start_matches('>').to_owned()));
    }
    for row in &rows {
        say(&line(&|at| row.get(at).cloned().unwrap_or_default()));
    }
}

/// Somebody else's text, without what a terminal would obey.
fn plain(text: &str) -> String {
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if is_bad(c) { '\u{fffd}' } else { c }).collect()
}
