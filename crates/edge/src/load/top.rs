//! What goes out: for which objects, and on behalf of whose pages.
//!
//! One byte in 64 KiB is looked at, by counting and not by chance, so that small answers cost next to nothing and large
//! ones are known well. Counts fade with a half-life of a minute.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What is counted at once.
const STEP: u64 = 64 << 10;
/// Names in a table before the lightest go.
const MANY: usize = 4096;
const KEPT: usize = 1024;
/// How much of a count is left after a second: half after sixty.
const FADE: f64 = 0.988_514;
/// Counts of names that have faded to less than this are forgotten.
const NOTHING: f64 = 1024.0;

/// See the module.
#[derive(Debug, Default)]
pub struct Top {
    sent: AtomicU64,
    tables: Mutex<[BTreeMap<String, f64>; 2]>,
}

/// What somebody looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Objects, by site, path and query.
    Object,
    /// Hosts of pages that objects are in or linked from.
    Referer,
}

/// A name and what goes out for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heavy {
    /// Of the object or the page's host.
    pub name: String,
    /// Bit/s, over the last minute or so.
    pub bps: u64,
}

impl Top {
    /// So many bytes went out. Gives what has to be added to somebody's count, if it is time for that.
    #[must_use]
    pub fn due(&self, bytes: u64) -> Option<u64> {
        let before = self.sent.fetch_add(bytes, Ordering::Relaxed);
        let steps = (before.wrapping_add(bytes)) / STEP - before / STEP;
        (steps > 0).then_some(steps * STEP)
    }

    /// Adds to the counts.
    pub fn add(&self, bytes: u64, object: Option<String>, referer: Option<String>) {
        let mut tables = self.tables.lock().expect("no thread panics while it holds this");
        for (table, name) in tables.iter_mut().zip([object, referer]) {
            let Some(name) = name else { continue };
            *table.entry(name).or_insert(0.0) += bytes as f64;
            if table.len() > MANY {
                let mut counts: Vec<f64> = table.values().copied().collect();
                counts.sort_unstable_by(f64::total_cmp);
                let least = counts[counts.len() - KEPT];
                table.retain(|_, count| *count > least);
            }
        }
    }

    /// A second has passed.
    pub fn fade(&self) {
        let mut tables = self.tables.lock().expect("no thread panics while it holds this");
        for table in tables.iter_mut() {
            table.retain(|_, count| {
                *count *= FADE;
                *count > NOTHING
            });
        }
    }

    /// The heaviest of a kind, the heaviest first.
    #[must_use]
    pub fn heaviest(&self, kind: Kind, count: usize) -> Vec<Heavy> {
        let tables = self.tables.lock().expect("no thread panics while it holds this");
        let table = &tables[usize::from(kind == Kind::Referer)];
        let mut all: Vec<(&String, &f64)> = table.iter().collect();
        all.sort_by(|one, other| other.1.total_cmp(one.1).then(one.0.cmp(other.0)));
        all.truncate(count);
        // A steady rate r is worth r / (1 - FADE) a second apart.
        let bps = |count: f64| (count * (1.0 - FADE) * 8.0) as u64;
        all.into_iter().map(|(name, count)| Heavy { name: name.clone(), bps: bps(*count) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_was_sent_and_fade() {
        let top = Top::default();
        for _ in 0..600 {
            for (name, bytes) in [("small", 3000), ("big", 900_000), ("middle", 90_000)] {
                if let Some(due) = top.due(bytes) {
                    top.add(due, Some(name.to_owned()), Some("www.example.com".to_owned()));
                }
            }
            top.fade();
        }
        let heaviest = top.heaviest(Kind::Object, 2);
        assert_eq!(heaviest.iter().map(|heavy| heavy.name.as_str()).collect::<Vec<_>>(), ["big", "middle"]);
        assert!((6_500_000..7_500_000).contains(&heaviest[0].bps), "{heaviest:?}");
        assert!((400_000..1_000_000).contains(&heaviest[1].bps), "{heaviest:?}");
        let all = top.heaviest(Kind::Referer, 9);
        assert!(all.len() == 1 && all[0].bps > heaviest[0].bps, "{all:?}");
        for _ in 0..60 {
            top.fade();
        }
        assert!((3_000_000..3_900_000).contains(&top.heaviest(Kind::Object, 1)[0].bps));
        for _ in 0..3600 {
            top.fade();
        }
        assert_eq!(top.heaviest(Kind::Object, 5), []);
    }

    #[test]
    fn many_names_take_little_room_and_the_heavy_ones_stay() {
        let top = Top::default();
        top.add(1 << 30, Some("heavy".into()), None);
        for number in 0..100_000 {
            top.add(STEP, Some(format!("light {number}")), None);
        }
        assert!(top.tables.lock().unwrap()[0].len() <= MANY);
        assert_eq!(top.heaviest(Kind::Object, 1)[0].name, "heavy");
    }
}
