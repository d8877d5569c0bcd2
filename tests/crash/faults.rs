//! A registrar that fails or lies: it is told, the zone is never damaged, and all is well once it is over.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use witness::model::IntentState;

use crate::world::{Nodes, Ran, World};

/// Three strikes against the third node, which is dead.
fn due(nodes: &Nodes) -> World {
    let world = World::new(nodes);
    for _ in 0..3 {
        world.run(&["once"]).is(0);
    }
    world
}

/// Runs `once` until the third node is out; how often.
#[track_caller]
fn converges(world: &World, writes: u64) {
    world.wait("it is out", || {
        world.assert_zone_whole("on the way");
        let ran = world.run(&["once"]);
        assert!(ran.code == Some(0), "the fault is over: {ran:?}");
        world.members() == [1, 2, 4].into()
    });
    let ran = world.run(&["once", "--json"]).is(0);
    assert_eq!(ran.json()["changes"], json!([]));
    assert_eq!(world.writes(), writes, "{:?}", world.intents());
    assert!(world.states().iter().all(|state| state.is_final()), "{:?}", world.intents());
    world.assert_zone_whole("in the end");
    world.reader().view().integrity().unwrap();
}

struct Case {
    name: &'static str,
    faults: Value,
    code: i32,
    /// How the write stands after the run that met the fault; none: none was begun.
    state: Option<IntentState>,
    /// What was written by then.
    writes: u64,
    says: &'static [&'static str],
}

#[test]
fn each_fault_is_told_and_gets_over() {
    let nodes = Nodes::with_a_dead_one();
    let template = due(&nodes);
    let on = |fault: &str, on: &str| json!([{ "fault": fault, "on": on }]);
    let limited = |on: &str| json!([{ "fault": "rate-limit", "retry_after_s": 1, "on": on }]);
    let slow = |on: &str| json!([{ "fault": "slow", "ms": 60_000, "on": on }]);
    let case = |name, faults, code, state, writes, says| Case { name, faults, code, state, writes, says };
    let cases = [
        case(
            "a time-out after it was written",
            json!([{ "fault": "timeout-after-apply" }]),
            1,
            Some(IntentState::Unknown),
            1,
            &["registrar file", "zone example.com", "no answer", "looks it up"] as &[&str],
        ),
        case("an answer too late", slow("apply"), 1, Some(IntentState::Unknown), 1, &["no answer", "looks it up"]),
        case(
            "success without effect",
            json!([{ "fault": "no-effect" }]),
            1,
            Some(IntentState::Diverged),
            0,
            &["zone example.com does not show the change after it was accepted", "127.0.0.13"],
        ),
        case(
            "rubbish for an answer",
            on("garbage", "apply"),
            1,
            Some(IntentState::Unknown),
            0,
            &["made no sense", "looks it up"],
        ),
        case("too many writes", limited("apply"), 1, Some(IntentState::Failed), 0, &["rate limit", "did not change"]),
        case("not let in to write", on("auth", "apply"), 1, Some(IntentState::Failed), 0, &["not authorized"]),
        case("no way to write", on("unreachable", "apply"), 1, Some(IntentState::Failed), 0, &["did not change"]),
        case("too many reads", limited("observe"), 1, None, 0, &["could not read zone example.com", "rate limit"]),
        case("not let in to read", on("auth", "observe"), 1, None, 0, &["could not read zone example.com"]),
        case("no way to read", on("unreachable", "observe"), 1, None, 0, &["could not read zone example.com"]),
        case("rubbish to read", on("garbage", "observe"), 1, None, 0, &["could not read zone example.com"]),
        case("no answer to a reading", slow("observe"), 1, None, 0, &["could not read zone example.com", "no answer"]),
        // The copy from before is taken from the reading, where the whole zone cannot be had.
        case("no copy", on("garbage", "restore-info"), 0, Some(IntentState::Confirmed), 1, &[]),
        case("not read back", on("unreachable", "confirm"), 0, Some(IntentState::Applied), 1, &[]),
        case("not read back in time", slow("confirm"), 0, Some(IntentState::Applied), 1, &[]),
        case(
            "an old state to read back",
            on("stale-read", "confirm"),
            1,
            Some(IntentState::Diverged),
            1,
            &["does not show the change after it was accepted"],
        ),
    ];
    for Case { name, faults, code, state, writes, says } in cases {
        println!("{name}");
        let world = template.copy();
        // Every time-out that is met is waited for.
        world.edit_config(|text| text.replace("timeout = \"5s\"", "timeout = \"300ms\""));
        world.script(faults);
        let ran = world.run(&["once"]).is(code).says(says);
        let states: Vec<IntentState> = state.into_iter().collect();
        assert_eq!((world.states(), world.writes()), (states, writes), "{name}: {ran:?}");
        assert!(world.zone().get("faults").is_none(), "{name}: it was met");
        world.edit_config(|text| text.replace("timeout = \"300ms\"", "timeout = \"5s\""));
        converges(&world, 1);
    }
}

/// Somebody else writes between our reading and our writing: nothing is written over, and the next plan is made from what
/// stands.
#[test]
fn a_foreign_write_in_between() {
    let nodes = Nodes::with_a_dead_one();
    let template = due(&nodes);
    let theirs = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14", "192.0.2.77", "192.0.2.200"];
    let addresses = |world: &World| -> BTreeSet<String> {
        let zone = world.zone();
        let set = zone["sets"]["files A"]["addresses"].as_array().unwrap().clone();
        set.iter().map(|address| address.as_str().unwrap().to_owned()).collect()
    };

    let world = template.copy();
    world.script(json!([{ "fault": "foreign-write", "set": "files A", "ttl": 30, "addresses": theirs }]));
    let ran: Ran = world.run(&["once", "--json"]).is(0);
    assert_eq!(ran.json()["changes"][0]["state"], "conflict", "{}", ran.out);
    assert_eq!(world.states(), [IntentState::Conflict]);
    assert_eq!(addresses(&world), theirs.map(str::to_owned).into(), "theirs stands");
    world.wait("ours comes on top of theirs", || {
        world.run(&["once"]).is(0);
        world.members() == [1, 2, 4].into()
    });
    let both = theirs.into_iter().filter(|address| *address != "127.0.0.13").map(str::to_owned).collect();
    assert_eq!(addresses(&world), both);
    assert_eq!(world.zone()["sets"]["files A"]["ttl"], 30, "their TTL stays");
    assert_eq!(world.writes(), 2);

    // They did what we were about to do, in one of two sets.
    let world = template.copy();
    let same: Vec<&str> =
        theirs.into_iter().filter(|address| !address.ends_with(".13") && !address.ends_with(".77")).collect();
    world.script(json!([{ "fault": "foreign-write", "set": "files A", "ttl": 1, "addresses": same }]));
    world.run(&["once"]).is(0);
    assert_eq!(world.states(), [IntentState::Conflict]);
    world.wait("the other set follows", || {
        world.run(&["once"]).is(0);
        !world.zone()["sets"]["@ A"]["addresses"].as_array().unwrap().contains(&json!("127.0.0.13"))
    });
    assert_eq!((world.writes(), world.members()), (2, [1, 2, 4].into()));
    world.assert_zone_whole("both did it");
}

/// An old state is shown once, right after our change: nothing comes of it but a word, and the node comes back by itself
/// once it is well.
#[test]
fn an_old_state_is_read_after_a_change() {
    let nodes = Nodes::with_a_dead_one();
    let world = due(&nodes);
    world.edit_config(|text| text.replace("ttl = \"1s\"", "ttl = \"5s\""));
    for _ in 0..2 {
        world.run(&["once"]).is(0);
    }
    assert_eq!(world.members(), [1, 2, 4].into());
    world.script(json!([{ "fault": "stale-read", "on": "observe" }]));
    world.run(&["once"]).is(1).says(&["could not read zone example.com", "from before the last change"]);
    assert!(world.zone().get("faults").is_none(), "it was read");
    for _ in 0..3 {
        world.run(&["once"]).is(0);
    }
    assert_eq!((world.writes(), world.members()), (1, [1, 2, 4].into()));
    world.assert_zone_whole("an old state");
    nodes.fleet.nodes[2].power_on().unwrap();
    world.wait("it comes back", || {
        world.run(&["once"]).is(0);
        std::thread::sleep(Duration::from_millis(50));
        world.members() == [1, 2, 3, 4].into()
    });
    assert_eq!(world.writes(), 2);
}

/// A command by hand that meets a fault says so and fails; said again it does what was asked.
#[test]
fn by_hand() {
    let nodes = Nodes::start();
    let template = World::new(&nodes);
    template.run(&["once"]).is(0);
    for (faults, code, writes) in [
        (json!([{ "fault": "auth", "on": "apply" }]), 1, 0),
        (json!([{ "fault": "unreachable", "on": "observe" }]), 1, 0),
        (json!([{ "fault": "no-effect" }]), 1, 0),
        (json!([{ "fault": "timeout-after-apply" }]), 1, 1),
    ] {
        let world = template.copy();
        world.script(faults.clone());
        let ran = world.run(&["withdraw", "slice1"]);
        assert_eq!((ran.code, world.writes()), (Some(code), writes), "{faults}: {ran:?}");
        assert!(!ran.err.is_empty(), "{faults}: {ran:?}");
        world.run(&["withdraw", "slice1"]).is(0);
        assert_eq!((world.writes(), world.members()), (1, [2, 3, 4].into()), "{faults}: {:?}", world.intents());
        assert!(world.states().iter().all(|state| state.is_final()), "{faults}: {:?}", world.intents());
        world.assert_zone_whole("by hand");
    }
}

/// The daemon meets faults, says so, and goes on.
#[test]
fn a_daemon_gets_over_it() {
    let nodes = Nodes::with_a_dead_one();
    let world = due(&nodes);
    world.script(json!([
        { "fault": "garbage", "on": "apply" },
        { "fault": "no-effect" },
        { "fault": "timeout-after-apply" },
    ]));
    let mut daemon = world.daemon();
    world.wait("it is out", || world.members() == [1, 2, 4].into());
    daemon.ticks(5);
    assert_eq!(world.writes(), 1);
    let states = world.states();
    assert_eq!(states.last(), Some(&IntentState::Confirmed), "{states:?}");
    assert!(states.contains(&IntentState::Absent) && states.contains(&IntentState::Diverged), "{states:?}");
    let log = world.logged();
    assert!(log.contains("looks it up") && log.contains("does not show the change after it was accepted"), "{log}");
    world.assert_zone_whole("a daemon");
}
