//! Whatever it is given, the rule answers, and says the same twice.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use witness::model::{
    AnchorRound, ClockReading, Memory, NodeMemory, Pin, PinState, Policy, PoolMemory, Reinstatement, Request,
    RequestKind, Round, RuleId, RuleSet, SetKey, Situation, Standing, Strike, Time, Withdrawal,
};
use witness::rule::judge;

use crate::world::{Sees, World, name};

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(-1), any::<i64>()],
        3 => 1_699_990_000_000i64..1_700_010_000_000,
    ]
    .prop_map(Time)
}

fn clock() -> impl Strategy<Value = ClockReading> {
    (time(), time(), 0u8..3).prop_map(|(wall, boot, id)| ClockReading {
        wall,
        boot_ms: boot.0,
        boot_id: ["", "one", "two"][usize::from(id)].to_owned(),
    })
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1 => Just(Duration::ZERO),
        1 => Just(Duration::MAX),
        4 => (1u64..4000).prop_map(Duration::from_secs),
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..6, 1 => Just(u32::MAX)]
}

fn policy() -> impl Strategy<Value = Policy> {
    let counts = (count(), count(), count(), count(), count());
    let spans = (span(), span(), span(), span(), span(), span());
    (counts, spans, any::<(bool, bool)>(), 0usize..4).prop_map(|(counts, spans, (classic, manual), convict)| Policy {
        rule: if classic { RuleSet::Classic } else { RuleSet::Witness },
        strikes: counts.0.min(1000),
        window: spans.0,
        strike_spacing: spans.1,
        keep: counts.1,
        max_withdrawn: counts.2,
        reinstate: if manual { Reinstatement::Manual } else { Reinstatement::Auto },
        convict: witness::model::ProbeKind::ALL[..convict].to_vec(),
        interval: spans.2,
        fast_interval: spans.3,
        warmup_rounds: counts.3,
        probation: spans.4,
        probation_rounds: counts.4,
        probation_max: spans.5,
        ..Policy::default()
    })
}

fn round() -> impl Strategy<Value = Round> {
    let sees = prop_oneof![
        Just(Sees::Fine),
        Just(Sees::Silent),
        Just(Sees::Refused),
        Just(Sees::Shedding),
        Just(Sees::Nothing)
    ];
    (1u8..7, sees, time(), time(), any::<bool>()).prop_map(|(node, sees, started, finished, empty)| {
        let world = World::of(6);
        let mut round = world.round(&name(&format!("n{node}")), sees).unwrap();
        round.started = started;
        round.finished = finished;
        if empty {
            round.observations.clear();
        }
        round
    })
}

fn of_node() -> impl Strategy<Value = NodeMemory> {
    let times = (proptest::option::of(time()), proptest::option::of(time()), proptest::option::of(time()));
    let lists = (
        proptest::collection::vec(time(), 0..6),
        proptest::collection::vec(round(), 0..6),
        proptest::collection::vec(time(), 0..40),
    );
    (times, lists, (count(), count(), count()), proptest::option::of(round())).prop_map(
        |(times, (strikes, pending, withdrawals), counts, last_round)| NodeMemory {
            standing: Standing::Withdrawn,
            standing_since: times.0,
            strikes: strikes.into_iter().map(|at| Strike { at, faults: vec![] }).collect(),
            last_strike_at: times.1,
            last_round,
            pending,
            rounds_seen: counts.0,
            clean_rounds: counts.1,
            clean_since: times.2,
            failed_rounds: counts.2,
            withdrawals: withdrawals.clone().into(),
            soft_withdrawals: withdrawals.into(),
            ..NodeMemory::default()
        },
    )
}

fn withdrawal() -> impl Strategy<Value = Withdrawal> {
    let places = || {
        let place = (0usize..3, 1u8..9).prop_map(|(owner, i)| {
            let key = SetKey {
                owner: ["@", "files", "gone"][owner].to_owned(),
                rtype: witness::model::RecordType::ALL[owner % 2],
            };
            (key, IpAddr::from([192, 0, 2, i]))
        });
        proptest::collection::btree_set(place, 0..5)
    };
    let rule = prop_oneof![
        Just("S2.strikes"),
        Just("H1.by-hand"),
        Just("H2.pin"),
        Just("H3.outside"),
        Just("C1.classic"),
        Just("what?"),
    ];
    (time(), time(), rule, any::<(bool, bool)>(), proptest::option::of(time()), places(), places()).prop_map(
        |(at, asked_at, rule, (seen_out, by_hand), returning_since, places, left)| Withdrawal {
            at,
            asked_at,
            rule: RuleId::of(rule),
            why: String::new(),
            seen_out,
            returning_since,
            by_hand,
            soft: seen_out,
            quarantine_until: returning_since,
            places,
            left,
        },
    )
}

fn memory() -> impl Strategy<Value = Memory> {
    let node = (1u8..9).prop_map(|i| name(&format!("n{i}")));
    let outs = proptest::collection::btree_map(node.clone(), withdrawal(), 0..5);
    let members = proptest::option::of(proptest::collection::btree_set(node.clone(), 0..8));
    let of_pool = (proptest::option::of(time()), members, outs).prop_map(|(changed_at, members, out)| PoolMemory {
        changed_at,
        members,
        out,
        overload_until: changed_at,
        regret_until: changed_at,
        ..PoolMemory::default()
    });
    let times = (proptest::option::of(time()), proptest::option::of(time()), proptest::option::of(time()));
    let rhythm = proptest::collection::vec(any::<i64>(), 0..12);
    let of = (proptest::collection::btree_map(node, of_node(), 0..8), proptest::option::of(of_pool));
    (proptest::option::of(clock()), rhythm, count(), times, of).prop_map(
        |(last, rhythm, ticks_seen, times, (nodes, of_pool))| Memory {
            last,
            rhythm_ms: rhythm.into(),
            ticks_seen,
            isolated_at: times.0,
            anchored_at: times.1,
            clear_since: times.2,
            nodes,
            pools: of_pool.into_iter().map(|of_pool| (name("p"), of_pool)).collect(),
            told_fleet: times.0.map(|at| (witness::model::FleetVerdict::Overload, at)).into_iter().collect(),
            alerted: Vec::new(),
            holds: vec![],
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::properties::cases(150), max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_in_an_answer_out(
        memory in memory(),
        policy in policy(),
        now in clock(),
        rounds in proptest::collection::vec(round(), 0..12),
        anchors in proptest::option::of((time(), any::<u32>(), any::<u32>())),
        ttls in (span(), any::<u32>()),
        empty in 0usize..4,
        pins in proptest::collection::vec((1u8..9, 0usize..3), 0..4),
        requests in proptest::collection::vec((1u8..9, any::<(bool, bool)>()), 0..4),
        flags in any::<(bool, bool)>(),
    ) {
        let mut world = World::of(6);
        world.fleet.pools.get_mut(&name("p")).unwrap().ttl = ttls.0;
        for (i, set) in world.published.get_mut(&name("p")).unwrap().values_mut().enumerate() {
            set.ttl = ttls.1;
            if i == empty {
                set.addresses.clear();
            }
        }
        if empty == 3 {
            world.published = BTreeMap::new();
        }
        let pins: Vec<Pin> = pins
            .into_iter()
            .map(|(node, state)| Pin {
                node: name(&format!("n{node}")),
                state: [PinState::In, PinState::Out, PinState::Ignore][state],
                since: now.wall,
                until: now.wall,
                reason: String::new(),
            })
            .collect();
        let requests: Vec<Request> = requests
            .into_iter()
            .map(|(node, (withdraw, force))| Request {
                node: name(&format!("n{node}")),
                kind: if withdraw { RequestKind::Withdraw } else { RequestKind::Reinstate },
                force,
                reason: String::new(),
            })
            .collect();
        let situation = Situation {
            now,
            just_started: flags.0,
            fleet: &world.fleet,
            rounds: &rounds,
            sightings: None,
            loads: &[],
            asks: &[],
            can: Default::default(),
            anchors: anchors.map(|(at, ok, of)| AnchorRound { at, ok, of }),
            has_anchors: flags.1,
            published: &world.published,
            pins: &pins,
            requests: &requests,
        };
        let ruling = judge(&policy, &situation, memory.clone());
        prop_assert_eq!(&judge(&policy, &situation, memory.clone()), &ruling);
        let mut turned = rounds.clone();
        turned.reverse();
        prop_assert_eq!(&judge(&policy, &Situation { rounds: &turned, ..situation.clone() }, memory.clone()), &ruling);
        prop_assert_eq!(ruling.judgement.nodes.len(), 6);
        for plan in &ruling.plans {
            for change in &plan.plan().changes {
                prop_assert!(!change.after().is_empty());
                prop_assert!(!change.remove.is_empty() || !change.add.is_empty());
            }
        }
        // And what it remembers can be gone on with.
        let _ = judge(&policy, &situation, ruling.judgement.memory);
    }
}
