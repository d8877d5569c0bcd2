//! Which backups go: those that no rule keeps, that nothing kept is built upon, that nobody pinned, and that are not the
//! last there are.

use std::collections::BTreeSet;

use super::chain::{Chain, Id, named};
use super::retention::Retention;
use crate::model::Time;

/// What goes, in the order in which it must: whatever is built upon something goes before it, so that one who dies in
/// between leaves no segment without its full one.
///
/// `pinned` are full ones whose chains stay whole. `verified` are full ones that were read back and restored: the newest
/// of them stays, too, or the last backup that is known to be good would go for newer ones that are not.
#[must_use]
pub fn expunged(
    chains: &[Chain],
    pinned: &BTreeSet<String>,
    verified: &BTreeSet<String>,
    rules: &Retention,
    now: Time,
) -> Vec<Id> {
    let points: Vec<(&Id, Time)> =
        chains.iter().flat_map(|chain| chain.good.iter().map(|(id, manifest)| (id, Time(manifest.taken)))).collect();
    let times: Vec<Time> = points.iter().map(|(_, taken)| *taken).collect();
    let mut kept: BTreeSet<&Id> = rules.keep(&times, now).into_iter().map(|at| points[at].0).collect();
    kept.extend(points.iter().filter(|(id, _)| pinned.contains(&id.full)).map(|(id, _)| *id));
    kept.extend(newest(points.iter()));
    kept.extend(newest(points.iter().filter(|(id, _)| id.segment == 0)));
    kept.extend(newest(points.iter().filter(|(id, _)| id.segment == 0 && verified.contains(&id.full))));
    // Whatever something kept is built upon: all before it in its chain.
    let needed = |id: &Id| kept.iter().any(|other| other.full == id.full && other.segment >= id.segment);
    let mut gone: Vec<Id> = points.iter().map(|(id, _)| *id).filter(|id| !needed(id)).cloned().collect();
    // What cannot be restored is kept for people to look at, as long as the rules would.
    for chain in chains.iter().filter(|chain| !pinned.contains(&chain.full)) {
        let is_old = named(&chain.full).is_some_and(|taken| now.since(taken) > rules.longest());
        let is_needed = chain.good.iter().any(|(id, _)| needed(id));
        if is_old && !is_needed {
            gone.extend(chain.broken.iter().map(|(id, _)| id.clone()));
        }
    }
    gone.sort_by(|one, other| one.full.cmp(&other.full).then(other.segment.cmp(&one.segment)));
    gone
}

fn newest<'p>(points: impl Iterator<Item = &'p (&'p Id, Time)>) -> Option<&'p Id> {
    points.max_by_key(|(id, taken)| (*taken, *id)).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::chain::tests::made;
    use super::super::chain::{Entry, chains};
    use super::*;

    const DAY: i64 = 86_400_000;

    proptest! {
        #[test]
        fn a_name_tells_when_it_was_taken(at in 0_i64..200_000_000_000_000) {
            prop_assert_eq!(named(&Id::full(Time(at)).full), Some(Time(at)));
        }

        /// Whatever there is, broken or whole, and wherever it is cut short: what could be restored before and is to
        /// stay can be restored afterwards.
        #[test]
        fn no_chain_is_broken_and_the_newest_stays(
            shape in vec((0_i64..40, 0_u32..9, any::<bool>(), any::<bool>()), 1..9),
            lost in vec(any::<prop::sample::Index>(), 0..3),
            rules in prop::sample::select(vec!["7d,7;30d,4", "3600,4;86400,11", "1d", "20d,1"]),
            cut in any::<prop::sample::Index>(),
        ) {
            let now = Time(20_000 * DAY);
            let mut entries: Vec<Entry> = Vec::new();
            let (mut pinned, mut verified) = (BTreeSet::new(), BTreeSet::new());
            for (number, (days, segments, is_pinned, is_verified)) in shape.iter().enumerate() {
                let start = Time(now.0 - days * DAY - i64::try_from(number).unwrap());
                let made = made(start, *segments, DAY / 10);
                if *is_pinned && number % 3 == 0 { pinned.insert(made[0].id.full.clone()); }
                if *is_verified { verified.insert(made[0].id.full.clone()); }
                entries.extend(made);
            }
            for lost in &lost {
                let at = lost.index(entries.len());
                if entries.len() > 1 { entries.remove(at); }
            }
            let before = chains(&entries);
            let rules: Retention = rules.parse().unwrap();
            let gone = expunged(&before, &pinned, &verified, &rules, now);
            // Somebody kills it anywhere in between.
            for done in [cut.index(gone.len() + 1), gone.len()] {
                let after: Vec<Entry> = entries.iter().filter(|entry| !gone[..done].contains(&entry.id)).cloned().collect();
                let after = chains(&after);
                let good = |chains: &[Chain]| -> BTreeSet<Id> {
                    chains.iter().flat_map(|chain| chain.good.iter().map(|(id, _)| id.clone())).collect()
                };
                let (was, is) = (good(&before), good(&after));
                let expected: BTreeSet<Id> = was.iter().filter(|id| !gone[..done].contains(id)).cloned().collect();
                prop_assert_eq!(&is, &expected, "what stays is whole");
                let time = |id: &Id| before.iter().flat_map(|chain| &chain.good).find(|(known, _)| known == id).map(|(_, manifest)| manifest.taken);
                if let Some(newest) = was.iter().max_by_key(|id| time(id)) {
                    prop_assert!(is.iter().any(|id| time(id) == time(newest)), "the newest is gone");
                }
                for (fulls, what) in [(&verified, "verified"), (&pinned, "pinned")] {
                    let had = was.iter().any(|id| fulls.contains(&id.full));
                    let has = is.iter().any(|id| fulls.contains(&id.full));
                    prop_assert!(had == has, "the last {} one is gone", what);
                }
                for id in was.iter().filter(|id| pinned.contains(&id.full)) {
                    prop_assert!(is.contains(id), "{} was pinned", id);
                }
            }
            // And all that no rule wants is gone, unless something stands upon it or it is the last of its kind.
            let again: Vec<Entry> = entries.iter().filter(|entry| !gone.contains(&entry.id)).cloned().collect();
            prop_assert_eq!(expunged(&chains(&again), &pinned, &verified, &rules, now), Vec::<Id>::new());
        }
    }

    #[test]
    fn old_chains_go_from_their_ends() {
        let now = Time(20_000 * DAY);
        let mut entries = made(Time(now.0 - 100 * DAY), 2, DAY);
        entries.extend(made(Time(now.0 - DAY), 1, DAY / 2));
        let gone = expunged(&chains(&entries), &BTreeSet::new(), &BTreeSet::new(), &"7d,7".parse().unwrap(), now);
        let names: Vec<String> = gone.iter().map(ToString::to_string).collect();
        let old = Id::full(Time(now.0 - 100 * DAY)).full;
        assert_eq!(names, [format!("{old}/000002"), format!("{old}/000001"), old]);
    }
}
