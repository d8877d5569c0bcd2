//! One tick, in one transaction.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::crash;
use crate::model::{AnchorRound, Ask, FleetVerdict, Judgement, LoadFigure, Request, Round, Standing};

use super::cache::Cache;
use super::error::{LedgerError, Trouble};
use super::states::to_json;
use super::{Ledger, asks, code, lease, loads, remembered, rounds, states};

/// Everything that one tick was shown and concluded.
#[derive(Clone, Debug)]
pub struct TickRecord {
    /// Rounds that finished since the tick before, in any order.
    pub rounds: Vec<Round>,
    /// Load figures that came in since the tick before, in any order.
    pub loads: Vec<LoadFigure>,
    /// What other vantage points said since the tick before, in any order.
    pub asks: Vec<Ask>,
    /// The newest look at the anchors, if one was taken since the tick before.
    pub anchors: Option<AnchorRound>,
    /// What a person asked for in this tick.
    pub request: Option<Request>,
    /// What was concluded.
    pub judgement: Judgement,
}

impl Ledger {
    /// Writes a tick: all of it, durably, or nothing. Returns the judgement's number; numbers only grow.
    ///
    /// Of nodes it writes what is new: a state where verdict, standing, strikes, rule, pin or DNS differ from before, or
    /// where there is a strike, an action or a new hold; the memory of those whose memory changed.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`] when this ledger had taken a lease and another process has it now; else what is wrong
    /// with the file. Nothing of the tick is written then, and it may be tried again.
    pub fn record_tick(&mut self, tick: &TickRecord) -> Result<i64, LedgerError> {
        let Self { db, path, cache, held } = self;
        let mut run = || -> Result<i64, Trouble> {
            let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
            lease::check(&tx, held)?;
            cache.refresh(&tx)?;
            // Until the commit has succeeded, the cache is ahead of the tables.
            cache.fresh = false;
            let judgement = write(&tx, cache, tick)?;
            crash::point("committing");
            tx.commit()?;
            crash::point("committed");
            cache.fresh = true;
            Ok(judgement)
        };
        run().map_err(|trouble| trouble.at(path))
    }
}

fn write(db: &Connection, cache: &mut Cache, tick: &TickRecord) -> Result<i64, Trouble> {
    let judgement = &tick.judgement;
    let at = judgement.now.wall;
    cache.names.begin_tick(at);
    let fleet = (judgement.fleet, judgement.vantage);
    let standings = states::count(&judgement.nodes);
    let standing = |standing: Standing| standings.get(&standing).copied().unwrap_or(0);
    let wrong = judgement.fleet != FleetVerdict::Normal;
    let failed = tick.rounds.iter().filter(|round| round.failed()).count();
    let id: i64 = db
        .prepare_cached(
            "INSERT INTO judgement (at, boot_ms, boot, fleet, vantage, news, nodes, suspect, withdrawn, probation, rounds, \
             failed, anchors_at, anchors_ok, anchors_of, request, fleet_rule, fleet_why) \
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18) RETURNING id",
        )?
        .query_row(
            params![
                at.0,
                judgement.now.boot_ms,
                cache.names.boot(db, &judgement.now.boot_id)?,
                code::of_fleet(judgement.fleet),
                code::of_vantage(judgement.vantage),
                cache.fleet != Some(fleet),
                count(judgement.nodes.len()),
                standing(Standing::Suspect),
                standing(Standing::Withdrawn),
                standing(Standing::Probation),
                count(tick.rounds.len()),
                count(failed),
                tick.anchors.map(|anchors| anchors.at.0),
                tick.anchors.map(|anchors| anchors.ok),
                tick.anchors.map(|anchors| anchors.of),
                tick.request.as_ref().map(to_json),
                wrong.then_some(&judgement.fleet_rule.0),
                wrong.then_some(&judgement.fleet_why),
            ],
            |row| row.get(0),
        )?;
    cache.fleet = Some(fleet);
    let written = rounds::write(db, &mut cache.names, id, at, &tick.rounds)?;
    loads::write(db, &mut cache.names, id, at, &tick.loads)?;
    asks::write(db, &mut cache.names, id, at, &tick.asks)?;
    states::write(db, cache, id, judgement)?;
    remembered::save(db, cache, id, &judgement.memory, &written)?;
    Ok(id)
}

fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClockReading, Memory, ProbeAdvice, Time, Vantage};

    fn empty(at: i64) -> TickRecord {
        TickRecord {
            rounds: Vec::new(),
            loads: Vec::new(),
            asks: Vec::new(),
            anchors: None,
            request: None,
            judgement: Judgement {
                now: ClockReading { wall: Time(at), ..ClockReading::default() },
                vantage: Vantage::Blind,
                fleet: FleetVerdict::Blind,
                fleet_rule: crate::model::RuleId::of("S0.clean"),
                fleet_why: String::new(),
                nodes: Vec::new(),
                strikes: Vec::new(),
                actions: Vec::new(),
                holds: Vec::new(),
                probe: ProbeAdvice::default(),
                memory: Memory::default(),
            },
        }
    }

    #[test]
    fn a_file_that_may_not_grow_is_full_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&dir.path().join("witness.db")).unwrap();
        let pages: i64 = ledger.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        ledger.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        let mut written = 0;
        let error = loop {
            match ledger.record_tick(&empty(written)) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, LedgerError::Full { .. }), "{error}");
        assert!(written > 0);
        assert_eq!(ledger.view().counts().unwrap().judgements, written);
        ledger.db.pragma_update_and_check(None, "max_page_count", pages * 100, |_| Ok(())).unwrap();
        ledger.record_tick(&empty(written)).unwrap();
        ledger.view().integrity().unwrap();
    }
}
