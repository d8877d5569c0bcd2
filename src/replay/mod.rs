//! Recorded or simulated observations in, judgements out: the same rule as the daemon's, without a clock or a network.
//!
//! It reads the trace format line by line. What a line means is decided here; what follows from it, by the rule alone.

mod engine;
mod event;
mod fields;
mod lines;
mod open;
mod reader;
mod said;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Judgement, NodeId, Policy};

pub use engine::{Engine, Family, Member};
pub use event::{Act, Entry, Event, Expectation, Header, TrueState, What};
pub use reader::{Reader, Wanted};

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
    reader: Reader,
    world: Option<World>,
}

/// The engine of one trace, fed with what its lines say.
#[derive(Debug)]
pub struct World {
    engine: Engine,
    nodes: Vec<NodeId>,
}

impl Replay {
    /// A replay that waits for its header.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, reader: Reader::new(Wanted::ForTheRule), world: None }
    }

    /// Takes a line; a `tick` gives a judgement as one line of JSON, everything else nothing.
    ///
    /// # Errors
    /// [`ReplayError`] when the line is not of the format. The replay can go on with the next.
    pub fn line(&mut self, text: &str) -> Result<Option<String>, ReplayError> {
        let Some(Entry { line, t, event }) = self.reader.line(text)? else { return Ok(None) };
        if let Event::Header(header) = &event {
            let world = World::new(header, &self.options).map_err(|why| ReplayError::Line { line, why })?;
            self.world = Some(world);
            return Ok(None);
        }
        let Some(world) = &mut self.world else {
            let why = "the header before it could not be taken".to_owned();
            return Err(ReplayError::Line { line, why });
        };
        world.at(t);
        if event == Event::Tick {
            let judgement = world.judge();
            return Ok(Some(said::line(world.engine.last_ms(), &judgement)));
        }
        world.take(event);
        Ok(None)
    }

    /// Lines of kinds that are not known, by kind.
    #[must_use]
    pub fn ignored(&self) -> &BTreeMap<String, usize> {
        &self.reader.ignored
    }
}

impl World {
    /// The world of a header: nothing seen yet, and every node published.
    ///
    /// # Errors
    /// Words, when the header's policy has mistakes or its fleet has none.
    pub fn new(header: &Header, options: &Options) -> Result<Self, String> {
        let policy = match &options.policy {
            Some(policy) => policy.clone(),
            None => header.policy()?,
        };
        let mut engine = Engine::new(policy, header.members(), header.ttl(), header.can)?;
        for node in &header.fleet {
            engine.addressed(&node.n, &node.families);
        }
        if header.anchors.is_some_and(|anchors| anchors > 0) {
            engine.expect_anchors();
        }
        Ok(Self { engine, nodes: header.nodes() })
    }

    /// What it goes by.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// From now on it is `t_ms`, which must not be earlier than before; none: no time has passed.
    pub fn at(&mut self, t_ms: Option<i64>) {
        if let Some(t_ms) = t_ms {
            self.engine.at(t_ms);
        }
    }

    /// Judges what came since the last time.
    pub fn judge(&mut self) -> Judgement {
        self.engine.judge()
    }

    /// Takes in what a line says. What is not for the rule to know, it is not shown.
    pub fn take(&mut self, event: Event) {
        let id = |place: usize| self.nodes[place].clone();
        match event {
            Event::Observed { node, place, probe, outcome, measured, age } => {
                let id = id(node);
                self.engine.observed_before(id, place, age, probe, outcome, measured);
            }
            Event::Anchors { age, ok, of } => self.engine.controlled_before(age, ok, of),
            Event::Published { set, without, ttl_s } => {
                let ids: BTreeSet<NodeId> = set.into_iter().map(id).collect();
                let without: Vec<_> = without.into_iter().map(|(node, place)| (id(node), place)).collect();
                self.engine.published_without(&ids, &without, ttl_s);
            }
            Event::Clock { wall_step_ms, paused } => self.engine.clock(wall_step_ms, paused),
            Event::Pin { node, pin } => {
                let id = id(node);
                self.engine.pinned(id, pin);
            }
            Event::Request { node, kind, force } => {
                let id = id(node);
                self.engine.requested(id, kind, force);
            }
            Event::Load { age, mut figure } => {
                figure.at = self.engine.now().wall.minus(age);
                self.engine.loaded(*figure);
            }
            Event::Ask { age, mut ask } => {
                ask.at = self.engine.now().wall.minus(age);
                self.engine.asked(*ask);
            }
            Event::Header(_)
            | Event::Tick
            | Event::Act(_)
            | Event::Truth { .. }
            | Event::Expect(_)
            | Event::End
            | Event::Other => {}
        }
    }
}
