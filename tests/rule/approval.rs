//! The last question before a registrar is asked: record by record, whoever drew the plan.

use std::collections::BTreeSet;
use std::net::IpAddr;

use witness::model::{Action, ActionKind, Change, Guard, Plan, RecordType, RuleId, SetKey, Vantage};
use witness::rule::{Authority, Grounds, approve};

use crate::warm;
use crate::world::{World, name};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn plan(world: &World) -> Plan {
    let action = Action {
        kind: ActionKind::Withdraw,
        node: Some(name("n1")),
        pool: Some(name("p")),
        step: None,
        rule: RuleId::of("test"),
        why: String::new(),
    };
    let key = SetKey { owner: "@".to_owned(), rtype: RecordType::A };
    let before = world.published[&name("p")][&key].addresses.clone();
    let change = Change { set: key, ttl: 60, before, remove: [ip("192.0.2.1")].into(), add: BTreeSet::new() };
    let pool = world.pool();
    Plan {
        pool: pool.id.clone(),
        zone: pool.zone.clone(),
        registrar: pool.registrar.clone(),
        changes: vec![change],
        because: vec![action],
    }
}

fn check(change: impl Fn(&mut Plan, &mut Grounds<'_>), refused: Option<Guard>) {
    let world = warm();
    let mut plan = plan(&world);
    let mut grounds = Grounds {
        fleet: &world.fleet,
        policy: &world.policy,
        pool: world.pool(),
        authority: Authority::Rule,
        now: world.clock.wall,
        vantage: Vantage::Clear,
        clock_back_ms: 0,
        warmup_left: 0,
        staying: world.pool().nodes.iter().cloned().collect(),
        withdrawn: BTreeSet::new(),
        changed_at: None,
        in_flight: None,
        ttl: 60,
        urgent: false,
    };
    change(&mut plan, &mut grounds);
    assert_eq!(approve(plan, &grounds).err().map(|refusal| refusal.guard), refused);
}

#[test]
fn only_what_is_ours_and_named_may_be_touched() {
    check(|_, _| {}, None);
    check(|plan, _| plan.pool = name("q"), Some(Guard::Foreign));
    check(|plan, _| plan.zone = "example.net".to_owned(), Some(Guard::Foreign));
    check(|plan, _| plan.registrar = name("other"), Some(Guard::Foreign));
    check(|plan, _| plan.changes[0].set.owner = "www".to_owned(), Some(Guard::Foreign));
    check(|plan, _| plan.changes[0].set.rtype = RecordType::Aaaa, Some(Guard::Foreign));
    // A stranger's, and that of a node which nobody spoke of.
    check(|plan, _| plan.changes[0].remove = [ip("198.51.100.99")].into(), Some(Guard::Foreign));
    check(|plan, _| plan.changes[0].remove = [ip("192.0.2.2")].into(), Some(Guard::Foreign));
    check(|plan, _| plan.changes[0].add = [ip("198.51.100.7")].into(), Some(Guard::Foreign));
}

#[test]
fn what_is_not_as_the_plan_says_is_not_touched() {
    check(|plan, _| plan.changes[0].before.retain(|at| *at != ip("192.0.2.1")), Some(Guard::ChangedByHand));
    let add = |plan: &mut Plan| {
        plan.changes[0].remove.clear();
        plan.changes[0].add = [ip("192.0.2.1")].into();
    };
    check(|plan, _| add(plan), Some(Guard::ChangedByHand));
    check(|plan, _| plan.changes[0].before = [ip("192.0.2.1")].into(), Some(Guard::EmptySet));
}

#[test]
fn every_guard_is_asked_again_of_the_whole() {
    check(|_, grounds| grounds.clock_back_ms = 1, Some(Guard::Clock));
    check(|_, grounds| grounds.vantage = Vantage::Isolated, Some(Guard::Vantage));
    check(|_, grounds| grounds.vantage = Vantage::Blind, Some(Guard::Warmup));
    check(|_, grounds| grounds.warmup_left = 1, Some(Guard::Warmup));
    check(|_, grounds| grounds.changed_at = Some(grounds.now), Some(Guard::Settle));
    check(|_, grounds| grounds.in_flight = Some(grounds.now), Some(Guard::Settle));
    check(|_, grounds| grounds.withdrawn = [name("n3"), name("n4")].into(), Some(Guard::MaxWithdrawn));
    check(|_, grounds| grounds.withdrawn = [name("n1"), name("n4")].into(), None);
    check(|_, grounds| grounds.staying = [name("n1"), name("n2")].into(), Some(Guard::Keep));
    check(|_, grounds| grounds.staying = [name("n3"), name("n2")].into(), None);
    // Two at once leave one less.
    let both = |plan: &mut Plan| {
        let mut other = plan.because[0].clone();
        other.node = Some(name("n2"));
        plan.because.push(other);
    };
    check(|plan, grounds| (both(plan), grounds.staying.retain(|id| *id != name("n4"))).0, Some(Guard::Keep));
    check(|plan, grounds| (both(plan), grounds.withdrawn.extend([name("n4")])).0, Some(Guard::MaxWithdrawn));
}

#[test]
fn a_person_overrides_what_protects_from_the_rule_and_force_the_floor() {
    let poor = |grounds: &mut Grounds<'_>, authority| {
        grounds.authority = authority;
        grounds.clock_back_ms = 1;
        grounds.vantage = Vantage::Isolated;
        grounds.warmup_left = 3;
        grounds.changed_at = Some(grounds.now);
        grounds.withdrawn = [name("n3"), name("n4")].into();
    };
    check(|_, grounds| poor(grounds, Authority::Hand), None);
    let floor = |grounds: &mut Grounds<'_>| grounds.staying = [name("n1"), name("n2")].into();
    check(|_, grounds| (poor(grounds, Authority::Hand), floor(grounds)).1, Some(Guard::Keep));
    check(|_, grounds| (poor(grounds, Authority::Forced), floor(grounds)).1, None);
}
