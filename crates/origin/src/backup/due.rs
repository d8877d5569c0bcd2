//! What the policy wants next: a full backup, a segment, or nothing.

use std::time::Duration;

use super::chain::Chain;
use crate::model::Time;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A whole one, and why.
    Full(&'static str),
    /// What has changed since the last.
    Incremental,
    /// Nothing yet.
    Nothing,
}

/// The database that is to be backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its lineage.
    pub lineage: String,
    /// Its schema.
    pub schema: i64,
    /// Lines of the journal up to this one are gone.
    pub forgotten: i64,
    /// The journal's last line.
    pub last: i64,
}

/// What is due at `now`, by how old things are.
#[must_use]
pub fn due(chains: &[Chain], source: &Source, full_every: Duration, incremental_every: Duration, now: Time) -> Due {
    let Some((chain, (_, last))) = newest(chains, source) else { return Due::Full("there is none of this database") };
    if !can_go_on(chain, source) {
        return Due::Full("the last chain cannot be built upon");
    }
    // A clock that was put back makes everything look young: then it is better to have one too many.
    let age = |taken: i64| if Time(taken) > now { Duration::MAX } else { now.since(Time(taken)) };
    if chain.good.first().is_some_and(|(_, full)| age(full.taken) >= full_every) {
        Due::Full("the last is old enough")
    } else if age(last.taken) >= incremental_every {
        Due::Incremental
    } else {
        Due::Nothing
    }
}

/// The newest chain of this database that has anything good.
#[must_use]
pub fn newest<'c>(
    chains: &'c [Chain],
    source: &Source,
) -> Option<(&'c Chain, &'c (super::chain::Id, super::chain::Manifest))> {
    let ours = |chain: &&Chain| chain.last().is_some_and(|(_, manifest)| manifest.lineage == source.lineage);
    chains.iter().filter(ours).filter_map(|chain| Some((chain, chain.last()?))).next_back()
}

/// Whether a segment may be built upon `chain`.
#[must_use]
pub fn can_go_on(chain: &Chain, source: &Source) -> bool {
    chain.broken.is_empty()
        && chain.last().is_some_and(|(_, last)| {
            last.schema == source.schema
                && last.lineage == source.lineage
                && last.to >= source.forgotten
                && last.to <= source.last
        })
}

#[cfg(test)]
mod tests {
    use super::super::chain::chains;
    use super::super::chain::tests::made;
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_full_one_then_segments_then_a_full_one_again() {
        let source = Source { lineage: "l".to_owned(), schema: 1, forgotten: 0, last: 100 };
        let (full, segment) = (Duration::from_secs(7 * 86_400), Duration::from_secs(86_400));
        let start = Time(1_000_000 * HOUR);
        let there = chains(&made(start, 2, 24 * HOUR));
        let at = |hours: i64| Time(start.0 + hours * HOUR);
        let ask = |chains: &[Chain], source: &Source, now| due(chains, source, full, segment, now);
        assert_eq!(ask(&[], &source, start), Due::Full("there is none of this database"));
        assert_eq!(ask(&there, &source, at(71)), Due::Nothing);
        assert_eq!(ask(&there, &source, at(72)), Due::Incremental);
        assert_eq!(ask(&there, &source, at(168)), Due::Full("the last is old enough"));
        assert_eq!(ask(&there, &source, at(-100)), Due::Full("the last is old enough"));
        let other = |change: fn(&mut Source)| {
            let mut source = source.clone();
            change(&mut source);
            ask(&there, &source, at(50))
        };
        let upon = Due::Full("the last chain cannot be built upon");
        assert_eq!(other(|source| source.schema = 2), upon);
        assert_eq!(other(|source| source.forgotten = 26), upon);
        assert_eq!(other(|source| source.last = 24), upon);
        assert_eq!(other(|source| source.forgotten = 25), Due::Nothing);
        assert_eq!(other(|source| source.lineage = "m".to_owned()), Due::Full("there is none of this database"));
    }
}
