//! The nodes of a pool side by side: is it one of them, all of them, or the way to them?

use std::time::Duration;

use crate::model::{
    Calm, Evidence, Failing, Fault, FleetVerdict, Load, Memory, NodeId, NodeMemory, OverloadPolicy, Policy, Pool,
    PoolMemory, RuleId, RuleSet, Time, Vantage,
};

use super::classify::{Finding, fresh_load, is_reached, percent};
use super::findings::Findings;
use super::index::{Index, Seat};
use super::room::{Figure, Room};
use super::sight::Sight;
use super::walk::Walk;
use super::words;

/// What a pool as a whole is in.
#[derive(Clone, Debug)]
pub(super) struct Crowd<'a> {
    /// Nodes that are in DNS and not pinned, in order.
    pub(super) serving: Vec<&'a NodeId>,
    /// Those of them that answer: something of theirs lives, and they are not known to be dead, down or hung.
    pub(super) answering: Vec<&'a NodeId>,
    /// Those of them that are soft, or were a moment ago.
    pub(super) soft: Vec<&'a NodeId>,
    /// Those of them that fall silent, and of which it is not yet known whether they are dead.
    pub(super) falling: Vec<&'a NodeId>,
    /// The first that came back from silence a moment ago: others that are silent may be about to.
    pub(super) revived: Option<&'a NodeId>,
    /// Those that are not well, for others to be compared with.
    pub(super) troubled: Vec<&'a NodeId>,
    /// What stands in the way of every soft withdrawal, with its words: overload, trouble on the way, a common fault.
    pub(super) state: State,
    /// What the rest can carry.
    pub(super) room: Room<'a>,
    /// What all carry of what they can, smoothed, in thousandths; none where a figure is missing.
    pub(super) mean_milli: Option<u64>,
    /// What the fullest carries.
    pub(super) most_milli: Option<u64>,
}

/// What is wrong with the pool as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is.
    Normal,
    /// Nobody answers.
    Dark(String),
    /// There is more to carry than it can.
    Overload(String),
    /// All fail a little, and none carries much.
    PathTrouble(String),
    /// Several are broken in the same way.
    CommonFault(String),
}

impl State {
    /// What it is called, by which rule, and why; none where nothing is wrong.
    pub(super) fn verdict(&self) -> Option<(FleetVerdict, RuleId, &str)> {
        match self {
            Self::Normal => None,
            Self::Dark(why) => Some((FleetVerdict::Dark, words::DARK, why)),
            Self::Overload(why) => Some((FleetVerdict::Overload, words::OVERLOAD, why)),
            Self::PathTrouble(why) => Some((FleetVerdict::PathTrouble, words::PATH, why)),
            Self::CommonFault(why) => Some((FleetVerdict::CommonFault, words::COMMON, why)),
        }
    }
}

/// What every pool is looked at by.
pub(super) struct Light<'a> {
    pub(super) policy: &'a Policy,
    pub(super) index: &'a Index<'a>,
    pub(super) sight: &'a Sight,
    pub(super) findings: &'a Findings<'a>,
}

/// One node in service.
struct Server<'a, 'b> {
    id: &'a NodeId,
    finding: &'b Finding,
    memory: &'b NodeMemory,
    /// Whether it has been silent for more than a lost packet or two.
    falls: bool,
    answers: bool,
}

/// Looks at one pool and brings its overload latch and its calm load up to now.
pub(super) fn look<'a>(light: &Light<'a>, memory: &Memory, pool: &Pool, of_pool: &mut PoolMemory) -> Crowd<'a> {
    let Light { policy, index, sight, findings } = *light;
    let seats = index.seats_of(pool);
    let mut crowd = Crowd {
        serving: Vec::with_capacity(seats.len()),
        answering: Vec::with_capacity(seats.len()),
        soft: Vec::new(),
        falling: Vec::new(),
        revived: None,
        troubled: Vec::new(),
        state: State::Normal,
        room: Room::default(),
        mean_milli: None,
        most_milli: None,
    };
    if policy.rule == RuleSet::Classic || sight.vantage == Vantage::Isolated {
        return crowd;
    }
    let is_serving = |seat: &Seat<'_>| match (seat.shown, &of_pool.members) {
        (Some(shown), _) => shown.is_in(),
        // While the zone cannot be read, what was last read of it is the best guess.
        (None, Some(members)) => members.contains(&seat.node.id),
        (None, None) => true,
    };
    // One that left all it could is out, though the last address of a set may be its own.
    let is_out = |id: &NodeId| of_pool.out.get(id).is_some_and(|out| out.seen_out);
    let mut servers = Vec::with_capacity(seats.len());
    let mut remembered = Walk::over(&memory.nodes);
    for seat in seats {
        let id = &seat.node.id;
        if index.pin(id).is_some() || !is_serving(seat) || is_out(id) {
            continue;
        }
        let finding = findings.at(seat.place);
        let Some(node) = remembered.to(id) else { continue };
        crowd.serving.push(id);
        let silence = node.recent.silence.filter(|silence| silence.rounds >= policy.evidence.falling_rounds);
        let answers = silence.is_none() && !finding.hard && finding.class != Evidence::NoData;
        if answers {
            crowd.answering.push(id);
        }
        servers.push(Server { id, finding, memory: node, falls: silence.is_some(), answers });
        if silence.is_some() && !finding.hard && !is_reached(&policy.evidence, sight, node) {
            crowd.falling.push(id);
        }
        let revived = node.recent.revived_at.filter(|at| sight.now.since(*at) < policy.overload.cut_wait);
        if crowd.revived.is_none() && silence.is_none() && revived.is_some() {
            crowd.revived = Some(id);
        }
        if silence.is_some() || !matches!(finding.class, Evidence::Fine | Evidence::Suspect | Evidence::NoData) {
            crowd.troubled.push(id);
        }
        let soft = node.recent.soft.is_some_and(|soft| sight.now.since(soft.until) <= policy.overload.together);
        if silence.is_none() && !finding.hard && (finding.is_soft() || soft) {
            crowd.soft.push(id);
        }
    }
    crowd.weigh(policy, sight, &servers, of_pool);
    crowd.state = crowd.name(policy, sight, &servers);
    if let State::Overload(_) = crowd.state {
        of_pool.overload_since.get_or_insert(sight.now);
        of_pool.overload_until = of_pool.overload_until.max(Some(sight.now.plus(policy.overload.latch)));
    } else if of_pool.overload_until.is_some_and(|until| sight.now >= until) {
        (of_pool.overload_since, of_pool.overload_until) = (None, None);
    }
    // Figures that fall in the middle of an overload are its work: nodes that crash or collapse carry little.
    let passing = matches!(crowd.state, State::Normal | State::PathTrouble(_));
    if let (Some(since), Some(until), true) = (of_pool.overload_since, of_pool.overload_until, passing) {
        crowd.state = State::Overload(format!(
            "overloaded since {} s, and for another {} s unless it shows again",
            sight.now.since(since).as_secs(),
            until.since(sight.now).as_secs()
        ));
    }
    let calm = crowd.state == State::Normal
        && of_pool.shed.step == 0
        && !servers.is_empty()
        && servers.iter().all(|server| server.finding.class == Evidence::Fine);
    if let Some(bps) = crowd.room.carried_bps.filter(|_| calm) {
        of_pool.calm = Some(smoothed(of_pool.calm, bps, sight.now, policy.overload.calm_smoothing));
    }
    crowd
}

impl<'a> Crowd<'a> {
    pub(super) fn serves(&self, node: &NodeId) -> bool {
        self.serving.binary_search(&node).is_ok()
    }

    pub(super) fn answers(&self, node: &NodeId) -> bool {
        self.answering.binary_search(&node).is_ok()
    }

    pub(super) fn is_overloaded(&self) -> bool {
        matches!(self.state, State::Overload(_))
    }

    /// How many of the nodes in service it takes to be everybody's trouble.
    pub(super) fn quota(&self, limits: &OverloadPolicy) -> usize {
        let serving = self.serving.len();
        let share = serving.div_ceil(limits.together_one_in.max(1) as usize);
        share.max(limits.together_nodes as usize).min(serving)
    }

    /// Sums up what the nodes say that they carry.
    fn weigh(&mut self, policy: &Policy, sight: &Sight, servers: &[Server<'a, '_>], of_pool: &PoolMemory) {
        let load =
            |server: &Server<'_, '_>| fresh_load(&policy.evidence, sight, server.memory).filter(|_| !server.falls);
        let answering = || servers.iter().filter(|server| server.answers);
        let known: Vec<u64> = answering().filter_map(|server| load(server)?.smooth_milli()).collect();
        if !known.is_empty() && known.len() == self.answering.len() {
            let sum = |of: fn(Load) -> Option<u64>| -> u128 {
                answering().filter_map(|server| load(server).and_then(of)).map(u128::from).sum()
            };
            let capacity = sum(|load| load.capacity_bps).max(1);
            let mean = sum(|load| Some(load.smooth_bps)) * 1000 / capacity;
            self.mean_milli = Some(u64::try_from(mean).unwrap_or(u64::MAX));
            self.most_milli = known.iter().copied().max();
        }
        let figures = servers.iter().map(|server| {
            let load = load(server);
            // What it said it can carry is true also when it says nothing now.
            let capacity_bps = load.or(server.memory.recent.load).and_then(|load| load.capacity_bps);
            Figure { id: server.id, load, capacity_bps }
        });
        self.room = Room::of(policy, figures, of_pool);
    }

    fn name(&self, policy: &Policy, sight: &Sight, servers: &[Server<'_, '_>]) -> State {
        let serving = servers.len();
        if sight.vantage == Vantage::Blind || serving == 0 {
            return State::Normal;
        }
        if serving > 1 && servers.iter().all(|server| server.finding.hard || server.falls) {
            return State::Dark(format!("none of the {serving} nodes in DNS answers"));
        }
        if let Some((fault, many)) = common_fault(&policy.overload, servers) {
            return State::CommonFault(format!("{many} of {serving} nodes fail in the same way: {fault}"));
        }
        let limits = &policy.overload;
        let quota = self.quota(limits);
        if self.soft.len() >= quota && serving > 1 {
            let words =
                format!("{} of {serving} nodes are soft ({quota} are enough): {}", self.soft.len(), list(&self.soft));
            return match self.most_milli.filter(|most| *most < u64::from(limits.path_percent) * 10) {
                Some(most) => State::PathTrouble(format!("{words}; yet none carries more than {}", percent(most))),
                None => State::Overload(words),
            };
        }
        let full = |milli: u64, limit: u32| milli >= u64::from(limit) * 10;
        if let Some(mean) = self.mean_milli {
            if full(mean, limits.full_percent) {
                let words = format!("all together carry {} of what they can", percent(mean));
                return State::Overload(words);
            }
            let crowded = self
                .room
                .shares_milli
                .iter()
                .filter(|(id, milli)| self.answers(id) && full(*milli, limits.full_node_percent));
            let crowded = crowded.count();
            if crowded >= quota && serving > 1 {
                let words = format!("{crowded} of {serving} nodes carry {} % or more", limits.full_node_percent);
                return State::Overload(words);
            }
        }
        State::Normal
    }

    /// The first node beside `node` that is not well; none where only `node` is in trouble.
    pub(super) fn other_in_trouble(&self, node: &NodeId) -> Option<&NodeId> {
        self.troubled.iter().copied().find(|id| *id != node)
    }
}

/// A fault that several nodes answer with.
fn common_fault(limits: &OverloadPolicy, servers: &[Server<'_, '_>]) -> Option<(Fault, usize)> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut broken = 0;
    for server in servers {
        let Some(service) = server.memory.recent.service else { continue };
        let Failing::Wrong(fault) = service.failing else { continue };
        // One that has only begun to fail in this way belongs to those that do for certain.
        if service.same.rounds >= limits.common_rounds {
            faults.push(fault);
            broken += usize::from(server.finding.class == Evidence::Broken);
        }
    }
    faults.sort_unstable();
    let runs = faults.chunk_by(|a, b| a == b).map(|run| (run[0], run.len()));
    let (fault, many) = runs.max_by_key(|(_, many)| *many)?;
    (many >= limits.common_nodes as usize && broken >= 1).then_some((fault, many))
}

fn smoothed(before: Option<Calm>, bps: u64, now: Time, over: Duration) -> Calm {
    let Some(before) = before else { return Calm { bps, at: now } };
    let over = i128::try_from(over.as_millis()).unwrap_or(i128::MAX / 4).max(1);
    // Whatever was not seen for longer moves it no more than this.
    let passed = i128::from(now.0.saturating_sub(before.at.0)).clamp(0, over * 4);
    let (old, new) = (i128::from(before.bps), i128::from(bps));
    let moved = old + (new - old) * passed / (passed + over);
    Calm { bps: u64::try_from(moved).unwrap_or(0), at: now }
}

pub(super) fn list(nodes: &[&NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().take(8).map(|id| id.as_str()).collect();
    let more = nodes.len().saturating_sub(names.len());
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

#[cfg(test)]
mod tests;
