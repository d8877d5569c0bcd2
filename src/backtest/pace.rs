//! When the rule is asked: where the trace has a `tick` line, or else on the grid of its header.

use std::collections::VecDeque;

use crate::replay::{Entry, Event};

/// Ticks of a trace that says nothing else, ms apart.
const TICK_MS: u64 = 2000;
/// How many lines are read ahead to see whether the trace has `tick` lines of its own.
const AHEAD: usize = 4096;
/// After so long without a line, ms, nobody was looking: there are no ticks to be made up.
const GAP_MS: i64 = 600_000;

/// What is due next.
pub(super) enum Due {
    /// A judgement.
    Tick(i64),
    /// From now on it is this time, and nobody looked before.
    Paused(i64),
    /// A line, which may be of an earlier time by its own count: it counts from here.
    Line(i64, Event),
}

#[derive(Debug)]
pub(super) struct Pace {
    step: i64,
    last: i64,
    ticks: Ticks,
}

#[derive(Debug)]
enum Ticks {
    /// Not known yet; these lines wait for it.
    Unknown(VecDeque<Entry>),
    /// Every step; the next is due then, or the first is not known yet.
    Grid(Option<i64>),
    /// Where a line says so.
    Lines,
}

impl Default for Pace {
    fn default() -> Self {
        Self { step: TICK_MS as i64, last: 0, ticks: Ticks::Unknown(VecDeque::new()) }
    }
}

impl Pace {
    /// Takes the header's word for it.
    pub(super) fn begin(&mut self, tick_ms: Option<u64>) -> Result<(), String> {
        let tick_ms = tick_ms.unwrap_or(TICK_MS);
        if !(100..=600_000).contains(&tick_ms) {
            return Err(format!("\"tick_ms\" must be 100 to 600000 milliseconds, unlike {tick_ms}"));
        }
        self.step = tick_ms as i64;
        Ok(())
    }

    pub(super) fn take(&mut self, entry: Entry, due: &mut dyn FnMut(Due)) {
        match &mut self.ticks {
            Ticks::Unknown(held) => {
                let is_tick = entry.event == Event::Tick;
                held.push_back(entry);
                if is_tick {
                    self.settle(Ticks::Lines, due);
                } else if held.len() >= AHEAD {
                    self.settle(Ticks::Grid(None), due);
                }
            }
            Ticks::Grid(_) | Ticks::Lines => self.go(entry, due),
        }
    }

    /// The trace has ended: what is still due.
    pub(super) fn end(&mut self, due: &mut dyn FnMut(Due)) {
        if matches!(self.ticks, Ticks::Unknown(_)) {
            self.settle(Ticks::Grid(None), due);
        }
        if let Ticks::Grid(Some(next)) = self.ticks {
            // What came since the last tick is judged, too.
            due(Due::Tick(next));
        }
    }

    fn settle(&mut self, ticks: Ticks, due: &mut dyn FnMut(Due)) {
        if let Ticks::Unknown(held) = std::mem::replace(&mut self.ticks, ticks) {
            held.into_iter().for_each(|entry| self.go(entry, due));
        }
    }

    fn go(&mut self, entry: Entry, due: &mut dyn FnMut(Due)) {
        if let (Ticks::Grid(next), Some(t)) = (&mut self.ticks, entry.t) {
            let step = self.step;
            let on_grid = |t: i64| t.div_euclid(step).saturating_mul(step).saturating_add((t % step).signum() * step);
            let mut at = next.unwrap_or_else(|| on_grid(t));
            if t.saturating_sub(self.last.max(at)) > GAP_MS {
                due(Due::Tick(at));
                due(Due::Paused(t));
                at = on_grid(t);
            }
            while at < t {
                due(Due::Tick(at));
                at = at.saturating_add(step);
            }
            *next = Some(at);
        }
        self.last = entry.t.unwrap_or(self.last);
        match entry.event {
            Event::Tick => {
                // Whoever says when to judge has the word from then on.
                self.ticks = Ticks::Lines;
                due(Due::Tick(self.last));
            }
            event => due(Due::Line(self.last, event)),
        }
    }
}
