//! Changes that were asked for and are not to be seen yet, in part, or by somebody else's hand.

use std::net::IpAddr;
use std::time::Duration;

use witness::model::{PinState, ProbeKind, RecordType, RequestKind, Standing};

use crate::world::{NOTHING, Sees, World, actions, holds, name, of, with_v6};
use crate::{DEAD, FINE, request, warm, warmed};

const HUNG: Sees = Sees::Only(ProbeKind::Https);
const DOWN: Sees = Sees::Refused;
const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn ask(world: &mut World, kind: RequestKind, sees: &[Sees]) -> witness::model::Judgement {
    world.pass(10);
    world.tick_with(sees, Some(&request(kind, "n1", true)))
}

/// `n1` is out, has proved itself, and is asked for; nobody follows.
fn returning() -> World {
    let mut world = warm();
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    world.follows = false;
    assert_eq!(actions(&world.ticks(4, 20, &[FINE])), ["reinstate n1 S4.probation"]);
    world
}

fn put_back(world: &mut World) {
    for owner in ["@", "files"] {
        world.set_mut(owner, RecordType::A).addresses.insert(FIRST);
    }
}

#[test]
fn a_part_that_came_back_and_fails_goes_again_and_counts_again() {
    let mut world = returning();
    world.set_mut("@", RecordType::A).addresses.insert(FIRST);
    world.follows = true;
    let again = world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    assert_eq!(world.in_dns(), ["n2", "n3", "n4"]);
    assert_eq!(again.memory.nodes[&name("n1")].withdrawals.len(), 2);
}

#[test]
fn what_is_to_be_added_to_one_set_changes_no_other() {
    let mut world = returning();
    world.set_mut("@", RecordType::A).addresses.insert(FIRST);
    world.pass(20);
    let ruling = world.judge_rounds(&world.rounds(&[FINE]), None);
    let sets: Vec<&str> = ruling.plans[0].plan().changes.iter().map(|change| change.set.owner.as_str()).collect();
    assert_eq!(sets, ["files"]);
}

#[test]
fn one_that_went_in_part_and_is_well_again_comes_back_whole() {
    // Of two sets it left one; then nothing wants it out any more, and nobody else puts it back.
    let mut world = warm();
    world.follows = false;
    assert_eq!(actions(&world.ticks(4, 10, &[DOWN, FINE, FINE, FINE])), ["withdraw n1 R6.down"]);
    world.set_mut("files", RecordType::A).addresses.remove(&FIRST);
    world.follows = true;
    let next = world.ticks(1, 5, &[FINE]);
    assert_eq!((actions(&next).as_slice(), world.out("n1").unwrap().seen_out), (&NOTHING[..], false));
    world.ticks(30, 20, &[FINE]);
    assert_eq!((world.in_dns().len(), world.set("files", RecordType::A).len()), (4, 5));
    assert!(world.out("n1").is_none());
    // However long it fails in a way that nobody goes out for.
    let mut world = warm();
    world.follows = false;
    world.ticks(4, 10, &[DOWN, FINE, FINE, FINE]);
    world.set_mut("files", RecordType::A).addresses.remove(&FIRST);
    world.follows = true;
    world.ticks(1, 5, &[FINE]);
    world.ticks(30, 10, &[Sees::Only(ProbeKind::Ssh), FINE, FINE, FINE]);
    assert!(world.out("n1").is_some_and(|out| !out.seen_out));
    world.ticks(30, 20, &[FINE]);
    assert_eq!((world.in_dns().len(), world.set("files", RecordType::A).len()), (4, 5));
    // The same of one that came back in part, and failed once.
    let mut world = returning();
    world.set_mut("@", RecordType::A).addresses.insert(FIRST);
    world.ticks(1, 10, &[DEAD, FINE, FINE, FINE]);
    world.follows = true;
    // The second withdrawal takes longer to forgive.
    world.ticks(40, 60, &[FINE]);
    assert_eq!((world.in_dns().len(), world.set("files", RecordType::A).len()), (4, 5));
    assert!(world.out("n1").is_none());
}

#[test]
fn one_that_went_in_part_is_asked_for_again_and_is_not_out_yet() {
    let mut world = warm();
    world.follows = false;
    world.ticks(4, 10, &[DOWN, FINE, FINE, FINE]);
    world.set_mut("files", RecordType::A).addresses.remove(&FIRST);
    let next = world.ticks(1, 10, &[DOWN, FINE, FINE, FINE]);
    assert_eq!((actions(&next), world.out("n1").unwrap().seen_out), (vec!["withdraw n1 R6.down".to_owned()], false));
    assert_eq!(next.memory.nodes[&name("n1")].withdrawals.len(), 0);
}

#[test]
fn a_change_is_one_when_it_is_seen() {
    let mut world = warm();
    world.follows = false;
    world.ticks(5, 10, &[DOWN, FINE, FINE, FINE]);
    let pool = &world.memory.pools[&name("p")];
    assert!(pool.members.as_ref().unwrap().contains(&name("n1")) && pool.changed_at.is_none(), "{pool:?}");
    // It is asked for again once an interval.
    assert_eq!(actions(&world.ticks(1, 9, &[DOWN, FINE, FINE, FINE])), NOTHING);
    assert_eq!(actions(&world.ticks(1, 1, &[DOWN, FINE, FINE, FINE])), ["withdraw n1 R6.down"]);
    assert_eq!(actions(&world.ticks(1, 9, &[DOWN, FINE, FINE, FINE])), NOTHING);
    world.follows = true;
    world.ticks(2, 10, &[DOWN, FINE, FINE, FINE]);
    assert_eq!(world.memory.pools[&name("p")].changed_at, Some(world.clock.wall));
}

#[test]
fn a_soft_withdrawal_that_is_not_followed_is_asked_for_again() {
    let mut world = warm();
    world.follows = false;
    let (mut times, mut held) = (0, Vec::new());
    for _ in 0..14 {
        let judged = world.ticks(1, 10, &[HUNG, FINE, FINE, FINE]);
        times += actions(&judged).iter().filter(|action| *action == "withdraw n1 R7.hung").count();
        held.extend(holds(&judged));
    }
    assert!(times >= 5 && held.is_empty(), "{times} {held:?}");
    world.follows = true;
    world.ticks(2, 10, &[HUNG, FINE, FINE, FINE]);
    let node = &world.memory.nodes[&name("n1")];
    assert_eq!((node.withdrawals.len(), node.soft_withdrawals.len()), (1, 1));
}

#[test]
fn a_hard_withdrawal_is_none_for_soft_evidence() {
    let mut world = warm();
    world.ticks(5, 10, &[DOWN, FINE, FINE, FINE]);
    let node = &world.memory.nodes[&name("n1")];
    assert_eq!((node.withdrawals.len(), node.soft_withdrawals.len()), (1, 0));
}

#[test]
fn those_that_are_asked_for_are_counted_once() {
    // Half of six must answer, and three do.
    let mut world = World::of(6);
    (world.policy.keep, world.policy.max_withdrawn) = (1, 6);
    let mut world = warmed(world);
    world.follows = false;
    assert_eq!(world.ticks(9, 10, &[DEAD, DEAD, FINE, FINE, FINE, FINE]).actions.len(), 2);
    let mut seen = Vec::new();
    for _ in 0..9 {
        let judged = world.ticks(1, 10, &[DEAD, DEAD, DEAD, FINE, FINE, FINE]);
        seen.extend(actions(&judged).into_iter().chain(holds(&judged)));
    }
    assert!(seen.contains(&"withdraw n3 R6.silent".to_owned()), "{seen:?}");
    assert!(!seen.contains(&"withdraw n3 unconfirmed".to_owned()), "{seen:?}");
}

#[test]
fn one_that_is_asked_for_and_still_in_is_one_of_the_pool() {
    // It takes three of seven to be everybody, and the first is still one of the seven.
    let mut world = warmed(World::of(7));
    world.follows = false;
    let mut sees = [FINE; 7];
    sees[0] = DOWN;
    world.ticks(4, 10, &sees);
    (sees[1], sees[2]) = (Sees::Shedding, Sees::Shedding);
    for _ in 0..6 {
        let judged = world.ticks(1, 10, &sees);
        assert_ne!(judged.fleet.to_string(), "overload", "{}", judged.fleet_why);
    }
    sees[3] = Sees::Shedding;
    assert_eq!(world.ticks(6, 10, &sees).fleet.to_string(), "overload");
}

#[test]
fn what_a_person_asked_for_is_not_made_the_rules_own() {
    let mut world = warm();
    world.follows = false;
    assert_eq!(actions(&ask(&mut world, RequestKind::Withdraw, &[FINE])), ["withdraw n1 H1.by-hand"]);
    for _ in 0..9 {
        let judged = world.ticks(1, 10, &[DOWN, FINE, FINE, FINE]);
        assert_eq!((actions(&judged).as_slice(), world.out("n1").unwrap().by_hand), (&NOTHING[..], true));
    }
    // Nobody followed: it is as if nobody had asked.
    world.ticks(4, 10, &[FINE]);
    assert!(world.out("n1").is_none());
}

#[test]
fn a_person_who_keeps_out_what_was_to_return_is_told_when_it_does() {
    let mut world = returning();
    ask(&mut world, RequestKind::Withdraw, &[FINE]);
    let out = world.out("n1").unwrap();
    assert_eq!((out.rule.to_string().as_str(), out.by_hand), ("H1.by-hand", true));
    put_back(&mut world);
    assert_eq!(actions(&world.ticks(1, 10, &[FINE])), ["alert n1 H3.outside"]);
}

#[test]
fn a_return_that_nothing_renews_is_somebody_elses() {
    let mut world = returning();
    world.ticks(13, 10, &[DEAD, FINE, FINE, FINE]);
    put_back(&mut world);
    assert_eq!(actions(&world.ticks(1, 10, &[DEAD, FINE, FINE, FINE])), ["alert n1 H3.outside"]);
    // Before that it is ours.
    let mut world = returning();
    world.ticks(1, 10, &[DEAD, FINE, FINE, FINE]);
    put_back(&mut world);
    assert_eq!(actions(&world.ticks(1, 10, &[DEAD, FINE, FINE, FINE])), NOTHING);
    assert!(world.out("n1").is_none());
}

#[test]
fn who_took_it_out_first_is_who_did() {
    let mut world = warm();
    for owner in ["@", "files"] {
        world.set_mut(owner, RecordType::A).addresses.remove(&FIRST);
    }
    assert_eq!(actions(&world.ticks(1, 60, &[FINE])), ["alert n1 H3.outside"]);
    ask(&mut world, RequestKind::Withdraw, &[FINE]);
    let out = world.out("n1").unwrap();
    assert_eq!((out.rule.to_string().as_str(), out.why.as_str()), ("H3.outside", "taken out by somebody else"));
}

#[test]
fn one_that_becomes_the_last_before_it_has_gone_stays() {
    let mut world = World::of(3);
    world.with_foreign = false;
    world.policy.keep = 1;
    world.publish_all();
    let mut world = warmed(world);
    world.follows = false;
    assert_eq!(actions(&world.ticks(4, 10, &[DOWN, FINE, FINE])), ["withdraw n1 R6.down"]);
    for owner in ["@", "files"] {
        world.set_mut(owner, RecordType::A).addresses.retain(|address| *address == FIRST);
    }
    let last = ask(&mut world, RequestKind::Withdraw, &[DOWN, FINE, FINE]);
    assert_eq!((holds(&last), world.out("n1").unwrap().seen_out), (vec!["withdraw n1 empty-set".to_owned()], false));
}

/// `n1` and `n2` are dead: `n1` is out, and `n2` as far as it can, since its IPv6 address is the last of its sets.
fn half_out() -> World {
    let mut world = warmed(with_v6(6, &[1, 2]));
    world.ticks(5, 60, &[DEAD, FINE, FINE, FINE, FINE, FINE]);
    world.ticks(6, 60, &[DEAD, DEAD, FINE, FINE, FINE, FINE]);
    assert_eq!(world.set("@", RecordType::Aaaa), ["2001:db8::2"]);
    assert!(world.out("n2").unwrap().seen_out);
    world
}

#[test]
fn the_rest_of_one_that_is_well_again_does_not_leave() {
    let mut world = half_out();
    let mut seen = Vec::new();
    for _ in 0..20 {
        // One fault now and then: it has not proved itself when the other is back.
        let fails = seen.len() % 3 == 0 && world.set("@", RecordType::Aaaa).len() < 2;
        let sees = [FINE, if fails { DEAD } else { FINE }, FINE, FINE, FINE, FINE];
        seen.push(actions(&world.ticks(1, 20, &sees)));
    }
    assert!(seen.iter().flatten().any(|action| action == "reinstate n1 S4.probation"), "{seen:?}");
    assert!(!seen.iter().flatten().any(|action| action.starts_with("withdraw")), "{seen:?}");
    assert_eq!(world.set("@", RecordType::Aaaa).len(), 2);
}

#[test]
fn one_that_left_all_it_could_is_nobodys_trouble() {
    let mut world = half_out();
    (world.policy.keep, world.policy.max_withdrawn) = (1, 6);
    let mut seen = Vec::new();
    for _ in 0..12 {
        seen.extend(actions(&world.ticks(1, 20, &[DEAD, DEAD, HUNG, FINE, FINE, FINE])));
    }
    assert!(seen.contains(&"withdraw n3 R7.hung".to_owned()), "{seen:?}");
}

#[test]
fn what_stays_as_the_last_may_be_kept_out_by_a_person() {
    let sees = [DEAD, DEAD, FINE, FINE, FINE, FINE];
    let mut world = half_out();
    world.pass(10);
    let asked = world.tick_with(&sees, Some(&request(RequestKind::Withdraw, "n2", false)));
    assert_eq!((holds(&asked), world.out("n2").unwrap().by_hand), (vec![], true));
    let mut world = half_out();
    world.pin("n2", PinState::Out);
    assert_eq!(holds(&world.ticks(2, 10, &sees)), NOTHING);
}

#[test]
fn what_left_last_and_is_put_back_is_told() {
    let mut world = half_out();
    world.ticks(10, 60, &[FINE, DEAD, FINE, FINE, FINE, FINE]);
    assert_eq!(world.set("@", RecordType::Aaaa), ["2001:db8::1"], "the rest of it went");
    let address: IpAddr = "2001:db8::2".parse().unwrap();
    world.set_mut("@", RecordType::Aaaa).addresses.insert(address);
    let told = world.ticks(1, 60, &[FINE, DEAD, FINE, FINE, FINE, FINE]);
    assert!(actions(&told).contains(&"alert n2 H3.outside".to_owned()), "{:?}", actions(&told));
}

#[test]
fn who_comes_makes_room_for_who_goes() {
    // n2 is alone in its A sets until n1 is back in them.
    let mut world = with_v6(3, &[2, 3]);
    world.with_foreign = false;
    (world.policy.keep, world.policy.max_withdrawn) = (0, 3);
    world.fleet.nodes.get_mut(&name("n3")).unwrap().addresses.remove(0);
    world.publish_all();
    let mut world = warmed(world);
    ask(&mut world, RequestKind::Withdraw, &[FINE]);
    world.ticks(1, 60, &[FINE]);
    world.pin("n2", PinState::Out);
    world.follows = false;
    let both = ask(&mut world, RequestKind::Reinstate, &[FINE]);
    assert_eq!(actions(&both), ["withdraw n2 H2.pin", "reinstate n1 H1.by-hand"]);
    assert_eq!(holds(&both), NOTHING);
}

#[test]
fn what_is_in_already_is_not_put_in() {
    let mut world = warm();
    world.ticks(3, 60, &[FINE, DEAD, FINE, FINE]);
    world.pass(60);
    let asked = request(RequestKind::Reinstate, "n1", false);
    let judged = world.tick_with(&[FINE, DEAD, FINE, FINE], Some(&asked));
    assert_eq!(actions(&judged), ["withdraw n2 S2.strikes"]);
}

#[test]
fn nodes_that_share_some_pools_are_each_where_they_are() {
    let mut world = World::of(6);
    world.share(&["n1", "n4", "n6"]);
    let mut world = warmed(world);
    let last = world.ticks(6, 10, &[FINE, FINE, FINE, DOWN, FINE, FINE]);
    let both = |is_in: bool| [(name("p"), is_in), (name("q"), is_in)].into();
    assert_eq!((&of(&last, "n4").in_dns, &of(&last, "n1").in_dns), (&both(false), &both(true)));
    assert_eq!(of(&last, "n6").in_dns, both(true));
    assert_eq!(of(&last, "n5").in_dns, [(name("p"), true)].into());
}

#[test]
fn a_penalty_of_just_as_much_as_is_allowed_is_allowed() {
    let held = |reuse: u32| {
        let mut world = warm();
        world.policy.comeback.half_life = Duration::from_secs(1_000_000_000);
        (world.policy.comeback.penalty, world.policy.comeback.reuse) = (1000, reuse);
        world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
        holds(&world.ticks(5, 20, &[FINE]))
    };
    assert_eq!((held(1000), held(999)), (vec![], vec!["reinstate n1 flapping".to_owned()]));
}

#[test]
fn a_pin_out_may_fill_the_others_to_just_as_much_as_is_allowed() {
    for (percent, held) in [(80, false), (79, true)] {
        let mut world = warm();
        world.policy.overload.drain_percent = percent;
        world.carries = Some(60);
        world.ticks(4, 10, &[FINE]);
        world.pin("n1", PinState::Out);
        assert_eq!(holds(&world.ticks(1, 10, &[FINE])).len(), usize::from(held), "{percent}");
    }
}

#[test]
fn failures_from_before_it_came_back_are_forgiven_though_they_wait() {
    let mut world = warm();
    world.anchors = Some((3, 3));
    world.ticks(6, 60, &[DEAD, FINE, FINE, FINE]);
    world.pass(10);
    world.tick_with(&[DEAD, FINE, FINE, FINE], Some(&request(RequestKind::Reinstate, "n1", true)));
    world.pass(10);
    let asked = world.clock.wall.minus(Duration::from_secs(5));
    let ruling = world.judge_at(&world.rounds(&[DEAD, FINE, FINE, FINE]), None, asked);
    let back = world.take(ruling);
    assert_eq!((of(&back, "n1").standing, back.memory.nodes[&name("n1")].pending.len()), (Standing::Suspect, 0));
    assert_eq!(of(&world.ticks(1, 10, &[FINE]), "n1").strikes, 0);
}
