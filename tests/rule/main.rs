//! The rule, driven tick by tick: each branch of it and each guard, and what must hold whatever happens.

#![expect(clippy::unwrap_used, reason = "tests may, and so may what they lean on")]

mod adversity;
mod approval;
mod cron;
mod people;
mod properties;
mod rubbish;
mod world;

use std::net::IpAddr;

use witness::model::{
    FleetVerdict, NodeVerdict, PinState, ProbeKind, RecordType, Request, RequestKind, Standing, Vantage,
};

use world::{FOREIGN, Sees, World, actions, holds, name, of};

const FINE: Sees = Sees::Fine;
const DEAD: Sees = Sees::Silent;

/// A world of four that has been watched long enough to be judged.
fn warm() -> World {
    warmed(World::of(4))
}

fn warmed(mut world: World) -> World {
    world.ticks(5, 60, &[FINE]);
    world
}

fn request(kind: RequestKind, node: &str, force: bool) -> Request {
    Request { node: name(node), kind, force, reason: "because".to_owned() }
}

#[test]
fn four_strikes_withdraw_and_three_do_not() {
    let mut world = warm();
    let third = world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&third, "n1").strikes, 3);
    assert_eq!(actions(&third), Vec::<String>::new());
    assert_eq!(of(&third, "n1").standing, Standing::Suspect);
    let fourth = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&fourth), ["withdraw n1 S2.strikes"]);
    assert_eq!(of(&fourth, "n1").verdict, NodeVerdict::Dead);
    assert_eq!(of(&fourth, "n1").standing, Standing::Withdrawn);
    assert_eq!(fourth.fleet, FleetVerdict::SingleFault);
    assert_eq!(world.in_dns(), ["n2", "n3", "n4"]);
    assert!(world.set("@", RecordType::A).contains(&FOREIGN.to_owned()));
    assert!(of(&fourth, "n1").why.contains("https timeout:connect x4"), "{}", of(&fourth, "n1").why);
}

#[test]
fn fast_rounds_of_one_incident_are_one_strike() {
    let mut world = warm();
    let last = world.ticks(29, 2, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&last, "n1").strikes, 1);
    let last = world.ticks(2, 2, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&last, "n1").strikes, 2);
}

#[test]
fn a_round_that_begins_a_twentieth_early_is_on_time() {
    let dead = [DEAD, FINE, FINE, FINE];
    let mut world = warm();
    world.ticks(1, 60, &dead);
    assert_eq!(of(&world.ticks(1, 56, &dead), "n1").strikes, 1, "56 s are no 57");
    assert_eq!(of(&world.ticks(1, 1, &dead), "n1").strikes, 2);
    // And it begins anew from there.
    assert_eq!(of(&world.ticks(1, 56, &dead), "n1").strikes, 2);
}

#[test]
fn strikes_age_out_of_the_window() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.ticks(57, 60, &[FINE]);
    let last = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&last, "n1").strikes, 3, "the first of four is 60 minutes old");
    assert_eq!(actions(&last), Vec::<String>::new());
}

#[test]
fn interleaved_successes_do_not_erase_strikes() {
    let mut world = warm();
    for _ in 0..3 {
        world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
        world.ticks(4, 60, &[FINE]);
    }
    let last = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&last), ["withdraw n1 S2.strikes"]);
}

#[test]
fn strikes_close_together_between_successes_are_not_one_nodes_alone_yet() {
    // So an overload begins: at its weakest node, now and then, within minutes.
    let mut world = warm();
    for _ in 0..3 {
        world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
        world.ticks(2, 60, &[FINE]);
    }
    let last = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(holds(&last), ["withdraw n1 capacity"]);
    assert_eq!(actions(&last), ["alert n1 S2.strikes"]);
}

#[test]
fn a_nomination_is_not_carried_out_once_the_node_serves_again() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    // The fourth strike falls into a time in which nothing may be changed.
    world.just_started = true;
    let fourth = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(holds(&fourth), ["withdraw n1 warmup"]);
    let later = world.ticks(4, 60, &[FINE]);
    assert_eq!(holds(&later), ["withdraw n1 still-serves"]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn the_last_n_are_never_taken() {
    let mut world = warm();
    world.policy.max_withdrawn = 4;
    let down = [Sees::Refused, Sees::Refused, Sees::Refused, FINE];
    let last = world.ticks(4, 60, &down);
    assert_eq!(actions(&last), ["withdraw n1 R6.down", "withdraw n2 R6.down"]);
    assert_eq!(holds(&last), ["withdraw n3 keep"]);
    let later = world.ticks(30, 60, &down);
    assert_eq!(world.in_dns(), ["n3", "n4"]);
    assert_eq!(holds(&later), ["withdraw n3 keep"]);
}

#[test]
fn where_nobody_answers_nobody_is_taken() {
    for (sees, rule) in [(DEAD, "S2.strikes"), (Sees::Refused, "R6.down")] {
        let mut world = warm();
        world.policy.max_withdrawn = 4;
        world.policy.keep = 0;
        let dark = world.ticks(2, 60, &[sees]);
        assert_eq!(actions(&dark), if sees == DEAD { vec!["alert - R6b.dark".to_owned()] } else { vec![] });
        let last = world.ticks(2, 60, &[sees]);
        let told = |judgement| actions(judgement).into_iter().filter(|action| action.contains(rule)).count();
        assert_eq!((told(&last), last.fleet), (4, FleetVerdict::Dark));
        let all = ["withdraw n1 dark", "withdraw n2 dark", "withdraw n3 dark", "withdraw n4 dark"];
        assert_eq!(holds(&last), all);
        let later = world.ticks(30, 60, &[sees]);
        assert_eq!((world.in_dns().len(), holds(&later)), (4, all.map(str::to_owned).to_vec()));
    }
}

#[test]
fn at_most_max_withdrawn_go() {
    let mut world = warmed(World::of(8));
    world.policy.max_withdrawn = 2;
    let last = world.ticks(4, 60, &[DEAD, DEAD, DEAD, FINE, FINE, FINE, FINE, FINE]);
    assert_eq!(actions(&last), ["withdraw n1 S2.strikes", "withdraw n2 S2.strikes"]);
    assert_eq!(holds(&last), ["withdraw n3 max-withdrawn"]);
}

#[test]
fn pinned_and_unknown_nodes_do_not_count_as_staying() {
    let mut world = warm();
    world.pin("n3", PinState::Ignore);
    let last = world.ticks(4, 60, &[DEAD, FINE, FINE, Sees::NoRound]);
    assert_eq!(of(&last, "n4").verdict, NodeVerdict::Unknown);
    assert_eq!(holds(&last), ["withdraw n1 keep"], "n2 alone would stay for sure");
}

#[test]
fn one_change_in_twice_the_ttl() {
    // What an overload could have done waits until the last change has shown what it does ...
    let web = Sees::Only(ProbeKind::Https);
    let mut world = warmed(World::of(8));
    let (one, two) = ([web, FINE, FINE, FINE, FINE, FINE, FINE, FINE], [web, web, FINE, FINE, FINE, FINE, FINE, FINE]);
    world.ticks(1, 60, &one);
    assert_eq!(actions(&world.ticks(3, 60, &two)), ["withdraw n1 S2.strikes"]);
    assert_eq!(world.in_dns().len(), 7);
    assert_eq!(holds(&world.ticks(1, 60, &two)), ["withdraw n2 settle"]);
    let next = world.ticks(1, 60, &two);
    assert_eq!(holds(&next), ["withdraw n2 settle"], "119 s after it was seen to change is too early");
    assert_eq!(actions(&world.ticks(1, 60, &two)), ["withdraw n2 S2.strikes"]);
    // ... and the dead do not wait.
    let mut world = warmed(World::of(8));
    world.ticks(1, 60, &[DEAD, FINE, FINE, FINE, FINE, FINE, FINE, FINE]);
    world.ticks(4, 60, &[DEAD, DEAD, FINE, FINE, FINE, FINE, FINE, FINE]);
    assert_eq!(world.in_dns().len(), 6);
}

#[test]
fn an_isolated_witness_strikes_nobody_and_changes_nothing() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(3, 60, &[FINE]);
    world.anchors = Some((1, 3));
    let cut = world.ticks(20, 60, &[DEAD]);
    assert_eq!((cut.vantage, cut.fleet), (Vantage::Isolated, FleetVerdict::Isolated));
    assert!(cut.nodes.iter().all(|node| node.strikes == 0), "{:?}", cut.nodes);
    world.anchors = Some((3, 3));
    let back = world.ticks(1, 60, &[FINE]);
    assert_eq!(back.vantage, Vantage::Blind);
    assert_eq!(world.ticks(4, 60, &[FINE]).fleet, FleetVerdict::Normal);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn what_began_before_isolation_ended_strikes_nobody() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(3, 60, &[FINE]);
    world.anchors = Some((0, 3));
    world.ticks(3, 60, &[DEAD]);
    // The anchors answer in the tick that the last rounds from before come in with ...
    world.anchors = Some((3, 3));
    let back = world.ticks(1, 60, &[DEAD]);
    assert!(back.nodes.iter().all(|node| node.strikes == 0), "{:?}", back.nodes);
    // ... or while one of them is still under way: it began a second before it ended.
    let late = world.ticks(1, 0, &[DEAD]);
    assert!(late.nodes.iter().all(|node| node.strikes == 0), "{:?}", late.nodes);
    let real = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!((of(&real, "n1").strikes, of(&real, "n2").strikes), (1, 0));
}

#[test]
fn a_failing_round_waits_for_the_anchors() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(2, 60, &[FINE]);
    world.pass(60);
    let id = name("n1");
    let failed = world.round(&id, DEAD).unwrap();
    // The anchors were last asked before the round ended.
    let mut early = world.clock.clone();
    early.wall = early.wall.minus(std::time::Duration::from_secs(5));
    let situation = witness::model::Situation {
        now: world.clock.clone(),
        just_started: false,
        fleet: &world.fleet,
        rounds: std::slice::from_ref(&failed),
        sightings: None,
        loads: &[],
        asks: &[],
        can: Default::default(),
        anchors: Some(witness::model::AnchorRound { at: early.wall, ok: 3, of: 3 }),
        has_anchors: true,
        published: &world.published,
        pins: &[],
        requests: &[],
    };
    let ruling = witness::rule::judge(&world.policy, &situation, world.memory.clone());
    assert_eq!(of(&ruling.judgement, "n1").strikes, 0);
    world.take(ruling);
    world.pass(2);
    let later = world.tick(&[Sees::NoRound]);
    assert_eq!(of(&later, "n1").strikes, 1, "the anchors answered after it");
    assert_eq!(later.strikes[0].1.at, failed.finished);
}

#[test]
fn failures_of_probes_that_may_not_convict_are_held_with_one_alert() {
    let mut world = warm();
    let ssh = Sees::Only(ProbeKind::Ssh);
    let last = world.ticks(4, 60, &[ssh, FINE, FINE, FINE]);
    assert_eq!(of(&last, "n1").strikes, 4);
    assert_eq!(holds(&last), ["withdraw n1 still-serves"]);
    assert_eq!(actions(&last), ["alert n1 S2.strikes"]);
    let later = world.ticks(1, 60, &[ssh, FINE, FINE, FINE]);
    assert_eq!(actions(&later), Vec::<String>::new(), "told once");
    assert_eq!(world.in_dns().len(), 4);
    // Half of them must come from a probe that may convict, the others corroborate.
    let https = Sees::Only(ProbeKind::Https);
    let few = world.ticks(4, 60, &[https, FINE, FINE, FINE]);
    assert_eq!(holds(&few), ["withdraw n1 still-serves"]);
    let half = world.ticks(1, 60, &[https, FINE, FINE, FINE]);
    assert_eq!(actions(&half), ["withdraw n1 S2.strikes"]);
}

#[test]
fn shedding_is_no_strike() {
    let mut world = warm();
    let last = world.ticks(10, 60, &[Sees::Shedding]);
    assert!(last.nodes.iter().all(|node| node.strikes == 0));
    assert_eq!(last.holds, []);
}

#[test]
fn inconclusive_rounds_are_nothing() {
    let mut world = warm();
    let last = world.ticks(10, 60, &[Sees::Nothing, FINE, FINE, FINE]);
    assert_eq!(of(&last, "n1").strikes, 0);
    assert_eq!(of(&last, "n1").verdict, NodeVerdict::Unknown);
}

#[test]
fn probation_brings_back_and_grows() {
    let mut world = warm();
    world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(world.in_dns().len(), 3);
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    let proving = world.ticks(1, 20, &[FINE]);
    assert_eq!(of(&proving, "n1").standing, Standing::Probation);
    let proving = world.ticks(2, 20, &[FINE]);
    assert_eq!(actions(&proving), Vec::<String>::new(), "40 s without a fault");
    let back = world.ticks(1, 20, &[FINE]);
    assert_eq!(actions(&back), ["reinstate n1 S4.probation"]);
    let after = world.ticks(1, 20, &[FINE]);
    assert_eq!((of(&after, "n1").standing, of(&after, "n1").strikes), (Standing::Serving, 0));
    assert_eq!((actions(&after), holds(&after)), (vec![], vec![]));
    assert_eq!(world.in_dns().len(), 4);
    // The second time it takes twice as long.
    world.ticks(40, 60, &[FINE]);
    world.ticks(5, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(world.in_dns().len(), 3);
    world.ticks(6, 20, &[FINE]);
    assert_eq!(world.in_dns().len(), 3, "100 s of 120");
    world.ticks(1, 20, &[FINE]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn one_fault_in_probation_starts_it_anew() {
    let mut world = warm();
    world.ticks(7, 60, &[DEAD, FINE, FINE, FINE]);
    world.ticks(2, 20, &[FINE]);
    let fault = world.ticks(1, 20, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&fault, "n1").standing, Standing::Withdrawn);
    world.ticks(3, 20, &[FINE]);
    assert_eq!(world.in_dns().len(), 3);
    world.ticks(1, 20, &[FINE]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn manual_reinstatement_waits_for_a_person() {
    let mut world = warm();
    world.policy.reinstate = witness::model::Reinstatement::Manual;
    world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    world.ticks(60, 60, &[FINE]);
    assert_eq!(world.in_dns().len(), 3);
    world.pass(5);
    let asked = world.tick_with(&[DEAD, FINE, FINE, FINE], Some(&request(RequestKind::Reinstate, "n1", false)));
    assert_eq!(holds(&asked), ["reinstate n1 unhealthy"]);
    world.pass(5);
    let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Reinstate, "n1", false)));
    assert_eq!(actions(&asked), ["reinstate n1 H1.by-hand"]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn by_hand_the_floor_holds_unless_forced_and_no_set_is_emptied_even_then() {
    let mut world = warmed(World::of(2));
    world.with_foreign = false;
    world.publish_all();
    let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Withdraw, "n1", false)));
    assert_eq!(holds(&asked), ["withdraw n1 keep"]);
    let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Withdraw, "n1", true)));
    assert_eq!(actions(&asked), ["withdraw n1 H1.by-hand"]);
    world.ticks(1, 10, &[FINE]);
    let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Withdraw, "n2", true)));
    assert_eq!(holds(&asked), ["withdraw n2 empty-set"]);
    assert_eq!(world.in_dns(), ["n2"]);
    // Taken out by a person, it comes back by a person only.
    world.ticks(100, 60, &[FINE]);
    assert_eq!(world.in_dns(), ["n2"]);
}

#[test]
fn the_only_ipv6_address_stays_while_the_ipv4_one_goes() {
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let mut addresses: Vec<Vec<IpAddr>> = (1..=4u8).map(|i| vec![IpAddr::from([192, 0, 2, i])]).collect();
    addresses[0].push(v6);
    let mut world = warmed(World::with(addresses));
    let last = world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&last), ["withdraw n1 S2.strikes"]);
    assert_eq!(holds(&last), ["withdraw n1 empty-set", "withdraw n1 empty-set"]);
    assert_eq!(world.set("files", RecordType::Aaaa), ["2001:db8::1"]);
    assert_eq!(world.in_dns(), ["n2", "n3", "n4"]);
    let later = world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!((actions(&later), of(&later, "n1").standing), (Vec::new(), Standing::Withdrawn));
    world.ticks(5, 60, &[FINE]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn a_clock_that_goes_back_holds_and_neither_adds_nor_clears() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.clock.wall = world.clock.wall.minus(std::time::Duration::from_secs(3600));
    let back = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&back, "n1").strikes, 4);
    assert_eq!(holds(&back), ["withdraw n1 clock"]);
    let later = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(holds(&later), ["withdraw n1 warmup"]);
    let later = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&later), ["withdraw n1 S2.strikes"]);
    assert_eq!(of(&later, "n1").strikes, 6);
}

#[test]
fn a_clock_that_leaps_forward_forgets_no_strike() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.clock.wall = world.clock.wall.plus(std::time::Duration::from_secs(7200));
    let leapt = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&leapt, "n1").strikes, 4);
}

#[test]
fn after_a_gap_the_first_rounds_change_nothing() {
    let mut world = warm();
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    let after = world.ticks(1, 1800, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(holds(&after), ["withdraw n1 warmup"]);
    let after = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(holds(&after), ["withdraw n1 warmup"]);
    let after = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&after), ["withdraw n1 S2.strikes"]);
}

#[test]
fn the_rhythm_of_cron_is_no_gap() {
    // The interval is 10 s, cron runs every five minutes.
    let mut world = World::of(4);
    world.ticks(12, 300, &[FINE]);
    let last = world.ticks(4, 300, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&last), ["withdraw n1 S2.strikes"]);
}

#[test]
fn the_first_tick_decides_nothing() {
    let mut world = World::of(4);
    world.policy.strikes = 1;
    let first = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!((first.vantage, holds(&first)), (Vantage::Blind, vec!["withdraw n1 warmup".to_owned()]));
}

#[test]
fn what_a_person_took_out_stays_out() {
    let mut world = warm();
    let sets = world.published.get_mut(&name("p")).unwrap();
    for set in sets.values_mut() {
        set.addresses.remove(&IpAddr::from([192, 0, 2, 2]));
    }
    let seen = world.ticks(1, 60, &[FINE]);
    assert_eq!(actions(&seen), ["alert n2 H3.outside"]);
    assert_eq!(of(&seen, "n2").standing, Standing::Withdrawn);
    let later = world.ticks(50, 60, &[FINE]);
    assert_eq!((actions(&later), world.in_dns().len()), (Vec::new(), 3));
    world.publish_all();
    let back = world.ticks(1, 60, &[FINE]);
    assert_eq!(actions(&back), ["alert n2 H3.outside"]);
    assert_eq!(of(&back, "n2").standing, Standing::Serving);
}

#[test]
fn what_cannot_be_read_is_not_changed() {
    let mut world = warm();
    world.readable = false;
    let last = world.ticks(5, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(holds(&last), ["withdraw n1 zone-unknown"]);
    assert_eq!(actions(&last), Vec::<String>::new());
    world.readable = true;
    assert_eq!(actions(&world.ticks(1, 60, &[DEAD, FINE, FINE, FINE])), ["withdraw n1 S2.strikes"]);
}

#[test]
fn an_edit_that_is_not_followed_is_asked_for_again() {
    let mut world = warm();
    world.follows = false;
    world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    let soon = world.ticks(1, 2, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&soon), Vec::<String>::new());
    world.follows = true;
    let again = world.ticks(1, 10, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&again), ["withdraw n1 S2.strikes"]);
    assert_eq!(world.in_dns(), ["n2", "n3", "n4"]);
}

#[test]
fn pins_lie_over_the_standing() {
    let mut world = warm();
    world.pin("n1", PinState::In);
    let last = world.ticks(5, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(holds(&last), ["withdraw n1 pin"]);
    assert_eq!((of(&last, "n1").standing, of(&last, "n1").verdict), (Standing::Suspect, NodeVerdict::Maintenance));
    world.pins.clear();
    world.pin("n2", PinState::Out);
    let last = world.ticks(1, 60, &[FINE]);
    assert_eq!(actions(&last)[0], "withdraw n2 H2.pin");
    world.ticks(10, 60, &[FINE]);
    assert!(!world.in_dns().contains(&"n2".to_owned()), "pinned out, it stays out");
    for force in [false, true] {
        let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Reinstate, "n2", force)));
        assert!(actions(&asked).is_empty(), "{:?}", actions(&asked));
        assert!(holds(&asked).contains(&"reinstate n2 pin".to_owned()), "{:?}", holds(&asked));
    }
    world.pins.clear();
    world.ticks(2, 60, &[FINE]);
    assert_eq!(world.in_dns().len(), 4, "no pin, and it has passed long enough");
}

#[test]
fn classic_is_the_original_script() {
    let mut world = World::of(4);
    world.policy = world.policy.clone().classic();
    world.anchors = Some((0, 3));
    // No anchors, no floor, no spacing, no convicting probes: every failing round strikes.
    let last = world.ticks(4, 2, &[Sees::Only(ProbeKind::Ssh)]);
    assert_eq!(actions(&last), ["withdraw n1 C1.classic", "withdraw n2 C1.classic"]);
    assert_eq!(holds(&last), ["withdraw n3 max-withdrawn", "withdraw n4 max-withdrawn"]);
    world.ticks(100, 60, &[FINE]);
    assert_eq!(world.in_dns(), ["n3", "n4"], "it never puts anything back");
}

#[test]
fn equal_input_equal_bytes() {
    let bytes = || {
        let mut world = warm();
        world.ticks(6, 60, &[DEAD, FINE, Sees::Refused, FINE]);
        let last = world.ticks(3, 60, &[FINE]);
        serde_json::to_string(&last).unwrap()
    };
    assert_eq!(bytes(), bytes());
    let parsed: witness::model::Judgement = serde_json::from_str(&bytes()).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), bytes());
}

/// A node of which one address is well and another looks as told, round by round: what is held, and what is done.
fn half(looks: Sees) -> Vec<(String, String)> {
    let mut world = World::of(4);
    world.carries = Some(50);
    world.policy.strikes = 1;
    let other: IpAddr = "192.0.2.201".parse().unwrap();
    world.fleet.nodes.get_mut(&name("n1")).unwrap().addresses.push(other);
    world.publish_all();
    let mut world = warmed(world);
    let look = |_| {
        world.pass(60);
        let mut rounds = world.rounds(&[FINE]);
        let seen = world.round(&name("n1"), looks).unwrap().observations;
        let seen = seen.into_iter().map(|one| witness::model::Observation { address: other, ..one });
        rounds[0].observations.extend(seen);
        let ruling = world.judge_rounds(&rounds, None);
        let judged = world.take(ruling);
        (holds(&judged).join(" "), actions(&judged).join(" "))
    };
    (0..3).map(look).collect()
}

#[test]
fn a_node_half_of_whose_addresses_are_dead_leaves_whatever_it_carries() {
    // One round or two are no proof; from the third on, whoever was given that address is known to get nothing.
    let held = half(DEAD);
    assert!(held[..2].iter().all(|(held, _)| held == "withdraw n1 still-serves"), "{held:?}");
    assert_eq!(held[2].1, "withdraw n1 S2.strikes", "{held:?}");
    // It lives, and its service fails: it may be too much for it, and half of its clients are served.
    let held = half(Sees::Only(ProbeKind::Https));
    assert!(held.iter().all(|(held, _)| held == "withdraw n1 still-serves"), "{held:?}");
}
