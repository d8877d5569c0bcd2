//! What was seen lately: the evidence that is still open.
//!
//! It lives as long as the process that saw it. A start, a gap, a step of the clock back and isolation empty it, since a
//! streak with a hole in it proves nothing; so the ledger does not keep it.

use std::collections::VecDeque;

use super::observation::{Fault, ProbeKind};
use super::time::Time;

/// One probe's result, as small as the evidence needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// When it was done.
    pub at: Time,
    /// Which probe.
    pub probe: ProbeKind,
    /// Whether its failures may cost the node its record.
    pub service: bool,
    /// Whether it failed for another reason than that the node sheds load.
    pub failed: bool,
    /// Whether the node said that it has too much to do.
    pub shed: bool,
    /// Whether it proves that something at the address lives.
    pub life: bool,
    /// The TCP handshake, ms.
    pub connect_ms: Option<u16>,
    /// Time from the established connection to the first byte of the answer, of a service that answered, ms.
    pub answer_ms: Option<u32>,
    /// Echoes sent.
    pub sent: u16,
    /// Echoes lost.
    pub lost: u16,
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    /// When the first of them was begun, or the last success before it was done, whichever is later.
    pub since: Time,
    /// When the newest of them was done.
    pub until: Time,
    /// How many.
    pub rounds: u32,
}

impl Streak {
    /// How long it lasts, ms.
    #[must_use]
    pub fn span_ms(&self) -> i64 {
        self.until.0.saturating_sub(self.since.0).max(0)
    }
}

/// How a service fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Its port is refused.
    Refused,
    /// Nothing comes back.
    Unanswered,
    /// It answers, wrongly.
    Wrong(Fault),
}

/// The failures of a service in a row, whatever they are, and those of the newest kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceStreak {
    /// All of them.
    pub any: Streak,
    /// How the newest failed.
    pub failing: Failing,
    /// Those that failed like it, in a row.
    pub same: Streak,
    /// How many of these were refused, and when the newest was. A firewall that rejects does so now and then only, since
    /// kernels limit how often they say no; what it leaves unanswered in between is the same failure.
    pub refused: u32,
    /// See `refused`.
    pub refused_at: Option<Time>,
}

/// What others said of a node since it has been silent to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Tries without an answer, since the last that had one.
    pub tries: u32,
    /// When the first of these was done.
    pub since: Option<Time>,
    /// When the newest try was done, whatever came of it.
    pub at: Option<Time>,
    /// When somebody last reached it.
    pub reached_at: Option<Time>,
}

/// The newest load figure of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// When it was true.
    pub at: Time,
    /// What leaves the node, bit/s.
    pub tx_bps: u64,
    /// The same, smoothed over about 20 s.
    pub smooth_bps: u64,
    /// What it can send, bit/s; none where nobody knows.
    pub capacity_bps: Option<u64>,
    /// The brownout step that it is at; none where it does not tell.
    pub shed_step: Option<u8>,
}

impl Load {
    /// What it sends of what it can, in thousandths.
    #[must_use]
    pub fn share_milli(&self) -> Option<u64> {
        let capacity = self.capacity_bps.filter(|capacity| *capacity > 0)?;
        Some(u64::try_from(u128::from(self.tx_bps) * 1000 / u128::from(capacity)).unwrap_or(u64::MAX))
    }

    /// The same of the smoothed figure.
    #[must_use]
    pub fn smooth_milli(&self) -> Option<u64> {
        Self { tx_bps: self.smooth_bps, ..*self }.share_milli()
    }
}

/// Everything open about one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// The checks in the evidence window, oldest first.
    pub checks: VecDeque<Check>,
    /// When the newest check of the service was done.
    pub service_at: Option<Time>,
    /// The last sign of life.
    pub life_at: Option<Time>,
    /// When a sign of life last ended a silence of several rounds.
    pub revived_at: Option<Time>,
    /// Service rounds without a sign of life in a row.
    pub silence: Option<Streak>,
    /// The service's failures in a row.
    pub service: Option<ServiceStreak>,
    /// Since when the node has been in doubt: its first failure after the last calm.
    pub doubt_since: Option<Time>,
    /// Checks of the service that passed in a row; calm ends doubt.
    pub calm: u32,
    /// When its evidence was last soft, and since when it has been so without a pause.
    pub soft: Option<Streak>,
    /// Since when its checks have been degraded; none while they are not.
    pub degraded: Option<Streak>,
    /// Since when its evidence has been hard; none while it is not.
    pub hard: Option<Streak>,
    /// The usual time to the first byte, ms in 1/16; learnt while all is well.
    pub usual_answer: Option<u32>,
    /// The newest load figure.
    pub load: Option<Load>,
    /// What others said.
    pub asked: Asked,
}

impl Recent {
    /// Moves every time by `step_ms`.
    pub(super) fn shift(&mut self, step_ms: i64) {
        let move_some = |at: &mut Option<Time>| *at = at.map(|at| at.shifted(step_ms));
        for check in &mut self.checks {
            check.at = check.at.shifted(step_ms);
        }
        if let Some(service) = &mut self.service {
            move_some(&mut service.refused_at);
        }
        let service = self.service.iter_mut().flat_map(|service| [&mut service.any, &mut service.same]);
        for streak in
            service.chain(&mut self.silence).chain(&mut self.soft).chain(&mut self.degraded).chain(&mut self.hard)
        {
            streak.since = streak.since.shifted(step_ms);
            streak.until = streak.until.shifted(step_ms);
        }
        move_some(&mut self.service_at);
        move_some(&mut self.life_at);
        move_some(&mut self.revived_at);
        move_some(&mut self.doubt_since);
        move_some(&mut self.asked.since);
        move_some(&mut self.asked.at);
        move_some(&mut self.asked.reached_at);
        if let Some(load) = &mut self.load {
            load.at = load.at.shifted(step_ms);
        }
    }
}
