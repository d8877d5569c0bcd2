//! What is written is what is read back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use witness::ledger::{Ledger, LedgerError, TickRecord};
use witness::model::{
    Action, ActionKind, AnchorRound, ClockReading, FleetVerdict, Guard, Hold, IntentState, Judgement, Memory, NodeId,
    NodeJudgement, NodeMemory, Pin, PinState, PoolMemory, ProbeAdvice, Request, RequestKind, Round, RuleId, Standing,
    Strike, Time, Vantage, Withdrawal,
};

use crate::any::{action, any_round, hold, judged, node_memory, strike, withdrawal};
use crate::world::{clock, name, node, place, plan, sets, tick, ticked};

/// How one tick differs from the one before: of each node, whether it is there, has rounds, is remembered as observed, ...
#[derive(Clone, Debug)]
struct Step {
    at: i64,
    fleet: FleetVerdict,
    vantage: Vantage,
    there: Vec<usize>,
    rounds: Vec<Round>,
    /// Of which nodes the memory is new; the others' last round may become the one observed.
    fresh: BTreeMap<usize, NodeMemory>,
    forgotten: Vec<usize>,
    judged: BTreeMap<usize, NodeJudgement>,
    strikes: Vec<(usize, Strike)>,
    actions: Vec<Action>,
    holds: Vec<Hold>,
    out: BTreeMap<NodeId, Withdrawal>,
}

fn step() -> impl Strategy<Value = Step> {
    let each = |some: fn(usize) -> BoxedStrategy<NodeMemory>| {
        subsequence(vec![0usize, 1, 2, 3], 0..3)
            .prop_flat_map(move |of| of.into_iter().map(|n| (Just(n), some(n))).collect::<Vec<_>>())
    };
    let judgements = subsequence(vec![0usize, 1, 2, 3], 0..=4)
        .prop_flat_map(|of| of.into_iter().map(|n| (Just(n), judged(n))).collect::<Vec<_>>());
    (
        (
            0..1_000_000i64,
            select(vec![FleetVerdict::Normal, FleetVerdict::Dark]),
            select(vec![Vantage::Clear, Vantage::Isolated]),
        ),
        subsequence(vec![0usize, 1, 2, 3], 2..=4),
        vec((0..4usize).prop_flat_map(any_round), 0..6),
        each(|n| node_memory(n).boxed()),
        subsequence(vec![0usize, 1, 2, 3], 0..2),
        judgements,
        vec((0..4usize, strike()), 0..3),
        vec(action(), 0..3),
        (vec(hold(), 0..3), option::of(withdrawal())),
    )
        .prop_map(
            |((at, fleet, vantage), there, rounds, fresh, forgotten, judged, strikes, actions, (holds, out))| Step {
                at: 1_700_000_000_000 + at,
                fleet,
                vantage,
                there,
                rounds,
                fresh: fresh.into_iter().collect(),
                forgotten,
                judged: judged.into_iter().collect(),
                strikes,
                actions,
                holds,
                out: out.map(|out| (node(1), out)).into_iter().collect(),
            },
        )
}

/// What the shell would record for the step.
fn record(step: Step, memory: &mut Memory, latest: &mut BTreeMap<usize, NodeJudgement>) -> TickRecord {
    for of in step.forgotten {
        memory.nodes.remove(&node(of));
    }
    for (of, fresh) in step.fresh {
        memory.nodes.insert(node(of), fresh);
    }
    for round in &step.rounds {
        if let Some(remembered) = memory.nodes.get_mut(&round.node) {
            remembered.last_round = Some(round.clone());
            remembered.clean_rounds = remembered.clean_rounds.wrapping_add(1);
        }
    }
    latest.extend(step.judged);
    let now = clock(step.at);
    memory.last = Some(now.clone());
    memory.rhythm_ms = VecDeque::from([step.at]);
    memory.isolated_at = (step.vantage == Vantage::Isolated).then_some(now.wall);
    memory.anchored_at = Some(now.wall.minus(std::time::Duration::from_millis(300)));
    memory.clear_since = Some(now.wall.minus(std::time::Duration::from_millis(700)));
    memory.pools.insert(
        name("files"),
        PoolMemory {
            changed_at: Some(now.wall),
            members: Some([node(0)].into()),
            out: step.out,
            ..PoolMemory::default()
        },
    );
    memory.holds = step.holds.clone();
    TickRecord {
        rounds: step.rounds,
        loads: Vec::new(),
        asks: Vec::new(),
        anchors: None,
        request: None,
        judgement: Judgement {
            now,
            vantage: step.vantage,
            fleet: step.fleet,
            fleet_rule: RuleId::of("S1.clean"),
            fleet_why: String::new(),
            nodes: step.there.iter().filter_map(|of| latest.get(of).cloned()).collect(),
            strikes: step.strikes.into_iter().map(|(of, strike)| (node(of), strike)).collect(),
            actions: step.actions,
            holds: step.holds,
            probe: ProbeAdvice::default(),
            memory: memory.clone(),
        },
    }
}

/// What of a judged node is kept as it was; the words are those of the change.
fn essence(judged: &NodeJudgement) -> NodeJudgement {
    NodeJudgement { why: String::new(), ..judged.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_states_come_back(steps in vec((step(), 0..4u8), 1..12)) {
        let (_dir, path) = place();
        let mut ledger = Ledger::open(&path).unwrap();
        let (mut memory, mut latest) = (Memory::default(), BTreeMap::new());
        let mut recorded: Vec<(i64, Judgement)> = Vec::new();
        for (step, by) in steps {
            let tick = record(step, &mut memory, &mut latest);
            // Now and then another process ticks, or the same one after a restart.
            let id = match by {
                0 => Ledger::open(&path).unwrap().record_tick(&tick).unwrap(),
                1 => {
                    ledger = Ledger::open(&path).unwrap();
                    ledger.record_tick(&tick).unwrap()
                }
                _ => ledger.record_tick(&tick).unwrap(),
            };
            prop_assert_eq!(&ledger.memory().unwrap(), &memory);
            recorded.push((id, tick.judgement));
        }
        for (id, judgement) in &recorded {
            let chain = ledger.view().chain(*id, None).unwrap().unwrap();
            let there: Vec<_> = chain.nodes.iter().map(|state| essence(&state.judged)).collect();
            prop_assert_eq!(there, judgement.nodes.iter().map(essence).collect::<Vec<_>>());
            prop_assert_eq!((chain.judgement.fleet, chain.judgement.vantage), (judgement.fleet, judgement.vantage));
            prop_assert_eq!(&chain.judgement.now, &judgement.now);
            let key = |hold: &Hold| (hold.kind, hold.node.clone(), hold.pool.clone(), hold.guard);
            let held: BTreeSet<_> = chain.holds.iter().map(|held| key(&held.what)).collect();
            prop_assert_eq!(held, judgement.holds.iter().map(key).collect::<BTreeSet<_>>());
            let key = |action: &Action| (action.kind, action.node.clone(), action.step, action.rule.clone());
            let acted: BTreeSet<_> = chain.actions.iter().map(|action| key(&action.what)).collect();
            prop_assert_eq!(acted, judgement.actions.iter().map(key).collect::<BTreeSet<_>>());
        }
        ledger.view().integrity().unwrap();
    }
}

#[test]
fn quiet_ticks_write_no_rows_about_nodes() {
    let mut ledger = Ledger::in_memory();
    let mut memory = Memory::default();
    let mut quiet = tick(0, 4, &mut memory);
    quiet.judgement.strikes.clear();
    quiet.judgement.actions.clear();
    let first = ledger.record_tick(&quiet).unwrap();
    for _ in 0..10 {
        quiet.judgement.nodes.iter_mut().for_each(|node| node.why.push_str(" still"));
        ledger.record_tick(&quiet).unwrap();
    }
    let states = ledger.view().states(i64::MAX, None).unwrap();
    assert_eq!(states.iter().map(|state| state.judgement).collect::<Vec<_>>(), [first; 4]);
    assert_eq!(ledger.view().last_news(None).unwrap(), Some(first));
    assert_eq!(ledger.view().last_news(Some(&node(9))).unwrap(), None);
}

#[test]
fn a_hold_that_stands_is_one_row_with_the_first_words() {
    let mut ledger = Ledger::in_memory();
    let mut memory = Memory::default();
    let hold = |why: &str| Hold {
        kind: ActionKind::Withdraw,
        node: node(1),
        pool: Some(name("files")),
        guard: Guard::Settle,
        why: why.to_owned(),
    };
    let mut with = |holds: Vec<Hold>| {
        let mut tick = tick(1, 4, &mut memory);
        tick.judgement.holds = holds;
        tick
    };
    let one = ledger.record_tick(&with(vec![hold("31 s ago")])).unwrap();
    let two = ledger.record_tick(&with(vec![hold("41 s ago"), hold("41 s ago")])).unwrap();
    assert_eq!(ledger.view().standing().unwrap().0, [hold("31 s ago")]);
    let three = ledger.record_tick(&with(vec![])).unwrap();
    let four = ledger.record_tick(&with(vec![hold("1 s ago")])).unwrap();
    let holds_of = |id| ledger.view().chain(id, None).unwrap().unwrap().holds;
    assert_eq!(holds_of(two).len(), 1);
    assert_eq!((holds_of(two)[0].judgement, holds_of(two)[0].until), (one, Some(three)));
    assert!(holds_of(three).is_empty());
    assert_eq!((holds_of(four)[0].judgement, holds_of(four)[0].until), (four, None));
}

#[test]
fn evidence_is_kept_with_what_was_done() {
    let mut ledger = Ledger::in_memory();
    let ids = ticked(&mut ledger, 0..5);
    // The first node fails in the first ten ticks: four strikes withdraw it.
    let chain = ledger.view().chain(ids[3], Some(&node(0))).unwrap().unwrap();
    assert_eq!(chain.actions.len(), 1);
    assert_eq!(chain.nodes.len(), 1);
    let state = &chain.nodes[0];
    assert_eq!((state.judgement, state.judged.standing), (ids[3], Standing::Withdrawn));
    assert_eq!(chain.strikes[&node(0)].len(), 4);
    let (from, to) = state.seen.unwrap();
    assert!(chain.strikes[&node(0)].iter().all(|strike| (from..=to).contains(&strike.at)));
    let evidence = state.evidence.as_ref().unwrap();
    assert!(evidence.failed());
    assert_eq!(chain.rounds.first(), Some(evidence));
    assert_eq!(chain.rounds[0].observations[0].measured.note.as_deref(), Some("it said timeout:connect"));
    assert_eq!(ledger.view().chain(9999, None).unwrap(), None);
    let of_nobody = ledger.view().chain(ids[3], Some(&node(99))).unwrap().unwrap();
    assert!(of_nobody.nodes.is_empty() && of_nobody.rounds.is_empty() && of_nobody.actions.is_empty());
}

#[test]
fn requests_and_anchors_are_kept() {
    let mut ledger = Ledger::in_memory();
    let mut tick = tick(1, 4, &mut Memory::default());
    let request =
        Request { node: node(2), kind: RequestKind::Reinstate, force: true, reason: "disk replaced".to_owned() };
    tick.request = Some(request.clone());
    tick.anchors = Some(AnchorRound { at: Time(7), ok: 0, of: 3 });
    let id = ledger.record_tick(&tick).unwrap();
    let row = ledger.view().judgement(id).unwrap().unwrap();
    assert_eq!((row.request, row.anchors), (Some(request), tick.anchors));
    assert_eq!(
        (row.nodes, row.suspect, row.withdrawn, row.probation, row.rounds, row.failed_rounds),
        (4, 1, 0, 0, 4, 1)
    );
    assert!(row.news);
}

#[test]
fn the_last_round_of_each_node() {
    let mut ledger = Ledger::in_memory();
    let mut memory = Memory::default();
    ledger.record_tick(&tick(0, 4, &mut memory)).unwrap();
    let mut second = tick(1, 4, &mut memory);
    let newest = second.rounds[1].clone();
    second.rounds.truncate(2);
    ledger.record_tick(&second).unwrap();
    let last = ledger.view().last_rounds(None).unwrap();
    assert_eq!(last.len(), 4);
    assert_eq!(last[1], newest);
    assert!(last[2].finished < newest.finished);
    assert_eq!(ledger.view().last_rounds(Some(&node(1))).unwrap(), [newest]);
}

#[test]
fn an_intents_life() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let judgement = ticked(&mut ledger, 0..1)[0];
    assert!(matches!(ledger.intend(99, Time(1), &plan(1)), Err(LedgerError::Unknown { .. })));
    let id = ledger.intend(judgement, Time(1), &plan(1)).unwrap();
    drop(ledger);

    let mut ledger = Ledger::open(&path).unwrap();
    let open = ledger.open_intents().unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].id, open[0].judgement, open[0].at, open[0].state),
        (id, judgement, Time(1), IntentState::Intended)
    );
    assert_eq!(open[0].plan, plan(1));

    ledger.conclude(id, IntentState::Unknown, Time(2), "no answer in 30 s").unwrap();
    assert_eq!(ledger.open_intents().unwrap()[0].note, "no answer in 30 s");
    assert!(matches!(ledger.conclude(id, IntentState::Intended, Time(3), ""), Err(LedgerError::Closed { .. })));
    ledger.conclude(id, IntentState::Confirmed, Time(3), "read back").unwrap();
    assert!(ledger.open_intents().unwrap().is_empty());
    ledger.conclude(id, IntentState::Confirmed, Time(9), "said twice").unwrap();
    let error = ledger.conclude(id, IntentState::Failed, Time(4), "").unwrap_err();
    assert_eq!(error.to_string(), format!("conclude intent {id} as failed: it is already confirmed"));
    assert!(matches!(ledger.conclude(99, IntentState::Failed, Time(4), ""), Err(LedgerError::Unknown { .. })));
    let kept = ledger.view().intent(id).unwrap().unwrap();
    assert_eq!((kept.state, kept.state_at, &*kept.note), (IntentState::Confirmed, Time(3), "read back"));
    assert_eq!(ledger.view().intents(Time(0), Time(1)).unwrap(), [kept]);
}

#[test]
fn every_state_but_three_is_an_end() {
    let mut ledger = Ledger::in_memory();
    let judgement = ticked(&mut ledger, 0..1)[0];
    for state in IntentState::ALL {
        let id = ledger.intend(judgement, Time(1), &plan(1)).unwrap();
        ledger.conclude(id, state, Time(2), "").unwrap();
        let open = ledger.open_intents().unwrap().iter().any(|intent| intent.id == id);
        assert_eq!(open, !state.is_final(), "{state}");
    }
}

#[test]
fn snapshots_readings_and_publications() {
    let mut ledger = Ledger::in_memory();
    let (files, registrar) = (name("files"), name("main"));
    let judgement = ticked(&mut ledger, 0..1)[0];
    let intent = ledger.intend(judgement, Time(1), &plan(1)).unwrap();
    let raw = serde_json::json!({"rows": [{"Name": "@", "Type": "MX"}, null, 1.5, "\u{e9}"]});
    let id = ledger.snapshot(Time(2), &files, "example.com", &registrar, &sets(0..4), &raw, Some(intent)).unwrap();
    let by_hand = ledger.snapshot(Time(3), &name("mail"), "example.net", &registrar, &sets(0..0), &raw, None).unwrap();
    let kept = ledger.view().snapshot(id).unwrap().unwrap();
    assert_eq!((kept.sets, kept.preimage, kept.entry.intent), (sets(0..4), raw.clone(), Some(intent)));
    let listed = ledger.view().snapshots(None).unwrap();
    assert_eq!(listed.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id, by_hand]);
    assert_eq!(ledger.view().snapshots(Some(&files)).unwrap().len(), 1);
    assert_eq!(ledger.view().snapshot(99).unwrap(), None);
    assert!(ledger.snapshot(Time(2), &files, "example.com", &registrar, &sets(0..4), &raw, Some(99)).is_err());

    assert_eq!(ledger.last_reading(&files).unwrap(), None);
    for (at, nodes) in [(10, 0..4), (20, 0..4), (30, 0..3), (40, 0..4)] {
        ledger.save_reading(&files, Time(at), &sets(nodes)).unwrap();
    }
    assert_eq!(ledger.last_reading(&files).unwrap(), Some((Time(40), sets(0..4))));
    assert_eq!(ledger.last_reading(&name("mail")).unwrap(), None);
    let between = ledger.view().readings(&files, Time(15), Time(35)).unwrap();
    assert_eq!(between, [(Time(10), sets(0..4)), (Time(30), sets(0..3))]);

    ledger.publication(intent, "192.0.2.53:53", Time(5), None, "not within 120 s").unwrap();
    ledger.publication(intent, "192.0.2.53:53", Time(9), Some(Time(8)), "late").unwrap();
    ledger.publication(intent, "192.0.2.54:53", Time(5), Some(Time(4)), "").unwrap();
    let seen: Vec<_> = ledger.view().publications(intent).unwrap().iter().map(|p| (p.at, p.seen)).collect();
    assert_eq!(seen, [(Time(9), Some(Time(8))), (Time(5), Some(Time(4)))]);
    assert!(matches!(ledger.publication(99, "x", Time(1), None, ""), Err(LedgerError::Unknown { .. })));
}

#[test]
fn pins_end_by_themselves() {
    let mut ledger = Ledger::in_memory();
    let pin = |of: usize, state, since, until| Pin {
        node: node(of),
        state,
        since: Time(since),
        until: Time(until),
        reason: "kernel update".to_owned(),
    };
    ledger.pin(&pin(1, PinState::Out, 100, 200)).unwrap();
    ledger.pin(&pin(0, PinState::In, 100, 300)).unwrap();
    assert_eq!(ledger.pins(Time(199)).unwrap(), [pin(0, PinState::In, 100, 300), pin(1, PinState::Out, 100, 200)]);
    assert_eq!(ledger.pins(Time(200)).unwrap(), [pin(0, PinState::In, 100, 300)]);
    assert_eq!(ledger.pins(Time(50)).unwrap().len(), 2, "a clock that went back lifts no pin");
    ledger.pin(&pin(0, PinState::Ignore, 150, 400)).unwrap();
    assert_eq!(ledger.pins(Time(160)).unwrap()[0], pin(0, PinState::Ignore, 150, 400), "the newer one counts");
    assert!(ledger.unpin(&node(0), Time(170)).unwrap());
    assert!(!ledger.unpin(&node(0), Time(170)).unwrap());
    assert!(!ledger.unpin(&node(1), Time(250)).unwrap(), "it had ended already");
    assert!(!ledger.unpin(&node(9), Time(170)).unwrap());
    assert_eq!(ledger.view().pins(Time(180)).unwrap(), [pin(1, PinState::Out, 100, 200)]);
    let past = ledger.view().past_pins(Time(0), Time(1000)).unwrap();
    assert_eq!(past.iter().map(|past| past.ended_at).collect::<Vec<_>>(), [None, Some(Time(150)), Some(Time(170))]);
}

#[test]
fn clock_readings_come_back() {
    let mut ledger = Ledger::in_memory();
    for (at, boot) in [(1_700_000_000_000, "one"), (1_600_000_000_000, "two"), (0, ""), (-5, "one")] {
        let mut tick = tick(0, 4, &mut Memory::default());
        tick.judgement.now = ClockReading { wall: Time(at), boot_ms: at / 7, boot_id: boot.to_owned() };
        let id = ledger.record_tick(&tick).unwrap();
        assert_eq!(ledger.view().judgement(id).unwrap().unwrap().now, tick.judgement.now);
        let shown = ledger.view().chain(id, None).unwrap().unwrap().rounds;
        assert_eq!(shown, tick.rounds, "times are told from the judgement's own");
    }
}

#[test]
fn too_many_words_in_one_tick_are_let_go() {
    let mut ledger = Ledger::in_memory();
    let mut memory = Memory::default();
    let mut tick = tick(0, 1, &mut memory);
    let seen = tick.rounds[0].observations[0].clone();
    tick.rounds = (0..5000usize)
        .map(|number| {
            let mut seen = seen.clone();
            seen.measured.note = Some(format!("words {number}"));
            let node = NodeId::new(&format!("n{number}")).unwrap();
            Round { node, started: seen.at, finished: seen.at, observations: vec![seen] }
        })
        .collect();
    let many: BTreeMap<NodeId, NodeMemory> = tick
        .rounds
        .iter()
        .map(|round| (round.node.clone(), NodeMemory { last_round: Some(round.clone()), ..NodeMemory::default() }))
        .collect();
    tick.judgement.memory.nodes = many;
    let id = ledger.record_tick(&tick).unwrap();
    let rounds = ledger.view().chain(id, None).unwrap().unwrap().rounds;
    let with_words = rounds.iter().filter(|round| round.observations[0].measured.note.is_some()).count();
    assert_eq!((rounds.len(), with_words), (5000, 4096));
    assert_eq!(ledger.memory().unwrap(), tick.judgement.memory, "what the rule remembers is exact all the same");
}
