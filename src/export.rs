//! What a ledger recorded, as a trace that `backtest` takes: every observation as it was shown to the rule, every judgement,
//! what was decided, what was published, and what people did.
//!
//! Addresses, host names, URLs, reasons and notes are not in it; nodes and sites have numbers for names. It is written as
//! it is read, a few hundred judgements at a time.

mod lines;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::ledger::{JudgementRow, LedgerError, PastPin, View};
use crate::model::{
    Abilities, Action, Ask, Fleet, LoadFigure, Name, NodeId, Observation, Pool, PublishedSets, Round, Time,
};

use lines::Timeline;

/// How many judgements are read at once.
const BATCH: u32 = 256;

/// What is exported, and what the ledger does not hold of it.
#[derive(Clone, Debug)]
pub struct Export<'a> {
    /// Who there is, as configured now.
    pub fleet: &'a Fleet,
    /// The pool whose nodes are exported.
    pub pool: &'a Pool,
    /// The keys of `[policy]` as they are written; what is left out is by default.
    pub policy: Map<String, Value>,
    /// How far apart rounds are, ms.
    pub interval_ms: u64,
    /// How far apart they are while a node is in doubt, ms.
    pub fast_interval_ms: u64,
    /// How many anchors are configured.
    pub anchors: usize,
    /// What can be done beside changing the DNS.
    pub can: Abilities,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The trace cannot be written.
    #[error("write the trace")]
    Write(#[from] io::Error),
}

impl Export<'_> {
    /// Writes what happened between two times, both included. Returns how many judgements that were.
    ///
    /// # Errors
    /// [`ExportError`] when the ledger cannot be read or the trace not be written.
    pub fn write(&self, view: View<'_>, from: Time, to: Time, out: &mut impl Write) -> Result<u64, ExportError> {
        let mut pins = view.past_pins(from, to)?;
        pins.sort_by_key(|past| past.pin.since);
        let mut story = Story {
            export: self,
            names: self.names(),
            others: BTreeMap::new(),
            readings: view.readings(&self.pool.id, from, to)?.into_iter().peekable(),
            marks: marks(pins).into_iter().peekable(),
            timeline: Timeline::default(),
            shown: None,
        };
        let (mut after, mut judgements) = (0, 0u64);
        loop {
            let ticks = view.ticks(after, from, to, BATCH)?;
            let (Some((first, _)), Some((last, _))) = (ticks.first(), ticks.last()) else { break };
            after = last.id;
            let mut decided: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
            for action in view.decided(first.id, last.id)? {
                if let Some(line) = story.act(&action.what) {
                    decided.entry(action.judgement).or_default().push(line);
                }
            }
            for (judgement, rounds) in &ticks {
                // Judgements are kept for longer than what they were shown: without that they tell nothing.
                if judgements == 0 && rounds.is_empty() {
                    continue;
                }
                if judgements == 0 {
                    writeln!(out, "{}", story.header(judgement, rounds))?;
                }
                judgements += 1;
                story.hear(judgement, view.hearsay(judgement.id)?);
                story.tick(rounds, decided.remove(&judgement.id).unwrap_or_default(), judgement);
                for line in story.timeline.lines.drain(..) {
                    writeln!(out, "{line}")?;
                }
            }
        }
        if judgements > 0 {
            writeln!(out, "{}", json!({"k": "end", "t": story.timeline.last}))?;
        }
        out.flush()?;
        Ok(judgements)
    }

    /// What nodes are called in the trace.
    fn names(&self) -> BTreeMap<NodeId, String> {
        self.pool.nodes.iter().cloned().zip((1..).map(|number: u32| format!("n{number}"))).collect()
    }
}

/// What a person did to a node: set a pin, or took it off.
struct Mark {
    at: Time,
    node: NodeId,
    line: Value,
}

fn marks(pins: Vec<PastPin>) -> Vec<Mark> {
    let mut marks = Vec::new();
    for PastPin { pin, ended_at } in pins {
        let for_s = pin.until.since(pin.since).as_secs();
        let line = json!({"k": "op", "op": "pin", "state": pin.state.name(), "for_s": for_s});
        marks.push(Mark { at: pin.since, node: pin.node.clone(), line });
        if let Some(at) = ended_at {
            marks.push(Mark { at, node: pin.node, line: json!({"k": "op", "op": "unpin"}) });
        }
    }
    // Who is pinned anew at the moment the old pin ends keeps the new one: the sort is stable.
    marks.sort_by_key(|mark| (mark.at, mark.line["op"] == "pin"));
    marks
}

/// An export under way.
struct Story<'a> {
    export: &'a Export<'a>,
    names: BTreeMap<NodeId, String>,
    /// What others than the nodes are called who say something of them.
    others: BTreeMap<Name, String>,
    readings: std::iter::Peekable<std::vec::IntoIter<(Time, PublishedSets)>>,
    marks: std::iter::Peekable<std::vec::IntoIter<Mark>>,
    timeline: Timeline,
    /// The published set that was told last.
    shown: Option<Value>,
}

impl Story<'_> {
    fn header(&mut self, judgement: &JudgementRow, rounds: &[Round]) -> Value {
        let begun = self.timeline.begin(judgement, rounds);
        let mut sites: Vec<&String> = Vec::new();
        let mut fleet = Vec::new();
        for id in &self.export.pool.nodes {
            let Some(node) = self.export.fleet.nodes.get(id) else { continue };
            let families: Vec<&str> =
                node.addresses.iter().map(|address| if address.is_ipv4() { "v4" } else { "v6" }).collect();
            let mut line = json!({"n": self.names[id], "families": families});
            if let Some(site) = &node.site {
                let place = sites.iter().position(|known| *known == site).unwrap_or(sites.len());
                if place == sites.len() {
                    sites.push(site);
                }
                line["site"] = format!("s{}", place + 1).into();
            }
            if let Some(capacity) = node.capacity_bps {
                line["cap_bps"] = capacity.into();
            }
            fleet.push(line);
        }
        let Export { pool, policy, interval_ms, fast_interval_ms, anchors, can, .. } = self.export;
        json!({
            "k": "header", "format": "witness-trace", "v": 1, "origin": "recorded", "redacted": true,
            "start_wall": begun.rfc3339(), "tick_ms": 2000, "ttl_s": pool.ttl.as_secs(), "fleet": fleet,
            "witnesses": ["w1"], "anchors": anchors, "interval_ms": interval_ms,
            "fast_interval_ms": fast_interval_ms, "policy": policy, "shed": can.shed, "relays": can.relays,
        })
    }

    /// What nodes told that a judgement was shown, and what others said of them.
    fn hear(&mut self, judgement: &JudgementRow, (loads, asks): (Vec<LoadFigure>, Vec<Ask>)) {
        self.timeline.move_to(&judgement.now);
        for figure in loads {
            if let Some(name) = self.names.get(&figure.node) {
                self.timeline.seen(figure.at, lines::load(name, &figure));
            }
        }
        for ask in asks {
            let Some(name) = self.names.get(&ask.node).cloned() else { continue };
            let others = self.others.len() + 1;
            let via = match self.names.get(&ask.via) {
                Some(via) => via,
                None => self.others.entry(ask.via.clone()).or_insert_with(|| format!("o{others}")),
            };
            self.timeline.seen(ask.at, lines::ask(&name, via, &ask));
        }
    }

    /// Everything else up to a judgement, and what was decided in it.
    fn tick(&mut self, rounds: &[Round], decided: Vec<Value>, judgement: &JudgementRow) {
        let now = judgement.now.wall;
        while let Some((at, sets)) = self.readings.next_if(|(at, _)| *at <= now) {
            let line = self.published(&sets);
            if self.shown.as_ref() != Some(&line) {
                self.timeline.told(at, line.clone());
                self.shown = Some(line);
            }
        }
        while let Some(mark) = self.marks.next_if(|mark| mark.at <= now) {
            let Mark { at, node, mut line } = mark;
            if let Some(name) = self.names.get(&node) {
                line["n"] = name.as_str().into();
                if line["op"] == "pin" {
                    // One that was set before the trace begins has less time left.
                    let passed = self.timeline.lost(at);
                    line["for_s"] = line["for_s"].as_u64().unwrap_or(0).saturating_sub(passed).into();
                }
                self.timeline.told(at, line);
            }
        }
        if let Some(anchors) = judgement.anchors {
            let line = json!({"k": "ctl", "w": "w1", "ok": anchors.ok, "of": anchors.of});
            self.timeline.seen(anchors.at, line);
        }
        // By node, and each node's in the order they began.
        let mut before = (None, i64::MIN);
        for round in rounds {
            let node = self.export.fleet.nodes.get(&round.node);
            let Some((name, node)) = self.names.get(&round.node).zip(node) else { continue };
            if before.0 != Some(&round.node) {
                before = (Some(&round.node), i64::MIN);
            }
            let mut seen: Vec<&Observation> = round.observations.iter().collect();
            seen.sort_by_key(|one| one.at);
            for one in seen {
                // An address that is not configured any more is not in the header either.
                if let Some(place) = node.addresses.iter().position(|address| *address == one.address) {
                    self.timeline.seen_after(&mut before.1, one.at, lines::observation(name, place, one));
                }
            }
        }
        if let Some(request) = &judgement.request
            && let Some(name) = self.names.get(&request.node)
        {
            let line = json!({"k": "op", "n": name, "op": lines::asked(request.kind), "force": request.force});
            self.timeline.told(now, line);
        }
        self.timeline.judged(decided);
    }

    fn published(&self, sets: &PublishedSets) -> Value {
        let is_in = |address: &IpAddr| sets.values().any(|set| set.addresses.contains(address));
        let (mut set, mut without) = (Vec::new(), Vec::new());
        for node in self.export.pool.nodes.iter().filter_map(|id| self.export.fleet.nodes.get(id)) {
            let name = self.names[&node.id].as_str();
            if node.addresses.iter().any(is_in) {
                set.push(name);
                let places = node.addresses.iter().zip(0..).filter(|(address, _)| !is_in(address));
                without.extend(places.map(|(_, place): (_, usize)| json!([name, place])));
            }
        }
        // A TTL that somebody changed is the set's own.
        let ttl = sets.values().map(|set| set.ttl).min();
        let mut line = json!({"k": "dns", "set": set, "ttl_s": ttl, "src": "published"});
        if !without.is_empty() {
            line["without"] = without.into();
        }
        line
    }

    /// What was decided, where it is about this pool: without its words, which name nodes and addresses.
    fn act(&self, action: &Action) -> Option<Value> {
        if action.pool.as_ref().is_some_and(|pool| *pool != self.export.pool.id) {
            return None;
        }
        let mut line = json!({"k": "act", "a": action.kind, "rule": action.rule});
        if let Some(node) = &action.node {
            line["n"] = self.names.get(node)?.as_str().into();
        }
        if let Some(step) = action.step {
            line["step"] = step.into();
        }
        Some(line)
    }
}
