//! A run as the lines of a trace: what the witness was told, and beside it what was true and what was done.

use serde_json::{Map, Value, json};

use crate::model::{AskOutcome, Fault, Measured, Outcome, ProbeKind};

use super::pilot::{Move, News, Reasoned, UNIT_BPS};
use super::scenario::{Scenario, State};
use super::steering::Steering;

/// Writes down what happens.
#[derive(Debug)]
pub(super) struct Scribe {
    names: Vec<String>,
    ttl_s: u32,
    loads: bool,
    lines: Vec<String>,
}

impl Scribe {
    pub(super) fn new(scenario: &Scenario, steering: &Steering) -> Self {
        let eyes = steering.eyes();
        let node = |node: &super::SimNode| {
            json!({"n": node.name, "site": node.site.as_ref().unwrap_or(&node.name),
                "cap_bps": (node.capacity * UNIT_BPS) as u64})
        };
        let fleet: Vec<Value> = scenario.node.iter().map(node).collect();
        let policy = serde_json::to_value(&scenario.policy).unwrap_or_default();
        let header = json!({"k": "header", "format": "witness-trace", "v": 1, "name": scenario.name,
            "origin": "simulated", "tick_ms": 2000, "ttl_s": scenario.ttl_s, "fleet": fleet, "witnesses": ["w1"],
            "policy": policy, "shed": eyes.shed, "relays": eyes.relays});
        let names = scenario.node.iter().map(|node| node.name.clone()).collect();
        Self { names, ttl_s: scenario.ttl_s, loads: eyes.loads, lines: vec![header.to_string()] }
    }

    fn say(&mut self, line: &Value) {
        self.lines.push(line.to_string());
    }

    pub(super) fn hears(&mut self, at_ms: i64, news: &News) {
        let line = match news {
            News::Probe { node, seen } => {
                let mut line = json!({"k": "obs", "t": at_ms, "w": "w1", "n": self.names[*node]});
                if let Some(line) = line.as_object_mut() {
                    line.extend(observation(seen.probe, seen.outcome, &seen.measured));
                }
                line
            }
            News::Anchors { ok, of } => json!({"k": "ctl", "t": at_ms, "w": "w1", "ok": ok, "of": of}),
            News::Load { node, sends, step } => {
                if !self.loads {
                    return;
                }
                json!({"k": "load", "t": at_ms, "n": self.names[*node], "src": "health",
                    "tx_bps": (sends * UNIT_BPS) as u64, "shed_step": step})
            }
            News::Ask { via, node, outcome } => {
                let o = match outcome {
                    AskOutcome::Reached => "ok",
                    AskOutcome::Nothing => "timeout",
                    AskOutcome::Unknown => "local_error",
                };
                json!({"k": "ask", "t": at_ms, "via": self.names[*via], "n": self.names[*node], "p": "tcp443", "o": o})
            }
            News::Published(set) => {
                let set: Vec<&String> = set.iter().map(|place| &self.names[*place]).collect();
                json!({"k": "dns", "t": at_ms, "set": set, "ttl_s": self.ttl_s, "src": "published"})
            }
        };
        self.say(&line);
    }

    pub(super) fn tick(&mut self, at_ms: i64) {
        self.say(&json!({"k": "tick", "t": at_ms}));
    }

    pub(super) fn truth(&mut self, at_ms: i64, node: usize, state: Option<State>) {
        let state = match state {
            Some(State::Silent) => "silent",
            Some(State::Refused) => "refused",
            Some(State::Hung) => "hung",
            Some(State::Slow | State::Lossy) | None => "up",
        };
        self.say(&json!({"k": "truth", "t": at_ms, "n": self.names[node], "s": state}));
    }

    pub(super) fn act(&mut self, at_ms: i64, what: &Reasoned) {
        let (a, node, step) = match what.what {
            Move::Withdraw(node) => ("withdraw", Some(node), None),
            Move::Reinstate(node) => ("reinstate", Some(node), None),
            Move::Shed { step, .. } => ("shed", None, Some(step)),
            Move::Alert(node) => ("alert", node, None),
        };
        let mut line = json!({"k": "act", "t": at_ms, "a": a, "rule": what.rule, "why": what.why});
        if let Some(node) = node {
            line["n"] = self.names[node].clone().into();
        }
        if let Some(step) = step {
            line["step"] = step.into();
        }
        self.say(&line);
    }

    pub(super) fn end(mut self, at_ms: i64) -> Vec<String> {
        self.say(&json!({"k": "end", "t": at_ms}));
        self.lines
    }
}

/// A probe's result as the format says it.
pub(crate) fn observation(probe: ProbeKind, outcome: Outcome, measured: &Measured) -> Map<String, Value> {
    let mut line = Map::new();
    let name = match probe {
        ProbeKind::Https => "https",
        ProbeKind::Ping => "icmp",
        ProbeKind::Ssh => "ssh",
    };
    line.insert("p".to_owned(), name.into());
    let mut put = |key: &str, value: Option<u64>| {
        if let Some(value) = value {
            line.insert(key.to_owned(), value.into());
        }
    };
    put("sent", measured.sent.map(u64::from));
    put("got", measured.received.map(u64::from));
    put("rtt_us", measured.rtt_us.map(u64::from));
    put("status", measured.status.map(u64::from));
    put("connect_us", measured.connect_us.map(u64::from));
    put("tls_us", measured.secure_us.map(u64::from));
    let first = if probe == ProbeKind::Ssh { "banner_us" } else { "ttfb_us" };
    put(first, measured.first_byte_us.map(u64::from));
    put("total_us", Some(u64::from(measured.total_us)));
    let (word, stage) = match outcome {
        Outcome::Passed => ("ok", None),
        Outcome::Inconclusive(crate::model::OwnFault::Dns) => ("dns", None),
        Outcome::Inconclusive(_) => ("local_error", None),
        Outcome::Failed(fault) => fault_word(fault),
    };
    // An echo tells by its counts, where it has them.
    if probe != ProbeKind::Ping || measured.received.is_none() || matches!(outcome, Outcome::Inconclusive(_)) {
        line.insert("o".to_owned(), word.into());
    }
    if let Some(stage) = stage {
        line.insert("stage".to_owned(), stage.into());
    }
    line
}

fn fault_word(fault: Fault) -> (&'static str, Option<&'static str>) {
    match fault {
        Fault::Refused => ("refused", None),
        Fault::Unreachable => ("unreach", None),
        Fault::Reset => ("reset", None),
        Fault::Timeout(stage) => ("timeout", Some(stage.name())),
        Fault::Tls(_) => ("tls", None),
        Fault::Status(400..=499) => ("http_4xx", None),
        Fault::Status(_) => ("http_5xx", None),
        Fault::Shedding(_) => ("shed", None),
        Fault::Lost => ("timeout", None),
        // The host lives and does not do what was asked.
        Fault::Body | Fault::Protocol | Fault::HostKey | Fault::Auth | Fault::Exit(_) => ("body", None),
    }
}
