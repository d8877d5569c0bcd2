//! The file: its shape, its lock, and its replacement as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::clock::Stopwatch;
use crate::crash;
use crate::model::{RecordSet, RecordType, SetKey};

/// Larger files are no zone.
const SIZE_MAX: u64 = 4 << 20;

/// What the file holds.
///
/// ```json
/// { "zone": "example.com", "serial": 7,
///   "sets": { "@ A": { "ttl": 60, "addresses": ["192.0.2.11", "192.0.2.12"] } } }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MockZone {
    /// The zone's name, without a final dot.
    pub zone: String,
    /// Counts the writes.
    pub serial: u32,
    /// The record sets, under `OWNER TYPE`: `@ A`, `files AAAA`.
    #[serde(with = "by_text")]
    pub sets: BTreeMap<SetKey, RecordSet>,
    /// Other records, which are kept as they are: any JSON.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub other: Value,
    /// What goes wrong, in order; each once, in the first call that it fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<MockFault>,
    /// The state before the last write, which a stale read shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<MockPrevious>,
}

/// An earlier state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MockPrevious {
    /// Its serial.
    pub serial: u32,
    /// Its sets.
    #[serde(with = "by_text")]
    pub sets: BTreeMap<SetKey, RecordSet>,
}

/// A scripted fault: `{"fault": "rate-limit", "retry_after_s": 30, "on": "apply"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MockFault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: MockFaultKind,
    /// In which kind of call; left out: in the next that it can happen in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<MockOp>,
}

/// The faults there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum MockFaultKind {
    /// Written, and no answer comes.
    TimeoutAfterApply,
    /// "Done", and nothing was written.
    NoEffect,
    /// The state before the last write is shown.
    StaleRead,
    /// Somebody else writes this set between reading and writing.
    ForeignWrite {
        /// Which set.
        #[serde(with = "key_text")]
        set: SetKey,
        /// Its TTL from now on, seconds.
        ttl: u32,
        /// Its addresses from now on.
        addresses: BTreeSet<IpAddr>,
    },
    /// Too many calls.
    RateLimit {
        /// Seconds until the next may be made.
        retry_after_s: u64,
    },
    /// It takes this long. Longer than the registrar's timeout: written, and no answer comes.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Our credentials are refused.
    Auth,
    /// The answer makes no sense.
    Garbage,
    /// No connection.
    Unreachable,
}

/// The calls that faults happen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MockOp {
    /// Reading.
    Observe,
    /// Writing.
    Apply,
    /// Reading back.
    Confirm,
    /// Copying the zone.
    RestoreInfo,
}

impl MockFaultKind {
    /// The name used in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TimeoutAfterApply => "timeout-after-apply",
            Self::NoEffect => "no-effect",
            Self::StaleRead => "stale-read",
            Self::ForeignWrite { .. } => "foreign-write",
            Self::RateLimit { .. } => "rate-limit",
            Self::Slow { .. } => "slow",
            Self::Auth => "auth",
            Self::Garbage => "garbage",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether it can happen in `op`.
    fn fits(&self, op: MockOp) -> bool {
        match self {
            Self::TimeoutAfterApply | Self::NoEffect | Self::ForeignWrite { .. } => op == MockOp::Apply,
            Self::StaleRead => matches!(op, MockOp::Observe | MockOp::Confirm),
            Self::RateLimit { .. } | Self::Slow { .. } | Self::Auth | Self::Garbage | Self::Unreachable => true,
        }
    }
}

impl MockZone {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    pub(super) fn to_json(&self) -> Value {
        // Every key is a text and every number fits.
        serde_json::to_value(self).expect("a zone can be written as JSON")
    }

    pub(super) fn take_fault(&mut self, op: MockOp) -> Option<MockFaultKind> {
        let fits = |fault: &MockFault| fault.kind.fits(op) && fault.on.is_none_or(|on| on == op);
        let index = self.faults.iter().position(fits)?;
        Some(self.faults.remove(index).kind)
    }

    pub(super) fn write(&mut self, key: &SetKey, set: RecordSet) {
        if set.addresses.is_empty() {
            self.sets.remove(key);
        } else {
            self.sets.insert(key.clone(), set);
        }
    }

    /// Keeps the present state as the earlier one.
    pub(super) fn remember(&mut self) {
        self.previous = Some(MockPrevious { serial: self.serial, sets: self.sets.clone() });
    }

    pub(super) fn before_last_write(&self) -> Self {
        let mut zone = self.clone();
        if let Some(previous) = zone.previous.take() {
            zone.serial = previous.serial;
            zone.sets = previous.sets;
        }
        zone
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MockFileError {
    #[error(
        "{path} does not exist; create it with \
         {{\"zone\":\"{zone}\",\"serial\":1,\"sets\":{{\"@ A\":{{\"ttl\":60,\"addresses\":[\"192.0.2.11\"]}}}}}}"
    )]
    Missing { path: String, zone: String },
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("{path} has been locked by another process for {waited:?}")]
    Busy { path: String, waited: Duration },
    #[error("{path} is left as it is: {why}")]
    Rubbish { path: String, why: String },
    #[error("{path} holds zone {found}, not {wanted}")]
    OtherZone { path: String, found: String, wanted: String },
}

/// The file, locked, and what is in it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) zone: MockZone,
    path: PathBuf,
    /// Held by the open file, so that it ends with us however we end.
    _lock: File,
}

impl Held {
    /// Waits for the lock, then reads. Blocks.
    pub(super) fn open(path: &Path, zone: &str, patience: Duration) -> Result<Self, MockFileError> {
        let shown = path.display().to_string();
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => MockFileError::Missing { path: shown.clone(), zone: zone.to_owned() },
            _ => MockFileError::Io { path: shown.clone(), source },
        };
        // A link stays a link: what it leads to is replaced.
        let path = fs::canonicalize(path).map_err(io)?;
        let lock = lock(&path, patience)?;
        let size = fs::metadata(&path).map_err(io)?.len();
        if size > SIZE_MAX {
            let why = format!("{size} bytes are too many for a zone");
            return Err(MockFileError::Rubbish { path: shown, why });
        }
        let text = fs::read(&path).map_err(io)?;
        let found = MockZone::parse(&text).map_err(|why| MockFileError::Rubbish { path: shown.clone(), why })?;
        if !found.zone.trim_end_matches('.').eq_ignore_ascii_case(zone) {
            return Err(MockFileError::OtherZone { path: shown, found: found.zone, wanted: zone.to_owned() });
        }
        Ok(Self { zone: found, path, _lock: lock })
    }

    /// Replaces the file as a whole. Blocks.
    pub(super) fn write(&self) -> Result<(), MockFileError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = suffixed(&self.path, &format!(".{}.{count}.tmp", std::process::id()));
        let written = self.write_to(&beside).and_then(|()| {
            crash::point("writing");
            fs::rename(&beside, &self.path)
        });
        crash::point("written");
        if let Err(source) = written {
            // It may not even be there.
            let _ = fs::remove_file(&beside);
            return Err(MockFileError::Io { path: self.path.display().to_string(), source });
        }
        // The name is durable only with its directory; where that cannot be opened, the content is still whole.
        if let Some(directory) = self.path.parent().and_then(|parent| File::open(parent).ok()) {
            let _ = directory.sync_all();
        }
        Ok(())
    }

    fn write_to(&self, beside: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(&self.zone)?;
        text.push('\n');
        let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::metadata(&self.path)?.permissions())?;
        file.sync_all()
    }
}

/// The lock is a file of its own, since the other is replaced.
fn lock(path: &Path, patience: Duration) -> Result<File, MockFileError> {
    let beside = suffixed(path, ".lock");
    let io = |source| MockFileError::Io { path: beside.display().to_string(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&beside).map_err(io)?;
    let waiting = Stopwatch::start();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if waiting.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(MockFileError::Busy { path: path.display().to_string(), waited: patience });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// `@ A` as a set.
fn parse_key(text: &str) -> Result<SetKey, String> {
    let bad = || format!("{text:?} is no set: a name and a type are wanted, like \"@ A\" or \"files AAAA\"");
    let (owner, rtype) = text.split_once(' ').ok_or_else(bad)?;
    let rtype = RecordType::ALL.into_iter().find(|known| known.name() == rtype).ok_or_else(bad)?;
    if owner.is_empty() || owner.contains(char::is_whitespace) || owner.chars().any(char::is_uppercase) {
        return Err(bad());
    }
    Ok(SetKey { owner: owner.to_owned(), rtype })
}

/// A set's key as one text.
mod key_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(key: &SetKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SetKey, D::Error> {
        parse_key(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Sets under their keys as texts.
mod by_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        sets: &BTreeMap<SetKey, RecordSet>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(sets.iter().map(|(key, set)| (key.to_string(), set)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<SetKey, RecordSet>, D::Error> {
        let mut sets = BTreeMap::new();
        for (text, set) in BTreeMap::<String, RecordSet>::deserialize(deserializer)? {
            let key = parse_key(&text).map_err(serde::de::Error::custom)?;
            if let Some(address) = set.addresses.iter().find(|address| RecordType::of(**address) != key.rtype) {
                return Err(serde::de::Error::custom(format!("{address} does not belong in {key}")));
            }
            sets.insert(key, set);
        }
        Ok(sets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = r#"{
        "zone": "example.com", "serial": 7, "other": ["@ MX 10 mail"],
        "sets": {"@ A": {"ttl": 60, "addresses": ["192.0.2.11"]}},
        "faults": [{"fault":"slow","ms":5},{"fault":"auth","on":"confirm"},
                   {"fault":"foreign-write","set":"@ A","ttl":60,"addresses":["192.0.2.99"]}]
    }"#;

    #[test]
    fn the_documented_shape_is_read_and_written_back() {
        let zone = MockZone::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(zone.serial, 7);
        assert_eq!(MockZone::parse(zone.to_json().to_string().as_bytes()).unwrap(), zone);
    }

    #[test]
    fn each_fault_happens_once_in_the_first_call_that_fits() {
        let mut zone = MockZone::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(zone.take_fault(MockOp::Observe), Some(MockFaultKind::Slow { ms: 5 }));
        assert_eq!(zone.take_fault(MockOp::Observe), None);
        assert_eq!(zone.take_fault(MockOp::Confirm), Some(MockFaultKind::Auth));
        assert_eq!(zone.take_fault(MockOp::Apply).unwrap().name(), "foreign-write");
        assert!(zone.faults.is_empty());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let check = |text: &str, expected: &str| {
            let error = MockZone::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected) && error.contains("line"), "{error}");
        };
        check("{", "EOF");
        check(r#"{"zone":"example.com","serial":1,"sets":{},"fault":[]}"#, "unknown field `fault`");
        check(r#"{"zone":"example.com","serial":1,"sets":{"@":{"ttl":60,"addresses":[]}}}"#, "\"@\" is no set");
        check(
            r#"{"zone":"example.com","serial":1,"sets":{"@ A":{"ttl":60,"addresses":["2001:db8::1"]}}}"#,
            "2001:db8::1 does not belong in @ A",
        );
        check(r#"{"zone":"example.com","serial":1,"sets":{},"faults":[{"fault":"fire"}]}"#, "unknown variant `fire`");
    }

    proptest! {
        #[test]
        fn rubbish_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MockZone::parse(&bytes);
        }

        #[test]
        fn a_damaged_file_does_not_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = WHOLE.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = MockZone::parse(&bytes);
        }
    }
}
