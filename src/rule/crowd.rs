//! The nodes of a pool side by side: is it one of them, all of them, or the way to them?

use std::time::Duration;

use crate::model::{
    Calm, Evidence, Failing, Fault, FleetVerdict, Memory, NodeId, Policy, Pool, PoolMemory, RuleId, RuleSet, Situation,
    Time, Vantage,
};

use super::classify::{fresh_load, is_reached, percent};
use super::findings::Findings;
use super::index::Index;
use super::room::Room;
use super::sight::Sight;
use super::{plan, words};

/// How long ago a node may have been soft to count among those that are.
const TOGETHER: Duration = Duration::from_secs(120);
/// Over how long the load of calm times is smoothed, ms.
const CALM_MS: i64 = 100_000;

/// What a pool as a whole is in.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    /// Nodes that are in DNS and not pinned, in order.
    pub(super) serving: Vec<NodeId>,
    /// Those of them that answer: something of theirs lives, and they are not known to be dead, down or hung.
    pub(super) answering: Vec<NodeId>,
    /// Those of them that are soft, or were a moment ago.
    pub(super) soft: Vec<NodeId>,
    /// Those of them that fall silent, and of which it is not yet known whether they are dead.
    pub(super) falling: Vec<NodeId>,
    /// The first that came back from silence a moment ago: others that are silent may be about to.
    pub(super) revived: Option<NodeId>,
    /// Those that are not well, for others to be compared with.
    pub(super) troubled: Vec<NodeId>,
    /// What stands in the way of every soft withdrawal, with its words: overload, trouble on the way, a common fault.
    pub(super) state: State,
    /// What the rest can carry.
    pub(super) room: Room,
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
    pub(super) situation: &'a Situation<'a>,
    pub(super) index: &'a Index<'a>,
    pub(super) sight: &'a Sight,
    pub(super) findings: &'a Findings<'a>,
}

/// Looks at one pool and brings its overload latch and its calm load up to now.
pub(super) fn look(light: &Light<'_>, memory: &Memory, pool: &Pool, of_pool: &mut PoolMemory) -> Crowd {
    let Light { policy, situation, index, sight, findings } = *light;
    let mut crowd = Crowd {
        serving: Vec::new(),
        answering: Vec::new(),
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
    let published = situation.published.get(&pool.id);
    let is_serving = |id: &NodeId| match (published, &of_pool.members) {
        (Some(sets), _) => situation.fleet.nodes.get(id).is_some_and(|node| plan::is_in(node, sets)),
        // While the zone cannot be read, what was last read of it is the best guess.
        (None, Some(members)) => members.contains(id),
        (None, None) => true,
    };
    // One that left all it could is out, though the last address of a set may be its own.
    let is_out = |id: &NodeId| of_pool.out.get(id).is_some_and(|out| out.seen_out);
    for id in pool.nodes.iter().filter(|id| index.pin(id).is_none() && is_serving(id) && !is_out(id)) {
        let (Some(finding), Some(node)) = (findings.of(id), memory.nodes.get(id)) else { continue };
        crowd.serving.push(id.clone());
        let silence = node.recent.silence.filter(|silence| silence.rounds >= 2);
        if silence.is_none() && !finding.hard && finding.class != Evidence::NoData {
            crowd.answering.push(id.clone());
        }
        if silence.is_some() && !finding.hard && !is_reached(&policy.evidence, sight, node) {
            crowd.falling.push(id.clone());
        }
        let revived = node.recent.revived_at.filter(|at| sight.now.since(*at) < policy.overload.cut_wait);
        if crowd.revived.is_none() && silence.is_none() && revived.is_some() {
            crowd.revived = Some(id.clone());
        }
        if silence.is_some() || !matches!(finding.class, Evidence::Fine | Evidence::Suspect | Evidence::NoData) {
            crowd.troubled.push(id.clone());
        }
        let soft = node.recent.soft.is_some_and(|soft| sight.now.since(soft.until) <= TOGETHER);
        if silence.is_none() && !finding.hard && (finding.is_soft() || soft) {
            crowd.soft.push(id.clone());
        }
    }
    crowd.weigh(policy, sight, memory, of_pool);
    crowd.state = crowd.name(policy, sight, findings, memory);
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
        && !crowd.serving.is_empty()
        && crowd.serving.iter().all(|id| findings.of(id).is_some_and(|finding| finding.class == Evidence::Fine));
    if let Some(bps) = crowd.room.carried_bps.filter(|_| calm) {
        of_pool.calm = Some(smoothed(of_pool.calm, bps, sight.now));
    }
    crowd
}

impl Crowd {
    pub(super) fn answers(&self, node: &NodeId) -> bool {
        self.answering.binary_search(node).is_ok()
    }

    pub(super) fn is_overloaded(&self) -> bool {
        matches!(self.state, State::Overload(_))
    }

    /// How many of the nodes in service it takes to be everybody's trouble.
    pub(super) fn quota(&self) -> usize {
        let serving = self.serving.len();
        serving.div_ceil(3).max(2).min(serving)
    }

    /// Sums up what the nodes say that they carry.
    fn weigh(&mut self, policy: &Policy, sight: &Sight, memory: &Memory, of_pool: &PoolMemory) {
        let mut loads = Vec::with_capacity(self.serving.len());
        for id in &self.serving {
            let Some(node) = memory.nodes.get(id) else { continue };
            let falls = node.recent.silence.is_some_and(|silence| silence.rounds >= 2);
            loads.push((id.clone(), fresh_load(&policy.evidence, sight, node).filter(|_| !falls)));
        }
        let known: Vec<u64> = loads
            .iter()
            .filter(|(id, _)| self.answers(id))
            .filter_map(|(_, load)| load.as_ref()?.smooth_milli())
            .collect();
        if !known.is_empty() && known.len() == self.answering.len() {
            let sum = |of: fn(&crate::model::Load) -> Option<u64>| -> u128 {
                let answering = loads.iter().filter(|(id, _)| self.answers(id));
                answering.filter_map(|(_, load)| load.as_ref().and_then(of)).map(u128::from).sum()
            };
            let capacity = sum(|load| load.capacity_bps).max(1);
            let mean = sum(|load| Some(load.smooth_bps)) * 1000 / capacity;
            self.mean_milli = Some(u64::try_from(mean).unwrap_or(u64::MAX));
            self.most_milli = known.iter().copied().max();
        }
        self.room = Room::of(policy, &loads, memory, of_pool);
    }

    fn name(&self, policy: &Policy, sight: &Sight, findings: &Findings<'_>, memory: &Memory) -> State {
        let serving = self.serving.len();
        let dying = |id: &NodeId| {
            let silent = memory.nodes.get(id).and_then(|node| node.recent.silence);
            findings.of(id).is_some_and(|finding| finding.hard) || silent.is_some_and(|silence| silence.rounds >= 2)
        };
        if sight.vantage == Vantage::Blind || serving == 0 {
            return State::Normal;
        }
        if serving > 1 && self.serving.iter().all(dying) {
            return State::Dark(format!("none of the {serving} nodes in DNS answers"));
        }
        if let Some((fault, many)) = self.common_fault(findings, memory) {
            return State::CommonFault(format!("{many} of {serving} nodes fail in the same way: {fault}"));
        }
        let limits = &policy.overload;
        let quota = self.quota();
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

    /// A fault that several nodes answer with.
    fn common_fault(&self, findings: &Findings<'_>, memory: &Memory) -> Option<(Fault, usize)> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut broken = 0;
        for id in &self.serving {
            let Some(service) = memory.nodes.get(id).and_then(|node| node.recent.service) else { continue };
            let Failing::Wrong(fault) = service.failing else { continue };
            // One that has only begun to fail in this way belongs to those that do for certain.
            if service.same.rounds >= 2 {
                faults.push(fault);
                broken += usize::from(findings.of(id).is_some_and(|finding| finding.class == Evidence::Broken));
            }
        }
        faults.sort_unstable();
        let same = |fault: &Fault| faults.iter().filter(|other| *other == fault).count();
        let (fault, many) = faults.iter().map(|fault| (*fault, same(fault))).max_by_key(|(_, many)| *many)?;
        (many >= 2 && broken >= 1).then_some((fault, many))
    }

    /// The first node beside `node` that is not well; none where only `node` is in trouble.
    pub(super) fn other_in_trouble(&self, node: &NodeId) -> Option<&NodeId> {
        self.troubled.iter().find(|id| *id != node)
    }
}

fn smoothed(before: Option<Calm>, bps: u64, now: Time) -> Calm {
    let Some(before) = before else { return Calm { bps, at: now } };
    let passed = i128::from(now.0.saturating_sub(before.at.0).clamp(0, CALM_MS * 4));
    let (old, new) = (i128::from(before.bps), i128::from(bps));
    let moved = old + (new - old) * passed / (passed + i128::from(CALM_MS));
    Calm { bps: u64::try_from(moved).unwrap_or(0), at: now }
}

pub(super) fn list(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().take(8).map(NodeId::as_str).collect();
    let more = nodes.len().saturating_sub(names.len());
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}
