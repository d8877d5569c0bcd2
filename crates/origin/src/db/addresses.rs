//! Addresses that may neither upload nor see anything.

use rusqlite::{Connection, params};

use super::DbError;
use crate::config::Network;
use crate::model::Time;

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressBan {
    /// Who.
    pub network: Network,
    /// Why.
    pub reason: String,
    /// Since when.
    pub created: Time,
    /// From then on it does not count any more.
    pub until: Option<Time>,
}

/// Bans an address or a network.
///
/// # Errors
///
/// When it cannot be written.
pub fn add(db: &Connection, network: Network, reason: &str, until: Option<Time>, now: Time) -> Result<(), DbError> {
    db.prepare_cached(
        "INSERT INTO address_bans (network, reason, created, until) VALUES (?, ?, ?, ?) \
         ON CONFLICT DO UPDATE SET reason = excluded.reason, until = excluded.until",
    )?
    .execute(params![network.to_string(), reason, now.0, until.map(|until| until.0)])?;
    Ok(())
}

/// Takes a ban back. Whether there was one.
///
/// # Errors
///
/// When it cannot be written.
pub fn remove(db: &Connection, network: Network) -> Result<bool, DbError> {
    let removed = db.prepare_cached("DELETE FROM address_bans WHERE network = ?")?.execute([network.to_string()])?;
    Ok(removed > 0)
}

/// All of them, newest last.
///
/// # Errors
///
/// When it cannot be read.
pub fn all(db: &Connection) -> Result<Vec<AddressBan>, DbError> {
    let mut query =
        db.prepare_cached("SELECT network, reason, created, until FROM address_bans ORDER BY created, network")?;
    let rows = query.query_map([], |row| {
        let network: String = row.get(0)?;
        Ok(AddressBan {
            network: network.parse().map_err(|()| rusqlite::Error::InvalidColumnName(network))?,
            reason: row.get(1)?,
            created: Time(row.get(2)?),
            until: row.get::<_, Option<i64>>(3)?.map(Time),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
