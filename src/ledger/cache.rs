//! What the writer knows to be in the tables, so that it writes only what is new.
//!
//! It is thrown away whenever a transaction fails, and read again whenever another process has written.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use rusqlite::Connection;

use crate::model::{
    Action, ActionKind, FleetVerdict, Guard, Hold, NodeId, NodeJudgement, NodeVerdict, PoolId, RuleId, Standing,
    Vantage,
};

use super::code;
use super::error::Trouble;
use super::names::{Names, to_name};
use super::states;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Whether the rest is true.
    pub(crate) fresh: bool,
    /// `PRAGMA data_version` when it was.
    pub(crate) version: i64,
    pub(crate) names: Names,
    /// The fleet's verdict and our vantage in the last judgement.
    pub(crate) fleet: Option<(FleetVerdict, Vantage)>,
    pub(crate) nodes: BTreeMap<NodeId, Known>,
    /// Holds and alerts that stand, with their rows.
    pub(crate) holds: BTreeMap<HoldKey, i64>,
    pub(crate) alerts: BTreeMap<AlertKey, i64>,
    /// The digest of the memory that belongs to no node.
    pub(crate) memory: Option<u64>,
}

/// What is known of a node.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Its last row in `node_state`; none where there is none or it says that the node is gone.
    pub(crate) state: Option<StateKey>,
    /// Its row in `node_now`.
    pub(crate) now: Option<Now>,
    /// The digest of its row in `node_memory`.
    pub(crate) memory: Option<u64>,
    /// The digest of the remembered round that `now` points to, once it was needed.
    pub(crate) round: Option<u64>,
}

/// What of a node's judgement makes a new row when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateKey {
    pub(crate) verdict: NodeVerdict,
    pub(crate) standing: Standing,
    /// Strikes, rule, pin and DNS.
    pub(crate) rest: u64,
}

/// A row of `node_now`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Where the newest round is: judgement and seq.
    pub(crate) seen: Option<(i64, i64)>,
    /// Where the remembered round is.
    pub(crate) round: Option<(i64, i64)>,
    pub(crate) clean_rounds: u32,
    pub(crate) clean_since: Option<i64>,
    pub(crate) failed_rounds: u32,
}

/// What makes two holds the same one.
pub(crate) type HoldKey = (ActionKind, NodeId, Option<PoolId>, Guard);
/// What makes two alerts the same one.
pub(crate) type AlertKey = (Option<NodeId>, Option<PoolId>, Option<u8>, RuleId);

impl Cache {
    /// Reads again what another process may have changed. To be called within the transaction that writes.
    pub(crate) fn refresh(&mut self, db: &Connection) -> Result<(), Trouble> {
        let version = data_version(db)?;
        if self.fresh && version == self.version {
            return Ok(());
        }
        if !self.fresh {
            self.names = Names::default();
        }
        self.names.forget_notes();
        self.version = version;
        self.fleet = load_fleet(db)?;
        self.nodes = load_nodes(db)?;
        self.holds = states::standing_holds(db)?.into_iter().map(|(id, hold)| (hold_key(&hold), id)).collect();
        self.alerts = states::standing_alerts(db)?.into_iter().map(|(id, alert)| (alert_key(&alert), id)).collect();
        self.memory = db
            .prepare_cached("SELECT memory FROM memory")?
            .query_map([], |row| Ok(digest(row.get_ref(0)?.as_str().unwrap_or_default())))?
            .next()
            .transpose()?;
        self.fresh = true;
        Ok(())
    }
}

/// Changes whenever another connection has committed something.
pub(crate) fn data_version(db: &Connection) -> Result<i64, Trouble> {
    Ok(db.pragma_query_value(None, "data_version", |row| row.get(0))?)
}

/// A digest within this process.
pub(crate) fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn hold_key(hold: &Hold) -> HoldKey {
    (hold.kind, hold.node.clone(), hold.pool.clone(), hold.guard)
}

pub(crate) fn alert_key(alert: &Action) -> AlertKey {
    (alert.node.clone(), alert.pool.clone(), alert.step, alert.rule.clone())
}

pub(crate) fn state_key(node: &NodeJudgement) -> StateKey {
    let NodeJudgement { node: _, verdict, evidence: _, standing, pin, strikes, rule, why: _, in_dns } = node;
    let pin = pin.as_ref().map(|pin| (pin.state, pin.since, pin.until, &pin.reason));
    StateKey { verdict: *verdict, standing: *standing, rest: digest((strikes, rule, pin, in_dns)) }
}

fn load_fleet(db: &Connection) -> Result<Option<(FleetVerdict, Vantage)>, Trouble> {
    let mut find = db.prepare_cached("SELECT fleet, vantage FROM judgement ORDER BY id DESC LIMIT 1")?;
    let mut rows = find.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((code::to_fleet(row.get(0)?)?, code::to_vantage(row.get(1)?)?)))
}

fn load_nodes(db: &Connection) -> Result<BTreeMap<NodeId, Known>, Trouble> {
    let mut nodes: BTreeMap<NodeId, Known> = BTreeMap::new();
    for state in states::at(db, i64::MAX, None)? {
        nodes.entry(state.judged.node.clone()).or_default().state = Some(state_key(&state.judged));
    }
    let mut all = db.prepare_cached(
        "SELECT n.name, m.memory, w.node IS NOT NULL, w.seen_judgement, w.seen_seq, w.round_judgement, w.round_seq, \
                w.clean_rounds, w.clean_since, w.failed_rounds \
           FROM node n LEFT JOIN node_memory m ON m.node = n.id LEFT JOIN node_now w ON w.node = n.id",
    )?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let known = nodes.entry(to_name(row.get_ref(0)?.as_str().unwrap_or_default())?).or_default();
        known.memory = row.get_ref(1)?.as_str_or_null().ok().flatten().map(digest);
        if row.get(2)? {
            known.now = Some(Now {
                seen: pair(row.get(3)?, row.get(4)?),
                round: pair(row.get(5)?, row.get(6)?),
                clean_rounds: row.get(7)?,
                clean_since: row.get(8)?,
                failed_rounds: row.get(9)?,
            });
        }
    }
    Ok(nodes)
}

fn pair(judgement: Option<i64>, seq: Option<i64>) -> Option<(i64, i64)> {
    judgement.zip(seq)
}
