//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};

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

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $says:literal,)*) => {
        /// Everything that is counted.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $says] pub $name: Counter,)*
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
