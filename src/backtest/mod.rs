//! A recording against a policy: what would have been decided, beside what was, what was true and what was expected.
//!
//! This is an open loop. The recording says what was seen, and goes on to say it whatever is decided here; what the fleet
//! would have done after another decision it cannot tell. So the first decision that the recorded record sets do not follow
//! ends what can be relied on, and everything later is marked as beyond the recording.
//!
//! ```text
//! text ──▶ Reader ──▶ Pace ──▶ World (the rule) ──▶ Decided ─┬─▶ Followed   do the recorded sets follow?
//!          (a thread  when to                                ├─▶ Truths     was it dead?
//!           of its own) judge                                └─▶ Events     what expectations ask about
//! ```
//!
//! What is kept grows with what is decided, held and struck, and not with the length of the recording.

mod events;
mod followed;
mod pace;
mod repeats;
mod report;
mod run;
mod truths;

use crate::model::{ActionKind, NodeId};
use crate::replay::{Act, Entry, Event, Expectation, Options, ReplayError, World};

use events::Events;
use followed::Followed;
use pace::{Due, Pace};
use repeats::Repeats;
use truths::Truths;

pub use report::{Beyond, Checked, Death, Decision, Living, Parting, Recorded, Report};
pub use run::{BacktestError, run};

/// How long the recorded record sets may take to follow a decision, ms: what a registrar and its name servers take.
pub const FOLLOW_MS: i64 = 90_000;

/// A recording on its way through the rule.
#[derive(Debug)]
pub struct Backtest {
    options: Options,
    stage: Option<Stage>,
    pace: Pace,
}

/// What there is from the header on.
#[derive(Debug)]
struct Stage {
    world: World,
    nodes: Vec<NodeId>,
    /// The place in the header's fleet of each node in the judgement's order.
    places: Vec<usize>,
    report: Report,
    asked: Repeats,
    acted: Repeats,
    followed: Followed,
    truths: Truths,
    events: Events,
    expected: Vec<Expectation>,
}

impl Backtest {
    /// One that waits for the header.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, stage: None, pace: Pace::default() }
    }

    /// Takes what a line says.
    ///
    /// # Errors
    /// [`ReplayError`] when the header cannot be used, or is the second one.
    pub fn take(&mut self, entry: Entry) -> Result<(), ReplayError> {
        let line = entry.line;
        if let Event::Header(header) = &entry.event {
            let refuse = |why: String| Err(ReplayError::Line { line, why });
            if self.stage.is_some() {
                return refuse("a second header; a trace has one, and is in a file of its own".to_owned());
            }
            if let Err(why) = self.pace.begin(header.tick_ms) {
                return refuse(why);
            }
            let world = match World::new(header, &self.options) {
                Ok(world) => world,
                Err(why) => return refuse(why),
            };
            self.stage = Some(Stage::new(world, header.nodes(), header.name.clone(), header.origin.clone()));
            return Ok(());
        }
        let Some(stage) = &mut self.stage else { return Ok(()) };
        self.pace.take(entry, &mut |due| stage.due(due));
        Ok(())
    }

    /// What came of it; none where there was no header.
    #[must_use]
    pub fn end(mut self) -> Option<Report> {
        let mut stage = self.stage?;
        self.pace.end(&mut |due| stage.due(due));
        Some(stage.end())
    }
}

impl Stage {
    fn new(world: World, nodes: Vec<NodeId>, name: Option<String>, origin: Option<String>) -> Self {
        let mut places: Vec<usize> = (0..nodes.len()).collect();
        places.sort_by_key(|place| &nodes[*place]);
        let report = Report { name, origin, nodes: nodes.clone(), ..Report::default() };
        Self {
            world,
            places,
            report,
            asked: Repeats::default(),
            acted: Repeats::default(),
            followed: Followed::new(nodes.len()),
            truths: Truths::default(),
            events: Events::default(),
            expected: Vec::new(),
            nodes,
        }
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Tick(t) => self.tick(t),
            Due::Paused(t) => {
                self.world.at(Some(t));
                self.world.take(Event::Clock { wall_step_ms: 0, paused: true });
            }
            Due::Line(t, event) => self.told(t, event),
        }
    }

    fn told(&mut self, t: i64, event: Event) {
        if let Event::Expect(expectation) = event {
            // Of no time of its own.
            self.expected.push(*expectation);
            return;
        }
        self.world.at(Some(t));
        self.report.first_ms.get_or_insert(t);
        self.report.last_ms = t;
        match event {
            Event::Published { ref set, ref without, .. } => {
                let (asked, acted, truths) = (&mut self.asked, &mut self.acted, &mut self.truths);
                let begun = self.report.ticks > 0;
                self.followed.published(t, set, without, begun, &mut self.report.decisions, &mut |node, kind| {
                    asked.done(kind, Some(node));
                    acted.done(kind, Some(node));
                    if kind == ActionKind::Withdraw {
                        truths.left(t, node);
                    }
                });
                self.world.take(event);
            }
            Event::Act(act) => self.acted(t, *act),
            Event::Truth { node, state } => self.truths.told(t, node, state, self.followed.is_in(node)),
            other => self.world.take(other),
        }
    }

    fn acted(&mut self, t: i64, act: Act) {
        if !self.acted.is_again(t, act.kind, act.node, act.step, &act.rule) {
            let Act { kind, node, step, rule } = act;
            self.report.recorded.push(Recorded { t, kind, node, step, rule, decided: None });
        }
    }

    fn tick(&mut self, t: i64) {
        self.world.at(Some(t));
        let judgement = self.world.judge();
        self.report.ticks += 1;
        self.report.last_ms = self.report.last_ms.max(t);
        for action in judgement.actions {
            let node = action.node.as_ref().and_then(|id| self.place(id));
            if let (ActionKind::Withdraw, Some(node)) = (action.kind, node) {
                self.truths.withdrawn(t, node);
            }
            if self.asked.is_again(t, action.kind, node, action.step, &action.rule) {
                continue;
            }
            if let (ActionKind::Withdraw, Some(node)) = (action.kind, node) {
                self.truths.decided(t, node, &action.rule);
            }
            let place = self.report.decisions.len();
            self.followed.decided(place, t, action.kind, node);
            self.report.decisions.push(Decision {
                t,
                kind: action.kind,
                node,
                step: action.step,
                rule: action.rule,
                why: action.why,
                followed: None,
                recorded: None,
                beyond: false,
            });
        }
        for hold in &judgement.holds {
            if let Some(node) = self.place(&hold.node) {
                self.events.held(t, node, hold.guard);
            }
        }
        for (judged, place) in judgement.nodes.iter().zip(&self.places) {
            if judged.strikes > 0 {
                self.events.struck(t, *place);
            }
        }
        self.events.judged(t);
        self.followed.wait(t, &self.report.decisions);
    }

    /// The place of a node in the header's fleet.
    fn place(&self, id: &NodeId) -> Option<usize> {
        let at = self.places.binary_search_by(|place| self.nodes[*place].cmp(id)).ok()?;
        self.places.get(at).copied()
    }

    fn end(self) -> Report {
        let mut report = self.report;
        report.rounds = self.world.engine().rounds_judged();
        report.beyond = self.followed.beyond();
        let beyond = report.beyond.as_ref().map_or(i64::MAX, |beyond| beyond.t);
        for decision in &mut report.decisions {
            decision.beyond = decision.t > beyond;
        }
        report::pair(&mut report.decisions, &mut report.recorded);
        self.truths.end(&mut report);
        for expectation in &self.expected {
            self.events.check(expectation, beyond, &mut report);
        }
        report
    }
}
