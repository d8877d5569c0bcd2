//! What is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper ends of what a [`Histogram`] counts apart, in milliseconds.
const ENDS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; ENDS.len()],
    beyond: Counter,
    micros: Counter,
}

impl Histogram {
    /// One more.
    pub fn add(&self, took: Duration) {
        let end = ENDS.iter().position(|end| took <= Duration::from_millis(*end));
        end.map_or(&self.beyond, |at| &self.buckets[at]).add(1);
        self.micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// As Prometheus wants it, in seconds.
    pub fn write(&self, lines: &mut String, name: &str, says: &str) {
        let name = format!("witness_origin_{name}");
        lines.push_str(&format!("# HELP {name} {says}\n# TYPE {name} histogram\n"));
        let mut sum = 0;
        for (end, bucket) in ENDS.iter().zip(&self.buckets) {
            sum += bucket.get();
            lines.push_str(&format!("{name}_bucket{{le=\"{}\"}} {sum}\n", seconds(*end * 1000)));
        }
        let count = sum + self.beyond.get();
        lines.push_str(&format!("{name}_bucket{{le=\"+Inf\"}} {count}\n"));
        lines.push_str(&format!("{name}_sum {}\n{name}_count {count}\n", seconds(self.micros.get())));
    }
}

/// Microseconds as seconds.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Counts by a word.
#[derive(Debug, Default)]
pub struct ByWord(Mutex<BTreeMap<&'static str, u64>>);

impl ByWord {
    /// One more.
    pub fn add(&self, word: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1;
    }

    /// All so far.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is downloaded most since the start, approximately and in little memory: of the names that are counted, the one
/// with the fewest gives its place, and its count, to a new one. No name with more than that is ever missed.
#[derive(Debug, Default)]
pub struct Popular(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_name: BTreeMap<String, (u64, u64)>,
    by_count: BTreeSet<(u64, String)>,
}

/// Names that are counted at once.
const COUNTED: usize = 2000;

impl Popular {
    /// A download of so many bytes.
    pub fn add(&self, name: &str, bytes: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, sent) = match counts.by_name.get(name).copied() {
            Some(found) => {
                counts.by_count.remove(&(found.0, name.to_owned()));
                found
            }
            None if counts.by_name.len() < COUNTED => (0, 0),
            None => {
                let (least, rarest) = counts.by_count.pop_first().unwrap_or_default();
                counts.by_name.remove(&rarest);
                (least, 0)
            }
        };
        counts.by_name.insert(name.to_owned(), (before + 1, sent + bytes));
        counts.by_count.insert((before + 1, name.to_owned()));
    }

    /// The most: name, downloads at most, bytes at least.
    #[must_use]
    pub fn most(&self, most: usize) -> Vec<(String, u64, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names = counts.by_count.iter().rev().take(most);
        names
            .map(|(count, name)| (name.clone(), *count, counts.by_name.get(name).map_or(0, |(_, bytes)| *bytes)))
            .collect()
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $says:literal,)*) => {
        /// Everything that is counted.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $says] pub $name: Counter,)*
            /// Uploads that were not taken, by the reason.
            pub refusals: ByWord,
            /// How long uploads took that were stored, from the request's head to the answer.
            pub upload_seconds: Histogram,
            /// What is downloaded most.
            pub popular: Popular,
        }

        impl Metrics {
            /// Name, explanation and value of each.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $says, self.$name.get()),)*]
            }
        }
    };
}

counters! {
    uploads: "Requests whose files were stored.",
    uploaded_files: "Files that were stored.",
    uploaded_bytes: "Bytes of files that were stored.",
    repeated_files: "Files that got the URL of an equal one.",
    refused_uploads: "Requests that were refused: nothing in them, or what is not allowed.",
    broken_uploads: "Requests that broke off or were too slow.",
    failed_uploads: "Requests that could not be stored: no room, or a failing disk.",
    limited_uploads: "Requests that were refused: too much from one address.",
    begun_uploads: "Uploads in parts that were begun.",
    stripped_files: "Pictures from which something was taken out.",
    unstrippable_files: "Pictures that could not be taken apart.",
    scanned_files: "Files that a scanner looked at.",
    infected_files: "Files in which a scanner found something.",
    unscanned_files: "Files that no scanner could look at.",
    refused_connections: "Connections that were refused: too many from one address.",
    banned_requests: "Requests of banned addresses, and from banned pages.",
    slow_downloads: "Connections that were ended because their client took too little.",
    sent_purges: "Contents that an edge was told to forget.",
    failed_purges: "Times that an edge could not be told.",
    downloads: "Requests for files that were answered with one, or a part of one.",
    sent_bytes: "Bytes of files that were sent.",
    missed_downloads: "Requests for files that are not there.",
    failed_downloads: "Requests for files whose content could not be read.",
    removals: "Uploads that were taken back.",
    removed_objects: "Contents that were removed.",
    quarantined_objects: "Contents that no row knew.",
    replicated_objects: "Contents that were sent to the tier and read back.",
    replicated_bytes: "Bytes of these contents.",
    failed_replications: "Times that content could not be sent to the tier or read back.",
    tier_mismatches: "Times that the tier gave other bytes than were sent.",
    purged_objects: "Contents that were removed from the tier.",
    evicted_objects: "Contents that made room on the disk.",
    evicted_bytes: "Bytes of these contents.",
    pulled_objects: "Contents that came back from the tier.",
    pulled_bytes: "Bytes of these contents.",
    failed_pulls: "Times that content could not be fetched from the tier.",
    legacy_imports: "Files that were taken over from a legacy source.",
    legacy_misses: "Names that no legacy source knew.",
    failed_legacy: "Times that a legacy source did not answer, or not with a file.",
}

/// One family of Prometheus' text format.
pub fn write_metric(lines: &mut String, kind: &str, name: &str, says: &str, value: u64) {
    let suffix = if kind == "counter" { "_total" } else { "" };
    let name = format!("witness_origin_{name}{suffix}");
    lines.push_str(&format!("# HELP {name} {says}\n# TYPE {name} {kind}\n{name} {value}\n"));
}

/// A family of counters with one label. Its words need no escaping.
pub fn write_words(lines: &mut String, name: &str, says: &str, label: &str, counts: &BTreeMap<&'static str, u64>) {
    let name = format!("witness_origin_{name}_total");
    lines.push_str(&format!("# HELP {name} {says}\n# TYPE {name} counter\n"));
    for (word, count) in counts {
        lines.push_str(&format!("{name}{{{label}=\"{word}\"}} {count}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_once_and_adds_up() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 3, 250, 60_000] {
            histogram.add(Duration::from_millis(millis));
        }
        let mut lines = String::new();
        histogram.write(&mut lines, "x", "Says.");
        for expected in [
            "x_bucket{le=\"0.001\"} 2\n",
            "x_bucket{le=\"0.002\"} 3\n",
            "x_bucket{le=\"0.005\"} 4\n",
            "x_bucket{le=\"0.1\"} 4\n",
            "x_bucket{le=\"0.25\"} 5\n",
            "x_bucket{le=\"10\"} 5\n",
            "x_bucket{le=\"+Inf\"} 6\n",
            "x_sum 60.256\n",
            "x_count 6\n",
        ] {
            assert!(lines.contains(&format!("witness_origin_{expected}")), "{expected} is not in\n{lines}");
        }
    }

    #[test]
    fn what_is_downloaded_often_is_never_missed_among_many() {
        let popular = Popular::default();
        for number in 0..10 * COUNTED {
            popular.add(&format!("rare-{number}"), 1);
            if number % 4 == 0 {
                popular.add("often", 10);
            }
            if number % 8 == 0 {
                popular.add("sometimes", 1);
            }
        }
        let most = popular.most(2);
        let names: Vec<&str> = most.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["often", "sometimes"]);
        let (_, count, bytes) = most[0];
        assert!(count >= 5000 && bytes <= 50_000, "{most:?}");
        assert_eq!(popular.0.lock().unwrap().by_name.len(), COUNTED);
        assert_eq!(popular.0.lock().unwrap().by_count.len(), COUNTED);
    }
}
