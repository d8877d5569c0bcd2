//! A fleet that is probed at two speeds and judged in a closed loop through the lines of a trace.
//!
//! Everything is deterministic: a step of 2 s, a round of each node every 10 s, every 2 s of those that the last
//! judgement doubts. What a probe comes back with arrives when it would: a silent port after 4 s, a hung one after 8.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use witness::model::Policy;
use witness::replay::{Options, Replay};

const STEP_MS: i64 = 2_000;
const INTERVAL_MS: i64 = 10_000;
/// How long the registrar takes.
const API_MS: i64 = 4_000;
const CAPACITY: u64 = 1_000_000_000;

/// How a node looks to somebody who probes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    Fine,
    /// No sign of life, to anybody.
    Silent,
    /// No sign of life to the witness; others reach it.
    CutOff,
    Refused,
    /// A firewall rejects, and says so to one in three.
    Rejected,
    /// It accepts and answers nothing.
    Hung,
    /// Status 500.
    Wrong,
    /// Status 404.
    Missing,
    /// Status 503.
    Shedding,
    /// As overload looks: some handshakes late, some never, echoes lost.
    Full,
    /// Every check of SSH fails, nothing else.
    NoSsh,
}

pub(crate) struct Scene {
    nodes: usize,
    pub(crate) header: Value,
    looks: Box<dyn Fn(usize, i64) -> Looks>,
    /// Percent of its capacity that a node sends.
    pub(crate) load: Option<Box<dyn Fn(usize, i64) -> u64>>,
    /// Whether the anchors answer.
    pub(crate) anchors: Box<dyn Fn(i64) -> bool>,
    pub(crate) policy: Option<Policy>,
    /// Lines said at their time, beside those of the scene.
    pub(crate) more: Vec<(i64, Value)>,
}

/// What was done when.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// Time, action, node (empty for the fleet), rule.
    pub(crate) actions: Vec<(i64, String, String, String)>,
    /// The first time that each guard held each node's change.
    pub(crate) holds: BTreeMap<(String, String), i64>,
    pub(crate) fleet: BTreeSet<String>,
    pub(crate) verdicts: BTreeSet<(String, String)>,
    pub(crate) steps: BTreeSet<u64>,
    pub(crate) published: BTreeSet<usize>,
    pub(crate) lines: Vec<String>,
    pub(crate) answers: Vec<String>,
}

impl Story {
    pub(crate) fn when(&self, action: &str, node: &str) -> Option<i64> {
        self.actions.iter().find(|(_, a, n, _)| a == action && n == node).map(|one| one.0)
    }

    pub(crate) fn withdrawn(&self) -> Vec<&str> {
        self.actions.iter().filter(|one| one.1 == "withdraw").map(|one| one.2.as_str()).collect()
    }

    pub(crate) fn rule(&self, action: &str, node: &str) -> Option<&str> {
        self.actions.iter().find(|(_, a, n, _)| a == action && n == node).map(|one| one.3.as_str())
    }

    pub(crate) fn is_held(&self, node: &str, guard: &str) -> bool {
        self.holds.contains_key(&(node.to_owned(), guard.to_owned()))
    }
}

impl Scene {
    pub(crate) fn of(nodes: usize, looks: impl Fn(usize, i64) -> Looks + 'static) -> Self {
        let fleet: Vec<Value> =
            (1..=nodes).map(|n| json!({"n": format!("n{n}"), "site": format!("s{n}"), "cap_bps": CAPACITY})).collect();
        let header = json!({"k": "header", "format": "witness-trace", "v": 1, "ttl_s": 60, "fleet": fleet,
            "witnesses": ["w1"], "policy": {}});
        Self {
            nodes,
            header,
            looks: Box::new(looks),
            load: None,
            anchors: Box::new(|_| true),
            policy: None,
            more: Vec::new(),
        }
    }

    pub(crate) fn with_relays(mut self) -> Self {
        self.header["relays"] = true.into();
        self
    }

    pub(crate) fn with_shed(mut self) -> Self {
        self.header["shed"] = true.into();
        self
    }

    pub(crate) fn with_load(mut self, load: impl Fn(usize, i64) -> u64 + 'static) -> Self {
        self.load = Some(Box::new(load));
        self
    }

    pub(crate) fn policy(mut self, key: &str, value: Value) -> Self {
        self.header["policy"][key] = value;
        self
    }

    /// Runs until `end_ms`.
    pub(crate) fn run(self, end_ms: i64) -> Story {
        let mut story = Story { published: (1..=self.nodes).collect(), ..Story::default() };
        let mut replay = Replay::new(Options { policy: self.policy.clone() });
        // By time, then in the order in which they were made.
        let mut due: BTreeMap<(i64, u64), Value> = BTreeMap::new();
        let mut made = 0;
        let mut later = |at: i64, line: Value, due: &mut BTreeMap<(i64, u64), Value>| {
            made += 1;
            due.insert((at, made), line);
        };
        let mut next: BTreeMap<usize, i64> = (1..=self.nodes).map(|node| (node, 0)).collect();
        let mut fast: BTreeSet<usize> = BTreeSet::new();
        let mut ask: BTreeSet<usize> = BTreeSet::new();
        let mut planned = story.published.clone();
        say(&mut replay, &mut story, &self.header);
        for (at, line) in &self.more {
            later(*at, line.clone(), &mut due);
        }
        for now in (0..=end_ms).step_by(STEP_MS as usize) {
            for (node, next) in &mut next {
                let node = *node;
                let looks = (self.looks)(node, now);
                if ask.contains(&node) {
                    for via in (1..=self.nodes).filter(|via| (self.looks)(*via, now) == Looks::Fine).take(3) {
                        let o = if looks == Looks::Silent { "timeout" } else { "ok" };
                        let line = json!({"k": "ask", "via": format!("n{via}"), "n": format!("n{node}"), "p": "tcp443", "o": o});
                        later(now + STEP_MS, line, &mut due);
                    }
                }
                if now >= *next {
                    *next = now + if fast.contains(&node) { STEP_MS } else { INTERVAL_MS };
                    for (after, line) in round(looks, node, now) {
                        later(now + after, line, &mut due);
                    }
                    if let Some(load) = &self.load {
                        let tx = load(node, now) * (CAPACITY / 100);
                        let dead = matches!(looks, Looks::Silent | Looks::CutOff);
                        let line = json!({"k": "load", "n": format!("n{node}"), "src": "metrics", "tx_bps": tx});
                        if !dead {
                            later(now + 100, line, &mut due);
                        }
                    }
                }
            }
            let ok = if (self.anchors)(now) { 3 } else { 0 };
            later(now + 50, json!({"k": "ctl", "ok": ok, "of": 3}), &mut due);
            let tick = now + STEP_MS - 1;
            let rest = due.split_off(&(tick + 1, 0));
            for ((at, _), mut line) in std::mem::replace(&mut due, rest) {
                line["t"] = at.into();
                say(&mut replay, &mut story, &line);
            }
            let answer = say(&mut replay, &mut story, &json!({"k": "tick", "t": tick})).expect("a tick is answered");
            note(&mut story, tick, &answer);
            let names = |list: &Value| -> BTreeSet<usize> { list.as_array().unwrap().iter().map(number).collect() };
            (fast, ask) = (names(&answer["probe"]["fast"]), names(&answer["probe"]["ask"]));
            for node in &fast {
                next.entry(*node).and_modify(|next| *next = (*next).min(now + STEP_MS));
            }
            let before = planned.clone();
            for action in answer["actions"].as_array().unwrap() {
                match action["a"].as_str().unwrap() {
                    "withdraw" => _ = planned.remove(&number(&action["n"])),
                    "reinstate" => _ = planned.insert(number(&action["n"])),
                    _ => {}
                }
            }
            if planned != before {
                let set: Vec<String> = planned.iter().map(|n| format!("n{n}")).collect();
                later(tick + API_MS, json!({"k": "dns", "set": set, "ttl_s": 60, "src": "published"}), &mut due);
            }
            story.published = planned.clone();
        }
        story
    }
}

fn number(name: &Value) -> usize {
    name.as_str().unwrap()[1..].parse().unwrap()
}

fn say(replay: &mut Replay, story: &mut Story, line: &Value) -> Option<Value> {
    let text = line.to_string();
    let answer = replay.line(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    story.lines.push(text);
    let answer = answer?;
    let value = serde_json::from_str(&answer).unwrap();
    story.answers.push(answer);
    Some(value)
}

fn note(story: &mut Story, at: i64, answer: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for action in answer["actions"].as_array().unwrap() {
        story.actions.push((at, text(&action["a"]), text(&action["n"]), text(&action["rule"])));
        story.steps.extend(action["step"].as_u64());
    }
    for hold in answer["holds"].as_array().unwrap() {
        story.holds.entry((text(&hold["n"]), text(&hold["guard"]))).or_insert(at);
    }
    story.fleet.insert(text(&answer["fleet"]));
    for node in answer["nodes"].as_array().unwrap() {
        story.verdicts.insert((text(&node["n"]), text(&node["verdict"])));
    }
}

/// What the probes of one round come back with, and after how long.
fn round(looks: Looks, node: usize, now: i64) -> Vec<(i64, Value)> {
    let n = format!("n{node}");
    let obs = |p: &str, rest: Value| {
        let mut line = json!({"k": "obs", "w": "w1", "n": n, "p": p});
        line.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        line
    };
    let echoes = |got: u32| obs("icmp", json!({"sent": 3, "got": got, "rtt_us": 20_000}));
    let answer = |connect: u32, o: &str, status: u16| {
        let (first, total) = (connect + 60_000, connect + 70_000);
        obs("https", json!({"o": o, "status": status, "connect_us": connect, "ttfb_us": first, "total_us": total}))
    };
    let banner = || (90, obs("ssh", json!({"o": "ok", "total_us": 64_000})));
    let no_banner = || (4_000, obs("ssh", json!({"o": "timeout", "stage": "connect", "total_us": 4_000_000})));
    let no_answer = |stage: &str, total: u32| obs("https", json!({"o": "timeout", "stage": stage, "total_us": total}));
    let fine = || (80, answer(10_000, "ok", 200));
    match looks {
        Looks::Fine => vec![(30, echoes(3)), fine(), banner()],
        Looks::Silent | Looks::CutOff => {
            vec![(2_000, echoes(0)), (4_000, no_answer("connect", 4_000_000)), no_banner()]
        }
        Looks::Refused => {
            vec![(30, echoes(3)), (31, obs("https", json!({"o": "refused", "total_us": 31_000}))), banner()]
        }
        Looks::Rejected => {
            let refused = |p: &str| obs(p, json!({"o": "refused", "total_us": 31_000}));
            let says = now / STEP_MS % 3 == 0;
            let https = if says { (31, refused("https")) } else { (4_000, no_answer("connect", 4_000_000)) };
            vec![(2_000, echoes(0)), https, no_banner()]
        }
        Looks::Hung => vec![(30, echoes(3)), (8_000, no_answer("request", 8_000_000)), banner()],
        Looks::Wrong => vec![(30, echoes(3)), (80, answer(10_000, "http_5xx", 500)), banner()],
        Looks::Missing => vec![(30, echoes(3)), (80, answer(10_000, "http_4xx", 404)), banner()],
        Looks::Shedding => vec![(30, echoes(3)), (80, answer(10_000, "shed", 503)), banner()],
        Looks::NoSsh => vec![(30, echoes(3)), fine(), no_banner()],
        Looks::Full => {
            // A third of the handshakes never, a third late, by a pattern that is another one for each node.
            let turn = (now / STEP_MS + node as i64 * 5) % 6;
            let https = match turn {
                0 | 3 => (4_000, no_answer("connect", 4_000_000)),
                1 | 4 => (1_080, answer(1_030_000, "ok", 200)),
                _ => (700, answer(20_000, "ok", 200)),
            };
            vec![(30, echoes(if turn % 2 == 0 { 2 } else { 3 })), https, banner()]
        }
    }
}
