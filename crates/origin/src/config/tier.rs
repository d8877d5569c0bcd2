//! `[tier]`, `[backup]`, `[[legacy]]`, `[replicate]` and `[follow]`.

use std::path::PathBuf;
use std::time::Duration;

use super::read::is_url;
use super::table::Table;
use crate::backup::retention::Retention;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// `[tier]`.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Where.
    pub place: TierPlace,
    /// Of the disk, in percent: from here on, what is safe in the tier makes room ...
    pub high_watermark: u32,
    /// ... down to here.
    pub low_watermark: u32,
    /// What nobody needs any more stays there for so long, for backups that name it.
    pub keep_deleted: Duration,
}

/// Where content or backups are kept.
#[derive(Clone, Debug)]
pub enum TierPlace {
    /// In a bucket.
    S3(S3),
    /// In a directory: another disk, or one of another machine.
    Directory(PathBuf),
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct S3 {
    /// Its server.
    pub endpoint: String,
    /// Its name.
    pub bucket: String,
    /// Where it is.
    pub region: String,
    /// What stands before each key; ends with a stroke, or is empty.
    pub prefix: String,
    /// The variable that has the key's name.
    pub access_key_id_env: String,
    /// The variable that has the key.
    pub secret_key_env: String,
}

/// `[backup]`.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Where; the tier, if nothing is said and there is one.
    pub directory: Option<PathBuf>,
    /// A whole one.
    pub full_every: Duration,
    /// What has changed since.
    pub incremental_every: Duration,
    /// Whether they can be read back.
    pub verify_every: Duration,
    /// Of what is in the tier, so much is read then, in percent.
    pub verify_share: u32,
    /// Which stay.
    pub retention: Retention,
    /// What is late by less is no violation.
    pub violator_grace: Duration,
}

/// `[[legacy]]`.
#[derive(Clone, Debug)]
pub enum Legacy {
    /// A server.
    Url(String),
    /// A folder.
    Directory(PathBuf),
    /// A bucket, whose keys are names.
    S3(S3),
}

/// `[replicate]`: what others may copy.
#[derive(Clone, Debug)]
pub struct Replicate {
    /// The file with what they must know.
    pub token_file: PathBuf,
}

/// `[follow]`: what is copied from another one.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Its admin listener.
    pub url: String,
    /// The file with what it wants to be told.
    pub token_file: PathBuf,
    /// Between looks.
    pub every: Duration,
}

pub(super) fn tier(table: &Table<'_>) -> Tier {
    let directory = table.path("directory");
    let place = match (table.has("s3"), directory) {
        (true, Some(_)) => {
            table.problem("directory", "it is either a directory or a bucket", "remove one of them");
            TierPlace::S3(s3(&table.table("s3")))
        }
        (false, Some(directory)) => TierPlace::Directory(directory),
        (_, None) => TierPlace::S3(s3(&table.table("s3"))),
    };
    let tier = Tier {
        place,
        high_watermark: table.percent("high_watermark", 90),
        low_watermark: table.percent("low_watermark", 80),
        keep_deleted: table.duration("keep_deleted", 30 * DAY),
    };
    if tier.low_watermark >= tier.high_watermark {
        table.problem("low_watermark", "it must be less than high_watermark", "write \"80%\", say");
    }
    table.finish();
    tier
}

fn s3(bucket: &Table<'_>) -> S3 {
    let prefix = bucket.text("prefix").unwrap_or_default();
    let s3 = S3 {
        endpoint: bucket.required("endpoint", "https://s3.example.net"),
        bucket: bucket.required("bucket", "files"),
        region: bucket.required("region", "eu-1"),
        prefix: if prefix.trim_matches('/').is_empty() {
            String::new()
        } else {
            format!("{}/", prefix.trim_matches('/'))
        },
        access_key_id_env: bucket.required("access_key_id_env", "S3_KEY"),
        secret_key_env: bucket.required("secret_key_env", "S3_SECRET"),
    };
    if !s3.endpoint.is_empty() && !is_url(&s3.endpoint) {
        bucket.problem("endpoint", "this is no URL of a server", "write it like \"https://s3.example.net\"");
    }
    bucket.finish();
    s3
}

pub(super) fn backup(table: &Table<'_>) -> Backup {
    let retention = table.text("retention").unwrap_or_else(|| "7d,7;30d,4".to_owned());
    let retention = retention.parse().unwrap_or_else(|why| {
        let remedy = "write them like \"7d,7;30d,4\": within 7 days, keep 7; ...";
        table.problem("retention", format!("these are no rules: {why}"), remedy);
        "7d,7;30d,4".parse().expect("these are rules")
    });
    let backup = Backup {
        directory: table.path("directory"),
        full_every: table.duration("full_every", 7 * DAY),
        incremental_every: table.duration("incremental_every", DAY),
        verify_every: table.duration("verify_every", DAY),
        verify_share: table.percent("verify_share", 2),
        retention,
        violator_grace: table.duration("violator_grace", 6 * HOUR),
    };
    for (key, every) in [("full_every", backup.full_every), ("incremental_every", backup.incremental_every)] {
        if every.is_zero() {
            table.problem(key, "nothing can be done all the time", "write \"1d\", say");
        }
    }
    table.finish();
    backup
}

pub(super) fn legacy(table: &Table<'_>) -> Option<Legacy> {
    let url = table.text("url");
    let directory: Option<PathBuf> = table.path("directory");
    let bucket = table.has("s3").then(|| s3(&table.table("s3")));
    table.finish();
    match (url, directory, bucket) {
        (Some(url), None, None) if is_url(&url) => return Some(Legacy::Url(url.trim_end_matches('/').to_owned())),
        (None, Some(directory), None) => return Some(Legacy::Directory(directory)),
        (None, None, Some(bucket)) => return Some(Legacy::S3(bucket)),
        (Some(_), None, None) => {
            table.problem("url", "this is no URL of a server", "write it like \"https://old.example.net\"");
        }
        _ => table.problem("url", "it needs one of url, directory and s3", "write url = \"https://old.example.net\""),
    }
    None
}

pub(super) fn replicate(table: &Table<'_>) -> Option<Replicate> {
    let token_file = token_file(table);
    table.finish();
    token_file.map(|token_file| Replicate { token_file })
}

pub(super) fn follow(table: &Table<'_>) -> Option<Follow> {
    let url = table.required("url", "http://192.0.2.7:9055");
    if !url.is_empty() && !is_url(&url) {
        table.problem("url", "this is no URL of a server", "write it like \"http://192.0.2.7:9055\"");
    }
    let token_file = token_file(table);
    let every = table.duration("every", Duration::from_secs(2));
    table.finish();
    token_file.map(|token_file| Follow { url: url.trim_end_matches('/').to_owned(), token_file, every })
}

fn token_file(table: &Table<'_>) -> Option<PathBuf> {
    table.required("token_file", "/etc/witness/replicate.token");
    table.path("token_file")
}
