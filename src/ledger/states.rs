//! What was concluded: nodes' states, actions and holds, each a row only where there is news.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row, params};

use crate::model::{
    Action, ActionKind, Evidence, Guard, Hold, Judgement, NodeId, NodeJudgement, NodeMemory, Pin, Round, RuleId,
    Standing, Time,
};

use super::cache::{Cache, alert_key, hold_key, state_key};
use super::code;
use super::error::Trouble;
use super::names::{find_node, to_name};

/// What held for a node from one judgement on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// The judgement it holds from.
    pub judgement: i64,
    /// When that was.
    pub at: Time,
    /// Whether verdict or standing differ from what held before.
    pub news: bool,
    /// What was concluded, with the words and numbers of that judgement.
    pub judged: NodeJudgement,
    /// The evidence: the node's strikes and observations between these two times; none where nothing was seen.
    pub seen: Option<(Time, Time)>,
    /// The newest round that told something, kept where the standing changed or something was done or held.
    pub evidence: Option<Round>,
}

/// Something that stood for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standpoint<T> {
    /// The first judgement with it.
    pub judgement: i64,
    /// When that was.
    pub at: Time,
    /// The first judgement without it; none: it still stands.
    pub until: Option<i64>,
    /// What.
    pub what: T,
}

const STATE: &str = "n.name, s.judgement, j.at, s.news, s.verdict, s.standing, s.strikes, s.rule, s.why, s.pin, s.in_dns, \
     s.seen_from, s.seen_to, s.evidence, s.class";

/// The states that held at `judgement`: of one node, or of all.
pub(crate) fn at(db: &Connection, judgement: i64, node: Option<&NodeId>) -> Result<Vec<NodeState>, Trouble> {
    let number = match node {
        None => None,
        Some(node) => match find_node(db, node)? {
            Some(number) => Some(number),
            None => return Ok(Vec::new()),
        },
    };
    let one = if number.is_some() { "WHERE n.id = ?2" } else { "WHERE ?2 IS NULL" };
    let mut find = db.prepare_cached(&format!(
        "SELECT {STATE} FROM node n JOIN node_state s ON s.node = n.id AND s.judgement = \
         (SELECT max(judgement) FROM node_state WHERE node = n.id AND judgement <= ?1) \
         JOIN judgement j ON j.id = s.judgement {one} ORDER BY n.name"
    ))?;
    let mut rows = find.query(params![judgement, number])?;
    let mut states = Vec::new();
    while let Some(row) = rows.next()? {
        states.extend(read(row)?);
    }
    Ok(states)
}

/// The rows that say something new, newest first. `range` has a node's number or none, two times, a limit, and the first
/// judgement to look at.
pub(crate) fn news(db: &Connection, range: &[Option<i64>; 5]) -> Result<Vec<NodeState>, Trouble> {
    let one = if range[0].is_some() { "s.node = ?1" } else { "?1 IS NULL" };
    let mut find = db.prepare_cached(&format!(
        "SELECT {STATE} FROM node_state s CROSS JOIN judgement j ON j.id = s.judgement JOIN node n ON n.id = s.node \
         WHERE {one} AND s.judgement >= ?5 AND j.at BETWEEN ?2 AND ?3 AND s.news = 1 \
         ORDER BY s.judgement DESC, n.name DESC LIMIT ?4"
    ))?;
    let mut rows = find.query(*range)?;
    let mut states = Vec::new();
    while let Some(row) = rows.next()? {
        states.extend(read(row)?);
    }
    Ok(states)
}

/// A row of [`STATE`]; none where it says that the node is gone.
fn read(row: &Row<'_>) -> Result<Option<NodeState>, Trouble> {
    let Some(verdict) = row.get_ref(4)?.as_str_or_null().map_err(|e| Trouble::unreadable("node_state.verdict", e))?
    else {
        return Ok(None);
    };
    let standing: String = row.get(5)?;
    let pin: Option<String> = row.get(9)?;
    let in_dns: String = row.get(10)?;
    let seen: (Option<i64>, Option<i64>) = (row.get(11)?, row.get(12)?);
    let (evidence, class): (Option<String>, Option<String>) = (row.get(13)?, row.get(14)?);
    Ok(Some(NodeState {
        judgement: row.get(1)?,
        at: Time(row.get(2)?),
        news: row.get(3)?,
        judged: NodeJudgement {
            node: to_name(row.get_ref(0)?.as_str().unwrap_or_default())?,
            verdict: code::to_verdict(verdict)?,
            evidence: class.map_or(Ok(Evidence::NoData), |class| code::to_class(&class))?,
            standing: code::to_standing(&standing)?,
            pin: pin.map(|json| from_json::<Pin>("node_state.pin", &json)).transpose()?,
            strikes: row.get(6)?,
            rule: RuleId(row.get::<_, String>(7)?.into()),
            why: row.get(8)?,
            in_dns: from_json("node_state.in_dns", &in_dns)?,
        },
        seen: seen.0.zip(seen.1).map(|(from, to)| (Time(from), Time(to))),
        evidence: evidence.map(|json| from_json::<Round>("node_state.evidence", &json)).transpose()?,
    }))
}

/// Writes strikes, actions, holds, and the state of every node for which there is news.
pub(crate) fn write(db: &Connection, cache: &mut Cache, id: i64, judgement: &Judgement) -> Result<(), Trouble> {
    let mut touched: BTreeSet<&NodeId> = BTreeSet::new();
    let mut decided: BTreeSet<&NodeId> = BTreeSet::new();
    let mut strike = db.prepare_cached("INSERT INTO strike (judgement, node, at, faults) VALUES (?1, ?2, ?3, ?4)")?;
    for (node, struck) in &judgement.strikes {
        touched.insert(node);
        strike.execute(params![id, cache.names.node(db, node)?, struck.at.0, to_json(&struck.faults)])?;
    }
    actions(db, cache, id, &judgement.actions, &mut decided)?;
    holds(db, cache, id, &judgement.holds, &mut decided)?;
    nodes(db, cache, id, judgement, &touched, &decided)
}

fn actions<'a>(
    db: &Connection,
    cache: &mut Cache,
    id: i64,
    actions: &'a [Action],
    decided: &mut BTreeSet<&'a NodeId>,
) -> Result<(), Trouble> {
    let mut insert = db.prepare_cached(
        "INSERT INTO action (judgement, until, kind, node, pool, step, rule, why) VALUES (?1,?2,?3,?4,?5,?6,?7,?8) \
         RETURNING id",
    )?;
    let mut ended = std::mem::take(&mut cache.alerts);
    for action in actions {
        let Action { kind, node, pool, step, rule, why } = action;
        let key = alert_key(action);
        let alert = *kind == ActionKind::Alert;
        if alert {
            if let Some(stands) = ended.remove(&key) {
                cache.alerts.insert(key, stands);
                continue;
            }
            if cache.alerts.contains_key(&key) {
                continue;
            }
        }
        decided.extend(node);
        let until = if alert { None } else { Some(id + 1) };
        let number = node.as_ref().map(|node| cache.names.node(db, node)).transpose()?;
        let pool = pool.as_ref().map(|pool| pool.as_str());
        let row: i64 =
            insert.query_row(params![id, until, kind.name(), number, pool, step, rule.0, why], |row| row.get(0))?;
        if alert {
            cache.alerts.insert(key, row);
        }
    }
    let mut end = db.prepare_cached("UPDATE action SET until = ?2 WHERE id = ?1")?;
    for row in ended.into_values() {
        end.execute([row, id])?;
    }
    Ok(())
}

fn holds<'a>(
    db: &Connection,
    cache: &mut Cache,
    id: i64,
    holds: &'a [Hold],
    decided: &mut BTreeSet<&'a NodeId>,
) -> Result<(), Trouble> {
    let mut insert = db.prepare_cached(
        "INSERT INTO hold (judgement, kind, node, pool, guard, why) VALUES (?1,?2,?3,?4,?5,?6) RETURNING id",
    )?;
    let mut ended = std::mem::take(&mut cache.holds);
    for hold in holds {
        let Hold { kind, node, pool, guard, why } = hold;
        let key = hold_key(hold);
        if let Some(stands) = ended.remove(&key) {
            cache.holds.insert(key, stands);
            continue;
        }
        if cache.holds.contains_key(&key) {
            continue;
        }
        decided.insert(node);
        let pool = pool.as_ref().map(|pool| pool.as_str());
        let number = cache.names.node(db, node)?;
        let row = insert.query_row(params![id, kind.name(), number, pool, guard.name(), why], |row| row.get(0))?;
        cache.holds.insert(key, row);
    }
    let mut end = db.prepare_cached("UPDATE hold SET until = ?2 WHERE id = ?1")?;
    for row in ended.into_values() {
        end.execute([row, id])?;
    }
    Ok(())
}

fn nodes(
    db: &Connection,
    cache: &mut Cache,
    id: i64,
    judgement: &Judgement,
    touched: &BTreeSet<&NodeId>,
    decided: &BTreeSet<&NodeId>,
) -> Result<(), Trouble> {
    let mut insert = db.prepare_cached(
        "INSERT INTO node_state (node, judgement, news, verdict, standing, strikes, rule, why, pin, in_dns, seen_from, \
         seen_to, evidence, class) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
    )?;
    let mut present = BTreeSet::new();
    for judged in &judgement.nodes {
        present.insert(&judged.node);
        let key = state_key(judged);
        let known = cache.nodes.entry(judged.node.clone()).or_default();
        let before = known.state;
        let decisive = decided.contains(&judged.node);
        if before == Some(key) && !decisive && !touched.contains(&judged.node) {
            continue;
        }
        known.state = Some(key);
        let moved = before.map(|before| before.standing) != Some(key.standing);
        let news = moved || before.map(|before| before.verdict) != Some(key.verdict);
        let memory = judgement.memory.nodes.get(&judged.node);
        let seen = memory.and_then(window);
        let evidence = memory.filter(|_| decisive || (moved && before.is_some())).and_then(|m| m.last_round.as_ref());
        insert.execute(params![
            cache.names.node(db, &judged.node)?,
            id,
            news,
            judged.verdict.name(),
            judged.standing.name(),
            judged.strikes,
            judged.rule.0,
            judged.why,
            judged.pin.as_ref().map(to_json),
            to_json(&judged.in_dns),
            seen.map(|(from, _)| from.0),
            seen.map(|(_, to)| to.0),
            evidence.map(to_json),
            judged.evidence.name(),
        ])?;
    }
    let gone: Vec<NodeId> = cache
        .nodes
        .iter()
        .filter(|(node, known)| known.state.is_some() && !present.contains(node))
        .map(|(node, _)| node.clone())
        .collect();
    for node in gone {
        let number = cache.names.node(db, &node)?;
        db.prepare_cached(
            "INSERT INTO node_state (node, judgement, news, strikes, rule, why, in_dns) VALUES (?1, ?2, 1, 0, '', '', '{}')",
        )?
        .execute([number, id])?;
        cache.nodes.entry(node).or_default().state = None;
    }
    Ok(())
}

/// From when to when the strikes and the round lie that a node's judgement rests on.
fn window(memory: &NodeMemory) -> Option<(Time, Time)> {
    let rounds = memory.last_round.iter().flat_map(|round| [round.started, round.finished]);
    let times: Vec<Time> = memory.strikes.iter().map(|strike| strike.at).chain(rounds).collect();
    times.iter().min().copied().zip(times.iter().max().copied())
}

/// Holds that stand, with their rows.
pub(crate) fn standing_holds(db: &Connection) -> Result<Vec<(i64, Hold)>, Trouble> {
    let found = select_holds(db, "h.until IS NULL", &[])?;
    Ok(found.into_iter().map(|(row, hold)| (row, hold.what)).collect())
}

/// Alerts that stand, with their rows.
pub(crate) fn standing_alerts(db: &Connection) -> Result<Vec<(i64, Action)>, Trouble> {
    let found = select_actions(db, "c.until IS NULL", &[])?;
    Ok(found.into_iter().map(|(row, alert)| (row, alert.what)).collect())
}

/// Holds for which `condition` holds, in the order they came.
pub(crate) fn select_holds(
    db: &Connection,
    condition: &str,
    numbers: &[Option<i64>],
) -> Result<Vec<(i64, Standpoint<Hold>)>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "SELECT h.id, h.judgement, j.at, h.until, h.kind, n.name, h.pool, h.guard, h.why \
           FROM hold h JOIN judgement j ON j.id = h.judgement JOIN node n ON n.id = h.node WHERE {condition}"
    ))?;
    let mut rows = find.query(rusqlite::params_from_iter(numbers))?;
    let mut holds = Vec::new();
    while let Some(row) = rows.next()? {
        let kind: String = row.get(4)?;
        let node: String = row.get(5)?;
        let pool: Option<String> = row.get(6)?;
        let guard: String = row.get(7)?;
        let guard: Guard = code::to_guard(&guard)?;
        let what = Hold {
            kind: code::to_action(&kind)?,
            node: to_name(&node)?,
            pool: pool.as_deref().map(to_name).transpose()?,
            guard,
            why: row.get(8)?,
        };
        holds.push((
            row.get(0)?,
            Standpoint { judgement: row.get(1)?, at: Time(row.get(2)?), until: row.get(3)?, what },
        ));
    }
    Ok(holds)
}

/// Actions for which `condition` holds, in the order they came.
pub(crate) fn select_actions(
    db: &Connection,
    condition: &str,
    numbers: &[Option<i64>],
) -> Result<Vec<(i64, Standpoint<Action>)>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "SELECT c.id, c.judgement, j.at, c.until, c.kind, n.name, c.pool, c.step, c.rule, c.why \
           FROM action c JOIN judgement j ON j.id = c.judgement LEFT JOIN node n ON n.id = c.node WHERE {condition}"
    ))?;
    let mut rows = find.query(rusqlite::params_from_iter(numbers))?;
    let mut actions = Vec::new();
    while let Some(row) = rows.next()? {
        let kind: String = row.get(4)?;
        let node: Option<String> = row.get(5)?;
        let pool: Option<String> = row.get(6)?;
        let what = Action {
            kind: code::to_action(&kind)?,
            node: node.as_deref().map(to_name).transpose()?,
            pool: pool.as_deref().map(to_name).transpose()?,
            step: row.get(7)?,
            rule: RuleId(row.get::<_, String>(8)?.into()),
            why: row.get(9)?,
        };
        actions.push((
            row.get(0)?,
            Standpoint { judgement: row.get(1)?, at: Time(row.get(2)?), until: row.get(3)?, what },
        ));
    }
    Ok(actions)
}

/// A value that the model can always write as JSON.
pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("the model's types have JSON forms: string keys, no floats")
}

/// A value read back.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T, Trouble> {
    serde_json::from_str(json).map_err(|e| Trouble::unreadable(what, e))
}

/// How many of the nodes stand so.
pub(crate) fn count(nodes: &[NodeJudgement]) -> BTreeMap<Standing, i64> {
    let mut counts = BTreeMap::new();
    for node in nodes {
        *counts.entry(node.standing).or_insert(0) += 1;
    }
    counts
}
