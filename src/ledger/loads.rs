//! Load figures as rows.

use rusqlite::{Connection, Row, params};

use crate::model::{LoadFigure, NodeId, Time};

use super::code;
use super::error::Trouble;
use super::names::{Names, to_name};

/// Judgements back that [`last`] looks: a node that has told nothing for so long has no newest figure.
const BACK: i64 = 1000;

const FIGURE: &str = "SELECT n.name, j.at, l.source, l.at, l.tx_bps, l.capacity_bps, l.active, l.shed_step, l.load1_milli, \
     l.ncpu, l.psi_cpu10_milli, l.psi_io10_milli, l.listen_overflows \
     FROM load l JOIN judgement j ON j.id = l.judgement JOIN node n ON n.id = l.node";

/// Writes every figure under `judgement`, made at `at`.
pub(crate) fn write(
    db: &Connection,
    names: &mut Names,
    judgement: i64,
    at: Time,
    figures: &[LoadFigure],
) -> Result<(), Trouble> {
    // REPLACE, because a row twice is no reason to lose a tick.
    let mut insert =
        db.prepare_cached("INSERT OR REPLACE INTO load VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)")?;
    for figure in figures {
        let LoadFigure {
            node,
            at: true_at,
            source,
            tx_bps,
            capacity_bps,
            active,
            shed_step,
            load1_milli,
            ncpu,
            psi_cpu10_milli,
            psi_io10_milli,
            listen_overflows,
        } = figure;
        // SQLite's numbers have a sign. What is larger is no load of anything.
        let whole = |of: &Option<u64>| of.and_then(|of| i64::try_from(of).ok());
        insert.execute(params![
            judgement,
            names.node(db, node)?,
            code::of_source(*source),
            true_at.0.saturating_sub(at.0),
            whole(tx_bps),
            whole(capacity_bps),
            whole(active),
            shed_step,
            load1_milli,
            ncpu,
            psi_cpu10_milli,
            psi_io10_milli,
            whole(listen_overflows),
        ])?;
    }
    Ok(())
}

/// The newest figure of each source, of one node or of all, by node and source.
pub(crate) fn last(db: &Connection, node: Option<&NodeId>) -> Result<Vec<LoadFigure>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "{FIGURE} WHERE l.judgement > (SELECT max(id) FROM judgement) - ?1 AND (?2 IS NULL OR n.name = ?2) \
         ORDER BY n.name, l.source, j.at + l.at, l.judgement"
    ))?;
    let mut rows = find.query(params![BACK, node.map(|node| node.as_str())])?;
    let mut last: Vec<LoadFigure> = Vec::new();
    while let Some(row) = rows.next()? {
        let figure = read(row)?;
        match last.last_mut() {
            Some(before) if before.node == figure.node && before.source == figure.source => *before = figure,
            _ => last.push(figure),
        }
    }
    Ok(last)
}

/// What a judgement was shown, of one node or of all, by node and source.
pub(crate) fn of(db: &Connection, judgement: i64, node: Option<&NodeId>) -> Result<Vec<LoadFigure>, Trouble> {
    let mut find = db.prepare_cached(&format!(
        "{FIGURE} WHERE l.judgement = ?1 AND (?2 IS NULL OR n.name = ?2) ORDER BY n.name, l.source, l.at"
    ))?;
    let mut rows = find.query(params![judgement, node.map(|node| node.as_str())])?;
    let mut figures = Vec::new();
    while let Some(row) = rows.next()? {
        figures.push(read(row)?);
    }
    Ok(figures)
}

/// A row of [`FIGURE`].
fn read(row: &Row<'_>) -> Result<LoadFigure, Trouble> {
    let (at, after): (i64, i64) = (row.get(1)?, row.get(3)?);
    let whole = |column: usize| -> Result<Option<u64>, Trouble> {
        let number: Option<i64> = row.get(column)?;
        let unreadable = |error| Trouble::unreadable("load", error);
        number.map(u64::try_from).transpose().map_err(unreadable)
    };
    Ok(LoadFigure {
        node: to_name(row.get_ref(0)?.as_str().unwrap_or_default())?,
        at: Time(at.saturating_add(after)),
        source: code::to_source(row.get(2)?)?,
        tx_bps: whole(4)?,
        capacity_bps: whole(5)?,
        active: whole(6)?,
        shed_step: row.get(7)?,
        load1_milli: row.get(8)?,
        ncpu: row.get(9)?,
        psi_cpu10_milli: row.get(10)?,
        psi_io10_milli: row.get(11)?,
        listen_overflows: whole(12)?,
    })
}
