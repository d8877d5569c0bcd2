//! The ping probe on loopback. What routers say is in `namespaces`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use witness::clock::Stopwatch;
use witness::model::{Observation, Outcome, OwnFault};
use witness::probe::Prober;

use crate::support::{node, node_at, only, only_ping, ping_settings};

/// Whether this machine permits pings at all.
fn available(prober: &Prober) -> bool {
    let notices = prober.notices();
    for notice in &notices {
        witness_lab::skip("ping of a real host", notice);
    }
    notices.is_empty()
}

#[tokio::test]
async fn a_host_that_answers_passes_over_both_protocols() {
    let prober = Prober::new(only_ping(ping_settings(3))).unwrap();
    if !available(&prober) {
        return;
    }
    for address in ["127.0.0.1", "::1"] {
        let seen = only(prober.round(&node(&[address])).await);
        if seen.outcome == Outcome::Inconclusive(OwnFault::Unavailable)
            || seen.outcome == Outcome::Inconclusive(OwnFault::NoRoute)
        {
            assert_eq!(address, "::1", "{seen:?}");
            witness_lab::skip_machine("ping over IPv6", "there is no IPv6 on this machine");
            continue;
        }
        assert_eq!(seen.outcome, Outcome::Passed, "{address}: {seen:?}");
        assert_eq!((seen.measured.sent, seen.measured.received), (Some(3), Some(3)), "{seen:?}");
        assert!(seen.measured.rtt_us.is_some(), "{seen:?}");
    }
}

/// At the default buffer all but 256 of these replies, or 128 on a raw socket, would be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_lose_nothing() {
    ten_thousand().await;
}

pub(crate) async fn ten_thousand() {
    let prober = Arc::new(Prober::new(only_ping(ping_settings(1))).unwrap());
    if !available(&prober) {
        return;
    }
    let clock = Stopwatch::start();
    let rounds: Vec<_> = (0..10_000_u32)
        .map(|nth| {
            let prober = Arc::clone(&prober);
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 2, 0, 1)) + nth);
            tokio::spawn(async move { only(prober.round(&node_at(vec![address.into()])).await) })
        })
        .collect();
    let mut seen: Vec<Observation> = Vec::new();
    for round in rounds {
        seen.push(round.await.unwrap());
    }
    eprintln!("measured: 10000 pings in {:?}", clock.elapsed());
    let not_passed: Vec<_> = seen.iter().filter(|seen| seen.outcome != Outcome::Passed).take(3).collect();
    assert!(not_passed.is_empty(), "{not_passed:?}");
}

#[tokio::test]
async fn many_echoes_to_one_host_are_told_apart() {
    let prober = Prober::new(only_ping(ping_settings(50))).unwrap();
    if !available(&prober) {
        return;
    }
    let home = node(&["127.0.0.1"]);
    let (one, other) = tokio::join!(prober.round(&home), prober.round(&home));
    for round in [one, other] {
        let seen = only(round);
        assert_eq!((seen.measured.sent, seen.measured.received), (Some(50), Some(50)), "{seen:?}");
    }
}

#[tokio::test]
async fn two_probers_do_not_take_each_others_replies() {
    let (one, other) =
        (Prober::new(only_ping(ping_settings(20))).unwrap(), Prober::new(only_ping(ping_settings(20))).unwrap());
    if !available(&one) {
        return;
    }
    let home = node(&["127.0.0.1"]);
    let (one, other) = tokio::join!(one.round(&home), other.round(&home));
    for round in [one, other] {
        assert_eq!(only(round).measured.received, Some(20));
    }
}
