//! Lines in, what they say out. Nothing is judged here.

use std::collections::BTreeMap;

use crate::model::{Name, NodeId};

use super::ReplayError;
use super::event::{Entry, Event, Header};
use super::fields::{Fields, Value};
use super::lines;

/// How much of a trace is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What the rule is shown.
    ForTheRule,
    /// Also what was done, what was true and what is expected.
    Everything,
}

/// Reads a trace line by line.
#[derive(Debug)]
pub struct Reader {
    wanted: Wanted,
    lines: usize,
    last_ms: i64,
    fleet: Option<Fleet>,
    /// Lines of kinds that are not known, by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Keys that are not known, in lines whose kind is. Counted only where everything is wanted.
    pub ignored_keys: BTreeMap<String, usize>,
}

/// What the header said that later lines are read by.
#[derive(Debug)]
struct Fleet {
    nodes: Vec<NodeId>,
    places: BTreeMap<Box<str>, usize>,
    /// Whose observations are ours.
    witness: Option<String>,
    ttl_s: u32,
}

impl Reader {
    /// A reader that waits for the header.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, lines: 0, last_ms: 0, fleet: None, ignored: BTreeMap::new(), ignored_keys: BTreeMap::new() }
    }

    /// Takes a line. None where it says nothing: an empty one, or a comment.
    ///
    /// # Errors
    /// [`ReplayError`] when the line is not of the format. The reader can go on with the next.
    pub fn line(&mut self, text: &str) -> Result<Option<Entry>, ReplayError> {
        self.lines += 1;
        if text.starts_with('#') || text.trim().is_empty() {
            return Ok(None);
        }
        match self.take(text) {
            Ok((t, event)) => Ok(Some(Entry { line: self.lines, t, event })),
            Err(why) => Err(ReplayError::Line { line: self.lines, why }),
        }
    }

    /// How many lines there were.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines
    }

    fn take(&mut self, text: &str) -> Result<(Option<i64>, Event), String> {
        let line = Fields::read(text).map_err(|error| format!("no line of a trace: {error}"))?;
        let kind = line.text("k").ok_or("a line of a trace has a kind: a text \"k\"")?;
        if kind == "header" {
            let header: Header = serde_json::from_str(text).map_err(|error| format!("no header: {error}"))?;
            self.fleet = Some(Fleet::of(&header)?);
            self.last_ms = 0;
            return Ok((None, Event::Header(Box::new(header))));
        }
        let fleet = self.fleet.as_ref().ok_or("the first line must be the header, with the fleet")?;
        let t = match line.get("t") {
            None | Some(Value::Other) => None,
            Some(_) => Some(line.signed("t").ok_or("\"t\" must be milliseconds, a whole number")?),
        };
        if let Some(t) = t {
            if t < self.last_ms {
                return Err(format!(
                    "t went back from {} to {t}; it may not, a stepped clock is a `clock` line",
                    self.last_ms
                ));
            }
            self.last_ms = t;
        }
        let everything = self.wanted == Wanted::Everything;
        let event = match kind {
            "obs" if fleet.is_anothers(&line) => Event::Other,
            "obs" => lines::observation(fleet.place(&line)?, &line)?,
            "ctl" => lines::anchors(&line)?,
            "dns" => fleet.published(&line)?,
            "clock" => lines::clock(&line),
            "op" => lines::operator(fleet.place(&line)?, &line)?,
            "load" => lines::load(fleet.node(&line)?, &line),
            "ask" => lines::ask(fleet.node(&line)?, &line)?,
            // Our own vote is what our observations say.
            "vote" if line.text("w").zip(fleet.witness.as_deref()).is_some_and(|(by, ours)| by == ours) => Event::Other,
            "vote" => lines::vote(fleet.node(&line)?, &line)?,
            "tick" => Event::Tick,
            "end" => Event::End,
            "act" if everything => {
                let node = line.get("n").filter(|value| **value != Value::Other);
                lines::act(node.map(|_| fleet.place(&line)).transpose()?, &line)?
            }
            "truth" if everything => lines::truth(fleet.place(&line)?, &line)?,
            "expect" if everything => lines::expectation(fleet.several(&line)?, &line)?,
            "act" | "truth" | "expect" => Event::Other,
            other => {
                count(&mut self.ignored, other);
                Event::Other
            }
        };
        if everything {
            line.keys().filter(|key| !is_known(key)).for_each(|key| count(&mut self.ignored_keys, key));
        }
        Ok((t, event))
    }
}

/// How many names of what is not known are told apart.
const NAMES: usize = 100;

fn count(names: &mut BTreeMap<String, usize>, name: &str) {
    // Rubbish has no end of names.
    let name = if names.len() < NAMES || names.contains_key(name) { name } else { "others" };
    *names.entry(name.to_owned()).or_default() += 1;
}

/// Whether a line of some kind has this key.
fn is_known(key: &str) -> bool {
    matches!(
        key,
        "k" | "t"
            | "w"
            | "n"
            | "p"
            | "o"
            | "stage"
            | "status"
            | "connect_us"
            | "tls_us"
            | "ttfb_us"
            | "banner_us"
            | "total_us"
            | "sent"
            | "got"
            | "rtt_us"
            | "bytes"
            | "fault"
            | "ip"
            | "age_ms"
            | "ok"
            | "of"
            | "set"
            | "ttl_s"
            | "without"
            | "src"
            | "tx_bps"
            | "cap_bps"
            | "active"
            | "shed_step"
            | "load1"
            | "ncpu"
            | "psi_cpu10"
            | "psi_io10"
            | "listen_overflows"
            | "via"
            | "ev"
            | "rounds"
            | "wall_step_ms"
            | "pause_ms"
            | "op"
            | "state"
            | "for_s"
            | "force"
            | "a"
            | "step"
            | "rule"
            | "why"
            | "s"
            | "factor"
            | "must"
            | "never"
            | "guard"
            | "from"
            | "within"
    )
}

impl Fleet {
    fn of(header: &Header) -> Result<Self, String> {
        if header.format.as_deref().is_some_and(|format| format != "witness-trace") || header.v.is_some_and(|v| v != 1)
        {
            return Err("only traces of format witness-trace, version 1, are known".to_owned());
        }
        let nodes = header.nodes();
        let places: BTreeMap<Box<str>, usize> = nodes.iter().map(Name::as_str).map(Box::from).zip(0..).collect();
        if let Some((node, _)) = nodes.iter().zip(0..).find(|(node, place)| places[node.as_str()] != *place) {
            return Err(format!("node {node} is there twice"));
        }
        Ok(Self { nodes, places, witness: header.witnesses.first().cloned(), ttl_s: header.ttl() })
    }

    /// Whether another witness saw it: what it made of that is its vote.
    fn is_anothers(&self, line: &Fields<'_>) -> bool {
        line.text("w").zip(self.witness.as_deref()).is_some_and(|(by, ours)| by != ours)
    }

    fn place(&self, line: &Fields<'_>) -> Result<usize, String> {
        let text = line.text("n").unwrap_or_default();
        self.find(text)
    }

    fn find(&self, text: &str) -> Result<usize, String> {
        self.places.get(text).copied().ok_or_else(|| format!("there is no node {text:?} in the header's fleet"))
    }

    fn node(&self, line: &Fields<'_>) -> Result<NodeId, String> {
        self.place(line).map(|place| self.nodes[place].clone())
    }

    /// One node, a list of them, or none.
    fn several(&self, line: &Fields<'_>) -> Result<Vec<usize>, String> {
        match line.get("n") {
            None | Some(Value::Other) => Ok(Vec::new()),
            Some(Value::List(list)) => list.iter().map(|one| self.find(one.as_str().unwrap_or_default())).collect(),
            Some(_) => Ok(vec![self.place(line)?]),
        }
    }

    /// What is published now. Names that are not of the fleet are somebody else's.
    fn published(&self, line: &Fields<'_>) -> Result<Event, String> {
        let list = line.list("set").ok_or("\"set\" must list the published nodes")?;
        let set = list.iter().filter_map(|one| self.places.get(one.as_str()?).copied()).collect();
        let address = |one: &Value<'_>| match one {
            Value::List(pair) => {
                let [node, place] = pair.as_slice() else { return None };
                Some((self.places.get(node.as_str()?).copied()?, usize::try_from(place.as_u64()?).ok()?))
            }
            _ => None,
        };
        let without = line.list("without").unwrap_or_default().iter().filter_map(address).collect();
        let ttl = line.number("ttl_s").map(|ttl| u32::try_from(ttl).unwrap_or(u32::MAX));
        Ok(Event::Published { set, without, ttl_s: ttl.unwrap_or(self.ttl_s) })
    }
}
