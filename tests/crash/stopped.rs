//! Told to stop, and others at work: a clean end within moments, and one that ticks at a time.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use witness::model::IntentState;
use witness_lab::node::{Mode, SshMode, Stage};
use witness_lab::process::Guard;

use serde_json::json;

use crate::world::{Nodes, World};

/// Two seconds are promised; a busy machine gets some more.
const BOUND: Duration = Duration::from_secs(5);

/// Three strikes against the third node, which is dead.
fn due(nodes: &Nodes) -> World {
    let world = World::new(nodes);
    for _ in 0..3 {
        world.run(&["once"]).is(0);
    }
    world
}

#[track_caller]
fn ends(world: &World, process: &mut Guard, signal: Signal) {
    process.signal(signal);
    let status = process.wait(BOUND);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "after {signal:?}: {status:?}\n{}", world.logged());
    for lease in ["watch", "tick"] {
        let held = world.reader().view().lease(lease).unwrap();
        assert!(lease == "tick" || held.is_none(), "{lease} is held by {held:?}");
    }
    world.assert_nothing_panicked("stopped");
}

#[test]
fn while_every_probe_hangs() {
    let nodes = Nodes::start();
    for node in &nodes.fleet.nodes {
        node.set(Mode::Hang(Stage::Tls)).unwrap();
        node.set_ssh(SshMode::Hang).unwrap();
    }
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::with(&nodes, |text| {
            let ssh = format!("[probes.ssh]\nport = {}\ntimeout = \"45s\"\n\n[[pools]]", nodes.fleet.ssh_port());
            text.replace("timeout = \"4s\"", "timeout = \"45s\"")
                .replace("once_deadline = \"4100ms\"", "once_deadline = \"50s\"")
                .replacen("[[pools]]", &ssh, 1)
        });
        let seen = |of: fn(&witness_lab::node::Seen) -> u64| -> u64 {
            nodes.fleet.nodes.iter().map(|node| of(&node.seen())).min().unwrap()
        };
        let before = (seen(|seen| seen.connections), seen(|seen| seen.ssh_connections));
        let mut daemon = world.daemon();
        world.wait("every node is asked", || {
            seen(|seen| seen.connections) > before.0 && seen(|seen| seen.ssh_connections) > before.1
        });
        ends(&world, &mut daemon.process, signal);
        // Nothing stands in the way of the next.
        let mut next = world.daemon();
        world.wait("the next one watches", || world.reader().view().lease("watch").unwrap().is_some());
        ends(&world, &mut next.process, signal);
    }
}

#[test]
fn while_the_registrar_is_slow() {
    let nodes = Nodes::with_a_dead_one();
    let template = due(&nodes);
    // Before it writes, for so long that it is given up; after it has written, with no answer in sight; and both so short
    // that it is worth waiting for.
    let cases = [("slow", 4000, IntentState::Intended, 0), ("slow", 60_000, IntentState::Intended, 1)];
    for (fault, ms, left, writes) in cases {
        for signal in [Signal::TERM, Signal::INT] {
            let world = template.copy();
            world.script(json!([{ "fault": fault, "ms": ms, "on": "apply" }]));
            let mut daemon = world.daemon();
            world.wait("a write is under way", || {
                world.states() == [IntentState::Intended]
                    && world.zone().get("faults").is_none()
                    && world.writes() == writes
            });
            ends(&world, &mut daemon.process, signal);
            assert_eq!((world.states(), world.writes()), (vec![left], writes), "{ms} ms");
            let ran = world.run(&["once", "-v"]).is(0).says(&["settled what was left open"]);
            drop(ran);
            world.wait("it is out", || {
                world.run(&["once"]).is(0);
                world.members() == [1, 2, 4].into()
            });
            assert_eq!(world.writes(), 1, "{ms} ms: {:?}", world.intents());
            let first = if writes == 0 { IntentState::Absent } else { IntentState::Confirmed };
            assert_eq!(world.states()[0], first);
            world.assert_zone_whole("stopped amid a write");
        }
    }
}

#[test]
fn a_write_that_is_nearly_done_is_waited_for() {
    let nodes = Nodes::with_a_dead_one();
    let world = due(&nodes);
    world.script(json!([{ "fault": "slow", "ms": 400, "on": "apply" }]));
    let mut daemon = world.daemon();
    world.wait("a write is under way", || !world.states().is_empty() && world.zone().get("faults").is_none());
    ends(&world, &mut daemon.process, Signal::TERM);
    // On a machine that is too busy for it, it is looked up.
    if world.states() != [IntentState::Confirmed] {
        world.run(&["once"]).is(0);
    }
    assert!(world.states().contains(&IntentState::Confirmed), "{:?}", world.intents());
    assert_eq!((world.writes(), world.members()), (1, [1, 2, 4].into()));
}

#[test]
fn while_the_registrar_is_read() {
    let nodes = Nodes::start();
    let world = World::new(&nodes);
    world.script(json!([{ "fault": "slow", "ms": 4500, "on": "observe" }]));
    let mut daemon = world.daemon();
    world.wait("it is being read", || world.zone().get("faults").is_none());
    ends(&world, &mut daemon.process, Signal::TERM);
    world.run(&["once"]).is(0);
    assert_eq!(world.writes(), 0);
}

#[test]
fn a_second_daemon_is_refused_and_a_second_once_leaves() {
    let nodes = Nodes::start();
    let world = World::new(&nodes);
    let mut daemon = world.daemon();
    daemon.ticks(1);
    world.run(&["run"]).is(1).says(&["`witness run`", "is watching already", "stop the other first"]);
    let once = world.run(&["once"]).is(0).says(&["`witness run`", "is watching already; nothing to do"]);
    assert_eq!(once.out, "");
    daemon.ticks(3);
    ends(&world, &mut daemon.process, Signal::TERM);
    world.run(&["once"]).is(0);
}

#[test]
fn overlapping_runs_do_not_stack() {
    let nodes = Nodes::with_a_dead_one();
    let world = due(&nodes);
    world.script(json!([{ "fault": "slow", "ms": 3000, "on": "confirm" }]));
    let mut first = Guard::start(world.command(&["once"]).stdout(Stdio::null()).stderr(world.log())).unwrap();
    world.wait("the first is at work", || world.zone().get("faults").is_none());
    for _ in 0..3 {
        world.run(&["once"]).is(0).says(&["`witness once`", "is watching already; nothing to do"]);
    }
    assert!(first.is_running(), "the others came while it was at work");
    assert_eq!(first.wait(crate::world::PATIENCE).and_then(|status| status.code()), Some(0), "{}", world.logged());
    assert_eq!((world.writes(), world.members()), (1, [1, 2, 4].into()));
    world.run(&["once"]).is(0);
    assert_eq!(world.states(), [IntentState::Confirmed]);
}

#[test]
fn a_daemon_goes_by_what_people_do_meanwhile() {
    let nodes = Nodes::start();
    // A look that is older than three intervals is none, and a busy machine takes its time.
    let world = World::with(&nodes, |text| text.replace("interval = \"400ms\"", "interval = \"1s\""));
    let mut daemon = world.daemon();
    daemon.ticks(2);

    let ran = world.run(&["withdraw", "slice1", "--reason", "new disk"]).is(0);
    assert!(ran.out.contains("withdraw slice1: confirmed"), "{}", ran.out);
    assert_eq!((world.members(), world.writes()), ([2, 3, 4].into(), 1));
    daemon.ticks(2);
    // It is healthy, and only a person puts it back.
    assert_eq!((world.members(), world.writes()), ([2, 3, 4].into(), 1));
    assert_eq!(world.standing("slice1"), "withdrawn");

    world.run(&["reinstate", "slice1"]).is(0);
    assert_eq!((world.members(), world.writes()), ([1, 2, 3, 4].into(), 2));
    daemon.ticks(2);
    assert_eq!(world.standing("slice1"), "serving");

    world.run(&["pin", "slice2", "out", "--for", "1h", "--reason", "new kernel"]).is(0);
    world.wait("the daemon takes out what is pinned out", || world.members() == [1, 3, 4].into());
    daemon.ticks(2);
    world.run(&["unpin", "slice2"]).is(0);
    world.wait("it comes back by itself", || world.members() == [1, 2, 3, 4].into());
    daemon.ticks(2);
    assert_eq!(world.writes(), 4);
    assert!(world.states().iter().all(|state| *state == IntentState::Confirmed), "{:?}", world.intents());

    // Two go; a third would leave one.
    for node in ["slice1", "slice2"] {
        world.run(&["withdraw", node]).is(0);
    }
    world.run(&["withdraw", "slice3"]).is(3).says(&["guard keep"]);
    daemon.ticks(2);
    assert_eq!(world.members(), [3, 4].into());
    world.assert_zone_whole("by hand");
    ends(&world, &mut daemon.process, Signal::TERM);
}
