//! What it is measured against: the ways in which well-known programs count, on the same probes of the same world.
//!
//! They are models of counters, from the programs' documentation, not the programs.

use crate::model::{Outcome, ProbeKind};

use super::pilot::{Move, News, Pilot, Reasoned};

/// Leaves everything as it is.
#[derive(Debug)]
pub(super) struct Nothing;

impl Pilot for Nothing {
    fn every_ms(&self, _node: usize) -> i64 {
        10_000
    }

    fn hear(&mut self, _at_ms: i64, _news: &News) {}

    fn act(&mut self, _now_ms: i64, _dead: &[bool]) -> Vec<Reasoned> {
        Vec::new()
    }
}

/// Is told the truth, and acts on it at once.
#[derive(Debug)]
pub(super) struct Oracle {
    out: Vec<bool>,
}

impl Oracle {
    pub(super) fn new(nodes: usize) -> Self {
        Self { out: vec![false; nodes] }
    }
}

impl Pilot for Oracle {
    fn every_ms(&self, _node: usize) -> i64 {
        10_000
    }

    fn hear(&mut self, _at_ms: i64, _news: &News) {}

    fn act(&mut self, _now_ms: i64, dead: &[bool]) -> Vec<Reasoned> {
        // It knows as well that an empty set serves nobody.
        let wanted = if dead.iter().all(|dead| *dead) { vec![false; dead.len()] } else { dead.to_vec() };
        become_as(&mut self.out, &wanted)
    }
}

/// Moves that make `out` as `wanted`.
fn become_as(out: &mut [bool], wanted: &[bool]) -> Vec<Reasoned> {
    let mut moves = Vec::new();
    for (place, (is, shall)) in out.iter_mut().zip(wanted).enumerate() {
        if is != shall {
            moves.push(Reasoned::plain(if *shall { Move::Withdraw(place) } else { Move::Reinstate(place) }));
            *is = *shall;
        }
    }
    moves
}

/// How successes and failures of one node's service become up and down.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counting {
    /// So many in a row turn it (Consul, HAProxy and most others).
    InARow { down: u32, up: u32 },
    /// So many failures, at whatever distance, unless `ok` successes in a row reset them; `up` successes in a row bring it
    /// back (gdnsd's `down_thresh`, `ok_thresh`, `up_thresh`).
    WithPatience { down: u32, ok: u32, up: u32 },
    /// So many failures in a row eject it for `base_ms`, longer each time, up to `most_ms` (Envoy's outlier detection).
    Ejection { down: u32, base_ms: i64, most_ms: i64 },
}

/// What is published when too many are down.
#[derive(Clone, Copy, Debug)]
pub(super) enum Brake {
    /// All, when none is up.
    WhenNone,
    /// All, when fewer than this share, percent, are up.
    Below { percent: usize },
    /// At most this share, percent, is out, but one may always be.
    AtMost { percent: usize },
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    failed: u32,
    passed: u32,
    is_down: bool,
    ejected_until: i64,
    ejections: i64,
}

/// A counter with a brake.
#[derive(Debug)]
pub(super) struct Counter {
    counting: Counting,
    brake: Brake,
    counts: Vec<Count>,
    out: Vec<bool>,
}

impl Counter {
    pub(super) fn new(nodes: usize, counting: Counting, brake: Brake) -> Self {
        Self { counting, brake, counts: vec![Count::default(); nodes], out: vec![false; nodes] }
    }
}

impl Count {
    fn take(&mut self, counting: Counting, passed: bool, now_ms: i64) {
        match counting {
            Counting::InARow { down, up } => {
                (self.failed, self.passed) = if passed { (0, self.passed + 1) } else { (self.failed + 1, 0) };
                if self.is_down { self.is_down = self.passed < up } else { self.is_down = self.failed >= down }
            }
            Counting::WithPatience { down, ok, up } => {
                if passed {
                    self.passed += 1;
                    if self.passed >= ok && !self.is_down {
                        self.failed = 0;
                    }
                    if self.passed >= up && self.is_down {
                        (self.is_down, self.failed) = (false, 0);
                    }
                } else {
                    (self.failed, self.passed) = (self.failed + 1, 0);
                    self.is_down |= self.failed >= down;
                }
            }
            Counting::Ejection { down, base_ms, most_ms } => {
                self.failed = if passed { 0 } else { self.failed + 1 };
                if self.failed >= down && now_ms >= self.ejected_until {
                    self.ejections += 1;
                    self.ejected_until = now_ms + (base_ms * self.ejections).min(most_ms);
                    self.failed = 0;
                }
            }
        }
    }
}

impl Pilot for Counter {
    fn every_ms(&self, _node: usize) -> i64 {
        10_000
    }

    fn hear(&mut self, at_ms: i64, news: &News) {
        if let News::Probe { node, seen } = news
            && seen.probe == ProbeKind::Https
        {
            self.counts[*node].take(self.counting, seen.outcome == Outcome::Passed, at_ms);
        }
    }

    fn act(&mut self, now_ms: i64, _dead: &[bool]) -> Vec<Reasoned> {
        let ejects = matches!(self.counting, Counting::Ejection { .. });
        let down = |count: &Count| if ejects { now_ms < count.ejected_until } else { count.is_down };
        let mut wanted: Vec<bool> = self.counts.iter().map(down).collect();
        let (all, up) = (wanted.len(), wanted.iter().filter(|down| !**down).count());
        match self.brake {
            Brake::WhenNone if up == 0 => wanted.fill(false),
            // gdnsd: fewer than ceil(share x n) up.
            Brake::Below { percent } if up < (percent * all).div_ceil(100) => wanted.fill(false),
            Brake::AtMost { percent } => {
                let most = (percent * all / 100).max(1);
                // Who is out already stays out first.
                let mut left =
                    most.saturating_sub(wanted.iter().zip(&self.out).filter(|(shall, is)| **shall && **is).count());
                for (shall, is) in wanted.iter_mut().zip(&self.out) {
                    if *shall && !*is {
                        *shall = left > 0;
                        left = left.saturating_sub(1);
                    }
                }
            }
            Brake::WhenNone | Brake::Below { .. } => {}
        }
        become_as(&mut self.out, &wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down_after(counting: Counting, results: &str) -> Vec<bool> {
        let mut count = Count::default();
        let results = results.chars().zip(1i64..);
        results
            .map(|(result, number)| {
                count.take(counting, result == '+', number * 10_000);
                count.is_down || number * 10_000 < count.ejected_until
            })
            .collect()
    }

    #[test]
    fn three_in_a_row() {
        let counting = Counting::InARow { down: 3, up: 2 };
        let down = down_after(counting, "--+---+-++");
        assert_eq!(down, [false, false, false, false, false, true, true, true, true, false]);
    }

    #[test]
    fn failures_with_patience() {
        let counting = Counting::WithPatience { down: 3, ok: 2, up: 3 };
        assert_eq!(down_after(counting, "-+-+-"), [false, false, false, false, true], "at whatever distance");
        assert_eq!(down_after(counting, "--++--"), [false; 6], "two successes in a row forgive");
        assert_eq!(down_after(counting, "---++-+++").last(), Some(&false));
    }

    #[test]
    fn an_ejection_ends_by_itself() {
        let counting = Counting::Ejection { down: 2, base_ms: 30_000, most_ms: 300_000 };
        assert_eq!(down_after(counting, "--++++"), [false, true, true, true, false, false]);
    }

    #[test]
    fn brakes() {
        let out = |brake: Brake, down: &[usize]| {
            let mut counter = Counter::new(4, Counting::InARow { down: 1, up: 1 }, brake);
            for place in down {
                counter.counts[*place].is_down = true;
            }
            counter.act(0, &[]).len()
        };
        assert_eq!(out(Brake::WhenNone, &[0, 1, 2]), 3);
        assert_eq!(out(Brake::WhenNone, &[0, 1, 2, 3]), 0);
        assert_eq!(out(Brake::Below { percent: 50 }, &[0, 1]), 2);
        assert_eq!(out(Brake::Below { percent: 50 }, &[0, 1, 2]), 0);
        assert_eq!(out(Brake::AtMost { percent: 10 }, &[0, 1, 2]), 1);
    }
}
