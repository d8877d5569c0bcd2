//! Rounds as rows: one per observation, all numbers.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

use rusqlite::{Connection, Row, params};

use crate::model::{Measured, NodeId, Observation, Round, Time};

use super::code;
use super::error::Trouble;
use super::names::Names;

/// The columns of an observation that [`read`] takes, from tables named `o`, `j`, `a` and `t`.
pub(crate) const COLUMNS: &str = "j.at, o.started, o.ended, o.probe, a.address, o.outcome, o.total_us, o.connect_us, \
     o.secure_us, o.first_byte_us, o.status, o.certificate_days, o.sent, o.received, o.rtt_us, t.text";

/// How many columns these are.
pub(crate) const WIDTH: usize = 16;

/// Where a round of this tick went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    /// The round.
    pub(crate) round: &'a Round,
    /// Its place among the node's rounds of this tick.
    pub(crate) seq: i64,
    /// Whether reading it back gives exactly the same.
    pub(crate) exact: bool,
}

/// Writes every round under `judgement`, made at `at`. Rounds without observations leave no row.
pub(crate) fn write<'a>(
    db: &Connection,
    names: &mut Names,
    judgement: i64,
    at: Time,
    rounds: &'a [Round],
) -> Result<BTreeMap<&'a NodeId, Vec<Written<'a>>>, Trouble> {
    let mut sorted = Vec::with_capacity(rounds.len());
    for round in rounds {
        sorted.push((names.node(db, &round.node)?, round));
    }
    // In the table's own order every row goes to its end.
    sorted.sort_by_key(|(node, round)| (*node, round.started, round.finished));
    // REPLACE, because a row twice is no reason to lose a tick.
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO observation VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)",
    )?;
    let mut written: BTreeMap<&NodeId, Vec<Written<'_>>> = BTreeMap::new();
    for (node, round) in sorted {
        let of_node = written.entry(&round.node).or_default();
        let seq = i64::try_from(of_node.len()).unwrap_or(i64::MAX);
        let mut exact = is_plain(round, at);
        for seen in &round.observations {
            let Observation { probe, address, at: ended, outcome, measured } = seen;
            let Measured {
                connect_us,
                secure_us,
                first_byte_us,
                total_us,
                status,
                certificate_days,
                sent,
                received,
                rtt_us,
                note: text,
            } = measured;
            let note = match text {
                Some(text) => names.note(db, text)?,
                None => None,
            };
            exact &= note.is_some() == text.is_some();
            insert.execute(params![
                judgement,
                node,
                seq,
                code::of_probe(*probe),
                names.address(db, *address)?,
                round.started.0.saturating_sub(at.0),
                ended.0.saturating_sub(at.0),
                code::of_outcome(*outcome),
                total_us,
                connect_us,
                secure_us,
                first_byte_us,
                status,
                certificate_days,
                sent,
                received,
                rtt_us,
                note,
            ])?;
        }
        of_node.push(Written { round, seq, exact });
    }
    Ok(written)
}

/// Whether rows can hold the round exactly: it has observations, sorted, each once, and ends with the last of them.
fn is_plain(round: &Round, at: Time) -> bool {
    let sorted = round.observations.windows(2).all(|pair| match pair {
        [one, next] => (one.probe, one.address) < (next.probe, next.address),
        _ => true,
    });
    let fits = |time: Time| time.0.checked_sub(at.0).is_some();
    sorted
        && round.observations.iter().map(|seen| seen.at).max() == Some(round.finished)
        && fits(round.started)
        && round.observations.iter().all(|seen| fits(seen.at))
}

/// One observation, and when its round was started.
pub(crate) fn read(row: &Row<'_>, from: usize) -> Result<(Time, Observation), Trouble> {
    let at: i64 = row.get(from)?;
    let started: i64 = row.get(from + 1)?;
    let ended: i64 = row.get(from + 2)?;
    let address: String = row.get(from + 4)?;
    let address: IpAddr = address.parse().map_err(|e| Trouble::unreadable("address.address", e))?;
    let seen = Observation {
        probe: code::to_probe(row.get(from + 3)?)?,
        address,
        at: Time(at.saturating_add(ended)),
        outcome: code::to_outcome(row.get(from + 5)?)?,
        measured: Measured {
            total_us: row.get(from + 6)?,
            connect_us: row.get(from + 7)?,
            secure_us: row.get(from + 8)?,
            first_byte_us: row.get(from + 9)?,
            status: row.get(from + 10)?,
            certificate_days: row.get(from + 11)?,
            sent: row.get(from + 12)?,
            received: row.get(from + 13)?,
            rtt_us: row.get(from + 14)?,
            note: row.get(from + 15)?,
        },
    };
    Ok((Time(at.saturating_add(started)), seen))
}

/// The round `seq` of a node under `judgement`; none where it was pruned.
pub(crate) fn one(
    db: &Connection,
    judgement: i64,
    node: i64,
    seq: i64,
    name: &NodeId,
) -> Result<Option<Round>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM observation o JOIN judgement j ON j.id = o.judgement JOIN address a ON a.id = o.address \
         LEFT JOIN note t ON t.id = o.note WHERE o.judgement = ?1 AND o.node = ?2 AND o.seq = ?3"
    ))?;
    let mut rows = find.query([judgement, node, seq])?;
    let mut round: Option<Round> = None;
    while let Some(row) = rows.next()? {
        let (started, seen) = read(row, 0)?;
        add(&mut round, name, started, seen);
    }
    Ok(round.map(|mut round| {
        settle(&mut round);
        round
    }))
}

/// Puts an observation into the round it belongs to, and begins the round with the first.
pub(crate) fn add(round: &mut Option<Round>, node: &NodeId, started: Time, seen: Observation) {
    let round = round.get_or_insert_with(|| Round {
        node: node.clone(),
        started,
        finished: seen.at,
        observations: Vec::with_capacity(3),
    });
    round.finished = round.finished.max(seen.at);
    round.observations.push(seen);
}

/// Puts the observations in the model's order; rows are in that of the addresses' numbers.
pub(crate) fn settle(round: &mut Round) {
    round.observations.sort_by_key(|seen| (seen.probe, seen.address));
}

/// Tells rounds apart cheaply.
pub(crate) fn digest(round: &Round) -> u64 {
    let mut hasher = DefaultHasher::new();
    (round.node.as_str(), round.started, round.finished).hash(&mut hasher);
    for Observation { probe, address, at, outcome, measured } in &round.observations {
        let Measured {
            connect_us,
            secure_us,
            first_byte_us,
            total_us,
            status,
            certificate_days,
            sent,
            received,
            rtt_us,
            note,
        } = measured;
        (probe, address, at, code::of_outcome(*outcome), connect_us, secure_us, first_byte_us).hash(&mut hasher);
        (total_us, status, certificate_days, sent, received, rtt_us, note).hash(&mut hasher);
    }
    hasher.finish()
}
