//! Anything that a ledger may be given to keep.

use std::net::IpAddr;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use witness::model::{
    Action, ActionKind, Evidence, Fault, Guard, Hold, Measured, NodeJudgement, NodeMemory, NodeVerdict, Observation,
    Outcome, OwnFault, Pin, PinState, ProbeKind, Recent, RecordType, Round, RuleId, SetKey, Stage, Standing, Strike,
    Time, TlsFault, Withdrawal,
};

use crate::world::{name, node};

pub(crate) fn time() -> impl Strategy<Value = Time> {
    prop_oneof![4 => (1_700_000_000_000..1_700_000_100_000i64).prop_map(Time), 1 => any::<i64>().prop_map(Time)]
}

pub(crate) fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,20}", "\\PC{0,30}"]
}

pub(crate) fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        select(vec![
            Fault::Refused,
            Fault::Unreachable,
            Fault::Reset,
            Fault::Timeout(Stage::Connect),
            Fault::Timeout(Stage::Command),
            Fault::Tls(TlsFault::Expired),
            Fault::Tls(TlsFault::Protocol),
            Fault::Body,
            Fault::Lost,
            Fault::Protocol,
            Fault::HostKey,
            Fault::Auth,
        ]),
        any::<u16>().prop_map(Fault::Status),
        any::<u16>().prop_map(Fault::Shedding),
        any::<i32>().prop_map(Fault::Exit),
    ]
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Passed),
        fault().prop_map(Outcome::Failed),
        select(vec![OwnFault::NoRoute, OwnFault::Starved, OwnFault::Cancelled]).prop_map(Outcome::Inconclusive),
    ]
}

pub(crate) fn measured() -> impl Strategy<Value = Measured> {
    let us = || option::of(any::<u32>());
    let small = || option::of(any::<u16>());
    ((us(), us(), us(), us(), any::<u32>()), (small(), option::of(any::<i32>()), small(), small()), option::of(words()))
        .prop_map(|((connect_us, secure_us, first_byte_us, rtt_us, total_us), rest, note)| {
            let (status, certificate_days, sent, received) = rest;
            Measured {
                connect_us,
                secure_us,
                first_byte_us,
                total_us,
                status,
                certificate_days,
                sent,
                received,
                rtt_us,
                note,
            }
        })
}

pub(crate) fn any_address() -> impl Strategy<Value = IpAddr> {
    // In another order than they are first seen in.
    select(["192.0.2.9", "192.0.2.10", "2001:db8::1", "192.0.2.1"].map(|text| text.parse().unwrap()).to_vec())
}

/// Mostly rounds as the probes make them, sometimes ones that no prober makes.
pub(crate) fn any_round(of: usize) -> impl Strategy<Value = Round> {
    let seen = (select(ProbeKind::ALL.to_vec()), any_address(), time(), outcome(), measured())
        .prop_map(|(probe, address, at, outcome, measured)| Observation { probe, address, at, outcome, measured });
    (time(), time(), vec(seen, 0..5), 0..4u8).prop_map(move |(started, finished, mut observations, odd)| {
        let mut finished = finished;
        if odd != 0 {
            observations.sort_by_key(|seen| (seen.probe, seen.address));
            observations.dedup_by_key(|seen| (seen.probe, seen.address));
            finished = observations.iter().map(|seen| seen.at).max().unwrap_or(finished);
        }
        Round { node: node(of), started, finished, observations }
    })
}

pub(crate) fn strike() -> impl Strategy<Value = Strike> {
    (time(), vec((select(ProbeKind::ALL.to_vec()), fault()), 0..3)).prop_map(|(at, faults)| Strike { at, faults })
}

pub(crate) fn standing() -> impl Strategy<Value = Standing> {
    select(vec![Standing::Serving, Standing::Suspect, Standing::Withdrawn, Standing::Probation])
}

pub(crate) fn rule() -> impl Strategy<Value = RuleId> {
    select(vec![RuleId::of("S1.clean"), RuleId::of("S4.strikes"), RuleId("by-hand".into())])
}

pub(crate) fn node_memory(of: usize) -> impl Strategy<Value = NodeMemory> {
    (
        (standing(), option::of(time()), vec(strike(), 0..4), option::of(any_round(of))),
        (any::<u32>(), option::of(time()), any::<u32>(), option::of(time())),
        (option::of(time()), vec(any_round(of), 0..3), any::<u32>(), vec(time(), 0..3)),
    )
        .prop_map(|(first, counts, last)| NodeMemory {
            standing: first.0,
            standing_since: first.1,
            strikes: first.2,
            last_round: first.3,
            clean_rounds: counts.0,
            clean_since: counts.1,
            failed_rounds: counts.2,
            failed_since: counts.3,
            last_strike_at: last.0,
            pending: last.1,
            rounds_seen: last.2,
            withdrawals: last.3.clone().into(),
            soft_withdrawals: last.3.into(),
            recent: Recent::default(),
        })
}

pub(crate) fn withdrawal() -> impl Strategy<Value = Withdrawal> {
    let place = (select(vec!["@", "files"]), select(RecordType::ALL.to_vec()), any::<IpAddr>())
        .prop_map(|(owner, rtype, address)| (SetKey { owner: owner.to_owned(), rtype }, address));
    let places = || proptest::collection::btree_set(place.clone(), 0..3);
    ((time(), time(), rule(), words()), (any::<bool>(), option::of(time()), any::<bool>()), places(), places())
        .prop_map(|((at, asked_at, rule, why), (seen_out, returning_since, by_hand), places, left)| Withdrawal {
            at,
            asked_at,
            rule,
            why,
            seen_out,
            returning_since,
            by_hand,
            soft: by_hand,
            quarantine_until: returning_since,
            places,
            left,
        })
}

pub(crate) fn hold() -> impl Strategy<Value = Hold> {
    (
        select(vec![ActionKind::Withdraw, ActionKind::Reinstate]),
        0..4usize,
        option::of(Just(name("files"))),
        select(vec![Guard::Keep, Guard::Settle]),
        words(),
    )
        .prop_map(|(kind, of, pool, guard, why)| Hold { kind, node: node(of), pool, guard, why })
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    (
        select(vec![ActionKind::Withdraw, ActionKind::Alert, ActionKind::Alert, ActionKind::Shed]),
        option::of(0..4usize),
        option::of(0..3u8),
        rule(),
        words(),
    )
        .prop_map(|(kind, of, step, rule, why)| Action { kind, node: of.map(node), pool: None, step, rule, why })
}

pub(crate) fn judged(of: usize) -> impl Strategy<Value = NodeJudgement> {
    let pin = (time(), words()).prop_map(move |(at, reason)| Pin {
        node: node(of),
        state: PinState::Out,
        since: at,
        until: Time(at.0.saturating_add(1)),
        reason,
    });
    (
        select(vec![NodeVerdict::Healthy, NodeVerdict::Dead, NodeVerdict::Unknown]),
        standing(),
        option::weighted(0.2, pin),
        0..5u32,
        rule(),
        words(),
        btree_map(select(vec![name("files"), name("mail")]), any::<bool>(), 0..3),
    )
        .prop_map(move |(verdict, standing, pin, strikes, rule, why, in_dns)| NodeJudgement {
            node: node(of),
            verdict,
            evidence: Evidence::NoData,
            standing,
            pin,
            strikes,
            rule,
            why,
            in_dns,
        })
}
