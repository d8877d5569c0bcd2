//! Backups as values: manifests, and the chains that they make.
//!
//! ```text
//!   full ◄── 000001 ◄── 000002 ◄── 000003        each names the SHA-256 of the manifest before it,
//!                                                and of its own content
//! ```
//!
//! A backup is there when its manifest is: that is written last, and removed first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::when::days;
use crate::model::{Sha256, Time};

/// What a backup is called: `20261121T101558123Z`, or `20261121T101558123Z/000004` for the fourth segment upon it.
/// Their order is that of the moments they were taken, as long as the clock went forward.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The full one.
    pub full: String,
    /// 0: the full one itself.
    pub segment: u32,
}

impl Id {
    /// That of a full one taken at `time`.
    #[must_use]
    pub fn full(time: Time) -> Self {
        let text = time.rfc3339();
        let digits: String = text.chars().filter(|c| !"-:Z".contains(*c)).collect();
        Self { full: format!("{digits}{:03}Z", time.0.rem_euclid(1000)), segment: 0 }
    }

    /// That of the next segment.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { full: self.full.clone(), segment: self.segment + 1 }
    }

    /// Where its manifest is.
    #[must_use]
    pub fn manifest_key(&self) -> String {
        match self.segment {
            0 => format!("meta/full/{}.json", self.full),
            segment => format!("meta/inc/{}/{segment:06}.json", self.full),
        }
    }

    /// Where its content is.
    #[must_use]
    pub fn content_key(&self) -> String {
        match self.segment {
            0 => format!("meta/full/{}.sqlite.zst", self.full),
            segment => format!("meta/inc/{}/{segment:06}.jsonl.zst", self.full),
        }
    }

    /// Where it says that the chain of this full one stays, and which content it needs.
    #[must_use]
    pub fn pin_key(&self) -> String {
        format!("meta/pin/{}.jsonl.zst", self.full)
    }

    /// The one whose manifest is at `key`.
    #[must_use]
    pub fn of_manifest(key: &str) -> Option<Self> {
        let key = key.strip_suffix(".json")?;
        let text = key.strip_prefix("meta/full/").or_else(|| key.strip_prefix("meta/inc/"))?;
        let id: Self = text.parse().ok()?;
        (id.manifest_key().strip_suffix(".json") == Some(key)).then_some(id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            0 => f.write_str(&self.full),
            segment => write!(f, "{}/{segment:06}", self.full),
        }
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (full, segment) = match text.split_once('/') {
            Some((full, segment)) => (full, segment.parse().ok().filter(|segment| *segment > 0)),
            None => (text, Some(0)),
        };
        let shape = full.len() == 19
            && full.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                18 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        match segment {
            Some(segment) if shape => Ok(Self { full: full.to_owned(), segment }),
            _ => Err(format!("{text:?} is no backup; write it like 20261121T101558123Z or 20261121T101558123Z/000004")),
        }
    }
}

/// The moment that a full one is named for.
pub(super) fn named(full: &str) -> Option<Time> {
    let digits: Vec<i64> = full.bytes().filter(u8::is_ascii_digit).map(|digit| i64::from(digit - b'0')).collect();
    let number =
        |from: usize, to: usize| digits.get(from..to).map(|digits| digits.iter().fold(0, |n, digit| n * 10 + digit));
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let seconds = number(8, 10)? * 3600 + number(10, 12)? * 60 + number(12, 14)?;
    Some(Time((days(year, month, day) * 86_400 + seconds) * 1000 + number(14, 17)?))
}

/// What is known of a backup without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this file.
    pub format: u32,
    /// Its name.
    pub id: String,
    /// Which origin made it.
    pub origin: String,
    /// Which row of history it is: another one begins with each restore.
    pub lineage: String,
    /// In milliseconds since 1970, when what it has was so.
    pub taken: i64,
    /// The journal's line after which it begins; 0 for a full one.
    pub from: i64,
    /// The journal's line it ends with.
    pub to: i64,
    /// SHA-256 of the manifest before it; none for a full one.
    pub previous: Option<String>,
    /// SHA-256 of its content, as it is stored.
    pub sha256: String,
    /// How long that is.
    pub size: u64,
    /// The database's schema.
    pub schema: i64,
    /// How many rows each table has, once it is restored.
    pub rows: BTreeMap<String, u64>,
    /// Bytes of all content that its rows name.
    pub content: u64,
}

/// The format that is written.
pub const FORMAT: u32 = 1;

/// A manifest as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// By its key.
    pub id: Id,
    /// Of the manifest's bytes: what the next one names.
    pub digest: Sha256,
    /// What it says, or why it cannot be read.
    pub manifest: Result<Manifest, String>,
}

/// Backups that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The full one, then its segments, in order, as far as each names the one before it.
    pub good: Vec<(Id, Manifest)>,
    /// What claims to belong to it and does not, with the reason.
    pub broken: Vec<(Id, String)>,
    /// The name of its full one, which may be missing.
    pub full: String,
}

impl Chain {
    /// The last that can be restored.
    #[must_use]
    pub fn last(&self) -> Option<&(Id, Manifest)> {
        self.good.last()
    }
}

/// Puts manifests together, oldest chain first.
#[must_use]
pub fn chains(entries: &[Entry]) -> Vec<Chain> {
    let names: BTreeSet<&str> = entries.iter().map(|entry| entry.id.full.as_str()).collect();
    names.into_iter().map(|name| chain(name, entries)).collect()
}

fn chain(name: &str, entries: &[Entry]) -> Chain {
    let mut members: Vec<&Entry> = entries.iter().filter(|entry| entry.id.full == name).collect();
    members.sort_by(|one, other| one.id.cmp(&other.id));
    let mut found = Chain { good: Vec::new(), broken: Vec::new(), full: name.to_owned() };
    let mut before: Option<(&Entry, &Manifest)> = None;
    for entry in members {
        match fits(entry, before) {
            Ok(manifest) if found.broken.is_empty() => {
                found.good.push((entry.id.clone(), manifest.clone()));
                before = Some((entry, manifest));
            }
            Ok(_) => found.broken.push((entry.id.clone(), "what it is built upon is broken".to_owned())),
            Err(why) => found.broken.push((entry.id.clone(), why)),
        }
    }
    found
}

/// Whether `entry` is what comes after `before`.
fn fits<'e>(entry: &'e Entry, before: Option<(&Entry, &Manifest)>) -> Result<&'e Manifest, String> {
    let manifest = entry.manifest.as_ref().map_err(|why| format!("its manifest cannot be read: {why}"))?;
    if manifest.format != FORMAT {
        return Err(format!("it has format {}, and this version knows {FORMAT}", manifest.format));
    }
    if manifest.id != entry.id.to_string() {
        return Err(format!("its manifest is that of {}", manifest.id));
    }
    if manifest.sha256.parse::<Sha256>().is_err() || manifest.to < manifest.from {
        return Err("its manifest contradicts itself".to_owned());
    }
    match (entry.id.segment, before) {
        (0, _) if manifest.previous.is_none() => Ok(manifest),
        (0, _) => Err("it is a full one, and names one before it".to_owned()),
        (_, None) => Err("the full one it is built upon is missing or broken".to_owned()),
        (segment, Some((last, known))) => {
            if last.id.segment + 1 != segment {
                Err(format!("segment {:06} is missing", last.id.segment + 1))
            } else if manifest.previous.as_deref() != Some(last.digest.to_string().as_str()) {
                Err(format!("it was built upon another {} than the one that is there", last.id))
            } else if manifest.from != known.to {
                Err(format!("it begins after line {}, and {} ends with {}", manifest.from, last.id, known.to))
            } else if manifest.lineage != known.lineage || manifest.schema != known.schema {
                Err(format!("it is not of the same database as {}", last.id))
            } else {
                Ok(manifest)
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A chain of a full one and `segments`, a day apart, as its manifests would be found.
    pub(crate) fn made(start: Time, segments: u32, every: i64) -> Vec<Entry> {
        let full = Id::full(start);
        let mut entries: Vec<Entry> = Vec::new();
        for segment in 0..=segments {
            let id = Id { full: full.full.clone(), segment };
            let to = i64::from(segment) * 10 + 5;
            let manifest = Manifest {
                format: FORMAT,
                id: id.to_string(),
                origin: "o".to_owned(),
                lineage: "l".to_owned(),
                taken: start.0 + i64::from(segment) * every,
                from: if segment == 0 { 0 } else { to - 10 },
                to,
                previous: entries.last().map(|entry| entry.digest.to_string()),
                sha256: Sha256([7; 32]).to_string(),
                size: 3,
                schema: 1,
                rows: BTreeMap::new(),
                content: 0,
            };
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(start.0 ^ i64::from(segment) << 50).to_be_bytes());
            entries.push(Entry { id, digest: Sha256(digest), manifest: Ok(manifest) });
        }
        entries
    }

    #[test]
    fn names_are_read_back() {
        let id = Id::full(Time(1_795_256_158_007));
        assert_eq!(id.to_string(), "20261121T101558007Z");
        assert_eq!(id.next().to_string().parse(), Ok(id.next()));
        assert_eq!(Id::of_manifest(&id.next().manifest_key()), Some(id.next()));
        assert_eq!(Id::of_manifest(&id.manifest_key()), Some(id.clone()));
        assert_eq!(Id::of_manifest(&id.content_key()), None);
        for bad in ["", "x", "20261121T101558Z", "20261121T101558007Z/", "20261121T101558007Z/0", "../../etc/passwd00Z"]
        {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
        assert_eq!(Id::of_manifest("meta/full/20261121T101558007Z/000001.json"), None);
    }

    #[test]
    fn a_chain_is_good_up_to_where_it_is_not() {
        let whole = made(Time(0), 4, 1000);
        let found = chains(&whole);
        assert_eq!((found.len(), found[0].good.len(), found[0].broken.len()), (1, 5, 0));

        let without = |gone: usize| {
            let mut entries = whole.clone();
            entries.remove(gone);
            chains(&entries).remove(0)
        };
        assert_eq!(without(0).good.len(), 0);
        assert_eq!(without(2).good.len(), 2);
        assert_eq!(without(2).broken[0].1, "segment 000002 is missing");
        assert_eq!(without(4).broken.len(), 0);

        type Change = fn(&mut Entry);
        let spoilt: [(Change, &str); 5] = [
            (|entry| entry.manifest.as_mut().unwrap().from -= 1, "it begins after line 14"),
            (|entry| entry.manifest.as_mut().unwrap().previous = None, "it was built upon another"),
            (|entry| entry.manifest.as_mut().unwrap().lineage = "m".to_owned(), "it is not of the same database"),
            (|entry| entry.manifest = Err("no JSON".to_owned()), "its manifest cannot be read: no JSON"),
            (|entry| entry.manifest.as_mut().unwrap().id = "x".to_owned(), "its manifest is that of x"),
        ];
        for (spoil, expected) in spoilt {
            let mut entries = whole.clone();
            spoil(&mut entries[2]);
            let found = chains(&entries).remove(0);
            assert_eq!(found.good.len(), 2, "{expected}");
            assert!(found.broken[0].1.starts_with(expected), "{:?}", found.broken);
            assert_eq!(found.broken.len(), 3, "{:?}", found.broken);
        }
    }
}
