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
    downloads: "Requests for files that were answered with one, or a part of one.",
    sent_bytes: "Bytes of files that were sent.",
    missed_downloads: "Requests for files that are not there.",
    failed_downloads: "Requests for files whose content could not be read.",
    removals: "Uploads that were taken back.",
    removed_objects: "Contents that were removed.",
    quarantined_objects: "Contents that no row knew.",
}

/// One family of Prometheus' text format.
pub fn write_metric(lines: &mut String, kind: &str, name: &str, says: &str, value: u64) {
    let suffix = if kind == "counter" { "_total" } else { "" };
    let name = format!("witness_origin_{name}{suffix}");
    lines.push_str(&format!("# HELP {name} {says}\n# TYPE {name} {kind}\n{name} {value}\n"));
}
