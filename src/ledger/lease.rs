//! Who may tick: the daemon, cron or a command by hand, and only one of them at a time.
//!
//! A lease is taken for each tick and given back after it. One whose holder is provably gone is free at once; any other
//! is free after its time. Each taking has a token that only grows, and a ledger that has taken a lease records nothing
//! once another token stands there, so that a process that hung for minutes cannot write over its successor.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use rusqlite::{Connection, params};
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::model::{ClockReading, Time};

use super::error::{LedgerError, Trouble};
use super::states::{from_json, to_json};
use super::{Ledger, LedgerHandle};

/// The lease that whoever ticks must hold.
pub const TICK_LEASE: &str = "tick";

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What keeps several processes' ticks apart.
///
/// The ledger's own lease, here, is for processes on one machine. Another store can take its place for witnesses on several
/// machines; what they agree on (the vote: which of them see a node dead) comes in beside it, as a second trait of that
/// store, and goes to `judge` as part of the situation. Nothing else needs to know which store it is.
pub trait Lease: fmt::Debug + Send + Sync {
    /// Takes the lease `name` for `span` if it is free.
    ///
    /// # Errors
    /// When it could not be told; then it is not held.
    fn take<'a>(
        &'a self,
        name: &'a str,
        holder: &'a Holder,
        now: ClockReading,
        span: Duration,
    ) -> BoxFuture<'a, Result<LeaseState, LedgerError>>;

    /// Makes a held lease end `span` from `now`.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`] when another holds it by now; any other: it could not be told.
    fn renew<'a>(
        &'a self,
        guard: &'a LeaseGuard,
        now: ClockReading,
        span: Duration,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Gives a lease back. One that was lost stays with its new holder.
    ///
    /// # Errors
    /// When it could not be done; then it ends by itself.
    fn release(&self, guard: LeaseGuard) -> BoxFuture<'_, Result<(), LedgerError>>;
}

/// A process, told apart from any other that has or will have its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number ...
    pub pid: i32,
    /// ... in this namespace of process numbers: `pid:[4026531836]`; empty where the system does not tell.
    pub pid_namespace: String,
    /// When it was started, in clock ticks since the boot; 0 where the system does not tell.
    pub pid_start: u64,
    /// Names the boot; empty where the system does not tell.
    pub boot_id: String,
    /// The machine.
    pub host: String,
    /// The `name` in its configuration.
    pub witness: String,
    /// `run`, `once`, `reinstate`, ...
    pub command: String,
}

/// A lease that is held. It must be given back; dropping it leaves it to end by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGuard {
    /// Which.
    pub name: String,
    /// Tells this taking from every other.
    pub token: i64,
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Who.
    pub holder: Holder,
    /// Since when.
    pub since: Time,
    /// Until when, by the wall clock.
    pub until: Time,
}

/// Whether a lease was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// It is ours.
    Held(LeaseGuard),
    /// Somebody else has it.
    Busy(LeaseInfo),
}

impl Holder {
    /// This process, as `command` of the witness of this name.
    #[must_use]
    pub fn this(witness: &str, command: &str) -> Self {
        let pid = rustix::process::getpid();
        Self {
            pid: pid.as_raw_nonzero().get(),
            pid_namespace: std::fs::read_link("/proc/self/ns/pid")
                .map(|link| link.to_string_lossy().into_owned())
                .unwrap_or_default(),
            pid_start: process_stat(pid).map_or(0, |stat| stat.start),
            boot_id: clock::boot_id().to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            witness: witness.to_owned(),
            command: command.to_owned(),
        }
    }

    /// Whether `me` can prove that this holder no longer runs: it was of another boot of this host, or of this boot and
    /// this namespace, where no such process is alive. Whatever cannot be proved counts as alive.
    #[must_use]
    pub fn is_gone(&self, me: &Self) -> bool {
        if self.boot_id.is_empty() || me.boot_id.is_empty() {
            return false;
        }
        if self.boot_id != me.boot_id {
            return self.host == me.host;
        }
        if self.pid_namespace.is_empty() || self.pid_namespace != me.pid_namespace {
            return false;
        }
        let Some(pid) = Pid::from_raw(self.pid) else { return true };
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return true;
        }
        // A process that we may not look at is left alone.
        process_stat(pid).is_some_and(|stat| stat.ended || (self.pid_start != 0 && stat.start != self.pid_start))
    }
}

struct ProcessStat {
    /// Zombie or dead: it runs no more code, its parent has not collected it yet.
    ended: bool,
    /// Clock ticks since the boot.
    start: u64,
}

/// Fields 3 and 22 of `/proc/PID/stat`; the name in field 2 may hold anything, parentheses too.
fn process_stat(pid: Pid) -> Option<ProcessStat> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some(ProcessStat { ended: matches!(state, "Z" | "X" | "x"), start })
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`witness {}` of {:?} (process {} on {})", self.command, self.witness, self.pid, self.host)
    }
}

impl Ledger {
    /// Takes the lease `name` for `span` if it is free. From then on this ledger records only while it holds it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn take_lease(
        &mut self,
        name: &str,
        holder: &Holder,
        now: &ClockReading,
        span: Duration,
    ) -> Result<LeaseState, LedgerError> {
        let state = self.write(|tx| {
            let last = read(tx, name)?;
            if let Some(Row { held: Some(by), until_boot_ms, .. }) = &last
                && !is_over(by, *until_boot_ms, now)
                && !by.holder.is_gone(holder)
            {
                return Ok(LeaseState::Busy(by.clone()));
            }
            let token = last.map_or(0, |row| row.token) + 1;
            let end = now.wall.plus(span).0;
            tx.prepare_cached("INSERT OR REPLACE INTO lease VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
                name,
                token,
                to_json(holder),
                now.wall.0,
                end,
                Time(now.boot_ms).plus(span).0
            ])?;
            Ok(LeaseState::Held(LeaseGuard { name: name.to_owned(), token }))
        })?;
        self.held.retain(|held| held.name != name);
        if let LeaseState::Held(guard) = &state {
            self.held.push(guard.clone());
        }
        Ok(state)
    }

    /// Makes a held lease end `span` from `now`.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`] when another has taken it by now; else what is wrong with the file.
    pub fn renew_lease(&mut self, guard: &LeaseGuard, now: &ClockReading, span: Duration) -> Result<(), LedgerError> {
        self.write(|tx| {
            check(tx, std::slice::from_ref(guard))?;
            tx.prepare_cached("UPDATE lease SET until = ?2, until_boot_ms = ?3 WHERE name = ?1")?.execute(params![
                guard.name,
                now.wall.plus(span).0,
                Time(now.boot_ms).plus(span).0
            ])?;
            Ok(())
        })
    }

    /// Gives a lease back. One that was lost stays with its new holder.
    ///
    /// # Errors
    /// What is wrong with the file; then the lease ends by itself.
    pub fn release_lease(&mut self, guard: &LeaseGuard) -> Result<(), LedgerError> {
        self.held.retain(|held| held != guard);
        self.write(|tx| {
            tx.prepare_cached("UPDATE lease SET holder = NULL WHERE name = ?1 AND token = ?2")?
                .execute(params![guard.name, guard.token])?;
            Ok(())
        })
    }
}

/// By the boot clock where it is the same boot, because nobody can set it; otherwise by the wall clock.
fn is_over(by: &LeaseInfo, until_boot_ms: i64, now: &ClockReading) -> bool {
    if !now.boot_id.is_empty() && by.holder.boot_id == now.boot_id {
        return now.boot_ms >= until_boot_ms;
    }
    now.wall >= by.until
}

struct Row {
    token: i64,
    held: Option<LeaseInfo>,
    until_boot_ms: i64,
}

fn read(db: &Connection, name: &str) -> Result<Option<Row>, Trouble> {
    let mut find = db.prepare_cached("SELECT token, holder, since, until, until_boot_ms FROM lease WHERE name = ?1")?;
    let mut rows = find.query([name])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let holder: Option<String> = row.get(1)?;
    let held = match holder {
        Some(json) => Some(LeaseInfo {
            holder: from_json("lease.holder", &json)?,
            since: Time(row.get(2)?),
            until: Time(row.get(3)?),
        }),
        None => None,
    };
    Ok(Some(Row { token: row.get(0)?, held, until_boot_ms: row.get(4)? }))
}

/// Who holds the lease, whether or not its time is over.
pub(crate) fn holder(db: &Connection, name: &str) -> Result<Option<LeaseInfo>, Trouble> {
    Ok(read(db, name)?.and_then(|row| row.held))
}

/// Makes sure that every lease taken is held still.
pub(crate) fn check(db: &Connection, held: &[LeaseGuard]) -> Result<(), Trouble> {
    for guard in held {
        let now = read(db, &guard.name)?;
        if !now.is_some_and(|row| row.token == guard.token && row.held.is_some()) {
            return Err(Trouble::LeaseLost(guard.name.clone()));
        }
    }
    Ok(())
}

impl Lease for LedgerHandle {
    fn take<'a>(
        &'a self,
        name: &'a str,
        holder: &'a Holder,
        now: ClockReading,
        span: Duration,
    ) -> BoxFuture<'a, Result<LeaseState, LedgerError>> {
        let (name, holder) = (name.to_owned(), holder.clone());
        Box::pin(self.call(move |ledger| ledger.take_lease(&name, &holder, &now, span)))
    }

    fn renew<'a>(
        &'a self,
        guard: &'a LeaseGuard,
        now: ClockReading,
        span: Duration,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        let guard = guard.clone();
        Box::pin(self.call(move |ledger| ledger.renew_lease(&guard, &now, span)))
    }

    fn release(&self, guard: LeaseGuard) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.call(move |ledger| ledger.release_lease(&guard)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_proved_counts_as_alive() {
        let me = Holder::this("home", "run");
        assert!(!me.is_gone(&me), "this very process");
        assert!(me.pid_start > 0 && !me.pid_namespace.is_empty() && !me.boot_id.is_empty(), "{me:?}");

        let with = |change: fn(&mut Holder)| {
            let mut other = me.clone();
            change(&mut other);
            other
        };
        assert!(with(|h| h.pid_start += 1).is_gone(&me), "the number was given to another process");
        assert!(with(|h| h.boot_id = "another".to_owned()).is_gone(&me), "before this boot");
        let elsewhere = with(|h| {
            h.boot_id = "another".to_owned();
            h.host = "elsewhere".to_owned();
        });
        assert!(!elsewhere.is_gone(&me), "another machine");
        let contained = with(|h| {
            h.pid_namespace = "pid:[1]".to_owned();
            h.pid_start = 1;
        });
        assert!(!contained.is_gone(&me), "a container's numbers are not ours");
        let untold = with(|h| {
            h.boot_id.clear();
            h.pid_start = 1;
        });
        assert!(!untold.is_gone(&me), "no boot to compare");
        let init = with(|h| {
            h.pid = 1;
            h.pid_start = 0;
        });
        assert!(!init.is_gone(&me), "alive, and it is not known when it was started");
    }

    #[test]
    fn a_dead_child_is_gone_even_before_it_is_collected() {
        let me = Holder::this("home", "run");
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut holder = me.clone();
        holder.pid = pid.as_raw_nonzero().get();
        holder.pid_start = process_stat(pid).unwrap().start;
        assert!(!holder.is_gone(&me));
        child.kill().unwrap();
        while !process_stat(pid).is_some_and(|stat| stat.ended) {
            std::thread::yield_now();
        }
        assert!(holder.is_gone(&me), "a zombie");
        child.wait().unwrap();
        assert!(holder.is_gone(&me), "no such process");
    }
}
