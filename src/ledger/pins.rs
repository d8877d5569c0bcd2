//! Operators' pins. A pin that ended is kept as history.

use rusqlite::{Connection, Row, params};

use crate::model::{NodeId, Pin, Time};

use super::error::{LedgerError, Trouble};
use super::names::{Names, find_node, to_name};
use super::{Ledger, code};

/// A pin, and whether it was taken off or replaced before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPin {
    /// The pin as it was set.
    pub pin: Pin,
    /// When it was taken off or replaced.
    pub ended_at: Option<Time>,
}

impl Ledger {
    /// Pins in force at `now`, at most one per node, sorted by node.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn pins(&self, now: Time) -> Result<Vec<Pin>, LedgerError> {
        in_force(&self.db, now).map_err(|trouble| trouble.at(&self.path))
    }

    /// Pins a node, in place of any pin that it has.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn pin(&mut self, pin: &Pin) -> Result<(), LedgerError> {
        let Pin { node, state, since, until, reason } = pin;
        self.write(|tx| {
            let number = Names::default().node(tx, node)?;
            end(tx, number, *since)?;
            tx.prepare_cached("INSERT INTO pin (node, state, since, until, reason) VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![number, state.name(), since.0, until.0, reason])?;
            Ok(())
        })
    }

    /// Takes a node's pin off at `at`. Says whether there was one in force.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn unpin(&mut self, node: &NodeId, at: Time) -> Result<bool, LedgerError> {
        self.write(|tx| match find_node(tx, node)? {
            Some(number) => Ok(end(tx, number, at)? > 0),
            None => Ok(false),
        })
    }
}

fn end(db: &Connection, node: i64, at: Time) -> Result<usize, Trouble> {
    Ok(db
        .prepare_cached("UPDATE pin SET ended_at = ?2 WHERE node = ?1 AND ended_at IS NULL AND until > ?2")?
        .execute([node, at.0])?)
}

const COLUMNS: &str = "n.name, p.state, p.since, p.until, p.reason, p.ended_at";

/// See [`Ledger::pins`]. A clock that went back behind `since` does not lift a pin: it was set by a person.
pub(crate) fn in_force(db: &Connection, now: Time) -> Result<Vec<Pin>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM pin p JOIN node n ON n.id = p.node WHERE p.ended_at IS NULL AND p.until > ?1 \
         ORDER BY n.name, p.id"
    ))?;
    let mut rows = find.query([now.0])?;
    let mut pins: Vec<Pin> = Vec::new();
    while let Some(row) = rows.next()? {
        let pin = read(row)?.pin;
        // After a clock went back, an older pin may seem to last still; the newer one counts.
        if pins.last().is_some_and(|last| last.node == pin.node) {
            pins.pop();
        }
        pins.push(pin);
    }
    Ok(pins)
}

/// Pins set or ended between two times, oldest first, of one node or of all.
pub(crate) fn past(db: &Connection, node: Option<i64>, from: Time, to: Time) -> Result<Vec<PastPin>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM pin p JOIN node n ON n.id = p.node WHERE (?1 IS NULL OR p.node = ?1) \
         AND p.since <= ?3 AND coalesce(p.ended_at, p.until) >= ?2 ORDER BY p.id"
    ))?;
    let mut rows = find.query(params![node, from.0, to.0])?;
    let mut pins = Vec::new();
    while let Some(row) = rows.next()? {
        pins.push(read(row)?);
    }
    Ok(pins)
}

fn read(row: &Row<'_>) -> Result<PastPin, Trouble> {
    let state: String = row.get(1)?;
    let ended_at: Option<i64> = row.get(5)?;
    Ok(PastPin {
        pin: Pin {
            node: to_name(row.get_ref(0)?.as_str().unwrap_or_default())?,
            state: code::to_pin(&state)?,
            since: Time(row.get(2)?),
            until: Time(row.get(3)?),
            reason: row.get(4)?,
        },
        ended_at: ended_at.map(Time),
    })
}
