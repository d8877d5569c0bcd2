//! The loop: the world goes on by a step, probes come back, the pilot acts, and what it did comes true a little later.

use std::collections::BTreeMap;

use crate::model::{AskOutcome, Outcome as ProbeOutcome, ProbeKind};

use super::noise::Noise;
use super::outcome::{Death, Done, Outcome, Sample};
use super::pilot::{Move, News, Pilot};
use super::probes::Way;
use super::scenario::{PathTrouble, Scenario};
use super::steering::Steering;
use super::trace::Scribe;
use super::world::{STEP_S, World};

const STEP_MS: i64 = (STEP_S * 1000.0) as i64;
/// How often the anchors are asked while all is well, milliseconds.
const ANCHORS_MS: i64 = 10_000;
const ANCHORS: u32 = 3;
/// How long a try to connect takes at the most, milliseconds.
const CONNECT_MS: i64 = 4_000;
/// How many other nodes are asked.
const RELAYS: usize = 3;
const SAMPLE_MS: i64 = 10_000;

/// What to keep of a run beside its figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Samples for a picture.
    pub samples: bool,
    /// The lines of a trace.
    pub trace: bool,
}

/// Lives through `scenario` with `seed`, steered by `steering`. Returns what became of it, and the trace if it was asked for.
///
/// # Errors
/// Words, when the scenario's policy has mistakes.
pub fn run(scenario: &Scenario, steering: &Steering, seed: u64, keep: Run) -> Result<(Outcome, Vec<String>), String> {
    let mut pilot = steering.pilot(scenario)?;
    let scribe = keep.trace.then(|| Scribe::new(scenario, steering));
    let mut stage = Stage::new(scenario, seed, scribe);
    for step in 0..u64::from(scenario.lasts_s).div_ceil(STEP_S as u64) {
        stage.step(step, pilot.as_mut(), keep);
    }
    Ok(stage.end())
}

struct Stage<'a> {
    scenario: &'a Scenario,
    noise: Noise,
    world: World<'a>,
    blips: Vec<Vec<Vec<(f64, f64)>>>,
    due: BTreeMap<(i64, u64), News>,
    made: u64,
    next_round: Vec<i64>,
    next_anchors: i64,
    planned: Vec<bool>,
    writes: Vec<(i64, Vec<usize>)>,
    step: u8,
    deaths: Vec<Option<usize>>,
    outcome: Outcome,
    scribe: Option<Scribe>,
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario, seed: u64, scribe: Option<Scribe>) -> Self {
        let (noise, nodes) = (Noise::of(seed), scenario.node.len());
        Self {
            scenario,
            noise,
            world: World::new(scenario, noise.at(1)),
            blips: blips(scenario, noise.at(2)),
            due: BTreeMap::new(),
            made: 0,
            // Spread over the interval, at whole steps.
            next_round: (0..nodes).map(|node| noise.at(3).at(node as u64).whole(0, 4) as i64 * STEP_MS).collect(),
            next_anchors: 0,
            planned: vec![true; nodes],
            writes: Vec::new(),
            step: 0,
            deaths: vec![None; nodes],
            outcome: Outcome::default(),
            scribe,
        }
    }

    fn later(&mut self, at_ms: i64, news: News) {
        self.made += 1;
        self.due.insert((at_ms, self.made), news);
    }

    fn step(&mut self, step: u64, pilot: &mut dyn Pilot, keep: Run) {
        let now = step as f64 * STEP_S;
        let now_ms = step as i64 * STEP_MS;
        while self.writes.first().is_some_and(|(at, _)| *at <= now_ms) {
            let (_, set) = self.writes.remove(0);
            self.world.published.clone_from(&set);
            self.later(now_ms, News::Published(set));
            self.outcome.changes += 1;
        }
        self.world.step(step, now);
        self.live_and_die(now_ms);
        self.look(step, now, now_ms, pilot);
        let tick_ms = now_ms + STEP_MS - 1;
        let rest = self.due.split_off(&(tick_ms + 1, 0));
        for ((at_ms, _), news) in std::mem::replace(&mut self.due, rest) {
            if let News::Probe { seen, .. } = &news
                && matches!(seen.outcome, ProbeOutcome::Failed(_))
            {
                // Whose fault it was, the anchors tell.
                self.next_anchors = now_ms;
            }
            if let Some(scribe) = &mut self.scribe {
                scribe.hears(at_ms, &news);
            }
            pilot.hear(at_ms, &news);
        }
        self.act(tick_ms, pilot);
        for node in 0..self.next_round.len() {
            self.next_round[node] = self.next_round[node].min(now_ms + pilot.every_ms(node).max(STEP_MS));
        }
        self.outcome.brownout += (1.0 - self.world.let_through) * STEP_S / 60.0;
        if let Some((fleet, _)) = pilot.verdicts()
            && self.outcome.fleet.last().is_none_or(|(_, last)| *last != fleet)
        {
            self.outcome.fleet.push((tick_ms, fleet));
        }
        self.outcome.holds.extend(pilot.holds());
        if keep.samples && now_ms % SAMPLE_MS == 0 {
            self.sample(tick_ms, pilot);
        }
    }

    /// Who stopped serving or began again.
    fn live_and_die(&mut self, now_ms: i64) {
        for (node, body) in self.world.bodies.iter().enumerate() {
            match (body.is_alive(), self.deaths[node]) {
                (false, None) => {
                    self.deaths[node] = Some(self.outcome.deaths.len());
                    let death = Death { node, at_ms: now_ms, out_ms: None, back_ms: None, in_ms: None };
                    self.outcome.deaths.push(death);
                }
                (true, Some(death)) => {
                    self.outcome.deaths[death].back_ms = Some(now_ms);
                    self.deaths[node] = None;
                }
                (true, None) | (false, Some(_)) => continue,
            }
            if let Some(scribe) = &mut self.scribe {
                scribe.truth(now_ms, node, body.state);
            }
        }
    }

    /// Begins the probes that are due.
    fn look(&mut self, step: u64, now: f64, now_ms: i64, pilot: &dyn Pilot) {
        for node in 0..self.scenario.node.len() {
            let noise = self.noise.at(4).at(node as u64).at(step);
            if pilot.asks(node) {
                self.ask_others(node, now, now_ms, noise.at(7));
            }
            if now_ms < self.next_round[node] {
                continue;
            }
            self.next_round[node] = now_ms + pilot.every_ms(node).max(STEP_MS);
            let body = self.world.bodies[node];
            let way = Way::over(self.path_loss(Some(node), now), &body, &self.scenario.model);
            let round = way.round(noise);
            let tells =
                |kind: ProbeKind| round.iter().any(|seen| seen.probe == kind && seen.outcome == ProbeOutcome::Passed);
            if tells(ProbeKind::Https) || tells(ProbeKind::Ssh) {
                self.later(now_ms + 100, News::Load { node, sends: body.sends, step: self.step });
            }
            for seen in round {
                let after_ms = i64::from(seen.measured.total_us.div_ceil(1000));
                self.later(now_ms + after_ms, News::Probe { node, seen });
            }
        }
        if now_ms >= self.next_anchors {
            self.next_anchors = now_ms + ANCHORS_MS;
            let loss = self.path_loss(None, now);
            let noise = self.noise.at(5).at(step);
            let answers = |anchor: &u32| {
                let noise = noise.at(u64::from(*anchor));
                // SYNs at 0, 1 and 3 s, each with its answer.
                (0..3).any(|number| noise.at(number).is((1.0 - loss) * (1.0 - loss)))
            };
            let ok = (0..ANCHORS).filter(answers).count() as u32;
            let after = if ok == ANCHORS { 50 } else { CONNECT_MS };
            self.later(now_ms + after, News::Anchors { ok, of: ANCHORS });
        }
    }

    /// Up to three others try the public address of `node`.
    fn ask_others(&mut self, node: usize, now: f64, now_ms: i64, noise: Noise) {
        let site = |place: usize| self.scenario.node[place].site.as_ref();
        let mut others: Vec<usize> = (0..self.scenario.node.len()).filter(|other| *other != node).collect();
        others.retain(|other| self.world.bodies[*other].is_alive() && self.path_loss(Some(*other), now) < 0.9);
        // Whoever stands elsewhere first.
        others.sort_by_key(|other| site(*other).is_some() && site(*other) == site(node));
        others.truncate(RELAYS);
        for via in others {
            let noise = noise.at(via as u64);
            let (body, asker) = (self.world.bodies[node], self.world.bodies[via]);
            let reached = Way::over(asker.egress_loss.max(asker.loss), &body, &self.scenario.model).is_reached(noise);
            let heard = Way::over(self.path_loss(Some(via), now), &asker, &self.scenario.model).is_reached(noise.at(9));
            let (outcome, after) = match (heard, reached) {
                (false, _) => (AskOutcome::Unknown, CONNECT_MS),
                (true, true) => (AskOutcome::Reached, 100),
                (true, false) => (AskOutcome::Nothing, CONNECT_MS),
            };
            self.later(now_ms + after, News::Ask { via, node, outcome });
        }
    }

    /// What is lost in each direction between the witness and a node, or the anchors.
    fn path_loss(&self, node: Option<usize>, now: f64) -> f64 {
        let mut kept = 1.0;
        for (path, blips) in self.scenario.path.iter().zip(&self.blips) {
            let concerns = match node {
                Some(node) => path.nodes.is_empty() || path.nodes.contains(&self.scenario.node[node].name),
                None => path.nodes.is_empty(),
            };
            let on = (path.from_s..path.until_s).contains(&now);
            let blip = || {
                let own = &blips[node.unwrap_or(0)];
                path.blips_per_hour <= 0.0 || own.iter().any(|(from, until)| (*from..*until).contains(&now))
            };
            if concerns && on && blip() {
                kept *= 1.0 - path.loss;
            }
        }
        1.0 - kept
    }

    fn act(&mut self, tick_ms: i64, pilot: &mut dyn Pilot) {
        let dead: Vec<bool> = self.world.bodies.iter().map(|body| !body.is_alive()).collect();
        if let Some(scribe) = &mut self.scribe {
            scribe.tick(tick_ms);
        }
        let before = self.planned.clone();
        for what in pilot.act(tick_ms, &dead) {
            let mut alive = false;
            match what.what {
                Move::Withdraw(node) => {
                    alive = !dead[node];
                    self.planned[node] = false;
                    if let Some(death) = self.deaths[node].and_then(|death| self.outcome.deaths.get_mut(death)) {
                        death.out_ms.get_or_insert(tick_ms);
                    }
                }
                Move::Reinstate(node) => {
                    self.planned[node] = true;
                    let last = self.outcome.deaths.iter_mut().rev().find(|death| death.node == node);
                    if let Some(death) = last.filter(|death| death.back_ms.is_some() && death.out_ms.is_some()) {
                        death.in_ms.get_or_insert(tick_ms);
                    }
                }
                Move::Shed { step, percent } => {
                    self.step = step;
                    self.world.let_through = f64::from(percent) / 100.0;
                }
                Move::Alert(_) => {}
            }
            if let Some(scribe) = &mut self.scribe {
                scribe.act(tick_ms, &what);
            }
            self.outcome.done.push(Done { at_ms: tick_ms, what, alive });
        }
        if self.planned != before {
            let set = (0..self.planned.len()).filter(|node| self.planned[*node]).collect();
            let takes_ms = (self.scenario.model.api_s * 1000.0) as i64;
            self.writes.push((tick_ms + takes_ms, set));
        }
    }

    fn sample(&mut self, at_ms: i64, pilot: &dyn Pilot) {
        let world = &self.world;
        let (fleet, verdicts) = pilot.verdicts().map_or((None, Vec::new()), |(fleet, nodes)| (Some(fleet), nodes));
        self.outcome.samples.push(Sample {
            at_ms,
            demand: world.demand,
            served: world.goodput,
            utilisation: world.bodies.iter().map(|body| body.utilisation).collect(),
            alive: world.bodies.iter().map(super::world::Body::is_alive).collect(),
            published: (0..world.bodies.len()).map(|node| world.published.contains(&node)).collect(),
            fleet,
            verdicts,
            let_through: world.let_through,
        });
    }

    fn end(self) -> (Outcome, Vec<String>) {
        let mut outcome = self.outcome;
        outcome.served = if self.world.asked > 0.0 { 100.0 * self.world.served / self.world.asked } else { 100.0 };
        let end_ms = i64::from(self.scenario.lasts_s) * 1000;
        (outcome, self.scribe.map(|scribe| scribe.end(end_ms)).unwrap_or_default())
    }
}

/// When the ways to each node blink, for each path trouble that comes and goes by chance.
fn blips(scenario: &Scenario, noise: Noise) -> Vec<Vec<Vec<(f64, f64)>>> {
    let of_node = |path: &PathTrouble, noise: Noise| {
        let mut blips = Vec::new();
        if path.blips_per_hour <= 0.0 {
            return blips;
        }
        let end = f64::from(scenario.lasts_s);
        let (mut now, mut number) = (0.0, 0u64);
        while now < end {
            now += noise.at(number).waiting(3600.0 / path.blips_per_hour);
            let lasts = noise.at(number + 1).waiting(path.blip_s.max(STEP_S));
            blips.push((now, now + lasts));
            (now, number) = (now + lasts, number + 2);
        }
        blips
    };
    let of_path = |(number, path): (u64, &PathTrouble)| {
        (0..scenario.node.len()).map(|node| of_node(path, noise.at(number).at(node as u64))).collect()
    };
    (0..).zip(&scenario.path).map(of_path).collect()
}
