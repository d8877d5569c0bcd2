//! History and the views for people.

use std::collections::BTreeSet;

use rusqlite::Connection;
use witness::ledger::{Event, EventKind, Happening, HistoryQuery, Ledger};
use witness::model::{
    Action, ActionKind, Fault, Guard, Hold, IntentState, Memory, Outcome, OwnFault, Pin, PinState, Request,
    RequestKind, RuleId, Stage, Time, TlsFault,
};

use crate::world::{INTERVAL, START, name, node, place, plan, round, tick};

fn all() -> HistoryQuery {
    HistoryQuery { node: None, from: Time(0), to: Time(i64::MAX), kinds: EventKind::ALL.into(), limit: 10_000 }
}

fn of(kind: EventKind) -> HistoryQuery {
    HistoryQuery { kinds: BTreeSet::from([kind]), ..all() }
}

/// Five ticks in which slice0 is withdrawn by the fourth; with a hold, an alert, a request, a write and a pin.
fn eventful(ledger: &mut Ledger) {
    let mut memory = Memory::default();
    for number in 0..5 {
        let mut tick = tick(number, 4, &mut memory);
        let at = tick.judgement.now.wall;
        if number >= 2 {
            tick.judgement.holds = vec![Hold {
                kind: ActionKind::Withdraw,
                node: node(1),
                pool: Some(name("files")),
                guard: Guard::Keep,
                why: format!("tick {number}"),
            }];
            tick.judgement.actions.push(Action {
                kind: ActionKind::Alert,
                node: Some(node(1)),
                pool: None,
                step: None,
                rule: RuleId::of("G.keep"),
                why: format!("held in tick {number}"),
            });
        }
        if number == 4 {
            let reason = "by hand".to_owned();
            tick.request = Some(Request { node: node(2), kind: RequestKind::Withdraw, force: false, reason });
        }
        let judgement = ledger.record_tick(&tick).unwrap();
        if number == 3 {
            let intent = ledger.intend(judgement, at.shifted(1), &plan(0)).unwrap();
            ledger.conclude(intent, IntentState::Applied, at.shifted(2), "receipt 7").unwrap();
            ledger.conclude(intent, IntentState::Confirmed, at.shifted(3), "").unwrap();
            ledger.publication(intent, "192.0.2.53:53", at.shifted(5), Some(at.shifted(4)), "").unwrap();
            let pin = Pin {
                node: node(3),
                state: PinState::Out,
                since: at,
                until: at.shifted(50),
                reason: "disk".to_owned(),
            };
            ledger.pin(&pin).unwrap();
        }
    }
}

fn words(event: &Event) -> String {
    let node = event.node.as_ref().map_or("-", |node| node.as_str());
    let what = match &event.what {
        Happening::Observed(seen) => format!("{} {}", seen.probe, seen.outcome),
        Happening::Struck(strike) => format!("strike {}", strike.faults.len()),
        Happening::Fleet { fleet, vantage } => format!("fleet {fleet} {vantage}"),
        Happening::Judged(state) => format!("{} {}", state.judged.verdict, state.judged.standing),
        Happening::Held(hold) => format!("held by {} until {:?}", hold.what.guard, hold.until),
        Happening::Requested(request) => format!("asked for: {}", request.reason),
        Happening::Decided(action) => format!("{} {}", action.what.kind, action.what.rule),
        Happening::Intent { id, state, note, plan } => format!("intent {id} {state} {note:?} {}", plan.changes[0]),
        Happening::Published(publication) => format!("published on {}", publication.server),
        Happening::Pinned(pin) => format!("pin {}", pin.state),
        Happening::Unpinned(pin) => format!("unpin {}", pin.state),
    };
    format!("{:+} {node}: {what}", event.at.0 - START)
}

#[test]
fn it_reads_as_it_happened() {
    let mut ledger = Ledger::in_memory();
    eventful(&mut ledger);
    let kinds = [EventKind::Strikes, EventKind::Verdicts, EventKind::Holds, EventKind::Changes];
    let events = ledger.view().history(&HistoryQuery { kinds: kinds.into(), ..all() }).unwrap();
    let told: Vec<String> = events.iter().map(words).collect();
    assert_eq!(
        told,
        [
            "-300 slice0: strike 1",
            "+0 -: fleet single-fault clear",
            "+0 slice0: dead suspect",
            "+0 slice1: healthy serving",
            "+0 slice2: healthy serving",
            "+0 slice3: healthy serving",
            "+9700 slice0: strike 1",
            "+19700 slice0: strike 1",
            "+20000 slice1: held by keep until None",
            "+20000 slice1: alert G.keep",
            "+29700 slice0: strike 1",
            "+30000 slice0: dead withdrawn",
            "+30000 slice0: withdraw S4.strikes",
            "+30000 slice3: pin out",
            "+30001 -: intent 1 intended \"\" files A: -192.0.2.10",
            "+30002 -: intent 1 applied \"receipt 7\" files A: -192.0.2.10",
            "+30003 -: intent 1 confirmed \"\" files A: -192.0.2.10",
            "+30004 -: published on 192.0.2.53:53",
            "+30050 slice3: unpin out",
            "+39700 slice0: strike 1",
            "+40000 slice2: asked for: by hand",
        ]
    );
}

#[test]
fn filters_and_limits() {
    let mut ledger = Ledger::in_memory();
    eventful(&mut ledger);
    let count = |query: HistoryQuery| ledger.view().history(&query).unwrap().len();
    assert_eq!(count(of(EventKind::Probes)), 5 * 4 * 2);
    assert_eq!(count(of(EventKind::Strikes)), 5);
    assert_eq!(count(of(EventKind::Holds)), 1);
    assert_eq!(count(HistoryQuery { node: Some(node(0)), ..of(EventKind::Probes) }), 10);
    assert_eq!(count(HistoryQuery { node: Some(node(1)), ..of(EventKind::Strikes) }), 0);
    assert_eq!(count(HistoryQuery { node: Some(node(1)), ..of(EventKind::Holds) }), 1);
    assert_eq!(count(HistoryQuery { node: Some(node(99)), ..all() }), 0);
    assert_eq!(count(HistoryQuery { kinds: BTreeSet::new(), ..all() }), 0);
    // A write concerns the node that it was made for.
    assert_eq!(count(HistoryQuery { node: Some(node(0)), ..of(EventKind::Changes) }), 5);
    assert_eq!(count(HistoryQuery { node: Some(node(3)), ..of(EventKind::Changes) }), 2);

    let from = Time(START + 3 * INTERVAL);
    let since = ledger.view().history(&HistoryQuery { from, ..all() }).unwrap();
    assert!(since.iter().all(|event| event.at.0 >= from.0 - 320), "a tick's probes ended just before it");
    let until = ledger.view().history(&HistoryQuery { to: Time(START), ..all() }).unwrap();
    assert!(!until.is_empty() && until.iter().all(|event| event.at.0 <= START));

    let whole = ledger.view().history(&all()).unwrap();
    assert!(whole.is_sorted_by_key(|event| event.at), "newest last");
    for limit in [0, 1, 2, 7, 40, whole.len(), whole.len() + 1] {
        let some = ledger.view().history(&HistoryQuery { limit, ..all() }).unwrap();
        assert_eq!(some, whole[whole.len().saturating_sub(limit)..], "the newest {limit}");
    }
}

#[test]
fn an_export_reads_every_tick_once() {
    let mut ledger = Ledger::in_memory();
    eventful(&mut ledger);
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = ledger.view().ticks(after, Time(START + 1), Time(i64::MAX), 3).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = last.id;
        seen.extend(page.into_iter().map(|(judgement, rounds)| (judgement.id, rounds.len(), rounds[3].clone())));
    }
    let mut memory = Memory::default();
    let expected: Vec<_> =
        (0..5).map(|number| (number + 1, 4, tick(number, 4, &mut memory).rounds[3].clone())).collect();
    assert_eq!(seen, expected[1..]);
}

#[test]
fn the_views_speak_the_models_words() {
    let (_dir, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    let stages = ["connect", "tls", "request", "body", "banner", "handshake", "login", "command"]
        .map(|name| serde_json::from_str::<Stage>(&format!("{name:?}")).unwrap());
    let tls = ["expired", "not-yet-valid", "unknown-issuer", "wrong-name", "bad-certificate", "version", "protocol"]
        .map(|name| serde_json::from_str::<TlsFault>(&format!("{name:?}")).unwrap());
    let own = ["no-route", "resources", "dns", "firewall", "starved", "unavailable", "cancelled"]
        .map(|name| serde_json::from_str::<OwnFault>(&format!("{name:?}")).unwrap());
    let plain = ["refused", "unreachable", "reset", "body", "lost", "protocol", "host-key", "auth"]
        .map(|name| serde_json::from_str::<Fault>(&format!("{name:?}")).unwrap());
    let faults = (plain.into_iter()).chain(stages.map(Fault::Timeout)).chain(tls.map(Fault::Tls)).chain([
        Fault::Status(404),
        Fault::Shedding(503),
        Fault::Exit(-1),
        Fault::Exit(255),
    ]);
    let outcomes: Vec<Outcome> =
        faults.map(Outcome::Failed).chain(own.map(Outcome::Inconclusive)).chain([Outcome::Passed]).collect();
    let mut memory = Memory::default();
    let mut all = tick(0, 4, &mut memory);
    all.rounds = (outcomes.iter().zip(0..))
        .map(|(outcome, number)| {
            let mut round = round(0, START + number, None);
            round.observations.truncate(1);
            round.observations[0].outcome = *outcome;
            round
        })
        .collect();
    ledger.record_tick(&all).unwrap();
    let db = Connection::open(&path).unwrap();
    let mut select = db.prepare("SELECT outcome FROM v_observation ORDER BY at").unwrap();
    let told: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(told, outcomes.iter().map(ToString::to_string).collect::<Vec<_>>());

    let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        text("SELECT fleet || ' ' || vantage || ' ' || at FROM v_judgement"),
        "single-fault clear 2023-11-14T22:13:20.000Z"
    );
    assert_eq!(text("SELECT probe || ' ' || address FROM v_observation LIMIT 1"), "https 192.0.2.10");
    assert_eq!(text("SELECT verdict || ' ' || standing FROM v_node WHERE node = 'slice0'"), "dead suspect");
    ledger.intend(1, Time(START), &plan(0)).unwrap();
    assert_eq!(text("SELECT state || ' ' || pool FROM v_intent"), "intended files");
}
