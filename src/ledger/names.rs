//! Names and words that rows refer to by number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::{NodeId, Time};

use super::error::Trouble;

/// How many texts of one day are kept at hand; a fleet that says more than this looks them up.
const NOTES_AT_HAND: usize = 16 * 1024;

/// How many new texts one tick may add. A text beyond it is not kept with its observation; the fault itself always is.
const NOTES_PER_TICK: usize = 4096;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Numbers already looked up. Rows of these tables never change, so only a rolled-back transaction makes them wrong.
#[derive(Debug, Default)]
pub(crate) struct Names {
    nodes: BTreeMap<NodeId, i64>,
    addresses: BTreeMap<IpAddr, i64>,
    boot: Option<(String, i64)>,
    notes: BTreeMap<String, i64>,
    notes_day: i64,
    notes_added: usize,
}

impl Names {
    /// The number of `node`, new if need be.
    pub(crate) fn node(&mut self, db: &Connection, node: &NodeId) -> Result<i64, Trouble> {
        if let Some(number) = self.nodes.get(node) {
            return Ok(*number);
        }
        let number = intern(
            db,
            "SELECT id FROM node WHERE name = ?1",
            "INSERT INTO node (name) VALUES (?1) RETURNING id",
            node.as_str(),
        )?;
        self.nodes.insert(node.clone(), number);
        Ok(number)
    }

    /// The number of `address`, new if need be.
    pub(crate) fn address(&mut self, db: &Connection, address: IpAddr) -> Result<i64, Trouble> {
        if let Some(number) = self.addresses.get(&address) {
            return Ok(*number);
        }
        let number = intern(
            db,
            "SELECT id FROM address WHERE address = ?1",
            "INSERT INTO address (address) VALUES (?1) RETURNING id",
            &address.to_string(),
        )?;
        self.addresses.insert(address, number);
        Ok(number)
    }

    /// The number of a boot, new if need be.
    pub(crate) fn boot(&mut self, db: &Connection, boot: &str) -> Result<i64, Trouble> {
        if let Some((known, number)) = &self.boot
            && known == boot
        {
            return Ok(*number);
        }
        let number = intern(
            db,
            "SELECT id FROM boot WHERE boot = ?1",
            "INSERT INTO boot (boot) VALUES (?1) RETURNING id",
            boot,
        )?;
        self.boot = Some((boot.to_owned(), number));
        Ok(number)
    }

    /// A tick at `at` begins.
    pub(crate) fn begin_tick(&mut self, at: Time) {
        let day = day_of(at);
        if day != self.notes_day {
            self.forget_notes();
            self.notes_day = day;
        }
        self.notes_added = 0;
    }

    /// Somebody else may have removed texts.
    pub(crate) fn forget_notes(&mut self) {
        self.notes.clear();
    }

    /// The number of a text; none where this tick has added too many already.
    pub(crate) fn note(&mut self, db: &Connection, text: &str) -> Result<Option<i64>, Trouble> {
        if let Some(number) = self.notes.get(text) {
            return Ok(Some(*number));
        }
        let known: Option<i64> = db
            .prepare_cached("SELECT id FROM note WHERE day = ?1 AND text = ?2")?
            .query_row(params![self.notes_day, text], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None if self.notes_added >= NOTES_PER_TICK => return Ok(None),
            None => {
                self.notes_added += 1;
                db.prepare_cached("INSERT INTO note (day, text) VALUES (?1, ?2) RETURNING id")?
                    .query_row(params![self.notes_day, text], |row| row.get(0))?
            }
        };
        if self.notes.len() >= NOTES_AT_HAND {
            self.notes.clear();
        }
        self.notes.insert(text.to_owned(), number);
        Ok(Some(number))
    }
}

/// The day that texts of `at` are kept under, since 1970.
pub(crate) fn day_of(at: Time) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// The number of a node that is known already.
pub(crate) fn find_node(db: &Connection, node: &NodeId) -> Result<Option<i64>, Trouble> {
    Ok(db
        .prepare_cached("SELECT id FROM node WHERE name = ?1")?
        .query_row([node.as_str()], |row| row.get(0))
        .optional()?)
}

/// A node's name as a row has it.
pub(crate) fn to_name(text: &str) -> Result<NodeId, Trouble> {
    NodeId::new(text).map_err(|e| Trouble::unreadable("a name", e))
}

fn intern(db: &Connection, find: &str, add: &str, text: &str) -> Result<i64, Trouble> {
    let known = db.prepare_cached(find)?.query_row([text], |row| row.get(0)).optional()?;
    match known {
        Some(number) => Ok(number),
        None => Ok(db.prepare_cached(add)?.query_row([text], |row| row.get(0))?),
    }
}
