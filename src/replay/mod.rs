//! Recorded or simulated observations in, judgements out: the same rule as the daemon's, without a clock or a network.
//!
//! It reads the trace format line by line. What a line means is decided here; what follows from it, by the rule alone.

mod engine;
mod lines;
mod open;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::policy_of_keys;
use crate::model::{Abilities, Name, NodeId, PinState, Policy};

pub use engine::{Engine, Member};

/// Why a line cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Not what the format says.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong, and what belongs there.
        why: String,
    },
}

/// What a caller may ask for beside the trace.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A policy in place of the header's.
    pub policy: Option<Policy>,
}

/// A trace under way.
#[derive(Debug)]
pub struct Replay {
    options: Options,
    lines: usize,
    world: Option<World>,
    /// Lines of kinds that are not known, by kind.
    pub ignored: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct World {
    engine: Engine,
    /// Whose observations are ours.
    witness: Option<String>,
    ttl_s: u32,
}

#[derive(Debug, Deserialize)]
struct Header {
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    v: Option<u64>,
    #[serde(default)]
    ttl_s: Option<u32>,
    fleet: Vec<HeaderNode>,
    #[serde(default)]
    witnesses: Vec<String>,
    #[serde(default)]
    policy: Map<String, Value>,
    #[serde(flatten)]
    can: Abilities,
    #[serde(default)]
    interval_ms: Option<u64>,
    #[serde(default)]
    fast_interval_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct HeaderNode {
    n: Name,
    #[serde(default)]
    site: Option<String>,
    #[serde(default)]
    cap_bps: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Line {
    k: String,
    #[serde(default)]
    t: Option<i64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Replay {
    /// A replay that waits for its header.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, lines: 0, world: None, ignored: BTreeMap::new() }
    }

    /// Takes a line; a `tick` gives a judgement as one line of JSON, everything else nothing.
    ///
    /// # Errors
    /// [`ReplayError`] when the line is not of the format. The replay can go on with the next.
    pub fn line(&mut self, text: &str) -> Result<Option<String>, ReplayError> {
        self.lines += 1;
        if text.trim().is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        self.take(text).map_err(|why| ReplayError::Line { line: self.lines, why })
    }

    fn take(&mut self, text: &str) -> Result<Option<String>, String> {
        let line: Line = serde_json::from_str(text).map_err(|error| format!("no line of a trace: {error}"))?;
        if line.k == "header" {
            let header = serde_json::from_str(text).map_err(|error| format!("no header: {error}"))?;
            self.world = Some(World::new(header, &self.options)?);
            return Ok(None);
        }
        let Some(world) = &mut self.world else {
            return Err("the first line must be the header, with the fleet".to_owned());
        };
        if let Some(t) = line.t {
            let last_ms = world.engine.last_ms();
            if t < last_ms {
                return Err(format!(
                    "t went back from {} to {t}; it may not, a stepped clock is a `clock` line",
                    last_ms
                ));
            }
            world.engine.at(t);
        }
        match line.k.as_str() {
            "obs" => world.observed(&line)?,
            "ctl" => world.controlled(&line)?,
            "dns" => world.published(&line)?,
            "clock" => world.clock(&line),
            "op" => world.operator(&line)?,
            "load" => world.loaded(&line)?,
            "ask" => world.asked(&line)?,
            "vote" => world.voted(&line)?,
            "tick" => return Ok(Some(said::line(world.engine.last_ms(), &world.engine.judge()))),
            // Not for the rule to know: what was done, what was true, what is expected.
            "act" | "truth" | "expect" | "end" => {}
            other => *self.ignored.entry(other.to_owned()).or_default() += 1,
        }
        Ok(None)
    }
}

impl World {
    fn new(header: Header, options: &Options) -> Result<Self, String> {
        if header.format.as_deref().is_some_and(|format| format != "witness-trace") || header.v.is_some_and(|v| v != 1)
        {
            return Err("only traces of format witness-trace, version 1, are known".to_owned());
        }
        let millis = |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_millis);
        let defaults = Policy::default();
        let policy = match &options.policy {
            Some(policy) => policy.clone(),
            None => policy_of_keys(
                &header.policy,
                millis(header.interval_ms, defaults.interval),
                millis(header.fast_interval_ms, defaults.fast_interval),
            )
            .map_err(|problems| {
                problems.iter().map(|one| format!("{}: {}", one.subject(), one.message)).collect::<Vec<_>>().join("; ")
            })?,
        };
        let ttl_s = header.ttl_s.unwrap_or(60);
        let member = |node: HeaderNode| Member { name: node.n, site: node.site, capacity_bps: node.cap_bps };
        let members = header.fleet.into_iter().map(member).collect();
        let engine = Engine::new(policy, members, ttl_s, header.can)?;
        Ok(Self { engine, witness: header.witnesses.into_iter().next(), ttl_s })
    }

    fn node(&self, line: &Line) -> Result<NodeId, String> {
        let text = line.rest.get("n").and_then(Value::as_str).unwrap_or_default();
        let known = Name::new(text).ok().filter(|id| self.engine.fleet().nodes.contains_key(id));
        known.ok_or_else(|| format!("there is no node {text:?} in the header's fleet"))
    }

    /// One probe's result.
    fn observed(&mut self, line: &Line) -> Result<(), String> {
        let by = line.rest.get("w").and_then(Value::as_str);
        if self.witness.as_deref().zip(by).is_some_and(|(ours, theirs)| ours != theirs) {
            // What another witness saw is its vote.
            return Ok(());
        }
        let id = self.node(line)?;
        let (probe, outcome, measured) = lines::observation(&line.rest)?;
        self.engine.observed(id, probe, outcome, measured);
        Ok(())
    }

    fn loaded(&mut self, line: &Line) -> Result<(), String> {
        let figure = lines::load(self.node(line)?, self.engine.now().wall, &line.rest);
        self.engine.loaded(figure);
        Ok(())
    }

    fn asked(&mut self, line: &Line) -> Result<(), String> {
        let ask = lines::ask(self.node(line)?, self.engine.now().wall, &line.rest)?;
        self.engine.asked(ask);
        Ok(())
    }

    /// What another witness says of a node.
    fn voted(&mut self, line: &Line) -> Result<(), String> {
        let by = line.rest.get("w").and_then(Value::as_str);
        if self.witness.as_deref().zip(by).is_some_and(|(ours, theirs)| ours == theirs) {
            return Ok(());
        }
        let vote = lines::vote(self.node(line)?, self.engine.now().wall, &line.rest)?;
        self.engine.asked(vote);
        Ok(())
    }

    /// A look at the anchors.
    fn controlled(&mut self, line: &Line) -> Result<(), String> {
        let number = |key: &str| {
            let number = line.rest.get(key).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| format!("{key:?} must be how many anchors"))
        };
        self.engine.controlled(number("ok")?, number("of")?);
        Ok(())
    }

    /// What is published now.
    fn published(&mut self, line: &Line) -> Result<(), String> {
        let set = line.rest.get("set").and_then(Value::as_array).ok_or("\"set\" must list the published nodes")?;
        let named: BTreeSet<&str> = set.iter().filter_map(Value::as_str).collect();
        let nodes = self.engine.fleet().nodes.keys();
        let ids: BTreeSet<NodeId> = nodes.filter(|id| named.contains(id.as_str())).cloned().collect();
        let ttl = line.rest.get("ttl_s").and_then(Value::as_u64).unwrap_or(u64::from(self.ttl_s));
        self.engine.published(&ids, u32::try_from(ttl).unwrap_or(u32::MAX));
        Ok(())
    }

    fn clock(&mut self, line: &Line) {
        let number = |key: &str| line.rest.get(key).and_then(Value::as_i64).unwrap_or(0);
        self.engine.clock(number("wall_step_ms"), number("pause_ms") > 0);
    }

    /// What an operator laid over a node: `drain` and `pin` with `for_s`, `undrain` and `unpin`.
    fn operator(&mut self, line: &Line) -> Result<(), String> {
        let id = self.node(line)?;
        let text = |key: &str| line.rest.get(key).and_then(Value::as_str);
        let state = match (text("op"), text("state")) {
            (Some("drain"), _) | (Some("pin"), Some("out")) => Some(PinState::Out),
            (Some("pin"), Some("in")) => Some(PinState::In),
            (Some("pin"), _) => Some(PinState::Ignore),
            (Some("undrain" | "unpin"), _) => None,
            _ => return Err("\"op\" must be drain, undrain, pin or unpin".to_owned()),
        };
        let seconds = line.rest.get("for_s").and_then(Value::as_u64).unwrap_or(3600);
        self.engine.pinned(id, state.map(|state| (state, Duration::from_secs(seconds))));
        Ok(())
    }
}
