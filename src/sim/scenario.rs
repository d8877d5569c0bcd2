//! What a simulated world is made of, and what must hold in it: a file for people, in TOML.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Table;

/// A world and what happens in it. Times are seconds from its beginning.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people.
    pub name: String,
    /// How long it lasts, seconds.
    #[serde(default = "hour")]
    pub lasts_s: u32,
    /// What the records say, seconds.
    #[serde(default = "minute")]
    pub ttl_s: u32,
    /// How many nodes of capacity 1 there are, `n1` and so on, each at a site of its own; or they are listed in `node`.
    #[serde(default)]
    pub nodes: usize,
    /// The nodes, where they differ.
    #[serde(default)]
    pub node: Vec<SimNode>,
    /// Corners of the demand: second, and share of what all nodes say they can. Straight lines between them.
    pub demand: Vec<(f64, f64)>,
    /// What happens to nodes.
    #[serde(default)]
    pub event: Vec<Event>,
    /// What happens on the way between the witness and nodes.
    #[serde(default)]
    pub path: Vec<PathTrouble>,
    /// Processes that end under load.
    #[serde(default)]
    pub crash: Option<Crash>,
    /// What is assumed of clients, servers and networks.
    #[serde(default)]
    pub model: Model,
    /// Keys of `[policy]`, for every policy that has them.
    #[serde(default)]
    pub policy: Table,
    /// What must hold.
    #[serde(default)]
    pub expect: Vec<Expect>,
}

fn hour() -> u32 {
    3600
}

fn minute() -> u32 {
    60
}

/// A node of the world.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimNode {
    /// Its name.
    pub name: String,
    /// What it says it can; 1 is 1 Gbit/s.
    #[serde(default = "one")]
    pub capacity: f64,
    /// What it can, as a share of what it says.
    #[serde(default = "one")]
    pub truth: f64,
    /// Its site; by default one of its own.
    #[serde(default)]
    pub site: Option<String>,
}

fn one() -> f64 {
    1.0
}

/// What a node can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It gives no sign of life to anybody.
    Silent,
    /// Its process is gone: the kernel refuses.
    Refused,
    /// Its process accepts and answers nothing.
    Hung,
    /// It can do `factor` of what it could.
    Slow,
    /// It loses `loss` of the packets, for everybody.
    Lossy,
}

impl State {
    /// Whether it serves nobody then.
    #[must_use]
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Silent | Self::Refused | Self::Hung)
    }
}

/// Something that happens to nodes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// From when.
    pub from_s: f64,
    /// Until when; by default to the end.
    #[serde(default = "forever")]
    pub until_s: f64,
    /// Whom.
    pub nodes: Vec<String>,
    /// What they are.
    pub is: State,
    /// For `slow`: what they can, as a share; the last number of a straight line from 1 if `ramp`.
    #[serde(default = "one")]
    pub factor: f64,
    /// For `lossy`: the share of packets lost in each direction.
    #[serde(default)]
    pub loss: f64,
    /// Whether `factor` is reached only at the end.
    #[serde(default)]
    pub ramp: bool,
    /// It comes and goes: for `for_s` in every so many seconds.
    #[serde(default)]
    pub every_s: f64,
    /// See `every_s`.
    #[serde(default)]
    pub for_s: f64,
}

fn forever() -> f64 {
    f64::INFINITY
}

impl Event {
    /// Whether it is under way at second `now`.
    #[must_use]
    pub fn is_on(&self, now: f64) -> bool {
        if now < self.from_s || now >= self.until_s {
            return false;
        }
        self.every_s <= 0.0 || (now - self.from_s) % self.every_s < self.for_s
    }

    /// What the node can at second `now`, as a share.
    #[must_use]
    pub fn factor_at(&self, now: f64) -> f64 {
        if self.ramp && self.until_s.is_finite() {
            return 1.0 + (self.factor - 1.0) * (now - self.from_s) / (self.until_s - self.from_s);
        }
        self.factor
    }
}

/// Trouble that only the witness has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathTrouble {
    /// From when.
    pub from_s: f64,
    /// Until when.
    #[serde(default = "forever")]
    pub until_s: f64,
    /// The way to whom; empty: its own line, to all nodes and to the anchors.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// The share of packets lost in each direction.
    #[serde(default = "one")]
    pub loss: f64,
    /// It comes and goes by chance: this many blips in an hour on each way ...
    #[serde(default)]
    pub blips_per_hour: f64,
    /// ... of this mean length.
    #[serde(default)]
    pub blip_s: f64,
}

/// Processes that end under load, and are started again.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// Above what utilisation.
    pub above: f64,
    /// After how long there, on average.
    pub after_s: f64,
    /// For how long the port refuses then.
    pub for_s: f64,
}

/// Assumptions. None of them is measured; docs/simulation.md says what rests on which.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// φ: the share of clients that try another address when one is dead.
    pub fallback: f64,
    /// κ: how much of the work that failed is asked for again.
    pub retry: f64,
    /// β: the goodput that an overfull node loses for each unit of utilisation above 1.
    pub collapse: f64,
    /// K: what the queue at a node's way out holds, packets.
    pub queue: f64,
    /// The share of clients that keep an answer beyond its TTL ...
    pub stragglers: f64,
    /// ... for so long on average, seconds.
    pub straggle_s: f64,
    /// How long the registrar takes, seconds.
    pub api_s: f64,
    /// How much load wavers: the standard deviation as a share, over about 20 s.
    pub wavering: f64,
    /// How slow an overfull node answers at the most, seconds.
    pub slow_s: f64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            fallback: 0.5,
            retry: 0.5,
            collapse: 0.25,
            queue: 50.0,
            stragglers: 0.05,
            straggle_s: 1800.0,
            api_s: 4.0,
            wavering: 0.046,
            slow_s: 6.5,
        }
    }
}

/// What must hold, where what is `given` is there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Only with these: `load` figures, `relays`, a way to `shed`; with `!`, only without.
    pub given: Vec<String>,
    /// These are withdrawn within `within_s` of `from_s`.
    pub withdraw: Vec<String>,
    /// These are back in within `within_s` of `from_s`.
    pub reinstate: Vec<String>,
    /// The fleet is called this within `within_s` of `from_s`.
    pub fleet: Option<String>,
    /// From when.
    pub from_s: f64,
    /// See `withdraw`.
    pub within_s: f64,
    /// These are never withdrawn.
    pub never: Vec<String>,
    /// No node is withdrawn while it serves.
    pub no_living_withdrawn: bool,
    /// At most so many changes of the DNS.
    pub changes: Option<usize>,
    /// At least so many percent of the demand are served.
    pub served: Option<f64>,
}

impl Scenario {
    /// Reads one.
    ///
    /// # Errors
    /// Words that name the key and what belongs there.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut read: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if read.node.is_empty() {
            let made = |number: usize| SimNode { name: format!("n{number}"), capacity: 1.0, truth: 1.0, site: None };
            read.node = (1..=read.nodes).map(made).collect();
        } else if read.nodes != 0 && read.nodes != read.node.len() {
            return Err(format!("nodes = {}, but {} are listed; take one of the two out", read.nodes, read.node.len()));
        }
        read.checked()?;
        Ok(read)
    }

    fn checked(&self) -> Result<(), String> {
        if !(1..=64).contains(&self.node.len()) {
            return Err(format!("{} nodes; a world has 1 to 64 of them", self.node.len()));
        }
        if !(60..=86_400).contains(&self.lasts_s) {
            return Err(format!("lasts_s = {}; a world lasts from 60 s to a day (86400)", self.lasts_s));
        }
        if !(2..=86_400).contains(&self.ttl_s) {
            return Err(format!("ttl_s = {}; it must be from 2 to 86400", self.ttl_s));
        }
        let names: BTreeSet<&str> = self.node.iter().map(|node| node.name.as_str()).collect();
        if names.len() < self.node.len() {
            return Err("two nodes have one name".to_owned());
        }
        for node in &self.node {
            crate::model::Name::new(&node.name).map_err(|error| format!("node {:?}: {error}", node.name))?;
            within(&format!("capacity of {}", node.name), node.capacity, 0.001, 1000.0)?;
            within(&format!("truth of {}", node.name), node.truth, 0.001, 10.0)?;
        }
        let rising = self.demand.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b));
        if self.demand.is_empty() || !rising {
            return Err("demand must be corners [second, share] in the order of time, at least one".to_owned());
        }
        for (second, share) in &self.demand {
            within("a corner of the demand", *share, 0.0, 100.0)?;
            within("the second of a corner", *second, 0.0, 1e6)?;
        }
        let known = |of: &str, listed: &[String]| match listed.iter().find(|name| !names.contains(name.as_str())) {
            Some(name) => Err(format!("{of}: there is no node {name:?}")),
            None => Ok(()),
        };
        for event in &self.event {
            known("event", &event.nodes)?;
            within("factor", event.factor, 0.001, 10.0)?;
            within("loss", event.loss, 0.0, 1.0)?;
        }
        for path in &self.path {
            known("path", &path.nodes)?;
            within("loss", path.loss, 0.0, 1.0)?;
        }
        for expect in &self.expect {
            let listed = [&expect.withdraw, &expect.reinstate, &expect.never];
            listed.into_iter().try_for_each(|nodes| known("expect", nodes))?;
            let given = |one: &String| matches!(one.trim_start_matches('!'), "load" | "relays" | "shed");
            if let Some(other) = expect.given.iter().find(|one| !given(one)) {
                return Err(format!("given: {other:?} is none of load, relays, shed, or one of them with a !"));
            }
        }
        let model = &self.model;
        let shares = [("fallback", model.fallback), ("retry", model.retry), ("stragglers", model.stragglers)];
        shares.into_iter().try_for_each(|(name, share)| within(name, share, 0.0, 0.999))?;
        within("queue", model.queue, 1.0, 100_000.0)?;
        within("collapse", model.collapse, 0.0, 10.0)?;
        within("wavering", model.wavering, 0.0, 1.0)?;
        within("api_s", model.api_s, 0.0, 3600.0)
    }

    /// What is asked for at second `now`, as a share of what all nodes say they can.
    #[must_use]
    pub fn demand_at(&self, now: f64) -> f64 {
        let after = self.demand.partition_point(|(second, _)| *second <= now);
        match (after.checked_sub(1).and_then(|before| self.demand.get(before)), self.demand.get(after)) {
            (Some((from, low)), Some((to, high))) => low + (high - low) * (now - from) / (to - from),
            (Some((_, share)), None) | (None, Some((_, share))) => *share,
            (None, None) => 0.0,
        }
    }
}

fn within(what: &str, value: f64, low: f64, high: f64) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("{what} is {value}; it must be from {low} to {high}"))
    }
}
