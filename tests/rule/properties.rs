//! What must hold over random fleets and histories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use witness::model::{NodeId, Outcome, PinState, Policy, ProbeKind, Reinstatement, Round, Time, Vantage};

use crate::world::{FOREIGN, Sees, World};

/// How many cases a property is tried on: some for everyday, as many as wanted by `PROPTEST_CASES`.
pub(crate) fn cases(everyday: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(everyday)
}

fn sees() -> impl Strategy<Value = Sees> {
    prop_oneof![
        4 => Just(Sees::Fine),
        4 => Just(Sees::Silent),
        1 => Just(Sees::Refused),
        1 => Just(Sees::Only(ProbeKind::Ssh)),
        1 => Just(Sees::Only(ProbeKind::Https)),
        1 => Just(Sees::Shedding),
        1 => Just(Sees::Nothing),
        1 => Just(Sees::NoRound),
    ]
}

#[derive(Clone, Debug)]
struct Step {
    passes: u64,
    sees: Vec<Sees>,
    times: u32,
    anchors: Option<(u32, u32)>,
    readable: bool,
    follows: bool,
    wall_step_s: i64,
    restart: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        prop_oneof![Just(2u64), Just(10), Just(60), Just(61), Just(300), Just(4000)],
        proptest::collection::vec(sees(), 8),
        1u32..8,
        prop_oneof![4 => Just(None), 4 => Just(Some((3, 3))), 1 => Just(Some((1, 3))), 1 => Just(Some((0, 3)))],
        proptest::bool::weighted(0.9),
        proptest::bool::weighted(0.9),
        prop_oneof![8 => Just(0i64), 1 => Just(-4000), 1 => Just(4000), 1 => Just(-1)],
        proptest::bool::weighted(0.05),
    )
        .prop_map(|(passes, sees, times, anchors, readable, follows, wall_step_s, restart)| Step {
            passes,
            sees,
            times,
            anchors,
            readable,
            follows,
            wall_step_s,
            restart,
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    (1u32..6, 1u32..4, 0u32..5, any::<bool>()).prop_map(|(strikes, keep, max_withdrawn, auto)| Policy {
        strikes,
        keep,
        max_withdrawn,
        reinstate: if auto { Reinstatement::Auto } else { Reinstatement::Manual },
        ..Policy::default()
    })
}

fn world() -> impl Strategy<Value = World> {
    (1u8..8, 0u8..4, policy(), proptest::option::of((0u8..8, 0u8..3))).prop_map(|(n, v6, policy, pin)| {
        let addresses = (1..=n)
            .map(|i| {
                let mut addresses = vec![IpAddr::from([192, 0, 2, i])];
                if i <= v6 {
                    addresses.push(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(i)]));
                }
                addresses
            })
            .collect();
        let mut world = World::with(addresses);
        world.policy = policy;
        if let Some((node, state)) = pin.filter(|(node, _)| *node < n) {
            let state = [PinState::In, PinState::Out, PinState::Ignore][usize::from(state)];
            world.pin(&format!("n{}", node + 1), state);
        }
        world
    })
}

/// The nodes that stand in some published set.
fn present(world: &World) -> BTreeSet<NodeId> {
    let sets = &world.published[&world.pool().id];
    world
        .fleet
        .nodes
        .values()
        .filter(|node| sets.values().any(|set| node.addresses.iter().any(|address| set.addresses.contains(address))))
        .map(|node| node.id.clone())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn guards_hold_whatever_happens(mut world in world(), steps in proptest::collection::vec(step(), 1..25)) {
        let foreign: IpAddr = FOREIGN.parse().unwrap();
        for step in steps {
            world.clock.wall = world.clock.wall.shifted(step.wall_step_s * 1000);
            world.anchors = step.anchors;
            world.readable = step.readable;
            world.follows = step.follows;
            world.just_started = step.restart;
            for _ in 0..step.times {
                world.pass(step.passes);
                let ids: Vec<NodeId> = world.fleet.nodes.keys().cloned().collect();
                let rounds: Vec<Round> =
                    ids.iter().enumerate().filter_map(|(i, id)| world.round(id, step.sees[i])).collect();
                let ruling = world.judge_rounds(&rounds, None);

                // Order does not matter.
                let mut turned = rounds.clone();
                turned.reverse();
                prop_assert_eq!(&world.judge_rounds(&turned, None), &ruling);

                let before = present(&world);
                let by_rule = ruling.judgement.actions.iter().any(|action| {
                    action.kind == witness::model::ActionKind::Withdraw && action.rule.0 != "H2.pin"
                });
                if by_rule {
                    prop_assert_eq!(ruling.judgement.vantage, Vantage::Clear);
                    prop_assert!(world.readable);
                }
                prop_assert!(ruling.plans.len() <= 1);
                let follows = world.follows;
                let judgement = world.take(ruling);
                let after = present(&world);
                for (key, set) in &world.published[&world.pool().id] {
                    prop_assert!(!set.addresses.is_empty(), "{key} is empty");
                    if key.rtype == witness::model::RecordType::A {
                        prop_assert!(set.addresses.contains(&foreign));
                    }
                }
                if by_rule && follows && before.len() > after.len() {
                    let pinned = |id: &&NodeId| world.pins.iter().any(|pin| pin.node == **id);
                    let staying = after.iter().filter(|id| !pinned(id)).count();
                    prop_assert!(staying >= world.policy.keep as usize, "{:?} of {:?}", after, before);
                }
                let gone = judgement.memory.pools.values().flat_map(|pool| pool.out.values());
                let ours = gone.filter(|out| out.rule.0 == "S2.strikes").count();
                prop_assert!(ours <= world.policy.max_withdrawn as usize);
            }
        }
    }

    #[test]
    fn having_done_it_there_is_nothing_left_to_do(
        mut world in world(),
        sees in proptest::collection::vec(sees(), 8),
    ) {
        world.ticks(5, 60, &[Sees::Fine]);
        let mut acted = false;
        for _ in 0..8 {
            let judgement = world.ticks(1, 60, &sees);
            let now = judgement.actions.iter().any(|action| action.kind == witness::model::ActionKind::Withdraw);
            if acted {
                let again = world.judge_rounds(&[], None);
                prop_assert_eq!(again.plans, vec![]);
            }
            acted = now;
        }
    }

    #[test]
    fn flapping_is_bounded(period in 1u32..20, seed in any::<u64>()) {
        let mut world = World::of(4);
        world.ticks(5, 60, &[Sees::Fine]);
        let mut changes = 0;
        let mut bad = false;
        // An hour of ten-second rounds in which a node comes and goes.
        for i in 0..360u32 {
            if (i + u32::try_from(seed % 7).unwrap()) % period == 0 {
                bad = !bad;
            }
            let first = if bad { Sees::Silent } else { Sees::Fine };
            let judgement = world.ticks(1, 10, &[first, Sees::Fine, Sees::Fine, Sees::Fine]);
            changes += judgement.actions.iter().filter(|a| a.kind == witness::model::ActionKind::Withdraw).count();
        }
        prop_assert!(changes <= 5, "{changes} withdrawals in an hour");
    }

    #[test]
    fn without_sight_nothing_changes(sees in proptest::collection::vec(proptest::collection::vec(sees(), 4), 1..30)) {
        let mut world = World::of(4);
        world.anchors = Some((3, 3));
        world.ticks(5, 60, &[Sees::Fine]);
        world.ticks(3, 60, &[Sees::Silent]);
        let published = world.published.clone();
        world.anchors = Some((1, 3));
        for sees in sees {
            let judgement = world.ticks(1, 60, &sees);
            prop_assert_eq!(judgement.vantage, Vantage::Isolated);
            prop_assert_eq!(&judgement.actions, &vec![]);
            prop_assert_eq!(&judgement.strikes, &vec![]);
        }
        prop_assert_eq!(&world.published, &published);
    }

    /// Two worlds see the same; in one of them the clock is stepped back and forth.
    #[test]
    fn a_stepping_clock_neither_adds_nor_clears_strikes(
        steps in proptest::collection::vec((sees(), 1u64..200, -5000i64..5000, any::<bool>()), 1..60),
    ) {
        let (mut steady, mut stepped) = (World::of(4), World::of(4));
        for world in [&mut steady, &mut stepped] {
            world.policy.max_withdrawn = 0;
            world.ticks(1, 60, &[Sees::Fine]);
        }
        for (first, passes, step_s, before) in steps {
            let sees = [first, Sees::Fine, Sees::Fine, Sees::Fine];
            let plain = steady.ticks(1, passes, &sees);
            stepped.pass(passes);
            // The step comes before or after the probes.
            let mut rounds = stepped.rounds(&sees);
            stepped.clock.wall = stepped.clock.wall.shifted(step_s * 1000);
            if before || step_s.unsigned_abs() <= passes {
                rounds = stepped.rounds(&sees);
            }
            let ruling = stepped.judge_rounds(&rounds, None);
            let odd = stepped.take(ruling);
            for (one, other) in plain.nodes.iter().zip(&odd.nodes) {
                prop_assert_eq!(one.strikes, other.strikes);
            }
            prop_assert_eq!(plain.strikes.len(), odd.strikes.len());
        }
    }

    /// The original rule, written down a second time as simply as it can be.
    #[test]
    fn classic_is_the_original_rule(
        (strikes, window, most) in (1u32..6, 1u64..4000, 0u32..5),
        ticks in proptest::collection::vec((1u64..400, proptest::collection::vec(sees(), 6)), 1..60),
    ) {
        let mut world = World::of(6);
        world.policy = Policy {
            strikes,
            window: std::time::Duration::from_secs(window),
            max_withdrawn: most,
            ..Policy::default()
        }
        .classic();
        world.anchors = Some((0, 3));
        let mut failures: BTreeMap<NodeId, Vec<Time>> = BTreeMap::new();
        let mut withdrawn: BTreeSet<NodeId> = BTreeSet::new();
        for (passes, sees) in ticks {
            world.pass(passes);
            let now = world.clock.wall;
            let rounds = world.rounds(&sees);
            for round in &rounds {
                let of_node = failures.entry(round.node.clone()).or_default();
                if round.observations.iter().any(|seen| matches!(seen.outcome, Outcome::Failed(_))) {
                    of_node.push(now);
                }
            }
            for (node, times) in &failures {
                let recent = times.iter().filter(|at| now.since(**at).as_secs() < window).count();
                if recent >= strikes as usize && withdrawn.len() < most as usize {
                    withdrawn.insert(node.clone());
                }
            }
            let ruling = world.judge_rounds(&rounds, None);
            world.take(ruling);
            let gone: BTreeSet<NodeId> =
                world.fleet.nodes.keys().filter(|id| !present(&world).contains(id)).cloned().collect();
            prop_assert_eq!(&gone, &withdrawn);
        }
    }
}
