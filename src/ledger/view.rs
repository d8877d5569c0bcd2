//! What can be asked of a ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params};

use crate::model::{
    Action, AnchorRound, Ask, ClockReading, FleetVerdict, Hold, Intent, LoadFigure, Memory, NodeId, Pin, PoolId,
    PublishedSets, Request, Round, RuleId, Strike, Time, Vantage,
};

use super::error::{LedgerError, Trouble};
use super::history::{self, Event, HistoryQuery};
use super::names::{find_node, to_name};
use super::states::from_json;
use super::{
    LeaseInfo, Ledger, NodeState, PastPin, Publication, Snapshot, SnapshotEntry, Standpoint, asks, cache, code,
    intents, lease, loads, pins, remembered, rounds, states, store,
};

/// A read-only connection to a ledger. It never makes the writer wait.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the ledger at `path` for reading.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when nothing was ever written there; else what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { db: store::open_reader(path)?, path: path.to_owned() })
    }

    /// What can be asked of it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::of(&self.db, &self.path)
    }

    /// A ledger in memory that holds what this one does now: for runs that must leave no trace.
    ///
    /// # Errors
    /// When this one cannot be read.
    pub fn to_memory(&self) -> Result<Ledger, LedgerError> {
        Ledger::copied(&self.db).map_err(|trouble| trouble.at(&self.path))
    }
}

/// Questions. Each is answered from one moment's state, and holds nothing open afterwards.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    db: &'a Connection,
    path: &'a Path,
}

/// A judgement, without what it says of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgementRow {
    /// Its number.
    pub id: i64,
    /// The clocks it was made by.
    pub now: ClockReading,
    /// What the fleet was in.
    pub fleet: FleetVerdict,
    /// By which rule, and why; none where nothing was wrong with it, or an earlier version wrote it.
    pub fleet_because: Option<(RuleId, String)>,
    /// Whether we saw well enough.
    pub vantage: Vantage,
    /// Whether either differs from the judgement before.
    pub news: bool,
    /// How many nodes were judged ...
    pub nodes: u32,
    /// ... and stood so: in DNS with strikes,
    pub suspect: u32,
    /// out of DNS,
    pub withdrawn: u32,
    /// proving themselves. The others were serving.
    pub probation: u32,
    /// How many rounds it was shown ...
    pub rounds: u32,
    /// ... and how many of them failed.
    pub failed_rounds: u32,
    /// The look at the anchors that it was shown.
    pub anchors: Option<AnchorRound>,
    /// What a person asked for.
    pub request: Option<Request>,
}

/// The chain from observations to what was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The judgement.
    pub judgement: JudgementRow,
    /// The states that held then, of one node or of all: each from the latest change at or before it.
    pub nodes: Vec<NodeState>,
    /// The strikes that these rest on.
    pub strikes: BTreeMap<NodeId, Vec<Strike>>,
    /// The rounds that the judgement was shown, as long as raw observations are kept.
    pub rounds: Vec<Round>,
    /// What nodes said that they carry, for as long.
    pub loads: Vec<LoadFigure>,
    /// What other vantage points said, for as long.
    pub asks: Vec<Ask>,
    /// What was to be done.
    pub actions: Vec<Standpoint<Action>>,
    /// What was wanted and refused.
    pub holds: Vec<Standpoint<Hold>>,
    /// What was asked of registrars because of it, and which servers were seen to show it.
    pub intents: Vec<(Intent, Vec<Publication>)>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Judgements kept.
    pub judgements: i64,
    /// Strikes kept.
    pub strikes: i64,
    /// Intents kept.
    pub intents: i64,
    /// Snapshots kept.
    pub snapshots: i64,
    /// The file, bytes, free pages included.
    pub bytes: i64,
    /// Free pages, bytes: new rows take them.
    pub free_bytes: i64,
}

const JUDGEMENT: &str = "SELECT j.id, j.at, j.boot_ms, b.boot, j.fleet, j.vantage, j.news, j.nodes, j.suspect, j.withdrawn, \
     j.probation, j.rounds, j.failed, j.anchors_at, j.anchors_ok, j.anchors_of, j.request, j.fleet_rule, j.fleet_why \
     FROM judgement j JOIN boot b ON b.id = j.boot";

impl<'a> View<'a> {
    pub(crate) fn of(db: &'a Connection, path: &'a Path) -> Self {
        Self { db, path }
    }

    /// The newest judgement.
    ///
    /// # Errors
    /// When the ledger cannot be read; so with everything here.
    pub fn latest(&self) -> Result<Option<JudgementRow>, LedgerError> {
        self.ask(|db| judgement(db, "ORDER BY j.id DESC LIMIT 1", &[]))
    }

    /// A judgement by its number.
    ///
    /// # Errors
    /// As above.
    pub fn judgement(&self, id: i64) -> Result<Option<JudgementRow>, LedgerError> {
        self.ask(|db| judgement(db, "WHERE j.id = ?1", &[id]))
    }

    /// The states that held at a judgement, of one node or of all, sorted by node.
    ///
    /// # Errors
    /// As above.
    pub fn states(&self, judgement: i64, node: Option<&NodeId>) -> Result<Vec<NodeState>, LedgerError> {
        self.ask(|db| states::at(db, judgement, node))
    }

    /// Holds and alerts that stand, oldest first.
    ///
    /// # Errors
    /// As above.
    pub fn standing(&self) -> Result<(Vec<Hold>, Vec<Action>), LedgerError> {
        self.ask(|db| {
            let holds = states::standing_holds(db)?.into_iter().map(|(_, hold)| hold).collect();
            let alerts = states::standing_alerts(db)?.into_iter().map(|(_, alert)| alert).collect();
            Ok((holds, alerts))
        })
    }

    /// Everything that led to a judgement and came of it, of one node or of all. None where there is no such judgement, or
    /// no longer.
    ///
    /// # Errors
    /// As above.
    pub fn chain(&self, id: i64, node: Option<&NodeId>) -> Result<Option<Chain>, LedgerError> {
        self.ask(|db| {
            let Some(judgement) = judgement(db, "WHERE j.id = ?1", &[id])? else { return Ok(None) };
            let nodes = states::at(db, id, node)?;
            let mut strikes_of = BTreeMap::new();
            for state in nodes.iter().filter(|state| state.judged.strikes > 0) {
                strikes_of.insert(state.judged.node.clone(), counted_strikes(db, state)?);
            }
            let ours = |of: Option<&NodeId>| node.is_none() || of.is_none() || of == node;
            let stood = |table: &str| {
                format!("{table}.judgement <= ?1 AND coalesce({table}.until, ?1 + 1) > ?1 ORDER BY {table}.id")
            };
            let actions = states::select_actions(db, &stood("c"), &[Some(id)])?;
            let holds = states::select_holds(db, &stood("h"), &[Some(id)])?;
            let mut intents_of = Vec::new();
            for intent in intents::select(db, "judgement = ?1 ORDER BY id", &[id])? {
                let publications = intents::publications(db, intent.id)?;
                intents_of.push((intent, publications));
            }
            Ok(Some(Chain {
                rounds: rounds_of(db, id, node)?,
                loads: loads::of(db, id, node)?,
                asks: asks::of(db, id, node)?,
                judgement,
                nodes,
                strikes: strikes_of,
                actions: actions.into_iter().map(|(_, it)| it).filter(|it| ours(it.what.node.as_ref())).collect(),
                holds: holds.into_iter().map(|(_, it)| it).filter(|it| ours(Some(&it.what.node))).collect(),
                intents: intents_of,
            }))
        })
    }

    /// The newest judgement in which something changed or was done, for one node or for any.
    ///
    /// # Errors
    /// As above.
    pub fn last_news(&self, node: Option<&NodeId>) -> Result<Option<i64>, LedgerError> {
        self.ask(|db| {
            let number = match node {
                Some(node) => match find_node(db, node)? {
                    Some(number) => Some(number),
                    None => return Ok(None),
                },
                None => None,
            };
            let sql = match number {
                Some(_) => "SELECT max(judgement) FROM node_state WHERE node = ?1",
                None => "SELECT max(judgement) FROM node_state WHERE ?1 IS NULL",
            };
            Ok(db.prepare_cached(sql)?.query_row([number], |row| row.get(0))?)
        })
    }

    /// What happened, newest last.
    ///
    /// # Errors
    /// As above.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<Event>, LedgerError> {
        self.ask(|db| history::events(db, query))
    }

    /// The newest round of each node, or of one: the last observation per probe and address.
    ///
    /// # Errors
    /// As above.
    pub fn last_rounds(&self, node: Option<&NodeId>) -> Result<Vec<Round>, LedgerError> {
        self.ask(|db| {
            let mut find = db.prepare_cached(
                "SELECT n.id, n.name, w.seen_judgement, w.seen_seq FROM node_now w JOIN node n ON n.id = w.node \
                 WHERE w.seen_judgement IS NOT NULL AND (?1 IS NULL OR n.name = ?1) ORDER BY n.name",
            )?;
            let mut rows = find.query([node.map(|node| node.as_str())])?;
            let mut last = Vec::new();
            while let Some(row) = rows.next()? {
                let name = to_name(row.get_ref(1)?.as_str().unwrap_or_default())?;
                last.extend(rounds::one(db, row.get(2)?, row.get(0)?, row.get(3)?, &name)?);
            }
            Ok(last)
        })
    }

    /// The newest load figure of each source, of one node or of all, sorted by node, then source. None of those that have
    /// told nothing for a thousand judgements.
    ///
    /// # Errors
    /// As above.
    pub fn last_loads(&self, node: Option<&NodeId>) -> Result<Vec<LoadFigure>, LedgerError> {
        self.ask(|db| loads::last(db, node))
    }

    /// A node's strikes between two times, both included, oldest first.
    ///
    /// # Errors
    /// As above.
    pub fn strikes(&self, node: &NodeId, from: Time, to: Time) -> Result<Vec<Strike>, LedgerError> {
        self.ask(|db| strikes(db, node, from, to))
    }

    /// An intent by its number.
    ///
    /// # Errors
    /// As above.
    pub fn intent(&self, id: i64) -> Result<Option<Intent>, LedgerError> {
        self.ask(|db| Ok(intents::select(db, "id = ?1", &[id])?.pop()))
    }

    /// Intents written down between two times, oldest first.
    ///
    /// # Errors
    /// As above.
    pub fn intents(&self, from: Time, to: Time) -> Result<Vec<Intent>, LedgerError> {
        self.ask(|db| intents::select(db, "at BETWEEN ?1 AND ?2 ORDER BY id", &[from.0, to.0]))
    }

    /// What is known of an intent's publication, by server.
    ///
    /// # Errors
    /// As above.
    pub fn publications(&self, intent: i64) -> Result<Vec<Publication>, LedgerError> {
        self.ask(|db| intents::publications(db, intent))
    }

    /// Every copy of a zone, oldest first, without contents.
    ///
    /// # Errors
    /// As above.
    pub fn snapshots(&self, pool: Option<&PoolId>) -> Result<Vec<SnapshotEntry>, LedgerError> {
        self.ask(|db| intents::snapshots(db, pool))
    }

    /// A copy of a zone.
    ///
    /// # Errors
    /// As above.
    pub fn snapshot(&self, id: i64) -> Result<Option<Snapshot>, LedgerError> {
        self.ask(|db| intents::snapshot(db, id))
    }

    /// What a pool's registrar held when it was last read, and when that was.
    ///
    /// # Errors
    /// As above.
    pub fn last_reading(&self, pool: &PoolId) -> Result<Option<(Time, PublishedSets)>, LedgerError> {
        self.ask(|db| intents::last_reading(db, pool))
    }

    /// What a pool's registrar held at any time between two times: since when, and what; oldest first.
    ///
    /// # Errors
    /// As above.
    pub fn readings(&self, pool: &PoolId, from: Time, to: Time) -> Result<Vec<(Time, PublishedSets)>, LedgerError> {
        self.ask(|db| intents::readings(db, pool, from, to))
    }

    /// Pins in force at `now`, at most one per node, sorted by node.
    ///
    /// # Errors
    /// As above.
    pub fn pins(&self, now: Time) -> Result<Vec<Pin>, LedgerError> {
        self.ask(|db| pins::in_force(db, now))
    }

    /// Pins in force at any time between two times, oldest first.
    ///
    /// # Errors
    /// As above.
    pub fn past_pins(&self, from: Time, to: Time) -> Result<Vec<PastPin>, LedgerError> {
        self.ask(|db| pins::past(db, None, from, to))
    }

    /// Who holds a lease, its time over or not.
    ///
    /// # Errors
    /// As above.
    pub fn lease(&self, name: &str) -> Result<Option<LeaseInfo>, LedgerError> {
        self.ask(|db| lease::holder(db, name))
    }

    /// Ticks of a time range with the rounds they were shown, in order, for an export: up to `limit` of those whose number
    /// is greater than `after`. Ask again with the last number until none comes: each answer holds the file only briefly.
    ///
    /// # Errors
    /// As above.
    pub fn ticks(
        &self,
        after: i64,
        from: Time,
        to: Time,
        limit: u32,
    ) -> Result<Vec<(JudgementRow, Vec<Round>)>, LedgerError> {
        self.ask(|db| {
            let mut find = db.prepare_cached(&format!(
                "{JUDGEMENT} WHERE j.id > ?1 AND j.id >= ?5 AND +j.at BETWEEN ?2 AND ?3 ORDER BY j.id LIMIT ?4"
            ))?;
            let mut rows = find.query(params![after, from.0, to.0, limit, history::first_since(db, from)?])?;
            let mut ticks = Vec::new();
            while let Some(row) = rows.next()? {
                let judgement = to_judgement(row)?;
                let rounds = rounds_of(db, judgement.id, None)?;
                ticks.push((judgement, rounds));
            }
            Ok(ticks)
        })
    }

    /// What a judgement was shown beside rounds: what nodes said that they carry, and what others said of them.
    ///
    /// # Errors
    /// As above.
    pub fn hearsay(&self, judgement: i64) -> Result<(Vec<LoadFigure>, Vec<Ask>), LedgerError> {
        self.ask(|db| Ok((loads::of(db, judgement, None)?, asks::of(db, judgement, None)?)))
    }

    /// What was decided in the judgements from `first` to `last`, both included, in the order it was.
    ///
    /// # Errors
    /// As above.
    pub fn decided(&self, first: i64, last: i64) -> Result<Vec<Standpoint<Action>>, LedgerError> {
        let which = "c.judgement BETWEEN ?1 AND ?2 ORDER BY c.judgement, c.id";
        self.ask(|db| {
            Ok(states::select_actions(db, which, &[Some(first), Some(last)])?.into_iter().map(|one| one.1).collect())
        })
    }

    /// How much there is.
    ///
    /// # Errors
    /// As above.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        self.ask(|db| {
            let count = |table| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
            let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let page = pragma("page_size")?;
            Ok(Counts {
                judgements: count("judgement")?,
                strikes: count("strike")?,
                intents: count("intent")?,
                snapshots: count("snapshot")?,
                bytes: pragma("page_count")? * page,
                free_bytes: pragma("freelist_count")? * page,
            })
        })
    }

    /// Reads the whole file and says whether it is sound. Takes a second per some hundred megabytes.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] with what SQLite found first.
    pub fn integrity(&self) -> Result<(), LedgerError> {
        self.ask(|db| {
            let first: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            if first == "ok" {
                return Ok(());
            }
            Err(Trouble::Done(LedgerError::Corrupt { path: self.path.to_owned(), what: first }))
        })
    }

    /// What the rule remembers, as of the last tick.
    ///
    /// # Errors
    /// As above.
    pub fn memory(&self) -> Result<Memory, LedgerError> {
        self.ask(remembered::load)
    }

    /// A number that changes when another connection has written.
    ///
    /// # Errors
    /// As above.
    pub fn data_version(&self) -> Result<i64, LedgerError> {
        cache::data_version(self.db).map_err(|trouble| trouble.at(self.path))
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> Result<T, Trouble>) -> Result<T, LedgerError> {
        let run = || -> Result<T, Trouble> {
            let tx = self.db.unchecked_transaction()?;
            question(&tx)
        };
        run().map_err(|trouble| trouble.at(self.path))
    }
}

fn judgement(db: &Connection, which: &str, numbers: &[i64]) -> Result<Option<JudgementRow>, Trouble> {
    let mut find = db.prepare_cached(&format!("{JUDGEMENT} {which}"))?;
    let mut rows = find.query(rusqlite::params_from_iter(numbers))?;
    rows.next()?.map(to_judgement).transpose()
}

/// A row of [`JUDGEMENT`].
fn to_judgement(row: &Row<'_>) -> Result<JudgementRow, Trouble> {
    let anchors: (Option<i64>, Option<u32>, Option<u32>) = (row.get(13)?, row.get(14)?, row.get(15)?);
    let request: Option<String> = row.get(16)?;
    let because: (Option<String>, Option<String>) = (row.get(17)?, row.get(18)?);
    Ok(JudgementRow {
        id: row.get(0)?,
        now: ClockReading { wall: Time(row.get(1)?), boot_ms: row.get(2)?, boot_id: row.get(3)? },
        fleet: code::to_fleet(row.get(4)?)?,
        fleet_because: because.0.zip(because.1).map(|(rule, why)| (RuleId(rule.into()), why)),
        vantage: code::to_vantage(row.get(5)?)?,
        news: row.get(6)?,
        nodes: row.get(7)?,
        suspect: row.get(8)?,
        withdrawn: row.get(9)?,
        probation: row.get(10)?,
        rounds: row.get(11)?,
        failed_rounds: row.get(12)?,
        anchors: match anchors {
            (Some(at), Some(ok), Some(of)) => Some(AnchorRound { at: Time(at), ok, of }),
            _ => None,
        },
        request: request.map(|json| from_json("judgement.request", &json)).transpose()?,
    })
}

/// The rounds that a judgement was shown, by node and time.
fn rounds_of(db: &Connection, judgement: i64, node: Option<&NodeId>) -> Result<Vec<Round>, Trouble> {
    let number = match node {
        Some(node) => match find_node(db, node)? {
            Some(number) => Some(number),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let one = if number.is_some() { "o.node = ?2" } else { "?2 IS NULL" };
    let columns = rounds::COLUMNS;
    let mut find = db.prepare_cached(&format!(
        "SELECT {columns}, n.name, o.seq FROM observation o JOIN judgement j ON j.id = o.judgement \
         JOIN node n ON n.id = o.node JOIN address a ON a.id = o.address LEFT JOIN note t ON t.id = o.note \
         WHERE o.judgement = ?1 AND {one} ORDER BY o.node, o.seq"
    ))?;
    let mut rows = find.query(params![judgement, number])?;
    let (mut done, mut open, mut place) = (Vec::new(), None, None);
    while let Some(row) = rows.next()? {
        let name = row.get_ref(rounds::WIDTH)?.as_str().unwrap_or_default();
        let here = (to_name(name)?, row.get::<_, i64>(rounds::WIDTH + 1)?);
        if place.as_ref() != Some(&here) {
            done.extend(open.take());
        }
        let (started, seen) = rounds::read(row, 0)?;
        rounds::add(&mut open, &here.0, started, seen);
        place = Some(here);
    }
    done.extend(open);
    done.iter_mut().for_each(rounds::settle);
    done.sort_by(|one, other| (&one.node, one.started).cmp(&(&other.node, other.started)));
    Ok(done)
}

/// The strikes that a state counts: the newest that there were then. Not found by their times, which the rule's memory
/// moves along with a stepped clock, and the ledger does not.
fn counted_strikes(db: &Connection, state: &NodeState) -> Result<Vec<Strike>, Trouble> {
    let Some(number) = find_node(db, &state.judged.node)? else { return Ok(Vec::new()) };
    let mut find = db.prepare_cached(
        "SELECT at, faults FROM strike WHERE node = ?1 AND judgement <= ?2 ORDER BY judgement DESC, id DESC LIMIT ?3",
    )?;
    let mut rows = find.query([number, state.judgement, i64::from(state.judged.strikes)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let faults: String = row.get(1)?;
        found.push(Strike { at: Time(row.get(0)?), faults: from_json("strike.faults", &faults)? });
    }
    found.reverse();
    Ok(found)
}

/// See [`View::strikes`].
pub(crate) fn strikes(db: &Connection, node: &NodeId, from: Time, to: Time) -> Result<Vec<Strike>, Trouble> {
    let Some(number) = find_node(db, node)? else { return Ok(Vec::new()) };
    let mut find =
        db.prepare_cached("SELECT at, faults FROM strike WHERE node = ?1 AND at BETWEEN ?2 AND ?3 ORDER BY at, id")?;
    let mut rows = find.query([number, from.0, to.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let faults: String = row.get(1)?;
        found.push(Strike { at: Time(row.get(0)?), faults: from_json("strike.faults", &faults)? });
    }
    Ok(found)
}
