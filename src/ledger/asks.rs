//! What other vantage points said, as rows.

use rusqlite::{Connection, params};

use crate::model::{Ask, NodeId, Time};

use super::code;
use super::error::Trouble;
use super::names::{Names, to_name};

/// Writes every try under `judgement`, made at `at`.
pub(crate) fn write(db: &Connection, names: &mut Names, judgement: i64, at: Time, asks: &[Ask]) -> Result<(), Trouble> {
    // REPLACE, because a row twice is no reason to lose a tick.
    let mut insert = db.prepare_cached("INSERT OR REPLACE INTO ask VALUES (?1,?2,?3,?4,?5,?6,?7)")?;
    for ask in asks {
        insert.execute(params![
            judgement,
            names.node(db, &ask.node)?,
            ask.via.as_str(),
            ask.at.0.saturating_sub(at.0),
            code::of_how(ask.how),
            code::of_asked(ask.outcome),
            ask.tries,
        ])?;
    }
    Ok(())
}

/// What a judgement was shown, about one node or about all, in order.
pub(crate) fn of(db: &Connection, judgement: i64, node: Option<&NodeId>) -> Result<Vec<Ask>, Trouble> {
    let mut find = db.prepare_cached(
        "SELECT n.name, a.via, j.at, a.at, a.how, a.outcome, a.tries \
         FROM ask a JOIN judgement j ON j.id = a.judgement JOIN node n ON n.id = a.node \
         WHERE a.judgement = ?1 AND (?2 IS NULL OR n.name = ?2) ORDER BY n.name, a.via, a.at, a.how",
    )?;
    let mut rows = find.query(params![judgement, node.map(|node| node.as_str())])?;
    let mut asks = Vec::new();
    while let Some(row) = rows.next()? {
        let (at, after): (i64, i64) = (row.get(2)?, row.get(3)?);
        asks.push(Ask {
            node: to_name(row.get_ref(0)?.as_str().unwrap_or_default())?,
            via: to_name(row.get_ref(1)?.as_str().unwrap_or_default())?,
            at: Time(at.saturating_add(after)),
            how: code::to_how(row.get(4)?)?,
            outcome: code::to_asked(row.get(5)?)?,
            tries: row.get(6)?,
        });
    }
    Ok(asks)
}
