//! When lines are told: ms since the trace began, by the boot clock where it runs on, and never going back.

use serde_json::{Value, json};

use crate::model::{
    Ask, AskHow, AskOutcome, ClockReading, Fault, LoadFigure, LoadSource, Observation, Outcome, RequestKind, Round,
    Time,
};

use crate::ledger::JudgementRow;

/// A difference between the clocks that is no step, ms: they are not read in the same instant.
const NOISE_MS: i64 = 1000;

#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Lines to be written, in order, with their times.
    pub(super) lines: Vec<Value>,
    /// When the last one was told.
    pub(super) last: i64,
    /// The clocks of the judgement before, and when that was.
    before: Option<(ClockReading, i64)>,
    /// The judgement that is told of.
    now: Time,
    t: i64,
    /// What the wall clock showed at 0, with every step since.
    zero: i64,
    pending: Vec<(i64, u8, i64, Value)>,
}

impl Timeline {
    /// Begins with what was seen first. Returns when that was.
    pub(super) fn begin(&mut self, judgement: &JudgementRow, rounds: &[Round]) -> Time {
        let seen = rounds.iter().flat_map(|round| &round.observations).map(|one| one.at);
        let first = seen.chain([judgement.now.wall]).min().unwrap_or(judgement.now.wall);
        self.zero = first.0;
        first
    }

    /// From now on it is told what the judgement at `now` was shown.
    pub(super) fn move_to(&mut self, now: &ClockReading) {
        let t = match &self.before {
            None => now.wall.0.saturating_sub(self.zero),
            Some((before, t)) => {
                let boot = now.boot_ms.saturating_sub(before.boot_ms);
                let passed =
                    if now.boot_id == before.boot_id { boot } else { now.wall.0.saturating_sub(before.wall.0) };
                t.saturating_add(passed.max(0))
            }
        };
        let restarted = self.before.as_ref().is_some_and(|(before, _)| before.boot_id != now.boot_id);
        let step = now.wall.0.saturating_sub(self.zero.saturating_add(t));
        if restarted || step.saturating_abs() >= NOISE_MS {
            self.zero = self.zero.saturating_add(step);
            let line = json!({"k": "clock", "t": t, "wall_step_ms": step, "pause_ms": u8::from(restarted)});
            // The clock is told of first, so that what was seen counts by it.
            self.lines.push(line);
            self.last = t;
        }
        self.before = Some((now.clone(), t));
        (self.now, self.t) = (now.wall, t);
    }

    /// Something that was so from `at` on.
    pub(super) fn told(&mut self, at: Time, line: Value) {
        let t = self.place(at);
        self.pending.push((t, 0, t, line));
    }

    /// Something that was seen at `at`, and shown to this judgement.
    pub(super) fn seen(&mut self, at: Time, line: Value) {
        let mut before = i64::MIN;
        self.seen_after(&mut before, at, line);
    }

    /// The same, told not before what has been told of the same node: a round is told whole before the next begins, so that
    /// whoever reads it knows which result is of which.
    pub(super) fn seen_after(&mut self, before: &mut i64, at: Time, line: Value) {
        *before = self.place(at).max(*before);
        self.pending.push((*before, 1, self.own(at), line));
    }

    /// How many whole seconds before the trace began `at` was.
    pub(super) fn lost(&self, at: Time) -> u64 {
        self.own(at).min(0).unsigned_abs() / 1000
    }

    /// The judgement itself, and what was decided in it.
    pub(super) fn judged(&mut self, decided: Vec<Value>) {
        // What is of the same moment stays in the order it came in.
        self.pending.sort_by_key(|(t, rank, ..)| (*t, *rank));
        for (t, _, own, mut line) in std::mem::take(&mut self.pending) {
            line["t"] = t.into();
            if own < t {
                line["age_ms"] = (t - own).into();
            }
            self.lines.push(line);
        }
        self.lines.push(json!({"k": "tick", "t": self.t}));
        for mut line in decided {
            line["t"] = self.t.into();
            self.lines.push(line);
        }
        self.last = self.t;
    }

    /// When it is told: not before what was told already, and not after the judgement that it was shown to.
    fn place(&self, at: Time) -> i64 {
        self.own(at).clamp(self.last.min(self.t), self.t)
    }

    /// `at` in the trace's time, told in time or not.
    fn own(&self, at: Time) -> i64 {
        self.t.saturating_sub(self.now.0.saturating_sub(at.0))
    }
}

/// One probe's result, at the node's `place`-th address.
pub(super) fn observation(name: &str, place: usize, one: &Observation) -> Value {
    let mut line = crate::sim::observation(one.probe, one.outcome, &one.measured);
    line.insert("k".to_owned(), "obs".into());
    line.insert("w".to_owned(), "w1".into());
    line.insert("n".to_owned(), name.into());
    if place > 0 {
        line.insert("ip".to_owned(), place.into());
    }
    if let Outcome::Failed(fault @ (Fault::Tls(_) | Fault::Protocol | Fault::HostKey | Fault::Auth | Fault::Exit(_))) =
        one.outcome
    {
        // The outcome's word is one for all of these.
        line.insert("fault".to_owned(), fault.to_string().into());
    }
    Value::Object(line)
}

/// What a node said that it carries; what it did not tell is not there.
pub(super) fn load(name: &str, figure: &LoadFigure) -> Value {
    let source = match figure.source {
        LoadSource::Health => "health",
        LoadSource::Metrics => "metrics",
        LoadSource::Ssh => "ssh",
    };
    let mut line = json!({"k": "load", "w": "w1", "n": name, "src": source});
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            line[key] = value;
        }
    };
    let milli = |of: Option<u32>| of.map(|of| Value::from(f64::from(of) / 1000.0));
    put("tx_bps", figure.tx_bps.map(Value::from));
    put("cap_bps", figure.capacity_bps.map(Value::from));
    put("active", figure.active.map(Value::from));
    put("shed_step", figure.shed_step.map(Value::from));
    put("load1", milli(figure.load1_milli));
    put("ncpu", figure.ncpu.map(Value::from));
    put("psi_cpu10", milli(figure.psi_cpu10_milli));
    put("psi_io10", milli(figure.psi_io10_milli));
    put("listen_overflows", figure.listen_overflows.map(Value::from));
    line
}

/// What somebody else said of a node: one try, or a witness's word for several.
pub(super) fn ask(name: &str, via: &str, ask: &Ask) -> Value {
    if ask.tries != 1 {
        let evidence = match ask.outcome {
            AskOutcome::Reached => "fine",
            AskOutcome::Nothing => "silent",
            AskOutcome::Unknown => "no-data",
        };
        return json!({"k": "vote", "w": via, "n": name, "ev": evidence, "rounds": ask.tries});
    }
    let how = match ask.how {
        AskHow::Tcp => "tcp443",
        AskHow::Ping => "icmp",
    };
    let outcome = match ask.outcome {
        AskOutcome::Reached => "ok",
        AskOutcome::Nothing => "timeout",
        AskOutcome::Unknown => "local_error",
    };
    json!({"k": "ask", "via": via, "n": name, "p": how, "o": outcome})
}

/// What a person asked for.
pub(super) fn asked(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Withdraw => "withdraw",
        RequestKind::Reinstate => "reinstate",
    }
}
