//! The world: clients that remember addresses, nodes that fill up, and what is lost on the way.
//!
//! Clients are a fluid. What is assumed is in [`super::Model`], each with its name.

use super::noise::Noise;
use super::scenario::{Model, Scenario, State};

/// How long one step is, seconds.
pub(super) const STEP_S: f64 = 2.0;
/// Groups of clients whose answers run out together.
const COHORTS: usize = 30;
/// Groups of those who keep answers beyond their TTL.
const STRAGGLERS: usize = 10;
/// How long load wavers to one side, seconds.
const WAVER_S: f64 = 20.0;

/// What a node is at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Body {
    /// None: it runs.
    pub(super) state: Option<State>,
    /// Packets that it loses in each direction, for everybody.
    pub(super) loss: f64,
    /// Packets that its full way out loses.
    pub(super) egress_loss: f64,
    /// What is asked of it, as a share of what it can.
    pub(super) utilisation: f64,
    /// What it sends; 1 is 1 Gbit/s.
    pub(super) sends: f64,
    /// Until when its process is gone after it crashed.
    crashed_until: f64,
    /// Work that failed here in the last step, and is asked for again.
    failed: f64,
    wavers: f64,
}

impl Body {
    /// Whether it serves somebody.
    pub(super) fn is_alive(&self) -> bool {
        !self.state.is_some_and(State::is_dead)
    }
}

/// Clients that asked for the addresses at the same time.
#[derive(Clone, Debug)]
struct Cohort {
    share: f64,
    set: Vec<usize>,
    asks_next: f64,
    asked: u64,
    straggles: bool,
}

/// The world at a moment.
#[derive(Debug)]
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    noise: Noise,
    pub(super) bodies: Vec<Body>,
    cohorts: Vec<Cohort>,
    /// What the name servers say: the nodes by their place.
    pub(super) published: Vec<usize>,
    /// What clients get, as a share of what they would like.
    pub(super) let_through: f64,
    /// Of all so far.
    pub(super) asked: f64,
    pub(super) served: f64,
    /// In the last step.
    pub(super) demand: f64,
    pub(super) goodput: f64,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, noise: Noise) -> Self {
        let everybody: Vec<usize> = (0..scenario.node.len()).collect();
        let ttl = f64::from(scenario.ttl_s);
        let model = &scenario.model;
        let cohort = |number: usize| {
            let straggles = number >= COHORTS;
            let (share, count) = match straggles {
                true => (model.stragglers, STRAGGLERS),
                false => (1.0 - model.stragglers, COHORTS),
            };
            let asks_next = match straggles {
                true => noise.at(1).at(number as u64).waiting(model.straggle_s),
                false => ttl * number as f64 / COHORTS as f64,
            };
            Cohort { share: share / count as f64, set: everybody.clone(), asks_next, asked: 0, straggles }
        };
        let body = Body {
            state: None,
            loss: 0.0,
            egress_loss: 0.0,
            utilisation: 0.0,
            sends: 0.0,
            crashed_until: 0.0,
            failed: 0.0,
            wavers: 0.0,
        };
        Self {
            scenario,
            noise,
            bodies: vec![body; scenario.node.len()],
            cohorts: (0..COHORTS + STRAGGLERS).map(cohort).collect(),
            published: everybody,
            let_through: 1.0,
            asked: 0.0,
            served: 0.0,
            demand: 0.0,
            goodput: 0.0,
        }
    }

    /// Lives through the step number `step`, which begins at second `now`.
    pub(super) fn step(&mut self, step: u64, now: f64) {
        self.ask_for_addresses(now);
        let capacities = self.befall(step, now);
        let wanted = self.spread(now);
        let model = &self.scenario.model;
        self.goodput = 0.0;
        for (body, (base, can)) in self.bodies.iter_mut().zip(wanted.iter().zip(capacities)) {
            let asked = base + model.retry * body.failed;
            let load = asked * (1.0 + body.wavers).max(0.0) * self.let_through;
            if !body.is_alive() {
                (body.utilisation, body.sends, body.egress_loss, body.failed) = (0.0, 0.0, 0.0, 0.0);
                continue;
            }
            body.utilisation = load / can;
            body.sends = goodput(body.utilisation, model) * can;
            body.egress_loss = lost(body.utilisation, model.queue);
            let served = if load > 0.0 { (body.sends / load).min(1.0) } else { 1.0 };
            body.failed = asked * (1.0 - served);
            // What is served at the second try is served.
            self.goodput += asked * served;
        }
        self.asked += self.demand * STEP_S;
        self.served += self.goodput * STEP_S;
    }

    fn ask_for_addresses(&mut self, now: f64) {
        let ttl = f64::from(self.scenario.ttl_s);
        let mean = self.scenario.model.straggle_s;
        for (number, cohort) in self.cohorts.iter_mut().enumerate() {
            while cohort.asks_next <= now {
                cohort.set.clone_from(&self.published);
                cohort.asked += 1;
                let wait = self.noise.at(1).at(number as u64).at(cohort.asked);
                cohort.asks_next += if cohort.straggles { wait.waiting(mean).max(ttl) } else { ttl };
            }
        }
    }

    /// What happens to the nodes; returns what each can.
    fn befall(&mut self, step: u64, now: f64) -> Vec<f64> {
        let decay = (-STEP_S / WAVER_S).exp();
        let model = &self.scenario.model;
        let mut capacities = Vec::with_capacity(self.bodies.len());
        for (place, (body, node)) in self.bodies.iter_mut().zip(&self.scenario.node).enumerate() {
            let noise = self.noise.at(2).at(place as u64).at(step);
            body.wavers = decay * body.wavers + (1.0 - decay * decay).sqrt() * model.wavering * noise.normal();
            (body.state, body.loss) = (None, 0.0);
            let mut can = node.capacity * node.truth;
            for event in self.scenario.event.iter().filter(|event| event.is_on(now)) {
                if !event.nodes.contains(&node.name) {
                    continue;
                }
                match event.is {
                    State::Slow => can *= event.factor_at(now),
                    State::Lossy => body.loss = body.loss.max(event.loss),
                    State::Silent | State::Refused | State::Hung => {}
                }
                // What is dead is not slow as well.
                if !body.state.is_some_and(State::is_dead) {
                    body.state = Some(event.is);
                }
            }
            if let Some(crash) = self.scenario.crash {
                let chance = 1.0 - (-STEP_S / crash.after_s).exp();
                if body.is_alive() && body.utilisation > crash.above && noise.at(9).is(chance) {
                    body.crashed_until = now + crash.for_s;
                }
                if now < body.crashed_until && body.is_alive() {
                    body.state = Some(State::Refused);
                }
            }
            // A flow that loses packets waits for them: throughput falls with 1 + 20 p.
            capacities.push(can / (1.0 + 20.0 * body.loss));
        }
        capacities
    }

    /// What is asked of each node first, before anything is asked for again.
    fn spread(&mut self, now: f64) -> Vec<f64> {
        let all: f64 = self.scenario.node.iter().map(|node| node.capacity).sum();
        self.demand = self.scenario.demand_at(now) * all;
        let mut wanted = vec![0.0; self.bodies.len()];
        for cohort in &self.cohorts {
            let each = cohort.share * self.demand / cohort.set.len().max(1) as f64;
            for place in &cohort.set {
                if self.bodies[*place].is_alive() {
                    wanted[*place] += each;
                    continue;
                }
                let others = cohort.set.len() - 1;
                for other in cohort.set.iter().filter(|other| *other != place) {
                    if self.bodies[*other].is_alive() {
                        wanted[*other] += each * self.scenario.model.fallback / others as f64;
                    }
                }
            }
        }
        wanted
    }
}

/// What a node gets done, as a share of what it can, when it is asked for `utilisation` of that.
fn goodput(utilisation: f64, model: &Model) -> f64 {
    if utilisation <= 1.0 { utilisation } else { (1.0 - model.collapse * (utilisation - 1.0)).max(0.5) }
}

/// The share of packets that find a queue of `places` full, at this utilisation: the blocking probability of M/M/1/K.
fn lost(utilisation: f64, places: f64) -> f64 {
    if (utilisation - 1.0).abs() < 1e-9 {
        return 1.0 / (places + 1.0);
    }
    let power = utilisation.powf(places);
    if power.is_infinite() {
        return 1.0 - 1.0 / utilisation;
    }
    (1.0 - utilisation) * power / (1.0 - power * utilisation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_loses_what_theory_says() {
        // The figures of the M/M/1/50 queue.
        for (utilisation, expected) in
            [(0.5, 0.0), (0.98, 0.011), (1.0, 0.0196), (1.05, 0.052), (1.2, 0.167), (1.5, 0.333)]
        {
            assert!((lost(utilisation, 50.0) - expected).abs() < 0.001, "{utilisation}: {}", lost(utilisation, 50.0));
        }
        assert!((lost(1e9, 50.0) - 1.0).abs() < 0.001);
    }

    fn lived(text: &str, seconds: u64, mut meddle: impl FnMut(&mut World<'_>, f64)) -> (f64, Vec<Body>) {
        let scenario = Scenario::read(text).expect("it is one");
        let mut world = World::new(&scenario, Noise::of(1));
        for step in 0..seconds / 2 {
            let now = step as f64 * STEP_S;
            meddle(&mut world, now);
            world.step(step, now);
        }
        (100.0 * world.served / world.asked, world.bodies)
    }

    const CALM: &str = "name = \"calm\"\nnodes = 4\nmodel.wavering = 0.0\n";

    #[test]
    fn what_is_asked_is_served_while_there_is_room() {
        let (served, bodies) = lived(&format!("{CALM}demand = [[0, 0.5]]"), 600, |_, _| {});
        assert!((served - 100.0).abs() < 1e-9, "{served}");
        assert!(bodies.iter().all(|body| (body.utilisation - 0.5).abs() < 1e-9), "{bodies:?}");
    }

    #[test]
    fn of_a_dead_node_half_of_the_clients_find_another() {
        let text = format!("{CALM}demand = [[0, 0.5]]\n[[event]]\nfrom_s = 0\nnodes = [\"n1\"]\nis = \"silent\"\n");
        let (served, bodies) = lived(&text, 600, |_, _| {});
        assert!((served - 87.5).abs() < 1e-9, "{served}");
        assert!((bodies[1].utilisation - 0.5 * (1.0 + 0.5 / 3.0)).abs() < 1e-9, "{bodies:?}");
    }

    #[test]
    fn a_withdrawal_reaches_clients_within_the_ttl_but_for_stragglers() {
        let text = format!("{CALM}demand = [[0, 0.4]]\n");
        let (_, bodies) = lived(&text, 122, |world, _| world.published = vec![1, 2, 3]);
        let left = bodies[0].utilisation / 0.4;
        assert!(left > 0.03 && left < 0.0501, "the stragglers' share at the most: {left}");
    }

    #[test]
    fn an_overfull_fleet_serves_less_than_it_could() {
        // At 120 % the retries settle at a utilisation of 1.533 (0.375 u = 0.575) and a goodput of 0.867.
        let (_, bodies) = lived(&format!("{CALM}demand = [[0, 1.2]]"), 600, |_, _| {});
        assert!((bodies[0].utilisation - 1.5333).abs() < 0.001, "{bodies:?}");
        assert!((bodies[0].sends - 0.8667).abs() < 0.001, "{bodies:?}");
        let (served, _) = lived(&format!("{CALM}demand = [[0, 1.2]]"), 6000, |_, _| {});
        assert!((served - 100.0 * 0.8667 / 1.2).abs() < 0.1, "what is served is all that is sent: {served}");
        let (served, _) = lived(&format!("{CALM}demand = [[0, 1.2]]"), 600, |world, _| world.let_through = 0.8);
        assert!(served > 99.9, "clients that get less all get something: {served}");
    }

    #[test]
    fn crashes_come_with_load_only() {
        let text =
            |share: f64| format!("{CALM}demand = [[0, {share}]]\n[crash]\nabove = 1.0\nafter_s = 60\nfor_s = 30\n");
        let crashed = |share: f64| {
            let mut count = 0;
            lived(&text(share), 1200, |world, _| count += world.bodies.iter().filter(|body| !body.is_alive()).count());
            count
        };
        assert_eq!(crashed(0.6), 0);
        assert!(crashed(1.3) > 50);
    }
}
