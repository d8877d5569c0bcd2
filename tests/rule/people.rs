//! People, pools, configurations and records that change under the rule.

use std::net::IpAddr;
use std::time::Duration;

use witness::model::{Memory, NodeVerdict, PinState, ProbeKind, RecordType, RequestKind, RuleSet, Standing, Vantage};

use crate::world::{NOTHING, Sees, World, actions, holds, name, of, past, with_v6};
use crate::{DEAD, FINE, request, warm, warmed};

#[test]
fn pools_that_share_a_node_are_guarded_each_for_itself() {
    let mut world = World::of(4);
    world.share(&["n1", "n2"]);
    let mut world = warmed(world);
    let last = world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(actions(&last), ["withdraw n1 S2.strikes"]);
    assert_eq!(last.actions[0].pool, Some(name("p")));
    assert_eq!(holds(&last), ["withdraw n1 keep"]);
    assert_eq!(last.holds[0].pool, Some(name("q")));
    let later = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(of(&later, "n1").in_dns, [(name("p"), false), (name("q"), true)].into());
    world.ticks(5, 60, &[FINE]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn one_incident_in_two_pools_is_one_withdrawal() {
    let mut world = World::of(4);
    world.share(&["n1", "n2", "n3", "n4"]);
    let mut world = warmed(world);
    let last = world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(last.actions.len(), 2);
    let seen = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(seen.memory.nodes[&name("n1")].withdrawals.len(), 1);
    // 60 s without a fault are enough, not 120.
    world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    world.ticks(4, 20, &[FINE]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn requests_do_not_go_against_a_pin() {
    for (state, kind, held) in [
        (PinState::In, RequestKind::Withdraw, true),
        (PinState::Ignore, RequestKind::Withdraw, true),
        (PinState::Ignore, RequestKind::Reinstate, true),
        (PinState::Out, RequestKind::Reinstate, true),
        (PinState::Out, RequestKind::Withdraw, false),
        (PinState::In, RequestKind::Reinstate, false),
    ] {
        let mut world = warm();
        world.pin("n1", state);
        world.pass(10);
        let last = world.tick_with(&[FINE], Some(&request(kind, "n1", true)));
        let want = if held { vec![format!("{} n1 pin", last.holds[0].kind)] } else { vec![] };
        assert_eq!(holds(&last), want, "{state} {kind:?}");
        assert_eq!(last.actions.is_empty(), held || kind == RequestKind::Reinstate, "{state} {kind:?}");
    }
}

#[test]
fn a_person_may_keep_out_what_the_rule_took_out() {
    let mut world = warm();
    world.ticks(5, 60, &[DEAD, FINE, FINE, FINE]);
    world.pass(10);
    let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Withdraw, "n1", false)));
    assert_eq!(actions(&asked), NOTHING);
    world.ticks(30, 60, &[FINE]);
    assert_eq!(world.in_dns().len(), 3, "nothing brings it back by itself now");
    assert_eq!(world.out("n1").unwrap().why, "asked for by hand: because");
    world.pass(10);
    world.tick_with(&[FINE], Some(&request(RequestKind::Reinstate, "n1", false)));
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn requests_are_granted_while_isolated_and_in_the_first_rounds() {
    let mut world = World::of(4);
    world.anchors = Some((0, 3));
    world.pass(10);
    let asked = world.tick_with(&[DEAD], Some(&request(RequestKind::Withdraw, "n1", true)));
    assert_eq!((asked.vantage, actions(&asked)), (Vantage::Isolated, vec!["withdraw n1 H1.by-hand".to_owned()]));
    world.pass(10);
    let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Reinstate, "n1", false)));
    assert_eq!(holds(&asked), ["reinstate n1 unhealthy"], "nothing is known of it");
}

#[test]
fn of_those_that_are_the_last_of_a_set_one_stays_and_blocks_nobody() {
    let mut world = with_v6(8, &[1, 2]);
    for (i, node) in world.fleet.nodes.values_mut().enumerate() {
        if i < 2 {
            node.addresses.remove(0);
        }
    }
    world.policy.max_withdrawn = 2;
    world.publish_all();
    let mut world = warmed(world);
    let sees = [DEAD, DEAD, FINE, FINE, FINE, FINE, FINE, FINE];
    let last = world.ticks(4, 60, &sees);
    assert_eq!(actions(&last), ["withdraw n1 S2.strikes"]);
    assert_eq!(holds(&last), ["withdraw n2 empty-set", "withdraw n2 empty-set"]);
    assert_eq!(world.set("@", RecordType::Aaaa), ["2001:db8::2"]);
    let later = world.ticks(1, 60, &sees);
    assert_eq!(of(&later, "n2").standing, Standing::Suspect);
    let sees = [DEAD, DEAD, DEAD, FINE, FINE, FINE, FINE, FINE];
    world.ticks(4, 60, &sees);
    assert!(!world.in_dns().contains(&"n3".to_owned()), "the second slot is free");
}

#[test]
fn leaving_all_but_one_set_is_a_change_that_settles() {
    let mut world = with_v6(8, &[1]);
    world.policy.max_withdrawn = 4;
    let mut world = warmed(world);
    let web = Sees::Only(ProbeKind::Https);
    let (one, two) = ([web, FINE, FINE, FINE, FINE, FINE, FINE, FINE], [web, web, FINE, FINE, FINE, FINE, FINE, FINE]);
    world.ticks(1, 60, &one);
    assert_eq!(actions(&world.ticks(3, 60, &two)), ["withdraw n1 S2.strikes"]);
    let next = world.ticks(1, 60, &two);
    assert_eq!(holds(&next), ["withdraw n2 settle"]);
    let next = world.ticks(2, 60, &two);
    assert_eq!(actions(&next), ["withdraw n2 S2.strikes"]);
}

#[test]
fn a_deleted_set_is_not_made_anew_by_the_rule() {
    let mut world = warm();
    world.with_foreign = false;
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    world.set_mut("files", RecordType::A).addresses.clear();
    world.ticks(4, 20, &[FINE]);
    assert_eq!((world.in_dns().len(), world.set("files", RecordType::A).len()), (4, 0));

    let mut world = warm();
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    world.published.get_mut(&name("p")).unwrap().values_mut().for_each(|set| set.addresses.clear());
    let last = world.ticks(4, 60, &[FINE]);
    assert_eq!(
        (actions(&last).as_slice(), holds(&last)),
        (&NOTHING[..], vec!["reinstate n1 changed-by-hand".to_owned()])
    );
    world.pass(10);
    let asked = world.tick_with(&[FINE], Some(&request(RequestKind::Reinstate, "n1", false)));
    assert_eq!(actions(&asked), ["reinstate n1 H1.by-hand"]);
    assert_eq!(world.set("files", RecordType::A), ["192.0.2.1"]);
    assert_eq!(world.published[&name("p")].values().next().unwrap().ttl, 60);
}

#[test]
fn a_registrar_that_refuses_for_long_blocks_no_other_death() {
    let mut world = warmed(World::of(8));
    world.follows = false;
    let mut sees = vec![FINE; 8];
    sees[0] = DEAD;
    world.ticks(1, 10, &sees);
    sees[1] = DEAD;
    assert_eq!(actions(&world.ticks(18, 10, &sees)), ["withdraw n1 R6.silent", "withdraw n2 R6.silent"]);
    let mut seen = Vec::new();
    for _ in 0..18 {
        let judgement = world.ticks(1, 10, &sees);
        seen.extend(holds(&judgement));
        seen.extend(actions(&judgement));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["withdraw n1 R6.silent", "withdraw n2 R6.silent"]);
    world.follows = true;
    world.ticks(2, 10, &sees);
    assert_eq!(world.in_dns().len(), 6);
    let judgement = world.ticks(1, 10, &sees);
    assert_eq!(judgement.memory.nodes[&name("n1")].withdrawals.len(), 1, "asked for often, gone once");
}

#[test]
fn a_clock_that_is_corrected_by_little_is_not_stepped() {
    for (step_ms, held) in [(-99, false), (-100, true), (99, false), (100, false)] {
        let mut world = warm();
        world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
        world.clock.wall = world.clock.wall.shifted(step_ms);
        let last = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
        assert_eq!(holds(&last), if held { vec!["withdraw n1 clock".to_owned()] } else { vec![] }, "{step_ms}");
    }
}

#[test]
fn a_node_that_comes_and_goes_does_not_flood_the_log() {
    let mut world = warmed(World::of(8));
    world.policy.max_withdrawn = 1;
    let mut sees = vec![FINE; 8];
    sees[0] = DEAD;
    world.ticks(8, 60, &sees);
    let (mut told, mut before) = (0, Vec::new());
    for i in 0..180 {
        sees[1] = if i % 2 == 0 { DEAD } else { FINE };
        let judged = world.ticks(1, 10, &sees);
        told += judged.holds.iter().filter(|hold| !before.contains(&format!("{} {}", hold.node, hold.guard))).count();
        told += judged.actions.len();
        before = judged.holds.iter().map(|hold| format!("{} {}", hold.node, hold.guard)).collect();
    }
    assert!(told <= 3, "{told}");
}

#[test]
fn an_alert_is_told_once_though_the_zone_cannot_be_read_now_and_then() {
    let mut world = warm();
    let mut told = 0;
    for i in 0..30 {
        world.readable = i % 3 != 0;
        let judged = world.ticks(1, 60, &[Sees::Only(ProbeKind::Ping), FINE, FINE, FINE]);
        told += judged.actions.len();
    }
    assert_eq!(told, 1);
}

#[test]
fn a_node_that_leaves_the_configuration_is_forgotten_and_told_when_it_returns() {
    let mut world = warm();
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    let whole = world.fleet.clone();
    world.fleet.nodes.remove(&name("n1"));
    world.fleet.pools.get_mut(&name("p")).unwrap().nodes.remove(0);
    let without = world.ticks(3, 60, &[FINE]);
    assert_eq!((without.nodes.len(), without.memory.nodes.len()), (3, 3));
    assert!(world.out("n1").is_none());
    world.fleet = whole;
    let again = world.ticks(1, 60, &[FINE]);
    assert_eq!(actions(&again), ["alert n1 H3.outside"]);
    assert!(again.actions[0].why.contains("witness reinstate n1"), "{}", again.actions[0].why);
    world.ticks(30, 60, &[FINE]);
    assert_eq!(world.in_dns().len(), 3, "nobody knows any more why it is out");
}

#[test]
fn a_pool_that_leaves_the_configuration_is_forgotten() {
    let mut world = World::of(4);
    world.share(&["n1", "n2", "n3"]);
    let mut world = warmed(world);
    world.fleet.pools.remove(&name("q"));
    assert_eq!(world.ticks(1, 60, &[FINE]).memory.pools.len(), 1);
}

#[test]
fn an_address_that_moves_to_another_node_goes_back_as_that_nodes() {
    let mut world = warm();
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    // n1's address is n4's now, and n1 has a new one.
    world.fleet.nodes.get_mut(&name("n4")).unwrap().addresses.push("192.0.2.1".parse().unwrap());
    world.fleet.nodes.get_mut(&name("n1")).unwrap().addresses = vec!["192.0.2.77".parse().unwrap()];
    let back = world.ticks(5, 30, &[FINE]);
    assert_eq!(holds(&back), [""; 0]);
    let set = world.set("@", RecordType::A);
    assert!(set.contains(&"192.0.2.77".to_owned()) && !set.contains(&"192.0.2.1".to_owned()), "{set:?}");
}

#[test]
fn no_ttl_at_all_and_more_to_keep_than_there_are() {
    let mut world = warm();
    world.fleet.pools.get_mut(&name("p")).unwrap().ttl = Duration::ZERO;
    world.published.get_mut(&name("p")).unwrap().values_mut().for_each(|set| set.ttl = 0);
    world.follows = false;
    world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    let soon = world.ticks(1, 2, &[FINE]);
    assert_eq!(of(&soon, "n1").standing, Standing::Withdrawn, "a change takes its time even without a TTL");
    world.policy.keep = 9;
    let mut world = warmed(world);
    world.follows = true;
    let last = world.ticks(8, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!((actions(&last).as_slice(), holds(&last)), (&NOTHING[..], vec!["withdraw n1 keep".to_owned()]));
}

#[test]
fn the_longest_ttl_that_is_published_settles() {
    let mut world = warmed(World::of(8));
    world.set_mut("files", RecordType::A).ttl = 300;
    let mut sees = vec![FINE; 8];
    sees[0] = Sees::Only(ProbeKind::Https);
    world.ticks(1, 60, &sees);
    sees[1] = Sees::Only(ProbeKind::Https);
    world.ticks(3, 60, &sees);
    assert_eq!(holds(&world.ticks(10, 60, &sees)), ["withdraw n2 settle"]);
    assert_eq!(actions(&world.ticks(1, 60, &sees)), ["withdraw n2 R7.hung"]);
}

#[test]
fn those_that_a_person_took_out_are_gone_for_keep_and_not_for_max_withdrawn() {
    let mut world = warmed(World::of(5));
    for node in ["n1", "n2"] {
        world.ticks(1, 60, &[FINE]);
        world.tick_with(&[FINE], Some(&request(RequestKind::Withdraw, node, false)));
    }
    world.ticks(5, 60, &[FINE]);
    let last = world.ticks(4, 60, &[FINE, FINE, Sees::Refused, Sees::Refused, FINE]);
    assert_eq!(actions(&last), ["withdraw n3 R6.down"]);
    assert_eq!(holds(&last), ["withdraw n4 keep"]);
}

#[test]
fn a_pin_is_asked_for_once_an_interval() {
    let dead = [DEAD, FINE, FINE, FINE];
    let mut world = warm();
    world.pin("n1", PinState::Out);
    world.follows = false;
    assert_eq!(actions(&world.ticks(1, 60, &[FINE])), ["withdraw n1 H2.pin"]);
    assert_eq!(actions(&world.ticks(1, 9, &[FINE])), NOTHING);
    world.follows = true;
    assert_eq!(actions(&world.ticks(1, 1, &[FINE])), ["withdraw n1 H2.pin"]);
    world.ticks(1, 60, &[FINE]);
    world.pins.clear();
    world.pin("n1", PinState::In);
    world.follows = false;
    assert_eq!(actions(&world.ticks(1, 60, &dead)), ["reinstate n1 H2.pin"]);
    assert_eq!(actions(&world.ticks(1, 9, &dead)), NOTHING);
    world.follows = true;
    assert_eq!(actions(&world.ticks(1, 1, &dead)), ["reinstate n1 H2.pin"]);
    assert_eq!(world.in_dns().len(), 4);
}

#[test]
fn a_pin_out_waits_while_the_others_could_not_carry_it() {
    let mut world = warm();
    world.carries = Some(70);
    world.ticks(4, 10, &[FINE]);
    world.pin("n1", PinState::Out);
    let judged = world.ticks(1, 10, &[FINE]);
    assert_eq!(holds(&judged), ["withdraw n1 capacity"]);
    assert!(judged.holds[0].why.contains("the rest would carry 93"), "{}", judged.holds[0].why);
    world.carries = Some(50);
    world.ticks(12, 10, &[FINE]);
    assert!(world.out("n1").is_some(), "{:?}", world.in_dns());
}

#[test]
fn a_pin_in_overtakes_a_withdrawal_that_has_not_landed() {
    for state in [PinState::In, PinState::Ignore] {
        let mut world = warm();
        world.follows = false;
        world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
        world.pin("n1", state);
        world.ticks(2, 60, &[DEAD, FINE, FINE, FINE]);
        assert!(world.out("n1").is_none(), "{state}");
        assert_eq!(holds(&world.ticks(1, 60, &[DEAD, FINE, FINE, FINE])), ["withdraw n1 pin"]);
    }
}

#[test]
fn the_last_address_is_held_whoever_asks() {
    let mut world = warmed(World::of(2));
    world.with_foreign = false;
    world.publish_all();
    for owner in ["@", "files"] {
        world.set_mut(owner, RecordType::A).addresses.remove(&IpAddr::from([192, 0, 2, 2]));
    }
    world.policy.keep = 1;
    world.ticks(2, 60, &[FINE]);
    world.pin("n1", PinState::Out);
    assert_eq!(holds(&world.ticks(1, 60, &[FINE])), ["withdraw n1 empty-set"]);
    world.pins.clear();
    assert_eq!(holds(&world.ticks(4, 60, &[DEAD])), ["withdraw n1 empty-set"]);
}

#[test]
fn reinstating_what_has_not_gone_yet_calls_it_off() {
    let mut world = warm();
    world.follows = false;
    world.ticks(4, 60, &[DEAD, FINE, FINE, FINE]);
    world.pass(10);
    world.tick_with(&[FINE], Some(&request(RequestKind::Reinstate, "n1", false)));
    assert!(world.out("n1").is_none());
}

#[test]
fn the_worst_goes_first_and_with_classic_the_first() {
    for (rule, gone) in [(RuleSet::Witness, "n2"), (RuleSet::Classic, "n1")] {
        let mut world = warmed(World::of(8));
        world.policy.rule = rule;
        world.policy.max_withdrawn = 0;
        let mut sees = vec![FINE; 8];
        sees[1] = DEAD;
        world.ticks(2, 60, &sees);
        sees[0] = DEAD;
        world.ticks(5, 60, &sees);
        world.policy.max_withdrawn = 1;
        let last = world.ticks(1, 60, &sees);
        assert_eq!(last.actions.len(), 1);
        assert_eq!(last.actions[0].node, Some(name(gone)));
    }
}

#[test]
fn classic_counts_every_round_of_a_tick() {
    let mut world = World::of(4);
    world.policy = world.policy.clone().classic();
    world.policy.strikes = 6;
    world.pass(60);
    let ruling = world.judge_rounds(&past(&world, &[12, 10, 8, 6, 4, 2, 2]), None);
    assert_eq!(of(&ruling.judgement, "n1").strikes, 6);
    assert_eq!(actions(&ruling.judgement), ["withdraw n1 C1.classic"]);
    world.take(ruling);
    // Late, and a strike all the same; told twice, and none.
    let ruling = world.judge_rounds(&past(&world, &[11, 12]), None);
    assert_eq!(of(&ruling.judgement, "n1").strikes, 7);
    let strikes = &ruling.judgement.memory.nodes[&name("n1")].strikes;
    assert!(strikes.is_sorted_by_key(|strike| strike.at));
}

#[test]
fn memory_is_bounded() {
    let mut world = World::of(1);
    world.policy = world.policy.clone().classic();
    world.policy.max_withdrawn = 0;
    world.ticks(300, 2, &[DEAD]);
    assert_eq!(world.memory.nodes[&name("n1")].strikes.len(), 120);
    world.policy.strikes = 150;
    world.ticks(100, 2, &[DEAD]);
    assert_eq!(world.memory.nodes[&name("n1")].strikes.len(), 150);
    assert_eq!(world.memory.rhythm_ms.len(), 8);
}

#[test]
fn what_an_older_version_remembered_is_understood() {
    let memory: Memory = serde_json::from_str(r#"{"nodes":{"n1":{}},"pools":{"p":{}}}"#).unwrap();
    let mut world = World::of(4);
    world.memory = memory;
    assert_eq!(of(&world.ticks(3, 60, &[FINE]), "n1").verdict, NodeVerdict::Healthy);
}

#[test]
fn manual_and_by_hand_say_who_puts_it_back() {
    let mut world = warm();
    world.ticks(5, 60, &[DEAD, FINE, FINE, FINE]);
    assert!(of(&world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]), "n1").why.contains("back after 60 s"));
    world.policy.reinstate = witness::model::Reinstatement::Manual;
    assert!(of(&world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]), "n1").why.contains("only a person puts it back"));
}

#[test]
fn a_pin_that_is_followed_is_silent() {
    let mut world = warm();
    world.pin("n1", PinState::Out);
    world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
    for _ in 0..6 {
        let judged = world.ticks(1, 60, &[DEAD, FINE, FINE, FINE]);
        assert_eq!((actions(&judged).as_slice(), holds(&judged).as_slice()), (&NOTHING[..], &NOTHING[..]));
    }
    world.pins.clear();
    world.pin("n2", PinState::In);
    let judged = world.ticks(2, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!((actions(&judged).as_slice(), holds(&judged).as_slice()), (&NOTHING[..], &NOTHING[..]));
}

#[test]
fn a_change_keeps_the_ttl_of_its_set_and_a_new_set_has_the_pools() {
    let mut world = warm();
    world.set_mut("files", RecordType::A).ttl = 300;
    world.ticks(3, 60, &[DEAD, FINE, FINE, FINE]);
    world.pass(60);
    let ruling = world.judge_rounds(&world.rounds(&[DEAD, FINE, FINE, FINE]), None);
    let ttls: Vec<u32> = ruling.plans[0].plan().changes.iter().map(|change| change.ttl).collect();
    assert_eq!(ttls, [60, 300]);
    world.take(ruling);
    for set in world.published.get_mut(&name("p")).unwrap().values_mut() {
        set.addresses.clear();
        set.ttl = 0;
    }
    world.fleet.pools.get_mut(&name("p")).unwrap().ttl = Duration::from_secs(90);
    world.pass(60);
    let ask = request(RequestKind::Reinstate, "n1", true);
    let ruling = world.judge_rounds(&world.rounds(&[DEAD, FINE, FINE, FINE]), Some(&ask));
    let ttls: Vec<u32> = ruling.plans[0].plan().changes.iter().map(|change| change.ttl).collect();
    assert_eq!(ttls, [90, 90]);
}

#[test]
fn a_pin_over_a_node_that_is_out_changes_nothing_of_why_it_is() {
    let mut world = warm();
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    world.pin("n1", PinState::Ignore);
    for _ in 0..10 {
        let judged = world.ticks(1, 60, &[FINE]);
        assert_eq!((actions(&judged).as_slice(), holds(&judged).as_slice()), (&NOTHING[..], &NOTHING[..]));
    }
    world.pins.clear();
    assert_eq!(actions(&world.ticks(1, 60, &[FINE])), ["reinstate n1 S4.probation"]);
}
